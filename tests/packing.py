"""Packing for tests: a log through the real preparation, and what it makes on the way."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from ranking.array import Array
from ranking.data import features
from ranking.data.features import Moments
from ranking.data.lookback import Lookback, Past
from ranking.data.prepare import prepare
from ranking.data.schema import Log, Schema
from ranking.data.store import ARRAYS, Day, DayStore
from ranking.tasks import Task
from tests.conftest import TinySource
from tests.frames import Bag, FrameLog


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


def pack(dataset: str, log: FrameLog, lookback: Lookback | None = None) -> Packed:
  """What a prepared store of the log holds."""
  with tempfile.TemporaryDirectory() as folder:
    return read_back(
      prepare(TinySource(log, name=dataset), Path(folder), lookback=lookback, fair_share=0.0)
    )


def as_of(log: FrameLog, lookback: Lookback, block_rows: int = 7) -> pd.DataFrame:
  """As-of features before they are standardised, a block after the other."""
  names = [
    name
    for entity in log.entities
    for name in (f"{entity}_count", *(f"{entity}_{task}_rate" for task in log.rated_tasks))
  ]
  rates, _ = _of_past(log, lookback, block_rows)
  return pd.DataFrame(rates, columns=names)


def recent(log: FrameLog, lookback: Lookback, block_rows: int = 7) -> Array:
  """Numbers of the latest items of each row's user, [n, history]; 0 for none."""
  return _of_past(log, lookback, block_rows)[1]


def _of_past(log: FrameLog, lookback: Lookback, block_rows: int) -> tuple[Array, Array]:
  """What rows in order of time see of the past: rates and items. Entities are numbered here."""
  keys = np.stack([pd.factorize(log.categorical[name])[0] + 1 for name in log.entities], axis=1)
  rows = log.time, keys.astype(np.int32), log.labels[list(log.rated_tasks)].to_numpy(np.float64)
  rates, items = [], [np.zeros((0, lookback.history), np.int32)]
  counts = keys.max(axis=0).tolist()
  with (
    tempfile.TemporaryDirectory() as folder,
    Past(Path(folder, "past"), cast(Log, log), lookback, counts) as past,
  ):
    for start in range(0, len(log.time), block_rows):
      time, entities, labels = (part[start : start + block_rows] for part in rows)
      rates.append(past.rates(time, entities, labels))
      if lookback.history:
        items.append(past.latest(time, entities, labels, entities[:, 1], labels))
  return np.concatenate(rates), np.concatenate(items)


def encode(column: pd.Series, train: Array) -> tuple[Array, int]:
  """Ids of a column, int32 [n], and how many there are; `train` marks the training rows."""
  packed = pack("column", _log(train, categorical=pd.DataFrame({"column": column})))
  return packed.ids[:, 0], packed.schema.of_kind("categorical")[0].vocabulary_size


def encode_bag(bag: Bag, train: Array) -> tuple[Array, int]:
  """Ids of a bag, int32 [n, longest list], and how many there are."""
  packed = pack("bag", _log(train, bags={"bag": bag}))
  return packed.bags, packed.schema.of_kind("bag")[0].vocabulary_size


def standardise(column: pd.Series, train: Array) -> Array:
  """float32 [n]."""
  values = column.to_numpy(np.float64)[:, None]
  return features.standardise(values, Moments.of(values[train]))[:, 0]


def _log(train: Array, **changes: Any) -> FrameLog:
  """A log of a training day and day N, rows in their order, with some columns."""
  size = len(train)
  plain = FrameLog(
    time=np.arange(size),
    day=(~train).astype(np.int32),
    day_names=("train", "last"),
    time_zone="UTC",
    categorical=pd.DataFrame({"one": np.ones(size, int)}),
    bags={},
    dense=pd.DataFrame(index=range(size)),
    labels=pd.DataFrame({"label": np.zeros(size, np.float32)}),
    tasks=(Task("label", "binary"),),
    entities=(),
    rated_tasks=(),
    cleaning={},
  )
  return dataclasses.replace(plain, **changes)
