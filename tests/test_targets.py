"""On which scale regression targets are learnt, and that no unit decides what a model learns."""

import dataclasses
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking.array import Array
from ranking.data.schema import Schema
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.optimizers.grad_norm import GradNorm
from ranking.settings import SettingError, check_targets
from ranking.tasks import KINDS, LabelStatistics, LearntTask
from ranking.tasks.regression import HIGHEST, Logarithmic, Standardised
from ranking.training.targets import learnt
from tests.toy_model import TASKS, batch, dense, schema

NAMES = [task.name for task in TASKS]
VALUE = next(task.name for task in TASKS if task.kind == "regression")


def store(labels: Array | None = None, weights: Array | None = None) -> Any:
  """A store of the toy schema, with these labels of the regression."""
  columns = np.zeros((4 if labels is None else len(labels), 3))
  if labels is not None:
    columns[:, NAMES.index(VALUE)] = labels
  day = SimpleNamespace(labels=columns, weights=None if weights is None else weights[:, None])
  return SimpleNamespace(schema=schema(), train_days=[day])


def settings(target_scale: Any = None, **loss_weights: float) -> Any:
  return SimpleNamespace(target_scale=target_scale, loss_weights=loss_weights, balance=None)


def scale_of(learning: Schema) -> str:
  (task,) = (task for task in learning.tasks if task.name == VALUE)
  return type(task.rules).__name__


@pytest.mark.parametrize(
  ("target_scale", "own", "expected"),
  [
    (None, True, "Standardised"),
    (None, False, "Regression"),
    ("none", True, "Regression"),
    ("standard", False, "Standardised"),
    ("log", False, "Logarithmic"),
    ({VALUE: "log"}, True, "Logarithmic"),
    ({}, True, "Standardised"),
  ],
)
def test_own_logs_are_standardised_unless_a_setting_says_otherwise(
  target_scale: Any, own: bool, expected: str
) -> None:
  made = learnt(store(), settings(target_scale), own)
  assert scale_of(made) == expected
  assert [task.rules.name for task in made.tasks] == [task.kind for task in TASKS]


def test_logarithms_are_standardised_by_the_weights_of_rows() -> None:
  labels, times = np.array([1.0, np.nan, 2.0, 30.0]), np.array([3.0, 9.0, 2.0, 0.0])
  made = learnt(store(labels, times), settings("log"), own=True)
  again = learnt(store(np.repeat([1.0, 2.0], [3, 2])), settings("log"), own=True)
  targets, outputs = tf.constant([1.0, 2.0]), tf.constant([0.3, -0.2])
  ours, theirs = (
    task.rules.losses(targets, outputs, LabelStatistics(1, 0.0, 0.0))
    for task in (made.tasks[NAMES.index(VALUE)], again.tasks[NAMES.index(VALUE)])
  )
  np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_balance_of_one_task_is_refused() -> None:
  one: Any = SimpleNamespace(schema=schema(tasks=TASKS[:1]), train_days=[])
  given: Any = SimpleNamespace(target_scale=None, loss_weights={}, balance=GradNorm())
  message = f"^train_and_evaluate.balance is GradNorm, .* and {NAMES[0]} is the only one; leave it"
  with pytest.raises(SettingError, match=message):
    learnt(one, given, own=True)


def test_a_balance_with_a_task_of_one_value_is_refused() -> None:
  known = [LabelStatistics(9, 0.2, 0.16), LabelStatistics(9, 0.0, 0.0)]
  two: Any = SimpleNamespace(
    schema=dataclasses.replace(schema(tasks=TASKS[:2]), label_statistics=tuple(known)),
    train_days=[],
  )
  given: Any = SimpleNamespace(target_scale="none", loss_weights={}, balance=GradNorm())
  message = rf"GradNorm, and {NAMES[1]} has one value .* without_tasks = \['{NAMES[1]}'\]$"
  with pytest.raises(SettingError, match=message):
    learnt(two, given, own=True)
  unlabelled = (known[0], LabelStatistics(0, 0.0, 0.0))  # which takes no part
  two.schema = dataclasses.replace(two.schema, label_statistics=unlabelled)
  learnt(two, given, own=True)


def test_weights_of_losses_may_be_set_by_task() -> None:
  made = learnt(store(), settings(**{NAMES[0]: 3.0}), own=True)
  assert [task.loss_weight for task in made.tasks] == [3.0, *(t.loss_weight for t in TASKS[1:])]


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (settings({"prise": "log"}), "target_scale names 'prise', which is no task"),
    (settings({NAMES[0]: "log"}), "which is binary; only a regression has a scale"),
    (settings("log"), f"target_scale is log, and {VALUE} holds -2"),
    (settings(prise=2.0), "loss_weights names 'prise', which is no task"),
  ],
)
def test_what_does_not_fit_the_log_is_refused(given: Any, message: str) -> None:
  with pytest.raises(SettingError, match=re.escape(message)):
    learnt(store(np.array([1.0, np.nan, -2.0, 3.0])), given, own=True)


