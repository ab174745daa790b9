"""The table of sweeps: what result.json says, a row per run and task, and nothing else."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ranking.sweeps import results
from ranking.sweeps.sweep import Method, Sweep, SweepError, Trial
from ranking.sweeps.trial_file import describe
from tests.command_line import ranking
from tests.fake_trainer import result

GC = Method("gc", thresholds=[{"GradientClipping.threshold": [0.1, 0.01]}])
SWEEP = Sweep("s", ["large"], ["naive", GC], learning_rates=[0.1], seeds=[0, 1])
TRIALS = SWEEP.trials()
AUC = 0.7252336010302275  # has 16 digits


def hold(root: Path, trial: Trial, **files: Any) -> Path:
  """A run directory with its trial.json, and with files such as result=…"""
  directory = root / trial.name
  directory.mkdir(parents=True)
  description = {**describe(trial), "command": f"python -m … --run={directory}"}
  for name, content in {"trial": description, **files}.items():
    (directory / f"{name}.json").write_text(json.dumps(content))
  return directory


def finished(trial: Trial, auc: Any = AUC, **more: Any) -> dict[str, Any]:
  names = ("model", "method", "learning_rate", "learning_rate_multiplier", "seed")
  return result(auc, **{**{name: trial.coordinates[name] for name in names}, **more})


def test_a_run_has_a_row_for_each_task_with_the_figures_of_its_result(tmp_path: Path):
  directory = hold(tmp_path, TRIALS[1], result=finished(TRIALS[1]))
  click, seconds = results.read([tmp_path]).to_dict("records")
  assert {name: click[name] for name in results.COLUMNS if name != "error"} == {
    **{"sweep": "s", "trial": TRIALS[1].name, "model": "large", "method": "gc"},
    **{"thresholds": "threshold=0.1", "ablation": "none", "days_left_out": 0},
    "learning_rate": 0.1,
    **{"learning_rate_multiplier": 1.0, "seed": 0, "dataset": "synthetic", "scale": "proxy"},
    **{"eval_day": "2026-01-18", "window_hours": 24.0, "batch_size": 512, "status": "ok"},
    **{"normalised_entropy": 0.9, "gauc": 0.65, "gauc_low": 0.6, "gauc_high": 0.7},
    **{"ndcg": 0.85, "ndcg_low": 0.8, "ndcg_high": 0.9},
    **{"reason": None, "recovered_at_step": None, "verdict": None},
    **{"diverged_at_step": None, "micro_divergences": 0, "skipped_steps": 0, "steps": 507},
    **{"seconds": 42.5, "examples_per_second": 1e4, "task": "click", "kind": "binary"},
    **{"measure": "auc", "value": AUC, "ci95_low": 0.6, "ci95_high": 0.8, "rows": 100},
    **{"positives": 40, "logloss": 0.5, "relative_loss": 0.9},
    **{"calibration": 1.1, "nonfinite": 0},
    **{"run": str(directory), "git_commit": "abc", "command": "python -m …"},
  }
  assert click["GradientClipping.threshold"] == 0.1
  assert (seconds["task"], seconds["measure"], seconds["value"]) == ("seconds", "rmse", 1.5)
  assert seconds["positives"] is None
  assert math.isnan(seconds["ci95_low"])


def test_a_figure_that_is_not_finite_is_not_a_number_and_its_run_stays(tmp_path: Path):
  more = {"diverged_at_step": 7, "micro_divergences": [3, 5], "skipped_steps": 10}
  hold(tmp_path, TRIALS[0], result=finished(TRIALS[0], None, status="diverged", **more))
  hold(tmp_path, TRIALS[1], result=finished(TRIALS[1], "nan"))
  hold(tmp_path, TRIALS[2], result=finished(TRIALS[2], "inf"))
  table = results.read([tmp_path])
  clicks = table[table.task == "click"].set_index("trial")
  assert math.isnan(clicks.value[TRIALS[0].name])
  assert math.isnan(clicks.value[TRIALS[1].name])
  assert clicks.value[TRIALS[2].name] == math.inf
  lost = clicks.loc[TRIALS[0].name]
  assert (lost.status, lost.diverged_at_step, lost.micro_divergences) == ("diverged", 7, 2)


def test_a_run_without_figures_has_a_row_without_a_task(tmp_path: Path):
  hold(tmp_path, TRIALS[0], result={**finished(TRIALS[0], status="diverged"), "metrics": {}})
  (lost,) = results.read([tmp_path]).to_dict("records")
  assert (lost["status"], lost["task"]) == ("diverged", None)


def test_a_failed_run_and_an_unfinished_one_have_a_row_without_a_task(tmp_path: Path):
  hold(tmp_path, TRIALS[0], failed={"error": "exit code 1: MemoryError", "exit_code": 1})
  hold(tmp_path, TRIALS[1])
  unfinished, failed = results.read([tmp_path]).to_dict("records")
  assert (failed["status"], failed["error"]) == ("failed", "exit code 1: MemoryError")
  assert (failed["method"], failed["dataset"], failed["task"]) == ("naive", "synthetic", None)
  assert failed["command"].endswith(f"--run={tmp_path / TRIALS[0].name}")
  assert (unfinished["status"], unfinished["method"]) == ("unfinished", "gc")


def test_both_files_hold_the_table_to_the_last_digit(tmp_path: Path):
  for k, trial in enumerate(TRIALS):
    hold(tmp_path / "s", trial, result=finished(trial, AUC - k * 1e-16))
  table = results.read([tmp_path / "s"])
  csv, parquet = results.write(table, tmp_path / "tables" / "s")
  pd.testing.assert_frame_equal(pd.read_parquet(parquet), table)
  read = pd.read_csv(csv, float_precision="round_trip")
  assert read.value.tolist() == table.value.tolist()
  assert str(AUC) in csv.read_text()
  assert sorted(path.name for path in csv.parent.iterdir()) == ["s.csv", "s.parquet"]


def test_no_method_is_lost_when_pandas_groups_the_csv(tmp_path: Path):
  for trial in TRIALS:
    hold(tmp_path / "s", trial, result=finished(trial))
  csv, _ = results.write(results.read([tmp_path / "s"]), tmp_path / "s")
  clicks = pd.read_csv(csv).query("task == 'click'")
  seeds = clicks.groupby(["method", "thresholds", "ablation"]).seed.count()
  assert seeds.to_dict() == {
    ("gc", "threshold=0.01", "none"): 2,
    ("gc", "threshold=0.1", "none"): 2,
    ("naive", "default", "none"): 2,
  }


def test_shards_of_two_machines_make_one_table_with_each_trial_once(tmp_path: Path):
  a, b = tmp_path / "a", tmp_path / "b"
  hold(a, TRIALS[0], result=finished(TRIALS[0], 0.1))
  hold(a, TRIALS[1], failed={"error": "it broke", "exit_code": 1})
  hold(a, TRIALS[2])
  hold(b, TRIALS[0], result=finished(TRIALS[0], 0.2))
  hold(b, TRIALS[1], result=finished(TRIALS[1], 0.3))
  hold(b, TRIALS[2], failed={"error": "it broke", "exit_code": 1})
  table = results.read([a, b]).drop_duplicates("trial").set_index("trial")
  assert len(table) == 3
  assert table.value[TRIALS[0].name] == 0.1
  assert table.value[TRIALS[1].name] == 0.3
  assert table.status[TRIALS[2].name] == "failed"


def test_a_searched_setting_of_words_and_numbers_is_a_column_of_words(tmp_path: Path):
  method = Method("gc", thresholds=[{"a.scope": ["global", "layer"]}, {"a.scope": [3]}])
  for trial in Sweep("s", ["large"], [method, "naive"]).trials():
    hold(tmp_path / "s", trial)
  _, parquet = results.write(results.read([tmp_path / "s"]), tmp_path / "s")
  assert pd.read_parquet(parquet)["a.scope"].tolist() == ["3", "global", "layer", pd.NA]


def test_the_command_writes_both_files_and_counts_the_runs(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
  hold(tmp_path / "s", TRIALS[0], result=finished(TRIALS[0], status="diverged"))
  hold(tmp_path / "s", TRIALS[1], result=finished(TRIALS[1]))
  hold(tmp_path / "s", TRIALS[2], result=finished(TRIALS[2]))
  out = tmp_path / "tables" / "all"
  assert ranking("join", str(tmp_path / "s"), f"--out={out}") == 0
  assert capsys.readouterr().out == f"2 ok, 1 diverged; {out}.csv {out}.parquet\n"


def test_a_folder_without_runs_is_refused_and_so_is_a_broken_file(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
  assert ranking("join", str(tmp_path), "--out=table") == 2
  assert (
    capsys.readouterr().err
    == f"error: {tmp_path} holds no run of a sweep (no */trial.json); run its sweep first\n"
  )
  directory = hold(tmp_path, TRIALS[0])
  (directory / "result.json").write_text("{")
  with pytest.raises(SweepError, match=rf"{directory} cannot be read \(ValueError: .*is damaged"):
    results.read([tmp_path])
