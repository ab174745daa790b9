"""Gradients of tasks that pull against each other: what undoes another task is left out."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from ranking.optimizers.balance import Balance


@dataclasses.dataclass(frozen=True)
class ProjectConflicts(Balance):
  """The gradient surgery of Yu et al. (2020, "PCGrad"): one backward pass for each task.

  Where the gradient of a task points against that of another, it loses the part along the other's:
  g ← g − (g·h / ‖h‖²) h, for one other task after the other, h being as it was at first. The update
  is of their sum. Their order is that of the tasks, from the next one on, where the paper draws it,
  so that a run stays the same every time. Norms and products are over all dense variables; the
  tables of embeddings, of which each task sees the same few rows, have the plain sum.
  """

  needs_gradients = True

  def combine(self, of_tasks: Sequence[Sequence[tf.Tensor]]) -> list[tf.Tensor]:
    """The sum over tasks of their gradients without conflicts, one for each variable.

    Args:
      of_tasks: of each of T tasks, the gradients of the same dense variables.
    """
    flat = [tf.concat([tf.reshape(each, [-1]) for each in own], axis=0) for own in of_tasks]
    squares = [tf.reduce_sum(tf.square(each)) for each in flat]
    total = tf.zeros_like(flat[0])
    for task, projected in enumerate(flat):
      for other in [*range(task + 1, len(flat)), *range(task)]:
        product = tf.reduce_sum(projected * flat[other])
        against = tf.minimum(product, 0.0)
        projected -= tf.math.divide_no_nan(against, squares[other]) * flat[other]
      total += projected
    sizes = [tf.size(each) for each in of_tasks[0]]
    parts = tf.split(total, sizes)
    return [tf.reshape(part, each.shape) for part, each in zip(parts, of_tasks[0], strict=True)]
