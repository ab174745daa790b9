"""Rows that do not count the same: their weights reach losses, constants and figures."""

import dataclasses
import functools
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score

from ranking.array import Array
from ranking.data import window
from ranking.data.prepare import prepare
from ranking.data.schema import DataError
from ranking.data.sources.table import Table
from ranking.data.store import DayStore
from ranking.measures.differences import auc_difference, concordance_difference, rmse_difference
from ranking.measures.loss import mean_loss
from ranking.measures.probabilities import deciles, normalised_entropy
from ranking.tasks import KINDS, LabelStatistics
from tests import toy_model

ROWS = 90


def store_of(folder: Path, weights: list[str], described: bool = True) -> DayStore:
  """Three days of 30 rows; `row` says which a row is, and every third has no `seen`."""
  lines = ["time,id,row,seen,w"]
  for k, weight in enumerate(weights):
    day, minute = 1 + 3 * k // ROWS, k % 30
    lines.append(f"2026-03-0{day}T12:{minute:02d},a,{k},{'' if k % 3 else 1},{weight}")
  folder.mkdir(exist_ok=True)
  (folder / "log.csv").write_text("\n".join(lines))
  source = Table(
    raw=str(folder / "log.csv"),
    categorical=["id"],
    binary=["seen"],
    regression=["row"],
    weight="w" if described else None,
  )
  return prepare(source, folder / "store")


def test_a_loss_is_the_mean_over_rows_as_if_each_were_there_as_often_as_it_counts(
  tmp_path: Path,
) -> None:
  weights = np.random.default_rng(0).integers(0, 4, ROWS)
  store = store_of(tmp_path, [str(weight) for weight in weights])
  batches = window.train_batches(store.train_days, 16, 24.0, seed=0)
  for step in range(len(batches)):
    *_, labels, of_batch = batches.batch(step)
    for task, values in enumerate(labels.T):
      known = of_batch[:, task] > 0
      rows = labels[known, 1].astype(int)  # a row whose weight is 0 is not there
      repeated = np.repeat(values[known].astype(np.float64), weights[rows])
      loss = (of_batch[:, task].astype(np.float64) * values).sum()
      np.testing.assert_allclose(loss, repeated.mean() if len(repeated) else 0.0, rtol=1e-6)
    slices = [batches.batch(step, part, 2)[4] for part in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(slices), of_batch)


def test_equal_weights_change_nothing(tmp_path: Path) -> None:
  one = store_of(tmp_path / "one", ["2.5"] * ROWS)
  other = store_of(tmp_path / "other", ["2.5"] * ROWS, described=False)
  assert (one.schema.weighted, other.schema.weighted) == (True, False)
  assert other.eval_day.weights is None
  for step in range(3):
    for ours, theirs in zip(
      window.train_batches(one.train_days, 20, 24.0, 0).batch(step),
      window.train_batches(other.train_days, 20, 24.0, 0).batch(step),
      strict=True,
    ):
      np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_batch_whose_rows_count_nothing_has_no_loss(tmp_path: Path) -> None:
  store = store_of(tmp_path, [*["0"] * 20, *["1"] * 10] * 3)
  *_, of_batch = window.train_batches(store.train_days, 16, 0.0, seed=0).batch(0)
  assert (of_batch == 0).all()


def test_a_day_of_which_no_row_counts_is_refused(tmp_path: Path) -> None:
  message = r"^all weights of 2026-03-02 are 0, so no row of that day counts; mend them, or leave"
  with pytest.raises(DataError, match=message):
    store_of(tmp_path, [*["1"] * 30, *["0"] * 30, *["1"] * 30])


def test_statistics_of_labels_and_so_the_best_constants_are_those_of_repeated_rows(
  tmp_path: Path,
) -> None:
  weights = np.random.default_rng(1).integers(0, 4, ROWS)
  known = store_of(tmp_path, [str(weight) for weight in weights]).schema.label_statistics
  row, times = np.arange(60.0), weights[:60]
  for found, labels in zip(known, (np.where(row % 3, np.nan, 1), row), strict=True):
    expected = LabelStatistics.of(np.repeat(labels, times))
    assert found.mean == pytest.approx(expected.mean, rel=1e-12)
    assert found.variance == pytest.approx(expected.variance, rel=1e-12, abs=1e-15)
    assert found.rows == np.count_nonzero(~np.isnan(labels) & (times > 0))
  stars, often = np.array([1.0, 2.0, 2.0, np.nan, 3.0]), np.array([2.0, 1.0, 3.0, 9.0, 0.0])
  by_weight = LabelStatistics.of(stars, True, often)
  repeated = LabelStatistics.of(np.repeat([1.0, 2.0], [2, 4]), True)
  assert (by_weight.rows, by_weight.levels) == (3, repeated.levels)
  assert by_weight.variance == pytest.approx(repeated.variance, rel=1e-12)


