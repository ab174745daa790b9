"""The points of a sweep's grid: what the runs of all seeds have in common, and these runs."""

import dataclasses

import pandas as pd

from ranking.sweeps import results
from ranking.sweeps.search import SURVIVED
from ranking.sweeps.sweep import Sweep, settings
from ranking.sweeps.tables.outcomes import Count, commands

LINE = ("model", "method", "thresholds", "ablation")


@dataclasses.dataclass(frozen=True)
class Point:
  """A place of the grid.

  Attributes:
    model, method, ablation: by name.
    thresholds: as text, "default" for none.
    base: the base learning rate; NaN while no run has told it.
    multiplier: times the base rate.
    wanted: how many runs, one for each seed.
    runs: their rows in the table of `whole`.
  """

  model: str
  method: str
  thresholds: str
  ablation: str
  base: float
  multiplier: float
  wanted: int
  runs: pd.DataFrame

  @property
  def line(self) -> tuple[str, ...]:
    """What it has in common with points that differ in their rates alone: LINE."""
    return self.model, self.method, self.thresholds, self.ablation

  @property
  def rate(self) -> float:
    """The learning rate; without the last digits, which differ between 0.1 × 2 and 0.2 × 1."""
    return float(f"{self.base * self.multiplier:.12g}")

  @property
  def count(self) -> Count:
    """How its runs ended."""
    return Count.of(self.runs)

  @property
  def finished(self) -> bool:
    """Whether all of them have."""
    return self.count.finished == self.wanted

  @property
  def survivors(self) -> pd.DataFrame:
    """The rows of those that did not diverge."""
    return self.runs[self.runs.status.isin(SURVIVED)]

  @property
  def commands(self) -> str:
    """Of the runs that have begun, a line each."""
    return commands(self.runs[self.runs.command != ""])

  @property
  def progress(self) -> str:
    """How many are finished, in words."""
    failed = int((self.runs.drop_duplicates("trial").status == "failed").sum())
    text = f"{self.count.finished} of {self.wanted} runs"
    return f"{text}, {failed} failed" if failed else text


def whole(sweep: Sweep, table: pd.DataFrame) -> pd.DataFrame:
  """The table in the order of the trials, with a row for those that have not begun.

  What is no part of the sweep is left out. A base rate that the sweep leaves to the log is known
  once a run with the same ablation, which may bind another one, is finished.

  Args:
    sweep: whose runs these are.
    table: of `results.read`.
  """
  trials = {trial.name: trial for trial in sweep.trials()}
  known = table[table.trial.isin(list(trials))]
  waiting = [
    {
      **trial.coordinates,
      **{"trial": name, "thresholds": settings(trial.thresholds), "status": "unfinished"},
      **{"run": "", "command": ""},
      **trial.thresholds,
    }
    for name, trial in trials.items()
    if name not in set(known.trial)
  ]
  rows = pd.DataFrame([*known.to_dict("records"), *waiting])
  rows = rows.reindex(columns=list(dict.fromkeys([*table.columns, *rows.columns])))
  order = list(trials)
  rows = rows.sort_values("trial", key=lambda names: names.map(order.index), kind="stable")
  rows = rows.reset_index(drop=True).astype(results.COLUMNS)
  for setting in rows.columns.difference(list(results.COLUMNS)):  # as `results.read` does
    if not all(isinstance(value, (int, float)) for value in rows[setting].dropna()):
      rows[setting] = rows[setting].map(str, na_action="ignore")
  if sweep.learning_rates is None:
    of_ablation = rows.groupby("ablation").learning_rate.transform("max")
    rows["learning_rate"] = rows.learning_rate.fillna(of_ablation)
  else:  # a place of the grid keeps its name, whatever an ablation binds
    rates = {name: trial.coordinates["learning_rate"] for name, trial in trials.items()}
    rows["learning_rate"] = rows.trial.map(rates).astype(float)
  return rows


def points(sweep: Sweep, rows: pd.DataFrame) -> list[Point]:
  """All of them, in the order of the grid.

  Args:
    sweep: whose points these are.
    rows: of `whole`.
  """
  trials = sweep.trials()
  different = len(trials) // len(sweep.seeds)  # a sweep has its trials seed by seed
  found = []
  for place, trial in enumerate(trials[:different]):
    names = [fellow.name for fellow in trials[place::different]]
    runs = rows[rows.trial.isin(names)]
    at = trial.coordinates
    base = runs.learning_rate.iloc[0] if at["learning_rate"] is None else at["learning_rate"]
    found.append(
      Point(
        **{name: at[name] for name in ("model", "method", "ablation")},
        thresholds=settings(trial.thresholds),
        base=float(base),
        multiplier=float(at["learning_rate_multiplier"]),
        wanted=len(names),
        runs=runs,
      )
    )
  return found
