"""What documents say of the runs behind them: what they cost, and their commands."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ranking.sweeps.results import FINISHED
from ranking.sweeps.tables import rendering
from ranking.sweeps.tables.document import Entry, Table


def cost(rows: pd.DataFrame, search: pd.DataFrame | None = None) -> str:
  """Where the figures of some runs come from, and what they cost.

  Args:
    rows: of the table of `results.read`.
    search: rows of the search before them, if their log was another one.
  """
  before = None if search is None else effort(search)
  (paragraph,) = rendering.paragraphs("cost.txt", **effort(rows), search=before)
  return paragraph


def effort(rows: pd.DataFrame) -> dict[str, Any]:
  """What a template says of some runs.

  These are runs, finished, minutes, commits, dataset, scale, days and rates; the last four are of
  those that are finished.
  """
  each = rows.drop_duplicates("trial")
  finished = each[each.status.isin(FINISHED)]
  commits = finished.git_commit.dropna().map(lambda name: name[:9] + name[40:])  # "-dirty" stays
  return {
    "runs": len(each),
    "finished": len(finished),
    "minutes": finished.seconds.sum() / 60,
    "commits": sorted(set(commits) - {""}),
    "dataset": ", ".join(finished.dataset.unique()),
    "scale": ", ".join(finished.scale.unique()),
    "days": sorted(finished.eval_day.dropna().unique()),
    "rates": sorted(finished.learning_rate.dropna().unique()),
  }


def remark(figure: Mapping[Any, Any]) -> Entry:
  """What stands where a row of table2.csv or comparison.csv has no figure.

  Args:
    figure: with outcome, stage, finished, diverged, runs and commands; with reference and whose
      where methods are compared.
  """
  return Entry(rendering.words("remark", figure=figure), "remark", figure["commands"])


def commands(rows: pd.DataFrame) -> str:
  """The command of each run, a line each."""
  return "\n".join(rows.drop_duplicates("trial").command)


def runs_table(about: list[str], groups: list[tuple[list[str], pd.DataFrame]]) -> Table:
  """The command of every run that a figure is of."""
  rows = [
    [
      *map(Entry, names),
      Entry(str(run["seed"])),
      Entry(run["status"]),
      Entry(run["command"], "code"),
    ]
    for names, runs in groups
    for run in runs.drop_duplicates("trial").to_dict("records")
  ]
  return Table("The runs", [*about, "seed", "status", "command"], rows, folded=True)
