"""The binary task: its loss, best constant, and figures against scikit-learn and Decimal."""

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss

from ranking.array import Array
from ranking.measures.concordance import auc
from ranking.tasks.binary import Binary
from ranking.tasks.kind import LabelStatistics
from tests.scores import LABELS, SCORES

KNOWN = LabelStatistics(9, 0.5, 0.25)
NAN = math.nan


def measured_binary(labels: Array, logits: Array) -> dict[str, Any]:
  return Binary().evaluate(labels, logits, KNOWN)


def test_the_loss_is_the_cross_entropy_of_the_logit() -> None:
  random = np.random.default_rng(0)
  outputs = random.normal(size=50).astype(np.float32)
  labels = random.integers(0, 2, 50).astype(np.float32)
  p = 1 / (1 + np.exp(-outputs.astype(np.float64)))
  expected = -(labels * np.log(p) + (1 - labels) * np.log(1 - p))
  losses = Binary().losses(tf.constant(labels), tf.constant(outputs), KNOWN)
  np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_a_logit_far_on_the_wrong_side_loses_its_distance() -> None:
  losses = Binary().losses(tf.constant([0.0, 1.0]), tf.constant([1000.0, -1000.0]), KNOWN)
  np.testing.assert_array_equal(losses, [1000, 1000])


def test_the_best_constant_is_the_logit_of_the_mean() -> None:
  logit = Binary().constant_output(LabelStatistics(10, 0.2, 0.16))
  assert 1 / (1 + math.exp(-logit)) == pytest.approx(0.2, rel=1e-12)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_label_that_never_varies_has_a_finite_best_constant(rate: float) -> None:
  constant = Binary().constant_output(LabelStatistics(10, rate, 0.0))
  right, wrong = Binary().losses(tf.constant([rate, 1 - rate]), constant, KNOWN).numpy()
  # float32 represents 1 - 1e-6 to one part in 1e7, so the small one is about 1e-6 only.
  assert right == pytest.approx(-math.log1p(-1e-6), rel=0.05)
  assert wrong == pytest.approx(-math.log(1e-6), rel=1e-5)


def test_the_auc_ranks_logits_whose_probabilities_are_tied() -> None:
  saturated = np.array([20.0, 21.0], np.float32)  # both have a float32 sigmoid of 1
  assert measured_binary(np.array([0, 1]), saturated)["auc"] == 1.0
  value, interval = auc(LABELS, SCORES["float32"])
  measured = measured_binary(LABELS, SCORES["float32"])
  assert (measured["auc"], measured["ci95"]) == (value, [*interval])


def test_one_row_of_a_class_has_a_figure_but_no_interval() -> None:
  for labels in ([0, 1, 0], [1, 0, 1]):
    measured = measured_binary(np.array(labels), np.array([0.0, 1.0, 2.0]))
    assert (measured["auc"], measured["ci95"]) == (0.5, None)


def test_one_class_keeps_the_figures_that_it_has() -> None:
  negative = measured_binary(np.zeros(4), np.zeros(4))
  assert negative["logloss"] == pytest.approx(math.log(2))
  assert (negative["auc"], negative["ci95"], negative["calibration"]) == (None, None, None)
  assert measured_binary(np.ones(4), np.zeros(4))["calibration"] == 0.5


def test_logloss_and_calibration_equal_scikit_learn() -> None:
  labels, logits = LABELS, 3 * SCORES["float64"] - 2
  probabilities = 1 / (1 + np.exp(-logits))
  measured = measured_binary(labels, logits)
  assert measured["logloss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-12)
  assert measured["calibration"] == pytest.approx(probabilities.mean() / labels.mean(), rel=1e-6)


@pytest.mark.parametrize("logit", [-3e38, -1000.0, -40.0, 0.0, 1.0, 40.0, 100.0, 1000.0, 3e38])
@pytest.mark.parametrize("label", [0, 1])
def test_logloss_is_exact_however_extreme_the_logit(logit: float, label: int) -> None:
  logit32 = np.float32(logit)
  measured = measured_binary(np.array([label, label]), np.array([logit32, logit32]))
  wrong = Decimal(float(logit32)) * (1 - 2 * label)
  expected = (1 + wrong.exp()).ln() if wrong < 200 else wrong
  # Decimal has 28 digits, so below 1e-16 the sum above keeps few of them and exp(x) is the loss.
  expected = wrong.exp() if wrong < -30 else expected
  assert measured["logloss"] == pytest.approx(float(expected), rel=1e-12, abs=1e-300)


def test_positives_are_counted_whether_or_not_the_model_is_finite() -> None:
  labels = np.array([0, 1, 0, 1, NAN])
  outputs = np.array([0.0, 1.0, NAN, math.inf, 2.0], np.float32)
  assert measured_binary(labels, outputs) == {
    "kind": "binary", "auc": None, "ci95": None, "rows": 4, "positives": 2, "logloss": None,
    "relative_loss": None, "relative_loss_ci95": None, "calibration": None, "nonfinite": 2,
  }  # fmt: skip


def test_logits_of_probabilities_score_as_these() -> None:
  p = np.array([0.0, 0.2, 0.5, 1.0])
  logits = Binary().outputs_of(p, KNOWN)
  assert np.isfinite(logits).all()
  np.testing.assert_allclose(1 / (1 + np.exp(-logits)), p, atol=1e-11)


def test_tasks_are_read_from_strided_and_integer_columns_without_change() -> None:
  labels, outputs = LABELS[:50].astype(np.int64), SCORES["float32"][:50]
  before = outputs.copy()
  assert measured_binary(labels[::2], outputs[::2]) == measured_binary(
    labels[::2].astype(np.float32), outputs[::2].copy()
  )
  np.testing.assert_array_equal(outputs, before)


def test_another_label_is_named() -> None:
  with pytest.raises(ValueError, match=r"^is binary but holds 0\.5; make it 0 or 1, or a regress"):
    measured_binary(np.array([0.5, 1.0]), np.zeros(2))
