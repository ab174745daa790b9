"""Features that alone tell a label of a later day: what is known only after the event.

A column such as `nonclk` = 1 - click, the reason of a purchase, or a total over the whole log makes
every figure of day N a figure of the leak. Each feature is tried alone: what each of its values (or
each of 64 equal shares of a number's range) meant for the label in earlier training days predicts
the label of two later ones, day N and the day before it. Day N by itself would not do: an id that
is made at the event, such as that of an order, is unseen there.

What is known of the past by the making of the store (counts, rates and histories of strictly
earlier events), and who and what a row is about (the entities) cannot be leaks.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from ranking.array import Array
from ranking.data.schema import Feature, Schema
from ranking.data.store import ARRAYS, Day

# The best single feature of kuairand, movielens, synthetic and a sample of kuairec has an AUC of
# 0.82 (the length of a video, for whether it is watched twice) and an R² of 0.29. A copy of a label
# with an error in one of 50 rows has 0.98; what is known before the event hardly ever comes there.
ALMOST_PERFECT_AUC: Final = 0.98
ALMOST_PERFECT_R2: Final = 0.95
LEAST_ROWS: Final = 10  # positive and negative ones, on the later day: of fewer, chance may be such
EARLIER_ROWS: Final = 1 << 15  # sampled of all earlier days
LATER_ROWS: Final = 1 << 14  # sampled of each later day
SHARES: Final = 64
SEED: Final = 0
SEEN_ONCE: Final = 1.0  # rows of the mean label that are added to those of each value
LEAST_RATE: Final = 1e-6
PADDING: Final = -1


class Leak(NamedTuple):
  """A feature that alone predicts a task: by its AUC, or the R² where labels are numbers."""

  feature: str
  task: str
  day: str
  measure: str
  figure: float


def sample(day: Day, rows: int) -> Day:
  """At most so many rows of a day, in order: one of each of as many stretches of equal length."""
  if len(day) <= rows:
    chosen = np.arange(len(day))
  else:
    places = (np.arange(rows) + np.random.default_rng(SEED).random(rows)) * (len(day) / rows)
    chosen = np.minimum(places.astype(np.int64), len(day) - 1)
  arrays = {name: np.take(getattr(day, name), chosen, axis=0) for name in ARRAYS}
  return Day(day.name, **arrays)


def find(schema: Schema, days: Sequence[Day], honest: Collection[str]) -> list[Leak]:
  """The leaks among the features that are not `honest`, of each the task that it tells best."""
  tried = [feature for feature in schema.features if feature.name not in honest]
  if not tried:
    return []
  later = days[-2:] if len(days) > 2 else days[-1:]
  before = days[: -len(later)]
  share = EARLIER_ROWS / max(sum(len(day) for day in before), 1)
  parts = [sample(day, math.ceil(len(day) * share)) for day in before]
  labels, columns = _labels(schema, parts), _columns(schema, parts)
  tests = [(day.name, sample(day, LATER_ROWS)) for day in later]
  of_tests = [(name, _labels(schema, [day]), _columns(schema, [day])) for name, day in tests]
  found = []
  for feature in tried:
    leaks = [
      leak
      for name, its_labels, its_columns in of_tests
      for leak in _tried(
        schema, feature, columns[feature.name], labels, name, its_columns[feature.name], its_labels
      )
    ]
    if leaks:
      found.append(max(leaks, key=lambda leak: leak.figure))
  return sorted(found, key=lambda leak: -leak.figure)


def _labels(schema: Schema, days: Sequence[Day]) -> Array:
  """float64 [n, T] of some days."""
  return np.concatenate([day.labels for day in days]).astype(np.float64)


def _columns(schema: Schema, days: Sequence[Day]) -> dict[str, Array]:
  """[n, length] of each feature by its name."""
  columns = {}
  for kind, name in (("categorical", "ids"), ("bag", "bags"), ("dense", "dense")):
    whole, start = np.concatenate([getattr(day, name) for day in days]), 0
    for feature in schema.of_kind(kind):
      columns[feature.name] = whole[:, start : start + feature.length]
      start += feature.length
  return columns


def _tried(
  schema: Schema,
  feature: Feature,
  earlier: Array,
  labels: Array,
  day: str,
  later: Array,
  later_labels: Array,
) -> Iterator[Leak]:
  """The tasks that a feature tells almost perfectly on a later day."""
  codes, later_codes = _codes(feature, earlier, later)
  has_value = (later != 0).any(axis=1)
  for k, task in enumerate(schema.tasks):
    known, asked = ~np.isnan(labels[:, k]), ~np.isnan(later_labels[:, k])
    if not known.any():
      continue
    means, mean = _means(codes[known], labels[known, k])
    is_binary = task.kind == "binary"
    measure, enough = (_auc, ALMOST_PERFECT_AUC) if is_binary else (_r2, ALMOST_PERFECT_R2)
    # A leak that many rows do not have is one all the same, for those that do.
    figure = max(
      measure(later_codes[rows], later_labels[rows, k], means, mean)
      for rows in (asked, asked & has_value)
    )
    if figure >= enough:
      yield Leak(feature.name, task.name, day, "AUC" if is_binary else "R²", figure)


def _codes(feature: Feature, earlier: Array, later: Array) -> tuple[Array, Array]:
  """int64 [n, length] codes 0..K of what a feature has; K is what no earlier row has."""
  if feature.kind == "dense":
    # A missing value is stored as exactly 0: it has a code of its own.
    known = np.sort(earlier[earlier != 0])
    places = np.linspace(0, len(known) - 1, SHARES + 1).astype(np.int64)
    edges = np.unique(known[places]) if len(known) else known

    def shares(values: Array) -> Array:
      # A value that is an edge has its own code, apart from what lies between it and the next.
      sides = (np.searchsorted(edges, values, side) for side in ("left", "right"))
      return np.where(values == 0, 0, 1 + sum(sides))

    return shares(earlier), shares(later)
  if feature.kind == "bag":
    earlier, later = (_without_padding(values) for values in (earlier, later))
  present = np.unique(earlier)
  present = present[present != PADDING]

  def codes(values: Array) -> Array:
    place = np.searchsorted(present, values)
    known = present[np.minimum(place, len(present) - 1)] == values
    return np.where(values == PADDING, PADDING, np.where(known, place, len(present)))

  return codes(earlier), codes(later)


def _without_padding(values: Array) -> Array:
  """Ids [n, length] with PADDING for 0, but for the first of an empty bag."""
  padded = np.where(values == 0, PADDING, values.astype(np.int64))
  padded[(values == 0).all(axis=1), 0] = 0
  return padded


def _means(codes: Array, label: Array) -> tuple[Array, float]:
  """The mean label of the rows with each code, drawn towards that of all, which comes second."""
  mean = float(label.mean())
  inside = codes != PADDING
  flat, repeated = codes[inside], np.broadcast_to(label[:, None], codes.shape)[inside]
  rows = np.bincount(flat)
  sums = np.bincount(flat, repeated)
  return (sums + SEEN_ONCE * mean) / (rows + SEEN_ONCE), mean


def _scores(codes: Array, means: Array, mean: float) -> Array:
  """[n, length] of what each code meant; of one that was not there, the mean."""
  return np.where(
    (codes >= 0) & (codes < len(means)), means[np.clip(codes, 0, len(means) - 1)], mean
  )


def _auc(codes: Array, label: Array, means: Array, mean: float) -> float:
  """Of the sum over a row's codes of the log odds that they meant."""
  ones = int((label > 0).sum())
  if min(ones, len(label) - ones) < LEAST_ROWS:
    return -math.inf
  rate = np.clip(_scores(codes, means, mean), LEAST_RATE, 1 - LEAST_RATE)
  base = min(max(mean, LEAST_RATE), 1 - LEAST_RATE)
  odds = np.log(rate / (1 - rate)) - math.log(base / (1 - base))
  score = np.where(codes == PADDING, 0.0, odds).sum(axis=1)
  _, place = np.unique(score, return_inverse=True)
  positive = np.bincount(place, label > 0)
  negative = np.bincount(place) - positive
  below = np.cumsum(negative) - negative
  return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def _r2(codes: Array, label: Array, means: Array, mean: float) -> float:
  """Of the mean over a row's codes of the labels that they meant."""
  if len(label) < 2 * LEAST_ROWS or not (total := float(((label - label.mean()) ** 2).sum())):
    return -math.inf
  inside = codes != PADDING
  predicted = np.where(inside, _scores(codes, means, mean), 0.0).sum(axis=1) / inside.sum(axis=1)
  return 1 - float(((label - predicted) ** 2).sum()) / total
