"""Differences over seeds that share the rows of day N: users and seeds are both chance."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from ranking.array import Array
from ranking.measures.differences import (
  Difference,
  auc_difference,
  paired_difference,
  rmse_difference,
)

Sample = tuple[Array, Array, Array, Array]  # labels, two methods [seeds, n], users
BOTH = pytest.mark.parametrize("compare", [auc_difference, rmse_difference])


def sample(
  random: np.random.Generator,
  users: int = 60,
  rows: int = 8,
  seeds: int = 3,
  luck: float = 0.2,
  own: float = 0.5,
  common: float = 0.7,
) -> Sample:
  """Two equal methods.

  A run knows the labels as well as its seed's luck has it. It errs on users and rows, in a way that
  the runs of its method have in common, and in a way of its own.
  """
  user = np.repeat(np.arange(users), rows)
  labels = (random.random(len(user)) < 0.4).astype(np.float64)

  def noise(deviation: float) -> Array:
    of_users, of_rows = random.normal(size=users)[user], random.normal(size=len(user))
    return deviation * (of_users + of_rows)

  methods = []
  for _ in range(2):
    shared = noise(common)
    runs = [(1 + luck * random.normal()) * labels + shared + noise(own) for _ in range(seeds)]
    methods.append(np.stack(runs))
  return labels, methods[0], methods[1], user


@BOTH
def test_one_user_is_too_few_however_many_seeds(compare: Callable[..., Difference]) -> None:
  labels, first, second, user = sample(np.random.default_rng(0), users=20)
  if compare is auc_difference:  # all positives are of one user
    labels = np.where(user == 0, 1.0, 0.0)
  else:
    user = np.zeros_like(user)
  for seeds in (1, 3):
    found = compare(labels, first[:seeds], second[:seeds], user)
    assert math.isnan(found.standard_error), seeds
    assert math.isnan(found.p), seeds


def auc_covariance(labels: Array, first: Array, second: Array, users: Array) -> Array:
  """[seeds, seeds], as Obuchowski (1997) has it for two figures of the same clusters, in loops."""
  positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
  per_user = []
  for ours, theirs in zip(first, second, strict=True):
    won = [
      (s[positive][:, None] > s[negative]) + (s[positive][:, None] == s[negative]) / 2
      for s in (ours, theirs)
    ]
    gained = won[0] - won[1]
    ones, zeros = gained.mean(axis=1) - gained.mean(), gained.mean(axis=0) - gained.mean()
    names = sorted(set(users.tolist()))
    of_ones = [ones[users[positive] == user].sum() for user in names]
    of_zeros = [zeros[users[negative] == user].sum() for user in names]
    per_user.append((np.array(of_ones) / len(positive), np.array(of_zeros) / len(negative)))
  with_ones, with_zeros = (len(set(users[rows].tolist())) for rows in (positive, negative))
  a, b, c = (k / (k - 1) for k in (with_ones, with_zeros, len(set(users.tolist()))))
  return np.array(
    [
      [a * p @ q + b * m @ n + c * (p @ n + m @ q) for q, n in per_user]  # of another seed
      for p, m in per_user
    ]
  )


def rmse_covariance(labels: Array, first: Array, second: Array, users: Array) -> Array:
  """[seeds, seeds], of resampled rows."""
  random, drawn, count = np.random.default_rng(0), [], len(set(users.tolist()))
  for _ in range(300):
    chosen = random.integers(count, size=count)
    rows = np.concatenate([np.flatnonzero(users == user) for user in chosen])
    rmse = [np.sqrt(np.mean((m - labels)[:, rows] ** 2, axis=1)) for m in (first, second)]
    drawn.append(rmse[0] - rmse[1])
  return np.cov(np.transpose(drawn))


def rmse_300(labels: Array, first: Array, second: Array, users: Array) -> Difference:
  return rmse_difference(labels, first, second, users, resamples=300)


def rmse_100(labels: Array, first: Array, second: Array, users: Array) -> Difference:
  return rmse_difference(labels, first, second, users, resamples=100)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize(
  ("compare", "covariance"), [(auc_difference, auc_covariance), (rmse_300, rmse_covariance)]
)
def test_the_error_is_that_of_obuchowski_and_rockette(
  compare: Callable[..., Difference], covariance: Callable[..., Array], seeds: int
) -> None:
  columns = sample(np.random.default_rng(seeds), seeds=seeds)
  labels, first, second, users = columns
  each = [compare(labels, a, b, users).value for a, b in zip(first, second, strict=True)]
  apart = covariance(*columns)[~np.eye(seeds, dtype=bool)]
  shared = max(0.0, float(np.mean(apart)))
  of_seeds = float(np.var(each, ddof=1)) / seeds
  assert shared > 0
  measured = compare(*columns)
  assert measured.value == pytest.approx(np.mean(each), rel=1e-12)
  assert measured.standard_error == pytest.approx(math.sqrt(of_seeds + shared), rel=1e-9)
  hillis = (of_seeds + shared) ** 2 / (of_seeds**2 / (seeds - 1))
  if compare is auc_difference:  # which does not take the users' part as known
    of_users = min(len(set(users[labels == k].tolist())) for k in (0, 1)) - 1
    assert hillis > measured.degrees
    hillis = 1 / (1 / hillis + shared**2 / of_users / (of_seeds + shared) ** 2)
  assert measured.degrees == pytest.approx(hillis, rel=1e-9)
  assert measured.units == 60


@BOTH
def test_one_seed_is_the_same_with_or_without_its_axis(
  compare: Callable[..., Difference],
) -> None:
  labels, first, second, users = sample(np.random.default_rng(1), seeds=1)
  assert compare(labels, first, second, users) == compare(labels, first[0], second[0], users)


@BOTH
def test_seeds_that_predict_the_same_leave_the_chance_of_users(
  compare: Callable[..., Difference],
) -> None:
  labels, first, second, users = sample(np.random.default_rng(2), seeds=1)
  alone = compare(labels, first, second, users)
  twice = compare(labels, np.tile(first, (2, 1)), np.tile(second, (2, 1)), users)
  assert (twice.value, twice.units) == (alone.value, alone.units)
  assert twice.standard_error == pytest.approx(alone.standard_error, rel=1e-12)
  assert twice.degrees == pytest.approx(alone.degrees)
  normal = math.erfc(abs(twice.value / twice.standard_error) / math.sqrt(2))
  assert twice.p == pytest.approx(normal if math.isinf(twice.degrees) else alone.p, rel=1e-9)


@BOTH
def test_seeds_that_share_nothing_average_out(compare: Callable[..., Difference]) -> None:
  labels, first, second, users = sample(np.random.default_rng(3), 300, 3, 20, luck=0, common=0)
  alone = compare(labels, first[0], second[0], users).standard_error
  together = compare(labels, first, second, users).standard_error
  assert together == pytest.approx(alone / math.sqrt(20), rel=0.35)


@BOTH
def test_identical_methods_differ_by_nothing_for_sure(compare: Callable[..., Difference]) -> None:
  labels, first, _, users = sample(np.random.default_rng(4))
  same = compare(labels, first, first, users)
  assert (same.value, same.standard_error, same.p) == (0.0, 0.0, 1.0)


def test_users_who_favour_opposite_methods_in_two_seeds_leave_the_seeds_alone() -> None:
  labels, first, second, users = sample(np.random.default_rng(5), seeds=1)
  crossed = np.concatenate([first, second]), np.concatenate([second, first])
  values = [auc_difference(labels, a, b, users).value for a, b in zip(*crossed, strict=True)]
  expected = paired_difference(values, np.zeros(2))
  measured = auc_difference(labels, *crossed, users)
  assert measured.standard_error == pytest.approx(expected.standard_error, rel=1e-12)
  assert measured.degrees == pytest.approx(1)


@pytest.mark.parametrize(
  ("compare", "repeats"),
  [(auc_difference, 500), (rmse_100, 300)],
)
@pytest.mark.parametrize(("luck", "own", "common"), [(0.2, 0.5, 0.7), (0.3, 0.3, 0.5)])
def test_the_interval_covers_the_truth_95_times_in_100(
  compare: Callable[..., Difference], repeats: int, luck: float, own: float, common: float
) -> None:
  random = np.random.default_rng(6)
  covered = 0
  for _ in range(repeats):
    low, high = compare(*sample(random, luck=luck, own=own, common=common)).ci95
    covered += low <= 0 <= high
  assert 0.92 <= covered / repeats <= 0.98


@pytest.mark.parametrize(
  ("luck", "own", "common", "users_cover", "seeds_cover"),
  [(0.4, 0.2, 0.4, False, True), (0.0, 0.2, 1.0, True, False)],
)
def test_users_alone_or_seeds_alone_cover_only_what_they_are(
  luck: float, own: float, common: float, users_cover: bool, seeds_cover: bool
) -> None:
  random = np.random.default_rng(7)
  of_users, of_seeds, of_both, repeats = 0, 0, 0, 300
  for _ in range(repeats):
    labels, first, second, users = columns = sample(random, luck=luck, own=own, common=common)
    pairs = zip(first, second, strict=True)
    each = [auc_difference(labels, ours, theirs, users) for ours, theirs in pairs]
    half = 1.96 * float(np.mean([one.standard_error for one in each]))
    of_users += abs(float(np.mean([one.value for one in each]))) <= half
    low, high = paired_difference([one.value for one in each], np.zeros(3)).ci95
    of_seeds += low <= 0 <= high
    low, high = auc_difference(*columns).ci95
    of_both += low <= 0 <= high
  assert (of_users / repeats > 0.9) == users_cover
  assert (of_seeds / repeats > 0.9) == seeds_cover
  assert 0.92 <= of_both / repeats <= 0.98


@BOTH
def test_shapes_that_cannot_be_paired_and_strays_of_any_seed_are_named(
  compare: Callable[..., Difference],
) -> None:
  labels, first, second, users = sample(np.random.default_rng(8), 4, 2)
  for ours, theirs in ((first, second[:2]), (first[:0], second[:0]), (first[None], second[None])):
    with pytest.raises(ValueError, match=r"\(of several seeds, .* are \[seeds, rows\]\)$"):
      compare(labels, ours, theirs, users)
  first[0, 2] = first[2, 2] = first[1, 5] = math.nan
  with pytest.raises(ValueError, match="first is not finite in 2 of 8 labelled rows"):
    compare(labels, first, second, users)
