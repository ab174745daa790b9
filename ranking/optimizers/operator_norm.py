"""A clip that judges a layer by the largest singular value of its step."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import tensorflow as tf

from ranking.optimizers import reductions
from ranking.optimizers.clipping import Clip, Measures

POWER_STEPS = 4


@dataclasses.dataclass(frozen=True)
class OperatorNorm(Clip):
  """σ = min(1, threshold · max(RMS(w), epsilon) · (√m + √n) / (η · ‖r‖)), ‖r‖ the operator norm.

  Kernels [..., n] are matrices [m, n], all axes but the last being folded; rows of a table are the
  matrix of the rows touched. Random weights have an operator norm of about RMS(w) · (√m + √n), so
  that a step changes what a layer makes of any input by at most a share of that. The operator norm
  is found by power iteration, and so from below: exactly for a matrix of rank one, some 7 % too low
  for random numbers. A vector or scalar of n numbers has the limit
  threshold · max(RMS(w), epsilon) · √n and the Euclidean norm.

  Not of the paper. The default threshold was found on kuairand at an eighth of the paper's widths.
  `epsilon` lets biases leave zero.
  """

  threshold: float = 0.03
  epsilon: float = 1e-3
  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

  def measure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> Measures:
    """The length of the step as a multiple of its limit."""
    del of_rows
    size = tf.cast(tf.size(weights), weights.dtype)
    mean = tf.math.divide_no_nan(reductions.total(tf.square(weights)), size)
    limit = self.threshold * tf.maximum(tf.sqrt(mean), self.epsilon)
    if weights.shape.rank < 2:
      norm, width = tf.sqrt(reductions.total(tf.square(tensor))), tf.sqrt(size)
    else:
      # A sparse gradient may have forgotten its width.
      matrix = tf.reshape(tensor, [-1, weights.shape[-1]])
      rows, columns = (tf.cast(length, size.dtype) for length in tf.unstack(tf.shape(matrix)))
      norm, width = _operator_norm(matrix), tf.sqrt(rows) + tf.sqrt(columns)
    step = rate * norm
    return {"excess": tf.where(step == 0.0, tf.zeros_like(step), step / (limit * width))}

  def join(self, measures: Sequence[Measures]) -> Measures:
    """The largest of all."""
    return {"excess": tf.reduce_max(tf.stack([each["excess"] for each in measures]))}

  def factor(self, measures: Measures) -> tf.Tensor:
    """In [0, 1]; 0 only where the threshold is."""
    return 1.0 / tf.maximum(tf.ones_like(measures["excess"]), measures["excess"])


def _operator_norm(matrix: tf.Tensor) -> tf.Tensor:
  """Scalar, about the largest singular value of [m, n]; never above it, and 0 of no rows."""
  # Of fixed random numbers, which no structure of a layer is at right angles to.
  start = np.random.default_rng(0).normal(size=matrix.shape[1])
  right = _of_length_one(tf.constant(start, matrix.dtype))
  for _ in range(POWER_STEPS):
    left = _of_length_one(tf.linalg.matvec(matrix, right))
    right = _of_length_one(tf.linalg.matvec(matrix, left, transpose_a=True))
  return tf.norm(tf.linalg.matvec(matrix, right))


def _of_length_one(vector: tf.Tensor) -> tf.Tensor:
  return tf.math.divide_no_nan(vector, tf.norm(vector))
