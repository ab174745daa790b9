"""The last stage: the arrays of the store, day by day from the rows of a coded log.

What numbers become (logarithms, rates, means and deviations) is worked out here, by NumPy, over the
same blocks of rows in the same order whatever the engine did before.
"""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ranking.array import Array
from ranking.data import features
from ranking.data.calendar import Calendar
from ranking.data.coded import Coded
from ranking.data.features import Levels, Moments
from ranking.data.hashing import TABLE
from ranking.data.lookback import AGES, MOST_ACTIONS, Lookback, Past
from ranking.data.schema import DataError, Feature, Log
from ranking.data.sides import fill, numbers
from ranking.data.store import ArrayWriter, write_manifest

BLOCK_ROWS: Final = 1 << 16
THREADS: Final = 4  # at most, that standardise days: each holds some blocks of rows


@dataclasses.dataclass
class Packed:
  """What the packed days say of themselves, one entry per day.

  Attributes:
    labels: moments of [n, T].
    positives: int64 [T], rows whose label is above 0.
    levels: how often rows have each value of a label, of tasks whose kind asks for it.
    unseen: int64 [C], rows of the last day whose id is 0.
    dense: moments of [n, D] in the training days, before they are standardised.
    filled, clipped: int64 [D], rows of all days without a value, which get the mean, and rows that
      lie beyond DENSE_LIMIT deviations.
    last_truth: float64 [n, T], what the labels of the last day were drawn from, in a file, for a
      source that knows it.
  """

  labels: list[Moments] = dataclasses.field(default_factory=list)
  positives: list[Array] = dataclasses.field(default_factory=list)
  levels: list[dict[str, Levels]] = dataclasses.field(default_factory=list)
  unseen: Array = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
  dense: Moments = dataclasses.field(default_factory=lambda: Moments.of(np.zeros((0, 0))))
  filled: Array = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
  clipped: Array = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
  last_truth: Array | None = None


def pack(
  coded: Coded,
  batches: Iterable[pa.RecordBatch],
  calendar: Calendar,
  lookback: Lookback,
  folder: Path,
  advance: Callable[[int], None],
) -> Packed:
  """Writes the days of the store.

  Args:
    coded: the log.
    batches: its rows, see `Coded.batches`.
    calendar: the days.
    lookback: what a row sees of its past.
    folder: the store.
    advance: is told of rows, of each of them twice.

  Raises DataError for a value that cannot be trained on.
  """
  log = coded.facts.log
  packed = Packed()
  keys = [coded.vocabularies[entity].keys for entity in log.entities]
  crcs = []
  dense: Moments | None = None
  with (
    Past(folder.with_name("past"), log, lookback, keys) as past,
    contextlib.closing(_ahead(batches)) as ahead,
  ):
    blocks = _blocks(ahead, calendar.rows)
    for place, (name, rows) in enumerate(zip(calendar.names, calendar.rows, strict=True)):
      is_last = place == len(calendar.names) - 1
      truth = folder.with_name("truth") if is_last and log.truth else None
      with _Day(coded, lookback, folder / name, rows, truth) as day:
        for _ in range(0, rows, BLOCK_ROWS):
          columns = next(blocks)
          moments = day.write(columns, past)
          if not is_last:
            dense = moments if dense is None else dense + moments
          advance(columns.num_rows)
        day.tell(packed, is_last)
      crcs.append(day.crcs)
    next(blocks, None)  # there is none, or it says so
  assert dense is not None
  packed.dense = dense
  packed.filled, packed.clipped = np.zeros((2, len(dense.rows)), np.int64)
  days = [folder / name for name in calendar.names]
  with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
    done = threads.map(_standardise, days, calendar.rows, itertools.repeat(dense))
    for of_folder, rows, of_day, made in zip(days, calendar.rows, crcs, done, strict=True):
      of_day["dense"], filled, clipped = made
      packed.filled += filled
      packed.clipped += clipped
      write_manifest(of_folder, rows, of_day)
      advance(rows)
  return packed


def features_of(coded: Coded, lookback: Lookback) -> tuple[Feature, ...]:
  """The features of the schema, in the order of their columns."""
  log, known = coded.facts.log, coded.vocabularies
  hashed = coded.hashing.columns if coded.hashing else ()
  bags = [Feature(name, "bag", known[name].size, known[name].length) for name in log.bags]
  if lookback.history:
    of_actions = 1 + 2 ** len(_binary(log))
    sizes = [known[log.entities[1]].size, *([AGES, of_actions] if lookback.history_details else [])]
    names = recent_bags(log)
    bags += [
      Feature(name, "bag", size, lookback.history) for name, size in zip(names, sizes, strict=False)
    ]
  return (
    *(
      Feature(name, "categorical", known[name].size, table=TABLE if name in hashed else "")
      for name in log.categorical
    ),
    *bags,
    *(Feature(name, "dense") for name in log.dense),
    *(
      Feature(_own(log, name), "dense")
      for entity in log.entities
      for name in (f"{entity}_count", *(f"{entity}_{task}_rate" for task in log.rated_tasks))
    ),
  )


