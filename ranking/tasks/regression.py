"""Labels that are any number, such as a play time: squared error, measured by its root mean."""

from typing import TYPE_CHECKING

import numpy as np

from ranking.array import Array
from ranking.measures.differences import Difference, rmse_difference
from ranking.measures.loss import mean_loss
from ranking.tasks.kind import Figures, Kind, LabelStatistics, Measure, calibration

if TYPE_CHECKING:
  import tensorflow as tf


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

  def figures(self, labels: Array, outputs: Array, known: LabelStatistics) -> Figures:
    """The root of the mean squared error."""
    del known
    # Finite float64 predictions may be too large to square; their figures come out as None.
    with np.errstate(over="ignore", invalid="ignore"):
      wide, truth = outputs.astype(np.float64), labels.astype(np.float64)
      value, (low, high) = mean_loss(np.square(wide - truth))
      root = np.sqrt([value, low, high]).tolist()
      return Figures(root[0], (root[1], root[2]), calibration(wide, truth))

  def difference(self, labels: Array, first: Array, second: Array, users: Array) -> Difference:
    """Compares the RMSE, by a bootstrap of users."""
    return rmse_difference(labels, first, second, users)
