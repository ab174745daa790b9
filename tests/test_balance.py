"""Weights of tasks that are learnt while a model trains, against float64 twins."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import ranking  # noqa: F401  (before TensorFlow: selects legacy Keras)
from ranking.array import Array
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.network import Network
from ranking.optimizers import NoClip, Sgd
from ranking.optimizers.balance import Balance
from ranking.optimizers.grad_norm import GradNorm
from ranking.optimizers.optimizer_settings import OptimizerSettings
from ranking.optimizers.settings import ThresholdError
from ranking.optimizers.uncertainty import UncertaintyWeights
from ranking.settings import SettingError, TrainingSettings
from ranking.training.step import compile_steps
from tests import toy_model

import tensorflow as tf  # isort: skip

RATE = 0.25
SCHEMA = toy_model.schema()  # binary, regression, binary
HALVES = np.array([1.0, 0.5, 1.0])


class Step(NamedTuple):
  """What there was before a step on a batch, what it measured, and what it left."""

  batch: dict[str, tf.Tensor]
  numbers: Array  # float64 [T], those of each task
  weights: list[Array]  # of the network
  outputs: Array  # float64 [b, T]
  lengths: Array  # float64 [T], of the gradients at the towers, by NumPy
  losses: Array  # float64 [T]
  constant_losses: Array
  numbers_after: Array
  weights_after: list[Array]


def steps(balance: Balance, count: int, seed: int | None = None) -> Iterator[tuple[Network, Step]]:
  """Takes steps, on the batch of a seed or on one after the other."""
  network = toy_model.without_special_weights(Model(toy_model.dense(8), Inputs(30)).build(SCHEMA))
  balance.prepare(network)
  optimizer = OptimizerSettings(Sgd(), NoClip()).build(RATE)
  variables = network.trainable_variables
  optimizer.build(variables)
  take = compile_steps(network, optimizer, tf.distribute.get_strategy(), {}, balance)
  for k in range(count):
    batch = toy_model.batch(SCHEMA, 32, k if seed is None else seed)
    numbers, weights = network.of_tasks.numpy(), [each.numpy() for each in variables]
    outputs = network(batch, training=True).numpy().astype(np.float64)
    kernels = [toy_model.weights(network, f"{task.name}_logit")[0] for task in SCHEMA.tasks]
    taken = take(iter(tf.data.Dataset.from_tensors(batch)), tf.constant(1), False)
    measured = taken.measured.numpy()[0].astype(np.float64)
    yield (
      network,
      Step(
        batch,
        numbers.astype(np.float64),
        weights,
        outputs,
        lengths(batch, outputs, kernels),
        measured[6:9],
        measured[9:12],
        network.of_tasks.numpy(),
        [each.numpy() for each in variables],
      ),
    )


def lengths(batch: dict[str, tf.Tensor], outputs: Array, kernels: list[Array]) -> Array:
  """Of the gradient of each task's loss at what its tower, one linear layer, sees."""
  labels, weights = (batch[name].numpy().astype(np.float64) for name in ("labels", "weights"))
  slopes = 1 / (1 + np.exp(-outputs)) - labels
  slopes[:, 1] = 2 * (outputs[:, 1] - labels[:, 1])
  rows = np.sqrt(np.square(weights * slopes).sum(axis=0))
  return np.asarray(rows * [np.linalg.norm(kernel) for kernel in kernels])


def test_log_variances_go_down_the_slope_of_the_likelihood() -> None:
  numbers = np.zeros(3)
  for network, step in steps(UncertaintyWeights(), 4):
    np.testing.assert_allclose(step.numbers, numbers, rtol=1e-5, atol=1e-6)
    numbers = numbers - RATE * (0.5 - HALVES * np.exp(-numbers) * step.losses)
    np.testing.assert_allclose(step.numbers_after, numbers, rtol=1e-5, atol=1e-6)
    weights = UncertaintyWeights().weights(network)
    np.testing.assert_allclose(weights, HALVES * np.exp(-numbers), rtol=1e-5)
  assert np.abs(numbers).min() > 0.01


def test_a_task_without_a_label_keeps_its_variance() -> None:
  network = Model(toy_model.dense(8), Inputs(30)).build(SCHEMA)
  balance = UncertaintyWeights()
  balance.prepare(network)
  network.of_tasks.assign([0.5, -3.0, 0.2])
  batch = toy_model.batch(SCHEMA, 16)
  weights = batch["weights"].numpy()
  weights[:, 1] = 0
  batch["weights"] = tf.constant(weights)
  with tf.GradientTape() as tape:
    losses = network.task_losses(batch, network(batch, training=True))
    objective = balance.objective(network, losses, batch)
  gradient = tape.gradient(objective, network.of_tasks).numpy()
  assert gradient[1] == 0
  assert np.abs(gradient[[0, 2]]).min() > 0.01


def test_at_its_best_a_task_counts_by_how_small_its_loss_is() -> None:
  network = Model(toy_model.dense(8), Inputs(30)).build(SCHEMA)
  balance, losses = UncertaintyWeights(), np.array([0.1, 9.0, 0.6])
  balance.prepare(network)
  batch = toy_model.batch(SCHEMA, 16)
  for _ in range(400):
    with tf.GradientTape() as tape:
      objective = balance.objective(network, tf.constant(losses, tf.float32), batch)
    network.of_tasks.assign_sub(tape.gradient(objective, network.of_tasks))
  np.testing.assert_allclose(balance.weights(network), 1 / (2 * losses), rtol=1e-3)


