"""The series of a run directory as pandas frames, a row per step and what it is of."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ranking.run_directory import check_unchanged
from ranking.sweeps.sweep import SweepError
from ranking.tasks import KINDS

WORDS = {"day", "verdict"}


class SeriesError(SweepError):
  """A run directory does not hold what is asked of it: one line with the cure."""


def steps(directory: Path) -> pd.DataFrame:
  """metrics.jsonl: a row per training step, with its `relative_loss`, that over the constant's."""
  frame = pd.DataFrame(_lines(directory, "metrics"))
  numbers = frame.columns.difference([*WORDS, "step"])
  frame = frame.astype(dict.fromkeys(numbers, "float64"))  # "nan" and "inf" are text in JSON
  return frame.assign(relative_loss=frame.loss / frame.constant_loss)


def evaluations(directory: Path) -> pd.DataFrame:
  """evals.jsonl: step, task, kind and value, its measure of day N, or NaN."""
  return pd.DataFrame(
    [
      (row["step"], task, entry["kind"], entry[KINDS[entry["kind"]].measure.name])
      for row in _lines(directory, "evals")
      for task, entry in row["metrics"].items()
    ],
    columns=["step", "task", "kind", "value"],
  ).astype({"value": "float64"})


def headline(directory: Path) -> pd.DataFrame:
  """The evaluations of the headline task, the log's first."""
  every = evaluations(directory)
  if every.step.nunique() < 2:
    raise SeriesError(
      f"{directory} was evaluated once; train it with train_and_evaluate.eval_every=10"
    )
  return every[every.task == every.task.iloc[0]]


def deciles(directory: Path) -> tuple[str, list[list[float]]] | None:
  """The first binary task of result.json and its deciles; None before the run has them."""
  try:
    metrics = json.loads((directory / "result.json").read_text())["metrics"]
  except (OSError, ValueError, KeyError):
    return None
  found = ((task, entry["deciles"]) for task, entry in metrics.items() if entry.get("deciles"))
  return next(found, None)


def clipping_factors(directory: Path) -> pd.DataFrame:
  """health.jsonl: step, variable and factor, of the variables that the run's clip treats."""
  return pd.DataFrame(
    [
      (row["step"], variable, factor)
      for row in _lines(directory, "health")
      for variable, factor in row["clipping_factors"].items()
    ],
    columns=["step", "variable", "factor"],
  ).astype({"factor": "float64"})


def observations(directory: Path, shadows: Iterable[str]) -> pd.DataFrame:
  """health.jsonl: a row per observed step and variable.

  Beside step and variable it has the columns gradient_norm, weight_norm, direction_norm,
  largest_ratio and factor, as observation.py explains them, and one for each of the shadows.

  Args:
    directory: of the run.
    shadows: the other clips whose factors are wanted.
  """
  rows = [
    {"step": row["step"], "variable": variable, **seen, **seen["shadow_factors"]}
    for row in _lines(directory, "health")
    for variable, seen in row.get("observations", {}).items()
  ]
  if not rows:
    raise SeriesError(
      f"{directory} has no observations; train it with train_and_evaluate.observe_every=1"
    )
  for name in shadows:
    if name not in rows[0]:
      raise SeriesError(
        f"{directory} has no observations of {name}; train it with it in train_and_evaluate.shadows"
      )
  frame = pd.DataFrame(rows).drop(columns=["coordinate", "shadow_factors"])
  return frame.astype(dict.fromkeys(frame.columns.difference(["step", "variable"]), "float64"))


def running_median(values: pd.Series) -> pd.Series:
  """For the eye: over nine steps around each, fewer at both ends, of what is finite."""
  return values.rolling(9, center=True, min_periods=1).median()


def _lines(directory: Path, name: str) -> list[dict[str, Any]]:
  path = directory / f"{name}.jsonl"
  try:
    check_unchanged(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
  except (OSError, ValueError) as error:
    raise SeriesError(f"{directory} is not a run directory ({error})") from error
  if not rows:
    raise SeriesError(f"{path} is empty; wait for the run, or train it anew")
  return rows
