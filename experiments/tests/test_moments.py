"""Steps a, b and c on curves whose moments are known."""

import numpy as np
import pandas as pd
import pytest

from experiments.figures import moments
from ranking.sweeps.series import SeriesError


def steps_of(relative_loss: list[float]) -> pd.DataFrame:
  """As `series.steps` would read them."""
  loss = np.array(relative_loss)
  return pd.DataFrame(
    {
      "step": 1 + np.arange(len(loss)),
      "loss": loss,
      "constant_loss": 1.0,
      "output_spread": 1.0,
      "skipped": 0.0,
      "relative_loss": loss,
    }
  )


def noise(steps: int, seed: int) -> list[float]:
  return list(np.random.default_rng(seed).normal(0, 0.01, steps))


def learning(steps: int, seed: int = 0) -> list[float]:
  """From 1 down to 0.8, with the noise of batches."""
  falling = 0.8 + 0.2 * np.exp(-np.arange(steps) / 40)
  return [value + error for value, error in zip(falling, noise(steps, seed), strict=True)]


def lost(steps: int, seed: int = 1) -> list[float]:
  """What remains of a model after it diverged."""
  return [1.0 + error for error in noise(steps, seed)]


@pytest.mark.parametrize("seed", range(10))
def test_a_sudden_divergence_begins_at_its_first_high_loss(seed: int):
  found = moments.find(steps_of([*learning(300, seed), 2.0, 50.0, 9.0, 3.0, *lost(200)]))
  assert found.b == 301
  assert 280 <= found.a <= 300
  assert found.c == 301


@pytest.mark.parametrize("seed", range(10))
def test_a_slow_divergence_begins_where_the_loss_leaves_its_band_for_good(seed: int):
  rising = [0.8 + 0.004 * k + error for k, error in enumerate(noise(50, seed + 50))]
  found = moments.find(steps_of([*learning(300, seed), *rising, *lost(200)]))
  assert 280 <= found.a <= 305
  assert 305 <= found.b <= 330  # the band's upper edge, some 0.04 above, is crossed at 310
  assert 330 <= found.c <= 360


def test_a_jump_that_comes_back_is_not_where_divergence_begins():
  found = moments.find(
    steps_of([*learning(200), 1.5, 1.5, *learning(400, 2)[200:], 3.0, 3.0, *lost(100)])
  )
  assert found.b == 403


def test_losses_that_are_not_finite_are_beyond_any_band():
  found = moments.find(steps_of([*learning(300), 1.5, np.nan, np.nan]))
  assert (found.b, found.c) == (301, 302)


def test_a_loss_that_is_nan_at_once_begins_where_it_is_lost():
  found = moments.find(steps_of([*learning(300), np.nan]))
  assert (found.b, found.c) == (301, 301)


def test_steps_that_were_skipped_are_judged_as_in_the_run():
  steps = steps_of(learning(312))  # the loss is well, the gradients are not finite
  steps.loc[300:, "skipped"] = 1.0
  assert moments.find(steps).c == 301


def test_a_run_that_recovers_has_no_such_steps():
  with pytest.raises(SeriesError, match=r"did not diverge; raise .*learning_rate$"):
    moments.find(steps_of([*learning(200), 3.0, 3.0, *learning(400)[200:]]))


def test_a_run_that_never_learned_has_no_such_steps():
  with pytest.raises(SeriesError, match=r"at step \d before it had learned.*lower"):
    moments.find(steps_of([1.02, 16.6, 5000.0, 100.0, *lost(300)]))


def test_a_run_lost_after_a_few_good_steps_has_none_either():
  with pytest.raises(SeriesError, match="at step 8 before it had learned"):
    moments.find(steps_of([*[0.9] * 7, np.nan]))
