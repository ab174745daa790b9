"""The summary of a sweep: its figures and what they leave out, speeds, and how far each goes."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.measures.ratios import divergence_ratio
from ranking.sweeps import results
from ranking.sweeps.places import places
from ranking.sweeps.sweep import Method, Sweep, Trial
from ranking.sweeps.tables import rendering, speed, summary
from ranking.sweeps.tables.document import Document, Table
from ranking.sweeps.tables.edges import Edge
from ranking.tasks import MEASURES, WITHIN
from tests.command_line import ROOT
from tests.test_sweep_results import finished, hold

GC = Method("gc", thresholds=[{"GradientClipping.threshold": [0.1, 0.01]}])
SWEEP = Sweep("s", ["large"], ["naive", "gc"], learning_rates=[0.1, 0.2], seeds=[0, 1, 2])
AUC = MEASURES["auc"]
End = tuple[Any, float, str]  # AUC, RMSE, status
Ends = Mapping[str, Sequence[End | None]]  # of the seeds, by a part of the run's name
OK: End = (0.7, 1.5, "ok")
LOST: End = (0.5, 9.0, "diverged")
STARTS = ["method", "learning rate"]
FIGURES = ["runs", "diverged", "95 % interval", "micro-diverged", "click AUC (%) ↑"]


def outcome(trial: Trial, end: End, **more: Any) -> dict[str, Any]:
  auc, rmse, status = end
  entries = finished(trial, auc, status=status, command=f"train --run={trial.name}", **more)
  entries["learning_rate"] = trial.coordinates["learning_rate"] or 0.1
  entries["metrics"]["seconds"]["rmse"] = rmse
  entries["metrics"]["like"] = {**entries["metrics"]["click"], "auc": 0.6}
  return entries


def evaluated(directory: Path, aucs: Mapping[int, Any]) -> None:
  """An evals.jsonl with these AUCs of click by step, and another binary task, always at 0.99."""
  rows = [
    {
      "step": step,
      "metrics": {
        "seconds": {"kind": "regression", "rmse": 0.99},
        "click": {"kind": "binary", "auc": auc},
        "like": {"kind": "binary", "auc": 0.99},
      },
    }
    for step, auc in aucs.items()
  ]
  (directory / "evals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def table_of(folder: Path, sweep: Sweep, ends: Ends) -> pd.DataFrame:
  """Results of a sweep; None = has begun, a seed that is missing has not."""
  for trial in sweep.trials():
    (seeds,) = [seeds for part, seeds in ends.items() if part in trial.name]
    place = list(sweep.seeds).index(trial.coordinates["seed"])
    if place < len(seeds):
      end = seeds[place]
      hold(folder, trial, **({} if end is None else {"result": outcome(trial, end)}))
  return results.read([folder])


def rows(table: Table) -> list[dict[str, str]]:
  return [dict(zip(table.header, (entry.text for entry in row), strict=True)) for row in table.rows]


def column(document: Document, name: str) -> list[str]:
  return [row[name] for row in rows(document.tables[0])]


def test_a_row_has_the_figures_of_its_seeds_and_no_diverged_run_is_in_a_mean(tmp_path: Path):
  ends: Ends = {
    "naive-rate=0.1": [(0.70, 1.5, "ok"), (0.71, 1.4, "micro_diverged"), (0.74, 1.0, "ok")],
    "naive-rate=0.2": [LOST, (0.99, 0.1, "diverged"), LOST],
    "gc-rate=0.1": [OK, OK, OK],
    "gc-rate=0.2": [(0.72, 1.2, "ok"), (0.99, 0.1, "diverged"), (0.76, 1.4, "ok")],
  }
  document = summary.summary(SWEEP, table_of(tmp_path, SWEEP, ends))
  mean, deviation = (0.70 + 0.71 + 0.74) / 3, np.std([0.70, 0.71, 0.74], ddof=1)
  assert [list(row.values()) for row in rows(document.tables[0])] == [
    [
      *("naive", "0.1", "3 of 3", "0 of 3", "0% … 56%", "1"),
      *(f"{100 * mean:.2f} ± {100 * deviation:.2f}", "1.300 ± 0.265"),
    ],
    ["naive", "0.2", "3 of 3", "3 of 3", "44% … 100%", "0", "all diverged", "all diverged"],
    ["gc", "0.1", "3 of 3", "0 of 3", "0% … 56%", "0", "70.00 ± 0.00", "1.500 ± 0.000"],
    [
      *("gc", "0.2", "3 of 3", "1 of 3", "6% … 79%", "0"),
      *("74.00 ± 2.83 of the survivors", "1.300 ± 0.141 of the survivors"),
    ],
  ]
  assert document.tables[0].header == [*STARTS, *FIGURES, "seconds RMSE ↓"]
  of_kinds = document.figures[~document.figures.measure.isin(WITHIN)]
  figures = of_kinds.set_index(["method", "learning_rate", "task"])
  assert figures["mean"]["naive", 0.1, "click"] == pytest.approx(mean, rel=1e-15)
  assert figures.deviation["naive", 0.1, "click"] == pytest.approx(deviation, rel=1e-15)
  interval = divergence_ratio(1, 3).ci95
  kept = figures.loc[("gc", 0.2, "like")]
  assert (kept.ci95_low, kept.ci95_high) == interval
  assert (kept.diverged, kept.survivors, kept["mean"]) == (1, 2, 0.6)
  assert math.isnan(figures["mean"]["naive", 0.2, "click"])


def test_all_tasks_and_all_commands_are_in_folded_tables(tmp_path: Path):
  ends: Ends = {"rate=0.1": [OK] * 3, "rate=0.2": [OK, None]}
  document = summary.summary(SWEEP, table_of(tmp_path, SWEEP, ends))
  tasks, runs = document.tables[-2:]
  assert tasks.folded
  assert runs.folded
  assert tasks.header[-7:] == [
    *("click AUC (%) ↑", "seconds RMSE ↓", "like AUC (%) ↑"),
    *("click AUC within users (%) ↑", "click NDCG of requests (%) ↑"),
    *("like AUC within users (%) ↑", "like NDCG of requests (%) ↑"),
  ]
  assert rows(tasks)[0]["click AUC within users (%) ↑"] == "65.00 ± 0.00"
  of_requests = document.figures[document.figures.measure == "ndcg"]
  assert of_requests["mean"].dropna().tolist() == [pytest.approx(0.85)] * 4
  assert rows(tasks)[0]["like AUC (%) ↑"] == "60.00 ± 0.00"
  assert len(runs.rows) == 12
  assert [row["command"] for row in rows(runs)][:3] == [
    f"train --run=large-naive-rate=0.1-times=1-seed={seed}" for seed in range(3)
  ]
  assert [row["status"] for row in rows(runs)][3:6] == ["ok", "unfinished", "unfinished"]
  assert rows(runs)[5]["command"] == ""  # it has not begun
  assert document.tables[0].rows[0][2].hint.splitlines()[2].endswith("seed=2")


def test_what_is_the_same_everywhere_is_said_once(tmp_path: Path):
  sweep = Sweep("s", ["large"], ["gc"], learning_rates=[0.3], bindings=["Lamb.multiplier=1.0"])
  document = summary.summary(sweep, table_of(tmp_path, sweep, {"": [OK]}))
  assert document.paragraphs[:2] == [
    "synthetic at proxy scale, day N = 2026-01-18. 1 of 1 runs finished, 1 minutes of training, "
    "added up over runs; commit abc.",
    "The same everywhere: model large; method gc; learning rate 0.3; seed 0; bindings "
    "Lamb.multiplier=1.0.",
  ]
  assert document.tables[0].header[0] == "runs"
  assert column(document, "click AUC (%) ↑") == ["70.00"]  # one seed has no deviation


def test_every_axis_that_varies_is_a_column(tmp_path: Path):
  sweep = Sweep(
    name="s",
    models=["small", "large"],
    methods=["naive", GC],
    learning_rate_multipliers=[1.0, 2.0],
    ablations={"none": [], "less": ["SharedBottom.blocks=[@DenseLayers()]"]},
  )
  document = summary.summary(sweep, table_of(tmp_path, sweep, {"": [OK]}))
  assert list(document.tables[0].header[:5]) == [
    *("model", "method", "thresholds", "ablation", "learning rate")
  ]
  assert [list(row.values())[:5] for row in rows(document.tables[0])][4:7] == [
    ["small", "gc", "threshold=0.1", "none", "0.1"],
    ["small", "gc", "threshold=0.1", "less", "0.1"],
    ["small", "gc", "threshold=0.1", "none", "0.2 (2x)"],
  ]


def test_a_point_that_is_not_finished_has_no_figure_whatever_its_runs_reached(tmp_path: Path):
  ends: Ends = {"naive": [OK] * 3, "gc-rate=0.1": [(0.9, 0.5, "ok"), None], "gc-rate=0.2": []}
  document = summary.summary(SWEEP, table_of(tmp_path, SWEEP, ends))
  assert [list(row.values())[2:] for row in rows(document.tables[0])][2:] == [
    ["1 of 3 runs", *["–"] * 5],
    ["0 of 3 runs", *["–"] * 5],
  ]
  assert document.tables[0].rows[2][2].style == "remark"
  figures = document.figures[document.figures.method == "gc"]
  assert figures["mean"].isna().all()
  assert figures.ratio.isna().all()
  assert figures.finished.tolist() == [1] * 7 + [0] * 7


def test_a_sweep_of_which_all_runs_failed_is_a_document_that_says_so(tmp_path: Path):
  for trial in SWEEP.trials():
    hold(tmp_path / "s", trial, failed={"error": "it broke", "exit_code": 1})
  document = summary.summary(SWEEP, results.read([tmp_path / "s"]))
  assert document.paragraphs[0].endswith(
    "0 of 12 runs finished, 0 minutes of training, added up over runs."
  )
  assert column(document, "runs") == ["0 of 3 runs, 3 failed"] * 4
  for path in rendering.write(document, tmp_path / "out" / "summary"):
    assert path.is_file()


@pytest.mark.parametrize("auc", ["nan", "inf", None])
def test_a_survivor_whose_figure_is_not_finite_is_said(auc: Any, tmp_path: Path):
  ends = {"naive": [OK] * 3, "gc": [OK, (auc, 1.5, "ok"), OK]}
  document = summary.summary(SWEEP, table_of(tmp_path, SWEEP, ends))
  assert column(document, "click AUC (%) ↑")[2] == "not finite"
  assert column(document, "seconds RMSE ↓")[2] == "1.500 ± 0.000"


def test_a_task_that_an_ablation_leaves_out_has_no_figure_there(tmp_path: Path):
  sweep = Sweep(
    "s", ["large"], ["gc"], ablations={"a": [], "b": ["train_and_evaluate.without_tasks=['like']"]}
  )
  for trial in sweep.trials():
    end = outcome(trial, OK)
    if trial.coordinates["ablation"] == "b":
      del end["metrics"]["click"]
    hold(tmp_path, trial, result=end)
  document = summary.summary(sweep, results.read([tmp_path]))
  assert column(document, "click AUC (%) ↑") == ["70.00", "–"]


def test_a_log_whose_first_task_is_no_click_is_judged_by_its_own_measure(tmp_path: Path):
  sweep = Sweep("s", ["large"], ["naive", "gc"])
  rmses = {"naive": {50: 1.6, 100: 1.4}, "gc": {50: 1.3, 100: 1.2}}
  for trial in sweep.trials():
    end = outcome(trial, OK)
    del end["metrics"]["click"], end["metrics"]["like"]
    run = hold(tmp_path, trial, result=end)
    steps = rmses[trial.coordinates["method"]].items()
    lines = [
      {"step": step, "metrics": {"seconds": {"kind": "regression", "rmse": rmse}}}
      for step, rmse in steps
    ]
    (run / "evals.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  document = summary.summary(sweep, results.read([tmp_path]))
  header = document.tables[0].header
  assert list(header[5:]) == ["seconds RMSE ↓", "steps to 1.400", "seconds"]
  assert column(document, "steps to 1.400") == ["100", "50"]
  assert "this RMSE of seconds" in " ".join(document.paragraphs)


def test_an_evaluation_day_is_an_axis(tmp_path: Path):
  sweep = Sweep("s", ["large"], ["gc"], days_left_out=[0, 1])
  document = summary.summary(sweep, table_of(tmp_path, sweep, {"": [OK]}))
  assert column(document, "days left out") == ["0", "1"]
  assert document.figures.days_left_out.unique().tolist() == [0, 1]


def test_a_rate_that_the_log_has_is_known_once_a_run_is_finished(tmp_path: Path):
  sweep = Sweep("s", ["large"], ["naive"], learning_rate_multipliers=[1.0, 2.0])
  unknown = table_of(tmp_path / "a", sweep, {"": [None]})
  assert column(summary.summary(sweep, unknown), "learning rate") == ["1x", "2x"]
  known = table_of(tmp_path / "b", sweep, {"times=1": [OK], "times=2": []})
  assert column(summary.summary(sweep, known), "learning rate") == ["0.1", "0.2 (2x)"]


def test_a_rate_that_one_ablation_binds_is_not_the_rate_of_the_others(tmp_path: Path):
  faster = {"none": [], "faster": ["train_and_evaluate.learning_rate=0.8"]}
  sweep = Sweep("s", ["large"], ["naive", "gc"], ablations=faster)
  for trial in sweep.trials():
    if trial.coordinates["ablation"] == "faster":
      hold(tmp_path, trial, result={**outcome(trial, OK), "learning_rate": 0.8})
  document = summary.summary(sweep, results.read([tmp_path]))
  assert column(document, "learning rate") == ["1x", "0.8"] * 2
  for trial in sweep.trials():
    if trial.coordinates["ablation"] == "none":
      hold(tmp_path, trial, result=outcome(trial, OK))
  document = summary.summary(sweep, results.read([tmp_path]))
  assert column(document, "learning rate") == ["0.1", "0.8"] * 2
  assert document.figures.edge.isna().all()  # no line has two rates


def test_runs_of_another_sweep_are_left_out(tmp_path: Path):
  table = table_of(tmp_path, SWEEP, {"": [OK] * 3})
  smaller = Sweep("s", ["large"], ["gc"], learning_rates=[0.1], seeds=[0])
  document = summary.summary(smaller, table)
  assert len(document.tables[0].rows) == 1
  assert len(document.tables[-1].rows) == 1


def test_the_csv_has_the_figures_to_the_last_digit_and_the_document_is_the_same_every_time(
  tmp_path: Path,
):
  ends = {"naive": [(0.7 + 1e-16, 1.5, "ok"), OK, LOST], "gc": [OK, OK]}
  table = table_of(tmp_path / "s", SWEEP, ends)
  first, second = (
    rendering.write(summary.summary(SWEEP, table), tmp_path / folder / "summary") for folder in "ab"
  )
  assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
  read = pd.read_csv(first[2], float_precision="round_trip", keep_default_na=False)
  figures = summary.summary(SWEEP, table).figures
  assert read["mean"].replace("", "nan").astype(float).tolist() == pytest.approx(
    figures["mean"].tolist(), nan_ok=True, rel=0, abs=0
  )
  assert "| gc | 0.1 | *2 of 3 runs* | – |" in first[0].read_text()


def test_the_csv_has_every_column_of_what_is_published_so_that_pages_can_read_it(tmp_path: Path):
  published = pd.read_csv(ROOT / "experiments/results/survival_kuairand/summary.csv", nrows=0)
  table = table_of(tmp_path, SWEEP, {"": [OK] * 3})
  assert set(published) <= set(summary.summary(SWEEP, table).figures)


def test_a_place_has_a_row_for_each_trial_whether_it_has_begun_or_not(tmp_path: Path):
  trials = SWEEP.trials()
  hold(tmp_path, trials[0], result=outcome(trials[0], OK))
  (place, *_) = places(trials, results.read([tmp_path]))
  assert place.runs.trial.tolist() == [trial.name for trial in place.trials]
  assert place.runs.status.tolist() == ["ok", "unfinished", "unfinished"]
  assert place.runs.seed.tolist() == [0, 1, 2]
  assert (place.wanted, place.complete, place.outcome("click")) == (3, False, "waiting")


# Speed.


@pytest.mark.parametrize(
  ("goal", "step"), [(0.5, 50), (0.6, 50), (0.61, 150), (0.7, 150), (0.71, 250), (0.73, math.inf)]
)
def test_the_step_is_that_of_the_first_evaluation_at_or_above_the_target(
  goal: float, step: float, tmp_path: Path
):
  sweep = dataclasses.replace(SWEEP, learning_rates=[0.1], seeds=[0])
  naive, gc = sweep.trials()
  evaluated(hold(tmp_path, naive, result=outcome(naive, OK)), {50: goal})
  reached = {50: 0.6, 100: None, 150: 0.7, 200: "nan", 210: 0.65, 250: 0.72}
  evaluated(hold(tmp_path, gc, result=outcome(gc, OK)), reached)
  grid = places(sweep.trials(), results.read([tmp_path]))
  assert speed.speeds(grid, "click", AUC)[1][1].steps == step


RISES = {
  # Half of naive's seeds reach 0.72; the best of them is luck, and seed 2 diverged.
  "naive-rate=0.1": [{50: 0.6, 100: 0.77}, {50: 0.7, 100: 0.72}, {50: 0.9}],
  "gc-rate=0.1": [{50: 0.72}, {50: 0.7, 100: 0.73}, {150: 0.9}],
  "gc-rate=0.2": [{50: 0.5}, {50: 0.72}, {50: 0.719}],
  "naive-rate=0.2": [{50: 0.99}] * 3,
}
PACES = [1000.0, 2000.0, 500.0]


def risen(folder: Path, rises: Mapping[str, Sequence[Mapping[int, Any]]] = RISES) -> pd.DataFrame:
  """Seeds have a pace each; naive loses seed 2 at 0.1, and every seed at 0.2."""
  for trial in SWEEP.trials():
    seed = trial.coordinates["seed"]
    lost = "naive-rate=0.2" in trial.name or ("naive" in trial.name and seed == 2)
    more = {"examples_per_second": PACES[seed], "batch_size": 512}
    run = hold(folder, trial, result=outcome(trial, LOST if lost else OK, **more))
    (aucs,) = [seeds[seed] for part, seeds in rises.items() if part in trial.name]
    if aucs:
      evaluated(run, aucs)
  return results.read([folder])


def target(table: pd.DataFrame) -> float | None:
  return speed.speeds(places(SWEEP.trials(), table), "click", AUC)[0]


def test_steps_and_seconds_to_naives_best_are_medians_over_seeds(tmp_path: Path):
  table = risen(tmp_path)
  assert target(table) == 0.72
  document = summary.summary(SWEEP, table)
  seconds = np.median([50 * 512 / 1000, 100 * 512 / 2000, 150 * 512 / 500])
  assert [list(row.values())[-2:] for row in rows(document.tables[0])] == [
    ["100", f"{np.median([100 * 512 / 1000, 100 * 512 / 2000, math.inf]):.1f}"],  # all but one
    ["never", "never"],  # all diverged, whatever they had reached
    ["100", f"{seconds:.1f}"],
    ["never", "never"],  # seed 1 alone
  ]
  assert document.tables[0].header[-2:] == ["steps to 72.00", "seconds"]
  figures = document.figures.drop_duplicates(["method", "learning_rate"])
  assert figures.steps_to_target.tolist() == [100, math.inf, 100, math.inf]
  assert figures.seconds_to_target[figures.method == "gc"].tolist() == [seconds, math.inf]


def test_runs_that_are_judged_by_other_rows_have_no_common_target(tmp_path: Path):
  table = risen(tmp_path)
  for column, other in (("eval_day", "2026-01-17"), ("positives", 41)):
    changed = table.assign(**{column: table[column].where(table.method == "naive", other)})
    assert "seconds" not in summary.summary(SWEEP, changed).tables[0].header


@pytest.mark.parametrize(("second", "steps"), [({100: 0.72}, 75), ({100: 0.7}, 50)])
def test_where_half_of_the_seeds_get_there_it_is_as_late_as_the_slowest_of_these(
  second: Mapping[int, float], steps: float, tmp_path: Path
):
  sweep = dataclasses.replace(SWEEP, learning_rates=[0.1], seeds=[0, 1])
  for trial in sweep.trials():
    of_gc = [{50: 0.72}, second][trial.coordinates["seed"]]
    run = hold(tmp_path, trial, result=outcome(trial, OK))
    evaluated(run, of_gc if trial.method == "gc" else {50: 0.72})
  grid = places(sweep.trials(), results.read([tmp_path]))
  assert speed.speeds(grid, "click", AUC)[1][1].steps == steps


def test_without_a_naive_run_that_survived_there_is_no_target(tmp_path: Path):
  lost = table_of(tmp_path / "a", SWEEP, {"naive": [LOST] * 3, "gc": [OK] * 3})
  none = risen(tmp_path / "b", {**RISES, "naive-rate=0.1": [{50: None}, {}, {50: 0.9}]})
  for table in (lost, none, lost[lost.method == "gc"]):
    assert target(table) is None
    assert "seconds" not in summary.summary(SWEEP, table).tables[0].header


def test_a_point_of_which_one_lucky_seed_is_finished_sets_no_target(tmp_path: Path):
  table = risen(tmp_path)
  waiting = table.trial.isin(
    ["large-naive-rate=0.1-times=1-seed=0", "large-naive-rate=0.1-times=1-seed=2"]
  )
  assert waiting.any()
  assert target(table[~waiting]) is None


def test_a_run_without_the_task_never_gets_to_its_target(tmp_path: Path):
  table = risen(tmp_path)
  evals = tmp_path / "large-gc-rate=0.1-times=1-seed=0" / "evals.jsonl"
  row = {"step": 50, "metrics": {"like": {"kind": "binary", "auc": 0.99}}}
  evals.write_text(json.dumps(row) + "\n")
  grid = places(SWEEP.trials(), table)
  without = [place.title == "gc" and place.rate == 0.1 for place in grid].index(True)
  assert speed.speeds(grid, "click", AUC)[1][without].steps == 150  # of never, 100 and 150


def test_a_run_without_its_evaluations_leaves_the_speed_of_its_point_open(tmp_path: Path):
  table = risen(tmp_path, {**RISES, "gc-rate=0.1": [{50: 0.72}, {}, {50: 0.72}]})
  found = rows(summary.summary(SWEEP, table).tables[0])
  assert [row["steps to 72.00"] for row in found] == ["100", "never", "–", "never"]


# Edges.

RATES = [0.1, 0.2, 0.4, 0.8]


def edges(folder: Path, fates: Mapping[str, str]) -> list[list[str]]:
  """The table of edges, given by method what happens at each rate.

  s: all seeds survive; x: one is lost; X: all are; -: one is not finished.
  """
  sweep = Sweep("s", ["large"], list(fates), learning_rates=RATES[::-1], seeds=[0, 1])
  seeds: Ends = {"s": [OK, OK], "x": [OK, LOST], "X": [LOST, LOST], "-": [OK, None]}
  ends = {
    f"-{method}-rate={rate:g}-": seeds[fate]
    for method, of_rates in fates.items()
    for rate, fate in zip(RATES, of_rates, strict=True)
  }
  tables = summary.summary(sweep, table_of(folder, sweep, ends)).tables
  (found,) = [table for table in tables if "times naive's" in table.header]
  return [[entry.text for entry in row] for row in found.rows]


@pytest.mark.parametrize(
  ("naive", "gc", "edge", "times"),
  [
    ("sxXX", "sssX", "0.4", "4x"),
    ("sxXX", "ssss", "≥ 0.8", "≥ 8x"),
    ("sxXX", "xXXX", "< 0.1", "< 1x"),
    ("sxXX", "sxss", "0.1", "1x"),  # survives again, after the first loss
    ("sxXX", "Xsss", "< 0.1", "< 1x"),
    ("sxXX", "ss-s", "1 of 2 runs at 0.4", "–"),
    ("sxXX", "-sss", "1 of 2 runs at 0.1", "–"),
    ("sxXX", "sX-s", "0.1", "1x"),  # what comes after the loss does not matter
    ("xXXX", "sssX", "0.4", "> 4x"),  # naive is lost at 0.1 already
    ("xXXX", "ssss", "≥ 0.8", "> 8x"),
    ("xXXX", "XXXX", "< 0.1", "–"),
    ("s-XX", "sssX", "0.4", "–"),
    ("ssss", "ssss", "≥ 0.8", "–"),
    ("ssss", "sssX", "0.4", "≤ 0.5x"),
    ("ssss", "XXXX", "< 0.1", "< 0.125x"),
  ],
)
def test_the_edge_is_the_last_rate_before_the_first_loss(
  naive: str, gc: str, edge: str, times: str, tmp_path: Path
):
  (of_naive, of_gc) = edges(tmp_path, {"naive": naive, "gc": gc})
  assert of_gc == ["gc", edge, times]
  assert of_naive[0] == "naive"


def test_an_edge_is_compared_with_naive_of_its_own_model(tmp_path: Path):
  sweep = Sweep("s", ["small", "large"], ["naive", "gc"], learning_rates=[0.1, 0.2])
  lost = ("large-naive-rate=0.2",)
  ends = {t.name: [LOST if t.name.startswith(lost) else OK] for t in sweep.trials()}
  document = summary.summary(sweep, table_of(tmp_path, sweep, ends))
  assert [[entry.text for entry in row] for row in document.tables[1].rows] == [
    ["small", "naive", "≥ 0.2", "–"],
    ["small", "gc", "≥ 0.2", "–"],
    ["large", "naive", "0.1", "1x"],
    ["large", "gc", "≥ 0.2", "≥ 2x"],
  ]
  figures = document.figures.drop_duplicates(["model", "method"])
  assert figures.edge.tolist() == [0.2, 0.2, 0.1, 0.2]


def test_without_naive_or_with_one_rate_there_are_no_edges(tmp_path: Path):
  for k, sweep in enumerate(
    [
      Sweep("s", ["large"], ["gc", "agc"], learning_rates=[0.1, 0.2]),
      Sweep("s", ["large"], ["naive", "gc"], learning_rates=[0.1]),
    ]
  ):
    document = summary.summary(sweep, table_of(tmp_path / str(k), sweep, {"": [OK]}))
    assert len(document.tables) == 3
    assert document.figures.edge.isna().all()


def test_rates_that_are_the_same_by_their_multipliers_count_together(tmp_path: Path):
  sweep = Sweep(
    *("s", ["large"], ["naive"]),
    learning_rates=[0.1, 0.3],
    learning_rate_multipliers=[1.0, 3.0],
  )
  ends = {t.name: [LOST if "rate=0.1-times=3" in t.name else OK] for t in sweep.trials()}
  grid = places(sweep.trials(), table_of(tmp_path, sweep, ends))
  assert Edge.of(grid) == Edge(0.1, 0.3)
