"""The finished runs of one log, as rules look at them."""

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pandas as pd

from ranking.measures.differences import Difference
from ranking.measures.ratios import Ratio, divergence_ratio
from ranking.sweeps import paired, results
from ranking.sweeps.results import FINISHED, Count

SEEDS = 2  # at least, of an experiment and on either side of a comparison
Trials = Callable[[str], Collection[str]]


class NotRun(Exception):
  """A rule needs runs that are not there: the experiment that has them, and what it has."""


class Log:
  """The finished runs of every experiment on one log.

  Args:
    name: of the log, as experiments are named: experiments/<what>_<name>.gin.
    root: the folder of all runs.
    trials: of an experiment, by name, as it is described today.
    published: the folder of what finished experiments left, experiments/results.
  """

  def __init__(self, name: str, root: Path, trials: Trials, published: Path):
    self.name, self.root, self._trials, self._published = name, root, trials, published

  def runs(self, what: str, **coordinates: Any) -> pd.DataFrame:
    """A row per run of an experiment that is finished as a whole, with the columns of results.py.

    One may not stop where it looks best, and no verdict rests on one seed.

    Args:
      what: such as "methods" for experiments/methods_<log>.gin.
      **coordinates: columns and the value that is wanted of each.

    Raises:
      NotRun: the experiment is not finished, or has one seed, or no run like that.
    """
    experiment = f"{what}_{self.name}"
    folder = self.root / experiment
    if not any(folder.glob("*/result.json")):
      raise NotRun(experiment)
    wanted = self._trials(experiment)
    runs = results.read([folder]).drop_duplicates("trial")
    runs = runs[runs.status.isin(FINISHED) & runs.trial.isin(wanted)]
    if len(runs) < len(wanted):
      raise NotRun(f"{experiment}: {len(runs)} of {len(wanted)} runs")
    if runs.seed.nunique() < SEEDS:
      raise NotRun(f"{experiment} with {SEEDS} seeds")
    for column, value in coordinates.items():
      runs = runs[runs[column] == value]
    if runs.empty:
      raise NotRun(experiment)
    return runs

  def file(self, what: str, name: str) -> pd.DataFrame:
    """A CSV that a whole experiment wrote; as it was published, if nothing of it ran here.

    Raises:
      NotRun: it is not there, or the experiment has more trials today, or newer runs.
    """
    experiment = f"{what}_{self.name}"
    path = self.root / experiment / name
    ended = {result.parent.name: result for result in path.parent.glob("*/result.json")}
    if ended:
      if any(result.stat().st_mtime > _written(path) for result in ended.values()):
        raise NotRun(f"{experiment}, whose {name} is older than its runs")
      found = set(ended)
    else:
      path = self._published / experiment / name
      runs = path.with_name("table.parquet")
      found = set(pd.read_parquet(runs, columns=["trial"]).trial) if runs.is_file() else set()
    if not path.is_file():
      raise NotRun(experiment)
    wanted = set(self._trials(experiment))
    if missing := wanted - found:
      raise NotRun(f"{experiment}: {len(wanted) - len(missing)} of {len(wanted)} runs")
    return pd.read_csv(path)


def _written(path: Path) -> float:
  """When, in seconds; for one that is not there, after everything."""
  return path.stat().st_mtime if path.is_file() else math.inf


def lost(runs: pd.DataFrame) -> Ratio:
  """The share of finished runs that diverged."""
  count = Count.of(runs)
  return divergence_ratio(count.diverged, count.finished)


def difference(first: pd.DataFrame, second: pd.DataFrame) -> Difference | None:
  """AUC of the first runs minus that of the second on the same rows of day N, over their seeds.

  None where a run diverged or fewer than SEEDS seeds are on both sides. Raises ValueError if they
  were not evaluated on the same rows.
  """
  if any((runs.status == "diverged").any() for runs in (first, second)):
    return None
  pairs = first.merge(second, on="seed", suffixes=("", "_of_second"))
  if len(pairs) < SEEDS:
    return None
  return paired.over_seeds(
    [(Path(pair.run), Path(pair.run_of_second)) for pair in pairs.itertuples()], pairs.task.iloc[0]
  )
