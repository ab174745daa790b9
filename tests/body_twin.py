"""Compares a body with its twin, the same formulas in NumPy and float64."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras

from ranking.array import Array
from ranking.models.bodies import Block, Body
from ranking.models.bodies.shared_bottom import SharedBottom

TASKS = ("click", "like")
WIDTH = 6
Weights = dict[str, Array]  # by name, such as "hidden_1/kernel"
Twin = Callable[[Weights, Array], list[Array]]  # of x0 what the tower of each task sees


def build(body: Body) -> tuple[tf_keras.layers.Layer, dict[str, tf.Variable]]:
  """The layers of a body for WIDTH columns, and its variables; none is special, such as 0."""
  tf_keras.backend.reset_uids()
  layers = body.build(TASKS, WIDTH, 1.0)
  layers(tf.zeros([1, WIDTH]))
  variables = {v.name.removesuffix(":0"): v for v in layers.trainable_variables}
  assert len(variables) == len(layers.trainable_variables)
  random = np.random.default_rng(1)
  for variable in variables.values():
    variable.assign(random.normal(scale=0.5, size=variable.shape))
  return layers, variables


def compare(body: Body, twin: Twin) -> None:
  """What towers see, and its slope in a random direction of x0 and of every variable."""
  layers, variables = build(body)
  random = np.random.default_rng(2)
  x0 = tf.constant(random.normal(size=(8, WIDTH)), tf.float32)
  with tf.GradientTape() as tape:
    tape.watch(x0)
    seen = layers(x0)
    weighed = [random.normal(size=of_task.shape) for of_task in seen]
    total = sum(tf.reduce_sum(of_task * w) for of_task, w in zip(seen, weighed, strict=True))
  at = {"x0": x0, **variables}
  gradients = dict(zip(at, tape.gradient(total, [*at.values()]), strict=True))
  point = {name: value.numpy().astype(np.float64) for name, value in at.items()}

  def twin_at(weights: Weights) -> list[Array]:
    return twin({name: weights[name] for name in variables}, weights["x0"])

  for of_task, expected in zip(seen, twin_at(point), strict=True):
    np.testing.assert_allclose(of_task, expected, rtol=1e-4, atol=1e-5)
  for name, gradient in gradients.items():
    direction = random.normal(size=point[name].shape)
    ends = [
      sum(
        float((of_task * w).sum())
        for of_task, w in zip(twin_at({**point, name: moved}), weighed, strict=True)
      )
      for moved in (point[name] + 1e-6 * direction, point[name] - 1e-6 * direction)
    ]
    slope, size = (ends[0] - ends[1]) / 2e-6, float(tf.norm(gradient)) * np.linalg.norm(direction)
    assert abs(float(tf.reduce_sum(gradient * direction)) - slope) < 1e-4 * size, name


def compare_block(block: Block, twin: Callable[[Weights, Array], Array]) -> None:
  """The same of a block, as a shared bottom has it."""
  compare(SharedBottom([block]), lambda weights, x: [twin(weights, x)] * len(TASKS))


def relu_layer(weights: Weights, name: str, x: Array) -> Array:
  """max(0, x W + b)."""
  return np.maximum(x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"], 0)


def softmax(x: Array) -> Array:
  """Of each row."""
  powers = np.exp(x)
  shares: Array = powers / powers.sum(axis=1, keepdims=True)
  return shares


def standardised(x: Array) -> Array:
  """With mean 0 and deviation 1 along the last axis, as Keras's LayerNormalization does it."""
  centred: Array = x - x.mean(axis=-1, keepdims=True)
  return centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-3)


def of_size_one(x: Array) -> Array:
  """With a root mean square of 1 along the last axis."""
  return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)
