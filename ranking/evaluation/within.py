"""What a binary task has within users and requests of a day: its GAUC and its NDCG."""

from typing import NamedTuple

import numpy as np

from ranking.array import Array
from ranking.data.store import Day
from ranking.measures.groups import Groups, aucs_of_users, ndcgs_of_requests


class Rows(NamedTuple):
  """The rows of a day that have a label of one task and count.

  Attributes:
    kept: bool [n], which these m rows are.
    labels: [m].
    users: int64 [m].
    weights: float64 [m], or None where all count the same.
    requests: int64 [m], what was ranked together, 0 = nothing; None where the log does not say.
  """

  kept: Array
  labels: Array
  users: Array
  weights: Array | None
  requests: Array | None

  @classmethod
  def of(cls, day: Day, column: int, users: Array) -> "Rows":
    """Those of the task in this column of the labels, given the user of each row."""
    labels, weights = np.asarray(day.labels[:, column]), weights_of(day)
    kept = ~np.isnan(labels)
    if weights is not None:
      kept &= weights > 0
    return cls(
      kept,
      labels[kept],
      users[kept],
      None if weights is None else weights[kept],
      None if day.requests is None else np.asarray(day.requests[:, 0])[kept],
    )

  def groups(self, measure: str, outputs: Array) -> Groups:
    """The figure of each user ("gauc") or request ("ndcg") by outputs [n] of the whole day."""
    scores = outputs[self.kept]
    if measure == "gauc":
      return aucs_of_users(self.labels, scores, self.users, self.weights)
    assert self.requests is not None
    of_one = self.requests > 0
    return ndcgs_of_requests(
      self.labels[of_one],
      scores[of_one],
      self.requests[of_one],
      self.users[of_one],
      None if self.weights is None else self.weights[of_one],
    )


def weights_of(day: Day) -> Array | None:
  """float64 [n], how often each row counts; None where all count the same."""
  return None if day.weights is None else np.asarray(day.weights[:, 0], np.float64)
