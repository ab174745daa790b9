"""The loss of a network as a function of one flat vector of all its weights."""

import re
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ranking.array import Array
from ranking.data.window import Batches
from ranking.models.network import Network

Batch = dict[str, tf.Tensor]


class Seen(NamedTuple):
  """A batch at some weights."""

  shares: Array  # float64 [b, T], what each row adds to the weighted loss by each task
  gradient: Array  # float32 [weights], of the weighted loss

  @property
  def loss(self) -> float:
    """The weighted loss."""
    return float(self.shares.sum())


class Landscape:
  """Evaluates a network anywhere; its variables are scratch space.

  Attributes:
    tasks: their names.
    spans: where each variable lies in the vector, by short name.
    shapes: of the variables, by short name.
    layer_of: the layer of each variable: "embeddings", "cross_1", …, "hidden_1", …, "towers".
  """

  def __init__(self, network: Network):
    self._network = network
    self._variables = network.trainable_variables
    names = [network.short_name(v) for v in self._variables]
    ends = np.cumsum([v.shape.num_elements() for v in self._variables]).tolist()
    starts = [0, *ends[:-1]]
    self.size = ends[-1]
    self.tasks = [task.name for task in network.schema.tasks]
    self.spans = {name: slice(*ends) for name, *ends in zip(names, starts, ends, strict=True)}
    self.shapes = {n: tuple(v.shape) for n, v in zip(names, self._variables, strict=True)}
    self.layer_of = {
      name: "embeddings" if network.is_embedding(v) else _layer(name)
      for name, v in zip(names, self._variables, strict=True)
    }
    self.layers = list(dict.fromkeys(self.layer_of.values()))
    self._outputs = tf.function(network)
    self._forward = tf.function(self._shares)
    self._backward = tf.function(self._shares_and_gradients)

  def weights(self) -> Array:
    """float32 [weights], those that the network has now."""
    return np.concatenate([v.numpy().ravel() for v in self._variables])

  def shares(self, weights: Array, batch: Batch) -> Array:
    """float64 [b, T], as of `Seen`."""
    self._set(weights)
    return self._forward(batch).numpy().astype(np.float64)

  def outputs(self, weights: Array, batch: Batch) -> Array:
    """float32 [b, T]."""
    self._set(weights)
    return self._outputs(batch).numpy()

  def loss(self, weights: Array, batch: Batch) -> float:
    """The weighted loss."""
    return float(self.shares(weights, batch).sum())

  def seen(self, weights: Array, batch: Batch) -> Seen:
    """Losses and gradient."""
    self._set(weights)
    shares, gradients = self._backward(batch)
    flat = np.concatenate([gradient.numpy().ravel() for gradient in gradients])
    return Seen(shares.numpy().astype(np.float64), flat)

  def constant_loss(self, batch: Batch) -> float:
    """The weighted loss of the best constants of the training days."""
    return float(self._network.weighted(self._network.constant_losses(batch)))

  def only(self, vector: Array, layer: str) -> Array:
    """The vector with 0 outside a layer."""
    kept = np.zeros_like(vector)
    for name, span in self.spans.items():
      if self.layer_of[name] == layer:
        kept[span] = vector[span]
    return kept

  def _set(self, weights: Array) -> None:
    for variable, span in zip(self._variables, self.spans.values(), strict=True):
      variable.assign(weights[span].reshape(variable.shape))

  def _shares(self, batch: Batch) -> tf.Tensor:
    outputs = self._network(batch)
    schema = self._network.schema
    described = zip(schema.tasks, schema.label_statistics, strict=True)
    return tf.stack(
      [
        task.loss_weight
        * batch["weights"][:, k]
        * task.rules.losses(batch["labels"][:, k], outputs[:, k], known)
        for k, (task, known) in enumerate(described)
      ],
      axis=1,
    )

  def _shares_and_gradients(self, batch: Batch) -> tuple[tf.Tensor, list[tf.Tensor]]:
    with tf.GradientTape() as tape:
      shares = self._shares(batch)
      loss = tf.reduce_sum(shares)
    gradients = tape.gradient(loss, self._variables)
    return shares, [tf.convert_to_tensor(gradient) for gradient in gradients]


def batch_of(batches: Batches, step: int) -> Batch:
  """The batch of a step, counted from 1, as the network takes it."""
  names = ("ids", "bags", "dense", "labels", "weights")
  return dict(zip(names, map(tf.constant, batches.batch(step - 1)), strict=True))


def _layer(name: str) -> str:
  """ "cross_1" for "cross_1/dense/kernel", "towers" for "click_logit/bias"."""
  first = name.partition("/")[0]
  return "towers" if re.search(r"_logit$|_tower_\d+$", first) else first
