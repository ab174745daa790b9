"""A model built for one log: its layers, its variables and its losses."""

import collections
import contextlib
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from ranking.data.schema import Schema
from ranking.models.inputs import InputLayers
from ranking.models.settings import ModelError
from ranking.models.towers import TowerLayers


class Network(tfrs.Model):
  """Predicts and loses; `Model.build` makes it.

  Args:
    schema: of the day store.
    inputs: maps a batch to x0, [b, d].
    body: maps x0 to a list of what each task's tower sees.
    towers: maps these to float32 [b, T].

  Attributes:
    input_width: d.
    of_tasks: float32 [T], what a run learns of each task to weigh it, if it does.
    embedding_count: how many features have embeddings.
  """

  of_tasks: tf.Variable

  def __init__(
    self,
    schema: Schema,
    inputs: InputLayers,
    body: tf_keras.layers.Layer,
    towers: TowerLayers,
  ):
    super().__init__(name="network")
    self.schema = schema
    self.input_width, self.embedding_count = inputs.width, inputs.embedding_count
    self._input_layers, self._body, self._towers = inputs, body, towers
    self._build_variables()

  def call(
    self,
    batch: dict[str, tf.Tensor],
    training: bool = False,
    tower_tape: tf.GradientTape | None = None,
  ) -> tf.Tensor | tuple[tf.Tensor, list[tf.Tensor]]:
    """float32 [b, T]: the output of each task, such as a logit or a value in the log's unit.

    In training it is on the scale that the task learns on, as the losses take it. With a
    `tower_tape`, which records the towers alone, also what each task's tower sees.
    """
    seen = self._body(self._input_layers(batch))
    with tower_tape or contextlib.nullcontext():
      if tower_tape:
        tower_tape.watch(seen)
      outputs = self._towers(seen)
    if not training:
      outputs = self._in_unit(outputs)
    return (outputs, seen) if tower_tape else outputs

  def number_for_each_task(self, name: str, trainable: bool) -> tf.Variable:
    """A variable float32 [T] of zeros, which is saved with the weights once it is an attribute."""
    return tf.Variable(
      tf.zeros([len(self.schema.tasks)]),
      trainable,
      name=name,
      aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )

  def task_losses(self, batch: dict[str, tf.Tensor], outputs: tf.Tensor) -> tf.Tensor:
    """float32 [T]: this replica's share of each task's mean loss over the global batch.

    Args:
      batch: of window.py.
      outputs: float32 [b, T], of `call` in training.
    """
    return self._mean_losses(batch, tf.unstack(outputs, axis=1))

  def constant_losses(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """float32 [T]: what the best constant predictor of the training days loses on this batch."""
    described = zip(self.schema.tasks, self.schema.label_statistics, strict=True)
    return self._mean_losses(
      batch, [task.rules.constant_output(known) for task, known in described]
    )

  def label_counts(self, batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
    """Two float32 [T]: labels of each task on this replica, and those above their training mean.

    Where rows have weights it is how many labels of equal weight say as much (Kish 1965): of those
    above the mean, and of the others, (sum of weights)² / sum of squared weights.
    """
    weights = batch["weights"]
    means = tf.constant([known.mean for known in self.schema.label_statistics], tf.float32)
    above = tf.cast(batch["labels"] > means, tf.float32)
    sides = [above, 1.0 - above]
    if self.schema.weighted:
      counts = [_equal_labels(weights * side) for side in sides]
    else:
      labelled = tf.cast(weights > 0, tf.float32)
      counts = [tf.reduce_sum(labelled * side, axis=0) for side in sides]
    return [counts[0] + counts[1], counts[0]]

  def _in_unit(self, outputs: tf.Tensor) -> tf.Tensor:
    """float32 [b, T], each task's in the log's unit."""
    described = zip(
      self.schema.tasks, self.schema.label_statistics, tf.unstack(outputs, axis=1), strict=True
    )
    return tf.stack([task.rules.in_unit(output, known) for task, known, output in described], 1)

  def _mean_losses(
    self, batch: dict[str, tf.Tensor], outputs: Sequence[tf.Tensor | float]
  ) -> tf.Tensor:
    """float32 [T]; the weights of a batch already divide by its labelled rows (window.py)."""
    described = zip(self.schema.tasks, self.schema.label_statistics, outputs, strict=True)
    return tf.stack(
      [
        tf.reduce_sum(
          batch["weights"][:, k] * task.rules.losses(batch["labels"][:, k], output, known)
        )
        for k, (task, known, output) in enumerate(described)
      ]
    )

  def compute_loss(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
    """The weighted sum of the task losses, so that `compile` and `fit` work as well."""
    del training  # the outputs of training, on whose scale the losses are
    return self.weighted(self.task_losses(inputs, self(inputs, training=True)))

  def weighted(self, task_losses: tf.Tensor) -> tf.Tensor:
    """Sum over tasks of loss weight × loss."""
    weights = [float(task.loss_weight) for task in self.schema.tasks]
    return tf.tensordot(weights, task_losses, 1)

  def shares(self, task_losses: tf.Tensor) -> list[tf.Tensor]:
    """What each task adds to the weighted loss."""
    tasks = zip(self.schema.tasks, tf.unstack(task_losses), strict=True)
    return [float(task.loss_weight) * loss for task, loss in tasks]

  def is_embedding(self, variable: tf.Variable) -> bool:
    """Whether a variable is an embedding table of the inputs."""
    return self._input_layers.is_embedding(variable)

  def parameter_counts(self) -> dict[str, int]:
    """{"embedding": ..., "non_embedding": ...}, the split of Table 1."""
    counts = {"embedding": 0, "non_embedding": 0}
    for variable in self.trainable_variables:
      group = "embedding" if self.is_embedding(variable) else "non_embedding"
      counts[group] += variable.shape.num_elements()
    return counts

  def short_name(self, variable: tf.Variable) -> str:
    """The name of a variable as series and tables have it, such as "hidden_1/kernel"."""
    return str(variable.name).removeprefix(f"{self.name}/").removesuffix(":0")

  def _build_variables(self) -> None:
    """Creates all variables now, so that they can be counted and restored before step 1."""
    bag_width = sum(feature.length for feature in self.schema.of_kind("bag"))
    self(
      {
        "ids": tf.zeros([1, len(self.schema.of_kind("categorical"))], tf.int32),
        "bags": tf.zeros([1, bag_width], tf.int32),
        "dense": tf.zeros([1, len(self.schema.of_kind("dense"))]),
      }
    )
    names = collections.Counter(map(self.short_name, self.trainable_variables))
    for name, count in names.items():
      if count > 1:  # series and checkpoints know them by their names
        raise ModelError(f"{count} variables are called {name}; give each layer a name of its own")


def _equal_labels(weights: tf.Tensor) -> tf.Tensor:
  """float32 [T], this replica's share of how many rows of equal weight say as much as these [b, T].

  The shares of all replicas sum to it.
  """
  own = tf.reduce_sum(weights, axis=0)
  sums = tf.stack([own, tf.reduce_sum(tf.square(weights), axis=0)])
  replica = tf.distribute.get_replica_context()
  if replica is not None and replica.num_replicas_in_sync > 1:
    sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)
  return own * tf.math.divide_no_nan(sums[0], sums[1])
