"""Rows that do not count the same: their weights reach the losses of a batch."""

from pathlib import Path

import numpy as np
import pytest

from ranking.data import window
from ranking.data.prepare import prepare
from ranking.data.schema import DataError
from ranking.data.sources.table import Table
from ranking.data.store import DayStore

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
  store = store_of(tmp_path, ["0"] * ROWS)
  *_, of_batch = window.train_batches(store.train_days, 16, 24.0, seed=0).batch(0)
  assert (of_batch == 0).all()


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
