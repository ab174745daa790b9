"""Differences between methods and a reference, each tested by the chance that its runs allow."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ranking.measures.differences import Difference, paired_difference
from ranking.measures.significance import LEVEL, detectable_difference, holm
from ranking.nearest import nearest
from ranking.sweeps import paired, results
from ranking.sweeps.places import Place, places
from ranking.sweeps.sweep import Method, Sweep, SweepError
from ranking.sweeps.tables.outcomes import commands
from ranking.tasks import MEASURES, WITHIN

COLUMNS = (
  "model",
  "setting",
  "reference",
  "method",
  "task",
  "measure",
  "eval_day",
  "difference",
  "standard_error",
  "ci95_low",
  "ci95_high",
  "p",
  "p_holm",
  "detectable",
  "units",
  "unit_name",
  "seeds",
  "outcome",
  "whose",
  "stage",
  "finished",
  "diverged",
  "runs",
  "commands",
)
DAYS, USERS, USERS_AND_SEEDS = "days", "users", "users and seeds"
BETTER, WORSE, NOT_SEEN, TOO_FEW = "better", "worse", "no difference seen", "too few to test"


class Obstacle(NamedTuple):
  """Why nothing is tested: one of the outcomes of a place or "same runs", and whose it is."""

  outcome: str
  whose: str = ""


def contrasts(compared: Sequence[Place], reference: str, table: pd.DataFrame) -> pd.DataFrame:
  """Method minus reference, by their first task of each measure; a row each, with COLUMNS.

  The first binary task is compared by its GAUC too, and by its NDCG where the log has requests.

  On one day N it is `paired.over_seeds`, by the chance of users and seeds. Places with several
  evaluation days are compared on each of them, and over all by `paired_difference` of
  [days, seeds], by the chance of days. The methods of one model, setting, figure and day are a
  family for Holm's correction; one that waits for runs counts in it, one that diverged does not.

  One diverged run is enough to have no figures: those of the others would flatter the method that
  loses most.

  `difference`, its error, interval and `detectable` are in the unit of the figure, AUC a fraction;
  `units` counts users or days; `seeds` is how many runs there are on each day; `detectable` is by
  the verdict, so after Holm's correction; `outcome` is BETTER, WORSE, NOT_SEEN or TOO_FEW, or else
  what is in the way, and `whose` it is, "method" or "reference"; `stage`, `finished`, `diverged`
  and `runs` count all runs of the method, or of the reference if it is in the way.

  Args:
    compared: `methods` of a sweep, or `Search.places`.
    reference: the method that the others are compared with.
    table: of `results.read`; its run directories and their stores must be there.

  Raises:
    SweepError: an unknown reference, or runs that cannot be compared row by row.
  """
  reference = named([place.title for place in compared], reference)
  opposites = {
    (place.at("model"), place.setting): place for place in compared if place.title == reference
  }
  families: dict[tuple[Any, ...], list[_Contrast]] = {}
  for place in compared:
    if place.title != reference:
      about = place.at("model"), place.setting
      for task, measure in _headline_tasks(place, opposites[about], table):
        for contrast in _contrasts(place, opposites[about], task, measure):
          families.setdefault((*about, task, measure, contrast.days), []).append(contrast)
  rows = [row for family in families.values() for row in _judged(family)]
  return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"units": "Int64", "seeds": "Int64"})


def methods(sweep: Sweep, table: pd.DataFrame) -> list[Place]:
  """Every method at every rate with every ablation, on every model, over all evaluation days.

  A method with several thresholds is called by them, too; what else the sweep has several of is in
  the setting.
  """
  several = {
    method.name
    for method in sweep.methods
    if isinstance(method, Method) and len(list(method.combinations())) > 1
  }
  found = []
  for place in places(sweep.trials(), table, over_days=True):
    method, parts = place.at("method"), []
    if any(len(sweep.rates_of(model)) > 1 for model in sweep.models):
      parts.append(f"rate {place.at('learning_rate'):g}")
    if len(sweep.learning_rate_multipliers) > 1:
      parts.append(f"{place.at('learning_rate_multiplier'):g}x")
    if len(sweep.ablations) > 1:
      parts.append(place.at("ablation"))
    title = f"{method} {place.settings}" if method in several else method
    found.append(dataclasses.replace(place, title=title, setting=", ".join(parts)))
  return found


def named(titles: Sequence[str], reference: str) -> str:
  """The one of these methods that is called so, in capitals or not.

  Raises SweepError if none is, or if it is the only one.
  """
  titles = list(dict.fromkeys(titles))
  found = next((each for each in titles if each.lower() == reference.lower()), None)
  if found is None:
    raise SweepError(f"no method {reference!r} to compare with{nearest(reference, titles)}")
  if len(titles) < 2:
    raise SweepError(f"{found} is the only method; give the experiment one to compare with it")
  return found


@dataclasses.dataclass(frozen=True)
class _Contrast:
  """A method and the reference by one figure, on one day or over several.

  Attributes:
    days: how many are left out at the log's end, of each evaluation day from the first on.
    difference: method minus reference, or what is in its way.
  """

  place: Place
  opposite: Place
  task: str
  measure: str
  days: tuple[int, ...]
  difference: Difference | Obstacle

  @property
  def p(self) -> float:
    """The p-value of no difference; nan where nothing is tested."""
    return math.nan if isinstance(self.difference, Obstacle) else self.difference.p

  @property
  def waits(self) -> bool:
    """Whether it will be tested once runs are finished."""
    return isinstance(self.difference, Obstacle) and self.difference.outcome == "waiting"

  def row(self, p_holm: float, comparisons: int) -> dict[str, Any]:
    """With COLUMNS, given how many comparisons its family has."""
    found = self.difference
    whose = found.whose if isinstance(found, Obstacle) else ""
    counted = self.opposite if whose == "reference" else self.place
    seeds = len({seed for each in (self.place, self.opposite) for _, seed in _names(each)})
    of_one = USERS_AND_SEEDS if seeds > 1 else USERS
    mine, others = (self._rows(each) for each in (self.place, self.opposite))
    days = sorted({*mine.eval_day.dropna(), *others.eval_day.dropna()})
    row = {
      "model": self.place.at("model"),
      "setting": self.place.setting,
      "reference": self.opposite.title,
      "method": self.place.title,
      "task": self.task,
      "measure": self.measure,
      "eval_day": " … ".join(dict.fromkeys([*days[:1], *days[-1:]])),
      "unit_name": DAYS if len(self.days) > 1 else of_one,
      "seeds": seeds,
      "whose": whose,
      "stage": counted.stage,
      "finished": counted.count.finished,
      "diverged": counted.count.diverged,
      "runs": counted.wanted,
      "commands": commands(mine),
    }
    if isinstance(found, Obstacle):
      return {**row, "outcome": found.outcome}
    if math.isnan(found.p):
      outcome = TOO_FEW
    elif p_holm > LEVEL:
      outcome = NOT_SEEN
    else:
      outcome = BETTER if MEASURES[self.measure].better * found.value > 0 else WORSE
    level = LEVEL / max(1, comparisons)
    return {
      **row,
      "difference": found.value,
      "standard_error": found.standard_error,
      "ci95_low": found.ci95[0],
      "ci95_high": found.ci95[1],
      "p": found.p,
      "p_holm": p_holm,
      "detectable": detectable_difference(found.standard_error, found.degrees, level),
      "units": found.units,
      "outcome": outcome,
    }

  def _rows(self, place: Place) -> pd.DataFrame:
    """Those of a place's runs on these days."""
    names = [name for (day, _), name in _names(place).items() if day in self.days]
    return place.rows[place.rows.trial.isin(names)]


