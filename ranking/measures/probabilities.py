"""What else is asked of predicted probabilities: a normalised loss, and calibration by tenths.

All is float64 and of one day's rows, whose labels are 0 and 1.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from ranking.array import Array
from ranking.measures.concordance import same_length
from ranking.measures.loss import mean

DECILES = 10


class Decile(NamedTuple):
  """A tenth of the rows, of predictions that are near each other.

  Attributes:
    rows: how many.
    predicted: their mean prediction.
    observed: their mean label.
  """

  rows: int
  predicted: float
  observed: float


def normalised_entropy(logloss: float, labels: Array, weights: Array | None = None) -> float:
  """The logloss over that of these rows' own mean label (He et al. 2014); nan if labels are alike.

  1 for a model that knows no more than how many rows are positive; lower is better.
  """
  rate = mean(labels, weights)
  if not 0 < rate < 1:
    return math.nan
  return logloss / -(rate * math.log(rate) + (1 - rate) * math.log1p(-rate))


def deciles(labels: Array, predictions: Array, weights: Array | None = None) -> list[Decile]:
  """Calibration: tenths of the rows from the lowest predictions to the highest.

  Rows of equal predictions stay together, so that the order of rows decides nothing: tenths may be
  of different sizes, and there may be fewer.

  Args:
    labels: [n] of 0 and 1.
    predictions: [n], probabilities.
    weights: [n] above 0: tenths are of their sum, and means count rows as often. None = 1.
  """
  labels, predictions = same_length(labels, predictions)
  order = np.argsort(predictions, kind="stable")
  labels, predictions = labels[order].astype(np.float64), predictions[order].astype(np.float64)
  own = np.ones(len(labels)) if weights is None else weights[order].astype(np.float64)
  up_to = np.cumsum(own)
  at = np.searchsorted(up_to, np.arange(1, DECILES) * up_to[-1:].sum() / DECILES, side="right")
  at = np.minimum(at, len(labels) - 1)
  ends = np.searchsorted(predictions, predictions[at], side="left") if len(labels) else at[:0]
  bounds = np.unique([0, *ends, len(labels)])
  return [
    Decile(
      int(end - start),
      mean(predictions[start:end], own[start:end]),
      mean(labels[start:end], own[start:end]),
    )
    for start, end in itertools.pairwise(bounds)
  ]
