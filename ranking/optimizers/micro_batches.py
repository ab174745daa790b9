"""Gradients of several micro-batches, summed up until a step is due.

A sum of dense gradients has its variable's shape. Of a table the rows that came are marked beside
it, so that the step is one of rows, as if all had come in one batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from ranking.optimizers.kept import Kept
from ranking.optimizers.rows import Gradient


class Sum(NamedTuple):
  """What to write of one variable, 0 where the step is due."""

  gradient: Gradient  # the whole sum, or all its rows
  touched: tf.Tensor | None  # [rows], 1 for those that came; None of a variable without rows


class Summed(NamedTuple):
  """All that has been summed up, with a micro-batch's own."""

  sums: list[tuple[Sum, tf.Variable]]
  losses: tf.Tensor
  due: tf.Tensor  # bool, whether the step is


def nothing(variable: tf.Variable, of_rows: bool) -> tuple[Gradient, tf.Variable]:
  """The gradient of a variable that has none."""
  if not of_rows:
    return tf.zeros_like(variable), variable
  values = tf.zeros([0, *variable.shape[1:]], variable.dtype)
  return tf.IndexedSlices(values, tf.zeros([0], tf.int64), tf.shape(variable)), variable


def summed(
  kept: Kept, pairs: Sequence[tuple[Gradient, tf.Variable]]
) -> list[tuple[Sum, tf.Variable]]:
  """Sums with a micro-batch's own gradients; writes nothing."""
  return [
    (_sum(gradient, kept.sums[kept.index(variable)]), variable) for gradient, variable in pairs
  ]


def _sum(gradient: Gradient, kept: dict[str, tf.Variable]) -> Sum:
  so_far, touched = kept["gradient_sum"], kept.get("rows_touched")
  if not isinstance(gradient, tf.IndexedSlices):
    return Sum(so_far + gradient, None if touched is None else tf.ones_like(touched))
  assert touched is not None  # a gradient in rows is of rank 1 or more
  now = tf.cast(gradient.indices, tf.int64)
  ones = tf.ones_like(now, touched.dtype)
  marked = tf.tensor_scatter_nd_update(touched, now[:, None], ones)
  rows = tf.where(marked > 0)[:, 0]
  place = tf.gather(tf.cumsum(tf.cast(marked > 0, tf.int64)) - 1, now)
  own = tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows, tf.int64))
  values = tf.gather(so_far, rows) + own
  return Sum(tf.IndexedSlices(values, rows, gradient.dense_shape), marked)


def mean(total: Sum, count: int) -> Gradient:
  """The gradient of the step, of so many micro-batches."""
  gradient = total.gradient
  if isinstance(gradient, tf.IndexedSlices):
    return tf.IndexedSlices(gradient.values / count, gradient.indices, gradient.dense_shape)
  return gradient / count


def write(kept: Kept, variable: tf.Variable, total: Sum, due: tf.Tensor) -> None:
  """Keeps a sum on one replica, or begins a new one."""
  sums = kept.sums[kept.index(variable)]
  gradient, touched = total
  if isinstance(gradient, tf.IndexedSlices):
    values = tf.where(due, tf.zeros_like(gradient.values), gradient.values)
    sums["gradient_sum"].scatter_update(tf.IndexedSlices(values, gradient.indices))
  else:
    sums["gradient_sum"].assign(tf.where(due, tf.zeros_like(gradient), gradient))
  if touched is not None:
    sums["rows_touched"].assign(tf.where(due, tf.zeros_like(touched), touched))
