"""The scale of dense features, the statistics of labels, and what may not be trained on.

Whatever is estimated (means, deviations) comes from days 1..N-1 only, a block of rows at a time, so
that no more than that is ever in memory.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ranking.array import Array
from ranking.data.schema import DataError
from ranking.tasks import LabelStatistics, Task

MIN_COUNT = 3  # an id seen less often in the training days shares the rare id of its feature
FIRST_ID = 2  # 0 is missing or unseen in the training days, 1 is rare
DENSE_LIMIT = 5.0  # standardised dense features stay within ± this many standard deviations


@dataclasses.dataclass(frozen=True)
class Moments:
  """Sums over k columns without their NaN: float64 [k] rows, means, squared deviations."""

  rows: Array
  mean: Array
  squares: Array

  @classmethod
  def of(cls, columns: Array) -> "Moments":
    """Takes the moments of [n, k] numbers."""
    values = np.asfortranarray(columns, np.float64)  # so that NumPy sums in pairs
    known = ~np.isnan(values)
    rows = known.sum(axis=0).astype(np.float64)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(rows, 1.0)
    squares = (np.where(known, values - mean, 0.0) ** 2).sum(axis=0)
    return cls(rows, mean, squares)

  def __add__(self, other: "Moments") -> "Moments":
    """Joins the moments of two sets of rows (Chan, Golub and LeVeque, 1983)."""
    rows = self.rows + other.rows
    share = other.rows / np.maximum(rows, 1.0)
    step = other.mean - self.mean
    return Moments(
      rows,
      self.mean + step * share,
      self.squares + other.squares + step**2 * self.rows * share,
    )

  @property
  def variance(self) -> Array:
    """float64 [k], of the rows themselves (not an estimate for more rows); 0 without rows."""
    return self.squares / np.maximum(self.rows, 1.0)


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


def levels(tasks: Sequence[Task], labels: Array) -> dict[str, Counter[float]]:
  """How many of the rows [n, T] have each value of a label, of tasks whose kind asks for it."""
  counts = {}
  for task, column in zip(tasks, labels.T, strict=True):
    if task.rules.counts_levels:
      values, rows = np.unique(column[~np.isnan(column)], return_counts=True)
      counts[task.name] = Counter(dict(zip(values.tolist(), rows.tolist(), strict=True)))
  return counts


def joined_levels(days: Sequence[Mapping[str, Counter[float]]]) -> dict[str, Counter[float]]:
  """The `levels` of some days together."""
  together: dict[str, Counter[float]] = {}
  for of_day in days:
    for name, counts in of_day.items():
      together.setdefault(name, Counter()).update(counts)
  return together


def label_statistics(
  tasks: Sequence[Task], moments: Moments, counts: Mapping[str, Counter[float]]
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
