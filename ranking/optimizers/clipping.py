"""Clipping factors σ: how much of a direction a method lets through (paper, sections 4 and 5.1.3).

A clip acts on the gradient before the slots see it (GC, AGC) or on the direction (LAMB, Clippy).
Its factor is a pure function of weights, the tensor it acts on, and the learning rate: a scalar, or
for unit-wise AGC one number per unit, shaped to broadcast against the weights.
"""

import dataclasses
from typing import ClassVar, Literal

import tensorflow as tf

ActsOn = Literal["gradient", "direction"]


@dataclasses.dataclass(frozen=True)
class NoClip:
  """σ = 1: the paper's naive method."""

  acts_on: ClassVar[ActsOn] = "direction"

  def factor(self, weights: tf.Tensor, direction: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Scalar 1."""
    del weights, rate
    return tf.ones([], direction.dtype)


@dataclasses.dataclass(frozen=True)
class GradientClipping:
  """σ = min(1, threshold / ‖g‖₂) for each variable (equation 2)."""

  threshold: float = 1e-1
  acts_on: ClassVar[ActsOn] = "gradient"

  def factor(self, weights: tf.Tensor, gradient: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Scalar in (0, 1]."""
    del weights, rate
    return _at_most_one(self.threshold, tf.norm(gradient))


@dataclasses.dataclass(frozen=True)
class AdaptiveGradientClipping:
  """σ = min(1, threshold · max(‖w‖₂, epsilon) / ‖g‖₂) (Brock et al. 2021; equation 3).

  With unit="output" a norm is taken per output unit, as in the authors' code: over all axes but the
  last (a column of a Dense kernel, which is [inputs, outputs]), or over the whole of a vector. With
  unit="layer" it is taken over the variable. `epsilon` lets biases leave zero.
  """

  threshold: float = 1e-2
  epsilon: float = 1e-3
  unit: Literal["output", "layer"] = "output"
  acts_on: ClassVar[ActsOn] = "gradient"

  def __post_init__(self) -> None:
    if self.unit not in ("output", "layer"):
      raise ValueError(f'unit is {self.unit!r}; make it "output" or "layer"')

  def factor(self, weights: tf.Tensor, gradient: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """In (0, 1]: [1, ..., outputs] for a kernel with unit="output", else a scalar."""
    del rate
    limit = self.threshold * tf.maximum(self._norm(weights), self.epsilon)
    return _at_most_one(limit, self._norm(gradient))

  def _norm(self, tensor: tf.Tensor) -> tf.Tensor:
    """‖·‖₂ of each unit; tf.norm does not take a list of one axis, nor of three."""
    if self.unit == "layer" or tensor.shape.rank < 2:
      return tf.norm(tensor)
    axes = list(range(tensor.shape.rank - 1))
    return tf.sqrt(tf.reduce_sum(tf.square(tensor), axes, keepdims=True))


@dataclasses.dataclass(frozen=True)
class Lamb:
  """σ = multiplier · ‖w‖₂ / ‖r‖₂, and the multiplier alone where a norm is 0 (You et al. 2020).

  The rule for zero norms is that of the authors' code; multiplier is the paper's μ (5.1.3).
  """

  multiplier: float = 1e-2
  acts_on: ClassVar[ActsOn] = "direction"

  def factor(self, weights: tf.Tensor, direction: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Positive scalar; unlike the other factors it may exceed 1."""
    del rate
    weight_norm, direction_norm = tf.norm(weights), tf.norm(direction)
    zero = (weight_norm == 0.0) | (direction_norm == 0.0)
    safe = tf.where(zero, tf.ones_like(direction_norm), direction_norm)
    return self.multiplier * tf.where(zero, tf.ones_like(safe), weight_norm / safe)


@dataclasses.dataclass(frozen=True)
class Clippy:
  """σ = min(1, min over coordinates of (relative·|w| + absolute) / (η·|r|)) (Algorithm 1).

  No coordinate then moves by more than relative·|w| + absolute.
  """

  relative_threshold: float = 0.5
  absolute_threshold: float = 1e-2
  acts_on: ClassVar[ActsOn] = "direction"

  def factor(self, weights: tf.Tensor, direction: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Scalar in [0, 1]; a coordinate that does not move never binds."""
    limit = self.relative_threshold * tf.abs(weights) + self.absolute_threshold
    move = rate * tf.abs(direction)
    still = move == 0.0
    ratio = tf.where(still, tf.ones_like(limit), limit / tf.where(still, tf.ones_like(move), move))
    return tf.minimum(tf.ones([], ratio.dtype), tf.reduce_min(ratio))


Clip = NoClip | GradientClipping | AdaptiveGradientClipping | Lamb | Clippy


def _at_most_one(limit: tf.Tensor | float, norm: tf.Tensor) -> tf.Tensor:
  """min(1, limit / norm), 1 where the norm is 0."""
  over = norm > limit
  return tf.where(over, limit / tf.where(over, norm, tf.ones_like(norm)), tf.ones_like(norm))
