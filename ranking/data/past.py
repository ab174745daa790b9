"""What was known of each row's user, item and author just before its event: rows in order of time.

An entity's sums, and the latest items of a user, are numbered by entity in files that the system
keeps in memory as far as there is room. They learn of a row once it is known, which for its label
may be much later than its event: until then it waits in a file too. So memory is bounded, however
many entities there are, and however long a row waits.
"""

import concurrent.futures
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ranking.array import Array

ID: Final = np.dtype("<i4")
PIECE_ROWS: Final = 1 << 16  # rows that become known are taken so many at a time


class Waiting:
  """A context manager: rows in order of time that wait, in a file, until they are known.

  Args:
    path: of the file.
    fields: of a row beside its time, as NumPy describes a dtype.
    delay: in ms; a row is known once it is older than this.
  """

  def __init__(self, path: Path, fields: Sequence[tuple[Any, ...]], delay: int):
    self._path, self._delay = path, delay
    self._dtype = np.dtype([("time", "<i8"), *fields])
    self._read = 0  # bytes of the file
    self._next = np.empty(0, self._dtype)

  def __enter__(self) -> "Waiting":
    self._file = open(self._path, "w+b")
    return self

  def __exit__(self, *_: object) -> None:
    self._file.close()

  def add(self, **fields: Array) -> None:
    """The next rows, [n, …] each; times never fall."""
    rows = np.empty(len(fields["time"]), self._dtype)
    for name, values in fields.items():
      rows[name] = values
    self._file.seek(0, 2)
    self._file.write(rows.tobytes())

  def known(self, time: Array) -> Iterator[tuple[slice, Array, Array]]:
    """Rows that were known before the last of some times, pieces of them in order.

    With each piece come the places of the times before which no row of a later piece was known, and
    how many rows of the piece were known before each of these; each place comes with one piece.
    """
    limits, done = time - self._delay, 0
    while True:
      drained = not len(self._next) and not self._fill()
      count = int(np.searchsorted(self._next["time"], limits[-1]))
      piece, self._next = self._next[:count], self._next[count:]
      is_last = drained or len(self._next) > 0
      stop = len(time) if is_last else int(np.searchsorted(limits, piece["time"][-1], "right"))
      yield slice(done, stop), piece, np.searchsorted(piece["time"], limits[done:stop])
      if is_last:
        return
      done = stop

  def _fill(self) -> bool:
    """Reads on. Returns whether there was anything."""
    self._file.seek(self._read)
    content = self._file.read(PIECE_ROWS * self._dtype.itemsize)
    self._read += len(content)
    if self._read == self._file.seek(0, 2):  # all that waits is in memory
      self._file.truncate(0)
      self._read = 0
    self._next = np.frombuffer(content, self._dtype)
    return len(content) > 0


class Sums:
  """A context manager: sums over the rows of an entity that were known strictly before a time.

  Args:
    folder: for what does not fit into memory; must not exist.
    keys: per entity, how many there are; they are numbered from 1, and 0 is for none.
    columns: how many sums.
    delay: in ms; a row is known once it is older than this.
  """

  def __init__(self, folder: Path, keys: Sequence[int], columns: int, delay: int):
    folder.mkdir(parents=True)
    self._states = [_zeros(folder / str(k), "<i8", (n, columns)) for k, n in enumerate(keys)]
    fields = [("keys", "<i4", (len(keys),)), ("values", "<i8", (columns,))]
    self._waiting = Waiting(folder / "waiting", fields, delay)
    self._of_all = np.zeros(columns, np.int64)

  def __enter__(self) -> "Sums":
    with contextlib.ExitStack() as stack:
      stack.enter_context(self._waiting)
      self._threads = stack.enter_context(concurrent.futures.ThreadPoolExecutor())
      self._open = stack.pop_all()
    return self

  def __exit__(self, *_: object) -> None:
    self._open.close()

  def before(self, time: Array, keys: Array, values: Array) -> Array:
    """int64 [E + 1, n, k] for the next rows, which are added; the last is of all rows.

    Args:
      time: int64 [n].
      keys: int32 [n, E].
      values: int64 [n, k].
    """
    self._waiting.add(time=time, keys=keys, values=values)
    sums = np.empty((keys.shape[1] + 1, *values.shape), np.int64)
    for rows, piece, earlier in self._waiting.known(time):
      added = np.ascontiguousarray(piece["values"])
      total = _totals(added)
      sums[-1, rows] = self._of_all + _lines(total, earlier)
      self._of_all += total[-1]
      of_entity = (self._states, piece["keys"].T, keys[rows].T)
      others = (itertools.repeat(added), itertools.repeat(earlier))
      for own, made in zip(sums, self._threads.map(_sums, *of_entity, *others), strict=False):
        own[rows] = made
    return sums


