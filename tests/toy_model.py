"""A made-up schema, batches of it, and short ways to the models of the paper."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ranking.array import Array
from ranking.data.schema import Feature, Schema
from ranking.models.bodies import Block
from ranking.models.bodies.cross import CrossLayers
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.layer_norm import LayerNorm
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.network import Network
from ranking.models.towers import Towers
from ranking.tasks import LabelStatistics, Task

KNOWN = LabelStatistics(1000, 0.25, 0.2)
# Neither in alphabetical order nor binary first.
TASKS = (Task("zeal", "binary"), Task("rating", "regression", 2.0), Task("click", "binary", 0.5))
LENGTH = 5  # of a history
RECENT = ("recent_id_1", "recent_id_1_age", "recent_id_1_actions")
SIX = tuple(Task(name, "binary") for name in ("click", "like", "share", "complete", "seen", "kept"))


def schema(
  categorical: int = 3, bags: int = 2, dense: int = 4, tasks: tuple[Task, ...] = TASKS
) -> Schema:
  """Vocabularies grow from 5 ids, bags from 2 places."""
  return Schema(
    dataset="toy",
    features=(
      *(Feature(f"id_{k}", "categorical", 5 + 3 * k) for k in range(categorical)),
      *(Feature(f"bag_{k}", "bag", 6 + k, 2 + k) for k in range(bags)),
      *(Feature(f"dense_{k}", "dense") for k in range(dense)),
    ),
    tasks=tasks,
    day_names=("1", "2"),
    label_statistics=(KNOWN,) * len(tasks),
  )


def with_history(tasks: tuple[Task, ...] = TASKS) -> Schema:
  """One of three ids, a bag and two dense features, and what a user's history makes three bags."""
  of = schema(categorical=3, bags=1, dense=2, tasks=tasks)
  sizes = (of.features[1].vocabulary_size, 7, 5)
  bags = [Feature(name, "bag", n, LENGTH) for name, n in zip(RECENT, sizes, strict=True)]
  features = (*of.features[:4], *bags, *of.features[4:])
  return dataclasses.replace(of, features=features, entities=("id_0", "id_1"), recent=RECENT)


def batch(of: Schema, rows: int = 16, seed: int = 0) -> dict[str, tf.Tensor]:
  """Random rows; a third of the labels is missing, and the weights are 1 / labelled rows."""
  random = np.random.default_rng(seed)
  ids = [random.integers(0, f.vocabulary_size, (rows, 1)) for f in of.of_kind("categorical")]
  bags = [random.integers(0, f.vocabulary_size, (rows, f.length)) for f in of.of_kind("bag")]
  labelled = random.random((rows, len(of.tasks))) < 0.67
  binary = np.array([task.kind == "binary" for task in of.tasks])
  labels = np.where(
    binary, random.integers(0, 2, labelled.shape), random.normal(size=labelled.shape)
  )
  return {
    "ids": tf.constant(np.concatenate([np.zeros((rows, 0)), *ids], axis=1), tf.int32),
    "bags": tf.constant(np.concatenate([np.zeros((rows, 0)), *bags], axis=1), tf.int32),
    "dense": tf.constant(random.normal(size=(rows, len(of.of_kind("dense")))), tf.float32),
    "labels": tf.constant(np.where(labelled, labels, 0.0), tf.float32),
    "weights": tf.constant(labelled / np.maximum(labelled.sum(axis=0), 1), tf.float32),
  }


def dense(*hidden_units: int) -> SharedBottom:
  """The body of Small and Large."""
  return SharedBottom([DenseLayers(hidden_units)])


def dcn(num_cross_layers: int, *hidden_units: int) -> SharedBottom:
  """The body of Large+DCN."""
  blocks: list[Block] = [CrossLayers(num_cross_layers), LayerNorm(), DenseLayers(hidden_units)]
  return SharedBottom(blocks)


def all_parts(without_features: Sequence[str] = ()) -> Model:
  """Cross layers, two shared layers, a tower layer."""
  return Model(dcn(2, 12, 9), Inputs(30, without_features), Towers([5]))


def without_special_weights(network: Network) -> Network:
  """The same; no weight is at a special value such as 0, and each depends on its name alone."""
  for variable in network.trainable_variables:
    random = np.random.default_rng([*variable.name.encode()])
    variable.assign(random.normal(scale=0.3, size=variable.shape))
  return network


def weights(network: Network, layer: str) -> list[Array]:
  """Of one layer, float64: kernel and bias, or gamma and beta, or the embedding table."""
  found = [v.numpy() for v in network.trainable_variables if f"/{layer}/" in v.name]
  assert found, layer
  return [value.astype(np.float64) for value in found]
