"""A day on its own: its rows in blocks, with codes for values, and what all days together need.

A block is a run of consecutive rows that is cut where time changes, so that every row of a block
is strictly later than all rows of the blocks before it.
"""

import dataclasses
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from ranking.array import Array
from ranking.data import features, lookback
from ranking.data.features import Moments, Values
from ranking.data.lookback import Lookback
from ranking.data.rows import without_duplicates
from ranking.data.schema import Bag, DataError, Log, Source
from ranking.tasks import Task

BLOCK_ROWS = 1 << 17  # about so many rows of a day are in memory at a time
DRAFT = "draft.pickle"
VERSION: Final = 1  # raised when a draft changes: its rows and their order, codes, counts or sums


@dataclasses.dataclass(frozen=True)
class Layout:
  """What is the same for all rows of a log; see Log."""

  categorical: tuple[str, ...]
  bags: tuple[str, ...]
  dense: tuple[str, ...]
  tasks: tuple[Task, ...]
  entities: tuple[str, ...]
  rated_tasks: tuple[str, ...]
  report_by: str | None
  time_zone: str

  @classmethod
  def of(cls, log: Log) -> "Layout":
    return cls(
      categorical=tuple(map(str, log.categorical.columns)),
      bags=tuple(log.bags),
      dense=tuple(map(str, log.dense.columns)),
      tasks=tuple(log.tasks),
      entities=tuple(log.entities),
      rated_tasks=tuple(log.rated_tasks),
      report_by=log.report_by,
      time_zone=log.time_zone,
    )


@dataclasses.dataclass(frozen=True)
class Draft:
  """A day that is drafted: C categorical columns, T tasks, R rated ones.

  Attributes:
    name: of the day.
    layout: of its log.
    rows: per block.
    first_time, last_time: ms since epoch UTC.
    cleaning: of its rows.
    values: distinct values per categorical column and per bag, by code.
    counts: int64 [v], rows per value of a categorical column; for a bag, of lists that hold it.
    lengths: of the longest list per bag.
    labels: moments of [n, T].
    dense: moments of [n, D].
    positives: int64 [T], rows whose label is above 0.
    levels: rows per value of a label, of tasks whose kind asks for it.
    terms: per entity float64 [v, 2R], the sums of the rows' `lookback.terms`.
    terms_of_all: float64 [1, 2R].
    latest: int64 [users, K], codes of each user's latest items with positive feedback; or None.
  """

  name: str
  layout: Layout
  rows: tuple[int, ...]
  first_time: int
  last_time: int
  cleaning: Mapping[str, int]
  values: Mapping[str, Array]
  counts: Mapping[str, Array]
  lengths: Mapping[str, int]
  labels: Moments
  dense: Moments
  positives: Array
  levels: Mapping[str, Counter[float]]
  terms: Mapping[str, Array]
  terms_of_all: Array
  latest: Array | None


@dataclasses.dataclass(frozen=True)
class Block:
  """Some rows of a day in order of time; a code is the place of a value in the day's draft.

  Attributes:
    time: int64 [n], ms since epoch UTC.
    codes: int64 [n] per categorical column, -1 = missing.
    lists: int64 [l, longest] per bag, the codes of each distinct list; -1 = padding or missing.
    list_of_row: [n] per bag.
    dense: float32 or float64 [n, D], NaN = missing.
    labels: float32 [n, T], NaN = missing.
    truth: float64 [n, T], or None.
  """

  time: Array
  codes: Mapping[str, Array]
  lists: Mapping[str, Array]
  list_of_row: Mapping[str, Array]
  dense: Array
  labels: Array
  truth: Array | None

  def save(self, path: Path) -> None:
    """Codes take as few bytes each as their largest needs, with 0 for missing."""
    arrays: dict[str, Any] = {"time": self.time, "dense": self.dense, "labels": self.labels}
    if self.truth is not None:
      arrays["truth"] = self.truth
    for kind in ("codes", "lists", "list_of_row"):
      for name, codes in getattr(self, kind).items():
        arrays[f"{kind}/{name}"] = (codes + 1).astype(np.min_scalar_type(codes.max(initial=0) + 1))
    np.savez(path, **arrays)

  @classmethod
  def load(cls, path: Path, columns: Sequence[str] | None = None) -> "Block":
    """The inverse of `save`; with `columns`, of time, labels and these categorical columns."""
    kinds: dict[str, Any] = {"codes": {}, "lists": {}, "list_of_row": {}}
    plain: dict[str, Any] = {"truth": None, "dense": np.zeros((0, 0))}
    wanted = None if columns is None else {"time", "labels", *(f"codes/{c}" for c in columns)}
    with open(path, "rb") as file, np.load(file) as arrays:  # NumPy leaves a damaged file open
      for key in arrays if wanted is None else wanted:
        kind, slash, name = key.partition("/")
        if slash:
          kinds[kind][name] = arrays[key].astype(np.int64) - 1
        else:
          plain[key] = arrays[key]
    return cls(**kinds, **plain)

  def rated(self, layout: Layout) -> Array:
    """float32 [n, R], the labels of the rated tasks."""
    names = [task.name for task in layout.tasks]
    return self.labels[:, [names.index(task) for task in layout.rated_tasks]]

  def positive(self, layout: Layout) -> tuple[Array, Array, Array]:
    """(user, time, item) [p] of the rows with both and positive feedback, in order of time."""
    user, item = (self.codes[entity] for entity in layout.entities[:2])
    there = np.flatnonzero((self.rated(layout)[:, 0] > 0) & (user >= 0) & (item >= 0))
    return user[there], self.time[there], item[there]


