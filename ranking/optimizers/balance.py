"""What a training step makes of the losses of several tasks, beside their weighted sum."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import tensorflow as tf

from ranking.models.network import Network


class Balance:
  """Weighs tasks, or makes one gradient of theirs. Its objects have no state.

  Attributes:
    learns_weights: whether it says itself how many times each task's loss counts; then what the log
      or `loss_weights` say is not asked.
    needs_gradients: whether it makes the gradient of the dense variables from each task's.
  """

  learns_weights: ClassVar[bool] = False
  needs_gradients: ClassVar[bool] = False

  def prepare(self, network: Network) -> None:
    """Gives a network that is just built the variable that it learns, if any."""

  def weights(self, network: Network) -> tf.Tensor:
    """float32 [T], how many times the loss of each task counts now."""
    return tf.constant([float(task.loss_weight) for task in network.schema.tasks])

  def objective(
    self, network: Network, task_losses: tf.Tensor, batch: dict[str, tf.Tensor]
  ) -> tf.Tensor:
    """What is differentiated: this replica's share of it."""
    del batch
    return tf.tensordot(self.weights(network), task_losses, 1)

  def learn(
    self,
    network: Network,
    task_losses: tf.Tensor,
    constant_losses: tf.Tensor,
    at_towers: Callable[[], list[tf.Tensor]],
  ) -> None:
    """Moves its own variable, if it has one that the optimizer does not move.

    Args:
      network: whose other weights have not moved yet.
      task_losses, constant_losses: float32 [T], this replica's shares.
      at_towers: takes the gradient of each task's loss with respect to what its tower sees.
    """

  def combine(self, of_tasks: Sequence[Sequence[tf.Tensor]]) -> list[tf.Tensor]:
    """One gradient for each dense variable, of those of each task's weighted loss."""
    return [tf.add_n(list(of_one)) for of_one in zip(*of_tasks, strict=True)]
