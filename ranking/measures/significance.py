"""The level of every test, what several tests do to it, and what a design could have seen."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

from scipy import stats

LEVEL = 0.05  # of every test, two-sided
Z95 = NormalDist().inv_cdf(0.975)  # standard errors to either end of a 95 % interval
POWER = 0.8  # of the design, at that level


def students_t(degrees: float) -> Any:
  """SciPy's distribution, degrees rounded down to be on the safe side; inf = normal."""
  # A whole number may come out of its formula a rounding below itself.
  return stats.t(degrees if math.isinf(degrees) else math.floor(degrees + 1e-9))


def holm(p_values: Sequence[float]) -> list[float]:
  """p-values of several comparisons with one reference, adjusted by Holm (1979), in their order.

  Those at most 0.05 afterwards are the differences to believe: the chance that any of them is none
  is at most 5 %, however the comparisons depend on one another.

  Raises:
    ValueError: on a p-value outside [0, 1], nan included.
  """
  adjusted, at_least = [0.0] * len(p_values), 0.0
  order = sorted(range(len(p_values)), key=lambda place: p_values[place])
  for done, place in enumerate(order):
    p = p_values[place]
    if not 0 <= p <= 1:
      raise ValueError(f"a p-value must be in [0, 1]; got {p}")
    at_least = max(at_least, min(1.0, (len(p_values) - done) * p))
    adjusted[place] = at_least
  return adjusted


def detectable_difference(
  standard_error: float, degrees: float = math.inf, level: float = LEVEL
) -> float:
  """The smallest true difference that a two-sided test at `level` finds 80 times in 100.

  Bloom (1995): 2.80 standard errors at 5 % when these are known, more with few degrees of freedom
  (where it is an approximation: 80 times from 6 degrees on, 77 with 2). In the unit of the standard
  error. Holm's correction asks a level of 5 % / m of the first of m comparisons: with 8 of them it
  is 76 times with 6 degrees, and 72 with 3.
  """
  if math.isnan(standard_error):
    return math.nan
  return float(students_t(degrees).ppf([1 - level / 2, POWER]).sum()) * standard_error
