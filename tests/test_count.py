"""The count: its loss against the Poisson distribution, its figures against scikit-learn."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from sklearn.metrics import mean_poisson_deviance

from ranking.array import Array
from ranking.tasks import LabelStatistics
from ranking.tasks.count import Count

RANDOM = np.random.default_rng(0)
RATES = np.exp(RANDOM.normal(size=600))
COUNTS = RANDOM.poisson(RATES).astype(np.float32)
OUTPUTS = (np.log(RATES) + 0.3 * RANDOM.normal(size=600)).astype(np.float32)
KNOWN = LabelStatistics.of(COUNTS)


def losses(labels: Array, outputs: Array) -> tf.Tensor:
  return Count().losses(tf.constant(labels), tf.constant(outputs), KNOWN)


def test_the_loss_is_minus_the_log_of_the_probability_less_what_it_is_at_best() -> None:
  wide = OUTPUTS.astype(np.float64)
  expected = stats.poisson.logpmf(COUNTS, COUNTS) - stats.poisson.logpmf(COUNTS, np.exp(wide))
  assert (COUNTS == 0).any()
  np.testing.assert_allclose(losses(COUNTS, OUTPUTS), expected, rtol=1e-4, atol=2e-6)


def test_the_gradient_is_rate_minus_label_and_goes_on_where_the_rate_would_overflow() -> None:
  labels, outputs = np.array([0, 3, 7, 2, 0], np.float32), np.array([-2, 1, 25, 60, 200])
  moved = tf.Variable(outputs.astype(np.float32))
  with tf.GradientTape() as tape:
    total = tf.reduce_sum(Count().losses(tf.constant(labels), moved, KNOWN))
  gradient = tape.gradient(total, moved).numpy()
  np.testing.assert_allclose(gradient[:3], np.exp(outputs[:3]) - labels[:3], rtol=1e-5)
  np.testing.assert_allclose(gradient[3:], [2 * np.exp(30), np.exp(30)], rtol=1e-5)
  assert np.isfinite(total)


def test_the_best_constant_is_the_log_of_the_mean() -> None:
  constant = Count().constant_output(KNOWN)
  assert np.exp(constant) == pytest.approx(COUNTS.mean())
  least = losses(COUNTS, np.full(600, constant, np.float32)).numpy().mean()
  for step in (-0.5, -0.05, 0.05, 0.5):
    assert losses(COUNTS, np.full(600, constant + step, np.float32)).numpy().mean() > least


def test_deviance_logloss_and_calibration_are_those_of_scikit_learn_and_scipy() -> None:
  measured, rates = Count().evaluate(COUNTS, OUTPUTS, KNOWN), np.exp(OUTPUTS.astype(np.float64))
  assert measured["deviance"] == pytest.approx(mean_poisson_deviance(COUNTS, rates), rel=1e-9)
  assert measured["logloss"] == pytest.approx(-stats.poisson.logpmf(COUNTS, rates).mean(), rel=1e-9)
  assert measured["calibration"] == pytest.approx(rates.mean() / COUNTS.mean(), rel=1e-6)
  constant = mean_poisson_deviance(COUNTS, np.full(600, COUNTS.mean()))
  assert measured["relative_loss"] == pytest.approx(measured["deviance"] / constant, rel=1e-6)


def test_the_interval_covers_the_truth_95_times_in_100() -> None:
  def draw(rows: int) -> tuple[Array, Array]:
    rates = np.exp(RANDOM.normal(size=rows))
    return RANDOM.poisson(rates).astype(np.float64), np.log(rates) + 0.2

  truth = Count().evaluate(*draw(1_000_000), KNOWN)["deviance"]
  covered = 0
  for _ in range(500):
    low, high = Count().evaluate(*draw(400), KNOWN)["ci95"]
    covered += low <= truth <= high
  assert 0.92 <= covered / 500 <= 0.98


def test_a_difference_is_that_of_the_deviances_and_its_error_that_of_users() -> None:
  users = np.repeat(np.arange(100), 6)
  found = Count().difference(COUNTS, OUTPUTS, OUTPUTS + np.float32(0.4), users)
  rates = np.exp(OUTPUTS.astype(np.float64))
  better, worse = (mean_poisson_deviance(COUNTS, rates * by) for by in (1, np.exp(0.4)))
  assert found.value == pytest.approx(better - worse, rel=1e-5)
  assert found.units == 100
  rows = 2 * (rates - COUNTS * OUTPUTS - rates * np.exp(0.4) + COUNTS * (OUTPUTS + 0.4))
  by_user = rows.reshape(100, 6).mean(axis=1)
  assert found.standard_error == pytest.approx(by_user.std(ddof=1) / 10, rel=0.1)


@pytest.mark.parametrize("stray", [-1.0, 2.5, np.inf])
def test_what_is_no_count_is_named_with_its_cure(stray: float) -> None:
  Count().check(np.array([0.0, 3.0, 2.0**24]))
  with pytest.raises(ValueError, match=rf"^is a count but holds {stray}; make it a whole number"):
    Count().check(np.array([1.0, stray]))
