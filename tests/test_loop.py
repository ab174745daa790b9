"""The loop's own story: what is done when, what a step's measurements become, and that replicas
change nothing."""

import contextlib
import dataclasses
import errno
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking.data.schema import DataError
from ranking.errors import Stopped, first_line
from ranking.settings import ProgressSettings
from ranking.stability import health
from ranking.stability.monitor import DivergenceMonitor
from ranking.training import loop
from ranking.training.record import record
from ranking.training.state import State, _begin_again, settled
from ranking.training.step import Taken
from ranking.training.workers import Workers
from tests.conftest import FEW_FEATURES

ROWS = 4  # of a batch


def fake_run(last_step: int, **progress: Any) -> Any:
  """A run without a model: batches of ROWS rows, the last of half of them; two tasks."""
  return SimpleNamespace(
    settings=SimpleNamespace(
      progress=ProgressSettings(**progress), shadows={}, training=SimpleNamespace(balance=None)
    ),
    console=Mock(is_closed=False, progress=lambda *_: contextlib.nullcontext(Mock())),
    store=SimpleNamespace(
      schema=SimpleNamespace(tasks=[SimpleNamespace(name="click"), SimpleNamespace(name="stars")]),
      eval_day=SimpleNamespace(name="2026-01-18"),
    ),
    batches=SimpleNamespace(
      batch_size=ROWS,
      rows=lambda step: ROWS if step + 1 < last_step else ROWS // 2,
      day=lambda step: f"day {step}",
      failures=[],
    ),
    last_step=last_step,
    replicas=None,
    workers=Workers(tf.distribute.get_strategy()),
    network=SimpleNamespace(trainable_variables=["kernel"], short_name=str),
    optimizer=SimpleNamespace(is_clipped=lambda variable: True),
    task_weights=dict,
    evaluator=Mock(**{"figures.return_value": {}, "figures_by.return_value": {}}),
    directory=Path("runs/x"),
    data=lambda first: iter(()),
    averaged=contextlib.nullcontext,
  )


def taken(*losses: float, constant: float = 1.0, skipped: float = 0.0) -> Taken:
  """What a call over so many steps measured."""
  row = dict.fromkeys(health.names(["click", "stars"]), 0.5)
  row |= {f"{task}/labels": 100.0 for task in ("click", "stars")}
  row |= {f"{task}/positives": 40.0 for task in ("click", "stars")}
  rows = [
    {**row, "loss": loss, "constant_loss": constant, "output_spread": 1.0, "skipped": skipped}
    for loss in losses
  ]
  values = np.array([list(each.values()) for each in rows], np.float32)
  return Taken(Tensor(values), Tensor(np.array([0.25], np.float32)), True, [])


@dataclasses.dataclass
class Tensor:
  """As much of one as the loop looks at."""

  values: Any

  def numpy(self) -> Any:
    return self.values


@pytest.fixture
def steps_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
  """Steps that lose 0.5 each, in no time."""
  monkeypatch.setattr(
    loop, "compile_steps", lambda *_: lambda data, count, seen: taken(*[0.5] * int(count))
  )


def ask_to_stop(monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool]) -> None:
  @contextlib.contextmanager
  def signals() -> Iterator[Callable[[], bool]]:
    yield when

  monkeypatch.setattr(loop, "signals", signals)


def test_a_signal_at_an_evaluation_step_loses_no_evaluation(
  monkeypatch: pytest.MonkeyPatch, steps_of_nothing: None
) -> None:
  run, state, log = fake_run(100, eval_every=50), State(DivergenceMonitor(), 0.0), Mock()
  stopped: list[int] = []
  ask_to_stop(monkeypatch, lambda: state.step == 50 and not stopped)
  monkeypatch.setattr(loop, "save", lambda *_: stopped.append(state.step))
  with pytest.raises(Stopped, match="stopped by a signal after step 50; the same command"):
    loop.train(run, state, log)
  loop.train(run, state, log)
  assert stopped == [50]
  assert [call.args[0] for call in log.evaluation.call_args_list] == [50, 100]


