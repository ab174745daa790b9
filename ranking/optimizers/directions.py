"""Directions r: what an optimizer's slots make of a gradient, before any clipping or learning rate.

A direction is a pure function of values, so that the same lines serve a whole dense variable and
the touched rows of an embedding table.
"""

import dataclasses
from typing import ClassVar, Literal

import tensorflow as tf

from ranking.optimizers.settings import LATER, ThresholdError, check

Slots = dict[str, tf.Tensor]
# An epsilon from which on nothing is divided by 0, in any dtype: what is less is 0 in float16.
SURELY_POSITIVE = 6e-8


@dataclasses.dataclass(frozen=True)
class Direction:
  """Base of all directions: a frozen dataclass of settings with a pure `__call__`.

  Raises ThresholdError for a number that is negative, or a share of the past that is not below 1.
  """

  def __post_init__(self) -> None:
    check(self)

  # Whether r and slots are finite wherever the squares of gradients add up to a finite number.
  keeps_finite: ClassVar[bool] = False
  has_preconditioner: ClassVar[bool] = False  # whether it multiplies gradients with 1/√G
  slots_per_row: ClassVar[bool] = False  # whether a slot has one number for each row of a variable

  @property
  def is_row_wise(self) -> bool:
    """Whether a row without gradient neither moves nor changes its slots."""
    return True

  @property
  def accumulates_after(self) -> bool:
    """Whether r is of the slots before this step, so that they can see the clipped gradient."""
    return False

  def initial_slots(self) -> dict[str, float]:
    """Slot names and the value their entries start with."""
    return {}

  def __call__(
    self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
  ) -> tuple[tf.Tensor, Slots]:
    """(r, new slots), each of the gradient's shape and dtype.

    Args:
      gradient: of a variable, or of some of its rows.
      slots: by name, of the gradient's shape; or of its first axis, see `slots_per_row`.
      weights: of the gradient's shape.
      step: scalar of the gradient's dtype, or float32 beside a shorter one; 1 for the first.
    """
    raise NotImplementedError

  def preconditioner(self, slots: Slots, new_slots: Slots) -> tf.Tensor:
    """What the gradient was multiplied with, of its shape."""
    raise NotImplementedError

  def without_decay(self) -> "Direction":
    """The same without weight decay."""
    return self


@dataclasses.dataclass(frozen=True)
class Sgd(Direction):
  """r = g, or with momentum the sum of all gradients so far, each step weighted by it once more."""

  momentum: float = 0.0
  lazy: bool = dataclasses.field(default=False, metadata=LATER)
  keeps_finite: ClassVar[bool] = True

  @property
  def is_row_wise(self) -> bool:
    """A row without gradient goes on moving by its momentum, unless `lazy`."""
    return self.momentum == 0.0 or self.lazy

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
  """r = g / sqrt(G + epsilon) with G including g² (equation 1); epsilon as in tf_keras.

  With accumulate_when="after", G is without this step's g², as in the authors' release; then g² can
  enter it clipped, by the optimizer's `accumulate`. r is 0 where G + epsilon is.

  G only grows, up to the largest number of its dtype, and in a stream without end the rate of every
  weight goes to 0. With a share `keep`
  below 1, G ← keep · G + g²; of a table only rows with a gradient forget. `reset_slots` of the
  optimizer is the other way, once a day, say.
  """

  initial_accumulator_value: float = 0.1
  epsilon: float = 1e-7
  accumulate_when: Literal["before", "after"] = dataclasses.field(default="before", metadata=LATER)
  keep: float = dataclasses.field(default=1.0, metadata=LATER)
  keeps_finite: ClassVar[bool] = True
  has_preconditioner: ClassVar[bool] = True

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.accumulate_when not in ("before", "after"):
      raise ThresholdError(
        f'Adagrad.accumulate_when is {self.accumulate_when!r}; make it "before" or "after"'
      )
    if self.keep > 1:
      raise ThresholdError(f"Adagrad.keep is {self.keep!r}; make it a share, from 0 to 1")
    if self.accumulates_after and not self.initial_accumulator_value + self.epsilon > 0:
      raise ThresholdError(
        'Adagrad(accumulate_when="after") divides by sqrt(0) in its first step; make '
        "initial_accumulator_value or epsilon positive"
      )

  @property
  def accumulates_after(self) -> bool:
    """With accumulate_when="after"."""
    return self.accumulate_when == "after"

  def initial_slots(self) -> dict[str, float]:
    """The accumulator G."""
    return {"accumulator": self.initial_accumulator_value}

  def __call__(
    self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
  ) -> tuple[tf.Tensor, Slots]:
    """See `Direction`."""
    del weights, step
    kept = slots["accumulator"] if self.keep == 1 else self.keep * slots["accumulator"]
    total, most = kept + tf.square(gradient), gradient.dtype.max
    # Gradients of 1e19 have finite squares, which add up to infinity all the same. A selection,
    # because XLA makes a minimum, with its rule for NaN, half as long again as the whole step.
    total = tf.where(total > most, most, total)
    new_slots = {"accumulator": total}
    return gradient * self.preconditioner(slots, new_slots), new_slots

  def preconditioner(self, slots: Slots, new_slots: Slots) -> tf.Tensor:
    """1 / sqrt(G + epsilon), 0 where that is infinite."""
    kept = slots if self.accumulates_after else new_slots
    total = kept["accumulator"] + self.epsilon
    if self.epsilon >= SURELY_POSITIVE:
      return tf.math.rsqrt(total)
    zero = total == 0.0
    return tf.where(
      zero, tf.zeros_like(total), tf.math.rsqrt(tf.where(zero, tf.ones_like(total), total))
    )


@dataclasses.dataclass(frozen=True)
class Adam(Direction):
  """r = m̂ / (sqrt(v̂) + ε̂) + weight_decay · w (Kingma & Ba 2015; with decay, AdamW).

  As in tf_keras, epsilon is added to sqrt(v) before the bias of v is corrected, and a sparse
  gradient lets every row of a table move. With `lazy`, rows that have no gradient stay as they are,
  moments included, and a step costs what its rows cost. The decay is part of r, so that a clip
  which limits r limits all that moves a weight; without a clip this is tf_keras AdamW. m̂ / 0 counts
  as 0.
  """

  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-7
  weight_decay: float = 0.0
  lazy: bool = dataclasses.field(default=False, metadata=LATER)
  keeps_finite: ClassVar[bool] = True

  @property
  def is_row_wise(self) -> bool:
    """A row without gradient goes on moving by its first moment, unless `lazy`."""
    return self.lazy

  def without_decay(self) -> "Adam":
    """Adam itself."""
    return dataclasses.replace(self, weight_decay=0.0)

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
    correction = tf.cast(correction, gradient.dtype)
    length = tf.sqrt(second) + self.epsilon
    if self.epsilon >= SURELY_POSITIVE:
      direction = correction * first / length
    else:
      direction = tf.math.divide_no_nan(correction * first, length)
    if self.weight_decay:
      direction += self.weight_decay * weights
    return direction, {"first_moment": first, "second_moment": second}
