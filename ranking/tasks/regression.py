"""Labels that are any number, such as a play time: squared error, measured by its root mean."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ranking.array import Array
from ranking.measures.differences import Difference, rmse_difference
from ranking.measures.loss import mean_loss
from ranking.tasks.kind import Figures, Kind, LabelStatistics, Measure, calibration

if TYPE_CHECKING:
  import tensorflow as tf


HIGHEST = 80.0  # a logarithm whose exponential is finite in float32
LEAST = -1 + 2.0**-24  # the value above -1 that is nearest to it in float32


class Regression(Kind):
  """The output is the value, in the label's unit."""

  name = "regression"
  measure = Measure("rmse", "RMSE", better=-1, test="a bootstrap of users")

  def constant_output(self, known: LabelStatistics) -> float:
    """The mean."""
    return known.mean

  def losses(
    self, labels: "tf.Tensor", outputs: "tf.Tensor", known: LabelStatistics
  ) -> "tf.Tensor":
    """Squared error."""
    import tensorflow as tf

    del known
    return tf.math.squared_difference(outputs, labels)

  def row_losses(self, labels: Array, outputs: Array, known: LabelStatistics) -> Array:
    """Squared error."""
    del known
    return _squares(labels, outputs)

  def figures(
    self, labels: Array, outputs: Array, known: LabelStatistics, weights: Array | None
  ) -> Figures:
    """The root of the mean squared error."""
    del known
    with np.errstate(over="ignore", invalid="ignore"):
      value, (low, high) = mean_loss(_squares(labels, outputs), weights)
      root = np.sqrt([value, low, high]).tolist()
      wide, truth = outputs.astype(np.float64), labels.astype(np.float64)
      return Figures(root[0], (root[1], root[2]), calibration(wide, truth, weights))

  def difference(
    self,
    labels: Array,
    first: Array,
    second: Array,
    users: Array,
    weights: Array | None = None,
  ) -> Difference:
    """Compares the RMSE, by a bootstrap of users."""
    return rmse_difference(labels, first, second, users, weights=weights)


class Standardised(Regression):
  """Learns how many deviations of the training days a label is above their mean.

  So no unit decides which task the shared layers serve: a price in cents and one in euros give the
  same weights, and its best constant loses about 1.
  """

  def constant_output(self, known: LabelStatistics) -> float:
    """0, which is the mean."""
    del known
    return 0.0

  def losses(
    self, labels: "tf.Tensor", outputs: "tf.Tensor", known: LabelStatistics
  ) -> "tf.Tensor":
    """Squared error in deviations."""
    import tensorflow as tf

    return tf.math.squared_difference(outputs, (labels - known.mean) / _deviation(known))

  def constant_in_unit(self, known: LabelStatistics) -> float:
    """The mean."""
    return known.mean

  def in_unit(self, outputs: "tf.Tensor", known: LabelStatistics) -> "tf.Tensor":
    """The value."""
    return known.mean + _deviation(known) * outputs


class Logarithmic(Regression):
  """Learns log(1 + label), standardised; the value that it says is the median, not the mean.

  Args:
    of_logarithms: statistics of log(1 + label) in the training days.
  """

  def __init__(self, of_logarithms: LabelStatistics):
    self._known = of_logarithms

  def constant_output(self, known: LabelStatistics) -> float:
    """0, which is the mean of the logarithms."""
    del known
    return 0.0

  def losses(
    self, labels: "tf.Tensor", outputs: "tf.Tensor", known: LabelStatistics
  ) -> "tf.Tensor":
    """Squared error in deviations of the logarithm."""
    import tensorflow as tf

    del known
    target = (tf.math.log1p(labels) - self._known.mean) / _deviation(self._known)
    return tf.math.squared_difference(outputs, target)

  def row_losses(self, labels: Array, outputs: Array, known: LabelStatistics) -> Array:
    """Squared error of the logarithm."""
    del known
    above = np.maximum(outputs.astype(np.float64), LEAST)
    return _squares(np.log1p(labels.astype(np.float64)), np.log1p(above))

  def constant_in_unit(self, known: LabelStatistics) -> float:
    """The value whose logarithm is the mean of the logarithms."""
    del known
    return math.expm1(self._known.mean)

  def in_unit(self, outputs: "tf.Tensor", known: LabelStatistics) -> "tf.Tensor":
    """The value, which is finite in float32."""
    import tensorflow as tf

    del known
    logarithms = self._known.mean + _deviation(self._known) * outputs
    return tf.math.expm1(tf.minimum(logarithms, HIGHEST))


def _squares(labels: Array, outputs: Array) -> Array:
  """Squared errors in float64; infinite of an output that is too large to square."""
  with np.errstate(over="ignore"):
    return np.asarray(np.square(outputs.astype(np.float64) - labels.astype(np.float64)))


def _deviation(known: LabelStatistics) -> float:
  """The standard deviation; 1 of a label that never varies."""
  return math.sqrt(known.variance) or 1.0
