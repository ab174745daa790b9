"""The sweep command: what it refuses before any run begins, and a sweep of the real trainer."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import gin
import pandas as pd
import pytest

from ranking.experiments.sweep import Sweep
from scripts import sweep as command

ROOT = Path(__file__).parent.parent
FAKE = (sys.executable, str(ROOT / "tests" / "fake_trainer.py"))
HEADER = "from __gin__ import dynamic_registration\nfrom ranking.experiments import sweep\n"
TINY_LOG = ["Synthetic.days=3", "Synthetic.rows_per_day=200", "Synthetic.num_users=50"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
  monkeypatch.chdir(tmp_path)
  yield
  gin.clear_config()


def write(text: str, name: str = "mine") -> str:
  """A sweep of small × naive, with more in it; returns its file."""
  path = Path("experiments", f"{name}.gin")
  path.parent.mkdir(exist_ok=True)
  start = 'sweep.Sweep.models = ["small"]\nsweep.Sweep.methods = ["naive"]\n'
  path.write_text(f"{HEADER}{start}{text}\n")
  return str(path)


def sweep(file: str, *arguments: str, behaviour: str = "ok") -> int:
  return command.main([f"--sweep={file}", *arguments], (*FAKE, behaviour))


@pytest.mark.parametrize(
  "name",
  sorted(
    path.stem
    for path in (ROOT / "experiments").glob("*.gin")
    if not path.stem.startswith("table2_")  # a search, which test_table_commands.py looks at
  ),
)
def test_every_sweep_of_the_repository_has_trials_that_parse(name: str):
  for trial in command.read(str(ROOT / "experiments" / f"{name}.gin"), Sweep).trials():
    command.check(trial, None)


def test_the_example_is_five_methods_at_two_rates_on_large_dcn():
  example = command.read(str(ROOT / "experiments" / "lr_multipliers.gin"), Sweep)
  assert example.name == "lr_multipliers"
  assert [(t.config, t.coordinates["learning_rate_multiplier"]) for t in example.trials()] == [
    (f"large_dcn_{method}.gin", times)
    for method in ("naive", "gc", "agc", "lamb", "clippy")
    for times in (1.0, 2.0)
  ]


def test_the_calibration_is_five_methods_at_eight_rates_each_twice_the_one_before():
  trials = command.read(str(ROOT / "experiments" / "survival_kuairand.gin"), Sweep).trials()
  rates = [trial.coordinates["learning_rate"] for trial in trials]
  assert rates == [0.0125 * 2**k for k in range(8)] * 5
  assert {trial.data for trial in trials} == {"kuairand"}


@pytest.mark.parametrize(
  ("text", "arguments", "message"),
  [
    ("sweep.Sweep.models = ['smal']", [], "no CONFIG 'smal_naive.gin'; the nearest is 'small_naiv"),
    ("sweep.Sweep.methods = ['gcc']", [], "no CONFIG 'small_gcc.gin'; the nearest is 'small_gc'"),
    ("sweep.Sweep.data = 'kuairan'", [], "no DATA 'kuairan'; the nearest is 'kuairand'"),
    ("sweep.Sweep.scale = 'papper'", [], "no SCALE 'papper'; the nearest is 'paper'"),
    ("", ["--raw=x"], "DATA 'synthetic' reads no raw folder; leave RAW out"),
    ("", ["--shard=3/2"], "--shard is '3/2'; make it i/n with i from 1 to n"),
    ("", ["--jobs=0"], "--jobs is 0; make it 1 or more"),
    ("sweep.Sweep.seeds = []", [], "seeds: empty, which leaves no trial"),
    ("sweep.Sweep.seds = [1]", [], "doesn't have a parameter named 'seds'. In file"),
    ("sweep.Swep.seeds = [1]", [], "experiments/mine.gin: "),
    ("sweep.Sweep.seeds = [1", [], "experiments/mine.gin: a bracket or a quote is left open"),
    ("sweep.Sweep.bindings = ['Clipy.x=1']", [], "no setting 'Clipy.x'"),
    ("sweep.Sweep.bindings = ['SEED=3']", [], "'SEED=3' is not of the form name.argument=value"),
    ("sweep.Sweep.bindings = ['a.b']", [], "'a.b' is not of the form name.argument=value"),
    ("sweep.Sweep.bindings = ['Lamb.multiplier=three']", [], "Failed to parse token 'three'"),
    (
      "sweep.Sweep.bindings = [\"train_and_evaluate.model_name='a b.c=d'\"]",
      [],
      "a binding of trial small-naive-times=1-seed=0 is none or several",
    ),
    (
      "from ranking.training import loop\nloop.train_and_evaluate.seed = 3",
      [],
      "it binds ranking.training.loop.train_and_evaluate, which only runs read",
    ),
    (
      "from ranking.experiments import search\nsearch.Search.seeds = [1]",
      [],
      "experiments/mine.gin: it describes a Search, this needs a Sweep",
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
  assert printed.out.splitlines()[-1] == (
    "runs/mine: 1 ok, 1 failed, 1 diverged; runs/mine/table.csv runs/mine/table.parquet"
  )
  table = pd.read_parquet("runs/mine/table.parquet").drop_duplicates("trial").set_index("trial")
  assert table.status[name] == "failed"
  assert table.error[name] == f"exit code 1: error: {name} cannot, start 2"
  assert sweep(file) == 0
  assert len(Path("calls.txt").read_text().splitlines()) == 3 + 1 + 1
  capfd.readouterr()
  assert sweep(file, behaviour="fails:") == 0  # there is nothing left to run
  assert capfd.readouterr().out.splitlines() == [
    "runs/mine: 2 ok, 1 diverged; runs/mine/table.csv runs/mine/table.parquet"
  ]


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
    *("s", ["small", "large"], ["naive", "clippy"]),
    ablations={
      "none": [],
      "no_dcn": ["SharedBottom.num_cross_layers=0"],
      "noise": ["Synthetic.num_noise_features=8"],
      "history": ["Lookback.history=10"],
      "less": [
        "train_and_evaluate.without_tasks=['like']",
        "SharedBottom.without_features=['tab']",
      ],
      "earlier": ["train_and_evaluate.without_last_days=1"],
      "elsewhere": ["train_and_evaluate.store_directory='there'"],
    },
    bindings=TINY_LOG,
  ).trials()
  given = list(dict.fromkeys(command.preparing_flags(trial, None) for trial in trials))
  tiny = (
    "--set=synthetic.Synthetic.days = 3 synthetic.Synthetic.rows_per_day = 200 "
    "synthetic.Synthetic.num_users = 50"
  )
  assert given == [
    ("--data=synthetic", tiny),
    ("--data=synthetic", f"{tiny} synthetic.Synthetic.num_noise_features = 8"),
    ("--data=synthetic", f"{tiny} lookback.Lookback.history = 10"),
    ("--data=synthetic", f"{tiny} loop.train_and_evaluate.without_last_days = 1"),
    ("--data=synthetic", f"{tiny} loop.train_and_evaluate.store_directory = 'there'"),
  ]


def test_the_real_trainer_runs_a_sweep_one_run_of_which_diverges(monkeypatch: pytest.MonkeyPatch):
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  bindings = [*TINY_LOG, "train_and_evaluate.batch_size=16", "train_and_evaluate.max_steps=11"]
  bindings += ["train_and_evaluate.store_directory='a/b'"]
  file = write(f"sweep.Sweep.learning_rates = [0.05, 1e30]\nsweep.Sweep.bindings = {bindings}")
  assert command.main([f"--sweep={file}"]) == 0
  table = pd.read_parquet("runs/mine/table.parquet")
  clicks = table[table.task == "click"].set_index("learning_rate")
  assert clicks.status.to_dict() == {0.05: "ok", 1e30: "diverged"}
  for run, value in zip(clicks.run, clicks.value, strict=True):
    assert value == json.loads(Path(run, "result.json").read_text())["metrics"]["click"]["auc"]
  assert clicks.steps[0.05] == 11
  assert "--config=small_naive.gin" in clicks.command[0.05]
  assert len(os.listdir("a/b/synthetic")) == 1
  assert not Path("data").exists()
