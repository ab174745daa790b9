"""What else is asked of predicted probabilities: a normalised loss, ranking within users, deciles.

All is float64 and of one day's rows, whose labels are 0 and 1.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from ranking.array import Array
from ranking.measures.concordance import same_length
from ranking.measures.significance import Z95

DECILES = 10


class GroupedAuc(NamedTuple):
  """The mean AUC of users, weighted by their rows, and its 95 % interval; nan where there is none.

  Attributes:
    value: the mean.
    ci95: by the chance of users, of whom there must be two.
    users: who have rows of both labels; the others have no AUC.
  """

  value: float
  ci95: tuple[float, float]
  users: int


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


def normalised_entropy(logloss: float, labels: Array) -> float:
  """The logloss over that of these rows' own mean label (He et al. 2014); nan if labels are alike.

  1 for a model that knows no more than how many rows are positive; lower is better.
  """
  rate = float(labels.mean(dtype=np.float64)) if len(labels) else math.nan
  if not 0 < rate < 1:
    return math.nan
  return logloss / -(rate * math.log(rate) + (1 - rate) * math.log1p(-rate))


def grouped_auc(labels: Array, scores: Array, users: Array) -> GroupedAuc:
  """The AUC within each user, and their mean weighted by rows (GAUC: Zhu et al. 2017).

  It says how well rows of one user are ranked, which is what a feed does; an AUC over all rows also
  rewards knowing which users click more. The interval is that of a ratio of sums over users, who
  are taken as independent.

  Args:
    labels: [n] of 0 and 1.
    scores: [n], of any scale; a tie counts half.
    users: [n], any sortable dtype.
  """
  labels, scores = same_length(labels, scores)
  _, user = np.unique(users, return_inverse=True)
  order = np.lexsort((scores, user))
  user, ones, scores = user[order], labels[order].astype(np.int64), scores[order]
  starts = np.flatnonzero(np.diff(user, prepend=-1))
  rows = np.diff(np.append(starts, len(user)))
  place = np.arange(len(user)) - np.repeat(starts, rows)  # from 0 within each user
  # Rows of one user and score share the mean of their places.
  ties = np.flatnonzero((np.diff(user, prepend=-1) != 0) | (np.diff(scores, prepend=np.nan) != 0))
  lengths = np.diff(np.append(ties, len(user)))
  midrank = np.repeat(place[ties] + (lengths - 1) / 2, lengths)
  positives = np.add.reduceat(ones, starts) if len(starts) else np.zeros(0, np.int64)
  negatives = rows - positives
  both = (positives > 0) & (negatives > 0)
  if not both.any():
    return GroupedAuc(math.nan, (math.nan, math.nan), 0)
  won = np.add.reduceat(midrank * ones, starts) - positives * (positives - 1) / 2
  areas = won[both] / (positives[both] * negatives[both])
  weights = rows[both] / rows[both].sum()
  value, users_with_both = float(weights @ areas), int(both.sum())
  if users_with_both < 2:
    return GroupedAuc(value, (math.nan, math.nan), users_with_both)
  unbiased = users_with_both / (users_with_both - 1)
  error = math.sqrt(unbiased * float(np.square(weights * (areas - value)).sum()))
  return GroupedAuc(
    value, (max(0.0, value - Z95 * error), min(1.0, value + Z95 * error)), users_with_both
  )


def deciles(labels: Array, predictions: Array) -> list[Decile]:
  """Calibration: tenths of the rows from the lowest predictions to the highest.

  Rows of equal predictions stay together, so that the order of rows decides nothing: tenths may be
  of different sizes, and there may be fewer.
  """
  labels, predictions = same_length(labels, predictions)
  order = np.argsort(predictions, kind="stable")
  labels, predictions = labels[order].astype(np.float64), predictions[order].astype(np.float64)
  at = np.arange(1, DECILES) * len(labels) // DECILES
  ends = np.searchsorted(predictions, predictions[at], side="left") if len(labels) else at[:0]
  bounds = np.unique([0, *ends, len(labels)])
  return [
    Decile(int(end - start), float(predictions[start:end].mean()), float(labels[start:end].mean()))
    for start, end in itertools.pairwise(bounds)
  ]
