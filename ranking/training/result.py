"""result.json: the one-row outcome of a run, with what is needed to make it again."""

import platform
import resource
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ranking.training.run import Run
from ranking.training.state import State

PACKAGES = ("tensorflow", "tf-keras", "tensorflow-recommenders", "numpy")


def result_of(run: Run, state: State, figures: Mapping[str, Any]) -> dict[str, Any]:
  """The content of result.json.

  Args:
    run: that has come to its end.
    state: where it ended.
    figures: of day N, "metrics" and "metrics_by".
  """
  settings, store, monitor = run.settings, run.store, state.monitor
  training, names = settings.training, settings.names
  return {
    "status": monitor.status,
    "reason": monitor.reason,
    "diverged_at_step": monitor.diverged_at_step,
    "recovered_at_step": monitor.recovered_at_step,
    "micro_divergences": monitor.micro_divergences,
    "skipped_steps": monitor.skipped_steps,
    "verdicts": monitor.verdicts(),
    "model": names.model_name,
    "method": names.method_name,
    "learning_rate": training.learning_rate,
    "learning_rate_multiplier": training.learning_rate_multiplier,
    "seed": training.seed,
    "dataset": settings.log.source.name,
    "store": str(store.directory),
    "scale": names.scale_name,
    "train_days": list(store.schema.day_names[:-1]),
    "eval_day": store.eval_day.name,
    "window_hours": training.window,
    "batch_size": training.batch_size,
    "steps": state.step,
    "parameters": run.network.parameter_counts(),
    **figures,
    **({"task_weights": weights} if (weights := run.task_weights()) else {}),
    "settings": settings.identity(),
    "examples_per_second": round(state.speed.examples_per_second, 1),
    "seconds": round(state.seconds, 1),
    "seconds_apart": {name: round(took, 1) for name, took in state.speed.seconds_apart.items()},
    **surroundings(),
  }


def surroundings() -> dict[str, Any]:
  """Where a result was made: peak memory of this process, versions, command, commit."""
  return {
    "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    "command": shlex.join(["python", "-m", "ranking", *sys.argv[1:]]),
    "git_commit": _git_commit(),
  }


def _git_commit() -> str | None:
  """The checked-out commit, with "-dirty" if tracked files differ from it; None outside a clone."""
  git = ["git", "-C", str(Path(__file__).parent)]
  tracked = [*git, "ls-files", "--error-unmatch", __file__]  # else it is somebody else's clone
  describe = [*git, "describe", "--always", "--dirty", "--abbrev=40"]
  try:
    subprocess.run(tracked, capture_output=True, check=True)
    return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None
