"""Table 3: its ratios, its tests, what its design can see; and its command, with a fake trainer."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments import table3
from experiments.__main__ import main
from experiments.tests.project import RESULTS
from ranking.measures.ratios import divergence_ratio, fisher_test
from ranking.measures.significance import holm
from ranking.sweeps import execution, files, results
from ranking.sweeps.sweep import Sweep, SweepError
from ranking.sweeps.tables import rendering
from tests.test_sweep_results import finished, hold

ROOT = Path(__file__).parents[2]
SWEEP = Sweep(
  name="s",
  models=["large_dcn"],
  methods=["naive"],
  learning_rates=[0.1],
  seeds=list(range(10)),
  ablations={"no_dcn": ["a.b=0"], "unchanged": [], "small_layers": ["a.b=1"], "wide": ["a.b=2"]},
)
COUNTS = {"no_dcn": 3, "unchanged": 10, "small_layers": 9, "wide": 10}


def ablated(folder: Path, diverged: Mapping[str, int], runs: int = 10) -> pd.DataFrame:
  """Results in which so many seeds of each ablation diverged; of small layers so many have run."""
  for trial in SWEEP.trials():
    seed, ablation = trial.coordinates["seed"], trial.coordinates["ablation"]
    status = "diverged" if seed < diverged[ablation] else "micro_diverged"
    if seed < runs or ablation != "small_layers":
      hold(folder, trial, result=finished(trial, 0.7, status=status))
    else:
      hold(folder, trial)
  return results.read([folder])


def test_it_has_the_ratios_with_intervals_and_tests_against_the_unchanged_model(tmp_path: Path):
  document = table3.table3(SWEEP, ablated(tmp_path, COUNTS))
  ratios = {name: divergence_ratio(count, 10) for name, count in COUNTS.items()}
  changed = ["no_dcn", "small_layers", "wide"]
  p = [fisher_test(ratios["unchanged"], ratios[name]) for name in changed]
  adjusted = holm(p)
  figures = document.figures.set_index("ablation")
  assert list(figures.index) == ["unchanged", *changed]
  for name, ratio in ratios.items():
    assert (figures.diverged[name], figures.runs[name]) == (ratio.diverged, ratio.runs)
    assert figures.ratio[name] == ratio.value
    assert (figures.ci95_low[name], figures.ci95_high[name]) == ratio.ci95
  assert figures.p[changed].tolist() == p
  assert figures.p_holm[changed].tolist() == adjusted
  assert [[entry.text for entry in row] for row in document.tables[0].rows][:2] == [
    ["unchanged", "10", "10", "100%", "72% … 100%", "–", "–"],
    ["no dcn", "3", "10", "30%", "11% … 60%", f"{p[0]:.3f}", f"{adjusted[0]:.3f}"],
  ]
  assert len(document.tables[1].rows) == 40


@pytest.mark.parametrize(
  ("unchanged", "told"),
  [
    # Three times Fisher's p is 0.03 at 4 of 10, and 0.10 at 5 of 10.
    (10, "the clearest of the 3 is told apart from 4 of 10 downwards"),
    (5, "no change that diverges less often can be told apart"),
  ],
)
def test_it_says_what_its_design_can_see(unchanged: int, told: str, tmp_path: Path):
  document = table3.table3(SWEEP, ablated(tmp_path, {**COUNTS, "unchanged": unchanged}))
  assert f"with {unchanged} of 10 diverged unchanged, {told}" in document.paragraphs[-1]


def test_an_ablation_that_is_not_finished_has_no_figure_and_counts_as_a_comparison(tmp_path: Path):
  document = table3.table3(SWEEP, ablated(tmp_path, COUNTS, runs=7))
  unfinished = document.tables[0].rows[2]
  assert [entry.text for entry in unfinished] == ["small layers", "7 of 10 runs", *["–"] * 5]
  figures = document.figures.set_index("ablation")
  p = fisher_test(divergence_ratio(10, 10), divergence_ratio(3, 10))
  assert figures.p_holm["no_dcn"] == pytest.approx(3 * p)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"learning_rates": [0.1, 0.2]}, "s: Table 3 needs .*; got 8 settings, 1 of the 4 ablations"),
    ({"methods": ["naive", "gc"]}, "got 8 settings"),
    ({"ablations": {"a": ["a.b=0"]}}, "got 1 settings, 0 of the 1 ablations"),
    ({"ablations": {"a": [], "b": []}}, "two trials are"),
  ],
)
def test_a_sweep_that_is_no_table_3_is_refused(changes: dict[str, Any], message: str):
  axes = {"models": ["small"], "methods": ["naive"], "ablations": SWEEP.ablations}
  with pytest.raises(SweepError, match=message):
    table3.unchanged(Sweep(name="s", **{**axes, **changes}))


def test_the_published_one_is_what_the_published_runs_say():
  folder = RESULTS / "table3_kuairand"
  sweep = files.read(str(ROOT / "experiments" / "table3_kuairand.gin"), Sweep)
  document = table3.table3(sweep, pd.read_parquet(folder / "table.parquet"))
  assert rendering.markdown(document).split() == (folder / "table3.md").read_text().split()


@pytest.mark.usefixtures("own_folder")
def test_the_command_runs_what_is_missing_and_writes_the_table(
  monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
  fake = str(ROOT / "tests" / "fake_trainer.py")
  monkeypatch.setattr(execution, "RANKING", (sys.executable, fake, "ok"))
  sweep = """
from __gin__ import dynamic_registration
from ranking.sweeps import sweep
sweep.Sweep.models = ["large_dcn"]
sweep.Sweep.methods = ["naive"]
sweep.Sweep.ablations = {"unchanged": [], "short": ["train_and_evaluate.max_steps=1"]}
"""
  Path("mine.gin").write_text(sweep)
  assert main(["table3", "mine.gin"]) == 0
  written = sorted(path.name for path in Path("runs/mine").glob("table*"))
  assert written == ["table.csv", "table.parquet", "table3.csv", "table3.html", "table3.md"]
  assert len(Path("calls.txt").read_text().splitlines()) == 2
  assert "| unchanged | 1 | 1 | 100% |" in capfd.readouterr().out
  assert main(["table3", "mine.gin"]) == 0
  assert len(Path("calls.txt").read_text().splitlines()) == 2
  Path("mine.gin").write_text(sweep.replace('"unchanged": [], ', ""))
  assert main(["table3", "mine.gin"]) == 2
  assert capfd.readouterr().err.startswith("error: mine: Table 3 needs ablations")
