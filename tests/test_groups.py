"""AUC within users and NDCG of requests, against scikit-learn and plain loops."""

import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from ranking.array import Array
from ranking.measures.differences import grouped_difference
from ranking.measures.groups import (
  GroupMean,
  Groups,
  aucs_of_users,
  group_mean,
  ndcgs_of_requests,
)


def rows(seed: int, users: int = 40, ties: bool = True) -> tuple[Array, Array, Array]:
  """Labels, probabilities and users of some rows."""
  random = np.random.default_rng(seed)
  user = random.integers(users, size=600)
  score = random.random(600)
  label = random.random(600) < 0.2 + 0.6 * score
  return label.astype(np.float32), np.round(score, 1) if ties else score, user


def grouped_auc(labels: Array, scores: Array, users: Array) -> GroupMean:
  return group_mean(aucs_of_users(labels, scores, users))


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
  assert found.groups == len(areas)
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
  assert found.groups == 0
  alone = grouped_auc(np.array([1.0, 0.0]), np.array([0.2, 0.1]), np.array([1, 1]))
  assert (alone.value, alone.groups, math.isnan(alone.ci95[0])) == (1.0, 1, True)
  assert math.isnan(grouped_auc(np.zeros(0), np.zeros(0), np.zeros(0)).value)


def test_integer_weights_are_rows_repeated_in_the_auc_of_users() -> None:
  labels, scores, user = rows(3)
  times = np.random.default_rng(1).integers(1, 5, 600)
  found = aucs_of_users(labels, scores, user, times.astype(float))
  again = aucs_of_users(*(np.repeat(column, times) for column in (labels, scores, user)))
  np.testing.assert_array_equal(found.units, again.units)
  np.testing.assert_array_equal(found.weights, again.weights)
  np.testing.assert_allclose(found.figures, again.figures, rtol=0, atol=1e-15)


@pytest.mark.parametrize("ties", [False, True])
def test_the_ndcg_of_requests_is_scikit_learns_mean(ties: bool) -> None:
  labels, scores, request = rows(4, 90, ties)
  expected = {}
  for name in np.unique(request):
    mine = request == name
    if len(set(labels[mine])) == 2:
      expected[name] = ndcg_score(labels[None, mine], scores[None, mine])
  user = request // 3
  found = ndcgs_of_requests(labels, scores, request, user)
  np.testing.assert_allclose(found.figures, list(expected.values()), rtol=1e-12)
  np.testing.assert_array_equal(found.units, np.array(list(expected)) // 3)
  assert group_mean(found).value == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
  shuffled = np.random.default_rng(1).permutation(600)
  columns = (labels, scores, request, user)
  again = ndcgs_of_requests(*(column[shuffled] for column in columns))
  np.testing.assert_allclose(again.figures, found.figures, rtol=1e-12)
  weights = np.random.default_rng(2).random(600)
  by_weight = ndcgs_of_requests(*columns, weights)
  np.testing.assert_array_equal(by_weight.figures, found.figures)
  np.testing.assert_allclose(by_weight.weights, [weights[request == k].mean() for k in expected])


def test_requests_of_one_user_come_together_in_the_interval() -> None:
  """Each user's requests are alike: more of them tell nothing new."""
  random, covered, plain = np.random.default_rng(0), 0, 0
  for _ in range(300):
    figures = np.repeat(0.6 + 0.1 * random.normal(size=40), 10)
    units = np.repeat(np.arange(40), 10)
    low, high = group_mean(Groups(figures, np.ones(400), units)).ci95
    covered += low < 0.6 < high
    low, high = group_mean(Groups(figures, np.ones(400), np.arange(400))).ci95
    plain += low < 0.6 < high
  assert 0.92 <= covered / 300 <= 0.98
  assert plain / 300 < 0.6


def test_a_difference_of_groups_is_paired_by_them_and_its_interval_covers_the_truth() -> None:
  random, covered, of_seeds = np.random.default_rng(0), 0, 0
  for _ in range(300):
    units, weights = random.integers(30, size=200), random.random(200)
    easy = random.random(30)[units]  # alike for both methods
    first = easy + 0.1 * random.normal(size=(2, 200)) + 0.05 * random.normal(size=30)[units]
    found = grouped_difference(first[0], easy, weights, units)
    assert found.value == pytest.approx(np.average(first[0] - easy, weights=weights))
    covered += found.ci95[0] < 0 < found.ci95[1]
    both = grouped_difference(first, np.stack([easy, easy]), weights, units)
    of_seeds += both.ci95[0] < 0 < both.ci95[1]
  assert 0.91 <= covered / 300 <= 0.98
  assert of_seeds / 300 >= 0.9
  assert (found.units, found.degrees) == (30, 29)


def test_groups_that_cannot_be_compared_are_refused() -> None:
  ones = np.ones(3)
  with pytest.raises(ValueError, match=r"must be of the same groups; got \[3\], \[2\], \[3\]"):
    grouped_difference(ones, ones[:2], ones, ones)
  with pytest.raises(ValueError, match="must be of the same groups"):
    grouped_difference(ones[:0], ones[:0], ones[:0], ones[:0])
  with pytest.raises(ValueError, match="not finite"):
    grouped_difference(np.array([1, np.nan, 1]), ones, ones, ones)
  assert math.isnan(grouped_difference(ones, ones, ones, np.zeros(3)).p)
