"""The finished runs of one log, as rules look at them."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import templating
from experiments.published import read
from ranking.errors import InputError
from ranking.measures.differences import Difference
from ranking.measures.ratios import Ratio, divergence_ratio
from ranking.sweeps import paired, results
from ranking.sweeps.results import FINISHED, Count

MODELS = ("small", "large", "large_dcn")
SEEDS = 2  # at least, of an experiment and on either side of a comparison
Trials = Callable[[str], Collection[str]]


class NotRun(Exception):
  """A rule needs runs that are not there.

  Args:
    experiment: which one has them.
    **lacks: what it lacks; see the macro `lacks` in templates/evidence.txt.
  """

  def __init__(self, experiment: str, **lacks: Any):
    super().__init__(templating.evidence("lacks", experiment=experiment, **lacks))


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
      raise NotRun(experiment, found=len(runs), wanted=len(wanted))
    if runs.seed.nunique() < SEEDS:
      raise NotRun(experiment, seeds=SEEDS)
    for column, value in coordinates.items():
      runs = runs[runs[column] == value]
    if runs.empty:
      raise NotRun(experiment)
    return runs

  def ratios(self, method: str, **coordinates: Any) -> dict[str, Ratio]:
    """By model, the share of a method's runs of "methods" that diverged. Raises NotRun."""
    return {
      model: lost(self.runs("methods", method=method, model=model, **coordinates))
      for model in MODELS
    }

  def gap(self, column: str, first: str, second: str, **coordinates: Any) -> Difference | None:
    """Runs of "methods" with one value of a column minus those with another: see `difference`.

    Raises NotRun.
    """
    runs = [self.runs("methods", **{column: name}, **coordinates) for name in (first, second)]
    return difference(*runs)

  def file(self, what: str, name: str) -> pd.DataFrame:
    """A CSV that a whole experiment wrote.

    Raises:
      NotRun: it is not there, or the experiment has more trials today, or newer runs.
      InputError: it cannot be read.
    """
    experiment = f"{what}_{self.name}"
    path = self.root / experiment / name
    if not path.is_file():
      raise NotRun(experiment)
    ended = {result.parent.name: result for result in path.parent.glob("*/result.json")}
    if any(result.stat().st_mtime > path.stat().st_mtime for result in ended.values()):
      raise NotRun(experiment, old=name)
    wanted = set(self._trials(experiment))
    if missing := wanted - set(ended):
      raise NotRun(experiment, found=len(wanted) - len(missing), wanted=len(wanted))
    return read(path)


def lost(runs: pd.DataFrame) -> Ratio:
  """The share of finished runs that diverged."""
  count = Count.of(runs)
  return divergence_ratio(count.diverged, count.finished)


def difference(first: pd.DataFrame, second: pd.DataFrame) -> Difference | None:
  """AUC of the first runs minus that of the second on the same rows of day N, over their seeds.

  None where a run diverged or fewer than SEEDS seeds are on both sides. Raises InputError if they
  were not evaluated on the same rows.
  """
  if any((runs.status == "diverged").any() for runs in (first, second)):
    return None
  pairs = first.merge(second, on="seed", suffixes=("", "_of_second"))
  if len(pairs) < SEEDS:
    return None
  runs = [(Path(pair.run), Path(pair.run_of_second)) for pair in pairs.itertuples()]
  try:
    return paired.over_seeds(runs, pairs.task.iloc[0])
  except ValueError as error:
    raise InputError(f"{runs[0][0]} and {runs[0][1]} cannot be compared: {error}") from error
