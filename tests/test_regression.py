"""The regression: its loss, its best constant, and its figures against scikit-learn."""

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import mean_squared_error

from ranking.array import Array
from ranking.tasks.kind import LabelStatistics
from ranking.tasks.regression import Regression
from tests.scores import SCORES

KNOWN = LabelStatistics(9, 0.5, 0.25)


def measured_regression(labels: Array, predictions: Array) -> dict[str, Any]:
  return Regression().evaluate(labels, predictions, KNOWN)


def test_the_loss_is_the_squared_error() -> None:
  outputs, labels = np.random.default_rng(0).normal(size=(2, 50)).astype(np.float32)
  expected = (labels - outputs).astype(np.float64) ** 2
  losses = Regression().losses(tf.constant(labels), tf.constant(outputs), KNOWN)
  np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_the_best_constant_is_the_mean() -> None:
  assert Regression().constant_output(LabelStatistics(10, 3.5, 2.0)) == 3.5


def test_one_row_has_a_figure_but_no_interval() -> None:
  measured = measured_regression(np.array([5.0]), np.array([2.0]))
  assert (measured["rmse"], measured["ci95"]) == (3.0, None)


def test_the_rmse_interval_covers_the_truth_95_times_in_100() -> None:
  random = np.random.default_rng(4)
  covered, repeats = 0, 1000
  for _ in range(repeats):
    low, high = measured_regression(np.zeros(400), random.normal(scale=3, size=400))["ci95"]
    covered += low <= 3 <= high
  assert 0.93 <= covered / repeats <= 0.97


def test_the_rmse_interval_is_the_delta_method_on_the_log_of_the_mean_square() -> None:
  squares = np.array([1.0, 4.0, 9.0, 4.0])
  measured = measured_regression(np.zeros(4), np.sqrt(squares))
  mse, error = squares.mean(), squares.std(ddof=1) / 2
  low, high = np.sqrt(mse) * np.exp(np.array([-1, 1]) * 1.959964 * error / mse / 2)
  assert measured["ci95"] == pytest.approx([low, high], rel=1e-6)


@pytest.mark.parametrize("kind", SCORES)
def test_rmse_and_calibration_equal_scikit_learn(kind: str) -> None:
  predictions = SCORES[kind]
  labels = 2 + SCORES["float32"][::-1]
  measured = measured_regression(labels, predictions)
  wide = predictions.astype(np.float64), labels.astype(np.float64)
  expected = math.sqrt(mean_squared_error(wide[1], wide[0]))
  assert measured["rmse"] == pytest.approx(expected, rel=1e-12)
  assert measured["calibration"] == pytest.approx(wide[0].mean() / wide[1].mean(), rel=1e-9)


def test_rmse_is_taken_in_float64() -> None:
  labels = np.full(1000, 10_000, np.float16)
  predictions = np.zeros(1000, np.float16)  # the squares overflow float16
  assert measured_regression(labels, predictions)["rmse"] == 10_000
  labels = np.full(2, 2.0**24 + 2, np.float32)
  assert measured_regression(labels, np.ones(2, np.float32))["rmse"] == 2.0**24 + 1


def test_labels_that_sum_to_zero_have_no_calibration() -> None:
  assert measured_regression(np.array([-1.0, 1.0]), np.ones(2))["calibration"] is None


def test_predictions_too_large_to_square_have_no_figure() -> None:
  measured = measured_regression(np.zeros(3), np.full(3, 1e300))
  assert (measured["rmse"], measured["ci95"], measured["nonfinite"]) == (None, None, 0)


def test_an_infinite_label_is_named() -> None:
  with pytest.raises(ValueError, match=r"^holds an infinite value; drop or clip such rows$"):
    measured_regression(np.array([0, np.inf]), np.zeros(2))