def _names(place: Place) -> dict[tuple[int, int], str]:
  """The trials to be compared, by day and seed; none while its search is not finished."""
  return {} if place.stage == "search" else place.names()


def _headline_tasks(
  place: Place, opposite: Place, table: pd.DataFrame
) -> Iterator[tuple[str, str]]:
  """The first task of each measure: of these runs, as an ablation may leave one out."""
  names = [*_names(place).values(), *_names(opposite).values()]
  measures = results.tasks(table[table.trial.isin(names)]) or results.tasks(table)
  within = results.within(table[table.trial.isin(names)])
  for task in results.first_of_each_measure(measures):
    yield task, measures[task]
    yield from (each for each in within if each[0] == task)


def _contrasts(place: Place, opposite: Place, task: str, measure: str) -> Iterator[_Contrast]:
  """On each day, and over all if there are several."""
  days = sorted({day for day, _ in (*_names(place), *_names(opposite))}, reverse=True) or [0]
  in_the_way = _obstacle(place, opposite, task, measure)
  for chosen in [*([day] for day in days), *([days] if len(days) > 1 else [])]:
    difference = in_the_way or _difference(place, opposite, task, measure, chosen)
    yield _Contrast(place, opposite, task, measure, tuple(chosen), difference)


def _obstacle(place: Place, opposite: Place, task: str, measure: str) -> Obstacle | None:
  """What is in the way of a difference, if anything."""
  for each, whose in ((place, "method"), (opposite, "reference")):
    if each.stage == "search":
      return Obstacle("waiting", whose)
    outcome = each.outcome(task, measure=measure)
    if outcome == "ok" and len(each.values(task, measure)) < each.wanted:
      outcome = "no such task"
    if outcome != "ok":
      return Obstacle(outcome, whose)
  return Obstacle("same runs") if place.names() == opposite.names() else None


def _difference(
  place: Place, opposite: Place, task: str, measure: str, days: Sequence[int]
) -> Difference:
  """Method minus reference, each run minus that of the same day and seed."""
  seeds = sorted({seed for _, seed in place.names()})
  sides = []
  for each in (place, opposite):
    of_task = each.rows[each.rows.task == task].set_index("trial")
    names = [[each.names()[day, seed] for seed in seeds] for day in days]
    sides.append((of_task, names))
  if len(days) > 1:
    column = results.column_of(measure)
    return paired_difference(*([of_task[column][day] for day in names] for of_task, names in sides))
  folders = [[Path(run) for run in of_task.run[names[0]]] for of_task, names in sides]
  try:
    within = (measure,) if measure in WITHIN else ()
    return paired.over_seeds(list(zip(*folders, strict=True)), task, *within)
  except ValueError as error:
    raise SweepError(str(error)) from error


def _judged(family: Sequence[_Contrast]) -> list[dict[str, Any]]:
  """Rows of what is compared at once; what waits for runs is one of its comparisons."""
  tested = [each.p for each in family if not math.isnan(each.p)]
  waiting = [1.0 for each in family if each.waits]
  adjusted = iter(holm([*tested, *waiting]))
  comparisons = len(tested) + len(waiting)
  return [
    each.row(math.nan if math.isnan(each.p) else next(adjusted), comparisons) for each in family
  ]
