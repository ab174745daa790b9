"""What chance could do to a comparison, against brute force, SciPy and simulated truth."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ranking.array import Array
from ranking.measures.concordance import auc
from ranking.measures.differences import (
  Difference,
  auc_difference,
  paired_difference,
  rmse_difference,
)
from ranking.measures.significance import Z95

NAN = math.nan
Sample = tuple[Array, Array, Array, Array]
few = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@st.composite
def small_sample(draw: st.DrawFn) -> Sample:
  """Labels, two methods' scores with many ties, and users, of whom each class has two at least."""
  rows = draw(st.integers(4, 30))
  labels = [0, 0, 1, 1, *draw(st.lists(st.integers(0, 1), min_size=rows - 4, max_size=rows - 4))]
  users = [0, 1, 0, 1, *draw(st.lists(st.integers(0, 5), min_size=rows - 4, max_size=rows - 4))]
  scores = st.lists(st.integers(-3, 3), min_size=rows, max_size=rows)
  return (
    np.array(labels),
    np.array(draw(scores), np.float32),
    np.array(draw(scores)),
    np.array(users),
  )


def clustered(random: np.random.Generator, users: int, rows: int) -> Sample:
  """`rows` rows of each user, whose labels and errors go together; two equal methods."""
  user = np.repeat(np.arange(users), rows)
  taste = random.normal(size=users)[user]
  labels = (random.random(len(user)) < 1 / (1 + np.exp(-taste))).astype(np.float32)
  first, second = (
    labels + random.normal(size=len(user)) + random.normal(size=users)[user] for _ in range(2)
  )
  return labels, first, second, user


def delong(labels: Array, first: Array, second: Array) -> tuple[float, float]:
  """Difference of AUC and its standard error from all pairs, as DeLong et al. write it, by row."""
  components = []
  for scores in (first, second):
    above, below = scores[labels == 1][:, None], scores[labels == 0][None, :]
    pairs = (above > below) + 0.5 * (above == below)
    components.append((pairs.mean(axis=1), pairs.mean(axis=0)))
  (ours_1, ours_0), (theirs_1, theirs_0) = components
  variance = sum(
    (np.cov(ours, theirs, ddof=1) / len(ours))
    for ours, theirs in ((ours_1, theirs_1), (ours_0, theirs_0))
  )
  contrast = np.array([1.0, -1.0])
  return ours_1.mean() - theirs_1.mean(), math.sqrt(max(0.0, contrast @ variance @ contrast))


def obuchowski(labels: Array, first: Array, second: Array, users: Array) -> float:
  """Standard error for clustered data: the four sums over users of Obuchowski (1997), in loops."""
  positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
  win = [
    [(s[i] > s[j]) + (s[i] == s[j]) / 2 for j in negative]
    for s in (first, second)
    for i in positive
  ]
  won = np.array(win).reshape(2, len(positive), len(negative))
  gained = won[0] - won[1]
  both, ones, zeros, mixed = gained.mean(), [], [], []
  for user in sorted(set(users.tolist())):
    mine_1, mine_0 = users[positive] == user, users[negative] == user
    one = (gained.mean(axis=1)[mine_1] - both).sum()
    zero = (gained.mean(axis=0)[mine_0] - both).sum()
    ones += [one**2] * bool(mine_1.any())
    zeros += [zero**2] * bool(mine_0.any())
    mixed += [one * zero]
  m, n = len(positive), len(negative)
  variance = len(ones) / (len(ones) - 1) * sum(ones) / m**2
  variance += len(zeros) / (len(zeros) - 1) * sum(zeros) / n**2
  variance += 2 * len(mixed) / (len(mixed) - 1) * sum(mixed) / m / n
  return math.sqrt(max(0.0, variance))


def few_resamples(labels: Array, first: Array, second: Array, users: Array) -> Difference:
  return rmse_difference(labels, first, second, users, resamples=50)


@few
@given(small_sample())
def test_with_a_user_per_row_it_is_delong_over_all_pairs(sample: Sample) -> None:
  labels, first, second, _ = sample
  difference, error = delong(labels, first, second)
  measured = auc_difference(labels, first, second, np.arange(len(labels)))
  assert measured.value == pytest.approx(difference, abs=1e-12)
  if difference and error < 1e-9:
    assert math.isnan(measured.standard_error)
  else:
    assert measured.standard_error == pytest.approx(error, abs=1e-9)


@few
@given(small_sample())
def test_users_are_summed_before_they_are_squared(sample: Sample) -> None:
  measured, error = auc_difference(*sample), obuchowski(*sample)
  if error > 1e-6 or not measured.value:
    assert measured.standard_error == pytest.approx(error, abs=1e-9)