def recent_bags(log: Log) -> tuple[str, str, str]:
  """The names of the bags of a user's latest items, of their ages, and of what the user did."""
  items = f"recent_{log.entities[1]}"
  return _own(log, items), _own(log, f"{items}_age"), _own(log, f"{items}_actions")


def _own(log: Log, name: str) -> str:
  """The name of a feature that is made here, which a column of the log may have too."""
  while name in {*log.categorical, *log.bags, *log.dense}:
    name += "_as_of_now"
  return name


def _binary(log: Log) -> list[int]:
  """The places of the tasks that say what a user did."""
  return [k for k, task in enumerate(log.tasks) if task.kind == "binary"][:MOST_ACTIONS]


class _Day:
  """A context manager that writes the arrays of a day; dense features not standardised yet.

  What the labels were drawn from goes to the file `truth`, if any.
  """

  def __init__(self, coded: Coded, lookback: Lookback, folder: Path, rows: int, truth: Path | None):
    self._log, self._sides, self._folder = coded.facts.log, coded.sides, folder
    folder.mkdir(parents=True)
    self._lengths = [f.length for f in features_of(coded, lookback) if f.kind == "bag"]
    widths = {
      "ids": len(self._log.categorical),
      "bags": sum(self._lengths),
      "labels": len(self._log.tasks),
    }
    widths |= dict.fromkeys(self._log.extras, 1)
    shapes = {"time": (rows,), **{name: (rows, width) for name, width in widths.items()}}
    self._writers = {name: ArrayWriter(folder, name, shape) for name, shape in shapes.items()}
    self._labels: Moments | None = None
    self._positives = np.zeros(len(self._log.tasks), np.int64)
    self._levels: dict[str, Levels] = {}
    self._weight = 0.0
    self._unseen = np.zeros(widths["ids"], np.int64)
    shape = (rows, len(self._log.truth))
    self._truth = None if truth is None else np.memmap(truth, "<f8", "w+", shape=shape)
    self._written = 0

  def __enter__(self) -> "_Day":
    with contextlib.ExitStack() as stack:
      for writer in self._writers.values():
        stack.enter_context(writer)
      self._raw = stack.enter_context(open(self._folder / "dense.raw", "wb"))
      self._open = stack.pop_all()
    return self

  def __exit__(self, *_: object) -> None:
    self._open.close()

  @property
  def crcs(self) -> dict[str, int]:
    """Of each array."""
    return {name: writer.crc for name, writer in self._writers.items()}

  def write(self, columns: pa.Table, past: Past) -> Moments:
    """The next rows. Returns the moments of their dense features."""
    log = self._log
    time = columns["time"].to_numpy()
    labels = _table(columns, "label", [number.scale for number in log.labels.values()])
    rated = labels[:, [[*log.labels].index(task) for task in log.rated_tasks]]
    labels = labels.astype(np.float32)
    for task, column in zip(log.tasks, labels.T, strict=True):
      features.check_labels(task, column)
    ids, bags, dense = self._features(columns)
    if log.entities:
      keys = _table(columns, "entity", [None] * len(log.entities)).astype(np.int32)
      dense = np.concatenate([dense, past.rates(time, keys, rated)], axis=1)
      if len(self._lengths) > len(log.bags):
        items = ids[:, [*log.categorical].index(log.entities[1])]
        recent = past.latest(time, keys, rated, items, labels[:, _binary(log)])
        bags[:, -recent.shape[1] :] = recent
    for name, array in (("time", time), ("ids", ids), ("bags", bags), ("labels", labels)):
      self._writers[name].write(array)
    weights = None
    if log.weight is not None:
      weights = columns["weights"].to_numpy().astype(np.float32)
      if not ((weights >= 0) & np.isfinite(weights)).all():
        raise DataError("a weight is missing, negative or not finite; make it 0 or more")
      self._writers["weights"].write(weights[:, None])
      weights = weights.astype(np.float64)
      self._weight += float(weights.sum())
    if log.request is not None:
      self._writers["requests"].write(columns["requests"].to_numpy().astype(np.int64)[:, None])
    self._raw.write(np.ascontiguousarray(dense).data.cast("B") if dense.size else b"")
    moments = Moments.of(labels, weights)
    self._labels = moments if self._labels is None else self._labels + moments
    self._positives += (labels > 0).sum(axis=0)
    levels = features.levels(log.tasks, labels, weights)
    self._levels = features.joined_levels([self._levels, levels])
    self._unseen += (ids == 0).sum(axis=0)
    if self._truth is not None:
      rows = slice(self._written, self._written + len(time))
      self._truth[rows] = _table(columns, "truth", [None] * len(log.truth))
    self._written += len(time)
    return Moments.of(dense)

  def _features(self, columns: pa.Table) -> tuple[Array, Array, Array]:
    """Ids, bags and dense features of rows, without those of their past."""
    log, count = self._log, columns.num_rows
    ids = np.empty((count, len(log.categorical)), np.int32)
    bags = np.zeros((count, sum(self._lengths)), np.int32)
    dense = np.empty((count, len(log.dense)))
    of_bag = np.split(bags, np.cumsum(self._lengths)[:-1], axis=1)  # views
    for k, side in enumerate(self._sides):
      line = columns[f"line_{k}"].to_numpy()
      ids[:, side.id_places] = np.take(side.ids, line, axis=0)
      dense[:, side.dense_places] = np.take(side.dense, line, axis=0)
      for place, bag in side.bags.items():
        of_bag[place][:] = np.take(bag, line, axis=0)
    scales = [number.scale for number in log.dense.values()]
    for name in columns.column_names:
      kind, _, place = name.partition("_")
      if kind == "id":
        ids[:, int(place)] = columns[name].to_numpy()
      elif kind == "bag":
        fill(of_bag[int(place)], columns[name].combine_chunks())
      elif kind == "dense":
        dense[:, int(place)] = numbers(columns[name], scales[int(place)])
    for name, column in zip(log.dense, dense.T, strict=True):
      features.check_dense(name, column)
    return ids, bags, dense

  def tell(self, packed: Packed, is_last: bool) -> None:
    """Says what the arrays hold. Raises DataError where no row of the day counts."""
    assert self._labels is not None
    if self._log.weight is not None and not self._weight:
      raise DataError(
        f"all weights of {self._folder.name} are 0, so no row of that day counts; mend them, or "
        "leave the day out (Table.since, Table.until)"
      )
    packed.labels.append(self._labels)
    packed.positives.append(self._positives)
    packed.levels.append(self._levels)
    if is_last:
      packed.unseen, packed.last_truth = self._unseen, self._truth


