import math

import numpy as np
import pytest

from ranking.array import Array
from ranking.measures.loss import mean_loss, relative_loss


def test_the_interval_is_the_delta_method_on_the_log_of_the_mean() -> None:
  losses = np.array([1.0, 4.0, 9.0, 4.0])
  error = losses.std(ddof=1) / 2
  value, interval = mean_loss(losses)
  assert value == 4.5
  assert interval == pytest.approx(4.5 * np.exp(np.array([-1, 1]) * 1.959964 * error / 4.5))


def test_a_mean_without_a_spread_to_judge_it_by_has_no_interval() -> None:
  for losses, value in (
    ([], math.nan),
    ([9.0], 9.0),
    ([0.0, 0.0], 0.0),
    ([1.0, math.inf], math.inf),
  ):
    mean, interval = mean_loss(np.array(losses))
    np.testing.assert_equal(mean, value)
    assert all(math.isnan(end) for end in interval)


def test_the_interval_of_a_ratio_is_that_of_rows_drawn_again() -> None:
  """The delta method against a bootstrap, with and without weights."""
  random = np.random.default_rng(0)
  reference = random.gamma(2.0, size=3000)
  losses = 0.8 * reference + 0.3 * random.gamma(1.0, size=3000)  # rows that are hard for both
  for weights in (np.ones(3000), random.uniform(0.5, 3, size=3000)):
    drawn = random.integers(0, 3000, size=(2000, 3000))

    def mean(of: Array, drawn: Array = drawn, weights: Array = weights) -> Array:
      return np.asarray((weights[drawn] * of[drawn]).mean(axis=1))

    value, interval = relative_loss(losses, reference, weights)
    assert value == np.average(losses, weights=weights) / np.average(reference, weights=weights)
    again = np.quantile(mean(losses) / mean(reference), [0.025, 0.975])
    assert interval == pytest.approx(again, abs=0.1 * (again[1] - again[0]))


def test_a_reference_is_as_good_as_itself_beyond_doubt() -> None:
  losses = np.array([0.5, 0.25, 4.0])
  assert relative_loss(losses, losses) == (1.0, (1.0, 1.0))


def test_a_ratio_that_has_no_value_or_no_spread_says_so() -> None:
  for losses, reference, value in (
    ([], [], math.nan),
    ([3.0], [2.0], 1.5),
    ([1.0, 2.0], [0.0, 0.0], math.nan),
    ([0.0, 0.0], [1.0, 2.0], 0.0),
    ([1.0, math.inf], [1.0, 2.0], math.inf),
  ):
    found, interval = relative_loss(np.array(losses), np.array(reference))
    np.testing.assert_equal(found, value)
    assert all(math.isnan(end) for end in interval)
