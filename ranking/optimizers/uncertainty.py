"""Weights of tasks that are learnt with the model, from how uncertain each task is."""

import dataclasses

import tensorflow as tf

from ranking.models.network import Network
from ranking.optimizers.balance import Balance
from ranking.tasks.regression import Regression


@dataclasses.dataclass(frozen=True)
class UncertaintyWeights(Balance):
  """The weights of Kendall, Gal & Cipolla (2018, "Multi-task learning using uncertainty").

  Each task has a logarithm of a variance, s = log σ², that is 0 at first and moved by the optimizer
  as a bias is. The likelihood of labels whose noise has that variance is

      Σ exp(-s)·L/2 + s/2    over regressions, L their mean squared error,
      Σ exp(-s)·L + s/2      over the other kinds, L their cross entropy or deviance,

  and least where a weight is 1 / L for regressions and 1 / (2 L) for the others: a task with a
  large loss counts less. A task without a label in a batch does not move its s there.
  """

  learns_weights = True

  def prepare(self, network: Network) -> None:
    """Adds s, a number for each task."""
    network.of_tasks = network.number_for_each_task("task_log_variances", trainable=True)

  def weights(self, network: Network) -> tf.Tensor:
    """exp(-s), half of it for regressions."""
    halves = [0.5 if isinstance(task.rules, Regression) else 1.0 for task in network.schema.tasks]
    return tf.constant(halves) * tf.exp(-network.of_tasks)

  def objective(
    self, network: Network, task_losses: tf.Tensor, batch: dict[str, tf.Tensor]
  ) -> tf.Tensor:
    """The sum above."""
    labelled = tf.reduce_sum(batch["weights"], axis=0)  # over all replicas 1, or 0 without a label
    noise = tf.tensordot(labelled, network.of_tasks, 1) / 2
    return super().objective(network, task_losses, batch) + noise