def block_path(folder: Path, number: int) -> Path:
  """The file of a day's block."""
  return folder / f"block-{number:05d}.npz"


def load(folder: Path) -> Draft:
  """The draft of a day."""
  with open(folder / DRAFT, "rb") as file:
    draft: Draft = pickle.load(file)
  return draft


def draft_day(
  source: Source, tables: Any, rows: pd.DataFrame, seen: Lookback, folder: Path
) -> None:
  """Describes the rows of one day and writes its blocks and its draft into a folder.

  Args:
    source: what describes them.
    tables: of the source.
    rows: of the day, in order of time.
    seen: what a row sees of the past.
    folder: where to.

  Raises DataError on bad input.
  """
  cleaning = Counter[str]()
  values: dict[str, Values] = {}
  parts: list[Draft] = []
  for number, block_rows in enumerate(_blocks(rows)):
    some, counts = without_duplicates(block_rows, source.keep_duplicates)
    cleaning.update(counts)  # keeps zeros, unlike +
    log = source.describe(some, tables)
    _check(log, len(some))
    cleaning.update(log.cleaning)
    block, lengths = _encode(log, values)
    block.save(block_path(folder, number))
    parts.append(_summarise(block, log, lengths, seen, {k: len(v) for k, v in values.items()}))
  draft = dataclasses.replace(
    _joined(parts),
    cleaning=dict(cleaning),
    values={name: known.array() for name, known in values.items()},
  )
  with open(folder / DRAFT, "wb") as file:
    pickle.dump(draft, file)


