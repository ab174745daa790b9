"""Differences between methods and a reference, each tested by the chance that its runs allow."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ranking.measures.differences import Difference, paired_difference
from ranking.measures.significance import LEVEL, detectable_difference, holm
from ranking.sweeps import paired
from ranking.sweeps.sweep import SweepError
from ranking.sweeps.tables.arms import Arm, Obstacle, methods, named, obstacle
from ranking.sweeps.tables.outcomes import commands
from ranking.tasks import MEASURES

COLUMNS = (
  *("model", "setting", "reference", "method", "task", "measure", "eval_day"),
  *("difference", "standard_error", "ci95_low", "ci95_high", "p", "p_holm", "detectable"),
  *("units", "unit_name", "seeds", "outcome", "commands"),
)
DAYS, USERS, USERS_AND_SEEDS = "days", "users", "users and seeds"
BETTER, WORSE, NOT_SEEN = "better", "worse", "no difference seen"


def contrasts(arms: Sequence[Arm], reference: str, table: pd.DataFrame) -> pd.DataFrame:
  """Method minus reference, of its runs' first AUC and first RMSE; a row each, with COLUMNS.

  On one day N it is `paired.over_seeds`, by the chance of users and seeds. Arms with several
  evaluation days are compared on each of them, and over all by `paired_difference` of
  [days, seeds], by the chance of days. The methods of one model, setting, figure and day are a
  family for Holm's correction; one that waits for runs counts in it, one that diverged does not.

  `difference`, its error, interval and `detectable` are in the unit of the figure, AUC a fraction;
  `units` counts users or days; `seeds` is how many runs there are on each day; `detectable` is by
  the verdict, so after Holm's correction; `outcome` is BETTER, WORSE or NOT_SEEN, or else says why
  nothing was tested.

  Args:
    arms: of all methods.
    reference: the method that the others are compared with.
    table: of `results.read`; its run directories and their stores must be there.

  Raises:
    SweepError: an unknown reference, or runs that cannot be compared row by row.
  """
  reference = named(methods(arms), reference)
  families: dict[tuple[Any, ...], list[_Contrast]] = {}
  for arm in arms:
    if arm.method != reference:
      opposite = next(each for each in arms if each[:3] == (arm.model, arm.setting, reference))
      for task, measure in _headline_tasks(arm, opposite, table):
        for contrast in _contrasts(arm, opposite, task, measure, table):
          family = (arm.model, arm.setting, task, contrast.days)
          families.setdefault(family, []).append(contrast)
  rows = [row for family in families.values() for row in _judged(family)]
  return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"units": "Int64", "seeds": "Int64"})


@dataclasses.dataclass(frozen=True)
class _Contrast:
  """A method and the reference by one figure, on one day or over several.

  Attributes:
    days: how many are left out at the log's end, of each evaluation day from the first on.
    difference: method minus reference, or what is in its way.
  """

  arm: Arm
  opposite: Arm
  task: str
  measure: str
  days: tuple[int, ...]
  runs: pd.DataFrame
  difference: Difference | Obstacle

  @property
  def p(self) -> float:
    """Of no difference; nan where nothing is tested."""
    return math.nan if isinstance(self.difference, Obstacle) else self.difference.p

  @property
  def day_names(self) -> str:
    """The evaluation day, or the first and the last of several; "" before a run is finished."""
    trials = _trials(self.arm, self.days) + _trials(self.opposite, self.days)
    names = sorted(self.runs[self.runs.trial.isin(trials)].eval_day.dropna().unique())
    return " … ".join(dict.fromkeys([*names[:1], *names[-1:]]))

  def row(self, p_holm: float, comparisons: int) -> dict[str, Any]:
    """With COLUMNS, given how many comparisons its family has."""
    seeds = len({seed for _, seed in (*self.arm.runs, *self.opposite.runs)})
    of_one = USERS_AND_SEEDS if seeds > 1 else USERS
    row = {
      **{"model": self.arm.model, "setting": self.arm.setting, "method": self.arm.method},
      **{"reference": self.opposite.method, "task": self.task, "measure": self.measure},
      "eval_day": self.day_names,
      **{"unit_name": DAYS if len(self.days) > 1 else of_one, "seeds": seeds},
      "commands": commands(self.runs[self.runs.trial.isin(_trials(self.arm, self.days))]),
    }
    found = self.difference
    if isinstance(found, Obstacle):
      return {**row, "outcome": found.text}
    if math.isnan(found.p):
      outcome = "too few to test"
    elif p_holm > LEVEL:
      outcome = NOT_SEEN
    else:
      outcome = BETTER if MEASURES[self.measure].better * found.value > 0 else WORSE
    level = LEVEL / max(1, comparisons)
    return {
      **row,
      **{"difference": found.value, "standard_error": found.standard_error},
      **{"ci95_low": found.ci95[0], "ci95_high": found.ci95[1], "p": found.p, "p_holm": p_holm},
      "detectable": detectable_difference(found.standard_error, found.degrees, level),
      **{"units": found.units, "outcome": outcome},
    }


def _headline_tasks(arm: Arm, opposite: Arm, table: pd.DataFrame) -> Iterator[tuple[str, str]]:
  """The first task of each measure: of these runs, as an ablation may leave one out."""
  judged = table.dropna(subset=["task"])
  mine = judged[judged.trial.isin([*arm.runs.values(), *opposite.runs.values()])]
  first = (judged if mine.empty else mine).drop_duplicates("measure")
  yield from zip(first.task, first.measure, strict=True)


def _contrasts(
  arm: Arm, opposite: Arm, task: str, measure: str, table: pd.DataFrame
) -> Iterator[_Contrast]:
  """On each day, and over all if there are several."""
  runs = table[table.trial.isin([*arm.runs.values(), *opposite.runs.values()])]
  days = sorted({day for day, _ in (*arm.runs, *opposite.runs)}, reverse=True) or [0]
  in_the_way = _obstacle(arm, opposite, task, runs)
  for place in [*([day] for day in days), *([days] if len(days) > 1 else [])]:
    difference = in_the_way or _difference(arm, opposite, task, place, runs)
    yield _Contrast(arm, opposite, task, measure, tuple(place), runs, difference)


def _obstacle(arm: Arm, opposite: Arm, task: str, runs: pd.DataFrame) -> Obstacle | None:
  """What is in the way of a difference, if anything."""
  of_task = runs[runs.task == task].set_index("trial").value
  for each, prefix in ((arm, ""), (opposite, f"{opposite.method}: ")):
    found = obstacle(each, runs)
    if found is None and not of_task.reindex(each.runs.values()).map(math.isfinite).all():
      found = Obstacle(f"no finite {task}", False)
    if found:
      return found._replace(text=prefix + found.text)
  return Obstacle(f"same runs as {opposite.method}", False) if arm.runs == opposite.runs else None


def _difference(
  arm: Arm, opposite: Arm, task: str, days: Sequence[int], runs: pd.DataFrame
) -> Difference:
  """Arm minus opposite, each run minus that of the same day and seed."""
  of_task = runs[runs.task == task].set_index("trial")
  seeds = sorted({seed for _, seed in arm.runs})
  names = [[[each.runs[day, seed] for seed in seeds] for day in days] for each in (arm, opposite)]
  if len(days) > 1:
    return paired_difference(*([of_task.value[day] for day in of] for of in names))
  folders = [map(Path, of_task.run[of_arm[0]]) for of_arm in names]
  try:
    return paired.over_seeds(list(zip(*folders, strict=True)), task)
  except ValueError as error:
    raise SweepError(str(error)) from error


def _judged(family: Sequence[_Contrast]) -> list[dict[str, Any]]:
  """Rows of what is compared at once; what waits for runs is one of its comparisons."""
  p = [each.p for each in family]
  tested = [value for value in p if not math.isnan(value)]
  waiting = [
    1.0 for each in family if isinstance(each.difference, Obstacle) and each.difference.waits
  ]
  adjusted = iter(holm([*tested, *waiting]))
  comparisons = len(tested) + len(waiting)
  return [
    each.row(math.nan if math.isnan(each.p) else next(adjusted), comparisons) for each in family
  ]


def _trials(arm: Arm, days: Sequence[int]) -> list[str]:
  """Names of an arm's trials on these days."""
  return [name for (day, _), name in arm.runs.items() if day in days]
