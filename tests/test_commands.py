"""The commands beside training, as a person runs them."""

import json
import subprocess
import sys
from pathlib import Path

from ranking.commands.doctor import available_memory

LOG = "Synthetic.days=4 Synthetic.rows_per_day=200 Synthetic.num_users=50"


def ranking(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
  line = [sys.executable, "-m", "ranking", *arguments]
  return subprocess.run(line, capture_output=True, text=True, cwd=cwd, check=False)


def test_prepare_makes_the_store_that_the_same_settings_train_on(tmp_path: Path) -> None:
  settings = "store_directory='my/stores' without_last_days=1"
  options = " ".join([LOG, *(f"train_and_evaluate.{setting}" for setting in settings.split())])
  done = ranking("prepare", "--data=synthetic", f"--set={options}", cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert "Rows and positives per day" in done.stdout
  store = done.stdout.strip().splitlines()[-1]
  assert store.startswith("my/stores/synthetic/")
  assert (tmp_path / store / "summary.md").read_text() in done.stdout
  run = ["--config=small_naive.gin", "--scale=proxy", "--run=run"]
  short = "train_and_evaluate.max_steps=1 train_and_evaluate.batch_size=32"
  trained = ranking("train", *run, f"--set={options} {short}", cwd=tmp_path)
  assert trained.returncode == 0, trained.stderr
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert result["store"] == store
  assert (len(result["train_days"]), result["eval_day"]) == (2, "2026-01-07")
  assert len(list((tmp_path / "my/stores/synthetic").iterdir())) == 1


def test_prepare_refuses_in_one_line(tmp_path: Path) -> None:
  done = ranking("prepare", "--data=kuairand", "--raw=nowhere", cwd=tmp_path)
  assert done.returncode == 2
  assert done.stderr.startswith("error: RAW folder nowhere is not there")
  assert len(done.stderr.strip().splitlines()) == 1


def test_doctor_finds_this_machine_fit_for_training(tmp_path: Path) -> None:
  done = ranking("doctor", cwd=tmp_path)
  assert done.returncode == 0, done.stdout
  assert "legacy Keras 2" in done.stdout
  assert "Traceback" not in done.stderr


def test_memory_that_holds_files_counts_as_available(tmp_path: Path) -> None:
  (tmp_path / "meminfo").write_text("MemFree: 1048576 kB\nMemAvailable:   8388608 kB\n")
  assert available_memory(tmp_path / "meminfo") == 8.0
  assert available_memory(tmp_path / "none") > 0


def finished(directory: Path, loss_at_the_end: float | str) -> Path:
  """A run directory as small as `plot` accepts."""
  metrics = {"click": {"kind": "binary", "auc": 0.7}}
  steps = [
    {"step": k, "loss": 2.0, "constant_loss": 4.0, "clipping_factor": 0.5} for k in range(1, 21)
  ]
  steps[-1]["loss"] = loss_at_the_end  # type: ignore[assignment]
  directory.mkdir(parents=True)
  (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))
  (directory / "evals.jsonl").write_text(json.dumps({"step": 20, "metrics": metrics}) + "\n")
  return directory


def test_runs_are_drawn_over_each_other_a_diverged_one_included(tmp_path: Path) -> None:
  runs = [finished(tmp_path / "gc", 2.0), finished(tmp_path / "naive", "nan")]
  done = ranking("plot", *map(str, runs), "--out=pictures/curves.png", cwd=tmp_path)
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "pictures" / "curves.png").read_bytes().startswith(b"\x89PNG")