def test_the_difference_is_that_of_the_published_aucs() -> None:
  labels, first, second, users = clustered(np.random.default_rng(0), 300, 5)
  measured = auc_difference(labels, first, second, users)
  assert measured.value == pytest.approx(auc(labels, first).value - auc(labels, second).value)
  squared = rmse_difference(labels, first, second, users, resamples=10)
  of_each = [np.sqrt(np.mean((scores - labels) ** 2)) for scores in (first, second)]
  assert squared.value == pytest.approx(of_each[0] - of_each[1])
  assert measured.units == squared.units == 300


def test_users_whose_two_classes_cancel_leave_no_rounding_for_an_error() -> None:
  labels, users = np.array([1, 0, 1, 0, 1, 0]), np.array([0, 1, 1, 1, 0, 0])
  first, second = np.array([3, 2, 1, 1, 1, 1]), np.array([1, 2, 2, 3, 0, 0])
  assert obuchowski(labels, first, second, users) < 1e-7
  measured = auc_difference(labels, first, second, users)
  assert measured.value == 2 / 9  # five pairs against three
  assert math.isnan(measured.standard_error)


def test_the_clustered_error_is_what_leaving_out_users_shows() -> None:
  labels, first, second, users = clustered(np.random.default_rng(1), 120, 10)
  without = [
    auc(labels[kept], first[kept]).value - auc(labels[kept], second[kept]).value
    for kept in (users != user for user in range(120))
  ]
  jackknife = math.sqrt(119 * np.var(without))
  assert auc_difference(labels, first, second, users).standard_error == pytest.approx(
    jackknife, rel=0.03
  )


def test_interval_and_p_are_those_of_student_and_normal_with_many_users() -> None:
  random = np.random.default_rng(2)
  labels = np.repeat([1.0, 0.0], [8, 30])
  first, second = random.normal(size=(2, 38))
  measured = auc_difference(labels, first, second, np.arange(38))
  t = measured.value / measured.standard_error
  assert measured.degrees == 7  # eight users with the rarer class
  assert measured.p == pytest.approx(2 * stats.t.sf(abs(t), 7), rel=1e-12)
  assert measured.ci95 == pytest.approx(
    stats.t(7, measured.value, measured.standard_error).interval(0.95), rel=1e-12
  )
  many = auc_difference(*clustered(random, 3000, 2))
  half = (many.ci95[1] - many.ci95[0]) / 2
  assert half == pytest.approx(Z95 * many.standard_error, rel=2e-3)
  z = abs(many.value / many.standard_error)
  assert many.p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-2)


@few
@given(small_sample())
def test_swapping_the_methods_flips_the_sign_and_nothing_else(sample: Sample) -> None:
  labels, first, second, users = sample
  for compare in (auc_difference, few_resamples):
    ours = compare(labels, first, second, users)
    theirs = compare(labels, second, first, users)
    assert theirs.value == -ours.value
    np.testing.assert_allclose(theirs.standard_error, ours.standard_error, rtol=1e-9)
    np.testing.assert_allclose(theirs.p, ours.p, rtol=1e-9)
    np.testing.assert_allclose(theirs.ci95, [-end for end in reversed(ours.ci95)], atol=1e-12)


@few
@given(small_sample())
def test_an_auc_difference_depends_on_the_order_of_scores_only(sample: Sample) -> None:
  labels, first, second, users = sample
  same = auc_difference(labels, first, second, users)
  np.testing.assert_equal(
    auc_difference(labels, np.exp(first.astype(np.float64)), 3 * second - 7, users), same
  )


@few
@given(small_sample())
def test_neither_the_order_of_rows_nor_the_names_of_users_matter(sample: Sample) -> None:
  labels, _, _, users = sample
  order = np.random.default_rng(len(labels)).permutation(len(labels))
  named = np.array([f"user {chr(70 - number)}" for number in users])
  moved = auc_difference(*(column[order] for column in (*sample[:3], named)))
  same = auc_difference(*sample)
  assert (moved.value, moved.units, moved.degrees) == (same.value, same.units, same.degrees)
  np.testing.assert_allclose(moved.standard_error, same.standard_error, rtol=1e-9, atol=1e-12)


@few
@given(small_sample())
def test_identical_predictions_differ_by_nothing_for_sure(sample: Sample) -> None:
  labels, first, _, users = sample
  for compare in (auc_difference, few_resamples):
    same = compare(labels, first, first.astype(np.float64), users)
    assert (same.value, same.standard_error, same.ci95, same.p) == (0.0, 0.0, (0.0, 0.0), 1.0)


