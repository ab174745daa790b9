"""Normalised entropy and deciles, against scikit-learn and plain loops."""

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss

from ranking.array import Array
from ranking.measures.probabilities import deciles, normalised_entropy


def rows(seed: int, users: int = 40, ties: bool = True) -> tuple[Array, Array, Array]:
  """Labels, probabilities and users of some rows."""
  random = np.random.default_rng(seed)
  user = random.integers(users, size=600)
  score = random.random(600)
  label = random.random(600) < 0.2 + 0.6 * score
  return label.astype(np.float32), np.round(score, 1) if ties else score, user


@pytest.mark.parametrize("seed", range(3))
def test_normalised_entropy_is_a_ratio_of_loglosses(seed: int) -> None:
  labels, scores, _ = rows(seed)
  predictions = 0.05 + 0.9 * scores
  loss = log_loss(labels, predictions)
  expected = loss / log_loss(labels, np.full(600, labels.mean(dtype=np.float64)))
  assert normalised_entropy(loss, labels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("labels", [[], [1.0, 1.0], [0.0]])
def test_labels_that_are_alike_have_no_normalised_entropy(labels: list[float]) -> None:
  assert math.isnan(normalised_entropy(0.3, np.array(labels)))


def test_deciles_are_tenths_of_the_rows_by_prediction() -> None:
  labels, scores, _ = rows(0, ties=False)
  found = deciles(labels, scores)
  order = np.argsort(scores)
  for k, decile in enumerate(found):
    mine = order[60 * k : 60 * (k + 1)]
    assert decile.rows == 60
    assert decile.predicted == pytest.approx(scores[mine].mean())
    assert decile.observed == pytest.approx(labels[mine].mean(dtype=float))


def test_rows_of_one_prediction_stay_together() -> None:
  labels, scores, _ = rows(0)
  found = deciles(labels, np.where(scores < 0.5, 0.25, scores))
  assert found[0].predicted == 0.25
  assert found[0].rows == np.count_nonzero(scores < 0.5)
  assert sum(each.rows for each in found) == 600
  assert [each.rows for each in deciles(labels, np.full(600, 0.3))] == [600]
  assert deciles(np.zeros(0), np.zeros(0)) == []
