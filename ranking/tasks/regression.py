"""Labels that are any number, such as a play time: squared error, measured by its root mean."""

from typing import Any

import tensorflow as tf

from ranking.array import Array
from ranking.measures import metrics
from ranking.measures.differences import Difference, rmse_difference
from ranking.tasks.kind import Kind, LabelStatistics, Measure


class Regression(Kind):
  """The output is the value, in the label's unit."""

  name = "regression"
  measure = Measure("rmse", "RMSE", "RMSE ↓", better=-1)

  def check(self, labels: Array) -> None:
    """Every finite number is a label."""

  def constant_output(self, known: LabelStatistics) -> float:
    """The mean."""
    return known.mean

  def losses(self, labels: tf.Tensor, outputs: tf.Tensor, known: LabelStatistics) -> tf.Tensor:
    """Squared error."""
    del known
    return tf.math.squared_difference(outputs, labels)

  def evaluate(self, labels: Array, outputs: Array, known: LabelStatistics) -> dict[str, Any]:
    """See `metrics.evaluate_regression`."""
    del known
    return metrics.evaluate_regression(labels, outputs)

  def difference(self, labels: Array, first: Array, second: Array, users: Array) -> Difference:
    """Of RMSE, by a bootstrap of users."""
    return rmse_difference(labels, first, second, users)
