"""The runs of one place in a grid: what they have in common, how they ended, how good they are."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from ranking.sweeps.results import SURVIVED, Count, column_of
from ranking.sweeps.sweep import Trial, settings

Stage = Literal["search", "repeats"]
Outcome = Literal["ok", "diverged", "waiting", "not finite", "no such task"]
LINE = ("model", "method", "thresholds", "ablation", "days_left_out")


@dataclasses.dataclass(frozen=True)
class Place:
  """Trials that differ in nothing but seed and evaluation day, and the rows of their runs.

  Attributes:
    title: how tables call it, beside its model and its setting.
    trials: what it waits for.
    rows: of the table of `results.read`, those of its trials; none of a run that has not begun.
    learning_rate: the base rate; NaN while no run has told it.
    setting: what tells it from others of its title, in words.
    stage: "search" while these are all settings that a column of a search has to choose among;
      then what they have in common is that of the first.
  """

  title: str
  trials: tuple[Trial, ...]
  rows: pd.DataFrame
  learning_rate: float = math.nan
  setting: str = ""
  stage: Stage = "repeats"

  @classmethod
  def of(
    cls,
    trials: Iterable[Trial],
    table: pd.DataFrame,
    title: str = "",
    learning_rate: float = math.nan,
    stage: Stage = "repeats",
  ) -> "Place":
    """Takes the rows of these trials from a table of `results.read`."""
    trials = tuple(trials)
    rows = table[table.trial.isin([trial.name for trial in trials])]
    method = str(trials[0].coordinates["method"])
    return cls(title or method, trials, rows, learning_rate, stage=stage)

  @classmethod
  def together(cls, places: Sequence["Place"]) -> "Place":
    """Joins places that a picture does not tell apart."""
    return dataclasses.replace(
      places[0],
      trials=tuple(trial for place in places for trial in place.trials),
      rows=pd.concat([place.rows for place in places]),
    )

  def at(self, coordinate: str) -> Any:
    """Looks up what the trials have in common, such as "model"; see `Trial.coordinates`."""
    return self.trials[0].coordinates[coordinate]

  @property
  def thresholds(self) -> Mapping[str, Any]:
    """Setting → value."""
    return self.trials[0].thresholds

  @property
  def settings(self) -> str:
    """The thresholds as text, "default" for none."""
    return settings(self.thresholds)

  @property
  def line(self) -> tuple[Any, ...]:
    """What it has in common with places that differ in their rates alone: LINE."""
    return tuple(self.settings if name == "thresholds" else self.at(name) for name in LINE)

  @property
  def axes(self) -> dict[str, Any]:
    """LINE and the learning rate, by name."""
    return {**dict(zip(LINE, self.line, strict=True)), "learning_rate": self.rate}

  @property
  def rate(self) -> float:
    """The learning rate; without the last digits, which differ between 0.1 × 2 and 0.2 × 1."""
    return float(f"{self.learning_rate * self.at('learning_rate_multiplier'):.12g}")

  @property
  def wanted(self) -> int:
    """How many runs it waits for."""
    return len(self.trials)

  @functools.cached_property
  def count(self) -> Count:
    """How its runs ended."""
    return Count.of(self.rows)

  @property
  def complete(self) -> bool:
    """Whether all runs are finished."""
    return self.count.finished == self.wanted

  @functools.cached_property
  def runs(self) -> pd.DataFrame:
    """A row for each trial in their order, with status "unfinished" for one that has not begun."""
    begun = self.rows.drop_duplicates("trial").set_index("trial")
    runs = begun.reindex([trial.name for trial in self.trials])
    runs["seed"] = [trial.coordinates["seed"] for trial in self.trials]
    return runs.reset_index().fillna({"status": "unfinished", "command": "", "run": ""})

  @functools.cached_property
  def commands(self) -> str:
    """The commands of the runs that have begun, a line each."""
    return "\n".join(self.rows.drop_duplicates("trial").command)

  def names(self) -> dict[tuple[int, int], str]:
    """Name of each trial, by how many days it leaves out at the log's end, and by seed."""
    at = [(trial.coordinates["days_left_out"], trial.coordinates["seed"]) for trial in self.trials]
    return dict(zip(at, (trial.name for trial in self.trials), strict=True))

  def values(self, task: str | None, measure: str | None = None) -> pd.Series:
    """The figures of the runs that did not diverge, by one task; the measure's of WITHIN, if so."""
    return self._survivors.get(task, self.rows[:0])[column_of(measure)]

  @functools.cached_property
  def _survivors(self) -> Mapping[str | None, pd.DataFrame]:
    """The rows of the runs that did not diverge, by task."""
    return dict(iter(self.rows[self.rows.status.isin(SURVIVED)].groupby("task")))

  def outcome(
    self, task: str | None, of_survivors: bool = False, measure: str | None = None
  ) -> Outcome:
    """What it came to, by one task.

    Args:
      task: by name.
      of_survivors: whether it is diverged once all its runs are, rather than one: the mean of the
        others flatters the method that loses most.
      measure: as of `values`.
    """
    values, count = self.values(task, measure), self.count
    if not self.complete:
      return "waiting"
    if count.diverged >= (self.wanted if of_survivors else 1):
      return "diverged"
    if values.empty:  # an ablation has no such task
      return "no such task"
    return "ok" if values.map(math.isfinite).all() else "not finite"

  def spread(
    self, task: str | None, of_survivors: bool = False, measure: str | None = None
  ) -> tuple[float, float]:
    """Mean and standard deviation over its runs, NaN unless its `outcome` is ok.

    The deviation is that of a sample, NaN of one run.
    """
    if self.outcome(task, of_survivors, measure) != "ok":
      return math.nan, math.nan
    values = self.values(task, measure)
    return float(values.mean()), float(values.std())


def places(trials: Sequence[Trial], table: pd.DataFrame, over_days: bool = False) -> list[Place]:
  """Groups the trials of a sweep, in their order.

  A base rate that a sweep leaves to the log is known once a run with the same ablation, which may
  bind another one, is finished.

  Args:
    trials: of the sweep.
    table: of `results.read`; what is no part of the sweep is left out.
    over_days: whether evaluation days are of one place, as seeds are.
  """
  apart = {"seed", "days_left_out"} if over_days else {"seed"}
  groups: dict[tuple[Any, ...], list[Trial]] = {}
  for trial in trials:
    at = [value for name, value in trial.coordinates.items() if name not in apart]
    groups.setdefault((*at, settings(trial.thresholds)), []).append(trial)
  ablations = {trial.name: trial.coordinates["ablation"] for trial in trials}
  known = table[table.trial.isin(list(ablations))]
  rates = known.groupby(known.trial.map(ablations)).learning_rate.max()
  found = []
  for group in groups.values():
    first = group[0].coordinates
    rate = first["learning_rate"]
    if rate is None:  # else a place keeps its name, whatever an ablation binds
      rate = rates.get(first["ablation"], math.nan)
    found.append(Place.of(group, known, learning_rate=float(rate)))
  return found
