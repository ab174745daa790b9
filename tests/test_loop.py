"""The loop's own arithmetic, and that replicas change nothing."""

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from ranking.array import Array
from ranking.training import loop
from ranking.training.loop import FREE_ON_RESUME, SettingError, Speed, _check_same_run
from ranking.training.pace import Pace
from tests.conftest import FEW_FEATURES


def calls(speed: Speed, *observing: bool) -> None:
  """Of 1,000 examples each."""
  for each in observing:
    with speed.of(1000, each):
      pass


def test_speed_leaves_out_the_call_that_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
  clock = iter([0.0, 100.0, 100.0, 102.0, 102.0, 104.0])
  monkeypatch.setattr("time.monotonic", lambda: next(clock))
  speed = Speed()
  assert speed.examples_per_second == 0.0
  calls(speed, False)
  assert speed.examples_per_second == 10.0
  calls(speed, False, False)
  assert speed.examples_per_second == 500.0


def test_speed_leaves_out_the_first_call_that_observes_as_it_compiles_anew(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  clock = iter([0.0, 100.0, 100.0, 102.0, 102.0, 302.0, 302.0, 306.0])
  monkeypatch.setattr("time.monotonic", lambda: next(clock))
  speed = Speed()
  calls(speed, False, False, True, True)
  assert speed.examples_per_second == 2000 / 6


def test_speed_goes_on_over_a_resume_without_the_call_that_compiles_again(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  clock = iter([0.0, 100.0, 100.0, 102.0, 200.0, 300.0, 300.0, 304.0])
  monkeypatch.setattr("time.monotonic", lambda: next(clock))
  before = Speed()
  calls(before, False, False)
  after = Speed(**json.loads(json.dumps(dataclasses.asdict(before))))
  assert after.examples_per_second == 500.0  # of a run that is stopped at its last step as well
  calls(after, False, False)
  assert after.examples_per_second == 2000 / 6


def test_only_settings_that_do_not_change_the_weights_may_change_on_resume() -> None:
  assert FREE_ON_RESUME.search("loop.train_and_evaluate.max_steps = 5")
  for name in (
    *("seed", "batch_size", "learning_rate", "window_hours", "learning_rate_multiplier"),
    "shadows",
  ):
    assert not FREE_ON_RESUME.search(f"loop.train_and_evaluate.{name} = 5")


def test_a_long_path_that_gin_breaks_over_lines_may_change_on_resume_and_a_seed_not() -> None:
  text = "# Parameters:\nloop.train_and_evaluate.run_directory = \\\n    '{}'\nx.seed = {}\n"
  _check_same_run(Path("r"), text.format("a" * 90, 1), text.format("b" * 90, 1))
  _check_same_run(Path("r"), text.format("a" * 90, 1), "x.seed = \\\n    1\n# Parameters:\n")
  with pytest.raises(SettingError, match=r"another configuration \(x.seed = 1 differs\)"):
    _check_same_run(Path("r"), text.format("a", 1), text.format("a", 2))


def test_a_signal_at_an_evaluation_step_loses_no_evaluation(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  done: list[int] = []
  run = object.__new__(loop._Run)
  run.step, run.speed, run.console = 0, Speed(), Mock()
  run.console.progress.return_value = contextlib.nullcontext(Mock())
  run.batches, run.replicas = Mock(batch_size=4, failures=[]), Mock()
  run.replicas.distribute_datasets_from_function.return_value = []
  run.network = run.rule = run.store = Mock()
  run.monitor, run.directory = Mock(status="ok"), Path("x")
  stopped: list[int] = []

  def record(count: Array, *_: object) -> float:
    run.step += int(count)
    return 0.0

  @contextlib.contextmanager
  def signals() -> Iterator[Callable[[], bool]]:
    yield lambda: run.step == 50 and not stopped

  monkeypatch.setattr(run, "_record", record)
  monkeypatch.setattr(run, "evaluate", lambda: done.append(run.step))
  monkeypatch.setattr(run, "save", lambda: stopped.append(run.step))
  monkeypatch.setattr(loop, "signals", signals)
  monkeypatch.setattr(loop, "compile_steps", lambda *_: lambda data, count, seen: (count, True, []))
  pace = Pace(last_step=100, steps_per_call=10, eval_every=50)
  with pytest.raises(loop.Stopped, match="stopped by a signal after step 50; the same command"):
    run.train(pace, {}, "stop")
  run.train(pace, {}, "stop")
  assert stopped == [50]
  assert done == [50, 100]


def test_a_run_that_fails_in_its_last_evaluation_has_its_last_checkpoint(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  done: list[str] = []
  run = object.__new__(loop._Run)
  run.monitor = Mock()

  def evaluate() -> None:
    done.append("evaluate")
    raise OSError("no space left")

  monkeypatch.setattr(run, "save", lambda: done.append("save"))
  monkeypatch.setattr(run, "evaluate", evaluate)
  with pytest.raises(OSError, match="no space left"):
    run.finish()
  assert done == ["save", "evaluate"]


def run(directory: Path, *settings: str) -> list[dict[str, float]]:
  """A whole run in a process of its own, because TensorFlow starts its devices once."""
  log = "Synthetic.days=3 Synthetic.rows_per_day=300 Synthetic.num_users=60 Synthetic.num_videos=90"
  loop = f"batch_size=64 store_directory='{directory.parent / 'stores'}'"
  loop = " ".join(f"train_and_evaluate.{setting}" for setting in loop.split())
  line = [sys.executable, "-m", "ranking.main", "--config=large_dcn_clippy.gin", "--scale=proxy"]
  line += [f"--run={directory}", f"--set={' '.join([log, loop, FEW_FEATURES, *settings])}"]
  subprocess.run(line, check=True, capture_output=True, cwd=directory.parent)
  return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_two_replicas_of_half_the_batch_train_as_one_of_the_whole(tmp_path: Path) -> None:
  same = (
    "train_and_evaluate.observe_every=5",
    "train_and_evaluate.schedule=@InverseSquareRoot InverseSquareRoot.warmup_steps=4",
  )
  one = run(tmp_path / "one", *same)
  two = run(tmp_path / "two", *same, "train_and_evaluate.distribution=@virtual_cpus")
  assert len(one) == len(two) == 10
  for name in ("loss", "constant_loss", "gradient_norm", "clipping_factor", "share/loss"):
    np.testing.assert_allclose(
      [row[name] for row in two], [row[name] for row in one], rtol=2e-4, err_msg=name
    )
  health = [(tmp_path / name / "health.jsonl").read_text() for name in ("one", "two")]
  seen = [[json.loads(line).get("observations") for line in text.splitlines()] for text in health]
  assert [bool(observed) for observed in seen[0]] == [True, True]
  for observed in zip(*seen, strict=True):
    factors = [{name: each["factor"] for name, each in o.items()} for o in observed]
    assert factors[1] == pytest.approx(factors[0], rel=1e-3)
  results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two")]
  for task, entry in results[0]["metrics"].items():
    assert entry["rows"] == results[1]["metrics"][task]["rows"]
  aucs = [result["metrics"]["click"]["auc"] for result in results]
  assert aucs[0] == pytest.approx(aucs[1], abs=1e-3)


def test_a_batch_that_does_not_split_over_the_replicas_is_refused(tmp_path: Path) -> None:
  with pytest.raises(subprocess.CalledProcessError) as failed:
    run(
      tmp_path / "odd",
      "train_and_evaluate.distribution=@virtual_cpus",
      "train_and_evaluate.batch_size=33",
    )
  assert failed.value.returncode == 2
  assert b"batch_size 33 does not split evenly over 2 replicas" in failed.value.stderr