def _table(columns: pa.Table, what: str, scales: Sequence[Any]) -> Array:
  """float64 [n, k], each column on its scale; NaN = missing."""
  table = np.empty((columns.num_rows, len(scales)))
  for k, scale in enumerate(scales):
    table[:, k] = numbers(columns[f"{what}_{k}"], scale)
  return table


def _standardise(folder: Path, rows: int, moments: Moments) -> tuple[int, Array, Array]:
  """Writes the dense features of a day.

  Returns:
    The CRC of the array; and int64 [D] each, how many values were filled, and how many clipped.
  """
  width = len(moments.mean)
  filled, clipped = np.zeros((2, width), np.int64)
  raw = folder / "dense.raw"
  with ArrayWriter(folder, "dense", (rows, width)) as writer, open(raw, "rb") as file:
    for start in range(0, rows, BLOCK_ROWS):
      count = min(BLOCK_ROWS, rows - start)
      block = np.frombuffer(file.read(count * width * 8)).reshape(count, width)
      scaled = features.standardise(block, moments)
      writer.write(scaled)
      filled += np.isnan(block).sum(axis=0)
      clipped += (np.abs(scaled) == features.DENSE_LIMIT).sum(axis=0)
  raw.unlink()
  return writer.crc, filled, clipped


def _blocks(batches: Iterable[pa.RecordBatch], days: Iterable[int]) -> Iterator[pa.Table]:
  """The same rows in blocks of BLOCK_ROWS, the last of each day smaller."""
  batches = iter(batches)
  waiting: list[pa.RecordBatch] = []
  have = 0
  for rows in days:
    for start in range(0, rows, BLOCK_ROWS):
      wanted = min(BLOCK_ROWS, rows - start)
      while have < wanted:
        batch = next(batches, None)
        if batch is None:
          raise DataError("the engine gave fewer rows than it had counted; prepare it again")
        waiting.append(batch)
        have += batch.num_rows
      table = pa.Table.from_batches(waiting)
      yield table.slice(0, wanted)
      waiting = table.slice(wanted).to_batches()
      have -= wanted
  if have or next(batches, None) is not None:
    raise DataError("the engine gave more rows than it had counted; prepare it again")


def _ahead(items: Iterable[Any], most: int = 4) -> Generator[Any, None, None]:
  """Makes some items ahead, in another thread, while those before them are used."""
  made: queue.Queue[tuple[bool, Any]] = queue.Queue(most)
  stopped = threading.Event()

  def put(item: tuple[bool, Any]) -> None:
    while not stopped.is_set():
      try:
        made.put(item, timeout=0.1)
      except queue.Full:
        continue
      return

  def work() -> None:
    try:
      for item in items:
        put((True, item))
        if stopped.is_set():
          return
      put((False, None))
    except BaseException as error:  # raised where the items are used
      put((False, error))

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    while True:
      there, item = made.get()
      if not there:
        if item is not None:
          raise item
        return
      yield item
  finally:
    stopped.set()
    thread.join()
