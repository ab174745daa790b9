"""How often a method diverges: a share of runs, and whether two shares differ by chance."""

import math
from typing import NamedTuple

from ranking.evaluation.metrics import Z95


class Ratio(NamedTuple):
  """The share of runs that diverged, with its 95 % interval."""

  value: float
  ci95: tuple[float, float]
  diverged: int
  runs: int


class FisherTest(NamedTuple):
  """Two-sided probabilities of two ratios at least as far apart, if both have one true ratio."""

  p: float
  mid_p: float


def divergence_ratio(diverged: int, runs: int) -> Ratio:
  """The share of `runs` that diverged, with the interval of Wilson (1927).

  Its coverage is 95 % on average over the true ratio, which with a handful of runs the exact one of
  Clopper and Pearson exceeds by far (Brown, Cai & DasGupta 2001).

  Raises:
    ValueError: unless 0 <= diverged <= runs and there is a run.
  """
  if not 0 <= diverged <= runs or runs < 1:
    raise ValueError(f"a divergence ratio needs 0 <= diverged <= runs; got {diverged} of {runs}")
  centre, width = diverged + Z95**2 / 2, runs + Z95**2
  half = Z95 * math.sqrt(diverged * (runs - diverged) / runs + Z95**2 / 4)
  # Rounding must not leave none or all of the runs outside.
  low = (centre - half) / width if diverged else 0.0
  high = (centre + half) / width if diverged < runs else 1.0
  return Ratio(diverged / runs, (low, high), diverged, runs)


def fisher_test(first: Ratio, second: Ratio) -> FisherTest:
  """Whether two methods diverge equally often: Fisher's exact test (1935), two-sided.

  A table of the same margins is as extreme as ours when it is no more probable. `p` is never too
  small, and the headline; with five runs each it is far too large, so `mid_p`, which counts tables
  as probable as ours by half (Lancaster 1961), says what a few more runs might show.
  """
  diverged = first.diverged + second.diverged
  # Whole numbers, so that a tie between two tables is a tie.
  ways = [
    math.comb(first.runs, ours) * math.comb(second.runs, diverged - ours)
    for ours in range(max(0, diverged - second.runs), min(first.runs, diverged) + 1)
  ]
  observed = math.comb(first.runs, first.diverged) * math.comb(second.runs, second.diverged)
  rarer = sum(way for way in ways if way < observed)
  tied = sum(way for way in ways if way == observed)
  return FisherTest((rarer + tied) / sum(ways), (rarer + tied / 2) / sum(ways))
