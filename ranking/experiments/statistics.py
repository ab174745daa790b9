"""Statistics that can carry a verdict: how much better is one method, and could it be chance?

A difference is first minus second: a better first method has a positive one of AUC and a negative
one of RMSE. Its interval is about one source of chance only, the unit that its function takes as
independent:

- the users of day N, for two runs judged on the same rows: `auc_difference`, `rmse_difference`;
- seeds or evaluation days, for two methods: `paired_difference`;
- runs, for how often a method diverges: `divergence_ratio`, `fisher_test`.

All is NumPy in float64. Predictions and figures that are not finite are refused and not left out: a
run that diverged has no AUC, and the survivors' average flatters the method that loses most runs.
"""

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ranking.data.schema import Array
from ranking.evaluation.metrics import Z95, _positive, _twice_midranks

POWER = 0.8  # of the design, at a two-sided level of 0.05


@dataclasses.dataclass(frozen=True)
class Difference:
  """First minus second, and what chance could do to it.

  Attributes:
    value: in the unit of the figure; AUC as a fraction, not in percent.
    standard_error: in the same unit. It, `ci95` and `p` are nan where there are too few units, or
      all show the very same difference, to tell what chance does; it is 0 between equals.
    ci95: 95 % interval of the value.
    p: two-sided, of no difference.
    units: how many users, seeds or days were taken as independent.
    degrees: degrees of freedom of Student's t; inf after the bootstrap, which needs none.
  """

  value: float
  standard_error: float
  ci95: tuple[float, float]
  p: float
  units: int
  degrees: float = math.inf

  @property
  def statistic(self) -> float:
    """Student's t, or z with infinite degrees: the value in standard errors."""
    return self.value / self.standard_error if self.standard_error else 0.0

  @property
  def detectable(self) -> float:
    """The difference that this design could have seen, see `detectable_difference`."""
    return detectable_difference(self.standard_error, self.degrees)


class Spread(NamedTuple):
  """Mean ± standard deviation of a figure over seeds."""

  mean: float
  deviation: float
  seeds: int


class Ratio(NamedTuple):
  """The share of runs that diverged, with its 95 % interval."""

  value: float
  ci95: tuple[float, float]
  diverged: int
  runs: int


class FisherTest(NamedTuple):
  """Two-sided probabilities of two ratios at least as far apart, if both have one true ratio."""

  p: float
  mid_p: float


def auc_difference(
  labels: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, users: npt.ArrayLike
) -> Difference:
  """AUC of the first method minus that of the second on the same rows, ties being half a pair.

  The test of DeLong, DeLong & Clarke-Pearson (1988) in O(n log n) (Sun & Xu 2014), with the
  structural components summed by user before they are squared, as Obuchowski (1997) does for
  clustered data. That standard error is the headline: rows of one user are right or wrong together,
  and the plain one, which counts each as news, promises too much (simulated, 40 users of 15 rows:
  its 95 % interval holds the truth 81 times in 100, the clustered one 95). It costs the same, and
  with `users=np.arange(n)` it is the plain one exactly. Student's t takes the place of z, with the
  users who have rows of the rarer class as its sample: the same thing on thousands of users, and
  needed on few.

  Args:
    labels: [n], 0 and 1; NaN = label missing, the row is left out.
    first: [n], logits of the first method, any float dtype.
    second: [n], logits of the second.
    users: [n], who the row belongs to, any sortable dtype. Ids of the raw log: in the day store all
      users who are not in the training days share id 0, which would make them one user.

  Raises:
    ValueError: on arrays that are not [n], a label other than 0 and 1, a prediction that is not
      finite, or rows of one class only.
  """
  labels, first, second, users = _labelled(labels, first, second, users)
  positive = _positive(labels)
  positives = int(np.count_nonzero(positive))
  negatives = len(labels) - positives
  if not positives or not negatives:
    raise ValueError(
      f"an AUC needs rows of both classes; got {positives} positives and {negatives} negatives"
    )
  gained = _half_pairs_won(positive, first) - _half_pairs_won(positive, second)
  total, pairs = int(gained[positive].sum()), positives * negatives
  residual = gained - total / np.where(positive, positives, negatives)
  names, user = np.unique(users, return_inverse=True)
  of_positives = np.bincount(user, np.where(positive, residual, 0.0))
  of_negatives = np.bincount(user, np.where(positive, 0.0, residual))
  with_positives = len(np.unique(user[positive]))
  with_negatives = len(np.unique(user[~positive]))
  degrees = min(with_positives, with_negatives) - 1
  standard_error = math.nan
  if degrees:
    # Obuchowski's a·Σp² + b·Σn² + 2c·Σpn with p + n together: no term is below 0, and where users
    # cancel p by n the sum is 0 but for a rounding that is squared.
    joint, of_both = _unbiased(len(names)), of_positives + of_negatives
    squares = (
      joint * of_both @ of_both
      + (_unbiased(with_positives) - joint) * of_positives @ of_positives
      + (_unbiased(with_negatives) - joint) * of_negatives @ of_negatives
    )
    standard_error = math.sqrt(float(squares)) / (2 * pairs)
  return _difference(total / (2 * pairs), standard_error, len(names), degrees)


