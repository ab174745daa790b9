"""The card: its counts are the log's, and the best possible scores are those of the truth."""

import dataclasses
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_squared_error, roc_auc_score

from ranking.data import card
from ranking.data.prepare import prepare
from ranking.data.schema import Schema
from ranking.data.store import DayStore
from tests import whole_pack
from tests.conftest import DAY_NAMES, MS_PER_DAY, ROWS_PER_DAY, START, TinySource
from tests.frames import FrameLog


@pytest.fixture
def known_truth(tiny_log: FrameLog) -> FrameLog:
  """The tiny log with a truth that says something of its labels."""
  random = np.random.default_rng(5)
  noise = random.normal(size=tiny_log.labels.shape)
  noisy = tiny_log.labels.fillna(0.5) + noise
  binary = 1 / (1 + np.exp(-noisy[["click", "like"]]))
  return dataclasses.replace(tiny_log, truth=binary.assign(stars=noisy.stars))


def describe(log: FrameLog) -> dict[str, Any]:
  """The card of a store that is prepared from the log."""
  with tempfile.TemporaryDirectory() as folder:
    return prepare(TinySource(log, {"file": "abc"}), Path(folder)).card


def test_counts_per_day_are_those_of_the_log(tiny_log: FrameLog) -> None:
  made = describe(tiny_log)
  assert made["rows_per_day"] == list(ROWS_PER_DAY)
  assert made["first_time_per_day"] == [
    tiny_log.time[tiny_log.day == day].min() for day in range(4)
  ]
  by_day = tiny_log.labels.groupby(tiny_log.day)
  assert made["labelled_per_day"] == {
    task: counts.to_list() for task, counts in by_day.count().items()
  }
  positives = {task: sums.astype(int).to_list() for task, sums in by_day.sum().items()}
  assert made["positives_per_day"] == {task: positives[task] for task in ("click", "like")}


def test_unseen_rows_are_those_with_missing_and_unseen_ids_of_day_n(tiny_log: FrameLog) -> None:
  train, last = tiny_log.categorical[tiny_log.day < 3], tiny_log.categorical[tiny_log.day == 3]
  expected = {name: (~last[name].isin(train[name].dropna())).sum() for name in last}
  assert describe(tiny_log)["unseen_rows_of_day_n"] == expected
  assert expected["user_id"] > 4
  assert expected["hour"] == 0


def test_what_is_filled_and_what_is_clipped_is_counted_over_all_days(tiny_log: FrameLog) -> None:
  dense = tiny_log.dense.copy()
  name, other = dense.columns[:2]
  dense.loc[[3, 50, len(dense) - 1], name] = np.nan
  dense[other] = np.where(np.arange(len(dense)) == 40, 1e6, dense[other])
  made = describe(dataclasses.replace(tiny_log, dense=dense))
  assert made["filled_rows"][name] == dense[name].isna().sum() >= 3
  assert made["clipped_rows"][other] == 1
  page = card.to_markdown(made)
  assert f"| {made['filled_rows'][name]:,} rows ({made['filled_rows'][name] / 220:.2%}) |" in page
  past = [feature["name"] for feature in made["features"] if feature["name"].endswith("_count")]
  assert past
  assert all(made["filled_rows"][name] == 0 for name in past)


def test_a_card_says_where_the_days_are_from_and_how_they_were_cleaned(tiny_log: FrameLog) -> None:
  made = describe(tiny_log)
  assert made["time_zone"] == "UTC"
  assert made["cleaning"] == tiny_log.cleaning
  assert made["made_from"]["source"] == {"file": "abc"}
  assert made["dataset"] == "tiny"


def test_a_card_is_the_schema_of_its_store_as_json_without_nan(
  tiny_log: FrameLog, tiny_store: DayStore
) -> None:
  text = (tiny_store.directory / "schema.json").read_text()
  stored = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
  assert stored == tiny_store.card
  packed = whole_pack.pack("tiny", tiny_log).schema
  assert Schema.from_json(stored).features == packed.features
  assert (tiny_store.directory / "summary.md").read_text() == card.to_markdown(stored)


def test_the_best_possible_scores_are_those_of_the_truth_on_day_n(known_truth: FrameLog) -> None:
  best = describe(known_truth)["best_possible_on_day_n"]
  assert isinstance(best, dict)
  assert list(best) == ["click", "like", "stars"]
  assert known_truth.truth is not None
  for task in known_truth.tasks:
    rows = (known_truth.day == 3) & known_truth.labels[task.name].notna().to_numpy()
    label, truth = known_truth.labels[task.name][rows], known_truth.truth[task.name][rows]
    assert best[task.name]["rows"] == rows.sum()
    if task.kind == "binary":
      assert best[task.name]["auc"] == pytest.approx(roc_auc_score(label, truth), rel=1e-12)
      calibration = truth.mean() / label.mean()
      assert best[task.name]["calibration"] == pytest.approx(calibration, rel=1e-6)
    else:
      rmse = math.sqrt(mean_squared_error(label, truth))
      assert best[task.name]["rmse"] == pytest.approx(rmse, rel=1e-6)


