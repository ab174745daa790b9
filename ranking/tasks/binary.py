"""Labels of 0 and 1, such as a click: cross entropy of a logit, measured by the AUC."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from ranking.array import Array
from ranking.measures import metrics
from ranking.measures.differences import Difference, auc_difference
from ranking.tasks.kind import Kind, LabelStatistics, Measure

LEAST_RATE = 1e-6  # of a label that never varies, so that its logit is finite


class Binary(Kind):
  """The output is a logit."""

  name = "binary"
  measure = Measure("auc", "AUC", "AUC (%) ↑", better=1, unit=0.01, digits=2, plural="points")
  counts_positives = True

  def check(self, labels: Array) -> None:
    """Raises ValueError for a label other than 0 and 1."""
    stray = labels[~np.isin(labels, (0.0, 1.0))]
    if len(stray):
      raise ValueError(f"is binary but holds {stray[0]}; make it 0 or 1, or a regression")

  def constant_output(self, known: LabelStatistics) -> float:
    """The logit of the mean."""
    rate = min(max(known.mean, LEAST_RATE), 1.0 - LEAST_RATE)
    return math.log(rate) - math.log1p(-rate)

  def losses(self, labels: tf.Tensor, outputs: tf.Tensor, known: LabelStatistics) -> tf.Tensor:
    """Sigmoid cross entropy."""
    del known
    outputs = tf.broadcast_to(outputs, tf.shape(labels))
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, outputs)

  def evaluate(self, labels: Array, outputs: Array, known: LabelStatistics) -> dict[str, Any]:
    """See `metrics.evaluate_binary`."""
    del known
    return metrics.evaluate_binary(labels, outputs)

  def outputs_of(self, means: Array) -> Array:
    """Logits of probabilities."""
    inside = np.clip(means, 1e-12, 1 - 1e-12)
    return np.log(inside) - np.log1p(-inside)

  def difference(self, labels: Array, first: Array, second: Array, users: Array) -> Difference:
    """Of AUC, by DeLong's test summed by user."""
    return auc_difference(labels, first, second, users)
