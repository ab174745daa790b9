"""Shares of runs that diverge, against SciPy, simulated truth and a count of all tables."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from ranking.array import Array
from ranking.measures.ratios import divergence_ratio, fisher_test
from ranking.measures.significance import Z95


@pytest.mark.parametrize("runs", [1, 3, 5, 10, 40])
def test_the_divergence_ratio_has_wilsons_interval(runs: int) -> None:
  for diverged in range(runs + 1):
    ratio = divergence_ratio(diverged, runs)
    for end in ratio.ci95:  # a true ratio that what was seen is 1.96 standard errors away from
      assert runs * (ratio.value - end) ** 2 == pytest.approx(Z95**2 * end * (1 - end), abs=1e-12)
    assert 0 <= ratio.ci95[0] <= ratio.value == diverged / runs <= ratio.ci95[1] <= 1


def test_wilsons_interval_covers_95_in_100_on_average_and_the_exact_one_more() -> None:
  truths = np.linspace(0.0005, 0.9995, 1000)
  for runs in (5, 10):
    chances = stats.binom.pmf(np.arange(runs + 1)[:, None], runs, truths)

    def coverage(intervals: list[tuple[float, float]], chances: Array = chances) -> float:
      low, high = np.array(intervals).T[..., None]
      return float(
        ((low <= truths) & (truths <= high)).astype(float).ravel() @ chances.ravel() / 1000
      )

    outcomes = [stats.binomtest(diverged, runs) for diverged in range(runs + 1)]
    assert 0.94 < coverage([divergence_ratio(int(o.k), runs).ci95 for o in outcomes]) < 0.965
    assert coverage([tuple(o.proportion_ci(0.95)) for o in outcomes]) > 0.975


@pytest.mark.parametrize(("diverged", "runs"), [(-1, 5), (6, 5), (0, 0)])
def test_an_impossible_ratio_is_named(diverged: int, runs: int) -> None:
  with pytest.raises(ValueError, match=f"0 <= diverged <= runs; got {diverged} of {runs}"):
    divergence_ratio(diverged, runs)


def test_fishers_test_sums_the_tables_that_are_no_more_probable_than_ours() -> None:
  for ours, theirs in itertools.product(range(1, 8), repeat=2):
    for first, second in itertools.product(range(ours + 1), range(theirs + 1)):
      measured = fisher_test(divergence_ratio(first, ours), divergence_ratio(second, theirs))
      diverged = first + second
      ways = [
        math.comb(ours, mine) * math.comb(theirs, diverged - mine)
        for mine in range(max(0, diverged - theirs), min(ours, diverged) + 1)
      ]  # whole numbers, so that a tie between two tables is a tie
      observed = math.comb(ours, first) * math.comb(theirs, second)
      expected = sum(way for way in ways if way <= observed) / sum(ways)
      assert measured == pytest.approx(expected, rel=1e-9)


def test_without_a_difference_p_is_never_too_small() -> None:
  for ours, theirs, diverged in ((5, 5, 4), (5, 5, 5), (10, 5, 7), (3, 20, 6)):
    tests, chances = [], []
    for first in range(max(0, diverged - theirs), min(ours, diverged) + 1):
      ratios = divergence_ratio(first, ours), divergence_ratio(diverged - first, theirs)
      tests.append(fisher_test(*ratios))
      chances.append(stats.hypergeom.pmf(first, ours + theirs, diverged, ours))
    assert sum(chances) == pytest.approx(1)
    for level in set(tests):
      at_most = [chance for p, chance in zip(tests, chances, strict=True) if p <= level]
      assert sum(at_most) <= level + 1e-9


def test_with_five_runs_each_four_more_must_diverge_to_be_seen() -> None:
  def p(first: int, second: int) -> float:
    return fisher_test(divergence_ratio(first, 5), divergence_ratio(second, 5))

  assert p(5, 0) == pytest.approx(2 / 252)
  assert p(4, 0) == pytest.approx(12 / 252)
  assert p(5, 1) == pytest.approx(12 / 252)
  assert min(p(k + 3, k) for k in range(3)) > 0.16
