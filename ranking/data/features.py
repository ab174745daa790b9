"""The scale of dense features, the statistics of labels, and what may not be trained on.

Whatever is estimated (means, deviations) comes from days 1..N-1 only, a block of rows at a time, so
that no more than that is ever in memory.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ranking.array import Array
from ranking.data.schema import DataError
from ranking.tasks import LabelStatistics, Task

MIN_COUNT = 3  # an id seen less often in the training days shares the rare id of its feature
FIRST_ID = 2  # 0 is missing or unseen in the training days, 1 is rare
DENSE_LIMIT = 5.0  # standardised dense features stay within ± this many standard deviations
Levels = dict[float, float]  # how often rows have each value of a label


@dataclasses.dataclass(frozen=True)
class Moments:
  """Sums over k columns without their NaN, and without the rows whose weight is 0.

  Attributes:
    rows: float64 [k], how many there are.
    mean: float64 [k], each row counted as often as its weight says.
    squares: float64 [k], the sum of squared deviations, likewise.
    mass: float64 [k], the sum of the weights: `rows` where all count the same.
    lowest, highest: float64 [k]; inf and -inf without rows.
  """

  rows: Array
  mean: Array
  squares: Array
  mass: Array
  lowest: Array
  highest: Array

  @classmethod
  def of(cls, columns: Array, weights: Array | None = None) -> "Moments":
    """Takes the moments of [n, k] numbers; of rows that count `weights` [n] times."""
    values = np.asfortranarray(columns, np.float64)  # so that NumPy sums in pairs
    known = ~np.isnan(values)
    if weights is not None:
      known &= weights[:, None] > 0

    def total(of_rows: Array) -> Array:
      of_rows = np.where(known, of_rows, 0.0)
      return np.asarray((of_rows if weights is None else weights[:, None] * of_rows).sum(axis=0))

    rows = known.sum(axis=0).astype(np.float64)
    mass = rows if weights is None else total(np.ones_like(values))
    mean = _share(total(values), mass)
    lowest = np.min(values, axis=0, initial=math.inf, where=known)
    highest = np.max(values, axis=0, initial=-math.inf, where=known)
    return cls(rows, mean, total((values - mean) ** 2), mass, lowest, highest)

  def __add__(self, other: "Moments") -> "Moments":
    """Joins the moments of two sets of rows (Chan, Golub and LeVeque, 1983)."""
    mass = self.mass + other.mass
    share = _share(other.mass, mass)
    step = other.mean - self.mean
    return Moments(
      self.rows + other.rows,
      self.mean + step * share,
      self.squares + other.squares + step**2 * self.mass * share,
      mass,
      np.minimum(self.lowest, other.lowest),
      np.maximum(self.highest, other.highest),
    )

  @property
  def variance(self) -> Array:
    """float64 [k], of the rows themselves (not an estimate for more rows); 0 without rows."""
    return _share(self.squares, self.mass)

  @property
  def farthest(self) -> Array:
    """float64 [k], the value that lies farthest from the mean; NaN without rows."""
    below, above = self.mean - self.lowest, self.highest - self.mean
    return np.where(self.rows > 0, np.where(below > above, self.lowest, self.highest), np.nan)


def _share(part: Array, whole: Array) -> Array:
  """The quotient; 0 of nothing."""
  return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def is_constant(moments: Moments) -> Array:
  """Bool [k], which columns have one value; also those of none."""
  # The mean of a constant is rounded, so its deviation is tiny beside it but not 0.
  limit: Array = 1e-12 * np.maximum(1.0, np.abs(moments.mean))
  return np.sqrt(moments.variance) <= limit


def standardise(columns: Array, moments: Moments) -> Array:
  """float32 [n, k] of [n, k]: mean 0 and deviation 1 in the training days; a missing value is 0."""
  values = columns.astype(np.float64)
  deviation, constant = np.sqrt(moments.variance), is_constant(moments)
  scaled = (values - moments.mean) / np.where(constant, 1.0, deviation)
  scaled[:, constant] = 0.0
  return np.clip(np.nan_to_num(scaled), -DENSE_LIMIT, DENSE_LIMIT).astype(np.float32)


def levels(tasks: Sequence[Task], labels: Array, weights: Array | None = None) -> dict[str, Levels]:
  """How often the rows [n, T] have each value of a label, of tasks whose kind asks for it.

  A row counts as often as its weight [n] says; None = 1.
  """
  return {
    task.name: dict(LabelStatistics.of(column, count_levels=True, weights=weights).levels)
    for task, column in zip(tasks, labels.T, strict=True)
    if task.rules.counts_levels
  }


def joined_levels(parts: Sequence[Mapping[str, Levels]]) -> dict[str, Levels]:
  """The `levels` of some rows and others together."""
  together: dict[str, Levels] = {}
  for part in parts:
    for name, counts in part.items():
      whole = together.setdefault(name, {})
      for value, times in counts.items():
        whole[value] = whole.get(value, 0) + times
  return together


def label_statistics(
  tasks: Sequence[Task], moments: Moments, counts: Mapping[str, Levels]
) -> tuple[LabelStatistics, ...]:
  """Per task, from the moments and the `levels` of its labels in the training days."""
  statistics = []
  for k, task in enumerate(tasks):
    of_levels = tuple(sorted(counts.get(task.name, {}).items()))
    check_labels(task, np.array([value for value, _ in of_levels]))  # of all days together
    rows, mean, variance = int(moments.rows[k]), moments.mean[k], moments.variance[k]
    statistics.append(LabelStatistics(rows, float(mean), float(variance), of_levels))
  return tuple(statistics)


def check_dense(name: str, column: Array) -> None:
  """Raises DataError where a dense value cannot be trained on."""
  if np.isinf(column).any():
    raise DataError(f"dense feature {name} holds an infinite value; take log1p or clip it")


def check_labels(task: Task, column: Array) -> None:
  """Raises DataError where a label cannot be trained on."""
  try:
    task.rules.check(column[~np.isnan(column)])
  except ValueError as error:
    raise DataError(f"label {task.name} {error}") from None
