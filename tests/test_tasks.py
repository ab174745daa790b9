import math

import numpy as np
import pytest
import tensorflow as tf

from ranking.tasks import LabelStatistics, Task

CLICK, RATING = Task("click", "binary"), Task("rating", "regression")
RANDOM = np.random.default_rng(0)


def loss(task: Task, labels: list[float], outputs: list[float], weights: list[float]) -> float:
  """What the task loses on one batch."""
  known = LabelStatistics(10, 0.5, 0.25)
  rows = task.rules.losses(tf.constant(labels, tf.float32), tf.constant(outputs, tf.float32), known)
  return float(tf.reduce_sum(tf.constant(weights, tf.float32) * rows))


def constant_output(task: Task, known: LabelStatistics) -> float:
  return task.rules.constant_output(known)


def constant_losses(
  tasks: tuple[Task, ...], known: tuple[LabelStatistics, ...], labels: tf.Tensor, weights: tf.Tensor
) -> tf.Tensor:
  """float32 [T], of the best constant predictor of the training days."""
  return tf.stack(
    [
      tf.reduce_sum(
        weights[:, k] * task.rules.losses(labels[:, k], task.rules.constant_output(of), of)
      )
      for k, (task, of) in enumerate(zip(tasks, known, strict=True))
    ]
  )


def test_a_binary_task_loses_the_weighted_cross_entropy_of_its_logits() -> None:
  outputs = RANDOM.normal(size=50).astype(np.float32)
  labels, weights = RANDOM.integers(0, 2, 50), RANDOM.random(50).astype(np.float32)
  p = 1 / (1 + np.exp(-outputs.astype(np.float64)))
  expected = (-weights * (labels * np.log(p) + (1 - labels) * np.log(1 - p))).sum()
  assert loss(CLICK, [*labels], [*outputs], [*weights]) == pytest.approx(expected, rel=1e-6)


def test_a_regression_task_loses_the_weighted_squared_error() -> None:
  outputs, labels = RANDOM.normal(size=(2, 50)).astype(np.float32)
  weights = RANDOM.random(50).astype(np.float32)
  expected = (weights * (labels - outputs).astype(np.float64) ** 2).sum()
  assert loss(RATING, [*labels], [*outputs], [*weights]) == pytest.approx(expected, rel=1e-6)


def test_a_logit_far_on_the_wrong_side_loses_its_distance() -> None:
  assert loss(CLICK, [0.0, 1.0], [1000.0, -1000.0], [0.5, 0.5]) == 1000


@pytest.mark.parametrize("task", [CLICK, RATING], ids=str)
def test_rows_of_weight_zero_do_not_count(task: Task) -> None:
  with_missing = loss(task, [1.0, 0.0, 0.0], [0.25, 30.0, -7.0], [1.0, 0.0, 0.0])
  assert with_missing == pytest.approx(loss(task, [1.0], [0.25], [1.0]), rel=1e-7)
  assert loss(task, [0.0, 0.0], [3.0, -3.0], [0.0, 0.0]) == 0


@pytest.mark.parametrize("task", [CLICK, RATING], ids=str)
def test_one_label_among_a_thousand_rows_is_not_shrunk(task: Task) -> None:
  rest = [0.0] * 999
  alone = loss(task, [1.0], [-2.0], [1.0])
  assert loss(task, [1.0, *rest], [-2.0, *rest], [1.0, *rest]) == pytest.approx(alone, rel=1e-6)


def test_the_best_constant_is_the_mean_or_its_logit() -> None:
  assert constant_output(RATING, LabelStatistics(10, 3.5, 2.0)) == 3.5
  logit = constant_output(CLICK, LabelStatistics(10, 0.2, 0.16))
  assert 1 / (1 + math.exp(-logit)) == pytest.approx(0.2, rel=1e-12)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_label_that_never_varies_has_a_finite_best_constant(rate: float) -> None:
  known = LabelStatistics(10, rate, 0.0)
  assert math.isfinite(constant_output(CLICK, known))
  weights = tf.ones([1, 1])
  right = constant_losses((CLICK,), (known,), tf.constant([[rate]]), weights)
  wrong = constant_losses((CLICK,), (known,), tf.constant([[1 - rate]]), weights)
  # float32 represents 1 - 1e-6 to one part in 1e7, so the small one is about 1e-6 only.
  np.testing.assert_allclose(right, [-math.log1p(-1e-6)], rtol=0.05)
  np.testing.assert_allclose(wrong, [-math.log(1e-6)], rtol=1e-5)


def test_constant_losses_are_those_of_the_training_days_mean() -> None:
  known = (LabelStatistics(100, 0.02, 0.0196), LabelStatistics(100, 3.0, 2.0))
  click, rating = RANDOM.integers(0, 2, 40), RANDOM.normal(3, 1, 40)
  labels = np.stack([click, rating], axis=1).astype(np.float32)
  weights = RANDOM.random((40, 2)).astype(np.float32)
  weights[RANDOM.random((40, 2)) < 0.3] = 0.0
  expected = [
    (weights[:, 0] * -(click * np.log(0.02) + (1 - click) * np.log(0.98))).sum(),
    (weights[:, 1] * (labels[:, 1] - 3.0) ** 2).sum(),
  ]
  measured = constant_losses((CLICK, RATING), known, tf.constant(labels), tf.constant(weights))
  assert measured.dtype == tf.float32
  np.testing.assert_allclose(measured, expected, rtol=1e-5)


@pytest.mark.parametrize("task", [CLICK, RATING], ids=str)
def test_no_other_constant_loses_less_on_the_training_days(task: Task) -> None:
  labels = [1.0, 0.0, 0.0, 0.0, 1.0]
  mean, weights = 0.4, [0.2] * 5
  best = constant_output(task, LabelStatistics(5, mean, 0.24))
  least = loss(task, labels, [best] * 5, weights)
  (constant,) = constant_losses(
    (task,),
    (LabelStatistics(5, mean, 0.24),),
    tf.constant(labels)[:, None],
    tf.constant(weights)[:, None],
  )
  assert float(constant) == pytest.approx(least, rel=1e-6)
  for other in (best - 0.01, best + 0.01):
    assert loss(task, labels, [other] * 5, weights) > least
