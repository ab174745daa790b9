"""Who is compared with whom: the runs of each method of an experiment, by day and seed."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ranking.nearest import nearest
from ranking.sweeps.search import Search, choose
from ranking.sweeps.sweep import Method, Sweep, SweepError, settings
from ranking.sweeps.tables.outcomes import Count

DAYS_LEFT_OUT = re.compile(r"(?:\w+\.)*train_and_evaluate\.without_last_days\s*=\s*(\d+)\s*")


class Arm(NamedTuple):
  """One method in one comparison.

  Attributes:
    model: what is compared with one another has the same model and setting.
    setting: the learning rate and the ablation, so far as the experiment has several; else "".
    method: how the comparison calls it.
    runs: name of the trial, by how many days are left out at the log's end and by seed.
    waiting: why there are no runs yet.
  """

  model: str
  setting: str
  method: str
  runs: Mapping[tuple[int, int], str]
  waiting: str = ""


class Obstacle(NamedTuple):
  """Why an arm has no figures, and whether it will have them once its runs are finished."""

  text: str
  waits: bool


def of_sweep(sweep: Sweep) -> list[Arm]:
  """Every method at every rate with every ablation, on every model.

  An ablation that does nothing but leave out days at the log's end is an evaluation day of the
  unchanged method. A method with several thresholds is called by them too.

  Raises:
    SweepError: as `Sweep.trials` does, and if two ablations are the same day.
  """
  trials = sweep.trials()
  points = {
    method.name: len(list(method.combinations()))
    for method in sweep.methods
    if isinstance(method, Method)
  }
  runs: dict[tuple[str, str, str], dict[tuple[int, int], str]] = {}
  for trial in trials:
    at, setting = trial.coordinates, []
    if len(sweep.learning_rates or ()) > 1:
      setting.append(f"rate {at['learning_rate']:g}")
    if len(sweep.learning_rate_multipliers) > 1:
      setting.append(f"{at['learning_rate_multiplier']:g}x")
    left_out = _days_left_out(sweep.ablations[at["ablation"]])
    if left_out is None:
      setting.append(at["ablation"])
    several = points.get(at["method"], 1) > 1
    method = f"{at['method']} {settings(trial.thresholds)}" if several else at["method"]
    mine = runs.setdefault((at["model"], ", ".join(setting), method), {})
    place = (left_out or 0, at["seed"])
    if place in mine:
      raise SweepError(f"{sweep.name}: two ablations leave out {place[0]} days; keep one of them")
    mine[place] = trial.name
  return [Arm(*names, of_arm) for names, of_arm in runs.items()]


def of_search(search: Search, table: pd.DataFrame) -> list[Arm]:
  """The repeats of every column's best setting, on every model.

  Args:
    search: whose runs these are.
    table: of `results.read`.

  Raises:
    SweepError: as `Search.cells` does.
  """
  arms = []
  for cell in search.cells():
    chosen = choose(cell.candidates, table)
    tried = [candidate.tried.name for candidate in cell.candidates]
    count = Count.of(table[table.trial.isin(tried)])
    arms.append(
      Arm(
        *(cell.model, "", cell.column),
        {(0, trial.coordinates["seed"]): trial.name for trial in chosen.repeats} if chosen else {},
        "" if chosen else f"{count.finished} of {len(tried)} runs of the search",
      )
    )
  return arms


def methods(arms: Sequence[Arm]) -> list[str]:
  """Each method of the arms once."""
  return list(dict.fromkeys(arm.method for arm in arms))


def named(methods: Sequence[str], reference: str) -> str:
  """The one of these methods that is called so, in capitals or not.

  Raises SweepError if none is, or if it is the only one.
  """
  found = next((each for each in methods if each.lower() == reference.lower()), None)
  if found is None:
    raise SweepError(f"no method {reference!r} to compare with{nearest(reference, methods)}")
  if len(methods) < 2:
    raise SweepError(f"{found} is the only method; give the experiment one to compare with it")
  return found


def obstacle(arm: Arm, table: pd.DataFrame) -> Obstacle | None:
  """What keeps an arm from having figures: runs that are not finished, or that diverged.

  One diverged run is enough: the figures of the others would flatter the method that loses most.
  """
  count, wanted = Count.of(table[table.trial.isin(arm.runs.values())]), len(arm.runs)
  if arm.waiting or count.finished < wanted:
    return Obstacle(arm.waiting or f"{count.finished} of {wanted} runs", True)
  return Obstacle(f"diverged ({count.diverged} of {wanted})", False) if count.diverged else None


def _days_left_out(bindings: Sequence[str]) -> int | None:
  """How many days an ablation leaves out at the log's end; None if it changes anything else."""
  found: list[Any] = [DAYS_LEFT_OUT.fullmatch(binding) for binding in bindings]
  return int(found[-1][1]) if found and all(found) else None if found else 0