@pytest.mark.parametrize("compare", [auc_difference, rmse_difference])
def test_rows_without_a_label_are_left_out_of_both(compare: Callable[..., Difference]) -> None:
  labels, first, second, users = clustered(np.random.default_rng(3), 30, 3)
  holes = np.arange(90) % 4 == 1
  kept = ~holes
  expected = compare(labels[kept], first[kept], second[kept], users[kept])
  holed = [np.where(holes, NAN, column) for column in (labels, first)]
  assert compare(*holed, second, users) == expected


def test_the_auc_interval_covers_the_truth_95_times_in_100() -> None:
  random = np.random.default_rng(4)
  # A positive is 1 higher, in noise of variance 2 for the first method and 3 for the second.
  truth = stats.norm.cdf(1 / 2) - stats.norm.cdf(1 / math.sqrt(6))
  covered, repeats = 0, 1000
  for _ in range(repeats):
    labels = np.repeat([1, 0], [60, 200])
    shared, own, more = random.normal(size=(3, 260))
    measured = auc_difference(
      labels, labels + shared + own, labels + shared + math.sqrt(2) * more, np.arange(260)
    )
    covered += measured.ci95[0] <= truth <= measured.ci95[1]
  assert 0.93 <= covered / repeats <= 0.97


@pytest.mark.parametrize(("users", "rows"), [(8, 15), (40, 15)])
def test_rows_of_one_user_need_the_clustered_error(users: int, rows: int) -> None:
  random = np.random.default_rng(5)
  by_user, by_row, repeats = 0, 0, 500
  for _ in range(repeats):
    labels, first, second, user = clustered(random, users, rows)
    for_users = auc_difference(labels, first, second, user).ci95
    for_rows = auc_difference(labels, first, second, np.arange(len(user))).ci95
    by_user += for_users[0] <= 0 <= for_users[1]
    by_row += for_rows[0] <= 0 <= for_rows[1]
  assert 0.92 <= by_user / repeats <= 0.98
  assert by_row / repeats < 0.86


def test_rmse_resamples_are_those_of_whole_users_row_by_row() -> None:
  labels, first, second, users = clustered(np.random.default_rng(6), 25, 4)
  drawn, random = [], np.random.default_rng(9)
  for _ in range(300):
    rows = np.concatenate([np.flatnonzero(users == user) for user in random.integers(25, size=25)])
    rmse = [np.sqrt(np.mean((scores - labels)[rows] ** 2)) for scores in (first, second)]
    drawn.append(rmse[0] - rmse[1])
  measured = rmse_difference(labels, first, second, users, resamples=300, seed=9)
  assert measured.standard_error == pytest.approx(np.std(drawn, ddof=1), rel=1e-9)
  assert measured.ci95 == pytest.approx(np.percentile(drawn, [2.5, 97.5]), rel=1e-9)
  beyond = min(np.mean(np.array(drawn) < 0), np.mean(np.array(drawn) > 0))
  assert measured.p == pytest.approx(2 * (300 * beyond + 1) / 301)
  assert rmse_difference(labels, first, second, users, resamples=300, seed=9) == measured
  assert rmse_difference(labels, first, second, users, resamples=300, seed=8) != measured


def test_the_rmse_interval_covers_the_truth_95_times_in_100_with_users() -> None:
  random = np.random.default_rng(7)
  users, user = 80, np.repeat(np.arange(80), 5)
  truth = math.sqrt(1 + 1) - math.sqrt(1 + 1.2**2)
  by_user, by_row, repeats = 0, 0, 200
  for _ in range(repeats):
    first, second = (
      random.normal(size=len(user)) + deviation * random.normal(size=users)[user]
      for deviation in (1, 1.2)
    )
    none = np.zeros(len(user))
    low, high = rmse_difference(none, first, second, user, resamples=200).ci95
    by_user += low <= truth <= high
    low, high = rmse_difference(none, first, second, np.arange(len(user)), resamples=60).ci95
    by_row += low <= truth <= high
  assert 0.92 <= by_user / repeats <= 0.98
  assert by_row / repeats < 0.86


def test_a_user_alone_and_one_difference_everywhere_have_no_interval() -> None:
  labels, first, second = np.array([0, 0, 1, 1.0]), np.array([0, 1, 2, 3.0]), np.zeros(4)
  alone = np.zeros(4)
  one_day = paired_difference([0.75], [0.5])
  constant = paired_difference(np.arange(7) + 0.1, np.arange(7))
  # Every positive gains half a pair on every negative.
  perfect = auc_difference(labels, first, second, np.arange(4))
  for measured, value in (
    (auc_difference(labels, first, second, alone), 0.5),
    (perfect, 0.5),
    (rmse_difference(second, first, second, alone, 20), math.sqrt(3.5)),
    (rmse_difference(second, second + 2, second, np.arange(4), 20), 2),
    (one_day, 0.25),
    (constant, 0.1),
  ):
    assert measured.value == pytest.approx(value)
    unknown = (measured.standard_error, *measured.ci95, measured.p)
    assert np.isnan(unknown).all()


