"""Gradients of tables, which come in rows."""

from typing import TypeAlias

import tensorflow as tf

from ranking.optimizers.directions import Direction, Slots

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices


def moved(
  gradient: Gradient, variable: tf.Variable, slots: Slots, direction: Direction
) -> tuple[tf.Tensor, tf.Tensor, Slots]:
  """(gradient, weights, slots) of what a step moves, all of one shape.

  The whole variable; or the rows that a sparse gradient touches, unless the direction also moves
  those that it does not.
  """
  if not isinstance(gradient, tf.IndexedSlices):
    return gradient, variable, slots
  rows = gradient.indices
  if direction.is_row_wise:
    gathered = {name: tf.gather(slot, rows) for name, slot in slots.items()}
    return gradient.values, tf.gather(variable, rows), gathered
  dense = tf.math.unsorted_segment_sum(gradient.values, rows, variable.shape[0])
  return dense, variable, slots
