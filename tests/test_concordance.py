"""Concordance and AUC against scikit-learn, SciPy, a count of all pairs, and simulated truth."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from ranking.array import Array
from ranking.measures.concordance import auc, concordance
from ranking.measures.significance import Z95
from tests.scores import LABELS, SCORES

NAN = math.nan


def components(labels: Array, scores: Array) -> tuple[Array, Array]:
  """DeLong's structural components pair by pair: for each positive, and for each negative."""
  above, below = scores[labels == 1][:, None], scores[labels == 0][None, :]
  pairs = (above > below) + 0.5 * (above == below)
  return pairs.mean(axis=1), pairs.mean(axis=0)


@st.composite
def small_sample(draw: st.DrawFn) -> tuple[Array, Array]:
  """Both classes, few enough distinct scores for ties to be common; float32."""
  labels = [*draw(st.lists(st.integers(0, 1), max_size=30)), 0, 0, 1, 1]
  score = st.one_of(st.integers(-3, 3), st.floats(-(2.0**100), 2.0**100, width=32))
  scores = draw(st.lists(score, min_size=len(labels), max_size=len(labels)))
  return np.array(labels), np.array(scores, np.float32)


@st.composite
def sample_of_levels(draw: st.DrawFn) -> tuple[Array, Array]:
  """Labels of up to four levels, and scores of which many are ties."""
  labels = [*draw(st.lists(st.integers(0, 3), max_size=20)), 0, 0, 2, 2]
  scores = draw(st.lists(st.integers(-3, 3), min_size=len(labels), max_size=len(labels)))
  return np.array(labels) / 2, np.array(scores, np.float32)


@pytest.mark.parametrize("kind", SCORES)
def test_auc_equals_scikit_learn(kind: str) -> None:
  wide = SCORES[kind].astype(
    np.float64
  )  # exact; scikit-learn sums scores, and huge float32 overflow
  expected = roc_auc_score(LABELS, wide)
  assert auc(LABELS, SCORES[kind]).value == pytest.approx(expected, rel=1e-12)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(small_sample())
def test_auc_and_interval_equal_a_count_of_all_pairs(sample: tuple[Array, Array]) -> None:
  labels, scores = sample
  of_positives, of_negatives = components(labels, scores)
  value, (low, high) = auc(labels, scores)
  assert value == pytest.approx(of_positives.mean(), rel=1e-12)
  if value in (0, 1):
    assert math.isnan(low)
    assert math.isnan(high)
    return
  variance = of_positives.var(ddof=1) / len(of_positives)
  variance += of_negatives.var(ddof=1) / len(of_negatives)
  logit, half = math.log(value / (1 - value)), Z95 * math.sqrt(variance) / (value * (1 - value))
  assert low == pytest.approx(1 / (1 + math.exp(half - logit)), rel=1e-9)
  assert high == pytest.approx(1 / (1 + math.exp(-half - logit)), rel=1e-9)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(small_sample())
def test_auc_depends_on_the_order_of_scores_only(sample: tuple[Array, Array]) -> None:
  labels, scores = sample
  ranks = np.unique(scores, return_inverse=True)[1]
  for transformed in (ranks.astype(np.float64), np.exp2(ranks / 2.0), scores * np.float32(4)):
    np.testing.assert_equal(auc(labels, transformed), auc(labels, scores))
  shuffled = np.random.default_rng(0).permutation(len(labels))
  assert auc(labels[shuffled], scores[shuffled]).value == auc(labels, scores).value


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(small_sample())
def test_reversing_scores_or_labels_gives_the_complement(sample: tuple[Array, Array]) -> None:
  labels, scores = sample
  value, (low, high) = auc(labels, scores)
  for reversed_ in (auc(labels, -scores), auc(1 - labels, scores)):
    assert reversed_.value == pytest.approx(1 - value, abs=1e-12)
    np.testing.assert_allclose(reversed_.ci95, (1 - high, 1 - low), rtol=1e-9)


def test_infinite_scores_have_a_rank_and_nan_has_none() -> None:
  labels = np.array([0, 1, 0, 1])
  assert auc(labels, np.array([-np.inf, np.inf, 0.0, 1.0])).value == 1.0
  for nan_at in range(4):
    scores = np.arange(4.0)
    scores[nan_at] = NAN
    assert math.isnan(auc(labels, scores).value)


def test_one_class_or_no_row_has_no_auc() -> None:
  for labels in (np.zeros(3), np.ones(3), np.zeros(0)):
    value, interval = auc(labels, np.arange(len(labels)))
    assert math.isnan(value)
    assert all(math.isnan(end) for end in interval)