def test_a_certain_truth_scores_without_an_infinite_logit(known_truth: FrameLog) -> None:
  assert known_truth.truth is not None
  certain = known_truth.truth.assign(click=known_truth.labels.click.fillna(0))
  best = describe(dataclasses.replace(known_truth, truth=certain))["best_possible_on_day_n"]
  assert isinstance(best, dict)
  assert best["click"]["auc"] == 1.0
  assert best["click"]["nonfinite"] == 0
  assert best["click"]["logloss"] == pytest.approx(0, abs=1e-9)


def test_a_source_that_does_not_know_the_truth_has_no_best_possible_score(
  tiny_log: FrameLog,
) -> None:
  made = describe(tiny_log)
  assert made["best_possible_on_day_n"] is None
  assert "true probabilities" not in card.to_markdown(made)


def test_the_summary_reads_as_a_page(known_truth: FrameLog) -> None:
  made = describe(known_truth)
  page = card.to_markdown(made)
  assert page.startswith("# tiny: 220 rows, 4 days\n\nDays in UTC; trained on all but the last, ")
  assert f"evaluated on {DAY_NAMES[-1]}.\n" in page
  assert "| day | rows | click (positives) | like (positives) | stars (labelled) |" in page
  positives, labelled = made["positives_per_day"], made["labelled_per_day"]
  assert isinstance(positives, dict)
  assert isinstance(labelled, dict)
  for day, (name, rows) in enumerate(zip(DAY_NAMES, ROWS_PER_DAY, strict=True)):
    counts = f"{positives['click'][day]} | {positives['like'][day]} | {labelled['stars'][day]}"
    assert f"| {name} | {rows} | {counts} |\n" in page
  assert "- dropped: rows that were made up twice: 3\n" in page
  best, unseen = made["best_possible_on_day_n"], made["unseen_rows_of_day_n"]
  assert isinstance(best, dict)
  assert isinstance(unseen, dict)
  assert f"| click | AUC | {best['click']['auc']:.4f} |" in page
  assert f"| stars | RMSE | {best['stars']['rmse']:.4f} |" in page
  rows = unseen["user_id"]
  assert f"| {rows} rows ({rows / ROWS_PER_DAY[-1]:.2%}) |  |  |\n" in page
  filled = made["filled_rows"]["length"]
  assert f"| length | dense | 0 | 1 |  | {filled} rows ({filled / 220:.2%}) | 0 rows" in page
  assert "nan" not in page


def test_every_table_of_the_summary_has_rows_of_one_width(known_truth: FrameLog) -> None:
  page = card.to_markdown(describe(known_truth))
  tables = [part.splitlines() for part in page.split("\n\n") if part.startswith("|")]
  assert [len(table) - 2 for table in tables] == [4, 3, 4 + 1 + 8]  # days, tasks, features
  for table in tables:
    assert len({line.count("|") for line in table}) == 1


def test_a_log_that_needed_no_cleaning_says_so(tiny_log: FrameLog) -> None:
  page = card.to_markdown(describe(dataclasses.replace(tiny_log, cleaning={})))
  assert "## Cleaning\n\n- nothing\n" in page


def test_a_task_without_a_label_on_day_n_has_a_card_all_the_same(known_truth: FrameLog) -> None:
  labels = known_truth.labels.copy()
  labels.loc[known_truth.day == 3, ["like", "stars"]] = np.nan
  made = describe(dataclasses.replace(known_truth, labels=labels))
  assert json.loads(json.dumps(made, allow_nan=False)) == json.loads(json.dumps(made))
  page = card.to_markdown(made)
  assert "| like | AUC | none |\n" in page
  assert "| stars | RMSE | none |\n" in page


def test_the_tiny_log_covers_the_days_it_names(tiny_log: FrameLog) -> None:
  expected = pd.to_datetime(START + tiny_log.day.astype(np.int64) * MS_PER_DAY, unit="ms")
  assert [f"{day:%Y-%m-%d}" for day in expected.unique()] == list(DAY_NAMES)
  assert ((tiny_log.time - START) // MS_PER_DAY == tiny_log.day).all()
