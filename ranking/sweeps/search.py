"""The protocol of Table 2: search every method's setting, then repeat the best (paper, 5.2)."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from ranking.sweeps.sweep import NO_ABLATION, Method, Sweep, SweepError, Trial

SURVIVED = ("ok", "micro_diverged")
FINISHED = (*SURVIVED, "diverged")


class Candidate(NamedTuple):
  """A setting: its run in the search, and its repeats, which are run if it is the best."""

  tried: Trial
  repeats: tuple[Trial, ...]


class Cell(NamedTuple):
  """A model in a column of the table, and its settings to choose among, in the grid's order."""

  model: str
  column: str
  candidates: tuple[Candidate, ...]


@dataclasses.dataclass(frozen=True)
class Search:
  """What an experiments/table2_*.gin file describes.

  Every setting of a column runs once; the best one by the headline AUC of day N is repeated with
  other seeds, so that a lucky seed of the search is not in the figures. That the choice is by the
  very rows that the figures are of remains, and flatters a column the more the larger its search;
  the paper does the same. `search_days_earlier` ends the search before these rows, and makes it
  cheaper, too.

  Attributes:
    name: of the folder below runs/ that holds its runs.
    models: files of configs/models/.
    columns: of the table, by title: the methods among whose settings it has the best, each a file
      of configs/methods/ or a `Method`. Columns may share methods, whose runs then serve them all.
    learning_rate: base rate, 1x; None = the one that the log and the scale have.
    learning_rate_multipliers: times the base rate, searched like a threshold.
    search_seed: of every run of the search.
    search_days_earlier: by so many days the log of the search ends before that of the repeats.
    seeds: of the repeats.
    data: a file of configs/data/, or a path to one of your own.
    scale: a file of configs/scale/.
    bindings: what all runs have in common.
  """

  name: str
  models: Sequence[str]
  columns: Mapping[str, Sequence[str | Method]]
  learning_rate: float | None = None
  learning_rate_multipliers: Sequence[float] = (1.0, 2.0)
  search_seed: int = 0
  search_days_earlier: int = 0
  seeds: Sequence[int] = (1, 2, 3)
  data: str = "synthetic"
  scale: str = "proxy"
  bindings: Sequence[str] = ()

  def trials(self) -> list[Trial]:
    """Those of the search. Raises SweepError as `Sweep.trials` does, and on unusable columns."""
    return [candidate.tried for candidate in self._candidates()]

  def cells(self) -> list[Cell]:
    """Model by model, each with all columns. Raises SweepError as `trials` does."""
    candidates = self._candidates()
    return [
      Cell(model, title, tuple(each for each in candidates if _is_of(each.tried, model, column)))
      for model in self.models
      for title, column in self.columns.items()
    ]

  def repeats(self, table: pd.DataFrame) -> list[Trial | None]:
    """The runs that follow the search, given the results so far, always in the same order.

    None stands for those of a cell whose search is not finished.
    """
    trials: list[Trial | None] = []
    for cell in self.cells():
      chosen = choose(cell.candidates, table)
      trials += chosen.repeats if chosen else [None] * len(self.seeds)
    return trials

  @property
  def choice(self) -> str:
    """By which rows the settings were chosen, and what that does, as a sentence."""
    if self.search_days_earlier:
      return (
        f"The settings were chosen on the log as it was {self.search_days_earlier} days earlier, "
        "by rows that no figure is of."
      )
    return (
      "The settings were chosen by the AUC of this very day N, as in the paper, which flatters a "
      "method the more the larger its search."
    )

  def _candidates(self) -> list[Candidate]:
    earlier = self.search_days_earlier
    if not isinstance(earlier, int) or isinstance(earlier, bool) or earlier < 0:
      raise SweepError(f"search_days_earlier is {earlier!r}; make it a number of days, or 0")
    tried = self._sweep([self.search_seed], earlier).trials()
    repeats = self._sweep(self.seeds).trials()
    # A sweep has its trials seed by seed, and every seed has the same ones.
    return [Candidate(trial, tuple(repeats[k :: len(tried)])) for k, trial in enumerate(tried)]

  def _sweep(self, seeds: Sequence[int], days_earlier: int = 0) -> Sweep:
    binding = f"train_and_evaluate.without_last_days={days_earlier}"
    return Sweep(
      name=self.name,
      models=self.models,
      methods=self._methods(),
      learning_rates=None if self.learning_rate is None else [self.learning_rate],
      learning_rate_multipliers=self.learning_rate_multipliers,
      seeds=seeds,
      ablations={"search": [binding]} if days_earlier else NO_ABLATION,
      data=self.data,
      scale=self.scale,
      bindings=self.bindings,
    )

  def _methods(self) -> list[Method]:
    """Each method of the columns once."""
    if not isinstance(self.columns, Mapping) or not self.columns:
      raise SweepError(f"columns: {self.columns!r}; make it a map of titles to lists of methods")
    methods: list[Method] = []
    for title, column in self.columns.items():
      kinds = [isinstance(each, (str, Method)) for each in column] if _is_list(column) else []
      if not kinds or not all(kinds):
        raise SweepError(f"column {title}: {column!r}; make it a list of methods")
      for method in map(_named, column):
        if method not in methods:
          methods.append(method)
    names = [method.name for method in methods]
    if twice := sorted({name for name in names if names.count(name) > 1}):
      raise SweepError(f"two methods are called {twice[0]}; give each a name of its own")
    return methods


def choose(candidates: Sequence[Candidate], table: pd.DataFrame) -> Candidate | None:
  """The best by the AUC of its first binary task on day N; None while a run is not finished.

  A run that diverged, or whose AUC is not finite, is worse than all others. The first of the grid
  wins among equals, and so where nothing survived: its repeats say whether that was chance.

  Args:
    candidates: of a cell.
    table: of `results.read`.
  """
  runs = table.drop_duplicates("trial")
  status = dict(zip(runs.trial, runs.status, strict=True))
  first = table[table.kind == "binary"].drop_duplicates("trial")
  auc = dict(zip(first.trial, first.value, strict=True))

  def score(candidate: Candidate) -> float:
    name = candidate.tried.name
    value = auc.get(name, math.nan)
    return value if status[name] in SURVIVED and math.isfinite(value) else -math.inf

  if any(status.get(candidate.tried.name) not in FINISHED for candidate in candidates):
    return None
  return max(candidates, key=score)


def _is_list(value: object) -> bool:
  return isinstance(value, (list, tuple))


def _named(method: str | Method) -> Method:
  return Method(method) if isinstance(method, str) else method


def _is_of(trial: Trial, model: str, column: Sequence[str | Method]) -> bool:
  methods = [_named(method).name for method in column]
  return trial.coordinates["model"] == model and trial.coordinates["method"] in methods
