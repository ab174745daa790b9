"""The health vector: what every training step measures of itself, from values it has anyway."""

from collections.abc import Sequence

import tensorflow as tf

from ranking import one_device

NAMES = ("loss", "constant_loss", "gradient_norm", "clipping_factor", "output_spread", "skipped")


OF_TASK = ("loss", "constant_loss", "labels", "positives", "output_spread")


def names(tasks: Sequence[str]) -> tuple[str, ...]:
  """Names of the entries of `measure`, in order; a task's loss is "<task>/loss"."""
  return (*NAMES, *(f"{task}/{what}" for what in OF_TASK for task in tasks))


def measure(
  loss: tf.Tensor,
  constant_loss: tf.Tensor,
  of_tasks: tf.Tensor,
  outputs: tf.Tensor,
  gradients: Sequence[tf.Tensor],
  clipping_factors: Sequence[tf.Tensor],
  skipped: tf.Tensor,
) -> tf.Tensor:
  """float32 [6 + 5 T], the same on every replica.

  Args:
    loss: this replica's share of the weighted loss.
    constant_loss: likewise for the best constant predictor.
    of_tasks: float32 [4, T], this replica's share of each task's loss and of its best constant's,
      its labels, and those of them above the mean of the training days, such as positives.
    outputs: float32 [b, T], this replica's.
    gradients: of the variables that the clip treats, summed over replicas, a row of a table once.
    clipping_factors: of the same variables.
    skipped: whether the optimizer changed nothing because the step was not finite.
  """
  replica = tf.distribute.get_replica_context()
  sums = tf.concat([[loss, constant_loss], tf.reshape(of_tasks, [-1])], axis=0)
  # Not the largest of -outputs: TensorFlow 2.21 gets its sign wrong where graphs are optimized.
  highest, lowest = tf.reduce_max(outputs, axis=0), tf.reduce_min(outputs, axis=0)  # [T]
  if replica.num_replicas_in_sync > 1:
    sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)
    highest = tf.reduce_max(replica.all_gather(highest[None], axis=0), axis=0)
    lowest = tf.reduce_min(replica.all_gather(lowest[None], axis=0), axis=0)
  # How far apart the outputs of two rows can be: 0 for a network whose units have all died.
  spreads = highest - lowest
  own = [
    tf.linalg.global_norm(gradients) if gradients else 0.0,
    tf.reduce_min(tf.stack([1.0] if not clipping_factors else list(clipping_factors))),
    tf.reduce_max(spreads),
    tf.cast(skipped, tf.float32),
  ]
  return tf.concat([sums[:2], tf.stack(own), sums[2:], spreads], axis=0)


def all_finite(variables: Sequence[tf.Variable]) -> tf.Tensor:
  """Scalar bool: no weight is infinite or NaN."""
  return tf.reduce_all([_is_finite(variable) for variable in variables])


def _is_finite(variable: tf.Variable) -> tf.Tensor:
  with one_device.beside(variable):
    return tf.reduce_all(tf.math.is_finite(variable))
