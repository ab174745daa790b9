"""Weights of tasks that bring their gradients to one length, so that none rules what they share."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from ranking.models.network import Network
from ranking.optimizers.balance import Balance
from ranking.optimizers.settings import ThresholdError

FARTHEST = 1.0  # a logarithm of a length over its target counts as this at most


@dataclasses.dataclass(frozen=True)
class GradNorm(Balance):
  """The balance of Chen et al. (2018, "GradNorm"), by a rule that no unit of a gradient changes.

  With n the length of a task's gradient and w its weight, G = w·n is brought to

      mean of G over tasks · (r / mean of r)^asymmetry,

  r being its loss over that of the best constant on the same batch: what the paper takes of the
  first step, without its noise. A task that has learned less than the others gets more. Each step,
  log w moves by `rate` times the logarithm of target over G, and the weights sum to how many tasks
  there are. (The paper moves w down the slope of |G - target|, whose size has the unit of G: Adam
  made that even.) Gradients are those at what a task's tower sees, the last place that tasks share,
  where the paper has the weights of the last shared layer: so no second way back is needed.

  Attributes:
    asymmetry: the paper's α, 0 or more; 0 = equal lengths, however well a task has learned.
    rate: how fast weights follow, above 0 and at most 1.

  Raises ThresholdError for numbers out of these ranges.
  """

  asymmetry: float = 1.5
  rate: float = 0.025

  learns_weights = True

  def __post_init__(self) -> None:
    for name, value, fits in (
      ("asymmetry", self.asymmetry, lambda given: 0 <= given < float("inf")),
      ("rate", self.rate, lambda given: 0 < given <= 1),
    ):
      is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
      if not (is_number and fits(value)):
        cure = "a number of 0 or more" if name == "asymmetry" else "a number above 0, at most 1"
        raise ThresholdError(f"GradNorm.{name} is {value!r}; make it {cure}")

  def prepare(self, network: Network) -> None:
    """Adds log w, a number for each task."""
    network.of_tasks = network.number_for_each_task("task_log_weights", trainable=False)

  def weights(self, network: Network) -> tf.Tensor:
    """w, which sum to T."""
    return float(len(network.schema.tasks)) * tf.nn.softmax(network.of_tasks)

  def learn(
    self,
    network: Network,
    task_losses: tf.Tensor,
    constant_losses: tf.Tensor,
    at_towers: Callable[[], list[tf.Tensor]],
  ) -> None:
    """Moves log w; of a task that has no label in the batch, or is not finite, not at all."""
    wide = [tf.cast(gradient, tf.float32) for gradient in at_towers()]
    squares = tf.stack([tf.reduce_sum(tf.square(gradient)) for gradient in wide])
    sums = tf.stack([squares, task_losses, constant_losses])
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
      sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)
    lengths = self.weights(network) * tf.sqrt(sums[0])
    learned = tf.math.divide_no_nan(sums[1], sums[2])
    takes_part = tf.math.is_finite(lengths) & tf.math.is_finite(learned)
    takes_part &= (lengths > 0) & (learned > 0)
    ratio = tf.pow(learned / _mean(learned, takes_part), self.asymmetry)
    target = _mean(lengths, takes_part) * ratio
    away = tf.clip_by_value(tf.math.log(target / lengths), -FARTHEST, FARTHEST)
    step = self.rate * tf.where(takes_part, away, tf.zeros_like(away))
    network.of_tasks.assign_add(step)


def _mean(values: tf.Tensor, among: tf.Tensor) -> tf.Tensor:
  """The mean of some of the values."""
  chosen = tf.where(among, values, tf.zeros_like(values))
  return tf.math.divide_no_nan(tf.reduce_sum(chosen), tf.reduce_sum(tf.cast(among, tf.float32)))