def test_the_auc_interval_covers_the_truth_95_times_in_100() -> None:
  random = np.random.default_rng(3)
  truth = 0.5 * (1 + math.erf(1.0 / 2))  # positives one standard deviation higher
  covered, repeats = 0, 1000
  for _ in range(repeats):
    labels = np.repeat([1, 0], [40, 400])
    low, high = auc(labels, random.normal(size=440) + labels).ci95
    covered += low <= truth <= high
  assert 0.93 <= covered / repeats <= 0.97


def test_nothing_is_rounded_into_a_tie() -> None:
  neighbours = np.array([1.0, np.nextafter(1.0, 2.0)])  # equal as float32
  assert auc(np.array([0, 1]), neighbours).value == 1.0


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(small_sample(), st.floats(-10, 10), st.floats(0.5, 10))
def test_with_two_labels_it_is_the_auc(
  sample: tuple[Array, Array], low: float, step: float
) -> None:
  labels, scores = sample
  np.testing.assert_equal(concordance(low + step * labels, scores), auc(labels, scores))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(sample_of_levels())
def test_with_more_labels_it_is_half_of_one_plus_somers_d(sample: tuple[Array, Array]) -> None:
  labels, scores = sample
  d = stats.somersd(labels, scores).statistic if len(np.unique(scores)) > 1 else 0.0
  expected = (1 + d) / 2
  assert concordance(labels, scores).value == pytest.approx(expected, rel=1e-12)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(sample_of_levels())
def test_value_and_interval_equal_a_count_of_all_pairs(sample: tuple[Array, Array]) -> None:
  labels, scores = sample
  above = np.sign(labels[:, None] - labels) * np.sign(scores[:, None] - scores)
  different = labels[:, None] != labels
  won = np.where(different, (1 + above) / 2, 0.0).sum(axis=1)
  rest = different.sum(axis=1)
  expected = won.sum() / rest.sum()
  value, (low, high) = concordance(labels, scores)
  assert value == pytest.approx(expected, rel=1e-12)
  if value in (0, 1):
    assert math.isnan(low)
    return
  squares = 0.0
  for level in np.unique(labels):
    residual = (won - expected * rest)[labels == level]
    correction = len(residual) / max(len(residual) - 1, 1)
    squares += correction * ((residual - residual.mean()) ** 2).sum()
    squares += len(residual) * residual.mean() ** 2
  error = 2 * math.sqrt(squares) / rest.sum() / (value * (1 - value))
  logit = math.log(value / (1 - value))
  assert low == pytest.approx(1 / (1 + math.exp(Z95 * error - logit)), rel=1e-9)
  assert high == pytest.approx(1 / (1 + math.exp(-Z95 * error - logit)), rel=1e-9)


def test_the_interval_of_three_labels_covers_the_truth_95_times_in_100() -> None:
  random = np.random.default_rng(8)
  shares, steps = np.array([0.2, 0.5, 0.3]), np.array([0.0, 0.2, 2.0])  # the third is easy to tell

  def draw(rows: int) -> tuple[Array, Array]:
    labels = random.choice(3, size=rows, p=shares)
    return labels, random.normal(size=rows) + steps[labels]

  truth = concordance(*draw(1_000_000)).value
  covered, repeats = 0, 1000
  for _ in range(repeats):
    low, high = concordance(*draw(200)).ci95
    covered += low <= truth <= high
  assert 0.93 <= covered / repeats <= 0.97


def test_one_row_beside_the_commonest_label_has_no_interval() -> None:
  value, interval = concordance(np.array([3, 3, 5, 3]), np.array([1.0, 3.0, 2.0, 4.0]))
  assert value == 1 / 3
  assert all(math.isnan(end) for end in interval)


@pytest.mark.parametrize("measure", [auc, concordance])
def test_labels_and_scores_are_two_columns_of_one_length(
  measure: Callable[[Array, Array], object],
) -> None:
  for shapes in (((3,), (4,)), ((3, 1), (3, 1)), ((3,), (3, 1))):
    with pytest.raises(ValueError, match=r"must both be \[rows\]; got \[3"):
      measure(*map(np.zeros, shapes))


def test_an_auc_refuses_a_label_of_no_class() -> None:
  with pytest.raises(ValueError, match=r"a binary label must be 0 or 1,.* got nan"):
    auc(np.array([0, 1, NAN]), np.zeros(3))
