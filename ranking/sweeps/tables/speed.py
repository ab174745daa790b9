"""How fast runs get to an AUC: in steps, and in seconds at their own pace."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ranking.sweeps import series
from ranking.sweeps.search import FINISHED, SURVIVED
from ranking.sweeps.series import SeriesError
from ranking.sweeps.tables.points import Point


class Speed(NamedTuple):
  """Medians over seeds: inf = fewer than half got there; NaN = there is no telling."""

  steps: float
  seconds: float


def steps_to(run_directory: Path, task: str, target_auc: float) -> int | None:
  """The step of the first evaluation at or above the target; None if there is none.

  Args:
    run_directory: with an evals.jsonl.
    task: whose AUC is looked at.
    target_auc: as a fraction.

  Raises:
    SeriesError: evals.jsonl cannot be read.
  """
  for step, auc in _aucs(run_directory, task):
    if auc >= target_auc:
      return step
  return None


def target(grid: Sequence[Point], task: str) -> float | None:
  """Naive's best AUC: at the best of its points, what half of its seeds reach at some evaluation.

  Of all its runs together the best would be luck, which no other method gets to but by luck. None
  if at no finished point so many survive; a run whose evaluations cannot be read reaches nothing.

  Args:
    grid: all points.
    task: whose AUC it is.
  """
  naive = [point for point in grid if point.method == "naive" and point.finished]
  typical = [_typical_best(point.runs, task) for point in naive]
  best = max(typical, default=-math.inf)
  return best if math.isfinite(best) else None


def speed(runs: pd.DataFrame, task: str, target_auc: float) -> Speed:
  """Of the finished runs of one point, of which those that diverged never get there.

  Args:
    runs: rows with the columns of results.py.
    task: whose AUC is looked at; a run without it never gets there.
    target_auc: as a fraction.
  """
  each = runs[runs.status.isin(FINISHED)].drop_duplicates("trial")
  steps, seconds = [], []
  for run in each.to_dict("records"):
    step: float = math.inf
    if run["status"] in SURVIVED:
      try:
        reached = steps_to(Path(run["run"]), task, target_auc)
      except SeriesError:
        return Speed(math.nan, math.nan)
      step = math.inf if reached is None else reached
    pace = run["examples_per_second"]
    steps.append(step)
    seconds.append(step * run["batch_size"] / pace if pace > 0 else math.nan)
  return Speed(_median(steps), _median(seconds))


def _aucs(run_directory: Path, task: str) -> list[tuple[int, float]]:
  """(step, AUC) of every evaluation of a task, in their order; none if the run has no such task."""
  evaluations = series.evaluations(run_directory)
  of_task = evaluations[evaluations.task == task]
  return list(zip(map(int, of_task.step), map(float, of_task.value), strict=True))


def _typical_best(runs: pd.DataFrame, task: str) -> float:
  """The median over the finished runs of a point of the best AUC of each, -inf for a lost one."""
  bests = []
  for run in runs[runs.status.isin(FINISHED)].drop_duplicates("trial").to_dict("records"):
    try:
      aucs = _aucs(Path(run["run"]), task) if run["status"] in SURVIVED else []
    except SeriesError:
      aucs = []
    bests.append(max((auc for _, auc in aucs if math.isfinite(auc)), default=-math.inf))
  return statistics.median_low(bests) if bests else -math.inf


def _median(values: list[float]) -> float:
  """Where half got there and half did not, the slowest of the former."""
  if not values or any(map(math.isnan, values)):
    return math.nan
  middle = statistics.median(values)
  return statistics.median_low(values) if math.isinf(middle) else middle