def rmse_difference(
  labels: npt.ArrayLike,
  first: npt.ArrayLike,
  second: npt.ArrayLike,
  users: npt.ArrayLike,
  resamples: int = 2000,
  seed: int = 0,
) -> Difference:
  """RMSE of the first method minus that of the second on the same rows, by a bootstrap of users.

  Whole users are drawn with replacement (the cluster bootstrap: Davison & Hinkley 1997, section
  3.8), so that what a user's rows have in common stays together. The interval is the percentile
  one and wants some dozens of users; p is twice the smaller share of resamples on either side of
  zero, so never below 2 / (resamples + 1).

  Args:
    labels: [n], in the task's own unit; NaN = label missing, the row is left out.
    first: [n], predictions of the first method in the same unit, any float dtype.
    second: [n], predictions of the second.
    users: [n], as in `auc_difference`.
    resamples: how many times as many users are drawn as there are.
    seed: of the draws; the same seed gives the same figures.

  Raises:
    ValueError: on arrays that are not [n], no labelled row, or a value that is not finite.
  """
  labels, first, second, users = _labelled(labels, first, second, users)
  truth = labels.astype(np.float64)
  names, user = np.unique(users, return_inverse=True)
  # An RMSE needs of a user only the sum of the squares and the number of rows.
  squares = [
    np.bincount(user, np.square(values.astype(np.float64) - truth)) for values in (first, second)
  ]
  sums = np.stack([*squares, np.bincount(user)])
  random, count = np.random.default_rng(seed), len(names)
  draws = (
    np.bincount(random.integers(count, size=count), minlength=count) for _ in range(resamples)
  )
  drawn = _rmse_first_minus_second(np.stack([sums @ times for times in draws], axis=1))
  value = float(_rmse_first_minus_second(sums.sum(axis=1)))
  standard_error = _unless_constant(value, float(drawn.std(ddof=1)))
  if math.isnan(standard_error):
    return _difference(value, standard_error, count, math.inf)
  low, high = np.quantile(drawn, (0.025, 0.975))
  smaller = int(min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)))
  p = min(1.0, 2 * (smaller + 1) / (resamples + 1))
  return Difference(value, standard_error, (float(low), float(high)), p, count)


def spread(figures: npt.ArrayLike) -> Spread:
  """Mean and standard deviation over seeds, [seeds]; the deviation of one seed is nan.

  Raises:
    ValueError: when there is no figure or one is not finite.
  """
  values = _figures("figures", figures, 1)
  deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
  return Spread(float(values.mean()), deviation, len(values))


