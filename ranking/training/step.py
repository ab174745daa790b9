"""The compiled training step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ranking.models.network import Network
from ranking.optimizers.balance import Balance
from ranking.optimizers.clipping import Clip
from ranking.optimizers.observation import Observation, observe
from ranking.optimizers.optimizer import ClippedOptimizer
from ranking.stability import health


class Taken(NamedTuple):
  """What a call's steps measured."""

  measured: tf.Tensor  # float32 [steps, 6 + 5 T], the health vector of each step
  factors: tf.Tensor  # float32 [clipped variables], the smallest σ of each in the last step
  finite: tf.Tensor  # bool: all weights are finite
  observations: list[Observation]  # of the last step, one per variable, if it was observed


Steps = Callable[[Iterator[Any], tf.Tensor, bool], Taken]  # iterator, how many steps, observing


def compile_steps(
  model: Network,
  optimizer: ClippedOptimizer,
  strategy: tf.distribute.Strategy,
  shadows: Mapping[str, Clip],
  balance: Balance | None = None,
) -> Steps:
  """A function that takes several steps on the batches of an iterator without asking the host.

  Args:
    model, optimizer: built under the strategy.
    strategy: on whose replicas the steps run.
    shadows: the other clips of an observation.
    balance: weighs the tasks, or makes one gradient of theirs; None = that of the weighted loss.
  """
  variables = model.trainable_variables
  clipped = _clipped(optimizer, variables)
  factors = optimizer.clipping_factors()
  step = training_step(model, optimizer, shadows, balance)

  def plain(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, list[Observation]]:
    return step(batch, False)

  def observed_step(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, list[Observation]]:
    return step(batch, True)  # not an argument of `run`, of which a TPU makes tensors

  @tf.function
  def steps(data: Iterator[Any], count: tf.Tensor, observing: bool) -> Taken:
    measured = tf.TensorArray(tf.float32, size=count)
    for k in tf.range(count - int(observing)):
      per_replica, _ = strategy.run(plain, args=(next(data),))
      measured = measured.write(k, strategy.reduce("MEAN", per_replica, axis=None))
    observations = []
    if observing:
      per_replica, observed = strategy.run(observed_step, args=(next(data),))
      measured = measured.write(count - 1, strategy.reduce("MEAN", per_replica, axis=None))
      observations = tf.nest.map_structure(  # the same on every replica
        lambda value: strategy.experimental_local_results(value)[0], observed
      )
    smallest = [tf.cast(factors[k], tf.float32) for k in clipped]
    last = tf.stack(smallest) if smallest else tf.zeros([0])
    return Taken(measured.stack(), last, health.all_finite(variables), observations)

  return steps


