"""The plain way to pack a log, all of it at once in memory: the witness of the prepared store."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pandas as pd

from ranking.array import Array
from ranking.data.features import DENSE_LIMIT, FIRST_ID, MIN_COUNT
from ranking.data.lookback import PRIOR_ROWS, Lookback
from ranking.data.schema import Feature, Schema
from ranking.tasks import LabelStatistics
from tests.frames import Bag, FrameLog


@dataclasses.dataclass(frozen=True)
class Packed:
  """All rows of a log as the day store's five row-major arrays, and their schema."""

  ids: Array  # int32 [n, C]
  bags: Array  # int32 [n, sum of lengths], 0 = padding
  dense: Array  # float32 [n, D]
  labels: Array  # float32 [n, T], NaN = missing
  time: Array  # int64 [n], ms since epoch UTC
  schema: Schema


def pack(dataset: str, log: FrameLog, lookback: Lookback | None = None) -> Packed:
  """Packs a log, and what its rows see of the past."""
  train = log.day < len(log.day_names) - 1
  labels = log.labels.to_numpy(np.float32)
  ids = {name: encode(column, train) for name, column in log.categorical.items()}
  bags = {name: encode_bag(bag, train) for name, bag in log.bags.items()}
  lookback = lookback or Lookback()
  if lookback.history:
    rows, item = recent(log, lookback), log.entities[1]
    codes, size = ids[item]
    bags[f"recent_{item}"] = (np.where(rows < 0, 0, codes[rows]).astype(np.int32), size)
  dense = pd.concat([log.dense, as_of(log, lookback)], axis=1)
  return Packed(
    ids=np.stack([column for column, _ in ids.values()], axis=1),
    bags=np.concatenate(
      [np.zeros((len(log.time), 0), np.int32), *(column for column, _ in bags.values())], axis=1
    ),
    dense=np.stack([standardise(column, train) for _, column in dense.items()], axis=1),
    labels=labels,
    time=log.time.astype(np.int64),
    schema=Schema(
      dataset=dataset,
      features=(
        *(Feature(str(name), "categorical", size) for name, (_, size) in ids.items()),
        *(Feature(name, "bag", size, table.shape[1]) for name, (table, size) in bags.items()),
        *(Feature(str(name), "dense") for name in dense.columns),
      ),
      tasks=tuple(log.tasks),
      day_names=tuple(log.day_names),
      label_statistics=tuple(_label_statistics(column[train]) for column in labels.T),
      entities=tuple(log.entities),
      report_by=log.report_by,
      report_values=_values(log.categorical[log.report_by], *ids[log.report_by])
      if log.report_by
      else (),
    ),
  )


def encode(column: pd.Series, train: Array) -> tuple[Array, int]:
  """Ids of a column of raw values: int32 [n], and the vocabulary size.

  Args:
    column: [n] hashable values, None or NaN = missing.
    train: bool [n], the rows of days 1..N-1, whose values make the vocabulary.
  """
  codes, _ = pd.factorize(column)
  vocabulary = _vocabulary(codes[train], np.ones(train.sum()), codes.max(initial=-1) + 1)
  return vocabulary[codes], int(vocabulary.max(initial=1)) + 1


def _values(column: pd.Series, ids: Array, size: int) -> tuple[str, ...]:
  """What each id stands for."""
  names = ["missing or unseen", "rare", *[""] * (size - FIRST_ID)]
  for number, row in zip(*np.unique(ids, return_index=True), strict=True):
    if number >= FIRST_ID:
      names[number] = str(column.iloc[row])
  return tuple(names)


def encode_bag(bag: Bag, train: Array) -> tuple[Array, int]:
  """Ids of a bag: int32 [n, longest list], padded with 0, and the vocabulary size."""
  lengths = np.array([len(entry) for entry in bag.lists], np.int64)
  values = np.empty(lengths.sum(), object)
  values[:] = list(itertools.chain.from_iterable(bag.lists))
  codes, _ = pd.factorize(values)
  rows_of_list = np.bincount(bag.index[train], minlength=len(lengths))
  vocabulary = _vocabulary(codes, np.repeat(rows_of_list, lengths), codes.max(initial=-1) + 1)
  table = np.zeros((len(lengths), max(lengths.max(initial=0), 1)), np.int32)
  filled = np.arange(table.shape[1]) < lengths[:, None]
  table[filled] = vocabulary[codes]
  return table[bag.index], int(vocabulary.max(initial=1)) + 1