class Latest:
  """A context manager: the latest items of each user that were known strictly before a time.

  Args:
    folder: for what does not fit into memory; must not exist.
    users: how many there are; they are numbered from 1.
    size: how many items.
    delay: in ms; a row is known once it is older than this.
    dtype: of an item: of its id, or of several fields.
  """

  def __init__(self, folder: Path, users: int, size: int, delay: int, dtype: "np.dtype[Any]" = ID):
    folder.mkdir(parents=True)
    self._state = _zeros(folder / "state", dtype, (users, size))
    self._waiting = Waiting(folder / "waiting", [("user", "<i4"), ("item", dtype)], delay)

  def __enter__(self) -> "Latest":
    self._waiting.__enter__()
    return self

  def __exit__(self, *error: object) -> None:
    self._waiting.__exit__(*error)

  def before(self, time: Array, users: Array, items: Array, counts: Array) -> Array:
    """[n, size] items, the latest first, 0 where there is none, for the next rows, all [n].

    Rows that count are added.
    """
    self._waiting.add(time=time[counts], user=users[counts], item=items[counts])
    latest = np.zeros((len(time), self._state.shape[1]), self._state.dtype)
    for rows, piece, earlier in self._waiting.known(time):
      order, start, stop = _spans(piece["user"], users[rows], earlier)
      of_piece = piece["item"][order]
      latest[rows] = self._of(users[rows], of_piece, start, stop)
      ends = _ends(piece["user"][order])
      known = piece["user"][order[ends[1:] - 1]]
      self._state[known] = self._of(known, of_piece, ends[:-1], ends[1:])
    latest[users == 0] = 0
    return latest

  def _of(self, users: Array, items: Array, start: Array, stop: Array) -> Array:
    """The latest of each user, who has items from `start` to `stop` beside those known so far."""
    made = np.empty((len(users), self._state.shape[1]), self._state.dtype)
    for back in range(made.shape[1]):
      known = self._state[users, np.maximum(back - (stop - start), 0)]
      is_new = stop - 1 - back >= start
      made[:, back] = known
      made[is_new, back] = items[stop[is_new] - 1 - back]
    return made


def _zeros(path: Path, dtype: "str | np.dtype[Any]", shape: tuple[int, int]) -> Array:
  """A table in a file, of one line more than asked for, as they are numbered from 1."""
  return np.asarray(np.memmap(path, dtype, "w+", shape=(shape[0] + 1, shape[1])))


def _sums(state: Array, known: Array, asked: Array, added: Array, earlier: Array) -> Array:
  """Sums of an entity before each of some rows, int64 [n, k]; others are added to its state.

  Args:
    state: int64 [keys, k].
    known: int32 [m], the keys of rows to add.
    asked: int32 [n], those of the rows that see sums; 0 sees none.
    added: int64 [m, k], what the first have.
    earlier: int [n], how many of these were known before each of the others.
  """
  order, start, stop = _spans(known, asked, earlier)
  total = _totals(_lines(added, order))
  made = _lines(state, asked) + _lines(total, stop) - _lines(total, start)
  made[asked == 0] = 0
  ends = _ends(_lines(known, order))
  state[known[order[ends[1:] - 1]]] += np.diff(total[ends], axis=0)
  return made


def _spans(known: Array, asked: Array, earlier: Array) -> tuple[Array, Array, Array]:
  """The order of rows by key, and where in it the past of other rows begins and ends.

  Args:
    known: int [m], the keys of rows in order of time.
    asked: int [n], those of the others, in order of time too.
    earlier: int [n], how many of the m rows are the past, of whatever key.
  """
  bits = max(len(known), len(asked)).bit_length()
  mask = (1 << bits) - 1
  ordered = np.sort(known.astype(np.int64) << bits | np.arange(len(known)))
  # In order of keys too, as NumPy is much faster to find what is in order.
  others = np.sort(asked.astype(np.int64) << bits | np.arange(len(asked)))
  row, first = others & mask, others & ~mask
  start, stop = np.empty((2, len(asked)), np.int64)
  start[row] = np.searchsorted(ordered, first)
  stop[row] = np.searchsorted(ordered, first | _lines(earlier, row))
  return ordered & mask, start, stop


def _totals(values: Array) -> Array:
  """int64 [m + 1, k], the sums of the first 0, 1, …, m lines."""
  totals = np.zeros((len(values) + 1, values.shape[1]), np.int64)
  np.cumsum(values, axis=0, out=totals[1:])
  return totals


def _lines(table: Array, places: Array) -> Array:
  """Lines of a table; NumPy is several times as fast here as by brackets."""
  return np.take(table, places, axis=0)


def _ends(ordered: Array) -> Array:
  """Where equal numbers begin and end: 0, …, n; n may be 0."""
  changes = np.flatnonzero(np.diff(ordered)) + 1
  return np.concatenate([[0], changes, [len(ordered)]])[: len(changes) + 1 + (len(ordered) > 0)]
