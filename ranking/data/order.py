"""The moving window (paper 3.1): sequential over days, random inside a window of length W.

Row i with event time t gets the key t + W·u, with u in [0, 1) a hash of (seed, i); rows are visited
once each, in key order, those of one key by their number. So a row is delayed by at most W, a batch
is a random sample of its window, W = 0 is strict time order and W = inf a full shuffle, by u alone.
Which row comes k-th is a pure function of (seed, k): resuming needs the step number, no more.

The order is made a block of BLOCK_ROWS positions at a time. Keys below some limit belong to rows no
later than it and no more than W earlier, so a block is found by hashing those once more and keeping
the least keys: memory does not grow with the log, nor with W. What grows with W is that work: a
block hashes the rows of W (all of them where W = inf), about 10 ns each. The next block is made
by another thread while one is read.
"""

import bisect
import collections
import dataclasses
import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np

from ranking.array import Array
from ranking.data.schema import DataError

MS_PER_HOUR = 3_600_000.0
BLOCK_ROWS = 1 << 22  # sorted at a time: about 300 MB while it is made, 32 MB afterwards
CHUNK_ROWS = 1 << 16  # hashed at a time
EDGES = 1024  # into so many parts a window is cut to find a position in it


class Timed(Protocol):
  """A day, of which the times alone are read here, and only when the window has come to it."""

  @property
  def name(self) -> str:
    """Of the day."""

  @property
  def time(self) -> Array:
    """int64 [n], event times in ms, never decreasing, none before those of an earlier day."""

  def __len__(self) -> int: ...


def uniform(seed: int, counter: Array) -> Array:
  """float64 in [0, 1) per entry of `counter`: SplitMix64 of (seed, counter), 53 bits of it."""
  with np.errstate(over="ignore"):
    stream = np.uint64(seed) * np.uint64(0xD1342543DE82EF95) + np.uint64(1)
    state = np.asarray(counter, np.uint64) + stream
    state *= np.uint64(0x9E3779B97F4A7C15)
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
  return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclasses.dataclass(frozen=True, order=True)
class _Start:
  """Where a block may begin.

  Attributes:
    position: how many rows have a key below `key`.
    key: the least that a row of the block may have.
    row: no row before this one has `key` or more.
  """

  position: int
  key: float
  row: int


@dataclasses.dataclass(frozen=True)
class _Block:
  """Row numbers int64 at the positions from `first.position`, and where the next block begins."""

  first: _Start
  rows: Array
  following: _Start

  def __contains__(self, position: int) -> bool:
    return self.first.position <= position < self.following.position


