"""Tables of what finished experiments found, as experiments/results/ keeps it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ranking.errors import InputError
from ranking.tasks import WITHIN

Row = dict[Any, Any]
RESULTS = Path("experiments", "results")


class Published:
  """The tables below a folder of results; each is read once.

  Args:
    root: with a folder for each experiment.
  """

  def __init__(self, root: Path = RESULTS):
    self.root = root
    self._tables: dict[Path, pd.DataFrame] = {}

  def rows(self, experiment: str, table: str, **columns: Any) -> list[Row]:
    """The rows of a table in which each of these columns has its value.

    Args:
      experiment: such as "table2_kuairand".
      table: "table2", "comparison", "summary" or "table3"; "runs" has a row per run and task.
      **columns: by name, what is wanted of each.
    """
    ending = "table.parquet" if table == "runs" else f"{table}.csv"
    path = self.root / experiment / ending
    if path not in self._tables:
      self._tables[path] = read(path, list(columns))
    found = self._tables[path]
    for column, value in columns.items():
      found = found[found[column] == value]
    return found.to_dict("records")

  def row(self, experiment: str, table: str, **columns: Any) -> Row:
    """The only row like that. Raises InputError if there is none, or there are several."""
    found = self.rows(experiment, table, **columns)
    if len(found) != 1:
      raise InputError(f"{experiment}/{table} has {len(found)} rows with {columns}, not one")
    return found[0]

  def by(self, key: str, experiment: str, table: str, **columns: Any) -> dict[Any, Row]:
    """The rows like that by their value of a column."""
    return {row[key]: row for row in self.rows(experiment, table, **columns)}

  def trials(self, experiment: str) -> int:
    """How many trials its runs are of."""
    return len({run["trial"] for run in self.rows(experiment, "runs")})


def read(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
  """A table as CSV or Parquet. Raises InputError if it cannot be read or lacks a column."""
  try:
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
  except ValueError as error:  # as those of pandas and of pyarrow are
    raise InputError(f"{path} cannot be read ({type(error).__name__}); make it again") from error
  if absent := [name for name in columns if name not in table]:
    raise InputError(f"{path} has no column {absent[0]!r}; make it again")
  if "measure" in table:  # the study is by the measure of each task
    table = table[~table.measure.isin(WITHIN)]
  return table
