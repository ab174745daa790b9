"""trial.json: which trial of a sweep a run directory holds, and its command."""

import json
from pathlib import Path
from typing import Any

from ranking.files import SEAL, sealed, unsealed, write_atomically
from ranking.sweeps.sweep import Trial

TRIAL = "trial.json"
OF_EARLIER_VERSIONS = {
  *("trial", "coordinates", "thresholds", "model", "method", "data", "scale", "bindings"),
  "command",
}


def describe(trial: Trial) -> dict[str, Any]:
  """The content of the file but its command."""
  return {
    "trial": trial.name,
    "coordinates": dict(trial.coordinates),
    "thresholds": dict(trial.thresholds),
    "model": trial.model,
    "method": trial.method,
    "data": trial.data,
    "scale": trial.scale,
    "bindings": list(trial.bindings),
  }


def write_trial(directory: Path, trial: Trial, command: str) -> None:
  """Writes the file, whole or not at all."""
  write_atomically(directory / TRIAL, sealed({**describe(trial), "command": command}))


def read_trial(directory: Path) -> dict[str, Any]:
  """What the file holds; one of an earlier version, without a CRC of itself, is taken as it is.

  Raises OSError if it is not there, and ValueError if it is damaged.
  """
  text = (directory / TRIAL).read_text()
  held = json.loads(text)
  if not isinstance(held, dict):
    raise ValueError("it is no map")
  if SEAL not in held and set(held) <= OF_EARLIER_VERSIONS:
    return held
  return unsealed(text)
