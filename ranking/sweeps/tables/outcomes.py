"""What documents say of the runs behind them: how they ended, what they cost, their commands."""

from typing import NamedTuple

import pandas as pd

from ranking.sweeps.search import FINISHED
from ranking.sweeps.tables.document import Entry, Table


class Count(NamedTuple):
  """How many of some runs have come to an end, and to which."""

  finished: int
  diverged: int

  @classmethod
  def of(cls, runs: pd.DataFrame) -> "Count":
    status = runs.drop_duplicates("trial").status
    return cls(int(status.isin(FINISHED).sum()), int((status == "diverged").sum()))


def cost(runs: pd.DataFrame) -> str:
  """Where the figures come from, and what they cost."""
  each = runs.drop_duplicates("trial")
  finished = each[each.status.isin(FINISHED)]
  if finished.empty:
    return "No run is finished."
  one, days = finished.iloc[0], sorted(finished.eval_day.unique())
  rates = ", ".join(f"{rate:g}" for rate in sorted(finished.learning_rate.unique()))
  day = days[0] if len(days) == 1 else f"{len(days)} days from {days[0]} to {days[-1]} in turn"
  return (
    f"{one.dataset} at {one.scale} scale, day N = {day}, base learning rate {rates}. "
    f"{effort(runs)}, added up over runs{commits(runs)}."
  )


def effort(runs: pd.DataFrame) -> str:
  """How many runs are finished, and what they cost."""
  each = runs.drop_duplicates("trial")
  finished = each[each.status.isin(FINISHED)]
  return f"{len(finished)} runs, {finished.seconds.sum() / 60:.0f} minutes of training"


def commits(runs: pd.DataFrame) -> str:
  """Such as "; commit a28db83ab" of the code that the runs were made by, "" where none is known."""
  known = runs.git_commit.dropna().map(lambda name: name[:9] + name[40:])  # "-dirty" stays
  short = sorted(set(known) - {""})
  return f"; commit{'s' * (len(short) > 1)} {', '.join(short)}" if short else ""


def commands(runs: pd.DataFrame) -> str:
  """Of each run, a line each."""
  return "\n".join(runs.drop_duplicates("trial").command)


def runs_table(about: list[str], groups: list[tuple[list[str], pd.DataFrame]]) -> Table:
  """The command of every run that a figure is of."""
  rows = [
    [
      *map(Entry, names),
      *(Entry(str(run["seed"])), Entry(run["status"]), Entry(run["command"], "code")),
    ]
    for names, runs in groups
    for run in runs.drop_duplicates("trial").to_dict("records")
  ]
  return Table("The runs", [*about, "seed", "status", "command"], rows, folded=True)