@pytest.mark.parametrize(
  ("scale", "weights", "message"),
  [
    ("cents", {}, "make it one of standard, log, none"),
    ({"price": None}, {}, "make it one of standard, log, none"),
    (None, [1.0], "make it a dict of tasks to numbers"),
    (None, {"click": -1.0}, "loss_weights of click is -1.0"),
    (None, {"click": 0}, "click is 0; leave it out: without_tasks=['click']"),
  ],
)
def test_a_scale_or_weight_that_there_is_not_is_refused(
  scale: Any, weights: Any, message: str
) -> None:
  with pytest.raises(SettingError, match=re.escape(message)):
    check_targets(scale, weights)


def test_a_label_in_another_unit_gives_the_same_gradients_and_outputs_in_its_unit() -> None:
  """Of a model at its start, for a label in euros and one in cents."""
  k, made = NAMES.index(VALUE), []
  for unit in (1.0, 100.0):
    known = [LabelStatistics(9, 0.5, 0.25)] * 3
    known[k] = LabelStatistics(9, 7.0 * unit, (3.0 * unit) ** 2)
    learning = [KINDS["binary"]] * 3
    learning[k] = Standardised()
    tasks = tuple(
      LearntTask(task.name, task.kind, 1.0, each)
      for task, each in zip(TASKS, learning, strict=True)
    )
    of = dataclasses.replace(schema(), tasks=tasks, label_statistics=tuple(known))
    tf_keras.utils.set_random_seed(0)
    rows = batch(of)
    model = Model(dense(4), Inputs(20)).build(of)
    labels = rows["labels"].numpy()
    labels[:, k] = (7 + 3 * labels[:, k]) * unit
    rows["labels"] = tf.constant(labels)
    with tf.GradientTape() as tape:
      loss = model.compute_loss(rows)
    made.append((tape.gradient(loss, model.trainable_variables), model(rows)[:, k]))
  (euros, said), (cents, said_in_cents) = made
  for one, other in zip(euros, cents, strict=True):
    np.testing.assert_allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(other), atol=1e-6)
  np.testing.assert_allclose(said_in_cents, 100 * said, rtol=1e-5)
  assert np.mean(said) == pytest.approx(7.0, abs=3.0)


def test_both_scales_equal_their_formulas() -> None:
  random = np.random.default_rng(0)
  labels = random.lognormal(3, 1, size=500)
  outputs = random.normal(size=500)
  known, of_logs = LabelStatistics.of(labels), LabelStatistics.of(np.log1p(labels))
  y, s = tf.constant(labels, tf.float32), tf.constant(outputs, tf.float32)
  standard, log = Standardised(), Logarithmic(of_logs)
  z = (labels - labels.mean()) / labels.std()
  np.testing.assert_allclose(standard.losses(y, s, known), (z - outputs) ** 2, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
    standard.in_unit(s, known), labels.mean() + labels.std() * outputs, rtol=1e-4, atol=1e-4
  )
  logs = np.log1p(labels)
  z = (logs - logs.mean()) / logs.std()
  np.testing.assert_allclose(log.losses(y, s, known), (z - outputs) ** 2, rtol=1e-4, atol=1e-5)
  said = np.expm1(logs.mean() + logs.std() * outputs)
  np.testing.assert_allclose(log.in_unit(s, known), said, rtol=1e-4)
  far = log.in_unit(tf.constant([1e6]), known)
  assert np.isfinite(far).all()
  assert float(far[0]) == pytest.approx(np.expm1(HIGHEST), rel=1e-4)


def test_a_label_that_never_varies_has_a_scale() -> None:
  known = LabelStatistics(9, 5.0, 0.0)
  losses = Standardised().losses(tf.constant([5.0]), tf.constant([0.0]), known)
  assert losses.numpy().tolist() == [0.0]


@pytest.mark.parametrize("scale", ["none", "standard", "log"])
def test_the_relative_loss_of_day_n_is_that_of_the_scale_that_is_learnt(scale: str) -> None:
  random = np.random.default_rng(5)
  labels = np.expm1(random.normal(3, 1, size=500)).clip(0)
  made = learnt(store(labels), settings(scale), own=True)
  rules, known = made.tasks[NAMES.index(VALUE)].rules, LabelStatistics.of(labels)
  constant = rules.constant_output(known)
  spread = labels.std() if scale == "none" else 1.0
  outputs = (constant + spread * random.normal(size=500)).astype(np.float32)
  targets = tf.constant(labels, tf.float32)
  ours, of_constant = (
    float(tf.reduce_mean(rules.losses(targets, tf.constant(each, tf.float32), known)))
    for each in (outputs, constant)
  )
  in_unit = rules.in_unit(tf.constant(outputs), known).numpy()
  found = rules.evaluate(labels, in_unit, known)["relative_loss"]
  assert found == pytest.approx(ours / of_constant, rel=1e-3)
  assert found > 1.5
  at_best = rules.evaluate(labels, np.full(500, rules.constant_in_unit(known)), known)
  assert at_best["relative_loss"] == pytest.approx(1)
  lost = rules.evaluate(labels, np.full(500, -1.0, np.float32), known)  # of a logarithm of -80
  assert lost["relative_loss"] > 1
