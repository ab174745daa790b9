"""Gradients of tasks without what undoes another task, against a float64 twin."""

import numpy as np
import pytest

import ranking  # noqa: F401  (before TensorFlow: selects legacy Keras)
from ranking.array import Array
from ranking.data import window
from ranking.data.store import DayStore
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.optimizers import NoClip, Sgd
from ranking.optimizers.conflicts import ProjectConflicts
from ranking.optimizers.optimizer_settings import OptimizerSettings
from ranking.training.step import compile_steps
from tests.toy_model import dense

import tensorflow as tf  # isort: skip

SHAPES = [(3, 2), (4,), ()]


def twin(of_tasks: list[Array]) -> Array:
  """Yu et al. (2020), algorithm 1, other tasks from the next one on."""
  total = np.zeros_like(of_tasks[0])
  for i, own in enumerate(of_tasks):
    left = own.astype(np.float64).copy()
    for j in [(i + k) % len(of_tasks) for k in range(1, len(of_tasks))]:
      if left @ of_tasks[j] < 0:
        left -= left @ of_tasks[j] / (of_tasks[j] @ of_tasks[j]) * of_tasks[j]
    total += left
  return total


def combined(flat: list[Array]) -> Array:
  """What the trainer makes of gradients [n] of each task."""
  ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES])
  of_tasks = [
    [
      tf.constant(part.reshape(shape), tf.float32)
      for part, shape in zip(np.split(each, ends[:-1]), SHAPES, strict=True)
    ]
    for each in flat
  ]
  found = ProjectConflicts().combine(of_tasks)
  assert [tuple(each.shape) for each in found] == SHAPES
  return np.concatenate([np.ravel(each) for each in found])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tasks", [1, 2, 4])
def test_the_update_equals_the_twin(tasks: int, seed: int) -> None:
  flat = list(np.random.default_rng(seed).normal(size=(tasks, 11)))
  np.testing.assert_allclose(combined(flat), twin(flat), rtol=1e-5, atol=1e-5)


def test_tasks_that_agree_have_their_plain_sum_and_of_two_that_do_not_neither_is_undone() -> None:
  random = np.random.default_rng(0)
  agreeing = list(np.abs(random.normal(size=(3, 11))))
  np.testing.assert_allclose(combined(agreeing), np.sum(agreeing, axis=0), rtol=1e-6)
  one = random.normal(size=11)
  other = -3 * one + random.normal(size=11)
  assert (one + other) @ one < 0
  found = combined([one, other])
  assert found @ one >= -1e-5
  assert found @ other >= -1e-5
  np.testing.assert_allclose(combined([one, np.zeros(11)]), one, rtol=1e-6)


def test_a_step_moves_the_dense_weights_by_it_and_the_tables_by_the_sum(
  tiny_store: DayStore,
) -> None:
  tf.keras.utils.set_random_seed(0)
  network = Model(dense(8), Inputs(24)).build(tiny_store.schema)
  optimizer = OptimizerSettings(Sgd(), NoClip()).build(1.0)
  variables = network.trainable_variables
  optimizer.build(variables)
  before = [variable.numpy() for variable in variables]
  batches = window.train_batches(tiny_store.train_days, 16, 24.0, seed=0)
  made = window.dataset(batches, tiny_store.schema, 0, 1)
  (rows,) = list(made)
  with tf.GradientTape(persistent=True) as tape:
    losses = tf.unstack(network.task_losses(rows, network(rows, training=True)))
    loss = network.compute_loss(rows)
  of_tasks = [tape.gradient(each, variables, unconnected_gradients="zero") for each in losses]
  of_loss = tape.gradient(loss, variables)
  tables = [isinstance(each, tf.IndexedSlices) for each in of_loss]
  weights = [task.loss_weight for task in tiny_store.schema.tasks]
  flat = [
    weight
    * np.concatenate([np.ravel(g) for g, table in zip(own, tables, strict=True) if not table])
    for own, weight in zip(of_tasks, weights, strict=True)
  ]
  one = tf.distribute.get_strategy()
  take = compile_steps(network, optimizer, one, {}, ProjectConflicts())
  take(iter(made), tf.constant(1), False)
  moved = [old - variable.numpy() for old, variable in zip(before, variables, strict=True)]
  dense_moved = [np.ravel(each) for each, table in zip(moved, tables, strict=True) if not table]
  np.testing.assert_allclose(np.concatenate(dense_moved), twin(flat), rtol=1e-3, atol=1e-5)
  assert any(tables)
  for each, gradient, table in zip(moved, of_loss, tables, strict=True):
    if table:
      expected = tf.convert_to_tensor(gradient).numpy()
      np.testing.assert_allclose(each, expected, rtol=1e-3, atol=1e-5)
