"""The search of Table 2: which setting is the best, and which runs follow from that."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ranking.sweeps import results
from ranking.sweeps.search import Candidate, Search, choose
from ranking.sweeps.sweep import Method, SweepError
from tests.test_sweep_results import finished, hold

GC = Method("gc", thresholds=[{"GradientClipping.threshold": [0.1, 0.01]}])
CLIPPY = Method("clippy")
TIGHTER = Method("tighter", config="clippy", bindings=["Clippy.absolute_threshold=0.001"])
SEARCH = Search("t", ["small"], {"GC": [GC]}, seeds=[1, 2])
CANDIDATES = SEARCH.cells()[0].candidates
FAILED = "failed"
MISSING = "missing"


def table_of(
  folder: Path, candidates: Sequence[Candidate], ends: Sequence[tuple[Any, str]]
) -> pd.DataFrame:
  """Results of the runs of a search, each an AUC and how it ended."""
  for candidate, (auc, status) in zip(candidates, ends, strict=True):
    if status == FAILED:
      hold(folder, candidate.tried, failed={"error": "it broke", "exit_code": 1})
    elif status != MISSING:
      hold(folder, candidate.tried, result=finished(candidate.tried, auc, status=status))
  return results.read([folder])


def oks(*aucs: Any) -> list[tuple[Any, str]]:
  return [(auc, "ok") for auc in aucs]


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
def test_the_best_auc_of_the_survivors_is_chosen(
  ends: list[tuple[Any, str]], best: int, tmp_path: Path
):
  assert choose(CANDIDATES, table_of(tmp_path, CANDIDATES, ends)) == CANDIDATES[best]


@pytest.mark.parametrize("hole", [FAILED, MISSING])
def test_nothing_is_chosen_before_all_runs_are_finished(hole: str, tmp_path: Path):
  ends = [*oks(0.70, 0.72, 0.71), (None, hole)]
  table = table_of(tmp_path, CANDIDATES, ends)
  assert choose(CANDIDATES, table) is None
  assert SEARCH.repeats(table) == [None, None]


def test_the_choice_is_by_the_first_binary_task(tmp_path: Path):
  for candidate, (click, like) in zip(
    CANDIDATES, [(0.7, 0.6), (0.6, 0.9), (0.8, 0.5), (0.5, 0.7)], strict=True
  ):
    outcome = finished(candidate.tried, click)
    watched = outcome["metrics"]["seconds"]
    clicked = outcome["metrics"]["click"]
    outcome["metrics"] = {"seconds": watched, "click": clicked, "like": {**clicked, "auc": like}}
    hold(tmp_path, candidate.tried, result=outcome)
  assert choose(CANDIDATES, results.read([tmp_path])) == CANDIDATES[2]


def test_the_search_has_every_setting_at_every_rate_with_one_seed():
  settings = [(trial.thresholds, trial.coordinates) for trial in SEARCH.trials()]
  assert [
    (*point.values(), place["learning_rate_multiplier"], place["seed"]) for point, place in settings
  ] == [(0.1, 1.0, 0), (0.1, 2.0, 0), (0.01, 1.0, 0), (0.01, 2.0, 0)]


def test_the_repeats_are_the_chosen_setting_with_the_other_seeds(tmp_path: Path):
  table = table_of(tmp_path, CANDIDATES, oks(0.70, 0.72, 0.71, 0.69))
  repeats = [trial for trial in SEARCH.repeats(table) if trial is not None]
  assert [trial.name for trial in repeats] == [
    f"small-gc-threshold=0.1-times=2-seed={seed}" for seed in (1, 2)
  ]
  for trial in repeats:
    assert trial.bindings[:-1] == CANDIDATES[1].tried.bindings[:-1]


def test_every_candidate_and_its_repeats_differ_by_the_seed_alone():
  columns = {"GC": [GC], "Both": [CLIPPY, TIGHTER]}
  search = Search("t", ["small", "large"], columns, learning_rate=0.05, seeds=[7, 3])
  for candidate in itertools.chain(*(cell.candidates for cell in search.cells())):
    assert [trial.coordinates["seed"] for trial in candidate.repeats] == [7, 3]
    for trial in candidate.repeats:
      assert {**trial.coordinates, "seed": 0} == candidate.tried.coordinates
      assert trial.thresholds == candidate.tried.thresholds
      assert "rate=0.05" in trial.name


def test_a_search_on_an_earlier_day_shares_no_run_with_the_repeats_and_changes_none_of_them():
  columns = {"GC": [GC], "Clippy": [CLIPPY]}
  late = Search("t", ["small"], columns, seeds=[0, 1])
  early = dataclasses.replace(late, search_days_earlier=3)
  assert {trial.bindings[-1] for trial in early.trials()} == {
    "train_and_evaluate.without_last_days=3"
  }
  for was, now in zip(late.cells(), early.cells(), strict=True):
    for before, after in zip(was.candidates, now.candidates, strict=True):
      assert after.repeats == before.repeats
      assert after.tried.bindings[:-1] == before.tried.bindings
  repeats = {
    trial.name for cell in early.cells() for each in cell.candidates for trial in each.repeats
  }
  assert repeats.isdisjoint(trial.name for trial in early.trials())


def test_a_cell_keeps_its_place_among_the_repeats_while_another_one_waits(tmp_path: Path):
  search = Search("t", ["small"], {"Clippy": [CLIPPY], "GC": [GC]}, seeds=[1, 2])
  first, second = search.cells()
  waiting = table_of(tmp_path, second.candidates, oks(0.7, 0.6, 0.6, 0.6))
  before = search.repeats(waiting)
  after = search.repeats(
    pd.concat([waiting, table_of(tmp_path / "more", first.candidates, oks(0.7, 0.6))])
  )
  assert before[:2] == [None, None]
  assert before[2:] == after[2:]
  assert None not in after


def test_columns_share_the_runs_of_a_method():
  columns = {"Clippy": [CLIPPY], "Searched": [CLIPPY, TIGHTER]}
  search = Search("t", ["small", "large"], columns)
  assert len(search.trials()) == 2 * (2 + 2)
  sizes = [(cell.model, cell.column, len(cell.candidates)) for cell in search.cells()]
  assert sizes == [
    *(("small", "Clippy", 2), ("small", "Searched", 4)),
    *(("large", "Clippy", 2), ("large", "Searched", 4)),
  ]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"columns": {}}, r"^columns: {}; make it a map of titles to lists of methods$"),
    ({"columns": ["gc"]}, r"^columns: \['gc'\]; make it a map"),
    ({"columns": {"GC": "gc"}}, r"^column GC: 'gc'; make it a list of methods$"),
    ({"columns": {"GC": []}}, r"^column GC: \[\]; make it a list"),
    ({"columns": {"GC": ["gc", 3]}}, r"^column GC: \['gc', 3\]; make it a list"),
    ({"columns": {"A": ["gc"], "B": [GC]}}, r"^two methods are called gc; give each a name"),
    ({"models": []}, r"^models: empty"),
    ({"seeds": []}, r"^seeds: empty"),
    ({"seeds": [1, 1]}, r"^two trials are small-gc"),
    ({"learning_rate_multipliers": []}, r"^learning_rate_multipliers: empty"),
    ({"search_days_earlier": -1}, r"^search_days_earlier is -1; make it a number of days, or 0$"),
    ({"search_days_earlier": 1.5}, r"^search_days_earlier is 1.5; make it a number"),
  ],
)
def test_a_search_that_cannot_be_is_refused_before_its_first_run(
  changes: dict[str, Any], message: str
):
  with pytest.raises(SweepError, match=message):
    Search(**{"name": "t", "models": ["small"], "columns": {"GC": ["gc"]}, **changes}).trials()