class WindowOrder:
  """Numbers of the rows of some days, end to end, in the order in which they are visited.

  `order[first:last]` is int64 [last - first]. It may be asked for by several threads. It raises
  DataError where the times of a day that the window has come to cannot be read, or decrease.

  Args:
    days: whose rows they are.
    window_hours: W; 0 gives 0..n-1, `inf` a permutation that ignores time.
    seed: which of the many orders.
  """

  def __init__(self, days: Sequence[Timed], window_hours: float, seed: int):
    self._days, self._seed = days, seed
    self._first_rows = [0, *itertools.accumulate(len(day) for day in days)]
    self._timed = not math.isinf(window_hours)
    self._window = window_hours * MS_PER_HOUR if self._timed else 1.0
    self._starts = [_Start(position=0, key=-math.inf, row=0)]  # known ones, in order
    # A few batches are read side by side, and the one that is trained on lags behind them.
    self._blocks = collections.deque[_Block](maxlen=2)
    self._ahead: tuple[_Start, Future[_Block]] | None = None
    self._thread = ThreadPoolExecutor(1, "window order")
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return self._first_rows[-1]

  def __getitem__(self, positions: slice) -> Array:
    position, last, _ = positions.indices(len(self))
    if not self._window or position >= last:
      return np.arange(position, last)
    parts = []
    while position < last:
      block = self._block(position)
      parts.append(block.rows[position - block.first.position : last - block.first.position])
      position = block.following.position
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

  def _block(self, position: int) -> _Block:
    """The block that holds a position."""
    with self._lock:
      for block in self._blocks:
        if position in block:
          return block
      start = self._starts[bisect.bisect(self._starts, position, key=lambda s: s.position) - 1]
      if position - start.position >= BLOCK_ROWS:
        start = self._start_before(position)
        bisect.insort(self._starts, start)
      while position not in (block := self._made(start)):
        start = block.following
      self._blocks.append(block)
      if block.following.position < len(self):
        self._ahead = block.following, self._thread.submit(self._make, block.following)
      return block

  def _made(self, start: _Start) -> _Block:
    """The block from `start` on, made now if it is not the one that was made ahead."""
    ahead, self._ahead = self._ahead, None
    block = ahead[1].result() if ahead and ahead[0] == start else self._make(start)
    if block.following not in self._starts:
      bisect.insort(self._starts, block.following)
    return block

  def _make(self, start: _Start) -> _Block:
    """The rows of the next BLOCK_ROWS keys or so, in order."""
    limit, held, parts = math.inf, 0, list[tuple[Array, Array]]()
    for row, time in self._chunks(start.row):
      if self._timed and time[0] >= limit:
        break  # and so is the key of this row, and of all that come later
      key = self._keys(row, time)
      mine = np.flatnonzero((key >= start.key) & (key < limit))
      parts.append((key[mine], row + mine))
      held += len(mine)
      if held > BLOCK_ROWS * 5 // 4:
        keys, rows, limit = _least(parts)
        held, parts = len(keys), [(keys, rows)]
    if held > BLOCK_ROWS:
      keys, rows, limit = _least(parts)
    else:
      keys, rows = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    reaching = self._first_reaching(limit, range(start.row, row))  # none beyond those just read
    following = _Start(start.position + len(keys), limit, reaching)
    return _Block(start, rows[_stable_argsort(keys)], following)

  def _start_before(self, position: int) -> _Start:
    """A start less than about a window's 1 / EDGES before a position, found by counting keys.

    The key at a position is not less than the time of the row of this number, and less than W more.
    """
    time = self._time(position)
    edges = np.linspace(time, time + self._window, EDGES + 1)
    first = self._first_reaching(time, range(position))
    below = np.full(len(edges), first)
    for row, times in self._chunks(first):
      if self._timed and times[0] >= edges[-1]:
        break
      below += np.searchsorted(np.sort(self._keys(row, times)), edges)
    place = int(np.searchsorted(below, position, side="right")) - 1
    return _Start(int(below[place]), float(edges[place]), first)

  def _keys(self, first: int, time: Array) -> Array:
    """float64 keys of consecutive rows, of which `first` is the first."""
    key = uniform(self._seed, np.arange(first, first + len(time)))
    key *= self._window
    return np.add(time, key, out=key)

  def _chunks(self, first: int) -> Iterator[tuple[int, Array]]:
    """Times of the rows from `first` on, some at a time, each with the number of its first row."""
    before = -math.inf
    day = bisect.bisect(self._first_rows, first) - 1
    for number in range(day, len(self._days)):
      begin, end = self._first_rows[number : number + 2]
      for row in range(max(first, begin), end, CHUNK_ROWS):
        stop = min(row + CHUNK_ROWS, end)
        if not self._timed:
          yield row, np.zeros(stop - row)
          continue
        time = np.asarray(self._days[number].time[row - begin : stop - begin])
        if time[0] < before or (time[1:] < time[:-1]).any():
          raise DataError(f"the times of {self._days[number].name} decrease; prepare the log again")
        before = time[-1]
        yield row, time

  def _time(self, row: int) -> float:
    if not self._timed:
      return 0.0
    day = bisect.bisect(self._first_rows, row) - 1
    return float(self._days[day].time[row - self._first_rows[day]])

  def _first_reaching(self, key: float, rows: range) -> int:
    """The first of some rows whose key might be `key` or more; the one after them if none is."""
    latest = bisect.bisect_left(rows, key, key=lambda row: self._time(row) + self._window)
    return rows.start + latest


def _least(parts: Sequence[tuple[Array, Array]]) -> tuple[Array, Array, float]:
  """The BLOCK_ROWS least keys and their rows, but of one key all or none; and a limit to them."""
  keys, rows = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
  limit = np.partition(keys, BLOCK_ROWS)[BLOCK_ROWS]
  if limit == keys.min():  # all are of one key, which a block must hold
    limit = np.nextafter(limit, np.inf)
  kept = keys < limit
  return keys[kept], rows[kept], float(limit)


def _stable_argsort(keys: Array) -> Array:
  """np.argsort(keys, kind="stable"), in half the time where few are alike."""
  order = np.argsort(keys)
  ordered = keys[order]
  alike = np.zeros(len(keys), bool)
  alike[1:] = ordered[1:] == ordered[:-1]
  alike[:-1] |= alike[1:]
  if alike.any():
    order[alike] = order[alike][np.lexsort((order[alike], ordered[alike]))]
  return order
