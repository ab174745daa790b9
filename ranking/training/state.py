"""What changes while a run trains, beside the variables: kept in checkpoints, and gone on from."""

import dataclasses
import time
from typing import Any, NamedTuple

from ranking.array import Array
from ranking.settings import SettingError, differences
from ranking.stability.monitor import DivergenceMonitor
from ranking.training import checkpoint
from ranking.training.run import Run
from ranking.training.run_log import RunLog
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
    began: when it did, by the monotonic clock; earlier than it was, after a resume.
    step: steps taken.
    speed: of the steps taken.
    evaluation: of day N at this step, once made.
  """

  monitor: DivergenceMonitor
  began: float
  step: int = 0
  speed: Speed = dataclasses.field(default_factory=Speed)
  evaluation: Evaluation | None = None

  @property
  def seconds(self) -> float:
    """Since the start, with what earlier processes took up to the checkpoint gone on from."""
    return time.monotonic() - self.began


def save(run: Run, state: State, log: RunLog) -> None:
  """Writes a checkpoint from which `resume` goes on exactly; never of a diverged state."""
  log.flush()
  if state.monitor.status == "diverged":
    return
  held = {
    "settings": run.settings.identity(),
    "store": run.store.directory.name,
    "monitor": state.monitor.state(),
    "speed": dataclasses.asdict(state.speed),
    "seconds": state.seconds,
  }
  checkpoint.save(run.directory / "checkpoints", state.step, run.variables, held)


def resume(run: Run, log: RunLog, began: float) -> State:
  """The state of the newest checkpoint, restored into the variables; or that before step 1.

  Raises SettingError for a checkpoint of other settings or another log, or beyond the last step.
  """
  state = State(DivergenceMonitor(run.settings.training.monitor), began)
  found = checkpoint.restore(run.directory / "checkpoints", run.variables, run.console.say)
  if found is not None:
    state.step, held = found
    _check_same_run(run, state.step, held)
    state.monitor = DivergenceMonitor.of(run.settings.training.monitor, held["monitor"])
    state.speed = Speed(**held["speed"])
    state.began -= held["seconds"]
    run.console.say(f"going on from step {state.step} of {run.directory}")
  log.rewind(state.step)
  return state


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
