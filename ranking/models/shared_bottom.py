"""The paper's Small, Large and Large+DCN: one bottom shared by all tasks, one tower per task."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from ranking.array import Array
from ranking.data.schema import Schema
from ranking.models.layer_name import layer_name


class SharedBottom(tfrs.Model):
  """Embeddings and dense features, cross layers if any, shared layers, a tower per task (Table 1).

  Args:
    schema: of the day store; decides the embeddings and the towers.
    hidden_units: widths of the shared ReLU layers.
    num_cross_layers: DCN-v2 cross layers on the input, followed by a LayerNorm; 0 for none.
    input_width: d, the width of the input to the shared bottom; embedding widths fill what the
      dense features leave of it, so that all datasets have Table 1's parameter counts.
    tower_units: widths of ReLU layers between the shared bottom and each task's logit.
    width_scale: multiplies `input_width`, `hidden_units` and `tower_units`; 1 is the paper's.
    without_features: the model does not look at these; the others fill the input.
  """

  def __init__(
    self,
    schema: Schema,
    hidden_units: Sequence[int],
    num_cross_layers: int = 0,
    input_width: int = 1650,
    tower_units: Sequence[int] = (),
    width_scale: float = 1.0,
    without_features: Sequence[str] = (),
  ):
    super().__init__(name="shared_bottom")
    self.schema = schema
    self.input_width = round(input_width * width_scale)
    seen = schema.without_features(without_features)
    self._dense_columns = np.flatnonzero(
      [feature in seen.features for feature in schema.of_kind("dense")]
    )
    widths = embedding_widths(seen, self.input_width - len(self._dense_columns))
    self._embeddings = {
      feature.name: tf_keras.layers.Embedding(
        feature.vocabulary_size, widths[feature.name], name=f"embedding_{layer_name(feature.name)}"
      )
      for feature in (*seen.of_kind("categorical"), *seen.of_kind("bag"))
    }
    self._cross_layers = [
      tfrs.layers.dcn.Cross(name=f"cross_{k + 1}") for k in range(num_cross_layers)
    ]
    self._layer_norm = (
      tf_keras.layers.LayerNormalization(name="layer_norm") if num_cross_layers else None
    )
    self._hidden = _mlp("hidden", hidden_units, width_scale)
    self._towers = {
      task.name: [
        *_mlp(f"{layer_name(task.name)}_tower", tower_units, width_scale),
        # Starts as the best constant predictor: no task begins with a shock to the shared layers.
        tf_keras.layers.Dense(
          1,
          bias_initializer=tf_keras.initializers.Constant(task.rules.constant_output(known)),
          name=f"{layer_name(task.name)}_logit",
        ),
      ]
      for task, known in zip(schema.tasks, schema.label_statistics, strict=True)
    }
    self._build_variables()

  def call(self, batch: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
    """float32 [b, T]: logits of binary tasks, values of regression tasks."""
    del training  # nothing here differs between training and evaluation
    x = x0 = self._input(batch)
    for cross in self._cross_layers:
      x = cross(x0, x)
    if self._layer_norm is not None:
      x = self._layer_norm(x)
    for layer in self._hidden:
      x = layer(x)
    outputs = []
    for task in self.schema.tasks:
      output = x
      for layer in self._towers[task.name]:
        output = layer(output)
      outputs.append(output)
    return tf.concat(outputs, axis=1)

  def task_losses(self, batch: dict[str, tf.Tensor], outputs: tf.Tensor) -> tf.Tensor:
    """float32 [T]: this replica's share of each task's mean loss over the global batch."""
    return self._mean_losses(batch, tf.unstack(outputs, axis=1))

  def constant_losses(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """float32 [T]: what the best constant predictor of the training days loses on this batch."""
    described = zip(self.schema.tasks, self.schema.label_statistics, strict=True)
    return self._mean_losses(
      batch, [task.rules.constant_output(known) for task, known in described]
    )

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
    return self.weighted(self.task_losses(inputs, self(inputs, training=training)))

  def weighted(self, task_losses: tf.Tensor) -> tf.Tensor:
    """Sum over tasks of loss weight × loss."""
    weights = [float(task.loss_weight) for task in self.schema.tasks]
    return tf.tensordot(weights, task_losses, 1)

  def _input(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """x0, float32 [b, d]."""
    parts = []
    for k, feature in enumerate(self.schema.of_kind("categorical")):
      if feature.name in self._embeddings:
        parts.append(self._embeddings[feature.name](batch["ids"][:, k]))
    start = 0
    for feature in self.schema.of_kind("bag"):
      ids = batch["bags"][:, start : start + feature.length]
      start += feature.length
      if feature.name not in self._embeddings:
        continue
      present = tf.cast(ids != 0, tf.float32)[:, :, None]
      total = tf.reduce_sum(self._embeddings[feature.name](ids) * present, axis=1)
      parts.append(total / tf.maximum(tf.reduce_sum(present, axis=1), 1.0))
    dense = batch["dense"]
    if len(self._dense_columns) < len(self.schema.of_kind("dense")):
      dense = tf.gather(dense, self._dense_columns, axis=1)
    return tf.concat([*parts, dense], axis=1)

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


def embedding_widths(schema: Schema, total: int) -> dict[str, int]:
  """Splits `total` columns over the categorical features and bags, as the 4th root of their size.

  Raises ValueError if some feature would get no column, or there is none to fill them.
  """
  features = (*schema.of_kind("categorical"), *schema.of_kind("bag"))
  if not features:
    raise ValueError(f"the input of {schema.dataset} has no embedding to fill it; keep one feature")
  if total < len(features):
    raise ValueError(
      f"the input has {total} columns for {len(features)} embeddings of {schema.dataset}; "
      f"raise input_width × width_scale by at least {len(features) - total}"
    )
  shares: Array = np.array([feature.vocabulary_size for feature in features]) ** 0.25
  ends = np.round(np.cumsum(shares) / shares.sum() * (total - len(features))).astype(int)
  widths = 1 + np.diff(ends, prepend=0)
  return {feature.name: int(width) for feature, width in zip(features, widths, strict=True)}


def is_embedding(variable: tf.Variable) -> bool:
  """Whether a variable is an embedding table, whatever columns and tasks are called."""
  return "/embeddings" in variable.name


def parameter_counts(model: tf_keras.Model) -> dict[str, int]:
  """{"embedding": ..., "non_embedding": ...}, the split of Table 1."""
  counts = {"embedding": 0, "non_embedding": 0}
  for variable in model.trainable_variables:
    group = "embedding" if is_embedding(variable) else "non_embedding"
    counts[group] += int(np.prod(variable.shape))
  return counts


def _mlp(name: str, units: Sequence[int], scale: float) -> list[tf_keras.layers.Layer]:
  return [
    tf_keras.layers.Dense(round(width * scale), activation="relu", name=f"{name}_{k + 1}")
    for k, width in enumerate(units)
  ]
