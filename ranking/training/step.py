"""The compiled training step."""

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from ranking.models.shared_bottom import SharedBottom
from ranking.optimizers.optimizer import ClippedOptimizer
from ranking.stability import health

# (iterator, steps) -> (float32 [steps, 5 + T] health vectors, bool: all weights are finite)
Steps = Callable[[Iterator[Any], tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def compile_steps(
  model: SharedBottom, optimizer: ClippedOptimizer, strategy: tf.distribute.Strategy
) -> Steps:
  """A function that takes several steps on the batches of an iterator without asking the host."""
  variables = model.trainable_variables
  clipped = [k for k, variable in enumerate(variables) if optimizer.is_clipped(variable)]
  factors = optimizer.clipping_factors()

  def step(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    with tf.GradientTape() as tape:
      outputs = model(batch, training=True)
      task_losses = model.task_losses(batch, outputs)
      loss = model.weighted(task_losses)
    gradients = tape.gradient(loss, variables)
    # Losses are shares of a global mean, so gradients of replicas are summed, never averaged.
    pairs = list(optimizer.aggregate_gradients(zip(gradients, variables, strict=True)))
    optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)
    return health.measure(
      loss,
      model.weighted(model.constant_losses(batch)),
      task_losses,
      outputs,
      [pairs[k][0] for k in clipped],
      [factors[k] for k in clipped],
    )

  @tf.function
  def steps(data: Iterator[Any], count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    measured = tf.TensorArray(tf.float32, size=count)
    for k in tf.range(count):
      per_replica = strategy.run(step, args=(next(data),))
      measured = measured.write(k, strategy.reduce("MEAN", per_replica, axis=None))
    return measured.stack(), health.all_finite(variables)

  return steps
