"""The finished runs of one log, as rules look at them."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pandas as pd

from ranking.experiments import results
from ranking.experiments.figures import style
from ranking.experiments.search import FINISHED
from ranking.experiments.statistics import paired
from ranking.experiments.statistics.differences import Difference
from ranking.experiments.statistics.ratios import Ratio, divergence_ratio
from ranking.experiments.tables.outcomes import Count

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
  """

  def __init__(self, name: str, root: Path, trials: Trials):
    self.name, self.root, self._trials = name, root, trials

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
    """A CSV that an experiment wrote when it was finished as a whole.

    Raises:
      NotRun: it is not there, or the experiment has other trials today, or newer runs.
    """
    experiment = f"{what}_{self.name}"
    path = self.root / experiment / name
    if not path.is_file():
      raise NotRun(experiment)
    ended = {result.parent.name: result for result in path.parent.glob("*/result.json")}
    wanted = set(self._trials(experiment))
    if missing := wanted - ended.keys():
      raise NotRun(f"{experiment}: {len(wanted) - len(missing)} of {len(wanted)} runs")
    if any(result.stat().st_mtime > path.stat().st_mtime for result in ended.values()):
      raise NotRun(f"{experiment}, whose {name} is older than its runs")
    return pd.read_csv(path)


def lost(runs: pd.DataFrame) -> Ratio:
  """The share of finished runs that diverged."""
  count = Count.of(runs)
  return divergence_ratio(count.diverged, count.finished)


def difference(first: pd.DataFrame, second: pd.DataFrame) -> Difference | None:
  """AUC of the first runs minus that of the second on the same rows of day N, over their seeds.

  None where a run diverged or fewer than SEEDS seeds are on both sides.
  """
  if any((runs.status == "diverged").any() for runs in (first, second)):
    return None
  pairs = first.merge(second, on="seed", suffixes=("", "_of_second"))
  if len(pairs) < SEEDS:
    return None
  return paired.over_seeds(
    [(Path(pair.run), Path(pair.run_of_second)) for pair in pairs.itertuples()], pairs.task.iloc[0]
  )


def in_points(difference: Difference) -> str:
  """A difference of AUCs with half its 95 % interval, in percent."""
  low, high = difference.ci95
  return f"{100 * difference.value:+.2f} ± {50 * (high - low):.2f}"


def by_model(ratios: dict[str, Ratio]) -> str:
  """Such as "Small 0 of 6, Large+DCN 6 of 6"."""
  return ", ".join(
    f"{style.MODELS[model]} {ratio.diverged} of {ratio.runs}" for model, ratio in ratios.items()
  )
