import json
import math
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score

from ranking.array import Array
from ranking.measures.metrics import Z95, auc, evaluate_binary, evaluate_regression
from ranking.tasks import LabelStatistics, Task, evaluate

TASKS = (Task("click", "binary"), Task("rating", "regression"))
KNOWN = (LabelStatistics(9, 0.5, 0.25),) * 2
NAN = math.nan

ROWS = 5000
RANDOM = np.random.default_rng(2)
NORMAL = RANDOM.normal(size=ROWS)
LABELS = (RANDOM.random(ROWS) < 0.1).astype(np.float32)
SCORES: dict[str, Array] = {
  "float64": NORMAL,
  "float32": NORMAL.astype(np.float32),
  "float16": NORMAL.astype(np.float16),
  "tied": RANDOM.integers(0, 7, ROWS).astype(np.float32),
  "constant": np.full(ROWS, 0.25, np.float32),
  "saturated": (40 + NORMAL).astype(np.float32),
  "tiny": (1e-40 * NORMAL).astype(np.float32),
  "huge": RANDOM.uniform(-1.5e38, 1.5e38, ROWS).astype(np.float32),
  "signed zeros": RANDOM.choice(np.array([-1.0, -0.0, 0.0, 1.0]), ROWS),
}


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


def test_nothing_is_rounded_into_a_tie() -> None:
  labels = np.array([0, 1])
  neighbours = np.array([1.0, np.nextafter(1.0, 2.0)])  # equal as float32
  assert auc(labels, neighbours).value == 1.0
  saturated = np.array([20.0, 21.0], np.float32)  # both have a float32 sigmoid of 1
  assert evaluate_binary(labels, saturated)["auc"] == 1.0


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


def test_one_row_has_a_figure_but_no_interval() -> None:
  for labels in ([0, 1, 0], [1, 0, 1]):
    measured = evaluate_binary(np.array(labels), np.array([0.0, 1.0, 2.0]))
    assert (measured["auc"], measured["ci95"]) == (0.5, None)
  measured = evaluate_regression(np.array([5.0]), np.array([2.0]))
  assert (measured["rmse"], measured["ci95"]) == (3.0, None)


def test_the_auc_interval_covers_the_truth_95_times_in_100() -> None:
  random = np.random.default_rng(3)
  truth = 0.5 * (1 + math.erf(1.0 / 2))  # positives one standard deviation higher
  covered, repeats = 0, 1000
  for _ in range(repeats):
    labels = np.repeat([1, 0], [40, 400])
    low, high = auc(labels, random.normal(size=440) + labels).ci95
    covered += low <= truth <= high
  assert 0.93 <= covered / repeats <= 0.97


def test_the_rmse_interval_covers_the_truth_95_times_in_100() -> None:
  random = np.random.default_rng(4)
  covered, repeats = 0, 1000
  for _ in range(repeats):
    low, high = evaluate_regression(np.zeros(400), random.normal(scale=3, size=400))["ci95"]
    covered += low <= 3 <= high
  assert 0.93 <= covered / repeats <= 0.97


def test_the_rmse_interval_is_the_delta_method_on_the_log_of_the_mean_square() -> None:
  squares = np.array([1.0, 4.0, 9.0, 4.0])
  measured = evaluate_regression(np.zeros(4), np.sqrt(squares))
  mse, error = squares.mean(), squares.std(ddof=1) / 2
  low, high = np.sqrt(mse) * np.exp(np.array([-1, 1]) * 1.959964 * error / mse / 2)
  assert measured["ci95"] == pytest.approx([low, high], rel=1e-6)