def _blocks(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
  """Cuts a day into blocks of about BLOCK_ROWS rows, where time changes."""
  time = rows.time.to_numpy()
  start = 0
  while start < len(rows):
    last = time[min(start + BLOCK_ROWS, len(rows)) - 1]
    stop = int(np.searchsorted(time, last, side="right"))
    yield rows[start:stop].reset_index(drop=True)
    start = stop


def _check(log: Log, rows: int) -> None:
  """Raises DataError unless this is a log of so many rows of one day, fit to train on."""
  if len(log.day_names) != 1 or len(log.time) != rows:
    raise DataError(f"{rows} rows of one day became {len(log.time)} of {len(log.day_names)} days")
  if (np.diff(log.time) < 0).any():
    raise DataError("the source's rows are not in time order; sort them by time before packing")
  for name, column in log.dense.items():
    features.check_dense(str(name), column.to_numpy(np.float64))
  for task in log.tasks:
    features.check_labels(task, log.labels[task.name].to_numpy(np.float32))


def _encode(log: Log, values: dict[str, Values]) -> tuple[Block, dict[str, int]]:
  """A block, and the length of its longest list per bag; `values` learns what is new."""
  codes = {
    str(name): values.setdefault(str(name), Values()).codes(column)
    for name, column in log.categorical.items()
  }
  lists, lengths = {}, {}
  for name, bag in log.bags.items():
    lists[name] = _codes_of_lists(bag, values.setdefault(name, Values()))
    lengths[name] = lists[name].shape[1]
  dense = log.dense.to_numpy(np.result_type(np.float32, *log.dense.dtypes))
  block = Block(
    time=log.time.astype(np.int64),
    codes=codes,
    lists=lists,
    list_of_row={name: np.asarray(bag.index) for name, bag in log.bags.items()},
    dense=dense,
    labels=log.labels.to_numpy(np.float32),
    truth=None if log.truth is None else log.truth.to_numpy(np.float64),
  )
  return block, lengths


def _codes_of_lists(bag: Bag, values: Values) -> Array:
  """int64 [l, longest], -1 = padding or missing."""
  lengths = np.array([len(entry) for entry in bag.lists], np.int64)
  flat = np.empty(lengths.sum(), object)
  flat[:] = [value for entry in bag.lists for value in entry]
  table = np.full((len(lengths), max(lengths.max(initial=0), 1)), -1, np.int64)
  table[np.arange(table.shape[1]) < lengths[:, None]] = values.codes(flat)
  return table


def _summarise(
  block: Block, log: Log, lengths: Mapping[str, int], seen: Lookback, sizes: Mapping[str, int]
) -> Draft:
  """The draft of a day that has this block alone, but for cleaning and values."""
  layout = Layout.of(log)
  _check_lookback(seen, layout)
  counts = {name: _counts(codes, sizes[name]) for name, codes in block.codes.items()}
  for name, table in block.lists.items():
    rows = np.bincount(block.list_of_row[name], minlength=len(table))
    counts[name] = _counts(table.ravel(), sizes[name], np.repeat(rows, table.shape[1]))
  terms = lookback.terms(block.rated(layout))
  recent = None
  if seen.history:
    user, _, item = block.positive(layout)
    recent = lookback.latest(user, item, sizes[layout.entities[0]], seen.history)
  return Draft(
    name=log.day_names[0],
    layout=layout,
    rows=(len(block.time),),
    first_time=int(block.time[0]),
    last_time=int(block.time[-1]),
    cleaning={},
    values={},
    counts=counts,
    lengths=lengths,
    labels=Moments.of(block.labels),
    dense=Moments.of(block.dense),
    positives=(block.labels > 0).sum(axis=0),
    levels=features.levels(layout.tasks, block.labels),
    terms={
      entity: lookback.sums_by(block.codes[entity], terms, sizes[entity])
      for entity in layout.entities
    },
    terms_of_all=terms.sum(axis=0, keepdims=True),
    latest=recent,
  )


def _check_lookback(seen: Lookback, layout: Layout) -> None:
  """Raises DataError where a log lacks what a setting of the look back is about."""
  has = f"the log has entities {list(layout.entities)} and rated tasks {list(layout.rated_tasks)}"
  if seen.history and (len(layout.entities) < 2 or not layout.rated_tasks):
    raise DataError(
      f"Lookback.history is {seen.history}, but {has}; a history needs a user, an item and a rated "
      "task"
    )
  if seen.feedback_delay_hours and not (layout.entities and layout.rated_tasks):
    raise DataError(
      f"Lookback.feedback_delay_hours is {seen.feedback_delay_hours}, but {has}; only the past "
      "labels of an entity can be late: leave it 0"
    )


def _counts(codes: Array, size: int, weights: Array | None = None) -> Array:
  """int64 [size], rows or weights per code; -1 is none."""
  there = codes >= 0
  of_there = None if weights is None else weights[there]
  return np.bincount(codes[there], of_there, size).astype(np.int64)


def _joined(parts: Sequence[Draft]) -> Draft:
  """Joins drafts of consecutive blocks; codes keep their meaning, so arrays only get longer."""
  whole = parts[0]
  for part in parts[1:]:
    if (part.name, part.layout) != (whole.name, whole.layout):
      raise DataError(f"blocks of day {whole.name} differ: {whole.layout} and {part.layout}")
    recent = None
    if whole.latest is not None and part.latest is not None:
      recent = lookback.put_before(_padded(whole.latest, len(part.latest), -1), part.latest)
    whole = dataclasses.replace(
      whole,
      rows=whole.rows + part.rows,
      last_time=part.last_time,
      counts={k: _padded(whole.counts[k], len(v), 0) + v for k, v in part.counts.items()},
      lengths={k: max(whole.lengths[k], v) for k, v in part.lengths.items()},
      labels=whole.labels + part.labels,
      dense=whole.dense + part.dense,
      positives=whole.positives + part.positives,
      levels={k: whole.levels[k] + v for k, v in part.levels.items()},
      terms={k: _padded(whole.terms[k], len(v), 0) + v for k, v in part.terms.items()},
      terms_of_all=whole.terms_of_all + part.terms_of_all,
      latest=recent,
    )
  return whole


def _padded(array: Array, length: int, fill: int) -> Array:
  """Pads an array with `fill` up to `length` rows."""
  rest = np.full((length - len(array), *array.shape[1:]), fill, array.dtype)
  return np.concatenate([array, rest])