def paired_difference(first: npt.ArrayLike, second: npt.ArrayLike) -> Difference:
  """Mean difference of two methods over seeds or evaluation days, by Student's paired t (1908).

  The first axis is the unit. Of [days, seeds] the seeds are averaged within their day: the runs of
  one day share its rows, so more seeds make a day more exact, not the days more. Days count as
  independent although their runs share training days, which leaves out what is common to all days
  of this log.

  Args:
    first: [seeds], [days] or [days, seeds], a figure of each run of the first method.
    second: the same shape, each figure from the seed and day of its fellow.

  Raises:
    ValueError: on two shapes, no figure, or one that is not finite.
  """
  ours, theirs = _figures("first", first, 2), _figures("second", second, 2)
  if ours.shape != theirs.shape:
    raise ValueError(
      "first and second must be paired, one shape for both; "
      f"got {list(ours.shape)} and {list(theirs.shape)}"
    )
  differences = (ours - theirs).reshape(len(ours), -1).mean(axis=1)
  units = len(differences)
  error = float(differences.std(ddof=1)) / math.sqrt(units) if units > 1 else math.nan
  return _difference(float(differences.mean()), error, units, units - 1)


def divergence_ratio(diverged: int, runs: int) -> Ratio:
  """The share of `runs` that diverged, with the interval of Wilson (1927).

  Its coverage is 95 % on average over the true ratio, which with a handful of runs the exact one of
  Clopper and Pearson exceeds by far (Brown, Cai & DasGupta 2001).

  Raises:
    ValueError: unless 0 <= diverged <= runs and there is a run.
  """
  if not 0 <= diverged <= runs or runs < 1:
    raise ValueError(f"a divergence ratio needs 0 <= diverged <= runs; got {diverged} of {runs}")
  centre, width = diverged + Z95**2 / 2, runs + Z95**2
  half = Z95 * math.sqrt(diverged * (runs - diverged) / runs + Z95**2 / 4)
  # Rounding must not leave none or all of the runs outside.
  low = (centre - half) / width if diverged else 0.0
  high = (centre + half) / width if diverged < runs else 1.0
  return Ratio(diverged / runs, (low, high), diverged, runs)


def fisher_test(first: Ratio, second: Ratio) -> FisherTest:
  """Whether two methods diverge equally often: Fisher's exact test (1935), two-sided.

  A table of the same margins is as extreme as ours when it is no more probable. `p` is never too
  small, and the headline; with five runs each it is far too large, so `mid_p`, which counts tables
  as probable as ours by half (Lancaster 1961), says what a few more runs might show.
  """
  diverged = first.diverged + second.diverged
  # Whole numbers, so that a tie between two tables is a tie.
  ways = [
    math.comb(first.runs, ours) * math.comb(second.runs, diverged - ours)
    for ours in range(max(0, diverged - second.runs), min(first.runs, diverged) + 1)
  ]
  observed = math.comb(first.runs, first.diverged) * math.comb(second.runs, second.diverged)
  rarer = sum(way for way in ways if way < observed)
  tied = sum(way for way in ways if way == observed)
  return FisherTest((rarer + tied) / sum(ways), (rarer + tied / 2) / sum(ways))


def holm(p_values: Sequence[float]) -> list[float]:
  """p-values of several comparisons with one reference, adjusted by Holm (1979), in their order.

  Those at most 0.05 afterwards are the differences to believe: the chance that any of them is none
  is at most 5 %, however the comparisons depend on one another.

  Raises:
    ValueError: on a p-value outside [0, 1], nan included.
  """
  adjusted, at_least = [0.0] * len(p_values), 0.0
  order = sorted(range(len(p_values)), key=lambda place: p_values[place])
  for done, place in enumerate(order):
    p = p_values[place]
    if not 0 <= p <= 1:
      raise ValueError(f"a p-value must be in [0, 1]; got {p}")
    at_least = max(at_least, min(1.0, (len(p_values) - done) * p))
    adjusted[place] = at_least
  return adjusted


def detectable_difference(standard_error: float, degrees: float = math.inf) -> float:
  """The smallest true difference that a test at 5 %, two-sided, finds 80 times in 100.

  Bloom (1995): 2.80 standard errors when these are known, more with few degrees of freedom (where
  it is an approximation: 80 times from 6 degrees on, 77 with 2). In the unit of the standard error.
  """
  if math.isnan(standard_error):
    return math.nan
  return (_quantile(0.975, degrees) + _quantile(POWER, degrees)) * standard_error


