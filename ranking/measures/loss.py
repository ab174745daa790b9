"""The mean of a loss over rows, with its interval."""

import math
from typing import NamedTuple

from ranking.array import Array
from ranking.measures.significance import Z95


class MeanLoss(NamedTuple):
  """Mean of a loss and its 95 % interval; nan where there is none."""

  value: float
  ci95: tuple[float, float]


def mean_loss(losses: Array) -> MeanLoss:
  """The mean of losses [n] of 0 or more.

  The interval is the delta method on log(mean), which cannot go below zero, and takes rows as
  independent. There is none of fewer than two rows, nor of a mean of 0.
  """
  value = float(losses.mean()) if len(losses) else math.nan
  if len(losses) < 2 or not 0 < value < math.inf:
    return MeanLoss(value, (math.nan, math.nan))
  factor = math.exp(Z95 * float(losses.std(ddof=1)) / math.sqrt(len(losses)) / value)
  return MeanLoss(value, (value / factor, value * factor))
