"""The witness in NumPy has right gradients, and its model and step are those of the trainer."""

import json

import numpy as np
import pytest
import tensorflow as tf

from ranking.data.store import DayStore
from ranking.data.window import eval_batches
from ranking.models import bodies
from ranking.models.bodies.cross import CrossLayers
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.layer_norm import LayerNorm
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.network import Network
from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy, NoClip
from scripts import numpy_large_dcn as witness

WIDTH, HIDDEN = 24, (8, 7)


@pytest.fixture
def model(tiny_store: DayStore) -> witness.LargeDcn:
  schema = json.loads((tiny_store.directory / "schema.json").read_text())
  return witness.LargeDcn(schema, WIDTH, HIDDEN)


@pytest.fixture
def batch(tiny_store: DayStore) -> witness.Batch:
  day = tiny_store.train_days[0]
  return witness.Batch(day.ids[:40], day.bags[:40], day.dense[:40], day.labels[:40])


@pytest.fixture
def network(tiny_store: DayStore) -> Network:
  blocks: list[bodies.Block] = [CrossLayers(4), LayerNorm(), DenseLayers(HIDDEN)]
  return Model(SharedBottom(blocks), Inputs(WIDTH)).build(tiny_store.schema)


def lively_weights(model: witness.LargeDcn, dtype: type) -> witness.Weights:
  """Large enough for every part of the model to matter, biases included."""
  random = np.random.default_rng(1)
  initial = model.initial_weights(random)
  return {
    name: (2 * w + random.normal(0, 0.05, w.shape)).astype(dtype) for name, w in initial.items()
  }


def name_here(name: str) -> str:
  """What the witness calls a variable of the trainer's network."""
  layer, _, rest = name.partition("/")
  if layer.startswith("embedding_"):
    return f"embedding/{layer.removeprefix('embedding_')}"
  part = rest.rpartition("/")[2]
  return f"{layer.removesuffix('_logit').removeprefix('layer_')}/{part}"


def as_arrays(value: witness.Rows | witness.Array, like: witness.Array) -> witness.Array:
  if not isinstance(value, witness.Rows):
    return value
  whole = np.zeros_like(like)
  whole[value.numbers] = value.values
  return whole


def test_every_gradient_is_the_slope_of_the_loss(
  model: witness.LargeDcn, batch: witness.Batch
) -> None:
  weights = lively_weights(model, np.float64)
  step, random = model.step(weights, batch), np.random.default_rng(2)
  assert set(step.gradients) == set(weights)
  for name, w in weights.items():
    along, size = random.normal(size=w.shape), 1e-6
    ahead, behind = (
      model.step({**weights, name: w + distance * along}, batch).task_losses
      for distance in (size, -size)
    )
    slope = float((ahead - behind).sum() / (2 * size))
    claimed = float((as_arrays(step.gradients[name], w) * along).sum())
    assert claimed == pytest.approx(slope, rel=1e-5, abs=1e-7), name


@pytest.mark.parametrize("thresholds", [None, (0.5, 1e-2)])
def test_a_step_is_the_trainers(
  thresholds: tuple[float, float] | None,
  model: witness.LargeDcn,
  batch: witness.Batch,
  network: Network,
  tiny_store: DayStore,
) -> None:
  weights = lively_weights(model, np.float32)
  variables = {name_here(network.short_name(v)): v for v in network.trainable_variables}
  assert {name: tuple(v.shape) for name, v in variables.items()} == {
    name: w.shape for name, w in weights.items()
  }
  for name, variable in variables.items():
    variable.assign(weights[name])
  arrays = eval_batches(tiny_store.train_days[0], 40).batch(0)
  names = ("ids", "bags", "dense", "labels", "weights")
  tensors = dict(zip(names, map(tf.constant, arrays), strict=True))
  with tf.GradientTape() as tape:
    outputs = network(tensors)
    loss = network.weighted(network.task_losses(tensors, outputs))
  gradients = tape.gradient(loss, list(variables.values()))
  clip = NoClip() if thresholds is None else Clippy(*thresholds)
  optimizer = ClippedOptimizer(Adagrad(), clip, 0.3)
  optimizer.apply_gradients(zip(gradients, variables.values(), strict=True))

  step = model.step(weights, batch)
  factors = witness.Adagrad(weights, thresholds).step(step.gradients, 0.3)

  np.testing.assert_allclose(step.outputs, outputs, rtol=1e-4, atol=1e-5)
  assert step.task_losses.sum() == pytest.approx(float(loss), rel=1e-5)
  constant = float(network.weighted(network.constant_losses(tensors)))
  assert model.constant_losses(batch.labels).sum() == pytest.approx(constant, rel=1e-5)
  assert (min(factors.values()) < 1) == (thresholds is not None)
  for name, variable in variables.items():
    np.testing.assert_allclose(weights[name], variable, rtol=1e-3, atol=1e-5, err_msg=name)


def test_initial_weights_are_drawn_like_the_trainers(
  model: witness.LargeDcn, network: Network
) -> None:
  weights = model.initial_weights(np.random.default_rng(0))
  for variable in network.trainable_variables:
    own, its = weights[name_here(network.short_name(variable))], variable.numpy()
    if own.size > 100:  # else too few to compare
      assert own.std() == pytest.approx(its.std(), rel=0.2)
      assert np.abs(own).max() == pytest.approx(np.abs(its).max(), rel=0.2)
    elif own.ndim == 1:
      np.testing.assert_allclose(own, its, rtol=1e-5)