def _labelled(*columns: npt.ArrayLike) -> list[Array]:
  """Labels, first and second predictions and users of the rows that have a label."""
  arrays = [np.asarray(column) for column in columns]
  if arrays[0].ndim != 1 or any(array.shape != arrays[0].shape for array in arrays):
    shapes = ", ".join(str(list(array.shape)) for array in arrays)
    raise ValueError(f"labels, first, second and users must all be [rows]; got {shapes}")
  kept = ~np.isnan(arrays[0])
  arrays = [array[kept] for array in arrays]
  if not len(arrays[0]):
    raise ValueError(f"there is no row with a label among {len(kept)}, so nothing to compare")
  for name, values in zip(("labels", "first", "second"), arrays, strict=False):
    stray = len(values) - int(np.count_nonzero(np.isfinite(values)))
    if stray:
      raise ValueError(
        f"{name} is not finite in {stray} of {len(values)} labelled rows, so it has no figure"
      )
  return arrays


def _figures(name: str, figures: npt.ArrayLike, most_axes: int) -> Array:
  values = np.asarray(figures, np.float64)
  if not 1 <= values.ndim <= most_axes or not values.size:
    raise ValueError(f"{name} must hold a figure per run; got shape {list(values.shape)}")
  if not np.isfinite(values).all():
    raise ValueError(f"{name} has a figure that is not finite; a diverged run has none to compare")
  return values


def _half_pairs_won(positive: Array, scores: Array) -> Array:
  """Int [n]: twice the rows of the other class that this row is on the right side of; ties half."""
  above, below = scores[positive], scores[~positive]
  won = np.empty(len(scores), np.int64)
  won[positive] = _twice_midranks(above, np.sort(below))
  won[~positive] = 2 * len(above) - _twice_midranks(below, np.sort(above))
  return won


def _unbiased(clusters: int) -> float:
  return clusters / (clusters - 1)


def _rmse_first_minus_second(sums: Array) -> Array:
  """Of [3, ...]: squared errors of the first, of the second, and the number of rows."""
  return np.sqrt(sums[0] / sums[2]) - np.sqrt(sums[1] / sums[2])


def _unless_constant(value: float, standard_error: float) -> float:
  """The standard error, or nan where one difference everywhere leaves only rounding for it."""
  return standard_error if standard_error >= 1e-9 * abs(value) else math.nan


def _difference(value: float, standard_error: float, units: int, degrees: float) -> Difference:
  """With the interval and the p of Student's t."""
  standard_error = _unless_constant(value, standard_error)
  if math.isnan(standard_error):
    return Difference(value, math.nan, (math.nan, math.nan), math.nan, units, degrees)
  half = _quantile(0.975, degrees) * standard_error
  p = max(0.0, 1 - _within(value / standard_error if value else 0.0, int(degrees)))
  return Difference(value, standard_error, (value - half, value + half), p, units, degrees)


def _quantile(probability: float, degrees: float) -> float:
  """Of the normal distribution or Student's t; probability in [0.5, 1), degrees whole or inf."""
  value = NormalDist().inv_cdf(probability)
  if math.isinf(degrees):
    return value
  whole = int(degrees)
  log_gammas = math.lgamma((whole + 1) / 2) - math.lgamma(whole / 2)
  height = math.exp(log_gammas) / math.sqrt(math.pi * whole)
  # Newton's tangents lie above a concave function: from the normal quantile, which is too small,
  # every step goes up and none beyond.
  step = math.inf
  while step > 1e-9 * value:  # the last step makes its square of that
    density = height * (1 + value**2 / whole) ** (-(whole + 1) / 2)
    step = (probability - (1 + _within(value, whole)) / 2) / density
    value += step
  return value


def _within(value: float, degrees: int) -> float:
  """P(|t| < |value|) of Student's t; a finite sum, Abramowitz & Stegun (1964) 26.7.3 and 26.7.4."""
  angle, odd = math.atan(abs(value) / math.sqrt(degrees)), degrees % 2
  total, term = 0.0, math.sin(angle) * math.cos(angle) ** odd
  for power in range(odd, degrees - 1, 2):
    total += term
    term *= (power + 1) / (power + 2) * math.cos(angle) ** 2
  return (angle + total) * 2 / math.pi if odd else total