def test_a_batch_of_day_n_that_hangs_ends_the_process_as_a_step_does(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  watched = Mock()
  monkeypatch.setattr(loop, "watched", watched)
  run, state = fake_run(last_step=6, stuck_after_seconds=9.0), State(DivergenceMonitor(), began=0.0)
  loop.evaluate(run, state, Mock())
  watched.assert_not_called()
  run.evaluator.predictions.call_args.args[0]()
  watched.assert_called_once_with(9.0, "a batch of day N at step 0")


def test_day_n_is_predicted_by_averages_of_weights_where_there_are_some() -> None:
  run, said = fake_run(2), []

  @contextlib.contextmanager
  def averaged() -> Iterator[None]:
    said.append("in")
    yield
    said.append("out")

  run.averaged = averaged
  run.evaluator.predictions = lambda _: said.append("predicted")
  loop.evaluate(run, State(DivergenceMonitor(), 0.0), Mock())
  assert said == ["in", "predicted", "out"]


def test_a_run_whose_output_nobody_reads_finishes_its_step_saves_and_says_so(
  monkeypatch: pytest.MonkeyPatch, steps_of_nothing: None
) -> None:
  run, state = fake_run(100), State(DivergenceMonitor(), 0.0)
  run.console.is_closed = True
  saved: list[int] = []
  monkeypatch.setattr(loop, "save", lambda *_: saved.append(state.step))
  with pytest.raises(Stopped, match=r"as nobody reads its output after step 10; the same"):
    loop.train(run, state, Mock())
  assert saved == [10]


def test_a_run_with_a_limit_of_time_saves_and_says_so_unless_it_is_at_its_end(
  monkeypatch: pytest.MonkeyPatch, steps_of_nothing: None
) -> None:
  run, state = fake_run(20, max_seconds=30.0), State(DivergenceMonitor(), 0.0)
  saved: list[int] = []
  monkeypatch.setattr(loop, "save", lambda *_: saved.append(state.step))
  monkeypatch.setattr("time.monotonic", lambda: 31.0 if state.step else 0.0)
  with pytest.raises(Stopped, match="stopped as max_seconds is 30 after step 10; the same"):
    loop.train(run, state, Mock())
  loop.train(run, state, Mock())  # the limit is over, and so is the run
  assert saved == [10]


def test_a_stop_waits_for_the_checkpoint_and_says_if_it_could_not_be_written() -> None:
  written, failed = Future[None](), Future[None]()
  threading.Timer(0.05, written.set_result, [None]).start()
  with pytest.raises(Stopped), settled(State(DivergenceMonitor(), 0.0, writing=written)):
    raise Stopped("stopped")
  assert written.done()
  failed.set_exception(OSError(errno.ENOSPC, "No space left", "step-00000400"))
  with (
    pytest.raises(OSError, match="No space left"),
    settled(State(DivergenceMonitor(), 0.0, writing=failed)),
  ):
    raise Stopped("stopped")


def test_a_run_killed_before_its_first_checkpoint_was_written_takes_its_steps_again() -> None:
  """It may be at the second by then, which waits for the first; beyond, one was taken away."""
  run, log = fake_run(100, checkpoint_every=10), Mock()
  log.steps_before_divergence.return_value = 20
  _begin_again(run, log)
  assert "its 20 steps are taken again" in run.console.say.call_args.args[0]
  log.steps_before_divergence.return_value = 21
  with pytest.raises(DataError, match="has 21 steps and no checkpoint; bring its checkpoints back"):
    _begin_again(run, log)


def test_checkpoints_are_written_when_they_are_due_and_not_at_the_last_step(
  monkeypatch: pytest.MonkeyPatch, steps_of_nothing: None
) -> None:
  run, state = fake_run(40, checkpoint_every=20), State(DivergenceMonitor(), 0.0)
  saved: list[int] = []
  monkeypatch.setattr(loop, "save", lambda *_: saved.append(state.step))
  loop.train(run, state, Mock())
  assert saved == [20]
  assert state.step == 40


@pytest.mark.parametrize(("on_divergence", "last"), [("stop", 70), ("continue", 200)])
def test_a_diverged_run_stops_unless_it_is_asked_to_go_on(
  monkeypatch: pytest.MonkeyPatch, on_divergence: str, last: int
) -> None:
  def lost_from_step_16_on(data: Any, count: Any, seen: bool) -> Taken:
    return taken(*[0.5 if state.step < 15 else 1.5] * int(count))

  run, state = fake_run(200, on_divergence=on_divergence), State(DivergenceMonitor(), 0.0)
  monkeypatch.setattr(loop, "compile_steps", lambda *_: lost_from_step_16_on)
  monkeypatch.setattr(loop, "save", Mock())
  loop.train(run, state, Mock())
  assert state.monitor.status == "diverged"
  assert state.step == pytest.approx(last, abs=20)


def test_a_run_that_fails_in_its_last_evaluation_has_its_last_checkpoint(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  done: list[str] = []
  run, state = fake_run(10), State(DivergenceMonitor(), 0.0)
  run.evaluator.predictions.side_effect = OSError("no space left")
  monkeypatch.setattr(loop, "save", lambda *_: done.append("save"))
  with pytest.raises(OSError, match="no space left"):
    loop.finish(run, state, Mock())
  assert done == ["save"]


def test_a_partial_batch_is_written_down_and_not_judged() -> None:
  run, state, log = fake_run(last_step=2), State(DivergenceMonitor(), 0.0), Mock()
  assert record(run, state, log, taken(0.5, 7.0)) == 7.0
  assert state.monitor.whole.steps == 1
  assert state.monitor.whole.latest == [0.5]
  (rows,) = log.steps.call_args.args
  assert [(row["step"], row["day"], row["loss"]) for row in rows] == [
    (1, "day 0", 0.5),
    (2, "day 1", 7.0),
  ]
  log.health.assert_called_once_with(2, {"kernel": 0.25}, {}, {})


def test_a_step_that_was_skipped_counts_as_skipped_and_nothing_else() -> None:
  run, state = fake_run(last_step=9), State(DivergenceMonitor(), 0.0)
  record(run, state, Mock(), taken(float("nan"), skipped=1.0))
  assert (state.monitor.skipped_steps, state.monitor.whole.steps) == (1, 0)
  run.console.say.assert_called_once_with(
    "step 1 changed nothing: its loss or gradients are not finite"
  )


def test_a_weight_that_is_not_finite_is_a_divergence_whatever_the_loss_says() -> None:
  run, state = fake_run(last_step=9), State(DivergenceMonitor(), 0.0)
  record(run, state, Mock(), taken(0.5)._replace(finite=False))
  assert state.monitor.diverged_at_step == 1


def run(directory: Path, *settings: str) -> list[dict[str, float]]:
  """Trains in a process of its own, because TensorFlow starts its devices once."""
  log = "Synthetic.days=3 Synthetic.rows_per_day=300 Synthetic.num_users=60 Synthetic.num_videos=90"
  loop = f"batch_size=64 store_directory='{directory.parent / 'stores'}'"
  loop = " ".join(f"train_and_evaluate.{setting}" for setting in loop.split())
  line = [
    sys.executable,
    "-m",
    "ranking",
    "train",
    "--config=large_dcn_clippy.gin",
    "--scale=proxy",
  ]
  line += [f"--run={directory}", f"--set={' '.join([log, loop, FEW_FEATURES, *settings])}"]
  subprocess.run(line, check=True, capture_output=True, cwd=directory.parent)
  return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_two_replicas_of_half_the_batch_train_as_one_of_the_whole(tmp_path: Path) -> None:
  same = (
    "CrossLayers.num_cross_layers=1 DenseLayers.hidden_units=[128, 128]",
    "train_and_evaluate.observe_every=5 train_and_evaluate.shadows={}",
    "train_and_evaluate.schedule=@InverseSquareRoot InverseSquareRoot.warmup_steps=4",
    "train_and_evaluate.balance=@GradNorm()",
    "Inputs.split=@Split() Split.parts=2 Split.from_rows=20",
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
  weights = [result["task_weights"] for result in results]
  assert weights[1] == pytest.approx(weights[0], rel=1e-4)
  assert max(weights[0].values()) > 1.01
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


def test_what_keras_says_around_a_reason_is_left_out() -> None:
  class Full(tf_keras.layers.Layer):
    def call(self, x: tf.Tensor) -> tf.Tensor:
      raise ValueError("no room for it")

  with pytest.raises(ValueError, match="no room") as refused:
    Full()(tf.zeros([1]))
  assert first_line(refused.value) == "no room for it"
  assert first_line(ValueError("plain\nand more")) == "plain"
  assert first_line(ValueError()) == "ValueError"
