"""Directions r: what an optimizer's slots make of a gradient, before any clipping or learning rate.

A direction is a pure function of values, so that the same lines serve a whole dense variable and
the touched rows of an embedding table.
"""

import dataclasses

import tensorflow as tf

Slots = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Sgd:
  """r = g."""

  def initial_slots(self) -> dict[str, float]:
    """Slot names and the value their entries start with."""
    return {}

  def __call__(self, gradient: tf.Tensor, slots: Slots) -> tuple[tf.Tensor, Slots]:
    """(r, new slots), each of the gradient's shape."""
    return gradient, slots


@dataclasses.dataclass(frozen=True)
class Adagrad:
  """r = g / sqrt(G + epsilon) with G including g² (equation 1); epsilon as in tf_keras."""

  initial_accumulator_value: float = 0.1
  epsilon: float = 1e-7

  def initial_slots(self) -> dict[str, float]:
    """Slot names and the value their entries start with."""
    return {"accumulator": self.initial_accumulator_value}

  def __call__(self, gradient: tf.Tensor, slots: Slots) -> tuple[tf.Tensor, Slots]:
    """(r, new slots), each of the gradient's shape."""
    accumulator = slots["accumulator"] + tf.square(gradient)
    return gradient * tf.math.rsqrt(accumulator + self.epsilon), {"accumulator": accumulator}


Direction = Sgd | Adagrad