def test_logloss_and_calibration_equal_scikit_learn() -> None:
  labels, logits = LABELS, 3 * SCORES["float64"] - 2
  probabilities = 1 / (1 + np.exp(-logits))
  measured = evaluate_binary(labels, logits)
  assert measured["logloss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-12)
  assert measured["calibration"] == pytest.approx(probabilities.mean() / labels.mean(), rel=1e-6)


@pytest.mark.parametrize("logit", [-3e38, -1000.0, -40.0, 0.0, 1.0, 40.0, 100.0, 1000.0, 3e38])
@pytest.mark.parametrize("label", [0, 1])
def test_logloss_is_exact_however_extreme_the_logit(logit: float, label: int) -> None:
  logit32 = np.float32(logit)
  measured = evaluate_binary(np.array([label, label]), np.array([logit32, logit32]))
  wrong = Decimal(float(logit32)) * (1 - 2 * label)
  expected = (1 + wrong.exp()).ln() if wrong < 200 else wrong
  # Decimal has 28 digits, so below 1e-16 the sum above keeps few of them and exp(x) is the loss.
  expected = wrong.exp() if wrong < -30 else expected
  assert measured["logloss"] == pytest.approx(float(expected), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("kind", SCORES)
def test_rmse_and_calibration_equal_scikit_learn(kind: str) -> None:
  predictions = SCORES[kind]
  labels = 2 + SCORES["float32"][::-1]
  measured = evaluate_regression(labels, predictions)
  wide = predictions.astype(np.float64), labels.astype(np.float64)
  expected = math.sqrt(mean_squared_error(wide[1], wide[0]))
  assert measured["rmse"] == pytest.approx(expected, rel=1e-12)
  assert measured["calibration"] == pytest.approx(wide[0].mean() / wide[1].mean(), rel=1e-9)


def test_rmse_is_taken_in_float64() -> None:
  labels = np.full(1000, 10_000, np.float16)
  predictions = np.zeros(1000, np.float16)  # the squares overflow float16
  assert evaluate_regression(labels, predictions)["rmse"] == 10_000
  labels = np.full(2, 2.0**24 + 2, np.float32)
  assert evaluate_regression(labels, np.ones(2, np.float32))["rmse"] == 2.0**24 + 1


def test_rows_without_a_label_are_left_out_even_when_their_prediction_is_nan() -> None:
  labels = np.array([NAN, 1, 0, NAN, 1, 0, 1], np.float32)
  outputs = np.array([NAN, 3, 1, -9, 2, 4, 5], np.float32)
  kept = ~np.isnan(labels)
  for measure in (evaluate_binary, evaluate_regression):
    measured = measure(labels, outputs)
    assert measured == measure(labels[kept], outputs[kept])
    assert (measured["rows"], measured["nonfinite"]) == (5, 0)
  assert evaluate_binary(labels, outputs)["positives"] == 3


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_one_non_finite_prediction_leaves_counts_and_no_figure(bad: float) -> None:
  labels = np.array([0, 1, 0, 1, NAN])
  outputs = np.array([0.0, 1.0, bad, bad, bad], np.float32)
  counts = {"rows": 4, "nonfinite": 2}
  no_figure = {"ci95": None, "calibration": None}
  assert evaluate_binary(labels, outputs) == {
    "kind": "binary", "auc": None, "logloss": None, "positives": 2, **no_figure, **counts
  }  # fmt: skip
  assert evaluate_regression(labels, outputs) == {
    "kind": "regression", "rmse": None, **no_figure, **counts
  }  # fmt: skip


def test_a_task_without_any_label_has_zero_rows_and_no_figure() -> None:
  for rows in (0, 3):
    labels, outputs = np.full((rows, 2), NAN), np.zeros((rows, 2))
    measured = evaluate(TASKS, KNOWN, labels, outputs)
    assert measured["click"] == {
      "kind": "binary", "auc": None, "ci95": None, "rows": 0, "positives": 0, "logloss": None,
      "calibration": None, "nonfinite": 0,
    }  # fmt: skip
    assert measured["rating"] == {
      "kind": "regression", "rmse": None, "ci95": None, "rows": 0, "calibration": None,
      "nonfinite": 0,
    }  # fmt: skip


def test_one_class_keeps_the_figures_that_it_has() -> None:
  negative = evaluate_binary(np.zeros(4), np.zeros(4))
  assert negative["logloss"] == pytest.approx(math.log(2))
  assert (negative["auc"], negative["ci95"], negative["calibration"]) == (None, None, None)
  assert evaluate_binary(np.ones(4), np.zeros(4))["calibration"] == 0.5


def test_labels_that_sum_to_zero_have_no_calibration() -> None:
  assert evaluate_regression(np.array([-1.0, 1.0]), np.ones(2))["calibration"] is None


@pytest.mark.parametrize("kind", [*SCORES, "all equal", "too large to square", "one nan"])
def test_result_is_json_without_nan_whatever_the_outputs(kind: str) -> None:
  labels = np.stack([LABELS[:300], LABELS[:300]], axis=1)
  special = {"all equal": labels[:, 0], "too large to square": np.full(300, 1e300)}
  special["one nan"] = np.where(np.arange(300) == 7, NAN, 0.0)
  output = special[kind] if kind in special else SCORES[kind][:300]
  measured = evaluate(TASKS, KNOWN, labels, np.stack([output, output], axis=1))
  assert json.loads(json.dumps(measured, allow_nan=False)) == measured


def test_each_task_is_measured_on_its_own_column_by_its_own_kind() -> None:
  labels = np.stack([LABELS[:200], SCORES["float32"][:200]], axis=1)
  outputs = np.stack([SCORES["float32"][:200], SCORES["tied"][:200]], axis=1)
  assert evaluate(TASKS, KNOWN, labels, outputs) == {
    "click": evaluate_binary(labels[:, 0], outputs[:, 0]),
    "rating": evaluate_regression(labels[:, 1], outputs[:, 1]),
  }


def test_result_has_the_fields_of_the_run_directory() -> None:
  measured = evaluate(TASKS, KNOWN, np.array([[0, 1], [1, 2]]), np.zeros((2, 2)))
  common = {"kind", "ci95", "rows", "calibration", "nonfinite"}
  assert set(measured["click"]) == common | {"auc", "positives", "logloss"}
  assert set(measured["rating"]) == common | {"rmse"}


@pytest.mark.parametrize(
  ("labels", "outputs"), [((4, 2), (3, 2)), ((4, 3), (4, 3)), ((4,), (4,)), ((4, 2), (4, 2, 1))]
)
def test_wrong_shapes_are_named_in_one_line(
  labels: tuple[int, ...], outputs: tuple[int, ...]
) -> None:
  with pytest.raises(ValueError, match=r"must both be \[rows, 2\], one column per task") as raised:
    evaluate(TASKS, KNOWN, np.zeros(labels), np.zeros(outputs))
  assert f"got {list(labels)} and {list(outputs)}" in str(raised.value)
  assert "\n" not in str(raised.value)


@pytest.mark.parametrize("measure", [auc, evaluate_binary, evaluate_regression])
def test_one_task_takes_two_columns_of_one_length(
  measure: Callable[[Array, Array], object],
) -> None:
  for shapes in (((3,), (4,)), ((3, 1), (3, 1)), ((3,), (3, 1))):
    with pytest.raises(ValueError, match=r"must both be \[rows\]; got \[3"):
      measure(*map(np.zeros, shapes))


def test_a_label_outside_its_kind_is_named_with_its_task() -> None:
  outputs = np.zeros((2, 2))
  with pytest.raises(ValueError, match=r"task click: a binary label must be 0 or 1,.* got 0\.5"):
    evaluate(TASKS, KNOWN, np.array([[0.5, 1], [1, 1]]), outputs)
  with pytest.raises(ValueError, match="task rating: a regression label must be finite"):
    evaluate(TASKS, KNOWN, np.array([[0, np.inf], [1, 1]]), outputs)
  with pytest.raises(ValueError, match="got nan"):
    auc(np.array([0, 1, NAN]), np.zeros(3))


def test_tasks_are_read_from_strided_and_integer_columns_without_change() -> None:
  labels, outputs = LABELS[:50].astype(np.int64), SCORES["float32"][:50]
  before = outputs.copy()
  assert evaluate_binary(labels[::2], outputs[::2]) == evaluate_binary(
    labels[::2].astype(np.float32), outputs[::2].copy()
  )
  np.testing.assert_array_equal(outputs, before)
