"""How well rows are ranked within groups: the AUC of users (GAUC), the NDCG of requests.

That is what a feed does with its scores, where an AUC over all rows also rewards knowing which
users click more. All is float64, and labels are 0 and 1. A group whose labels are all alike is left
out: whatever the scores, its figure is the same.
"""

import math
from typing import NamedTuple

import numpy as np

from ranking.array import Array
from ranking.measures.concordance import same_length
from ranking.measures.significance import Z95


class Groups(NamedTuple):
  """A figure of each of g groups that have rows of both labels.

  Attributes:
    figures: [g].
    weights: [g], how much each counts in the mean.
    units: [g], what it belongs to and is drawn by chance with: its user.
  """

  figures: Array
  weights: Array
  units: Array


class GroupMean(NamedTuple):
  """The weighted mean over groups and its 95 % interval; nan where there is none.

  Attributes:
    value: the mean.
    ci95: by the chance of units, of which there must be two.
    groups: how many there are.
  """

  value: float = math.nan
  ci95: tuple[float, float] = (math.nan, math.nan)
  groups: int = 0


def group_mean(groups: Groups) -> GroupMean:
  """The mean of figures between 0 and 1; the interval is that of a ratio of sums over units."""
  figures, weights, units = groups
  if not len(figures):
    return GroupMean()
  shares = weights / weights.sum()
  value = float(shares @ figures)
  names, unit = np.unique(units, return_inverse=True)
  if len(names) < 2:
    return GroupMean(value, groups=len(figures))
  residual = np.bincount(unit, shares * (figures - value))
  error = math.sqrt(len(names) / (len(names) - 1) * float(np.square(residual).sum()))
  interval = (max(0.0, value - Z95 * error), min(1.0, value + Z95 * error))
  return GroupMean(value, interval, len(figures))


def aucs_of_users(
  labels: Array, scores: Array, users: Array, weights: Array | None = None
) -> Groups:
  """The AUC within each user, who counts as often as its rows (GAUC: Zhu et al. 2017).

  Args:
    labels: [n] of 0 and 1.
    scores: [n], of any scale; a tie counts half.
    users: [n], any sortable dtype.
    weights: [n] above 0, how often each row counts; None = 1.
  """
  rows = _sorted(labels, scores, users, weights)
  negatives = rows.weights * (1 - rows.labels)
  before = np.concatenate([[0.0], np.cumsum(negatives)])
  # Of a user's negatives, those below a tie and half of those in it.
  ends = np.append(rows.ties[1:], len(negatives))
  beaten = (before[rows.ties] + before[ends]) / 2 - before[rows.starts][rows.group_of_tie]
  positives = rows.weights * rows.labels
  won = rows.of_groups(beaten * rows.of_ties(positives))
  positive, negative = (rows.of_groups(rows.of_ties(each)) for each in (positives, negatives))
  both = (positive > 0) & (negative > 0)
  areas = won[both] / (positive[both] * negative[both])
  return Groups(areas, (positive + negative)[both], rows.names[both])


def ndcgs_of_requests(
  labels: Array, scores: Array, requests: Array, users: Array, weights: Array | None = None
) -> Groups:
  """The NDCG of each request: the discounted gain of its order over that of the best one.

  A positive at place k gains 1 / log2(k + 1), over all places (Järvelin & Kekäläinen 2002). Rows of
  one score share the mean of their places' gains, so that no order of the log decides (McSherry &
  Najork 2008). Requests count the same, or by the mean weight of their rows.

  Args:
    labels: [n] of 0 and 1.
    scores: [n], of any scale.
    requests: [n], what was ranked together, any sortable dtype.
    users: [n], whose row it is; the user of a request is that of its first row.
    weights: [n] above 0, how often each row counts; None = 1.
  """
  rows = _sorted(labels, -np.asarray(scores), requests, weights)
  ends = np.append(rows.starts[1:], len(rows.labels))
  lengths = ends - rows.starts
  discounts = 1 / np.log2(np.arange(2, 2 + lengths.max(initial=0)))
  up_to = np.concatenate([[0.0], np.cumsum(discounts)])  # of the first k places
  in_tie = rows.of_ties(np.ones(len(rows.labels)))
  place = rows.ties - rows.starts[rows.group_of_tie]
  discount = (up_to[place + in_tie.astype(np.int64)] - up_to[place]) / in_tie
  gained = rows.of_groups(discount * rows.of_ties(rows.labels))
  positives = rows.of_groups(rows.of_ties(rows.labels)).astype(np.int64)
  both = (positives > 0) & (positives < lengths)
  of_request = rows.of_groups(rows.of_ties(rows.weights))[both] / lengths[both]
  _, first = np.unique(requests, return_index=True)
  figures = gained[both] / up_to[positives[both]]
  return Groups(figures, of_request, np.asarray(users)[first[both]])


class _Sorted(NamedTuple):
  """Rows in order of group and score; those of one group and score are a tie.

  Attributes:
    names: [g], of the groups.
    labels, weights: float64 [n].
    starts: [g], the first row of each group.
    ties: [t], the first row of each tie.
    group_of_tie: [t], the place of its group.
  """

  names: Array
  labels: Array
  weights: Array
  starts: Array
  ties: Array
  group_of_tie: Array

  def of_ties(self, values: Array) -> Array:
    """Sums [t] of values [n]."""
    return np.asarray(np.add.reduceat(values, self.ties)) if len(self.ties) else np.zeros(0)

  def of_groups(self, values: Array) -> Array:
    """Sums [g] of values [t]."""
    return np.bincount(self.group_of_tie, values, minlength=len(self.names))


def _sorted(labels: Array, scores: Array, groups: Array, weights: Array | None) -> _Sorted:
  """Lowest scores first."""
  labels, scores = same_length(labels, scores)
  names, group = np.unique(groups, return_inverse=True)
  order = np.lexsort((scores, group))
  group, scores = group[order], scores[order]
  is_first = np.ones(len(group), bool)
  is_first[1:] = (np.diff(group) != 0) | (np.diff(scores) != 0)
  ties = np.flatnonzero(is_first)
  return _Sorted(
    names,
    labels[order].astype(np.float64),
    np.ones(len(group)) if weights is None else weights[order].astype(np.float64),
    np.searchsorted(group, np.arange(len(names))),
    ties,
    group[ties],
  )
