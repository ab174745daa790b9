"""What a run wrote down comes back as frames, numbers that are not finite included."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ranking.sweeps import series
from ranking.sweeps.series import SeriesError
from ranking.training.run_log import RunLog

SEEN = {
  "gradient_norm": 2.0,
  "weight_norm": 4.0,
  "direction_norm": 1.0,
  "largest_ratio": math.inf,
  "factor": 1.0,
  "coordinate": [-1, -1],
  "shadow_factors": {"gc": 0.05, "clippy": 0.5},
}


def step(number: int, loss: float) -> dict[str, object]:
  return {"step": number, "day": "2026-01-05", "verdict": "ok", "loss": loss, "constant_loss": 4.0}


@pytest.fixture
def run(tmp_path: Path) -> Path:
  with RunLog(tmp_path / "run") as log:
    log.steps([step(1, 4.0), step(2, 2.0)])
    log.health(2, {"hidden_1/kernel": 0.25}, {})
    log.steps([step(3, math.nan), step(4, math.inf)])
    log.health(4, {"hidden_1/kernel": 1.0}, {"hidden_1/kernel": SEEN, "embedding": SEEN})
    for number, auc in ((2, 0.6), (4, None)):
      metrics: dict[str, dict[str, Any]] = {
        "seconds": {"kind": "regression", "rmse": 1.5},
        "click": {"kind": "binary", "auc": auc},
      }
      log.evaluation(number, "2026-01-18", metrics)
  return tmp_path / "run"


def test_steps_have_the_loss_relative_to_the_constant_s(run: Path):
  steps = series.steps(run)
  assert steps.step.tolist() == [1, 2, 3, 4]
  assert steps.relative_loss.tolist() == pytest.approx([1.0, 0.5, math.nan, math.inf], nan_ok=True)


def test_evaluations_have_a_row_per_step_and_task(run: Path):
  assert series.evaluations(run).fillna(-1).to_numpy().tolist() == [
    [2, "seconds", "regression", 1.5],
    [2, "click", "binary", 0.6],
    [4, "seconds", "regression", 1.5],
    [4, "click", "binary", -1],
  ]
  assert series.headline(run).task.tolist() == ["seconds", "seconds"]  # the log's first


def test_clipping_factors_have_a_row_per_step_and_variable(run: Path):
  assert series.clipping_factors(run).to_numpy().tolist() == [
    [2, "hidden_1/kernel", 0.25],
    [4, "hidden_1/kernel", 1.0],
  ]


def test_observations_have_a_column_for_each_shadow(run: Path):
  seen = series.observations(run, ["gc", "clippy"])
  assert seen.variable.tolist() == ["hidden_1/kernel", "embedding"]
  assert seen.step.tolist() == [4, 4]
  assert seen.iloc[0].to_dict() == {
    "step": 4,
    "variable": "hidden_1/kernel",
    "gradient_norm": 2.0,
    "weight_norm": 4.0,
    "direction_norm": 1.0,
    "largest_ratio": math.inf,
    "factor": 1.0,
    "gc": 0.05,
    "clippy": 0.5,
  }


def test_a_shadow_that_was_not_observed_names_the_binding(run: Path):
  with pytest.raises(SeriesError, match=r"no observations of agc; .*train_and_evaluate\.shadows"):
    series.observations(run, ["gc", "agc"])


def test_a_run_that_was_not_observed_names_the_binding(tmp_path: Path):
  (tmp_path / "health.jsonl").write_text('{"step": 2, "clipping_factors": {"w": 1.0}}\n')
  with pytest.raises(SeriesError, match=r"no observations; .*train_and_evaluate\.observe_every=1$"):
    series.observations(tmp_path, ["gc"])


def test_a_run_that_was_evaluated_at_its_end_alone_names_the_binding(run: Path):
  (first, *_) = (run / "evals.jsonl").read_text().splitlines()
  (run / "evals.jsonl").write_text(first + "\n")
  with pytest.raises(SeriesError, match=r"evaluated once; .*train_and_evaluate\.eval_every=10$"):
    series.headline(run)


@pytest.mark.parametrize("content", [None, "", '{"step": 1, "lo'])
def test_what_is_no_series_is_one_line_that_names_it(content: str | None, tmp_path: Path):
  if content is not None:
    (tmp_path / "metrics.jsonl").write_text(content)
  with pytest.raises(SeriesError) as caught:
    series.steps(tmp_path)
  assert str(tmp_path) in str(caught.value)
  assert len(str(caught.value).splitlines()) == 1


def test_a_running_median_is_shorter_at_both_ends_and_leaves_out_what_is_not_finite():
  values = pd.Series([9.0, *range(1, 9), math.nan, math.inf, 100.0])
  median = series.running_median(values).tolist()
  assert (median[0], median[4], median[-1]) == (3.0, 5.0, 8.0)
