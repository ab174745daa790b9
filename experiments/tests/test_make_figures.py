"""The figures' command: finished runs are drawn as they are, bad input is one line and exit 2."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.figures import command
from ranking.sweeps import execution, files
from ranking.sweeps.sweep import Sweep, Trial
from ranking.sweeps.trial_file import describe
from tests.fake_trainer import result

pytestmark = pytest.mark.usefixtures("own_folder", "fake_trainer")

ROOT = Path(__file__).parents[2]
HEADER = "from __gin__ import dynamic_registration\nfrom ranking.sweeps import sweep\n"
NAMES = ["1", "3", "4a", "4b", "5a", "5b", "6", "8"]
KERNELS = [
  "cross_1/dense/kernel",
  "hidden_1/kernel",
  "hidden_4/kernel",
  "click_logit/kernel",
  "seconds_logit/kernel",
]
SWEEPS = {
  "dynamics": """
sweep.Sweep.models = ["large_dcn"]
sweep.Sweep.methods = ["naive"]
sweep.Sweep.seeds = [0, 1, 2]
""",
  "methods": """
sweep.Sweep.models = ["small", "large", "large_dcn"]
sweep.Sweep.methods = ["gc", "clippy", "naive"]
sweep.Sweep.learning_rate_multipliers = [1.0, 2.0]
""",
}


@pytest.fixture
def fake_trainer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
  """Puts a program that only seems to train in the place of `ranking`; says how its runs end."""

  def put(behaviour: str) -> None:
    program = str(ROOT / "tests" / "fake_trainer.py")
    monkeypatch.setattr(execution, "RANKING", (sys.executable, program, behaviour))

  put("ok")
  return put


def losses(status: str) -> list[float]:
  """Relative losses of 200 steps that end as the status says."""
  values = 0.8 + 0.2 * np.exp(-np.arange(200) / 30)
  values += np.random.default_rng(0).normal(0, 0.003, 200)
  if status == "micro_diverged":
    values[120:123] = 3.0
  if status == "diverged":
    values[100:] = [2.0, 30.0, 5.0, *[1.0] * 97]
  return [float(value) for value in values]


def finish(trial: Trial, status: str) -> Path:
  """The run directory of a trial as the trainer leaves it."""
  run = Path("runs", str(trial.coordinates["sweep"]), trial.name)
  run.mkdir(parents=True)
  figures = {name: trial.coordinates[name] for name in ("model", "method", "seed")}
  more = {"learning_rate_multiplier": trial.coordinates["learning_rate_multiplier"]}
  (run / "result.json").write_text(json.dumps(result(0.7, status, **figures, **more)))
  (run / "trial.json").write_text(json.dumps({**describe(trial), "command": "x"}))
  observation = {
    "gradient_norm": 1.0,
    "weight_norm": 2.0,
    "direction_norm": 3.0,
    "largest_ratio": "inf",
    "factor": 1.0,
    "coordinate": [-1, -1],
    "shadow_factors": {"gc": 0.1, "agc": 1.0, "clippy": 1e-3},
  }
  steps, evals, health = [], [], []
  for step, loss in enumerate(losses(status), 1):
    steps.append({"step": step, "day": "d", "verdict": "ok", "loss": loss, "constant_loss": 1.0})
    steps[-1] |= {"output_spread": 1.0, "skipped": 0.0}
    health.append({"step": step, "clipping_factors": dict.fromkeys(KERNELS, 0.5)})
    health[-1] |= {"observations": dict.fromkeys(KERNELS, observation)}
    if step % 20 == 0:
      auc = 0.5 if status == "diverged" and step > 100 else 0.6 + step / 2000
      metrics = {
        "click": {"kind": "binary", "auc": auc},
        "seconds": {"kind": "regression", "rmse": 1.0},
      }
      evals.append({"step": step, "metrics": metrics})
  for name, rows in (("metrics", steps), ("evals", evals), ("health", health)):
    (run / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  return run


def finished_sweeps(dynamics: tuple[str, ...] = ("micro_diverged", "diverged", "ok")) -> list[Path]:
  """Two sweeps that need not run; returns the directories of the first."""
  Path("experiments").mkdir()
  runs = []
  for kind, text in SWEEPS.items():
    file = Path("experiments", f"{kind}_toy.gin")
    file.write_text(HEADER + text)
    for trial in files.read(str(file), Sweep).trials():
      method, seed = trial.coordinates["method"], trial.coordinates["seed"]
      status = dynamics[seed] if kind == "dynamics" else "diverged" if method == "naive" else "ok"
      runs.append(finish(trial, status))
  return runs[: len(dynamics)]


def draw(*arguments: str) -> int:
  return main(["figures", "--data=toy", *arguments])


@pytest.mark.parametrize("log", ["synthetic", "kuairand"])
@pytest.mark.parametrize("kind", ["dynamics", "methods"])
def test_the_sweeps_of_the_figures_have_what_the_figures_need(kind: str, log: str):
  sweep = files.read(str(ROOT / "experiments" / f"{kind}_{log}.gin"), Sweep)
  bindings = dict(binding.split("=", 1) for binding in sweep.bindings)
  assert int(bindings["train_and_evaluate.eval_every"]) <= 25
  assert bindings["train_and_evaluate.on_divergence"] == "'continue'"
  if kind == "dynamics":
    assert bindings["train_and_evaluate.observe_every"] == "1"
    assert sweep.methods == ["naive"]
  else:
    assert set(sweep.models) == {"small", "large", "large_dcn"}


def test_every_figure_is_drawn_and_no_finished_run_is_started_again(
  capfd: pytest.CaptureFixture[str],
):
  finished_sweeps()
  assert draw("--out=pictures") == 0
  stems = [f"figure_{name}" for name in NAMES]
  assert sorted(path.name for path in Path("pictures").iterdir()) == sorted(
    f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg")
  )
  assert not Path("calls.txt").exists()
  printed = capfd.readouterr()
  assert printed.err == ""
  assert "pictures/figure_1.png pictures/figure_1.svg" in printed.out.splitlines()


def test_without_a_micro_diverged_run_figure_1_says_so(capfd: pytest.CaptureFixture[str]):
  finished_sweeps(("ok", "diverged", "ok"))
  runs = command.read_runs(Path("experiments/dynamics_toy.gin"))
  name, figure = next(command.figures_of_dynamics(runs))
  assert name == "figure_1"
  assert figure.legends == []
  assert "no run micro-diverged" in capfd.readouterr().out


@pytest.mark.parametrize(("lost_steps", "shown"), [(60, 1), (30, 0)], ids=["seen out", "cut short"])
def test_the_run_that_was_healthy_longest_is_shown_if_it_was_seen_out(lost_steps: int, shown: int):
  runs = finished_sweeps(("diverged", "diverged", "ok"))
  path = runs[1] / "metrics.jsonl"
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  late = [*rows[:90], *rows[50:90], *rows[100 : 100 + lost_steps]]  # forty healthy steps more
  late = [{**row, "step": step} for step, row in enumerate(late, 1)]
  path.write_text("".join(json.dumps(row) + "\n" for row in late))
  table = command.read_runs(Path("experiments/dynamics_toy.gin"))
  run, marked = command.latest_to_diverge(table)
  assert run == runs[shown]
  assert marked.b == (131 if shown else 101)


@pytest.mark.parametrize(
  ("name", "lacks", "message"),
  [
    ("health", "observations", "no observations; train it with train_and_evaluate.observe_every=1"),
    ("evals", "", "was evaluated once; train it with train_and_evaluate.eval_every=10"),
  ],
)
def test_a_missing_series_is_one_line_that_names_the_binding(
  name: str, lacks: str, message: str, capfd: pytest.CaptureFixture[str]
):
  run = finished_sweeps()[1]
  path = run / f"{name}.jsonl"
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  rows = [{k: v for k, v in row.items() if k != lacks} for row in rows] if lacks else rows[:1]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  assert draw() == 2
  assert capfd.readouterr().err.splitlines() == [f"error: {run} {'has ' if lacks else ''}{message}"]


def test_dynamics_without_a_divergence_are_one_line(capfd: pytest.CaptureFixture[str]):
  finished_sweeps(("ok", "ok", "ok"))
  assert draw() == 2
  assert capfd.readouterr().err == (
    "error: no run for Figures 1, 4 and 8 in sweep dynamics_toy: none diverged\n"
  )


def test_a_log_without_sweeps_names_the_nearest(capfd: pytest.CaptureFixture[str]):
  finished_sweeps()
  assert draw("--data=tony") == 2
  (line,) = capfd.readouterr().err.splitlines()
  assert line.startswith("error: no ")
  assert line.endswith("the nearest is 'experiments/dynamics_toy.gin'")


def test_a_run_that_fails_ends_the_command_as_it_ends_a_sweep(
  fake_trainer: Callable[[str], None], capfd: pytest.CaptureFixture[str]
):
  fake_trainer("fails:naive")
  run = finished_sweeps()[0]
  (run / "result.json").unlink()
  assert draw("--jobs=1") == 1
  assert "failed twice" in capfd.readouterr().err
  assert not Path("experiments", "results").exists()


def test_arguments_of_the_sweep_are_passed_on(capfd: pytest.CaptureFixture[str]):
  finished_sweeps()
  assert draw("--jobs=0") == 2
  assert capfd.readouterr().err == "error: --jobs is 0; make it 1 or more\n"
