"""Two runs are compared on the same rows of day N, or not at all."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ranking.array import Array
from ranking.data.lookback import Lookback
from ranking.data.prepare import prepare
from ranking.data.store import DayStore
from ranking.evaluation.predictions import Predictions
from ranking.evaluation.users import users
from ranking.measures.differences import Difference, auc_difference, rmse_difference
from ranking.sweeps.paired import over_seeds
from tests.conftest import ROWS_PER_DAY, TinySource
from tests.frames import FrameLog

LAST = slice(sum(ROWS_PER_DAY[:-1]), None)


@pytest.fixture
def store(tiny_log: FrameLog, tmp_path: Path) -> DayStore:
  return prepare(TinySource(tiny_log), tmp_path / "store")


def outputs(of: DayStore, seed: int) -> Array:
  """float32 [n, T], of a model that knows something."""
  labels, random = np.nan_to_num(of.eval_day.labels), np.random.default_rng(seed)
  return (labels + random.normal(size=labels.shape)).astype(np.float32)


def run(folder: Path, of: DayStore, seed: int = 0) -> Path:
  """What a finished run leaves for a comparison."""
  folder.mkdir(parents=True)
  Predictions.of(outputs(of, seed), of).save(folder)
  (folder / "result.json").write_text(json.dumps({"status": "ok", "store": str(of.directory)}))
  return folder


def compare(first: Path, second: Path, task: str) -> Difference:
  return over_seeds([(first, second)], task)


def test_rows_of_a_user_share_a_number_and_rows_of_unknown_ones_have_their_own(
  store: DayStore, tiny_log: FrameLog
) -> None:
  made = users(store.schema, store.eval_day)
  assert made.dtype == np.int64
  raw, train = tiny_log.categorical.user_id[LAST], tiny_log.categorical.user_id[: LAST.start]
  rows = train.value_counts()
  kinds = [0, 0, 0]  # known, rare, unseen or missing
  for number, user in zip(made, raw, strict=True):
    seen = int(rows.get(user, 0))
    kinds[0 if seen >= 3 else 1 if seen else 2] += 1
    alike = made == number
    np.testing.assert_array_equal(alike, raw == user if seen >= 3 else made == number)
    assert seen >= 3 or alike.sum() == 1
  assert min(kinds) >= 2


def test_without_entities_every_row_is_its_own_user(tiny_log: FrameLog, tmp_path: Path) -> None:
  log = dataclasses.replace(tiny_log, entities=(), rated_tasks=())
  made = prepare(TinySource(log), tmp_path)
  np.testing.assert_array_equal(users(made.schema, made.eval_day), np.arange(ROWS_PER_DAY[-1]))


@pytest.mark.parametrize(("task", "place"), [("click", 0), ("like", 1), ("stars", 2)])
def test_a_comparison_is_the_paired_statistic_of_labels_outputs_and_users(
  store: DayStore, tiny_log: FrameLog, tmp_path: Path, task: str, place: int
) -> None:
  runs = run(tmp_path / "a", store, 1), run(tmp_path / "b", store, 2)
  statistic = rmse_difference if task == "stars" else auc_difference
  expected = statistic(
    tiny_log.labels[task].to_numpy()[LAST],
    outputs(store, 1)[:, place],
    outputs(store, 2)[:, place],
    users(store.schema, store.eval_day),
  )
  made = compare(*runs, task)
  assert made == expected
  assert made.value != 0
  assert made.standard_error > 0
  assert compare(*runs[::-1], task).value == pytest.approx(-made.value)


def test_a_run_without_a_task_is_compared_on_those_it_has(store: DayStore, tmp_path: Path) -> None:
  whole = run(tmp_path / "whole", store, 1)
  less = run(tmp_path / "less", store.without_tasks(["click"]), 2)
  other = outputs(store.without_tasks(["click"]), 2)
  day = store.eval_day
  labels, of_users = day.labels, users(store.schema, day)
  first = outputs(store, 1)
  expected = rmse_difference(labels[:, 2], first[:, 2], other[:, 1], of_users)
  assert compare(whole, less, "stars") == expected
  assert compare(less, whole, "stars").value == -expected.value
  with pytest.raises(ValueError, match=r"less has no task 'click'; "):
    compare(whole, less, "click")


def test_runs_on_stores_with_other_features_of_the_same_rows_are_compared(
  store: DayStore, tiny_log: FrameLog, tmp_path: Path
) -> None:
  with_history = prepare(TinySource(tiny_log), tmp_path / "store", lookback=Lookback(history=3))
  assert with_history.directory != store.directory
  runs = run(tmp_path / "a", store, 1), run(tmp_path / "b", with_history, 2)
  again = runs[0], run(tmp_path / "c", store, 2)
  assert compare(*runs, "click") == compare(*again, "click")


def test_a_task_that_is_not_there_is_refused_with_the_nearest(
  store: DayStore, tmp_path: Path
) -> None:
  runs = run(tmp_path / "a", store), run(tmp_path / "b", store)
  with pytest.raises(ValueError, match=r"^\S+/a has no task 'clik'; the nearest is 'click'$"):
    compare(*runs, "clik")


def test_runs_of_different_days_are_refused(
  store: DayStore, tiny_log: FrameLog, tmp_path: Path
) -> None:
  earlier = prepare(TinySource(tiny_log), tmp_path / "store", without_last_days=1)
  runs = run(tmp_path / "a", store), run(tmp_path / "b", earlier)
  message = r"^\S+/a was evaluated on 2024-03-04 and \S+/b on 2024-03-03; compare runs of one day$"
  with pytest.raises(ValueError, match=message):
    compare(*runs, "click")


@pytest.mark.parametrize("changed", ["label", "time"])
def test_runs_on_different_rows_of_one_day_are_refused(
  store: DayStore, tiny_log: FrameLog, tmp_path: Path, changed: str
) -> None:
  labels, time = tiny_log.labels.copy(), tiny_log.time.copy()
  if changed == "label":
    labels.loc[len(labels) - 1, "click"] = 1 - np.nan_to_num(labels.click.iloc[-1])
  else:
    time[-1] += 1
  log = dataclasses.replace(tiny_log, labels=labels, time=time)
  other = prepare(TinySource(log), tmp_path / "other")
  runs = run(tmp_path / "a", store), run(tmp_path / "b", other)
  message = r"^\S+/a and \S+/b were evaluated on different rows of 2024-03-04; compare runs of one"
  with pytest.raises(ValueError, match=message):
    compare(*runs, "click")
  if changed == "label":
    assert compare(*runs, "like").units > 0  # these labels are the same


def test_a_diverged_run_has_no_figure_to_compare(store: DayStore, tmp_path: Path) -> None:
  runs = run(tmp_path / "a", store), run(tmp_path / "b", store)
  lost = Predictions.of(np.full_like(outputs(store, 0), np.nan), store)
  lost.save(runs[1])
  with pytest.raises(ValueError, match="second is not finite in"):
    compare(*runs, "click")


def test_a_store_that_is_gone_is_named(store: DayStore, tmp_path: Path) -> None:
  runs = run(tmp_path / "a", store), run(tmp_path / "b", store)
  shutil.rmtree(store.directory)
  with pytest.raises(ValueError, match=rf"^{store.directory} is no day store; give the"):
    compare(*runs, "click")
