"""The protocol of Table 2: search every method's setting, then repeat the best (paper, 5.2)."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ranking.sweeps.places import Place
from ranking.sweeps.results import FINISHED, SURVIVED, tasks
from ranking.sweeps.sweep import CHECK, Method, Sweep, SweepError, Trial
from ranking.tasks import MEASURES


@dataclasses.dataclass(frozen=True)
class Search:
  """What an experiments/table2_*.gin file describes.

  Every setting of a column runs once; the best one by the headline task on day N is repeated with
  other seeds, so that a lucky seed of the search is not in the figures. That the choice is by the
  very rows that the figures are of remains, and flatters a column the more the larger its search;
  the paper does the same. `search_days_earlier` ends the search before these rows, and makes it
  cheaper, too.

  Attributes:
    name: of the folder below runs/ that holds its runs.
    models: files of configs/models/.
    columns: of the table, by title: the methods among whose settings it has the best, each a file
      of configs/methods/ or a `Method`. Columns may share methods, whose runs then serve them all.
    learning_rate: base rate, 1x, of all models, or by model; None = the one that the log and the
      scale have.
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
  learning_rate: float | Mapping[str, float] | None = None
  learning_rate_multipliers: Sequence[float] = (1.0, 2.0)
  search_seed: int = 0
  search_days_earlier: int = 0
  seeds: Sequence[int] = (1, 2, 3)
  data: str = "synthetic"
  scale: str = "proxy"
  bindings: Sequence[str] = ()

  def __post_init__(self) -> None:
    """Raises SweepError if it cannot be run or repeated."""
    if not isinstance(self.columns, Mapping) or not self.columns:
      CHECK.refuse("columns", self.columns, "make it a map of titles to lists of methods")
    for title, column in self.columns.items():
      CHECK.text("the title of a column", title)
      is_list = isinstance(column, (list, tuple)) and column
      if not is_list or not all(isinstance(each, (str, Method)) for each in column):
        CHECK.refuse(f"column {title}", column, "make it a list of methods")
    names = [method.name for method in self._methods()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
      raise SweepError(f"two methods are called {twice[0]}; give each a name of its own")
    CHECK.whole("search_days_earlier", self.search_days_earlier, 0)
    if self.search_seed in self.seeds and not self.search_days_earlier:
      cure = "make it none of the seeds, or a run of the search would be its own repeat"
      CHECK.refuse("search_seed", self.search_seed, cure)
    self._sweep(self.seeds).trials()
    self.trials()

  def trials(self) -> list[Trial]:
    """Those of the search."""
    return self._sweep([self.search_seed], self.search_days_earlier).trials(days_named="search")

  def settings(self, model: str, column: str) -> list[Trial]:
    """The trials of the search that a column chooses among, in the grid's order."""
    methods = [_named(method).name for method in self.columns[column]]
    return [
      trial
      for trial in self.trials()
      if trial.coordinates["model"] == model and trial.coordinates["method"] in methods
    ]

  def repeats_of(self, tried: Trial) -> list[Trial]:
    """The trials that repeat a setting of the search with the other seeds."""
    trials, repeats = self.trials(), self._sweep(self.seeds).trials()
    # A sweep has its trials seed by seed, and every seed has the same ones.
    return repeats[trials.index(tried) :: len(trials)]

  def repeats(self, table: pd.DataFrame) -> list[Trial | None]:
    """The runs that follow the search, given the results so far, always in the same order.

    None stands for those of a column whose search is not finished.
    """
    trials: list[Trial | None] = []
    for place in self.places(table):
      searching = place.stage == "search"
      trials += [None] * len(self.seeds) if searching else list(place.trials)
    return trials

  def places(self, table: pd.DataFrame) -> list[Place]:
    """Model by model, a place for each column: the repeats of the setting that it has chosen.

    While its search is not finished, it is the search's own runs.
    """
    found = []
    for model in self.models:
      for column in self.columns:
        settings = self.settings(model, column)
        chosen = choose(settings, table)
        if chosen is None:
          found.append(Place.of(settings, table, column, stage="search"))
        else:
          found.append(Place.of(self.repeats_of(chosen), table, column))
    return found

  def _sweep(self, seeds: Sequence[int], days_left_out: int = 0) -> Sweep:
    rates: Any = None
    if isinstance(self.learning_rate, Mapping):
      rates = {model: [rate] for model, rate in self.learning_rate.items()}
    elif self.learning_rate is not None:
      rates = [self.learning_rate]
    return Sweep(
      name=self.name,
      models=self.models,
      methods=self._methods(),
      learning_rates=rates,
      learning_rate_multipliers=self.learning_rate_multipliers,
      seeds=seeds,
      days_left_out=[days_left_out],
      data=self.data,
      scale=self.scale,
      bindings=self.bindings,
    )

  def _methods(self) -> list[Method]:
    """Each method of the columns once."""
    methods: list[Method] = []
    for column in self.columns.values():
      methods += [method for method in map(_named, column) if method not in methods]
    return methods


def choose(settings: Sequence[Trial], table: pd.DataFrame) -> Trial | None:
  """The best by its headline task on day N; None while a run is not finished.

  A run that diverged, or whose figure is not finite, is worse than all others. The first of the
  grid wins among equals, and so where nothing survived: its repeats say whether that was chance.

  Args:
    settings: those of a column.
    table: of `results.read`.
  """
  names = [trial.name for trial in settings]
  runs = table[table.trial.isin(names)]
  status = runs.drop_duplicates("trial").set_index("trial").status
  if any(status.get(name) not in FINISHED for name in names):
    return None
  measures = tasks(table)
  headline = next(iter(measures), None)
  values = runs[runs.task == headline].set_index("trial").value

  def score(trial: Trial) -> float:
    value = float(values.get(trial.name, math.nan))
    if status[trial.name] not in SURVIVED or not math.isfinite(value):
      return -math.inf
    return MEASURES[measures[str(headline)]].better * value

  return max(settings, key=score)


def _named(method: str | Method) -> Method:
  return Method(method) if isinstance(method, str) else method
