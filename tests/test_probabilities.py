"""Normalised entropy, AUC within users and deciles, against scikit-learn and plain loops."""

import math

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from ranking.array import Array
from ranking.measures.probabilities import deciles, grouped_auc, normalised_entropy


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


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("users", [3, 40, 500])
def test_the_auc_of_users_is_their_own_weighted_by_rows(users: int, ties: bool) -> None:
  labels, scores, user = rows(0, users, ties)
  areas, weights = [], []
  for name in np.unique(user):
    mine = user == name
    if len(set(labels[mine])) == 2:
      areas.append(roc_auc_score(labels[mine], scores[mine]))
      weights.append(mine.sum())
  found = grouped_auc(labels, scores, user)
  assert found.value == pytest.approx(np.average(areas, weights=weights), abs=1e-12)
  assert found.users == len(areas)
  shuffled = np.random.default_rng(1).permutation(600)
  again = grouped_auc(labels[shuffled], scores[shuffled], user[shuffled])
  assert again.value == pytest.approx(found.value, abs=1e-12)


def test_knowing_which_users_click_more_is_no_ranking_within_them() -> None:
  random = np.random.default_rng(0)
  user = random.integers(200, size=20_000)
  rate = random.random(200)
  labels = (random.random(20_000) < rate[user]).astype(float)
  assert roc_auc_score(labels, rate[user]) > 0.8
  assert grouped_auc(labels, rate[user], user).value == pytest.approx(0.5, abs=1e-12)


def test_its_interval_covers_the_truth_95_times_in_100() -> None:
  random, covered = np.random.default_rng(0), 0
  truth = 0.7602  # of a normal score one deviation higher for positives
  for _ in range(400):
    user = random.integers(150, size=1500)
    labels = random.random(1500) < 0.4
    low, high = grouped_auc(labels, random.normal(size=1500) + labels, user).ci95
    covered += low < truth < high
  assert 0.92 <= covered / 400 <= 0.98


def test_without_a_user_of_both_labels_there_is_none() -> None:
  found = grouped_auc(np.array([1.0, 0.0]), np.array([0.2, 0.1]), np.array([1, 2]))
  assert math.isnan(found.value)
  assert found.users == 0
  alone = grouped_auc(np.array([1.0, 0.0]), np.array([0.2, 0.1]), np.array([1, 1]))
  assert (alone.value, alone.users, math.isnan(alone.ci95[0])) == (1.0, 1, True)
  assert math.isnan(grouped_auc(np.zeros(0), np.zeros(0), np.zeros(0)).value)


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
