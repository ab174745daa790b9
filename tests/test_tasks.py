"""What holds for every kind of task, on labels of 0 and 1, which all of them take."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from ranking.array import Array
from ranking.tasks import KINDS, MEASURES, LabelStatistics, Task, evaluate, evaluate_truth, headline
from tests.scores import LABELS, SCORES

TASKS = (Task("click", "binary"), Task("rating", "regression"))
FEW = np.array([1, 0, 0, 0, 1], np.float32)
NAN = math.nan
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def known(kind: str, labels: Array) -> LabelStatistics:
  return LabelStatistics.of(labels, KINDS[kind].counts_levels)


def losses(kind: str, labels: Array, outputs: Array | float) -> Array:
  """Of rows, in float32, by a task that saw FEW in the training days."""
  outputs = outputs if isinstance(outputs, float) else tf.constant(outputs, tf.float32)
  found: Array = KINDS[kind].losses(tf.constant(labels), outputs, known(kind, FEW)).numpy()
  assert found.dtype == np.float32
  return found


def measured(kind: str, labels: Array, outputs: Array) -> dict[str, object]:
  return KINDS[kind].evaluate(labels, outputs, known(kind, FEW))


@EVERY_KIND
def test_no_other_constant_loses_less_on_the_training_days(kind: str) -> None:
  best = KINDS[kind].constant_output(known(kind, FEW))
  least = losses(kind, FEW, best).mean()
  for other in (best - 1, best - 0.05, best + 0.05, best + 1):
    assert losses(kind, FEW, other).mean() > least


@EVERY_KIND
def test_a_constant_loses_what_equal_outputs_lose(kind: str) -> None:
  np.testing.assert_array_equal(
    losses(kind, FEW, 0.75), losses(kind, FEW, np.full(5, 0.75, np.float32))
  )


@EVERY_KIND
def test_the_loss_of_a_row_of_day_n_is_that_of_training(kind: str) -> None:
  outputs = np.concatenate([SCORES["float32"][:200] * 4 - 2, [-40, 40, 0, 0]]).astype(np.float32)
  labels = np.concatenate([LABELS[:200], [0, 1, 0, 1]]).astype(np.float32)
  found = KINDS[kind].row_losses(labels, outputs, known(kind, FEW))
  assert found.dtype == np.float64
  np.testing.assert_allclose(found, losses(kind, labels, outputs), rtol=1e-5, atol=1e-6)


@EVERY_KIND
def test_the_relative_loss_is_1_of_the_best_constant_and_above_it_of_what_is_surely_worse(
  kind: str,
) -> None:
  labels, of = LABELS[:400], known(kind, FEW)
  constant = np.full(400, KINDS[kind].constant_output(of))
  ratio = losses(kind, labels, constant + 1).mean() / losses(kind, labels, constant).mean()
  for outputs, expected in ((constant, 1.0), (constant + 1, ratio)):
    found = KINDS[kind].evaluate(labels, outputs, of)
    assert found["relative_loss"] == pytest.approx(expected, rel=1e-5)
  better, worse = (KINDS[kind].evaluate(labels, constant + s * (labels - 0.4), of) for s in (1, -1))
  assert better["relative_loss_ci95"][1] < 1 < worse["relative_loss_ci95"][0]


@EVERY_KIND
@pytest.mark.parametrize("output", [-1e4, -50.0, -1.0, 0.0, 1.0, 50.0, 1e4])
def test_no_output_has_a_loss_or_gradient_that_is_not_finite_or_a_loss_below_zero(
  kind: str, output: float
) -> None:
  outputs = tf.Variable(np.full(5, output, np.float32))
  with tf.GradientTape() as tape:
    found = KINDS[kind].losses(tf.constant(FEW), outputs, known(kind, FEW))
  gradient = tape.gradient(found, outputs).numpy()
  assert np.isfinite(found).all()
  assert np.isfinite(gradient).all()
  assert (found.numpy() >= 0).all()
  if output in (-1e4, 1e4):  # the rows that are wrong are pulled back
    wrong = (output < 0) == FEW
    assert (np.sign(gradient[wrong]) == np.sign(output)).all()


@EVERY_KIND
def test_a_label_that_never_varies_or_is_on_no_row_has_a_finite_best_constant(kind: str) -> None:
  for labels in (np.zeros(3), np.ones(3), np.full(3, NAN)):
    of = known(kind, labels)
    constant = KINDS[kind].constant_output(of)
    assert math.isfinite(constant)
    assert np.isfinite(KINDS[kind].losses(tf.constant(FEW), constant, of)).all()


@EVERY_KIND
def test_rows_without_a_label_are_left_out_even_when_their_output_is_nan(kind: str) -> None:
  labels = np.array([NAN, 1, 0, NAN, 1, 0, 1], np.float32)
  outputs = np.array([NAN, 3, 1, -9, 2, 4, 5], np.float32)
  kept = ~np.isnan(labels)
  found = measured(kind, labels, outputs)
  assert found == measured(kind, labels[kept], outputs[kept])
  assert (found["rows"], found["nonfinite"]) == (5, 0)
  assert found.get("positives", 3) == 3


@EVERY_KIND
@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_one_output_that_is_not_finite_leaves_counts_and_no_figure(kind: str, bad: float) -> None:
  labels = np.array([0, 1, 0, 1, NAN])
  found = measured(kind, labels, np.array([0.0, 1.0, bad, bad, bad], np.float32))
  counts = {"kind": kind, "rows": 4, "nonfinite": 2}
  if KINDS[kind].counts_positives:
    counts["positives"] = 2
  figures = {KINDS[kind].measure.name, "ci95", "relative_loss", "relative_loss_ci95", "calibration"}
  if KINDS[kind].has_logloss:
    figures.add("logloss")
  assert found == {**counts, **dict.fromkeys(figures)}


@EVERY_KIND
def test_a_task_without_any_label_has_zero_rows_and_no_figure(kind: str) -> None:
  for rows in (0, 3):
    found = measured(kind, np.full(rows, NAN), np.zeros(rows))
    assert (found["rows"], found["nonfinite"], found[KINDS[kind].measure.name]) == (0, 0, None)


@EVERY_KIND
@pytest.mark.parametrize("trained_on", [[NAN, NAN], [0.0, 0.0, NAN], [1.0, 1.0], [0.0, 1.0]])
def test_a_task_that_the_training_days_could_not_teach_has_no_figure(
  kind: str, trained_on: list[float]
) -> None:
  labels = np.array([0.0, 1.0, 1.0, 0.0])
  found = KINDS[kind].evaluate(labels, labels, known(kind, np.array(trained_on)))
  taught = not np.isnan(trained_on).all() and (kind != "binary" or 0 < np.nanmean(trained_on) < 1)
  assert (found[KINDS[kind].measure.name] is not None) == taught
  assert (found["calibration"] is not None) == taught
  assert (found["rows"], found["nonfinite"]) == (4, 0)


@EVERY_KIND
@pytest.mark.parametrize("sort", [*SCORES, "all equal", "too large to square", "one nan"])
def test_a_result_is_json_without_nan_whatever_the_outputs(kind: str, sort: str) -> None:
  labels = LABELS[:300]
  special = {"all equal": labels, "too large to square": np.full(300, 1e300)}
  special["one nan"] = np.where(np.arange(300) == 7, NAN, 0.0)
  output = special[sort] if sort in special else SCORES[sort][:300]
  found = measured(kind, labels, output)
  assert json.loads(json.dumps(found, allow_nan=False)) == found


@EVERY_KIND
def test_a_difference_is_that_of_the_figures_and_its_sign_that_of_the_measure(kind: str) -> None:
  random, measure = np.random.default_rng(1), KINDS[kind].measure
  labels = LABELS[:400]
  good, bad = labels + random.normal(size=(2, 400)) * [[0.3], [3.0]]
  found = KINDS[kind].difference(labels, good, bad, np.arange(400))
  of_each = [measured(kind, labels, outputs)[measure.name] for outputs in (good, bad)]
  assert found.value == pytest.approx(of_each[0] - of_each[1])  # type: ignore[operator]
  assert found.value * measure.better > 0
  assert found.p < 0.05


@EVERY_KIND
def test_a_model_that_knows_the_expected_labels_is_calibrated(kind: str) -> None:
  random = np.random.default_rng(3)
  means = random.uniform(0.1, 0.9, size=4000)
  labels = (random.random(4000) < means).astype(np.float32)
  task, of = Task("it", kind), known(kind, labels)
  found = evaluate_truth((task,), (of,), labels[:, None], means[:, None])["it"]
  assert found["calibration"] == pytest.approx(means.mean() / labels.mean(), rel=1e-6)


def test_each_task_is_measured_on_its_own_column_by_its_own_kind() -> None:
  labels = np.stack([LABELS[:200], SCORES["float32"][:200]], axis=1)
  outputs = np.stack([SCORES["float32"][:200], SCORES["tied"][:200]], axis=1)
  of = LabelStatistics(9, 0.5, 0.25)
  assert evaluate(TASKS, (of, of), labels, outputs) == {
    "click": KINDS["binary"].evaluate(labels[:, 0], outputs[:, 0], of),
    "rating": KINDS["regression"].evaluate(labels[:, 1], outputs[:, 1], of),
  }


def test_a_result_has_the_fields_of_the_run_directory_in_their_order() -> None:
  of = LabelStatistics(9, 0.5, 0.25)
  found = evaluate(TASKS, (of, of), np.array([[0, 1], [1, 2]]), np.zeros((2, 2)))
  relative = ["relative_loss", "relative_loss_ci95", "calibration", "nonfinite"]
  assert [*found["click"]] == ["kind", "auc", "ci95", "rows", "positives", "logloss", *relative]
  assert [*found["rating"]] == ["kind", "rmse", "ci95", "rows", *relative]


@pytest.mark.parametrize(
  ("labels", "outputs"), [((4, 2), (3, 2)), ((4, 3), (4, 3)), ((4,), (4,)), ((4, 2), (4, 2, 1))]
)
def test_wrong_shapes_are_named_in_one_line(
  labels: tuple[int, ...], outputs: tuple[int, ...]
) -> None:
  of = LabelStatistics(9, 0.5, 0.25)
  with pytest.raises(ValueError, match=r"must both be \[rows, 2\], one column per task") as raised:
    evaluate(TASKS, (of, of), np.zeros(labels), np.zeros(outputs))
  assert f"got {list(labels)} and {list(outputs)}" in str(raised.value)
  assert "\n" not in str(raised.value)


def test_a_label_outside_its_kind_is_named_with_its_task() -> None:
  of = LabelStatistics(9, 0.5, 0.25)
  with pytest.raises(ValueError, match=r"^task click is binary but holds 0\.5; make it 0 or 1"):
    evaluate(TASKS, (of, of), np.array([[0.5, 1], [1, 1]]), np.zeros((2, 2)))
  with pytest.raises(ValueError, match=r"^task rating holds an infinite value; drop or clip"):
    evaluate(TASKS, (of, of), np.array([[0, np.inf], [1, 1]]), np.zeros((2, 2)))


def test_a_kind_that_there_is_not_is_named_with_the_nearest() -> None:
  with pytest.raises(ValueError, match=r"^task rating is of kind 'regresion', .*'regression'$"):
    Task("rating", "regresion")


def test_runs_are_chosen_by_the_first_task_that_ranks_rows() -> None:
  assert headline({"rating": "regression", "click": "binary", "like": "binary"}) == "click"
  assert headline({"rating": "regression", "seconds": "regression"}) == "rating"


def test_a_measure_is_printed_with_its_unit_and_direction() -> None:
  auc, rmse = MEASURES["auc"], MEASURES["rmse"]
  assert (auc.axis, auc.heading, auc.text(0.71234)) == ("AUC (%)", "AUC (%) ↑", "71.23")
  assert (rmse.axis, rmse.heading, rmse.text(0.71234)) == ("RMSE", "RMSE ↓", "0.712")


def test_statistics_read_from_json_are_those_written_and_older_ones_have_no_levels() -> None:
  of = LabelStatistics.of(np.array([3, 1, NAN, 3], np.float32), count_levels=True)
  assert of.levels == ((1.0, 1), (3.0, 2))
  assert of.rows == 3
  assert of.mean == pytest.approx(7 / 3)
  entry = json.loads(json.dumps({"rows": 3, "mean": of.mean, "variance": of.variance}))
  assert LabelStatistics.from_json(entry).levels == ()
  assert LabelStatistics.from_json({**entry, "levels": [[1.0, 1], [3.0, 2]]}) == of
