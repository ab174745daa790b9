"""ranking sweep on a sweep: what it refuses before any run, and one of the real trainer."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking import cli
from ranking.sweeps import execution, files, results
from ranking.sweeps.figures import pictures, style
from ranking.sweeps.sweep import Sweep
from tests.command_line import ROOT, ranking
from tests.conftest import FEW_FEATURES
from tests.test_sweep_results import finished, hold

pytestmark = pytest.mark.usefixtures("own_folder")

HEADER = "from __gin__ import dynamic_registration\nfrom ranking.sweeps import sweep\n"
PATHS = (
  "runs/mine/summary.md runs/mine/summary.html runs/mine/summary.csv "
  "runs/mine/table.csv runs/mine/table.parquet"
)
TINY_LOG = ["Synthetic.days=3", "Synthetic.rows_per_day=200", "Synthetic.num_users=50"]


def write(text: str, name: str = "mine") -> str:
  """A sweep of small × naive, with more in it; returns its file."""
  path = Path("experiments", f"{name}.gin")
  path.parent.mkdir(exist_ok=True)
  start = 'sweep.Sweep.models = ["small"]\nsweep.Sweep.methods = ["naive"]\n'
  path.write_text(f"{HEADER}{start}{text}\n")
  return str(path)


def sweep(file: str, *arguments: str, behaviour: str = "ok") -> int:
  return ranking("sweep", file, *arguments, behaviour=behaviour)


@pytest.mark.parametrize(
  "name",
  sorted(
    path.stem
    for path in (ROOT / "experiments").glob("*.gin")
    if not path.stem.startswith("table2_")  # a search, which test_table_commands.py looks at
  ),
)
def test_every_sweep_of_the_repository_has_trials_that_parse(name: str):
  trials = files.read(str(ROOT / "experiments" / f"{name}.gin"), Sweep).trials()
  of_one_seed = [
    trial for trial in trials if trial.coordinates["seed"] == trials[0].coordinates["seed"]
  ]
  assert of_one_seed
  for trial in of_one_seed:
    execution.log_of(trial, None)


def test_the_example_is_five_methods_at_two_rates_on_large_dcn():
  example = files.read(str(ROOT / "experiments" / "lr_multipliers.gin"), Sweep)
  assert example.name == "lr_multipliers"
  trials = example.trials()
  assert {trial.model for trial in trials} == {"large_dcn"}
  assert [(trial.method, trial.coordinates["learning_rate_multiplier"]) for trial in trials] == [
    (method, times) for method in ("naive", "gc", "agc", "lamb", "clippy") for times in (1.0, 2.0)
  ]


def sweep_of(name: str) -> Sweep:
  return files.read(str(ROOT / "experiments" / f"{name}.gin"), Sweep)


SEVERAL_LINES = ["survival_map", "survival_curves", "survival_limits"]  # of models or ablations


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("survival_kuairand", ["survival_map", "survival_curves"]),
    ("scope_kuairand", SEVERAL_LINES),
    ("accumulators_kuairand", SEVERAL_LINES),
    ("models_kuairand", SEVERAL_LINES),
    ("thresholds_kuairand", ("Clippy.relative_threshold", "Clippy.absolute_threshold")),
    ("widths_kuairand", ("ablation", "Clippy.absolute_threshold")),
    ("shift_synthetic", []),  # two ablations at one rate: its table says it
  ],
)
def test_a_sweep_has_as_many_runs_as_its_header_says_and_ends_in_pictures(
  name: str, expected: Any, tmp_path: Path
):
  sweep = sweep_of(name)
  header = (ROOT / "experiments" / f"{name}.gin").read_text().partition("\nfrom")[0]
  assert f"# {len(sweep.trials())} runs" in header
  assert f"#   make sweep SWEEP=experiments/{name}.gin" in header
  assert Path(sweep.data).stem.partition("_")[0] == name.rpartition("_")[2]
  if isinstance(expected, tuple):
    assert pictures.map_axes(sweep) == expected
    expected = ["map"]
  trials = sweep.trials()
  for trial in trials[: len(trials) // len(sweep.seeds)]:
    hold(tmp_path, trial, result=finished(trial))
  drawn = pictures.pictures(sweep, results.read([tmp_path]))
  assert [picture for picture, _ in drawn] == expected


def test_the_survival_sweep_has_ten_methods_each_with_one_setting_at_eight_rates():
  trials = sweep_of("survival_kuairand").trials()
  assert len(trials) == 10 * 8 * 2
  settings = {trial.coordinates["method"]: trial.thresholds for trial in trials}
  assert {name: list(point.values()) for name, point in settings.items() if point} == {
    "clippy_tighter": [0.5, 1e-3],
    "rms_clip": [0.1],
  }
  assert set(settings) == set(style.NAMES)


@pytest.mark.parametrize(
  ("text", "arguments", "message"),
  [
    ("sweep.Sweep.models = ['smal']", [], "no MODEL 'smal'; the nearest is 'small'"),
    ("sweep.Sweep.methods = ['gcc']", [], "no METHOD 'gcc'; the nearest is 'gc'"),
    ("sweep.Sweep.data = 'kuairan'", [], "no DATA 'kuairan'; the nearest is 'kuairand'"),
    ("sweep.Sweep.scale = 'papper'", [], "no SCALE 'papper'; the nearest is 'paper'"),
    ("", ["--raw=x"], "DATA 'synthetic' reads no raw folder; leave RAW out"),
    ("", ["--shard=3/2"], "--shard is '3/2'; make it i/n with i from 1 to n"),
    ("", ["--jobs=0"], "--jobs is 0; make it 1 or more"),
    ("sweep.Sweep.seeds = []", [], "seeds: empty, which leaves no trial"),
    (
      "sweep.Sweep.seds = [1]",
      [],
      "line 5: no setting sweep.Sweep.seds; the nearest is 'Sweep.seeds",
    ),
    ("sweep.Swep.seeds = [1]", [], "experiments/mine.gin, line 5: no setting sweep.Swep.seeds"),
    ("sweep.Sweep.seeds = [1", [], "experiments/mine.gin: a bracket or a quote is left open"),
    ("sweep.Sweep.bindings = ['Clipy.x=1']", [], "no setting Clipy.x; the nearest is"),
    ("sweep.Sweep.bindings = ['SEED=3']", [], "'SEED=3' is not of the form name.argument=value"),
    ("sweep.Sweep.bindings = ['a.b']", [], "error: SET "),
    ("sweep.Sweep.bindings = ['Lamb.multiplier=three']", [], "error: SET "),
    (
      "sweep.Sweep.bindings = ['train_and_evaluate.max_steps=1 # few']",
      [],
      "a binding of trial small-naive-times=1-seed=0 is none or several",
    ),
    (
      "from ranking.training import loop\nloop.train_and_evaluate.seed = 3",
      [],
      "mine.gin, line 6: no setting loop.train_and_evaluate.seed",
    ),
    (
      "from ranking.sweeps import search\nsearch.Search.seeds = [1]",
      [],
      "experiments/mine.gin describes Search and Sweep; make it one Sweep or one Search",
    ),
  ],
)
def test_bad_input_is_one_line_before_any_run(
  text: str, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
):
  assert sweep(write(text), *arguments) == 2
  printed = capfd.readouterr()
  assert printed.out == ""
  assert printed.err.startswith("error: ")
  assert message in printed.err
  assert len(printed.err.splitlines()) == 1
  assert not Path("runs").exists()


def test_a_sweep_that_is_not_there_names_the_nearest(capfd: pytest.CaptureFixture[str]):
  write("", "lr_multipliers")
  assert sweep("experiments/lr_multiplier.gin") == 2
  assert capfd.readouterr().err == (
    "error: no experiment 'experiments/lr_multiplier.gin'; "
    "the nearest is 'experiments/lr_multipliers.gin'\n"
  )


def test_a_sweep_without_models_is_refused(capfd: pytest.CaptureFixture[str]):
  path = Path("empty.gin")
  path.write_text(f"{HEADER}sweep.Sweep.seeds = [1]\n")
  assert sweep(str(path)) == 2
  assert "missing 2 required positional arguments: 'models' and 'methods'" in capfd.readouterr().err


def test_a_run_that_fails_twice_is_in_the_report_and_the_table_and_makes_the_exit_code_1(
  capfd: pytest.CaptureFixture[str],
):
  file = write("sweep.Sweep.methods = ['naive', 'gc', 'clippy']")
  assert sweep(file, behaviour="fails:-gc-") == 1
  name = "small-gc-times=1-seed=0"
  printed = capfd.readouterr()
  assert printed.err == (
    f"failed twice: {name}: exit code 1: error: {name} cannot, start 2; "
    f"see runs/mine/{name}/output.txt\n"
  )
  assert printed.out.splitlines()[-1] == f"runs/mine: 1 ok, 1 failed, 1 diverged; {PATHS}"
  table = pd.read_parquet("runs/mine/table.parquet").drop_duplicates("trial").set_index("trial")
  assert table.status[name] == "failed"
  assert table.error[name] == f"exit code 1: error: {name} cannot, start 2"
  assert sweep(file) == 0
  assert len(Path("calls.txt").read_text().splitlines()) == 3 + 1 + 1
  capfd.readouterr()
  assert sweep(file, behaviour="fails:") == 0  # there is nothing left to run
  assert [line for line in capfd.readouterr().out.splitlines() if line[0] != "|"] == [
    f"runs/mine: 2 ok, 1 diverged; {PATHS}"
  ]


RATES = "sweep.Sweep.methods = ['naive', 'gc']\nsweep.Sweep.learning_rates = [0.1, 0.2]\n"
GRID = (
  "m/sweep.Method.name = 'clippy'\nm/sweep.Method.thresholds = [{'Clippy.relative_threshold': "
  "[0.1, 0.5], 'Clippy.absolute_threshold': [1e-2, 1e-3]}]\n"
  "sweep.Sweep.methods = [@m/sweep.Method()]\n"
)
ONE = GRID.replace("[0.1, 0.5]", "[0.5]")
ABLATIONS = "sweep.Sweep.ablations = {'a': [], 'b': ['DenseLayers.hidden_units=[64, 64]']}\n"
MODELS = "sweep.Sweep.models = ['small', 'large']\n"
SEVERAL = ["survival_curves.png", "survival_curves.svg", "survival_map.png", "survival_map.svg"]
MAP = ["map.png", "map.svg"]


@pytest.mark.parametrize(
  ("text", "drawn"),
  [
    (RATES, SEVERAL),
    ("sweep.Sweep.learning_rate_multipliers = [1.0, 2.0]", SEVERAL),
    (RATES + GRID, SEVERAL),
    (GRID, MAP),
    (GRID + ABLATIONS, MAP),  # a panel for each ablation
    (ONE + ABLATIONS, MAP),
    (MODELS + ABLATIONS, []),
    (ONE, []),
    (ABLATIONS, []),
    (MODELS, []),
    ("", []),
  ],
)
def test_a_sweep_ends_in_a_summary_and_in_pictures_of_its_axes(
  text: str, drawn: list[str], capfd: pytest.CaptureFixture[str]
):
  assert sweep(write(text)) == 0
  names = {path.name for path in Path("runs/mine").iterdir() if path.is_file()} - {"prepare.txt"}
  assert names == {*map(os.path.basename, PATHS.split()), *drawn}
  printed = capfd.readouterr().out.splitlines()
  assert set(printed[-1].split()) >= {f"runs/mine/{name}" for name in names}
  table = [line for line in printed if line.startswith("|")]
  assert table == [
    line
    for line in Path("runs/mine/summary.md").read_text().split("\n## ")[1].splitlines()
    if line.startswith("|")
  ]
  assert len(table) > 2
  first = {name: Path("runs/mine", name).read_bytes() for name in names}
  assert sweep(write(text), behaviour="fails:") == 0
  assert {name: Path("runs/mine", name).read_bytes() for name in names} == first


@pytest.mark.parametrize("text", [RATES, GRID, MODELS + ABLATIONS])
def test_a_sweep_of_which_every_run_failed_ends_in_a_summary_that_says_so(
  text: str, capfd: pytest.CaptureFixture[str]
):
  assert sweep(write(text), behaviour="fails:") == 1
  assert "0 of 1 runs, 1 failed" in Path("runs/mine/summary.md").read_text()
  assert not list(Path("runs/mine").glob("*.png"))
  assert "Traceback" not in capfd.readouterr().err


def test_a_shard_ends_in_a_summary_and_pictures_of_what_there_is():
  assert sweep(write(RATES + "sweep.Sweep.seeds = [0, 1]"), "--shard=1/3") == 0
  text = Path("runs/mine/summary.md").read_text()
  assert "3 of 8 runs finished" in text
  assert "| naive | 0.1 | *1 of 2 runs* | – |" in text
  assert Path("runs/mine/survival_map.png").is_file()


def test_shards_that_share_a_folder_end_with_the_whole_table():
  file = write("sweep.Sweep.seeds = [0, 1, 2]")
  assert sweep(file, "--shard=1/2") == 0
  assert len(Path("calls.txt").read_text().splitlines()) == 2
  assert sweep(file, "--shard=2/2") == 0
  assert len(Path("calls.txt").read_text().splitlines()) == 3
  assert pd.read_csv("runs/mine/table.csv").trial.nunique() == 3


def test_a_sweep_that_was_changed_under_its_name_is_refused(capfd: pytest.CaptureFixture[str]):
  sweep(write(""))
  assert sweep(write("sweep.Sweep.bindings = ['train_and_evaluate.max_steps=3']")) == 2
  assert "holds a run with bindings" in capfd.readouterr().err


@pytest.mark.parametrize(("jobs", "threads"), [(1, "None"), (2, "1"), (3, "1")])
def test_runs_share_the_cores(jobs: int, threads: str, monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
  monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
  sweep(write(""), f"--jobs={jobs}")
  assert Path("calls.txt").read_text().split()[1] == threads


def test_every_log_of_a_sweep_is_prepared_once():
  trials = Sweep(
    "s",
    ["small", "large"],
    ["naive", "clippy"],
    ablations={
      "none": [],
      "no_dcn": ["SharedBottom.blocks=[@DenseLayers()]"],
      "noise": ["Synthetic.num_noise_features=8"],
      "history": ["Lookback.history=10"],
      "less": ["train_and_evaluate.without_tasks=['like']", "Inputs.without_features=['tab']"],
      "elsewhere": ["train_and_evaluate.store_directory='there'"],
    },
    days_left_out=[0, 1],
    bindings=TINY_LOG,
  ).trials()
  first = execution.of_each_log(trials, None)
  assert {(trial.model, trial.method) for trial in first} == {("small", "naive")}
  assert [
    (trial.coordinates["ablation"], trial.coordinates["days_left_out"]) for trial in first
  ] == [(name, day) for name in ("none", "noise", "history", "elsewhere") for day in (0, 1)]


def test_a_log_is_prepared_with_the_flags_of_a_trial():
  assert sweep(write("sweep.Sweep.seeds = [0, 1]")) == 0
  (line,) = Path("prepared.txt").read_text().splitlines()
  assert line == (
    "--model=small --method=naive --data=synthetic --scale=proxy "
    "--set=train_and_evaluate.learning_rate_multiplier=1.0 train_and_evaluate.seed=0"
  )


def test_the_real_trainer_runs_a_sweep_one_run_of_which_diverges(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  bindings = [
    *TINY_LOG,
    FEW_FEATURES,
    "train_and_evaluate.batch_size=16",
    "train_and_evaluate.max_steps=11",
  ]
  bindings += ["train_and_evaluate.store_directory='a/b'"]
  file = write(f"sweep.Sweep.learning_rates = [0.05, 1e30]\nsweep.Sweep.bindings = {bindings}")
  assert cli.main(["sweep", file]) == 0
  table = pd.read_parquet("runs/mine/table.parquet")
  clicks = table[table.task == "click"].set_index("learning_rate")
  assert clicks.status.to_dict() == {0.05: "ok", 1e30: "diverged"}
  for run, value in zip(clicks.run, clicks.value, strict=True):
    auc = json.loads(Path(run, "result.json").read_text())["metrics"]["click"]["auc"]
    assert value == auc or (auc is None and np.isnan(value))
  assert clicks.steps[0.05] == 11
  assert "--model=small --method=naive" in clicks.command[0.05]
  assert len(os.listdir("a/b/synthetic")) == 1
  assert not Path("data").exists()