@pytest.mark.parametrize("compare", [auc_difference, rmse_difference])
def test_bad_columns_are_named_in_one_line(compare: Callable[..., Difference]) -> None:
  good = np.array([0.0, 1, 0, 1])
  bad = good.copy()
  bad[2:] = [NAN, np.inf]
  empty = np.zeros(0)
  for columns, text in (
    ((good, good[:3], good, good), r"must all be \[rows\]; got \[4\], \[3\], \[4\], \[4\]"),
    ((good, good, good, good[:, None]), r"must all be \[rows\]; got .*\[4, 1\]"),
    ((empty, empty, empty, empty), "no row with a label among 0"),
    ((good * NAN, good, good, good), "no row with a label among 4"),
    ((good, bad, good, good), "first is not finite in 2 of 4 labelled rows"),
    ((good, good, bad, good), "second is not finite in 2 of 4 labelled rows"),
    ((bad, good, good, good), "labels is not finite in 1 of 3 labelled rows"),
  ):
    with pytest.raises(ValueError, match=text) as raised:
      compare(*columns)
    assert "\n" not in str(raised.value)


def test_an_auc_difference_needs_labels_of_two_classes() -> None:
  ones = np.ones(3)
  with pytest.raises(ValueError, match="rows of both classes; got 3 positives and 0 negatives"):
    auc_difference(ones, ones, ones, np.arange(3))
  with pytest.raises(ValueError, match=r"a binary label must be 0 or 1,.* got 0\.5"):
    auc_difference(ones / 2, ones, ones, np.arange(3))


@pytest.mark.parametrize("units", [2, 3, 4, 7, 30, 301])
@pytest.mark.parametrize("shift", [0.0, 1.0, 5.0])
def test_a_paired_difference_is_scipys_paired_t(units: int, shift: float) -> None:
  random = np.random.default_rng(units)
  first, second = random.normal(size=(2, units)) + np.array([[shift], [0.0]])
  measured, expected = paired_difference(first, second), stats.ttest_rel(first, second)
  assert measured.value == pytest.approx(np.mean(first) - np.mean(second))
  assert measured.value / measured.standard_error == pytest.approx(expected.statistic, rel=1e-12)
  assert measured.p == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-13)
  assert measured.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)
  assert (measured.units, measured.degrees) == (units, units - 1)


def test_the_seeds_of_a_day_are_averaged_before_days_are_compared() -> None:
  first, second = np.random.default_rng(10).normal(size=(2, 7, 3))
  measured = paired_difference(first, second)
  expected = stats.ttest_1samp(np.mean([first[:, k] - second[:, k] for k in range(3)], axis=0), 0)
  assert measured.p == pytest.approx(expected.pvalue, rel=1e-9)
  assert measured.ci95 == pytest.approx(tuple(expected.confidence_interval()), rel=1e-9)
  one_seed = paired_difference(first[:, :1], second[:, :1])
  assert one_seed == paired_difference(first[:, 0], second[:, 0])


def test_days_are_the_unit_because_the_runs_of_a_day_go_together() -> None:
  random = np.random.default_rng(11)
  by_day, by_run, repeats = 0, 0, 1000
  for _ in range(repeats):
    differences = 1 + random.normal(size=(7, 1)) + 0.5 * random.normal(size=(7, 3))
    low, high = paired_difference(differences, np.zeros((7, 3))).ci95
    by_day += low <= 1 <= high
    low, high = paired_difference(differences.ravel(), np.zeros(21)).ci95
    by_run += low <= 1 <= high
  assert 0.93 <= by_day / repeats <= 0.97
  assert by_run / repeats < 0.85


def test_figures_that_cannot_be_paired_are_named_in_one_line() -> None:
  for first, second, text in (
    ([1.0, 2], [1.0], r"must be paired, one shape for both; got \[2\] and \[1\]"),
    ([1.0], [[1.0]], r"one shape for both; got \[1\] and \[1, 1\]"),
    ([1.0, NAN], [1.0, 2], "first has a figure that is not finite; a diverged run has none"),
    ([1.0], [np.inf], "second has a figure that is not finite"),
    ([], [], r"first must hold a figure per run; got shape \[0\]"),
    (1.0, 1.0, r"got shape \[\]"),
    (np.ones((2, 2, 2)), np.ones((2, 2, 2)), r"got shape \[2, 2, 2\]"),
  ):
    with pytest.raises(ValueError, match=text):
      paired_difference(first, second)
