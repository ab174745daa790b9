"""The health vector: what every training step measures of itself, from values it has anyway."""

from collections.abc import Sequence

import tensorflow as tf

NAMES = ("loss", "constant_loss", "gradient_norm", "clipping_factor", "output_spread", "skipped")


def names(tasks: Sequence[str]) -> tuple[str, ...]:
  """Names of the entries of `measure`, in order; a task's loss is "<task>/loss"."""
  return (*NAMES, *(f"{task}/loss" for task in tasks))


def measure(
  loss: tf.Tensor,
  constant_loss: tf.Tensor,
  task_losses: tf.Tensor,
  outputs: tf.Tensor,
  gradients: Sequence[tf.Tensor],
  clipping_factors: Sequence[tf.Tensor],
  skipped: tf.Tensor,
) -> tf.Tensor:
  """float32 [6 + T], the same on every replica.

  Args:
    loss: this replica's share of the weighted loss.
    constant_loss: likewise for the best constant predictor.
    task_losses: float32 [T], this replica's share of each task's loss.
    outputs: float32 [b, T], this replica's.
    gradients: of the variables that the clip treats, summed over replicas, a row of a table once.
    clipping_factors: of the same variables.
    skipped: whether the optimizer changed nothing because the step was not finite.
  """
  replica = tf.distribute.get_replica_context()
  sums = tf.concat([[loss, constant_loss], task_losses], axis=0)
  ends = tf.stack([tf.reduce_max(outputs, axis=0), tf.reduce_max(-outputs, axis=0)])  # [2, T]
  if replica.num_replicas_in_sync > 1:
    sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)
    ends = tf.reduce_max(replica.all_gather(ends[None], axis=0), axis=0)
  own = [
    tf.linalg.global_norm(gradients) if gradients else 0.0,
    tf.reduce_min(tf.stack([1.0] if not clipping_factors else list(clipping_factors))),
    # How far apart the outputs of two rows can be: 0 for a network whose units have all died.
    tf.reduce_max(ends[0] + ends[1]),
    tf.cast(skipped, tf.float32),
  ]
  return tf.concat([sums[:2], tf.stack(own), sums[2:]], axis=0)


def all_finite(variables: Sequence[tf.Variable]) -> tf.Tensor:
  """Scalar bool: no weight is infinite or NaN."""
  return tf.reduce_all([tf.reduce_all(tf.math.is_finite(variable)) for variable in variables])