def compile_measuring(
  model: Network, strategy: tf.distribute.Strategy
) -> Callable[[Iterator[Any], tf.Tensor], tf.Tensor]:
  """A function that measures the model as it is on several batches of an iterator.

  Returns:
    Maps an iterator and a count of batches to float32 [count, 6 + 5 T], health vectors as those of
    steps, of steps that change nothing.
  """

  @tf.autograph.experimental.do_not_convert
  def of_replica(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    outputs = model(batch, training=True)
    task_losses = model.task_losses(batch, outputs)
    return _health(model, batch, outputs, task_losses, model.constant_losses(batch))

  @tf.function
  def measure(data: Iterator[Any], count: tf.Tensor) -> tf.Tensor:
    measured = tf.TensorArray(tf.float32, size=count)
    for k in tf.range(count):
      per_replica = strategy.run(of_replica, args=(next(data),))
      measured = measured.write(k, strategy.reduce("MEAN", per_replica, axis=None))
    return measured.stack()

  return measure


def training_step(
  model: Network,
  optimizer: ClippedOptimizer,
  shadows: Mapping[str, Clip],
  balance: Balance | None = None,
) -> Callable[[dict[str, tf.Tensor], bool], tuple[tf.Tensor, list[Observation]]]:
  """The step of one replica: takes a batch, and says what it measured and, if asked, observed.

  Args:
    model, optimizer: built under the strategy that it runs in.
    shadows: the other clips of an observation.
    balance: weighs the tasks, or makes one gradient of theirs; None = that of the weighted loss.
  """
  variables = model.trainable_variables
  clipped = _clipped(optimizer, variables)
  factors = optimizer.clipping_factors()

  @tf.autograph.experimental.do_not_convert  # nothing to convert, and looking for it takes seconds
  def step(batch: dict[str, tf.Tensor], observing: bool) -> tuple[tf.Tensor, list[Observation]]:
    needs_gradients = balance is not None and balance.needs_gradients
    # A tape goes back through all that it holds, down to the tables, wherever it is asked to end.
    towers = tf.GradientTape(persistent=True)
    with tf.GradientTape(persistent=needs_gradients) as tape:
      outputs, seen = model(batch, training=True, tower_tape=towers)
      with towers:
        task_losses = model.task_losses(batch, outputs)
        of_each = tf.unstack(task_losses)
      if balance:
        objective = balance.objective(model, task_losses, batch)
      else:
        objective = model.weighted(task_losses)
      shares = model.shares(task_losses) if needs_gradients else []
    gradients = tape.gradient(objective, variables)
    # Losses are shares of a global mean, so gradients of replicas are summed, never averaged.
    pairs = list(optimizer.aggregate_gradients(zip(gradients, variables, strict=True)))
    if balance and needs_gradients:
      dense = [k for k, gradient in enumerate(gradients) if isinstance(gradient, tf.Tensor)]
      own = [variables[k] for k in dense]
      of_tasks = []
      for share in shares:
        each = tape.gradient(share, own, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        summed = optimizer.aggregate_gradients(zip(each, own, strict=True))
        of_tasks.append([gradient for gradient, _ in summed])
      for k, gradient in zip(dense, balance.combine(of_tasks), strict=True):
        pairs[k] = (gradient, variables[k])
    constant_losses = model.constant_losses(batch)
    if balance:
      each_seen = list(zip(of_each, seen, strict=True))
      balance.learn(
        model,
        task_losses,
        constant_losses,
        lambda: [towers.gradient(of_one, at) for of_one, at in each_seen],
      )
    treated = optimizer.distinct([pairs[k] for k in clipped]) if clipped else []
    # Before the weights move: an observation is of the step that is about to be taken.
    observations = observe(optimizer, pairs, shadows) if observing else []
    optimizer.apply_gradients(pairs, skip_gradients_aggregation=True, loss=objective)
    measured = _health(
      model,
      batch,
      outputs,
      task_losses,
      constant_losses,
      [gradient for gradient, _ in treated],
      [factors[k] for k in clipped],
      optimizer.skipped_in_a_row > 0,
    )
    return measured, observations

  return step


def _health(
  model: Network,
  batch: dict[str, tf.Tensor],
  outputs: tf.Tensor,
  task_losses: tf.Tensor,
  constant_losses: tf.Tensor,
  gradients: Sequence[tf.Tensor] = (),
  clipping_factors: Sequence[tf.Tensor] = (),
  skipped: tf.Tensor | bool = False,
) -> tf.Tensor:
  """The health vector of a model on a batch, `health.measure`."""
  # The verdict is by the log's weights, which stay the same: those that are learnt do not.
  return health.measure(
    model.weighted(task_losses),
    model.weighted(constant_losses),
    tf.stack([task_losses, constant_losses, *model.label_counts(batch)]),
    outputs,
    gradients,
    clipping_factors,
    skipped,
  )


def _clipped(optimizer: ClippedOptimizer, variables: Sequence[tf.Variable]) -> list[int]:
  """The places of the variables that the optimizer's clip treats."""
  return [k for k, variable in enumerate(variables) if optimizer.is_clipped(variable)]
