"""How fast runs get to a figure: in steps, and in seconds at their own pace."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ranking.sweeps import series
from ranking.sweeps.places import Place
from ranking.sweeps.results import SURVIVED
from ranking.sweeps.series import SeriesError
from ranking.tasks import Measure

Curves = Mapping[str, pd.Series]  # of a run, by trial: by step, how good it is; better is higher


class Speed(NamedTuple):
  """Medians over seeds: inf = fewer than half got there; NaN = there is no telling."""

  steps: float = math.nan
  seconds: float = math.nan


def speeds(grid: Sequence[Place], task: str, measure: Measure) -> tuple[float | None, list[Speed]]:
  """What there is to reach, and how fast each place gets there.

  It is naive's best: at the best of its places, what half of its seeds reach at some evaluation. Of
  all its runs together the best would be luck, which no other method gets to but by luck. None if
  at no complete place so many survive; a run whose evaluations cannot be read reaches nothing.

  Args:
    grid: all places.
    task: whose figure it is.
    measure: of the task.
  """
  curves = _curves(grid, task, measure)
  naive = [place for place in grid if place.at("method") == "naive" and place.complete]
  target = max((_typical_best(place, curves) for place in naive), default=-math.inf)
  if math.isinf(target):
    return None, [Speed()] * len(grid)
  return measure.better * target, [_speed(place, curves, target) for place in grid]


def _curves(grid: Sequence[Place], task: str, measure: Measure) -> Curves:
  """Those of complete places that can be read; that of a diverged run has no step."""
  curves = {}
  for place in grid:
    for run in place.runs.to_dict("records") if place.complete else []:
      curves[run["trial"]] = pd.Series(dtype="float64")
      if run["status"] in SURVIVED:
        try:
          rows = series.evaluations(Path(run["run"]))
        except SeriesError:
          del curves[run["trial"]]
          continue
        rows = rows[(rows.task == task) & rows.value.map(math.isfinite)]
        curves[run["trial"]] = measure.better * rows.set_index("step").value
  return curves


def _typical_best(place: Place, curves: Curves) -> float:
  """The median over runs of the best of each, -inf for a lost one."""
  found = [curves.get(trial.name) for trial in place.trials]
  bests = [-math.inf if curve is None or curve.empty else float(curve.max()) for curve in found]
  return statistics.median_low(bests)


def _speed(place: Place, curves: Curves, target: float) -> Speed:
  """Of a complete place whose runs can all be read; one that diverged never gets there."""
  if any(trial.name not in curves for trial in place.trials):
    return Speed()
  steps, seconds = [], []
  for run in place.runs.to_dict("records"):
    curve, pace = curves[run["trial"]], run["examples_per_second"]
    steps.append(min(curve.index[curve >= target], default=math.inf))
    seconds.append(steps[-1] * run["batch_size"] / pace if pace > 0 else math.nan)
  return Speed(_median(steps), _median(seconds))


def _median(values: list[float]) -> float:
  """Where half got there and half did not, the slowest of the former."""
  if any(map(math.isnan, values)):
    return math.nan
  middle = statistics.median(values)
  return statistics.median_low(values) if math.isinf(middle) else middle
