import math

import numpy as np
import pytest

from ranking.measures.loss import mean_loss


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
