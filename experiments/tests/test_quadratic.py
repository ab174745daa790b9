"""Optimizers on a quadratic against the closed form (finding F12), and NumPy twins."""

import numpy as np
import pytest

from experiments.figures import quadratic
from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy, NoClip, Sgd

RATES = [0.05, 0.09, 0.0999, 0.1001, 0.11, 0.2]


def held(rate: float) -> float:
  """tf_keras keeps a rate as float32."""
  return float(np.float32(rate))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("eigenvalues", [(20.0, 1.0), (3.0,), (0.5, 7.0, 20.0)])
def test_gradient_descent_multiplies_each_coordinate_by_one_minus_rate_times_eigenvalue(
  rate: float, eigenvalues: tuple[float, ...]
):
  start = np.linspace(0.5, 2.0, len(eigenvalues))
  visited = quadratic.descend(ClippedOptimizer(Sgd(), NoClip(), rate), start, 30, eigenvalues)
  factors = 1 - held(rate) * np.array(eigenvalues)
  np.testing.assert_allclose(visited, start * factors ** np.arange(31)[:, None], rtol=1e-12)


@pytest.mark.parametrize("rate", RATES)
def test_it_diverges_beyond_two_over_the_largest_eigenvalue_and_only_there(rate: float):
  losses = quadratic.loss(quadratic.descend(ClippedOptimizer(Sgd(), NoClip(), rate), steps=100))
  grows = losses[-1] > losses[-2]
  assert grows == (rate > quadratic.LIMIT) == (abs(1 - 20 * held(rate)) > 1)


@pytest.mark.parametrize("clippy", [None, Clippy(0.5, 1e-2)])
@pytest.mark.parametrize("rate", [0.1, 3.0])
def test_adagrad_and_clippy_take_the_steps_of_their_twins(rate: float, clippy: Clippy | None):
  optimizer = ClippedOptimizer(Adagrad(), clippy or NoClip(), rate)
  position, accumulator = np.array([0.5, 2.0]), np.full(2, 0.1)
  twin = [position]
  for _ in range(20):
    gradient = np.array([20.0, 1.0]) * position
    accumulator = accumulator + gradient**2
    step = held(rate) * gradient / np.sqrt(accumulator + 1e-7)
    limit = 0.5 * abs(position) + 1e-2
    position = position - (min(1.0, (limit / abs(step)).min()) if clippy else 1.0) * step
    twin.append(position)
  np.testing.assert_allclose(quadratic.descend(optimizer, steps=20), twin, rtol=1e-9)


def test_the_loss_is_half_the_sum_of_eigenvalues_times_squares():
  assert quadratic.loss([[0.5, 2.0], [1.0, 0.0]]).tolist() == [0.5 * 20 * 0.25 + 2.0, 10.0]


def test_figure_3_shows_the_edge_and_what_the_paper_says_of_it():
  descents = quadratic.descents()
  around = [quadratic.loss(visited) for visited in descents["gradient descent"].values()]
  assert list(descents["gradient descent"]) == ["η = 0.09", "η = 0.10", "η = 0.11"]
  assert around[0][-1] < 0.02 * around[0][0]
  assert around[1][-1] == pytest.approx(20 * 0.5**2 / 2, abs=0.05)  # swings, and neither way
  assert around[2][-1] > 100 * around[2][0]
  adagrad, clippy = (quadratic.loss(visited) for visited in descents["η = 3.00"].values())
  assert adagrad.max() > 10 * adagrad[0]
  assert (np.diff(clippy[:6]) < 0).all()
  assert clippy.max() == clippy[0]
