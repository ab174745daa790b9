"""How often a method diverges: a share of runs, and whether two shares differ by chance."""

from typing import NamedTuple

from scipy import stats


class Ratio(NamedTuple):
  """The share of runs that diverged, with its 95 % interval."""

  value: float
  ci95: tuple[float, float]
  diverged: int
  runs: int


def divergence_ratio(diverged: int, runs: int) -> Ratio:
  """The share of `runs` that diverged, with the interval of Wilson (1927).

  Its coverage is 95 % on average over the true ratio, which with a handful of runs the exact one of
  Clopper and Pearson exceeds by far (Brown, Cai & DasGupta 2001).

  Raises:
    ValueError: unless 0 <= diverged <= runs and there is a run.
  """
  if not 0 <= diverged <= runs or runs < 1:
    raise ValueError(f"a divergence ratio needs 0 <= diverged <= runs; got {diverged} of {runs}")
  interval = stats.binomtest(diverged, runs).proportion_ci(0.95, "wilson")
  # Rounding must not leave none or all of the runs outside.
  low = float(interval.low) if diverged else 0.0
  high = float(interval.high) if diverged < runs else 1.0
  return Ratio(diverged / runs, (low, high), diverged, runs)


def fisher_test(first: Ratio, second: Ratio) -> float:
  """p of two methods that diverge equally often: Fisher's exact test (1935), two-sided.

  A table of the same margins is as extreme as ours when it is no more probable. It is never too
  small; with five runs each it is far too large.
  """
  table = [[each.diverged, each.runs - each.diverged] for each in (first, second)]
  return float(stats.fisher_exact(table).pvalue)
