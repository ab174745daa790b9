"""Packing for tests: a log through the real preparation, and its pieces on single columns."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ranking.array import Array
from ranking.data import draft, features
from ranking.data.features import Moments, Values
from ranking.data.lookback import Latest, Lookback, Rates, terms
from ranking.data.prepare import prepare
from ranking.data.schema import Bag, Log, Schema
from ranking.data.store import ARRAYS, Day, DayStore
from tests.conftest import TinySource


@dataclasses.dataclass(frozen=True)
class Packed:
  """All rows of a store, [n, …] each, and its schema."""

  ids: Array
  bags: Array
  dense: Array
  labels: Array
  time: Array
  schema: Schema


def read_back(made: DayStore) -> Packed:
  days = [*made.train_days, made.eval_day]
  arrays = {name: np.concatenate([getattr(day, name) for day in days]) for name in ARRAYS}
  return Packed(**arrays, schema=made.schema)


def with_changes(day: Day, **changes: Any) -> Day:
  """A day with another name or other arrays, held in memory."""
  return Day(**{name: changes.get(name, getattr(day, name)) for name in ("name", *ARRAYS)})


def pack(dataset: str, log: Log, lookback: Lookback | None = None) -> Packed:
  """What a prepared store of the log holds."""
  with tempfile.TemporaryDirectory() as folder:
    return read_back(prepare(TinySource(log, name=dataset), Path(folder), lookback=lookback))


def slices(time: Array, rows: int) -> Iterator[slice]:
  """About so many rows each, cut where time changes."""
  start = 0
  while start < len(time):
    last = time[min(start + rows, len(time)) - 1]
    stop = int(np.searchsorted(time, last, side="right"))
    yield slice(start, stop)
    start = stop


def as_of(log: Log, lookback: Lookback, block_rows: int = 7) -> pd.DataFrame:
  """As-of features before they are standardised, a block after the other."""
  codes = [Values().codes(log.categorical[entity]) for entity in log.entities]
  terms_of_rows = terms(log.labels[list(log.rated_tasks)].to_numpy())
  groups = [code.max(initial=-1) + 1 for code in codes]
  width = terms_of_rows.shape[1]
  rates = Rates(
    [np.zeros((size, 1)) for size in groups],
    [np.zeros((size, width)) for size in groups],
    np.zeros((1, width)),
    lookback.delay,
  )
  made = [
    rates.before([code[rows] for code in codes], log.time[rows], terms_of_rows[rows])
    for rows in slices(log.time, block_rows)
  ]
  names = [
    name
    for entity in log.entities
    for name in (f"{entity}_count", *(f"{entity}_{task}_rate" for task in log.rated_tasks))
  ]
  return pd.DataFrame(np.concatenate(made), columns=names)


def recent(log: Log, lookback: Lookback, block_rows: int = 7) -> Array:
  """Rows of the latest positive feedback of each row's user, [n, history]; -1 = none."""
  user, item = (Values().codes(log.categorical[entity]) for entity in log.entities[:2])
  liked = (log.labels[log.rated_tasks[0]].to_numpy() > 0) & (user >= 0) & (item >= 0)
  latest = Latest(np.full((user.max(initial=-1) + 1, lookback.history), -1), lookback.delay)
  made = []
  for rows in slices(log.time, block_rows):
    positive = np.flatnonzero(liked[rows]) + rows.start
    latest.add(user[positive], log.time[positive], positive)
    made.append(latest.before(user[rows], log.time[rows]))
  return np.concatenate(made)


def encode(column: pd.Series, train: Array) -> tuple[Array, int]:
  """Ids of a column, int32 [n], and how many there are; `train` marks the training rows."""
  values = Values()
  codes = values.codes(column)
  counts = draft._counts(codes[train], len(values))
  ids = features.vocabulary(counts)
  return np.append(ids, np.int32(0))[codes], features.vocabulary_size(ids)


def encode_bag(bag: Bag, train: Array) -> tuple[Array, int]:
  """Ids of a bag, int32 [n, longest list], and how many there are."""
  values = Values()
  table = draft._codes_of_lists(bag, values)
  rows = np.bincount(bag.index[train], minlength=len(table))
  ids = features.vocabulary(
    draft._counts(table.ravel(), len(values), np.repeat(rows, table.shape[1]))
  )
  return np.append(ids, np.int32(0))[table][bag.index], features.vocabulary_size(ids)


def standardise(column: pd.Series, train: Array) -> Array:
  """float32 [n]."""
  values = column.to_numpy(np.float64)[:, None]
  return features.standardise(values, Moments.of(values[train]))[:, 0]
