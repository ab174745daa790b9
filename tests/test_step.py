"""The compiled step: an observation is of the step that is about to be taken."""

import numpy as np
import pytest

import ranking  # noqa: F401  (before TensorFlow: selects legacy Keras)
from ranking.array import Array
from ranking.data import window
from ranking.data.store import DayStore
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.optimizers import Adagrad, Clippy, Lamb, NoClip
from ranking.optimizers.clipping import Clip
from ranking.optimizers.observation import Observation
from ranking.optimizers.optimizer_settings import OptimizerSettings
from ranking.training.step import Taken, compile_steps

import tensorflow as tf  # isort: skip

RATE = 0.5
Seen = list[tuple[Observation, Array]]


def take(store: DayStore, clip: Clip, steps: int) -> tuple[Taken, Seen]:
  """What so many steps measured, the last of them observed.

  Beside it, of each variable that is clipped, its observation and its weights before all steps.
  """
  tf.keras.utils.set_random_seed(0)
  body = SharedBottom([DenseLayers([8])])
  network = Model(body=body, inputs=Inputs(input_width=24)).build(store.schema)
  optimizer = OptimizerSettings(Adagrad(), clip, exclude="/embeddings").build(RATE)
  variables = network.trainable_variables
  optimizer.build(variables)
  before = [variable.numpy() for variable in variables]
  batches = window.train_batches(store.train_days, 16, 24.0, seed=0)
  data = iter(window.dataset(batches, store.schema, 0, steps))
  run = compile_steps(network, optimizer, tf.distribute.get_strategy(), {"lamb": Lamb()})
  taken = run(data, tf.constant(steps), True)
  seen = zip(variables, taken.observations, before, strict=True)
  return taken, [(o, weights) for v, o, weights in seen if optimizer.is_clipped(v)]


def test_an_observation_is_of_weights_and_slots_before_its_step(tiny_store: DayStore) -> None:
  _, seen = take(tiny_store, NoClip(), 1)
  for observation, weights in seen:
    assert float(observation.weight_norm) == pytest.approx(np.linalg.norm(weights), rel=1e-6)


def test_the_factors_are_those_of_the_clipped_variables_in_the_last_step(
  tiny_store: DayStore,
) -> None:
  taken, seen = take(tiny_store, Clippy(0.5, 1e-4), 3)
  factors = [float(observation.factor) for observation, _ in seen]
  assert min(factors) < 1
  np.testing.assert_allclose(taken.factors, factors, rtol=1e-6)
  assert taken.measured.shape == (3, 6 + 5 * len(tiny_store.schema.tasks))
  assert bool(taken.finite)
