"""How fast runs get to a figure: in steps, and in seconds at their own pace."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ranking.sweeps import series
from ranking.sweeps.places import Place
from ranking.sweeps.results import FINISHED, SURVIVED
from ranking.sweeps.series import SeriesError
from ranking.tasks import Measure


class Speed(NamedTuple):
  """Medians over seeds: inf = fewer than half got there; NaN = there is no telling."""

  steps: float = math.nan
  seconds: float = math.nan


def steps_to(run_directory: Path, task: str, measure: Measure, target: float) -> int | None:
  """The step of the first evaluation as good as the target; None if there is none.

  Args:
    run_directory: with an evals.jsonl.
    task: whose figure is looked at.
    measure: of the task.
    target: a figure.

  Raises:
    SeriesError: evals.jsonl cannot be read.
  """
  evaluations = series.evaluations(run_directory)
  better = measure.better * (evaluations.value - target) >= 0
  steps = evaluations.step[better & (evaluations.task == task)]
  return None if steps.empty else int(steps.iloc[0])


def target(grid: Sequence[Place], task: str, measure: Measure) -> float | None:
  """Naive's best: at the best of its places, what half of its seeds reach at some evaluation.

  Of all its runs together the best would be luck, which no other method gets to but by luck. None
  if at no complete place so many survive; a run whose evaluations cannot be read reaches nothing.

  Args:
    grid: all places.
    task: whose figure it is.
    measure: of the task.
  """
  naive = [place for place in grid if place.at("method") == "naive" and place.complete]
  typical = [_typical_best(place.rows, task, measure) for place in naive]
  best = max(typical, default=-math.inf)
  return measure.better * best if math.isfinite(best) else None


def speed(rows: pd.DataFrame, task: str, measure: Measure, target: float) -> Speed:
  """The speed of the finished runs of one place; those that diverged never get there.

  Args:
    rows: with the columns of results.py.
    task: whose figure is looked at; a run without it never gets there.
    measure: of the task.
    target: a figure.
  """
  steps, seconds = [], []
  for run in rows[rows.status.isin(FINISHED)].drop_duplicates("trial").to_dict("records"):
    step: float = math.inf
    if run["status"] in SURVIVED:
      try:
        reached = steps_to(Path(run["run"]), task, measure, target)
      except SeriesError:
        return Speed()
      step = math.inf if reached is None else reached
    pace = run["examples_per_second"]
    steps.append(step)
    seconds.append(step * run["batch_size"] / pace if pace > 0 else math.nan)
  return Speed(_median(steps), _median(seconds))


def _typical_best(rows: pd.DataFrame, task: str, measure: Measure) -> float:
  """The median over runs of the best of each, the higher the better, -inf for a lost one."""
  bests = []
  for run in rows[rows.status.isin(FINISHED)].drop_duplicates("trial").to_dict("records"):
    found: list[float] = []
    if run["status"] in SURVIVED:
      try:
        evaluations = series.evaluations(Path(run["run"]))
        found = list(measure.better * evaluations.value[evaluations.task == task])
      except SeriesError:
        pass
    bests.append(max(filter(math.isfinite, found), default=-math.inf))
  return statistics.median_low(bests) if bests else -math.inf


def _median(values: list[float]) -> float:
  """Where half got there and half did not, the slowest of the former."""
  if not values or any(map(math.isnan, values)):
    return math.nan
  middle = statistics.median(values)
  return statistics.median_low(values) if math.isinf(middle) else middle
