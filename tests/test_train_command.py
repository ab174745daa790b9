"""The training command: what it leaves behind, how it goes on, and how it refuses bad input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking.cli import main
from ranking.data.store import DayStore
from ranking.evaluation.predictions import load
from ranking.files import sealed, unsealed
from ranking.models.network import Network
from ranking.stability.monitor import DivergenceMonitor
from ranking.sweeps.paired import over_seeds
from ranking.tasks import evaluate
from ranking.training import interrupt, loop
from ranking.training.run import Run
from ranking.training.run_log import RunLog
from ranking.training.state import State
from tests.conftest import FEW_FEATURES

TINY_LOG = (
  "Synthetic.days=4 Synthetic.rows_per_day=300 Synthetic.num_users=60 Synthetic.num_videos=90"
)
TINY_RUN = "train_and_evaluate.batch_size=32 train_and_evaluate.steps_per_call=2"
RUN_FILES = (
  "config.gin",
  "result.json",
  "predictions.npz",
  "metrics.jsonl",
  "evals.jsonl",
  "health.jsonl",
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
  return tmp_path_factory.mktemp("stores")


@pytest.fixture
def settings(stores: Path) -> str:
  return f"{TINY_LOG} {FEW_FEATURES} {TINY_RUN} train_and_evaluate.store_directory='{stores}'"


@pytest.fixture(autouse=True)
def _quiet_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.chdir(tmp_path)


def command(*arguments: str, config: str = "small_clippy.gin", scale: str = "proxy") -> int:
  """The command in this process, so that a dozen refusals do not load TensorFlow a dozen times."""
  return main(["train", f"--config={config}", f"--scale={scale}", *arguments])


def start(run: Path, settings: str) -> "subprocess.Popen[str]":
  """The command in a process of its own, to be killed."""
  flags_ = ["--config=small_clippy.gin", "--scale=proxy", f"--run={run}", f"--set={settings}"]
  line = [sys.executable, "-m", "ranking", "train", *flags_]
  return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def read(run: Path, series: str) -> list[dict[str, Any]]:
  return [json.loads(line) for line in (run / f"{series}.jsonl").read_text().splitlines()]


def wait_for_step(run: Path, step: int, process: "subprocess.Popen[str]") -> None:
  checkpoints = run / "checkpoints"
  deadline = time.monotonic() + 120
  while not any(int(path.name[5:]) >= step for path in checkpoints.glob("step-*")):
    assert process.poll() is None, process.communicate()[0]
    assert time.monotonic() < deadline, "the run takes no steps"
    time.sleep(0.02)


def test_a_run_leaves_every_file_of_its_directory(tmp_path: Path, settings: str) -> None:
  run = tmp_path / "run"
  assert command(f"--run={run}", f"--set={settings} train_and_evaluate.eval_every=10") == 0
  for name in RUN_FILES:
    assert (run / name).stat().st_size > 0, name
  assert list((run / "tensorboard").iterdir())
  result = json.loads((run / "result.json").read_text())
  steps = result["steps"]
  assert [row["step"] for row in read(run, "metrics")] == list(range(1, steps + 1))
  assert [row["step"] for row in read(run, "evals")] == [*range(10, steps, 10), steps]
  assert result["metrics"] == read(run, "evals")[-1]["metrics"]
  assert (result["model"], result["method"], result["scale"]) == ("small", "clippy", "proxy")
  assert (result["dataset"], result["seed"], result["batch_size"]) == ("synthetic", 0, 32)
  assert len(result["train_days"]) == 3
  assert result["eval_day"] == "2026-01-08"
  assert result["parameters"]["non_embedding"] == 206 * 64 + 64 + 64 * 64 + 64 + 6 * 65
  assert result["metrics"]["click"]["rows"] > 250
  assert result["versions"]["tensorflow"].startswith("2.21")


def test_the_predictions_of_a_run_score_as_its_result_says(tmp_path: Path, settings: str) -> None:
  run = tmp_path / "run"
  assert command(f"--run={run}", f"--set={settings} train_and_evaluate.max_steps=8") == 0
  result, predicted = json.loads((run / "result.json").read_text()), load(run)
  store = DayStore(Path(result["store"]))
  assert predicted.day == result["eval_day"] == store.eval_day.name
  assert predicted.tasks == tuple(result["metrics"])
  assert predicted.outputs.dtype == np.float32
  labels = np.array(store.eval_day.labels)
  measured = evaluate(store.schema.tasks, store.schema.label_statistics, labels, predicted.outputs)
  for task, entry in json.loads(json.dumps(measured)).items():
    assert entry.items() <= result["metrics"][task].items()
  assert not over_seeds([(run, run)], "click").value


def test_a_run_without_tasks_knows_nothing_of_them(tmp_path: Path, settings: str) -> None:
  whole, less = tmp_path / "whole", tmp_path / "less"
  short = f"{settings} train_and_evaluate.max_steps=4"
  without = "train_and_evaluate.without_tasks=['like', 'satisfaction']"
  assert command(f"--run={whole}", f"--set={short}") == 0
  assert command(f"--run={less}", f"--set={short} {without}") == 0
  results = [json.loads((run / "result.json").read_text()) for run in (whole, less)]
  kept = ["click", "share", "complete", "log_watch_seconds"]
  assert list(results[1]["metrics"]) == kept
  assert load(less).tasks == tuple(kept)
  assert results[0]["store"] == results[1]["store"]
  counts = [result["parameters"]["non_embedding"] for result in results]
  assert counts[0] - counts[1] == 2 * (64 + 1)
  rows = [read(run, "metrics") for run in (whole, less)]
  assert [key for key in rows[1][0] if key.endswith("/loss")] == [f"{task}/loss" for task in kept]
  for row, full in zip(rows[1], rows[0], strict=True):
    assert row["loss"] == pytest.approx(sum(row[f"{task}/loss"] for task in kept), rel=1e-5)
    assert row["constant_loss"] < full["constant_loss"]
  # Before the first update, the shared layers are the same, and so is the first task's tower.
  assert rows[1][0]["click/loss"] == pytest.approx(rows[0][0]["click/loss"], rel=1e-5)
  gone = [f"{task}_logit" in text for task in ("like", "click") for text in health_of(less)]
  assert gone == [False, True]
  again = tmp_path / "again"
  assert command(f"--run={again}", config=str(less / "config.gin"), scale="paper") == 0
  assert read(again, "metrics") == rows[1]


def health_of(run: Path) -> list[str]:
  """The last line of its health series."""
  return (run / "health.jsonl").read_text().splitlines()[-1:]


def test_a_run_without_features_looks_at_the_others_alone(tmp_path: Path, settings: str) -> None:
  short = f"{settings} train_and_evaluate.max_steps=2 train_and_evaluate.observe_every=2"
  without = "Inputs.without_features=['tab', 'tags']"
  run = tmp_path / "run"
  assert command(f"--run={run}", f"--set={short} {without}") == 0
  (last,) = health_of(run)
  assert "embedding_tab/" not in last
  assert "embedding_tags/" not in last
  assert "embedding_user_id/" in last
  result = json.loads((run / "result.json").read_text())
  assert result["parameters"]["non_embedding"] == 206 * 64 + 64 + 64 * 64 + 64 + 6 * 65


def test_a_run_has_a_step_for_every_batch_the_last_partial_one_included(
  tmp_path: Path, settings: str
) -> None:
  run = tmp_path / "run"
  command(f"--run={run}", f"--set={settings}")
  result = json.loads((run / "result.json").read_text())
  (card,) = Path(settings.split("store_directory='")[1].rstrip("'")).glob("*/*/schema.json")
  train_rows = sum(json.loads(card.read_text())["rows_per_day"][:-1])
  assert result["steps"] == -(-train_rows // 32)


def test_its_config_file_makes_the_same_run_again(tmp_path: Path, settings: str) -> None:
  first, second = tmp_path / "first", tmp_path / "second"
  short = "train_and_evaluate.max_steps=6 train_and_evaluate.eval_every=None"
  command(f"--run={first}", f"--set={settings} {short} Clippy.absolute_threshold=1e-3")
  command(f"--run={second}", config=str(first / "config.gin"), scale="paper")
  assert "Clippy.absolute_threshold = 0.001" in (second / "config.gin").read_text()
  assert read(first, "metrics") == read(second, "metrics")


def test_a_seed_repeats_a_run_and_another_seed_does_not(tmp_path: Path, settings: str) -> None:
  rows = {}
  for name, seed in (("a", 0), ("b", 0), ("c", 1)):
    more = f"train_and_evaluate.max_steps=4 train_and_evaluate.seed={seed}"
    command(f"--run={tmp_path / name}", f"--set={settings} {more}")
    rows[name] = read(tmp_path / name, "metrics")
  assert rows["a"] == rows["b"]
  assert rows["a"] != rows["c"]


def test_the_multiplier_multiplies_the_base_rate(tmp_path: Path, settings: str) -> None:
  rows = {}
  for name, rate, times in (("a", 0.04, 2.0), ("b", 0.08, 1.0), ("c", 0.04, 1.0)):
    more = (
      f"train_and_evaluate.max_steps=4 train_and_evaluate.learning_rate={rate} "
      f"train_and_evaluate.learning_rate_multiplier={times}"
    )
    command(f"--run={tmp_path / name}", f"--set={settings} {more}")
    rows[name] = read(tmp_path / name, "metrics")
  assert rows["a"] == rows["b"]
  assert rows["a"] != rows["c"]


@pytest.mark.parametrize(
  ("kill", "balance"), [(signal.SIGKILL, "UncertaintyWeights"), (signal.SIGTERM, "GradNorm")]
)
def test_a_killed_run_goes_on_to_the_same_end_bit_for_bit(
  tmp_path: Path, settings: str, kill: signal.Signals, balance: str
) -> None:
  settings += " train_and_evaluate.checkpoint_every=4 train_and_evaluate.eval_every=7"
  settings += f" train_and_evaluate.balance=@{balance}()"  # has learnt something to go on with
  killed, straight = tmp_path / "killed", tmp_path / "straight"
  process = start(killed, settings)
  wait_for_step(killed, 8, process)
  process.send_signal(kill)
  output, _ = process.communicate(timeout=60)
  expected = interrupt.EXIT_CODE if kill == signal.SIGTERM else -signal.SIGKILL
  assert process.returncode == expected, output
  assert not (killed / "result.json").exists()
  assert (f"the same command with RUN={killed} goes on" in output) == (kill == signal.SIGTERM)
  assert command(f"--run={killed}", f"--set={settings}") == 0
  assert command(f"--run={straight}", f"--set={settings}") == 0
  for series in ("metrics", "evals"):
    assert read(killed, series) == read(straight, series)
  for run in (killed, straight):
    assert len(list((run / "checkpoints").iterdir())) == 2
  weights = [
    json.loads((run / "result.json").read_text())["task_weights"] for run in (killed, straight)
  ]
  assert weights[0] == weights[1]
  assert len(set(weights[0].values())) == len(weights[0])
  for file in sorted((straight / "checkpoints").glob("*/variables*")):
    assert file.read_bytes() == (killed / file.relative_to(straight)).read_bytes(), file.name


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
  tmp_path: Path, settings: str, capsys: pytest.CaptureFixture[str]
) -> None:
  settings += " train_and_evaluate.checkpoint_every=4 train_and_evaluate.max_steps=12"
  run = tmp_path / "run"
  command(f"--run={run}", f"--set={settings}")
  whole = read(run, "metrics")
  (run / "result.json").unlink()
  (damaged,) = (run / "checkpoints" / "step-00000012").glob("variables.data*")
  content = bytearray(damaged.read_bytes())
  content[100] ^= 1
  damaged.write_bytes(content)
  manifest = run / "checkpoints" / "step-00000008" / "manifest.json"
  long_ago = unsealed(manifest.read_text())
  long_ago["state"]["seconds"] += 1000
  long_ago["state"]["speed"]["seconds"] += 1000
  manifest.write_text(sealed(long_ago))
  capsys.readouterr()
  assert command(f"--run={run}", f"--set={settings}") == 0
  output = capsys.readouterr().out
  assert "passing over checkpoint" in output
  assert "does not match its CRC" in output
  assert "going on from step 8" in output
  assert read(run, "metrics") == whole
  result = json.loads((run / "result.json").read_text())
  assert result["seconds"] > 1000  # of both processes
  assert result["examples_per_second"] < 12 * result["batch_size"] / 1000


def test_what_was_changed_in_a_run_directory_is_noticed(
  tmp_path: Path, settings: str, capsys: pytest.CaptureFixture[str]
) -> None:
  settings += " train_and_evaluate.checkpoint_every=4 train_and_evaluate.max_steps=10"
  run = tmp_path / "run"
  assert command(f"--run={run}", f"--set={settings}") == 0
  whole = read(run, "metrics")
  metrics = json.loads((run / "result.json").read_text())["metrics"]

  (run / "result.json").write_text("")
  (run / "evals.jsonl").write_text("")  # written after the last checkpoint: made again
  assert command(f"--run={run}", f"--set={settings}") == 0
  assert "result.json is damaged: the run is finished again" in capsys.readouterr().out
  assert json.loads((run / "result.json").read_text())["metrics"] == metrics
  assert [row["step"] for row in read(run, "evals")] == [10]

  (run / "result.json").unlink()
  series = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
  (run / "metrics.jsonl").write_text("".join(series[:9]))  # reaches step 8, not step 10
  assert command(f"--run={run}", f"--set={settings}") == 0
  output = capsys.readouterr().out
  assert "metrics.jsonl was changed since, or does not reach it" in " ".join(output.split())
  assert "going on from step 8" in output
  assert read(run, "metrics") == whole

  (run / "result.json").unlink()
  (run / "metrics.jsonl").write_text("".join(["?", *series]))
  assert command(f"--run={run}", f"--set={settings}") == 2
  assert "is whole; bring one back, or remove" in capsys.readouterr().err
  assert (run / "metrics.jsonl").read_text() == "".join(["?", *series])  # nothing is lost

  (run / "metrics.jsonl").write_text("".join(series))
  shutil.rmtree(run / "checkpoints")
  assert command(f"--run={run}", f"--set={settings}") == 2
  assert f"{run} has 10 steps and no checkpoint; bring" in capsys.readouterr().err


def test_a_finished_run_is_not_overwritten(
  tmp_path: Path, settings: str, capsys: pytest.CaptureFixture[str]
) -> None:
  short = f"--set={settings} train_and_evaluate.max_steps=2"
  assert command(f"--run={tmp_path / 'run'}", short) == 0
  assert command(f"--run={tmp_path / 'run'}", short) == 2
  assert "is a finished run; give RUN another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("other", "message"),
  [
    ("train_and_evaluate.seed=5", r"holds a checkpoint of other settings .*seed: 0, now 5"),
    ("train_and_evaluate.without_tasks=['like']", r"/like_logit/bias with shape \[1\], the model"),
    ("Inputs.without_features=['tab']", r"resume with the configuration and version that wrote it"),
  ],
)
def test_another_configuration_does_not_go_on_from_a_checkpoint(
  tmp_path: Path, settings: str, other: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
  run = tmp_path / "run"
  short = f"{settings} train_and_evaluate.max_steps=2"
  command(f"--run={run}", f"--set={short}")
  (run / "result.json").unlink()
  assert command(f"--run={run}", f"--set={short} {other}") == 2
  assert re.search(message, capsys.readouterr().err)


def test_a_diverged_run_stops_with_exit_code_3_and_still_says_what_day_n_looks_like(
  tmp_path: Path, settings: str
) -> None:
  run = tmp_path / "run"
  hot = "train_and_evaluate.learning_rate=1e15"  # its steps are finite, what comes of them is not
  assert command(f"--run={run}", f"--set={settings} {hot}", config="small_naive") == 3
  result = json.loads((run / "result.json").read_text())
  assert result["status"] == "diverged"
  assert 1 <= result["diverged_at_step"] <= result["steps"] < 20
  assert result["skipped_steps"] >= 10  # the weights were still finite, what came of them not
  assert result["metrics"]["click"]["auc"] is None
  assert result["metrics"]["click"]["nonfinite"] > 0


def test_it_stops_after_as_many_skipped_steps_in_a_row_as_it_is_told(
  tmp_path: Path, settings: str, capsys: pytest.CaptureFixture[str]
) -> None:
  run = tmp_path / "run"
  hot = "train_and_evaluate.learning_rate=1e30 DivergenceMonitor.max_skipped=3"
  assert command(f"--run={run}", f"--set={settings} {hot}", config="small_naive") == 3
  rows = read(run, "metrics")
  skipped = [row["step"] for row in rows if row["skipped"]]
  result = json.loads((run / "result.json").read_text())
  assert result["diverged_at_step"] == skipped[0]
  assert result["skipped_steps"] == len(skipped) in (3, 4)  # it looks after every second step
  said = f"step {skipped[0]} changed nothing: its loss or gradients are not finite"
  assert said in " ".join(capsys.readouterr().out.split())


def test_a_run_does_not_go_on_behind_its_checkpoint_or_on_another_day_store(
  tmp_path: Path, settings: str, capsys: pytest.CaptureFixture[str]
) -> None:
  run = tmp_path / "run"
  assert command(f"--run={run}", f"--set={settings} train_and_evaluate.max_steps=4") == 0
  (run / "result.json").unlink()
  assert command(f"--run={run}", f"--set={settings} train_and_evaluate.max_steps=2") == 2
  assert f"{run} is at step 4 already; make train_and_evaluate.max_steps 4 or more" in (
    capsys.readouterr().err
  )
  manifest = run / "checkpoints" / "step-00000004" / "manifest.json"
  content = unsealed(manifest.read_text())
  content["state"]["store"] = "another"
  manifest.write_text(sealed(content))
  assert command(f"--run={run}", f"--set={settings} train_and_evaluate.max_steps=6") == 2
  assert f"{run} was begun on the day store another" in capsys.readouterr().err
  assert not (run / "result.json").exists()


def test_a_row_of_a_table_that_comes_twice_counts_once_in_the_norm_of_gradients(
  tmp_path: Path, settings: str, capsys: pytest.CaptureFixture[str]
) -> None:
  run = tmp_path / "run"
  all_clipped = "ClippedOptimizer.exclude='' train_and_evaluate.observe_every=1"
  one = "train_and_evaluate.max_steps=1 train_and_evaluate.steps_per_call=1"
  assert command(f"--run={run}", f"--set={settings} {all_clipped} {one}") == 0
  assert re.search(r"embedding tables .* Clippy", capsys.readouterr().out)
  (row,), (seen,) = read(run, "metrics"), read(run, "health")
  squares = [each["gradient_norm"] ** 2 for each in seen["observations"].values()]
  assert row["gradient_norm"] == pytest.approx(sum(squares) ** 0.5, rel=1e-5)


def test_a_defect_is_no_bad_input(
  tmp_path: Path, settings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  def broken(*_: object) -> None:
    raise TypeError("a defect")

  monkeypatch.setattr(Network, "parameter_counts", broken)
  with pytest.raises(TypeError, match="a defect"):
    command(f"--run={tmp_path / 'run'}", f"--set={settings}")


def test_how_much_a_run_must_learn_may_be_bound(tmp_path: Path, settings: str) -> None:
  run = tmp_path / "run"
  stern = "DivergenceMonitor.margin=0.9 DivergenceMonitor.grace=5"
  assert command(f"--run={run}", f"--set={settings} {stern}") == 0
  assert json.loads((run / "result.json").read_text())["status"] == "learned_nothing"
  assert "DivergenceMonitor.margin = 0.9" in (run / "config.gin").read_text()


def test_what_the_verdict_says_at_the_end_is_not_in_the_checkpoint_that_may_go_on(
  tmp_path: Path, settings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  def finish(monitor: DivergenceMonitor, again: object) -> str:
    monitor.whole.micro_divergences.append(4)
    return "micro_diverged"

  monkeypatch.setattr(DivergenceMonitor, "finish", finish)
  run = tmp_path / "run"
  assert command(f"--run={run}", f"--set={settings} train_and_evaluate.max_steps=4") == 0
  assert json.loads((run / "result.json").read_text())["micro_divergences"] == [4]
  (manifest,) = (run / "checkpoints").glob("*/manifest.json")
  assert json.loads(manifest.read_text())["state"]["monitor"]["whole"]["micro_divergences"] == []


def test_a_run_whose_last_step_breaks_the_model_has_diverged(
  tmp_path: Path,
  settings: str,
  monkeypatch: pytest.MonkeyPatch,
  capsys: pytest.CaptureFixture[str],
) -> None:
  """No step measures what the last one did, and day N would be of a model that knows nothing."""
  train = loop.train

  def train_and_break(run: Run, state: State, log: RunLog) -> None:
    train(run, state, log)
    for variable in run.network.trainable_variables:
      variable.assign(30 * variable)

  run = tmp_path / "run"
  stern = f"{settings} DivergenceMonitor.grace=5"
  assert command(f"--run={run}", f"--set={stern}") == 0
  monkeypatch.setattr(loop, "train", train_and_break)
  broken = tmp_path / "broken"
  assert command(f"--run={broken}", f"--set={stern}") == 3
  assert read(broken, "metrics") == read(run, "metrics")
  result = json.loads((broken / "result.json").read_text())
  assert result["status"] == "diverged"
  assert result["diverged_at_step"] == result["steps"] - 1  # the last is not whole
  assert result["verdicts"]["log_watch_seconds"]["status"] == "diverged"
  said = capsys.readouterr().out
  assert "of the best constant's" in said
  assert "warning: task log_watch_seconds predicts day N worse than a constant: its loss is" in said
  assert not (broken / "checkpoints").exists()


def test_a_diverged_run_that_is_asked_to_go_on_runs_to_its_end(
  tmp_path: Path, settings: str
) -> None:
  run = tmp_path / "run"
  hot = "train_and_evaluate.learning_rate=1e30 train_and_evaluate.on_divergence='continue'"
  assert command(f"--run={run}", f"--set={settings} {hot}", config="small_naive") == 0
  result = json.loads((run / "result.json").read_text())
  assert result["status"] == "diverged"
  assert result["steps"] == len(read(run, "metrics")) > 20
  assert not (run / "checkpoints").exists()  # a lost state is not worth going on from


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--config=large_dcn_clipy.gin"], "no CONFIG 'large_dcn_clipy.gin'; the nearest is"),
    (["--data=kuairan"], "no DATA 'kuairan'; the nearest is 'kuairand'"),
    (["--scale=papper"], "no SCALE 'papper'; the nearest is 'paper'"),
    (["--raw=somewhere"], "DATA 'synthetic' reads no raw folder; leave RAW out"),
    (["--data=kuairand", "--raw=nowhere"], "RAW folder nowhere is not there"),
    (["--data=movielens", "--raw=nowhere"], "nowhere"),
    (["--set=train_and_evaluate.sede=3"], "the nearest is 'train_and_evaluate.seed'"),
    (["--set=Clipy.absolute_threshold=1"], "the nearest is 'Clippy.absolute_threshold'"),
    (["--set=SEED=3"], "is not of the form name.argument=value"),
    (["--set=train_and_evaluate.seed=three"], "Failed to parse token 'three'"),
    (["--set=train_and_evaluate.seed='three'"], "seed is 'three'; make it a whole number"),
    (
      ["--set=train_and_evaluate.learning_rate=-1"],
      "learning_rate is -1; make it a number",
    ),
    (["--set=train_and_evaluate.batch_size=0"], "batch_size is 0; make it a whole number from 2"),
    (
      ["--set=train_and_evaluate.window_hours=-1"],
      "window_hours is -1; make it a number",
    ),
    (["--set=train_and_evaluate.on_divergence='go'"], "make it 'stop' or 'continue'"),
    (["--set=DivergenceMonitor.max_skipped=0"], "max_skipped is 0; make it a whole number, 1"),
    (
      ["--set=train_and_evaluate.observe_every=0.5"],
      "observe_every is 0.5; make it a whole number",
    ),
    (["--set=train_and_evaluate.schedule=@InverseSquareRoot"], "warmup_steps"),
    (
      ["--set=train_and_evaluate.shadows={'z': @ZClip()}"],
      "shadows names z, ZClip, which judges by",
    ),
    (
      ["--set=train_and_evaluate.window_hours=1e999"],
      'window_hours is inf; make it finite, or "all"',
    ),
    (
      ["--set=train_and_evaluate.seed=4294967296"],
      "seed is 4294967296; make it a whole",
    ),
    (["--set=Clippy.absolute_threshold=-1"], "Clippy.absolute_threshold is -1; make it a number"),
    (
      ["--set=GradientClipping.threshold='a'"],
      "GradientClipping.threshold is 'a'; make it a number",
    ),
    (
      ["--set=ClippedOptimizer.scope='global' train_and_evaluate.observe_every=5"],
      "shadows names agc, which judges units, and scope='global' needs norms of whole variables",
    ),
    (["--set=ClippedOptimizer.exclude='('"], "exclude is '(', which is no pattern"),
    (["--set=ClippedOptimizer.clip=@Clipy()"], "Clipy"),
    (
      ["--set=AdaptiveGradientClipping.unit='row'"],
      "AdaptiveGradientClipping.unit is 'row'; make it",
    ),
    (["--set=Lookback.feedback_delay_hours='2h'"], "feedback_delay_hours is '2h'; make it"),
    (["--data=movielens", "--raw=x", "--set=MovieLens.slices='x'"], "slices is 'x'; make it a"),
    (["--set=ClippedOptimizer.scope='all'"], 'make it "layer" or "global"'),
    (["--set=ClippedOptimizer.accumulate='both'"], 'make it "clipped" or "original"'),
    (["--set=Synthetic.days=1"], "days"),
    (
      ["--set=train_and_evaluate.without_last_days=-1"],
      "without_last_days is -1; make it a whole number, 0",
    ),
    (["--set=train_and_evaluate.without_last_days=3"], "rows of 1 day without the last 3;"),
    (
      ["--set=train_and_evaluate.without_tasks=['clik']"],
      "train_and_evaluate.without_tasks: no task 'clik'; the nearest is 'click'",
    ),
    (
      ["--set=train_and_evaluate.without_tasks='click'"],
      "without_tasks is 'click'; make it a list of tasks",
    ),
    (
      ["--set=Inputs.without_features=['user']"],
      "small with clippy: Inputs.without_features: no feature 'user'; the nearest is 'user_id'",
    ),
    (["--set=DenseLayers.hidden_units=[1"], "SET: a bracket or a quote is left open"),
    (["--set=train_and_evaluate.batch_size=1"], "batch_size is 1; make it 2 or more"),
    (["--set=Adam.beta_1=0.8"], "SET Adam.beta_1 has no effect: this run does not use Adam"),
    (["--set=Cosine.warmup_steps=9"], "Cosine.warmup_steps has no effect"),
    (["--set=ClippedOptimizer.learning_rate=1e-9"], "no setting ClippedOptimizer.learning_rate"),
    (["--set=Adagrad.initial_accumulator_value=-1"], "initial_accumulator_value is -1; make it"),
    (
      ["--set=ClippedOptimizer.direction=@Adam() Adam.beta_1=1.5"],
      "Adam.beta_1 is 1.5; make it at least 0 and less than 1",
    ),
    (
      ["--set=ClippedOptimizer.clip=@ZClip() ZClip.warmup_steps=0"],
      "ZClip.warmup_steps is 0; make it 1 or more",
    ),
    (
      ["--set=ClippedOptimizer.clip=@AdaGC() AdaGC.decay=2.0"],
      "AdaGC.decay is 2.0; make it at least 0 and less than 1",
    ),
    (["--set=train_and_evaluate.schedule=@LinearWarmUp()"], "nothing sets LinearWarmUp.peak"),
    (
      ["--set=train_and_evaluate.model=@SharedBottom()"],
      "make it a model, such as @Model()",
    ),
    (["--set=Model.body=@SharedBottom"], "make it a body, such as @SharedBottom()"),
    (["--set=SharedBottom.blocks=[@Clippy()]"], "make it a list of blocks, such as [@Dense"),
    (
      ["--set=DenseLayers.hidden_units=[512, 3]"],
      "DenseLayers.hidden_units has 3, and times Model.width_scale 0.125 that is no column; make",
    ),
    (["--set=Inputs.input_width=30"], "make Inputs.input_width"),
    (["--set=train_and_evaluate.lookback=@Lookback"], "make it @Lookback()"),
    (["--set=train_and_evaluate.source=@Synthetic"], "make it an object, such as @Synthetic()"),
    (["--set=train_and_evaluate.shadows={'a': @Clippy}"], "make it a clip, such as @Clippy()"),
    (["--set=train_and_evaluate.distribution=3"], "distribution is 3; make it a function"),
    (["--set=train_and_evaluate.distribution=@Clippy"], "distribution makes Clippy("),
    (["--hardware=tpu"], "no TPU found at 'local' ("),
    (
      [
        "--set=train_and_evaluate.learning_rate=1e300 "
        "train_and_evaluate.learning_rate_multiplier=1e300"
      ],
      "is not finite",
    ),
    (["--set=DenseLayers.hidden_units=[1000001]"], "make it a list of whole numbers"),
    (["--set=train_and_evaluate.seed=)"], "SET: a bracket or a quote is left open"),
    (["--set=train_and_evaluate.schedule=3"], "schedule is 3; make it a class"),
    (["--set=ClippedOptimizer.clip=@Adagrad()"], "clip is Adagrad("),
    (["--set=ClippedOptimizer.direction=@Clippy()"], "direction is Clippy("),
  ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_half_written(
  tmp_path: Path, settings: str, arguments: list[str], message: str, capsys: Any
) -> None:
  more = next((a.removeprefix("--set=") for a in arguments if a.startswith("--set=")), "")
  rest = [argument for argument in arguments if not argument.startswith("--set=")]
  if any(argument.startswith("--data=") for argument in rest):  # its bindings are of another log
    settings = TINY_RUN
  flags_ = [f"--run={tmp_path / 'run'}", *rest, f"--set={settings} {more}"]
  before = set(tmp_path.rglob("*"))
  assert command(*flags_) == 2
  error = capsys.readouterr().err.strip()
  assert error.startswith("error: ")
  assert len(error.splitlines()) == 1
  assert message in error
  assert set(tmp_path.rglob("*")) == before


def test_a_run_whose_output_nobody_reads_saves_says_so_and_goes_on_when_asked_again(
  tmp_path: Path, settings: str
) -> None:
  run = tmp_path / "run"
  words = ["--config=small_clippy.gin", "--scale=proxy", f"--run={run}", f"--set={settings}"]
  process = subprocess.Popen(
    [sys.executable, "-m", "ranking", "train", *words],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout is not None
  assert process.stderr is not None
  assert process.stdout.readline()
  process.stdout.close()  # as `… | head -1` does
  last = process.stderr.read().splitlines()[-1]
  process.stderr.close()
  assert process.wait() == 143
  assert re.fullmatch(
    rf"stopped as nobody reads its output after step \d+; .*RUN={run} goes on", last
  )
  assert len(list((run / "checkpoints").glob("step-*"))) == 1
  assert command(f"--run={run}", f"--set={settings}") == 0


def test_a_run_directory_that_is_a_file_is_refused_before_anything_is_prepared(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  (tmp_path / "mine").write_text("x")
  assert command(f"--run={tmp_path / 'mine'}") == 2
  assert capsys.readouterr().err == f"error: {tmp_path / 'mine'} is a file; give RUN a folder\n"
  assert not (tmp_path / "data").exists()


def test_several_sets_add_up_and_a_run_is_named_for_what_it_runs(
  tmp_path: Path, settings: str
) -> None:
  more = ["--set=train_and_evaluate.max_steps=1", "--set=train_and_evaluate.seed=7"]
  assert command(f"--set={settings}", *more, "--method=lamb") == 0
  (run,) = (tmp_path / "runs").iterdir()
  assert run.name.startswith("small_lamb-synthetic-proxy-")
  result = json.loads((run / "result.json").read_text())
  assert (result["steps"], result["seed"], result["method"]) == (1, 7, "lamb")


def test_a_truncated_array_is_named_before_a_step_uses_it(
  tmp_path: Path, settings: str, stores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  assert command(f"--run={tmp_path / 'a'}", f"--set={settings} train_and_evaluate.max_steps=1") == 0
  (store,) = (path.parent for path in stores.glob("*/*/schema.json"))
  copy = tmp_path / "stores" / store.relative_to(stores)
  shutil.copytree(store, copy)
  shard = copy / "2026-01-06" / "dense.npy"
  os.truncate(shard, shard.stat().st_size - 8)
  moved = settings.replace(str(stores), str(tmp_path / "stores"))
  capsys.readouterr()
  assert command(f"--run={tmp_path / 'b'}", f"--set={moved}") == 2
  error = capsys.readouterr().err
  assert f"{shard} is damaged: CRC" in error
  assert f"remove {copy} and prepare it again" in error
  assert not (tmp_path / "b").exists()


def test_no_config_lists_the_valid_ones(capsys: pytest.CaptureFixture[str]) -> None:
  assert main(["train"]) == 2
  assert "take one of large_agc, large_clippy" in capsys.readouterr().err


def test_the_health_series_names_every_clipped_variable(tmp_path: Path, settings: str) -> None:
  run = tmp_path / "run"
  command(f"--run={run}", f"--set={settings} train_and_evaluate.max_steps=4")
  last = read(run, "health")[-1]
  assert last["step"] == 4
  names = set(last["clipping_factors"])
  assert {"hidden_1/kernel", "hidden_2/bias", "click_logit/kernel"} <= names
  assert not any("embedding" in name for name in names)
  factors = np.array(list(last["clipping_factors"].values()))
  assert ((factors > 0) & (factors <= 1)).all()


def test_an_observed_run_trains_as_one_that_is_not(tmp_path: Path, settings: str) -> None:
  ten = f"{settings} train_and_evaluate.max_steps=10"
  command(f"--run={tmp_path / 'plain'}", f"--set={ten}")
  command(f"--run={tmp_path / 'seen'}", f"--set={ten} train_and_evaluate.observe_every=5")
  losses = [[row["loss"] for row in read(tmp_path / run, "metrics")] for run in ("plain", "seen")]
  np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
  observed = {
    row["step"]: row["observations"]
    for row in read(tmp_path / "seen", "health")
    if "observations" in row
  }
  assert list(observed) == [5, 10]
  kernel = observed[10]["hidden_1/kernel"]
  assert kernel["factor"] == kernel["shadow_factors"]["clippy"]
  assert set(kernel["shadow_factors"]) == {"gc", "agc", "lamb", "clippy", "rms_clip"}
  assert len(kernel["coordinate"]) == 2
  assert kernel["gradient_norm"] > 0
  assert "embedding_user_id/embeddings" in " ".join(observed[10])


@pytest.mark.parametrize(("steps", "warned"), [(5, False), (1000, True)])
def test_a_warm_up_that_is_longer_than_the_run_is_said(
  tmp_path: Path, settings: str, steps: int, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
  more = f"LinearWarmUp.warmup_steps={steps} train_and_evaluate.max_steps=1"
  assert command(f"--run={tmp_path / 'run'}", f"--set={settings} {more}") == 0
  said = " ".join(capsys.readouterr().out.split())
  assert ("warning: the warm-up takes 1000 steps, a pass over this log only" in said) == warned


def test_a_schedule_takes_the_base_rate_times_the_multiplier_as_its_peak(
  tmp_path: Path, settings: str
) -> None:
  runs = {
    "constant": "train_and_evaluate.learning_rate_multiplier=0.5 train_and_evaluate.schedule=None",
    "warm": "train_and_evaluate.learning_rate_multiplier=4.0 "
    "train_and_evaluate.schedule=@LinearWarmUp LinearWarmUp.warmup_steps=8",
  }
  for run, setting in runs.items():
    command(f"--run={tmp_path / run}", f"--set={settings} train_and_evaluate.max_steps=2 {setting}")
  first = [read(tmp_path / run, "metrics")[1]["loss"] for run in runs]
  assert first[0] == pytest.approx(first[1], rel=1e-6)  # 0.5 × base = 4 × base / 8 in step 1
