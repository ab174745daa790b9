"""The search of Table 2: which setting is the best, and which runs follow from that."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ranking.sweeps import results
from ranking.sweeps.search import Search, choose
from ranking.sweeps.sweep import Method, SweepError, Trial
from tests.test_sweep_results import finished, hold

GC = Method("gc", thresholds=[{"GradientClipping.threshold": [0.1, 0.01]}])
CLIPPY = Method("clippy")
TIGHTER = Method("tighter", config="clippy", bindings=["Clippy.absolute_threshold=0.001"])
SEARCH = Search("t", ["small"], {"GC": [GC]}, seeds=[1, 2])
SETTINGS = SEARCH.trials()
FAILED = "failed"
MISSING = "missing"


def table_of(
  folder: Path, trials: Sequence[Trial], ends: Sequence[tuple[Any, str]]
) -> pd.DataFrame:
  """Results of the runs of a search, each an AUC and how it ended."""
  for trial, (auc, status) in zip(trials, ends, strict=True):
    if status == FAILED:
      hold(folder, trial, failed={"error": "it broke", "exit_code": 1})
    elif status != MISSING:
      hold(folder, trial, result=finished(trial, auc, status=status))
  return results.read([folder])


def oks(*aucs: Any) -> list[tuple[Any, str]]:
  return [(auc, "ok") for auc in aucs]


def test_each_model_may_have_a_rate_of_its_own_and_repeats_are_of_the_setting_that_was_chosen():
  search = Search(
    "t", ["small", "large"], {"GC": [GC]}, {"small": 0.4, "large": 0.1}, [2.0], seeds=[1, 2]
  )
  rates = [trial.coordinates["learning_rate"] for trial in search.trials()]
  assert rates == [0.4, 0.4, 0.1, 0.1]
  chosen = search.trials()[3]
  assert [repeat.thresholds for repeat in search.repeats_of(chosen)] == [chosen.thresholds] * 2
  assert {repeat.coordinates["model"] for repeat in search.repeats_of(chosen)} == {"large"}


@pytest.mark.parametrize(
  ("ends", "best"),
  [
    (oks(0.70, 0.72, 0.71, 0.69), 1),
    (oks(0.70, 0.71, 0.72, 0.72), 2),  # of equals the first listed
    (oks(0.7, 0.7, 0.7, 0.7), 0),
    ([(0.9, "diverged"), *oks(0.70, 0.71, 0.72)], 3),
    ([(0.9, "micro_diverged"), *oks(0.70, 0.71, 0.72)], 0),  # it came back
    (oks("nan", 0.70, 0.71, 0.70), 2),
    (oks("inf", 0.70, 0.71, 0.70), 2),
    (oks(None, 0.3, None, None), 1),
    ([(0.7, "diverged")] * 4, 0),  # none survived: the first is what the repeats will judge
    ([*[(0.7, "diverged")] * 3, ("nan", "ok")], 0),
  ],
)
def test_the_best_of_the_survivors_is_chosen(
  ends: list[tuple[Any, str]], best: int, tmp_path: Path
):
  assert choose(SETTINGS, table_of(tmp_path, SETTINGS, ends)) == SETTINGS[best]


@pytest.mark.parametrize("hole", [FAILED, MISSING])
def test_nothing_is_chosen_before_all_runs_are_finished(hole: str, tmp_path: Path):
  ends = [*oks(0.70, 0.72, 0.71), (None, hole)]
  table = table_of(tmp_path, SETTINGS, ends)
  assert choose(SETTINGS, table) is None
  assert SEARCH.repeats(table) == [None, None]


@pytest.mark.parametrize(("headline", "best"), [("click", 2), ("like", 1), ("seconds", 3)])
def test_the_choice_is_by_the_first_task_in_the_direction_that_is_better_for_it(
  headline: str, best: int, tmp_path: Path
):
  """A low RMSE is better, a high AUC."""
  figures = [(0.7, 0.6, 2.0), (0.6, 0.9, 1.5), (0.8, 0.5, 1.4), (0.5, 0.7, 1.2)]
  for trial, (click, like, seconds) in zip(SETTINGS, figures, strict=True):
    outcome = finished(trial, click)
    metrics = outcome["metrics"]
    metrics["like"] = {**metrics["click"], "auc": like}
    metrics["seconds"]["rmse"] = seconds
    outcome["metrics"] = {headline: metrics.pop(headline), **metrics}
    hold(tmp_path, trial, result=outcome)
  assert choose(SETTINGS, results.read([tmp_path])) == SETTINGS[best]


def test_the_search_has_every_setting_at_every_rate_with_one_seed():
  settings = [(trial.thresholds, trial.coordinates) for trial in SEARCH.trials()]
  assert [
    (*point.values(), place["learning_rate_multiplier"], place["seed"]) for point, place in settings
  ] == [(0.1, 1.0, 0), (0.1, 2.0, 0), (0.01, 1.0, 0), (0.01, 2.0, 0)]


def test_the_repeats_are_the_chosen_setting_with_the_other_seeds(tmp_path: Path):
  table = table_of(tmp_path, SETTINGS, oks(0.70, 0.72, 0.71, 0.69))
  repeats = [trial for trial in SEARCH.repeats(table) if trial is not None]
  assert [trial.name for trial in repeats] == [
    f"small-gc-threshold=0.1-times=2-seed={seed}" for seed in (1, 2)
  ]
  for trial in repeats:
    assert trial.bindings[:-1] == SETTINGS[1].bindings[:-1]


def test_every_setting_and_its_repeats_differ_by_the_seed_alone():
  columns = {"GC": [GC], "Both": [CLIPPY, TIGHTER]}
  search = Search("t", ["small", "large"], columns, learning_rate=0.05, seeds=[7, 3])
  for tried in search.trials():
    repeats = search.repeats_of(tried)
    assert [trial.coordinates["seed"] for trial in repeats] == [7, 3]
    for trial in repeats:
      assert {**trial.coordinates, "seed": 0} == tried.coordinates
      assert trial.thresholds == tried.thresholds
      assert "rate=0.05" in trial.name


def test_a_search_on_an_earlier_day_shares_no_run_with_the_repeats_and_changes_none_of_them():
  columns = {"GC": [GC], "Clippy": [CLIPPY]}
  late = Search("t", ["small"], columns, search_seed=5, seeds=[0, 1])
  early = dataclasses.replace(late, search_days_earlier=3)
  assert {trial.bindings[-1] for trial in early.trials()} == {
    "train_and_evaluate.without_last_days=3"
  }
  for before, after in zip(late.trials(), early.trials(), strict=True):
    assert early.repeats_of(after) == late.repeats_of(before)
    assert after.bindings[:-1] == before.bindings
    assert after.name == before.name.replace("-seed=", "-search-seed=")
    assert after.coordinates["days_left_out"] == 3


def test_a_search_on_an_earlier_day_may_have_a_seed_of_its_repeats():
  search = Search("t", ["small"], {"GC": [GC]}, seeds=[0, 1], search_days_earlier=3)
  tried = search.trials()
  assert not {trial.name for trial in tried} & {trial.name for trial in search.repeats_of(tried[0])}


def test_a_column_keeps_its_place_among_the_repeats_while_another_one_waits(tmp_path: Path):
  search = Search("t", ["small"], {"Clippy": [CLIPPY], "GC": [GC]}, seeds=[1, 2])
  clippy, gc = (search.settings("small", column) for column in search.columns)
  waiting = table_of(tmp_path, gc, oks(0.7, 0.6, 0.6, 0.6))
  before = search.repeats(waiting)
  after = search.repeats(pd.concat([waiting, table_of(tmp_path / "more", clippy, oks(0.7, 0.6))]))
  assert before[:2] == [None, None]
  assert before[2:] == after[2:]
  assert None not in after


def test_columns_share_the_runs_of_a_method():
  columns = {"Clippy": [CLIPPY], "Searched": [CLIPPY, TIGHTER]}
  search = Search("t", ["small", "large"], columns)
  assert len(search.trials()) == 2 * (2 + 2)
  for model in search.models:
    assert [len(search.settings(model, column)) for column in columns] == [2, 4]
  places = search.places(results.NONE)
  assert [(place.at("model"), place.title, place.stage, place.wanted) for place in places] == [
    ("small", "Clippy", "search", 2),
    ("small", "Searched", "search", 4),
    ("large", "Clippy", "search", 2),
    ("large", "Searched", "search", 4),
  ]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"columns": {}}, r"^columns is {}; make it a map of titles to lists of methods$"),
    ({"columns": ["gc"]}, r"^columns is \['gc'\]; make it a map"),
    ({"columns": {"GC": "gc"}}, r"^column GC is 'gc'; make it a list of methods$"),
    ({"columns": {"GC": []}}, r"^column GC is \[\]; make it a list"),
    ({"columns": {"GC": ["gc", 3]}}, r"^column GC is \['gc', 3\]; make it a list"),
    ({"columns": {"A": ["gc"], "B": [GC]}}, r"^two methods are called gc; give each a name"),
    ({"models": []}, r"^models: empty"),
    ({"seeds": []}, r"^seeds: empty"),
    ({"seeds": [1, 1]}, r"^two trials are small-gc"),
    ({"columns": {3: ["gc"]}}, r"^the title of a column is 3; make it text$"),
    ({"search_seed": 2}, r"^search_seed is 2; make it none of the seeds"),
    ({"learning_rate": math.nan}, r"^learning_rates is nan; make it a number, 0 or more$"),
    ({"data": 3}, r"^data is 3; make it a file of configs/data/, or a path$"),
    ({"scale": 3}, r"^scale is 3; make it a file"),
    ({"learning_rate_multipliers": []}, r"^learning_rate_multipliers: empty"),
    (
      {"search_days_earlier": -1},
      r"^search_days_earlier is -1; make it a whole number, 0",
    ),
    ({"search_days_earlier": 1.5}, r"^search_days_earlier is 1.5; make it a whole number"),
  ],
)
def test_a_search_that_cannot_be_is_refused_before_its_first_run(
  changes: dict[str, Any], message: str
):
  with pytest.raises(SweepError, match=message):
    Search(**{"name": "t", "models": ["small"], "columns": {"GC": ["gc"]}, **changes})
