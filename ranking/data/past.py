"""What was known of each row's user, item and author just before its event: rows in order of time.

An entity's sums, and the latest items of a user, are numbered by entity in files that the system
keeps in memory as far as there is room. They learn of a row once it is known, which for its label
may be much later than its event: until then it waits in a file too. So memory is bounded, however
many entities there are, and however long a row waits.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ranking.array import Array

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

  def known(self, time: Array) -> Iterator[tuple[slice, Array]]:
    """Rows that were known before the last of some times, pieces of them in order.

    With each piece come the places of times before which no row of a later piece was known: each
    place is among those of one piece.
    """
    limits, done = time - self._delay, 0
    while True:
      drained = not len(self._next) and not self._fill()
      count = int(np.searchsorted(self._next["time"], limits[-1]))
      piece, self._next = self._next[:count], self._next[count:]
      is_last = drained or len(self._next) > 0
      stop = len(time) if is_last else int(np.searchsorted(limits, piece["time"][-1], "right"))
      yield slice(done, stop), piece
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

  def before(self, piece: Array, keys: Array, time: Array, of_keys: Array) -> tuple[Array, ...]:
    """The order of a piece by key, and the places in it where the past of each row begins and ends.

    Args:
      piece: of known rows.
      keys: int [m], of the piece.
      time: [n], of rows.
      of_keys: int [n], theirs.
    """
    bits = max(len(piece), len(time)).bit_length()
    mask = (1 << bits) - 1
    known = np.sort(keys.astype(np.int64) << bits | np.arange(len(piece)))
    asked = np.sort(of_keys.astype(np.int64) << bits | np.arange(len(time)))
    row, first = asked & mask, asked & ~mask
    earlier = np.searchsorted(piece["time"], time - self._delay)
    start, stop = np.empty((2, len(time)), np.int64)
    start[row] = np.searchsorted(known, first)  # much faster for what is in order
    stop[row] = np.searchsorted(known, first | np.take(earlier, row))
    return known & mask, start, stop


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
    self._width = columns

  def __enter__(self) -> "Sums":
    self._waiting.__enter__()
    return self

  def __exit__(self, *error: object) -> None:
    self._waiting.__exit__(*error)

  def before(self, time: Array, keys: Array, values: Array) -> Array:
    """int64 [E, n, k] for the next rows, which are added: time [n], keys [n, E], values [n, k]."""
    self._waiting.add(time=time, keys=keys, values=values)
    sums = np.empty((keys.shape[1], *values.shape), np.int64)
    for rows, piece in self._waiting.known(time):
      known = np.ascontiguousarray(piece["values"])
      for state, own, of_piece, of_rows in zip(
        self._states, sums, piece["keys"].T, keys[rows].T, strict=True
      ):
        order, start, stop = self._waiting.before(piece, of_piece, time[rows], of_rows)
        total = np.zeros((len(piece) + 1, self._width), np.int64)
        np.cumsum(_lines(known, order), axis=0, out=total[1:])
        own[rows] = _lines(state, of_rows) + _lines(total, stop) - _lines(total, start)
        ends = _ends(of_piece[order])
        state[of_piece[order[ends[1:] - 1]]] += np.diff(total[ends], axis=0)
    for own, of_entity in zip(sums, keys.T, strict=True):
      own[of_entity == 0] = 0
    return sums


class Latest:
  """A context manager: the latest items of each user that were known strictly before a time.

  Args:
    folder: for what does not fit into memory; must not exist.
    users: how many there are; they are numbered from 1.
    size: how many items.
    delay: in ms; a row is known once it is older than this.
  """

  def __init__(self, folder: Path, users: int, size: int, delay: int):
    folder.mkdir(parents=True)
    self._state = _zeros(folder / "state", "<i4", (users, size))
    self._waiting = Waiting(folder / "waiting", [("user", "<i4"), ("item", "<i4")], delay)

  def __enter__(self) -> "Latest":
    self._waiting.__enter__()
    return self

  def __exit__(self, *error: object) -> None:
    self._waiting.__exit__(*error)

  def before(self, time: Array, users: Array, items: Array, counts: Array) -> Array:
    """int32 [n, size], the latest first, 0 where there is none, for the next rows, all [n].

    Rows that count are added.
    """
    self._waiting.add(time=time[counts], user=users[counts], item=items[counts])
    latest = np.zeros((len(time), self._state.shape[1]), np.int32)
    for rows, piece in self._waiting.known(time):
      order, start, stop = self._waiting.before(piece, piece["user"], time[rows], users[rows])
      of_piece = piece["item"][order]
      latest[rows] = self._of(users[rows], of_piece, start, stop)
      ends = _ends(piece["user"][order])
      known = piece["user"][order[ends[1:] - 1]]
      self._state[known] = self._of(known, of_piece, ends[:-1], ends[1:])
    latest[users == 0] = 0
    return latest

  def _of(self, users: Array, items: Array, start: Array, stop: Array) -> Array:
    """The latest of each user, who has items from `start` to `stop` beside those known so far."""
    made = np.empty((len(users), self._state.shape[1]), np.int32)
    for back in range(made.shape[1]):
      known = self._state[users, np.maximum(back - (stop - start), 0)]
      is_new = stop - 1 - back >= start
      made[:, back] = known
      made[is_new, back] = items[stop[is_new] - 1 - back]
    return made


def _zeros(path: Path, dtype: str, shape: tuple[int, int]) -> Array:
  """A table in a file, of one line more than asked for, as they are numbered from 1."""
  return np.asarray(np.memmap(path, dtype, "w+", shape=(shape[0] + 1, shape[1])))


def _lines(table: Array, places: Array) -> Array:
  """Lines of a table; NumPy is several times as fast here as by brackets."""
  return np.take(table, places, axis=0)


def _ends(ordered: Array) -> Array:
  """Where equal numbers begin and end: 0, …, n; n may be 0."""
  changes = np.flatnonzero(np.diff(ordered)) + 1
  return np.concatenate([[0], changes, [len(ordered)]])[: len(changes) + 1 + (len(ordered) > 0)]
