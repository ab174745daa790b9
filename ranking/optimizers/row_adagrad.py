"""Adagrad with one accumulator for each row: for large tables, whose slots are as large as they."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from ranking.optimizers.directions import SURELY_POSITIVE, Direction, Slots


@dataclasses.dataclass(frozen=True)
class RowWiseAdagrad(Direction):
  """r = g / sqrt(G + epsilon), where a row's G is the sum of the means of its squared gradients.

  As EXACT_ROWWISE_ADAGRAD of FBGEMM and TorchRec, which start G at 0 and divide by
  sqrt(G) + epsilon. All weights of a row have one rate; with one column it is `Adagrad`. Rows are
  along the first axis. G stops growing at the largest number of its dtype; r is 0 where G + epsilon
  is.
  """

  initial_accumulator_value: float = 0.1
  epsilon: float = 1e-7
  keeps_finite: ClassVar[bool] = True
  slots_per_row: ClassVar[bool] = True

  def initial_slots(self) -> dict[str, float]:
    """G, a number for each row."""
    return {"row_accumulator": self.initial_accumulator_value}

  def __call__(
    self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
  ) -> tuple[tf.Tensor, Slots]:
    """See `Direction`."""
    del weights, step
    rank, most = gradient.shape.rank, gradient.dtype.max
    squares = tf.reduce_mean(tf.square(gradient), axis=list(range(1, rank)))
    total = slots["row_accumulator"] + squares
    total = tf.where(total > most, most, total)
    divisor = tf.reshape(total + self.epsilon, [-1, *[1] * (rank - 1)] if rank else [])
    new_slots = {"row_accumulator": total}
    if self.epsilon >= SURELY_POSITIVE:
      return gradient * tf.math.rsqrt(divisor), new_slots
    return tf.math.divide_no_nan(gradient, tf.sqrt(divisor)), new_slots