def test_labels_of_unequal_weight_say_as_much_as_fewer_of_equal_ones() -> None:
  of = toy_model.schema()
  batch, plain = toy_model.batch(of, 64), toy_model.all_parts().build(of)
  network = toy_model.all_parts().build(dataclasses.replace(of, weighted=True))
  weights = batch["weights"].numpy() * np.random.default_rng(0).random((64, 1)) ** 4
  above = batch["labels"].numpy() > np.float32(toy_model.KNOWN.mean)

  def equal(of_side: Array) -> Array:
    own = weights * of_side
    return np.asarray(own.sum(axis=0) ** 2 / np.square(own).sum(axis=0))

  counted = network.label_counts({**batch, "weights": tf.constant(weights, tf.float32)})
  np.testing.assert_allclose(counted[0], equal(above) + equal(~above), rtol=1e-4)
  np.testing.assert_allclose(counted[1], equal(above), rtol=1e-4)
  assert (counted[0].numpy() < np.count_nonzero(weights, axis=0) / 2).all()
  for ours, theirs in zip(network.label_counts(batch), plain.label_counts(batch), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def of_kind(kind: str, seed: int, rows: int = 300) -> tuple[Array, Array, Array]:
  """Labels, some of them missing, outputs with ties, and weights from 0 to 4."""
  random = np.random.default_rng(seed)
  labels = {
    "binary": random.integers(0, 2, rows).astype(float),
    "ordered": random.integers(1, 5, rows).astype(float),
    "count": random.poisson(1.5, rows).astype(float),
    "regression": random.normal(2, 3, rows),
  }[kind]
  outputs = np.round(0.3 * labels + random.normal(size=rows), 1)
  labels[random.random(rows) < 0.1] = np.nan
  return labels, outputs, random.integers(0, 5, rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_rows_repeated_as_often_as_they_count(kind: str, seed: int) -> None:
  labels, outputs, times = of_kind(kind, seed)
  known = LabelStatistics.of(labels, KINDS[kind].counts_levels)
  found = KINDS[kind].evaluate(labels, outputs, known, times)
  again = KINDS[kind].evaluate(np.repeat(labels, times), np.repeat(outputs, times), known)
  measure = KINDS[kind].measure
  if measure.ranks:
    assert found[measure.name] == again[measure.name]  # whole numbers up to one division
  for name in (measure.name, "logloss", "relative_loss", "calibration"):
    if name in again:
      assert found[name] == pytest.approx(again[name], rel=1e-13)
  assert found["rows"] == np.count_nonzero(~np.isnan(labels) & (times > 0))
  low, high = found["ci95"]
  narrow, wide = again["ci95"]  # repetitions say nothing new
  assert low < narrow < wide < high
  equal = KINDS[kind].evaluate(labels, outputs, known, np.full(len(labels), 2.5))
  plain = KINDS[kind].evaluate(labels, outputs, known)
  for name in ("ci95", "relative_loss_ci95"):
    assert equal[name] == pytest.approx(plain[name], rel=1e-12)
  assert equal[measure.name] == pytest.approx(plain[measure.name], rel=1e-13)


def test_figures_are_scikit_learns_of_weighted_samples() -> None:
  labels, outputs, times = of_kind("binary", 7)
  weights = times * np.random.default_rng(1).random(len(times))
  kept = ~np.isnan(labels) & (weights > 0)
  labels, outputs, weights = labels[kept], outputs[kept], weights[kept]
  found = KINDS["binary"].evaluate(labels, outputs, LabelStatistics.of(labels), weights)
  given = {"sample_weight": weights}
  probabilities = 1 / (1 + np.exp(-outputs))
  assert found["auc"] == pytest.approx(roc_auc_score(labels, outputs, **given), rel=1e-12)
  assert found["logloss"] == pytest.approx(log_loss(labels, probabilities, **given), rel=1e-12)
  squared = KINDS["regression"].evaluate(labels, outputs, LabelStatistics.of(labels), weights)
  expected = math.sqrt(mean_squared_error(labels, outputs, **given))
  assert squared["rmse"] == pytest.approx(expected, rel=1e-12)


def test_entropy_and_tenths_are_those_of_repeated_rows() -> None:
  labels, outputs, times = (column[:280] for column in of_kind("binary", 5))
  kept = ~np.isnan(labels) & (times > 0)
  labels, times = labels[kept], times[kept]
  predictions = 1 / (1 + np.exp(-outputs[kept]))
  again = np.repeat(labels, times), np.repeat(predictions, times)
  weights = times.astype(float)
  assert normalised_entropy(0.6, labels, weights) == pytest.approx(
    normalised_entropy(0.6, again[0])
  )
  found, expected = deciles(labels, predictions, weights), deciles(*again)
  assert sum(tenth.rows for tenth in found) == len(labels)
  np.testing.assert_allclose(np.array(found)[:, 1:], np.array(expected)[:, 1:], rtol=1e-12)


def test_weighted_intervals_cover_the_truth_95_times_in_100() -> None:
  """Rows that were thinned out, and count as often as there were such rows."""
  random, covered = np.random.default_rng(0), np.zeros(3)
  truth = 0.7602  # of a normal score one deviation higher for positives
  for _ in range(150):
    labels = (random.random(3000) < 0.3).astype(float)
    scores = random.normal(size=3000) + labels
    share = np.where(scores > 0.5, 1.0, 0.2)
    kept = random.random(3000) < share
    columns = labels[kept], scores[kept]
    low, high = (
      KINDS["binary"].figures(*columns, LabelStatistics(9, 0.3, 0.2), 1 / share[kept]).ci95
    )
    covered[0] += low < truth < high
    low, high = mean_loss(np.square(columns[1] - columns[0]), 1 / share[kept]).ci95
    covered[1] += low < 1 < high
    users = np.arange(kept.sum())
    other = columns[1] + random.normal(size=kept.sum())
    better = auc_difference(*columns, other, users, 1 / share[kept])
    covered[2] += better.ci95[0] < truth - 0.6915 < better.ci95[1]  # its noise is twice as large
  assert (covered / 150 >= 0.91).all()
  assert (covered / 150 <= 0.99).all()


def test_differences_are_those_of_repeated_rows() -> None:
  labels, first, times = of_kind("ordered", 2)
  second, users = first + np.random.default_rng(3).normal(size=300), np.arange(300) % 40
  columns = (labels, first, second, users)
  again = [np.repeat(column, times) for column in columns]
  of_rmse = functools.partial(rmse_difference, resamples=50)
  for test in (concordance_difference, of_rmse):
    found, expected = test(*columns, weights=times), test(*again)
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    # A user's rows come together, so that repeating them changes nothing but how many there are.
    assert found.standard_error == pytest.approx(expected.standard_error, rel=1e-9)
    plain = test(*columns)
    equal = test(*columns, weights=np.full(300, 0.5))
    assert equal.value == pytest.approx(plain.value, rel=1e-12)
    assert equal.standard_error == pytest.approx(plain.standard_error, rel=1e-9)


@pytest.mark.parametrize("weight", ["", "-1", "x", "inf"])
def test_a_row_without_a_weight_it_could_have_is_refused(tmp_path: Path, weight: str) -> None:
  with pytest.raises(DataError, match=r"line 6 column w .* where a weight of 0 or more belongs"):
    store_of(tmp_path, [*["1"] * 4, weight, *["1"] * (ROWS - 5)])


def test_a_damaged_array_of_weights_is_named(tmp_path: Path) -> None:
  store = store_of(tmp_path, ["1"] * ROWS)
  path = store.directory / "2026-03-01" / "weights.npy"
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)
  with pytest.raises(DataError, match=r"weights\.npy is damaged"):
    window.train_batches(DayStore(store.directory).train_days, 16, 24.0, 0).batch(0)
