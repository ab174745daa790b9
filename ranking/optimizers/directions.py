"""Directions r: what an optimizer's slots make of a gradient, before any clipping or learning rate.

A direction is a pure function of values, so that the same lines serve a whole dense variable and
the touched rows of an embedding table.
"""

import dataclasses

import tensorflow as tf

from ranking.optimizers.settings import check

Slots = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Direction:
  """Base of all directions: a frozen dataclass of settings with a pure `__call__`.

  Raises ThresholdError for a number that is negative, or a share of the past that is not below 1.
  """

  def __post_init__(self) -> None:
    check(self)

  @property
  def is_row_wise(self) -> bool:
    """Whether a row without gradient neither moves nor changes its slots."""
    return True

  def initial_slots(self) -> dict[str, float]:
    """Slot names and the value their entries start with."""
    return {}

  def __call__(
    self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
  ) -> tuple[tf.Tensor, Slots]:
    """(r, new slots), each of the gradient's shape and dtype.

    Args:
      gradient: of a variable, or of some of its rows.
      slots: by name, of the gradient's shape.
      weights: of the gradient's shape.
      step: scalar of the gradient's dtype; 1 for the first.
    """
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Sgd(Direction):
  """r = g, or with momentum the sum of all gradients so far, each step weighted by it once more."""

  momentum: float = 0.0

  @property
  def is_row_wise(self) -> bool:
    """A row without gradient goes on moving by its momentum."""
    return self.momentum == 0.0

  def initial_slots(self) -> dict[str, float]:
    """The velocity, if there is momentum."""
    return {"velocity": 0.0} if self.momentum else {}

  def __call__(
    self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
  ) -> tuple[tf.Tensor, Slots]:
    """See `Direction`."""
    del weights, step
    if not self.momentum:
      return gradient, slots
    velocity = self.momentum * slots["velocity"] + gradient
    return velocity, {"velocity": velocity}


@dataclasses.dataclass(frozen=True)
class Adagrad(Direction):
  """r = g / sqrt(G + epsilon) with G including g² (equation 1); epsilon as in tf_keras."""

  initial_accumulator_value: float = 0.1
  epsilon: float = 1e-7

  def initial_slots(self) -> dict[str, float]:
    """The accumulator G."""
    return {"accumulator": self.initial_accumulator_value}

  def __call__(
    self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
  ) -> tuple[tf.Tensor, Slots]:
    """See `Direction`."""
    del weights, step
    accumulator = slots["accumulator"] + tf.square(gradient)
    return gradient * tf.math.rsqrt(accumulator + self.epsilon), {"accumulator": accumulator}


@dataclasses.dataclass(frozen=True)
class Adam(Direction):
  """r = m̂ / (sqrt(v̂) + ε̂) + weight_decay · w (Kingma & Ba 2015; with decay, AdamW).

  As in tf_keras, epsilon is added to sqrt(v) before the bias of v is corrected, and a sparse
  gradient lets every row of a table move. The decay is part of r, so that a clip which limits r
  limits all that moves a weight; without a clip this is tf_keras AdamW.
  """

  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-7
  weight_decay: float = 0.0

  @property
  def is_row_wise(self) -> bool:
    """A row without gradient goes on moving by its first moment."""
    return False

  def initial_slots(self) -> dict[str, float]:
    """The two moments."""
    return {"first_moment": 0.0, "second_moment": 0.0}

  def __call__(
    self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
  ) -> tuple[tf.Tensor, Slots]:
    """See `Direction`."""
    beta_1, beta_2 = (tf.constant(beta, step.dtype) for beta in (self.beta_1, self.beta_2))
    first = slots["first_moment"] + (gradient - slots["first_moment"]) * (1 - self.beta_1)
    second = slots["second_moment"] + (tf.square(gradient) - slots["second_moment"]) * (
      1 - self.beta_2
    )
    correction = tf.sqrt(1 - tf.pow(beta_2, step)) / (1 - tf.pow(beta_1, step))
    direction = correction * first / (tf.sqrt(second) + self.epsilon)
    if self.weight_decay:
      direction += self.weight_decay * weights
    return direction, {"first_moment": first, "second_moment": second}
