"""The commands beside training, as a person runs them."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def python(*arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
  line = [sys.executable, *arguments]
  return subprocess.run(line, capture_output=True, text=True, cwd=cwd, check=False)


def test_prepare_prints_where_the_store_is_and_what_is_in_it(tmp_path: Path) -> None:
  options = "Synthetic.days=3 Synthetic.rows_per_day=200 Synthetic.num_users=50"
  script = str(ROOT / "scripts" / "prepare_data.py")
  done = python(script, "--data=synthetic", f"--set={options}", cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert "Rows and positives per day" in done.stdout
  store = tmp_path / done.stdout.strip().splitlines()[-1]
  assert (store / "schema.json").is_file()
  assert (store / "summary.md").read_text() in done.stdout


def test_prepare_makes_the_store_that_the_same_settings_train_on(tmp_path: Path) -> None:
  log = "Synthetic.days=4 Synthetic.rows_per_day=200 Synthetic.num_users=50"
  settings = "store_directory='my/stores' without_last_days=1"
  options = " ".join([log, *(f"train_and_evaluate.{setting}" for setting in settings.split())])
  script = str(ROOT / "scripts" / "prepare_data.py")
  done = python(script, "--data=synthetic", f"--set={options}", cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  store = done.stdout.strip().splitlines()[-1]
  assert store.startswith("my/stores/synthetic/")
  run = ["--config=small_naive.gin", "--scale=proxy", "--run=run"]
  short = "train_and_evaluate.max_steps=1 train_and_evaluate.batch_size=32"
  trained = python("-m", "ranking.main", *run, f"--set={options} {short}", cwd=tmp_path)
  assert trained.returncode == 0, trained.stderr
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert result["store"] == store
  assert (len(result["train_days"]), result["eval_day"]) == (2, "2026-01-07")
  assert len(list((tmp_path / "my/stores/synthetic").iterdir())) == 1


def test_prepare_refuses_in_one_line(tmp_path: Path) -> None:
  script = str(ROOT / "scripts" / "prepare_data.py")
  done = python(script, "--data=kuairand", "--raw=nowhere", cwd=tmp_path)
  assert done.returncode == 2
  assert done.stderr.startswith("error: RAW folder nowhere is not there")
  assert len(done.stderr.strip().splitlines()) == 1


def test_doctor_finds_this_machine_fit_for_training() -> None:
  done = python("-m", "ranking.commands.doctor")
  assert done.returncode == 0, done.stdout
  assert "legacy Keras 2" in done.stdout
  assert "Traceback" not in done.stderr


@pytest.mark.parametrize("script", ["bench_metrics", "bench_training"])
def test_a_benchmark_explains_itself(script: str) -> None:
  done = python("-m", f"scripts.{script}", "--help")
  assert "ratio" in done.stdout, done.stderr


def test_make_passes_every_setting_on_and_prints_the_line_it_runs() -> None:
  line = ["make", "--dry-run", "--silent", "train", "CONFIG=a.gin", "DATA=kuairand", "SCALE=proxy"]
  line += ["RAW=some where", "RUN=runs/x", "SET=a.b='x'\n c.d=2"]
  environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
  done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
  words = shlex.split(done.stdout.replace("\\\n", " ").rpartition("python -m")[2])
  assert words == [
    *("ranking.main", "--config=a.gin", "--data=kuairand", "--scale=proxy"),
    *("--raw=some where", "--run=runs/x", "--set=a.b='x' c.d=2"),
  ]


def finished(directory: Path, method: str, seed: int, auc: float | None, status: str) -> Path:
  """A run directory as small as the scripts accept."""
  metrics = {
    "click": {"kind": "binary", "auc": auc},
    "seconds": {"kind": "regression", "rmse": 1.5 + seed},
  }
  result = {
    **{"dataset": "toy", "scale": "proxy", "model": "large", "method": method, "seed": seed},
    **{"learning_rate": 0.1, "learning_rate_multiplier": 2.0, "status": status},
    "metrics": metrics,
  }
  directory.mkdir(parents=True)
  (directory / "result.json").write_text(json.dumps(result))
  steps = [
    {"step": k, "loss": 2.0 if k < 20 else "nan", "constant_loss": 4.0, "clipping_factor": 0.5}
    for k in range(1, 21)
  ]
  (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))
  (directory / "evals.jsonl").write_text(json.dumps({"step": 20, "metrics": metrics}) + "\n")
  return directory


def test_runs_are_drawn_over_each_other_a_diverged_one_included(tmp_path: Path) -> None:
  runs = [finished(tmp_path / name, name, 0, 0.7, "ok") for name in ("gc", "naive")]
  out = tmp_path / "pictures" / "curves.png"
  done = python("-m", "ranking.commands.plot", *map(str, runs), f"--out={out}")
  assert done.returncode == 0, done.stderr
  assert out.read_bytes().startswith(b"\x89PNG")
