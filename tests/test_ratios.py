"""Shares of runs that diverge, with their intervals, and whether two of them differ."""

import pytest

from ranking.measures.ratios import divergence_ratio, fisher_test
from ranking.measures.significance import Z95


@pytest.mark.parametrize("runs", [1, 3, 5, 10, 40])
def test_the_divergence_ratio_has_wilsons_interval(runs: int) -> None:
  for diverged in range(runs + 1):
    ratio = divergence_ratio(diverged, runs)
    for end in ratio.ci95:  # a true ratio that what was seen is 1.96 standard errors away from
      assert runs * (ratio.value - end) ** 2 == pytest.approx(Z95**2 * end * (1 - end), abs=1e-12)
    assert 0 <= ratio.ci95[0] <= ratio.value == diverged / runs <= ratio.ci95[1] <= 1


@pytest.mark.parametrize(("diverged", "runs"), [(-1, 5), (6, 5), (0, 0)])
def test_an_impossible_ratio_is_named(diverged: int, runs: int) -> None:
  with pytest.raises(ValueError, match=f"0 <= diverged <= runs; got {diverged} of {runs}"):
    divergence_ratio(diverged, runs)


def test_with_five_runs_each_four_more_must_diverge_to_be_seen() -> None:
  def p(first: int, second: int) -> float:
    return fisher_test(divergence_ratio(first, 5), divergence_ratio(second, 5))

  # So many tables are as extreme, of all ten choose five.
  assert (p(4, 0), p(5, 1)) == pytest.approx((12 / 252, 12 / 252))
  assert min(p(k + 3, k) for k in range(3)) > 0.16
