"""What changes while a run trains, beside the variables: kept in checkpoints, and gone on from."""

import dataclasses
import time
from typing import Any, NamedTuple

from ranking.array import Array
from ranking.data.schema import DataError
from ranking.settings import SettingError, differences
from ranking.stability.monitor import DivergenceMonitor
from ranking.training import checkpoint
from ranking.training.run import Run
from ranking.training.run_log import SERIES, Mark, RunLog
from ranking.training.speed import Speed


class Evaluation(NamedTuple):
  """What the model says of day N, and how right it is."""

  outputs: Array  # float32 [n, T]
  metrics: dict[str, dict[str, Any]]  # as in result.json


@dataclasses.dataclass
class State:
  """Where a run is.

  Attributes:
    monitor: the verdict so far.
    began: when this process did, by the monotonic clock.
    seconds_before: what earlier processes took up to the checkpoint gone on from.
    step: steps taken.
    speed: of the steps taken.
    evaluation: of day N at this step, once made.
  """

  monitor: DivergenceMonitor
  began: float
  seconds_before: float = 0.0
  step: int = 0
  speed: Speed = dataclasses.field(default_factory=Speed)
  evaluation: Evaluation | None = None

  @property
  def seconds(self) -> float:
    """Since the start, with what earlier processes took."""
    return self.seconds_before + self.seconds_here

  @property
  def seconds_here(self) -> float:
    """Since this process began."""
    return time.monotonic() - self.began


def save(run: Run, state: State, log: RunLog) -> None:
  """Writes a checkpoint from which `resume` goes on exactly; never of a diverged state."""
  log.flush()
  if state.monitor.status == "diverged" or not run.workers.is_chief:
    return
  held = {
    "settings": run.settings.identity(),
    "store": run.store.directory.name,
    "series": log.marks,
    "monitor": state.monitor.state(),
    "speed": dataclasses.asdict(state.speed),
    "seconds": state.seconds,
  }
  with state.speed.apart("checkpoints"):
    checkpoint.save(run.directory / "checkpoints", state.step, run.variables, held)


def resume(run: Run, log: RunLog, began: float) -> State:
  """The state of the newest checkpoint, restored into the variables; or that before step 1.

  Raises:
    SettingError: the checkpoint is of other settings or another log, or beyond the last step.
    DataError: no checkpoint is whole and has its series, or all were taken away.
  """
  state = State(DivergenceMonitor(run.settings.training.monitor), began)
  found = run.workers.of_chief(lambda: _restore(run, log))
  if found is None:
    return state
  run.workers.take_from_chief(run.variables)
  state.step, held = found
  state.monitor = DivergenceMonitor.of(run.settings.training.monitor, held["monitor"])
  state.speed = Speed(**held["speed"])
  state.seconds_before = held["seconds"]
  return state


def _restore(run: Run, log: RunLog) -> tuple[int, dict[str, Any]] | None:
  """Restores the newest checkpoint; returns its step and what it holds, or None."""
  checkpoints = run.directory / "checkpoints"
  found = checkpoint.restore(
    checkpoints, run.variables, run.console.say, lambda held: log.misfit(held["series"])
  )
  if found is None:
    _begin_again(run, log)
    return None
  step, held = found
  _check_same_run(run, step, held)
  log.rewind(held["series"])
  run.console.say(f"going on from step {step} of {run.directory}")
  return step, held


def _begin_again(run: Run, log: RunLog) -> None:
  """Empties the series of a run that left no checkpoint, and says so.

  Raises DataError if one was due: then it was taken away, and so may what is left be wanted.
  """
  steps, due = log.steps_before_divergence(), run.settings.progress.checkpoint_every
  if due is not None and steps > due:
    raise DataError(
      f"{run.directory} has {steps} steps and no checkpoint; bring its checkpoints back, or remove "
      "the folder to start again"
    )
  if steps:
    run.console.say(f"{run.directory} has no checkpoint: its {steps} steps are taken again")
  log.rewind(dict.fromkeys(SERIES, Mark()))


def _check_same_run(run: Run, step: int, held: dict[str, Any]) -> None:
  """Raises SettingError unless a checkpoint is of this very run."""
  if "settings" not in held or "whole" not in held["monitor"]:
    raise SettingError(f"{run.directory} was begun by an earlier version; give RUN another")
  if changed := differences(held["settings"], run.settings.identity()):
    raise SettingError(
      f"{run.directory} holds a checkpoint of other settings ({changed[0]}); give RUN another "
      "folder, or resume with the settings in its config.gin"
    )
  if held["store"] != run.store.directory.name:
    raise SettingError(
      f"{run.directory} was begun on the day store {held['store']}, the log now makes "
      f"{run.store.directory.name}; give RUN another folder, or bring that log back"
    )
  if step > run.last_step:
    raise SettingError(
      f"{run.directory} is at step {step} already; make train_and_evaluate.max_steps {step} or more"
    )
