"""Labels on an ordered scale, such as stars: proportional odds, measured by the concordance."""

from typing import TYPE_CHECKING

import numpy as np

from ranking.array import Array
from ranking.measures.concordance import concordance
from ranking.measures.differences import Difference, concordance_difference
from ranking.measures.loss import mean
from ranking.tasks.kind import Figures, Kind, LabelStatistics, Measure, calibration

if TYPE_CHECKING:
  import tensorflow as tf


MOST_LEVELS = 100
FARTHEST = 60.0  # an output whose label is sure


class Ordered(Kind):
  """The output moves the odds of all levels alike; at 0 they are those of the training days.

  The proportional odds of McCullagh (1980): P(label at most level k) = sigmoid(cut point k - s),
  the cut points being the logits of the shares of the training days. Levels are the values that
  these days have; another one is trained on and predicted as the nearest of them, the lower of two,
  but ranked as what it is.
  """

  name = "ordered"
  measure = Measure(
    "concordance",
    "concordance",
    better=1,
    test="DeLong's test over all levels summed by user",
    ranks=True,
    unit=0.01,
    symbol="%",
    digits=2,
    plural="points",
  )
  counts_levels = True
  has_logloss = True

  def check(self, labels: Array) -> None:
    """Raises ValueError for an infinite label or too many levels."""
    super().check(labels)
    levels = np.unique(labels)
    if len(levels) > MOST_LEVELS:
      raise ValueError(
        f"is ordered but holds {len(levels)} different values, {levels[MOST_LEVELS]} among them; "
        f"round it to at most {MOST_LEVELS} levels, or make it a regression"
      )

  def constant_output(self, known: LabelStatistics) -> float:
    """0, where each level has its share of the training days."""
    del known
    return 0.0

  def losses(
    self, labels: "tf.Tensor", outputs: "tf.Tensor", known: LabelStatistics
  ) -> "tf.Tensor":
    """Minus the logarithm of the level's probability.

    Of sigmoid(b) - sigmoid(a) that is softplus(-b) + softplus(a) - log(1 - exp(a - b)), in which no
    term overflows and none cancels, and where s is not in the last.
    """
    import tensorflow as tf

    between, lower, upper, apart = _bounds(known)
    above = labels[:, tf.newaxis] > tf.constant(between, tf.float32)
    level = tf.reduce_sum(tf.cast(above, tf.int32), axis=1)
    a, b, rest = (tf.gather(tf.constant(x, tf.float32), level) for x in (lower, upper, apart))
    return tf.nn.softplus(outputs - b) + tf.nn.softplus(a - outputs) + rest

  def row_losses(self, labels: Array, outputs: Array, known: LabelStatistics) -> Array:
    """Minus the logarithm of the level's probability; nan of a store that holds no levels."""
    if not known.levels:
      return np.full(len(labels), np.nan)
    between, lower, upper, apart = _bounds(known)
    level, wide = np.searchsorted(between, labels), outputs.astype(np.float64)
    losses = np.logaddexp(0, wide - upper[level]) + np.logaddexp(0, lower[level] - wide)
    return np.asarray(losses + apart[level])

  def figures(
    self, labels: Array, outputs: Array, known: LabelStatistics, weights: Array | None
  ) -> Figures:
    """The share of pairs of different labels in the right order."""
    value, interval = concordance(labels, outputs, weights)
    if not known.levels:
      return Figures(value, interval)
    expected = _expected(outputs.astype(np.float64), known)
    logloss = mean(self.row_losses(labels, outputs, known), weights)
    return Figures(value, interval, calibration(expected, labels, weights), logloss)

  def outputs_of(self, means: Array, known: LabelStatistics) -> Array:
    """The outputs whose expected labels are the means, of a model with these cut points."""
    outputs = np.linspace(-FARTHEST, FARTHEST, 24_001)
    if len(known.levels) < 2:
      return np.zeros(len(means))
    return np.interp(means, _expected(outputs, known), outputs)

  def difference(
    self,
    labels: Array,
    first: Array,
    second: Array,
    users: Array,
    weights: Array | None = None,
  ) -> Difference:
    """Compares the concordance, by DeLong's test over all levels summed by user."""
    return concordance_difference(labels, first, second, users, weights)


def _cut_points(known: LabelStatistics) -> Array:
  """float64 [K - 1], the logits of the cumulative shares of the training days."""
  rows = np.array([rows for _, rows in known.levels], np.float64)
  at_most = np.cumsum(rows)[:-1]
  return np.log(at_most) - np.log(rows.sum() - at_most)


def _bounds(known: LabelStatistics) -> tuple[Array, Array, Array, Array]:
  """What the loss needs of the K levels, in float64.

  Returns:
    Middles between neighbouring levels [K - 1]; cut points below and above each level [K], infinite
    at the ends of the scale; -log(1 - exp(-d)) [K] of the distance d between these two.
  """
  levels = np.array([level for level, _ in known.levels])
  cuts = _cut_points(known)
  lower, upper = np.append(-np.inf, cuts), np.append(cuts, np.inf)
  return (levels[:-1] + levels[1:]) / 2, lower, upper, -np.log(-np.expm1(lower - upper))


def _expected(outputs: Array, known: LabelStatistics) -> Array:
  """float64 [n], the mean label that each output says."""
  levels = np.array([level for level, _ in known.levels])
  expected = np.full(len(outputs), levels[-1])
  for cut, step in zip(_cut_points(known), np.diff(levels), strict=True):
    expected -= step * np.exp(-np.logaddexp(0, outputs - cut))
  return expected
