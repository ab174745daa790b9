"""Labels that count, such as purchases: Poisson loss of a log rate, measured by the deviance."""

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from ranking.array import Array
from ranking.measures.differences import Difference, loss_difference
from ranking.measures.loss import mean, mean_loss
from ranking.tasks.kind import Figures, Kind, LabelStatistics, Measure, calibration

if TYPE_CHECKING:
  import tensorflow as tf


LEAST_RATE = 1e-6  # of a label that is always 0, so that its logarithm is finite
STEEPEST = 30.0  # above it the exponential goes on as a straight line, so that it cannot overflow


class Count(Kind):
  """The output is the logarithm of the expected count."""

  name = "count"
  measure = Measure("deviance", "Poisson deviance", better=-1, test="a bootstrap of users")
  has_logloss = True

  def check(self, labels: Array) -> None:
    """Raises ValueError for a label other than 0, 1, 2, …"""
    stray = labels[~(np.isfinite(labels) & (labels >= 0) & (labels == np.floor(labels)))]
    if len(stray):
      raise ValueError(
        f"is a count but holds {stray[0]}; make it a whole number of 0 or more, or a regression"
      )

  def constant_output(self, known: LabelStatistics) -> float:
    """The logarithm of the mean."""
    return math.log(max(known.mean, LEAST_RATE))

  def losses(
    self, labels: "tf.Tensor", outputs: "tf.Tensor", known: LabelStatistics
  ) -> "tf.Tensor":
    """Half the Poisson deviance: exp(s) - y·s, less what it is at best, y - y·log(y).

    That part is the same for every model, as is log(y!), which the likelihood has in its place: the
    gradient is the likelihood's. With it the loss is 0 for a model that knows y, and never below,
    so that it can be divided by that of the best constant.
    """
    import tensorflow as tf

    del known
    scale = tf.maximum(labels, 1.0)  # y, where it is above 0
    distance = outputs - tf.math.log(scale)
    near, beyond = tf.minimum(distance, STEEPEST), tf.nn.relu(distance - STEEPEST)
    rows = tf.where(labels > 0, tf.math.expm1(near) - distance, tf.exp(near))
    return scale * (rows + math.exp(STEEPEST) * beyond)

  def row_losses(self, labels: Array, outputs: Array, known: LabelStatistics) -> Array:
    """Half the Poisson deviance."""
    del known
    with np.errstate(over="ignore", invalid="ignore"):
      return _deviances(labels.astype(np.float64), outputs.astype(np.float64)) / 2

  def figures(
    self, labels: Array, outputs: Array, known: LabelStatistics, weights: Array | None
  ) -> Figures:
    """The mean Poisson deviance; the logloss has the whole likelihood."""
    counts, wide = labels.astype(np.float64), outputs.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
      deviances = 2 * self.row_losses(labels, outputs, known)
      value, interval = mean_loss(deviances, weights)
      at_best = counts + special.gammaln(counts + 1) - special.xlogy(counts, counts)
      logloss = mean(deviances / 2 + at_best, weights)
      return Figures(value, interval, calibration(_exp(wide), counts, weights), logloss)

  def outputs_of(self, means: Array, known: LabelStatistics) -> Array:
    """Logarithms of rates."""
    del known
    return np.log(np.maximum(means, 1e-12))

  def difference(
    self,
    labels: Array,
    first: Array,
    second: Array,
    users: Array,
    weights: Array | None = None,
  ) -> Difference:
    """Compares the mean deviance, by a bootstrap of users."""
    return loss_difference(labels, first, second, users, _deviances, weights=weights)


def _exp(outputs: Array) -> Array:
  """The rates of outputs, in float64."""
  near, beyond = np.minimum(outputs, STEEPEST), np.maximum(outputs - STEEPEST, 0)
  return np.asarray(np.exp(near) + math.exp(STEEPEST) * beyond)


def _deviances(labels: Array, outputs: Array) -> Array:
  """Twice the loss of each row, in float64."""
  scale = np.maximum(labels, 1)
  distance = outputs - np.log(scale)
  return np.asarray(2 * scale * (_exp(distance) - np.where(labels > 0, 1 + distance, 0)))