def test_gradients_are_brought_to_one_length_by_the_twins_rule() -> None:
  logarithms = np.zeros(3)
  for network, step in steps(GradNorm(asymmetry=1.5, rate=0.1), 5):
    weights = 3 * np.exp(logarithms) / np.exp(logarithms).sum()
    learned = step.losses / step.constant_losses
    target = (weights * step.lengths).mean() * (learned / learned.mean()) ** 1.5
    away = np.log(target / (weights * step.lengths))
    logarithms = logarithms + 0.1 * np.clip(away, -1, 1)
    np.testing.assert_allclose(step.numbers_after, logarithms, rtol=1e-4, atol=1e-5)
    assert float(tf.reduce_sum(GradNorm().weights(network))) == pytest.approx(3)
  assert np.abs(logarithms).min() > 0.01


def test_with_no_asymmetry_all_lengths_become_the_same() -> None:
  network = toy_model.without_special_weights(Model(toy_model.dense(8), Inputs(30)).build(SCHEMA))
  balance = GradNorm(asymmetry=0, rate=0.2)
  balance.prepare(network)
  at_towers = [tf.constant([[length]]) for length in (0.5, 80.0, 3.0)]
  losses, constant = tf.constant([0.5, 90.0, 0.1]), tf.constant([0.6, 100.0, 0.4])
  for _ in range(120):
    balance.learn(network, losses, constant, lambda: at_towers)
  now = balance.weights(network).numpy() * [0.5, 80.0, 3.0]
  np.testing.assert_allclose(now, now.mean(), rtol=1e-3)


@pytest.mark.parametrize("trouble", ["no label", "not finite"])
def test_a_task_that_says_nothing_keeps_its_weight(trouble: str) -> None:
  network = Model(toy_model.dense(8), Inputs(30)).build(SCHEMA)
  balance = GradNorm()
  balance.prepare(network)
  none = 0.0 if trouble == "no label" else float("nan")
  at_towers = [tf.constant([length]) for length in (0.5, none, 3.0)]
  losses, constant = tf.constant([0.5, none, 0.1]), tf.constant([0.6, 0.0, 0.4])
  balance.learn(network, losses, constant, lambda: at_towers)
  first, second, third = network.of_tasks.numpy()
  assert second == 0
  assert min(abs(first), abs(third)) > 0
  assert np.isfinite([first, third]).all()


@pytest.mark.parametrize("balance", [UncertaintyWeights(), GradNorm(rate=0.5)])
def test_the_network_moves_by_the_weighted_sum_of_its_tasks(balance: Balance) -> None:
  for network, step in steps(balance, 3, seed=1):
    kept = network.of_tasks.numpy(), [each.numpy() for each in network.trainable_variables]
    network.of_tasks.assign(step.numbers)
    weights = balance.weights(network)
    variables = [v for v in network.trainable_variables if v is not network.of_tasks]
    for variable, value in zip(variables, step.weights, strict=False):
      variable.assign(value)
    with tf.GradientTape() as tape:
      losses = network.task_losses(step.batch, network(step.batch, training=True))
      loss = tf.tensordot(weights, losses, 1)
    for k, gradient in enumerate(tape.gradient(loss, variables)):
      moved = step.weights[k] - step.weights_after[k]
      np.testing.assert_allclose(moved, RATE * tf.convert_to_tensor(gradient), rtol=1e-3, atol=1e-5)
    for variable, value in zip(network.trainable_variables, kept[1], strict=True):
      variable.assign(value)
    network.of_tasks.assign(kept[0])
  assert np.ptp(weights) > 0.05


@pytest.mark.parametrize(
  ("balance", "trained"), [(UncertaintyWeights(), True), (GradNorm(), False)]
)
def test_what_is_learnt_is_a_variable_of_the_network(balance: Balance, trained: bool) -> None:
  network = Model(toy_model.dense(8), Inputs(30)).build(SCHEMA)
  before = len(network.trainable_variables)
  balance.prepare(network)
  assert any(each is network.of_tasks for each in network.variables)  # and so in a checkpoint
  assert len(network.trainable_variables) == before + trained
  assert network.short_name(network.of_tasks).startswith("task_log_")


@pytest.mark.parametrize(
  ("changes", "text"),
  [
    (
      {"loss_weights": {"click": 2.0}, "balance": GradNorm()},
      r"^train_and_evaluate\.loss_weights and balance say both how many times a task counts: Grad",
    ),
    ({"balance": "GradNorm"}, r"^train_and_evaluate\.balance is 'GradNorm'; make it @Uncertainty"),
  ],
)
def test_what_makes_no_sense_together_is_refused(changes: dict[str, Any], text: str) -> None:
  given = {
    "model": Model(toy_model.dense(8)),
    "optimizer": OptimizerSettings(Sgd(), NoClip()),
    "learning_rate": 0.1,
  }
  with pytest.raises(SettingError, match=text):
    TrainingSettings(**given, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("numbers", [{"asymmetry": -1}, {"rate": 0}, {"rate": 2}, {"rate": True}])
def test_numbers_out_of_range_are_refused(numbers: dict[str, Any]) -> None:
  ((name, value),) = numbers.items()
  with pytest.raises(ThresholdError, match=rf"^GradNorm\.{name} is {value!r}; make it a number "):
    GradNorm(**numbers)
