"""Labels of 0 and 1, such as a click: cross entropy of a logit, measured by the AUC."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ranking.array import Array
from ranking.measures.concordance import auc
from ranking.measures.differences import Difference, auc_difference
from ranking.measures.loss import mean
from ranking.tasks.kind import Figures, Kind, LabelStatistics, Measure, calibration

if TYPE_CHECKING:
  import tensorflow as tf


LEAST_RATE = 1e-6  # of a label that never varies, so that its logit is finite


class Binary(Kind):
  """The output is a logit."""

  name = "binary"
  measure = Measure(
    "auc",
    "AUC",
    better=1,
    test="DeLong's test summed by user",
    ranks=True,
    unit=0.01,
    symbol="%",
    digits=2,
    plural="points",
  )
  counts_positives = True
  has_logloss = True

  def check(self, labels: Array) -> None:
    """Raises ValueError for a label other than 0 and 1."""
    stray = labels[(labels != 0) & (labels != 1)]
    if len(stray):
      raise ValueError(f"is binary but holds {stray[0]}; make it 0 or 1, or a regression")

  def can_be_learnt(self, known: LabelStatistics) -> bool:
    """Whether the training days have both 0 and 1."""
    return 0 < known.mean < 1

  def constant_output(self, known: LabelStatistics) -> float:
    """The logit of the mean."""
    rate = min(max(known.mean, LEAST_RATE), 1.0 - LEAST_RATE)
    return math.log(rate) - math.log1p(-rate)

  def losses(
    self, labels: "tf.Tensor", outputs: "tf.Tensor", known: LabelStatistics
  ) -> "tf.Tensor":
    """Sigmoid cross entropy."""
    import tensorflow as tf

    del known
    outputs = tf.broadcast_to(outputs, tf.shape(labels))
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, outputs)

  def row_losses(self, labels: Array, outputs: Array, known: LabelStatistics) -> Array:
    """Sigmoid cross entropy."""
    del known
    wide = outputs.astype(np.float64)
    wrong = np.maximum(np.where(labels == 1, -wide, wide), 0.0)
    return np.asarray(np.log1p(np.exp(-np.abs(wide))) + wrong)

  def figures(
    self, labels: Array, outputs: Array, known: LabelStatistics, weights: Array | None
  ) -> Figures:
    """The AUC ranks logits, because a float32 sigmoid saturates and makes ties."""
    area, wide = auc(labels, outputs, weights), outputs.astype(np.float64)
    decay = np.exp(-np.abs(wide))  # at most 1, so that nothing overflows
    predictions = np.where(wide >= 0, 1.0, decay) / (1.0 + decay)
    logloss = mean(self.row_losses(labels, outputs, known), weights)
    return Figures(*area, calibration(predictions, labels, weights), logloss)

  def outputs_of(self, means: Array, known: LabelStatistics) -> Array:
    """Logits of probabilities."""
    del known
    inside = np.clip(means, 1e-12, 1 - 1e-12)
    return np.log(inside) - np.log1p(-inside)

  def difference(
    self,
    labels: Array,
    first: Array,
    second: Array,
    users: Array,
    weights: Array | None = None,
  ) -> Difference:
    """Compares the AUC, by DeLong's test summed by user."""
    return auc_difference(labels, first, second, users, weights)
