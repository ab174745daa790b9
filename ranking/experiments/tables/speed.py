"""How fast runs get to an AUC: in steps, and in seconds at their own pace."""

import math
import statistics
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ranking.experiments import series
from ranking.experiments.search import FINISHED, SURVIVED
from ranking.experiments.series import SeriesError


class Speed(NamedTuple):
  """Medians over seeds: inf = fewer than half got there; NaN = there is no telling."""

  steps: float
  seconds: float


def steps_to(run_directory: Path, target_auc: float) -> int | None:
  """The step of the first evaluation at or above the target; None if there is none.

  Args:
    run_directory: with an evals.jsonl, of whose first binary task the AUC is looked at.
    target_auc: as a fraction.

  Raises:
    SeriesError: evals.jsonl cannot be read.
  """
  for step, auc in _aucs(run_directory):
    if auc >= target_auc:
      return step
  return None


def target(runs: pd.DataFrame) -> float | None:
  """Naive's best AUC at any evaluation of its runs that survived; None if it has none.

  Args:
    runs: rows with the columns of results.py; runs whose evaluations cannot be read are left out.
  """
  naive = runs[(runs.method == "naive") & runs.status.isin(SURVIVED)]
  best = -math.inf
  for run in naive.run.unique():
    try:
      best = max([best, *(auc for _, auc in _aucs(Path(run)) if math.isfinite(auc))])
    except SeriesError:
      continue
  return best if math.isfinite(best) else None


def speed(runs: pd.DataFrame, target_auc: float) -> Speed:
  """Of the finished runs of one point, of which those that diverged never get there.

  Args:
    runs: rows with the columns of results.py.
    target_auc: as a fraction.
  """
  each = runs[runs.status.isin(FINISHED)].drop_duplicates("trial")
  steps, seconds = [], []
  for run in each.to_dict("records"):
    step: float = math.inf
    if run["status"] in SURVIVED:
      try:
        reached = steps_to(Path(run["run"]), target_auc)
      except SeriesError:
        return Speed(math.nan, math.nan)
      step = math.inf if reached is None else reached
    pace = run["examples_per_second"]
    steps.append(step)
    seconds.append(step * run["batch_size"] / pace if pace > 0 else math.nan)
  return Speed(_median(steps), _median(seconds))


def _aucs(run_directory: Path) -> list[tuple[int, float]]:
  """(step, AUC) of every evaluation of the first binary task, in their order."""
  evaluations = series.evaluations(run_directory)
  binary = evaluations[evaluations.kind == "binary"]
  if binary.empty:
    return []
  first = binary[binary.task == binary.task.iloc[0]]
  return list(zip(map(int, first.step), map(float, first.value), strict=True))


def _median(values: list[float]) -> float:
  """Where half got there and half did not, the slowest of the former."""
  if not values or any(map(math.isnan, values)):
    return math.nan
  middle = statistics.median(values)
  return statistics.median_low(values) if math.isinf(middle) else middle