def _vocabulary(codes: Array, weights: Array, size: int) -> Array:
  """Id of each code, int32 [size + 1]; code -1 (missing) reads the last entry, which is 0."""
  counts = np.bincount(codes[codes >= 0], weights[codes >= 0], minlength=size)
  frequent = np.flatnonzero(counts >= MIN_COUNT)
  frequent = frequent[np.argsort(-counts[frequent], kind="stable")]
  ids = np.zeros(size + 1, np.int32)
  ids[:size][counts > 0] = 1
  ids[frequent] = np.arange(FIRST_ID, FIRST_ID + len(frequent))
  return ids


def standardise(column: pd.Series, train: Array) -> Array:
  """float32 [n] with mean 0 and deviation 1 over the training days; a missing value becomes 0."""
  values = column.to_numpy(np.float64)
  known = values[train & ~np.isnan(values)]
  mean, deviation = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
  # The mean of a constant is rounded, so its deviation is tiny beside it but not 0.
  constant = deviation <= 1e-12 * max(1.0, abs(mean))
  scaled = np.zeros_like(values) if constant else (values - mean) / deviation
  return np.clip(np.nan_to_num(scaled), -DENSE_LIMIT, DENSE_LIMIT).astype(np.float32)


def _label_statistics(column: Array) -> LabelStatistics:
  known = column[~np.isnan(column)].astype(np.float64)
  mean, variance = (float(known.mean()), float(known.var())) if len(known) else (0.0, 0.0)
  return LabelStatistics(rows=len(known), mean=mean, variance=variance)


def as_of(log: FrameLog, lookback: Lookback) -> pd.DataFrame:
  """What was known of each row's entities just before its event: float64 [n, E * (1 + R)].

  For each of E entities: log1p of its count of strictly earlier rows, and for each of R rated tasks
  the mean of its labels known by then, smoothed towards the mean of all labels known by then.
  """
  columns = {}
  rows = np.arange(len(log.time))
  known_of = {}
  for task in log.rated_tasks:
    label = log.labels[task].to_numpy(np.float64)
    terms = np.stack([np.nan_to_num(label), ~np.isnan(label)], axis=1)
    totals = _before(np.zeros_like(rows), log.time, terms, lookback.delay)
    known_of[task] = (terms, (totals[:, 0] + 0.5) / (totals[:, 1] + 1.0))
  for entity in log.entities:
    codes = _codes(log.categorical[entity])
    codes = np.where(codes < 0, codes.max(initial=-1) + 1 + rows, codes)  # a missing id has no past
    columns[f"{entity}_count"] = np.log1p(_before(codes, log.time, np.ones((len(rows), 1)))[:, 0])
    for task, (terms, running) in known_of.items():
      past = _before(codes, log.time, terms, lookback.delay)
      columns[f"{entity}_{task}_rate"] = (past[:, 0] + PRIOR_ROWS * running) / (
        past[:, 1] + PRIOR_ROWS
      )
  return pd.DataFrame(columns, index=log.dense.index)


def recent(log: FrameLog, lookback: Lookback) -> Array:
  """Rows of the latest positive feedback of each row's user: int64 [n, history], −1 = none.

  Latest first, known strictly before the row's event.
  """
  user, item = (_codes(log.categorical[entity]) for entity in log.entities[:2])
  positive = np.flatnonzero(
    (log.labels[log.rated_tasks[0]].to_numpy() > 0) & (user >= 0) & (item >= 0)
  )
  positive = positive[np.lexsort((log.time[positive], user[positive]))]
  start, stop = _spans(user[positive], log.time[positive], user, log.time - lookback.delay)
  place = stop[:, None] - 1 - np.arange(lookback.history)
  there = (place >= start[:, None]) & (user >= 0)[:, None]
  if not len(positive):
    return np.full(place.shape, -1)
  return np.where(there, positive[np.clip(place, 0, len(positive) - 1)], -1)


def _codes(column: "pd.Series[Any]") -> Array:
  """int64 [n], -1 = missing."""
  codes, _ = pd.factorize(column)
  return codes.astype(np.int64)


def _before(group: Array, time: Array, values: Array, delay: int = 0) -> Array:
  """Sums of `values` [n, k] over rows of the same group whose time is below a row's by > delay."""
  order = np.lexsort((time, group))
  sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values[order], axis=0)])
  start, stop = _spans(group[order], time[order], group, time - delay)
  return sums[stop] - sums[start]


def _spans(group: Array, time: Array, of_group: Array, until: Array) -> tuple[Array, Array]:
  """Where the rows of a group with time < until begin and end, for each of (of_group, until).

  `group` and `time` are sorted by group, then time; groups are 0 or more.
  """
  moments = np.unique(time)
  stride = len(moments) + 1
  keys = group * stride + np.searchsorted(moments, time)
  start = np.searchsorted(keys, of_group * stride)
  stop = np.searchsorted(keys, of_group * stride + np.searchsorted(moments, until))
  return start, stop
