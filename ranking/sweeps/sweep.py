"""A sweep: the grid of settings that an experiments/*.gin file describes, and the trials in it."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ranking.checks import Checks
from ranking.errors import InputError

Item = TypeVar("Item")
NO_ABLATION: Mapping[str, Sequence[str]] = {"none": ()}


class SweepError(InputError):
  """A sweep that cannot be run."""


CHECK = Checks("", SweepError)


@dataclasses.dataclass(frozen=True)
class Method:
  """One column of a comparison: a file of configs/methods/ with what is bound beside it.

  Attributes:
    name: how tables and run directories call it.
    config: the file of configs/methods/ that it starts from; None = the one called `name`.
    bindings: such as "ClippedOptimizer.clip=@RmsClip()".
    thresholds: grids to search, each a list of values for every setting in it. The trials have
      every combination within a grid, one grid after the other: several grids say which
      combinations belong together.
  """

  name: str
  config: str | None = None
  bindings: Sequence[str] = ()
  thresholds: Sequence[Mapping[str, Sequence[Any]]] = ({},)

  def __post_init__(self) -> None:
    """Raises SweepError if a name is no text or a grid holds no lists."""
    CHECK.text("name of a method", self.name)
    if self.config is not None:
      CHECK.text(f"config of {self.name}", self.config)
    _check_list(f"bindings of {self.name}", self.bindings, (str,))
    _check_axis(f"thresholds of {self.name}", self.thresholds, (Mapping,))
    for grid in self.thresholds:
      for setting, values in grid.items():
        CHECK.text(f"a setting of {self.name}", setting, "its name as text")
        _check_axis(f"{setting} of {self.name}", values)

  def combinations(self) -> Iterator[dict[str, Any]]:
    """Setting → value, of each point of the grids."""
    for grid in self.thresholds:
      for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


@dataclasses.dataclass(frozen=True)
class Trial:
  """One run of a sweep.

  Attributes:
    name: of its run directory, made of its own settings alone, so that it stays the same when the
      sweep grows, and on every machine.
    model, method, data, scale: as the training command takes them; several methods of a sweep may
      start from one file of configs/methods/.
    bindings: as the training command takes them, a later one wins.
    coordinates: its place in the grid, by column of the table: sweep, model, method (by the name
      that the sweep gives it), learning_rate, learning_rate_multiplier, ablation, days_left_out and
      seed. A rate that it leaves to its configuration is None.
    thresholds: its point in the method's grid: setting → value.
  """

  name: str
  model: str
  method: str
  data: str
  scale: str
  bindings: tuple[str, ...]
  coordinates: Mapping[str, Any]
  thresholds: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Sweep:
  """Every combination of models, methods with their thresholds, rates, ablations, days and seeds.

  Attributes:
    name: of the folder below runs/ that holds its runs.
    models: files of configs/models/.
    methods: files of configs/methods/, or a `Method` for one with thresholds or bindings.
    learning_rates: base rates, 1x, of all models, or by model; None = the one that the log and the
      scale have.
    learning_rate_multipliers: times the base rate.
    seeds: of initial weights and of the window.
    ablations: bindings of each change to the model or the log, by name; no bindings = unchanged.
    days_left_out: evaluation days, each by how many days at the log's end it leaves out: 0 trains
      to the last day but one and evaluates the last, 1 does the same one day earlier.
    data: a file of configs/data/, or a path to one of your own, which may be relative to the
      file of the sweep.
    scale: a file of configs/scale/.
    bindings: what all trials have in common.
  """

  name: str
  models: Sequence[str]
  methods: Sequence[str | Method]
  learning_rates: Sequence[float] | Mapping[str, Sequence[float]] | None = None
  learning_rate_multipliers: Sequence[float] = (1.0,)
  seeds: Sequence[int] = (0,)
  ablations: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=lambda: NO_ABLATION)
  days_left_out: Sequence[int] = (0,)
  data: str = "synthetic"
  scale: str = "proxy"
  bindings: Sequence[str] = ()

  def __post_init__(self) -> None:
    """Raises SweepError if an axis is empty or of a wrong kind."""
    _check_axis("models", self.models, (str,))
    _check_axis("methods", self.methods, (str, Method))
    if isinstance(self.learning_rates, Mapping) and set(self.learning_rates) != set(self.models):
      cure = f"give rates of {', '.join(self.models)}, and of no other model"
      CHECK.refuse("learning_rates", dict(self.learning_rates), cure)
    axes: list[tuple[str, Any]] = [("learning_rate_multipliers", self.learning_rate_multipliers)]
    if self.learning_rates is not None:
      axes += [("learning_rates", self.rates_of(model)) for model in self.models]
    for name, rates in axes:
      _check_axis(name, rates)
      for rate in rates:
        CHECK.number(name, rate, 0)
    _check_axis("seeds", self.seeds, (int,))
    _check_axis("days_left_out", self.days_left_out)
    for days in self.days_left_out:
      CHECK.whole("days_left_out", days, 0)
    if not isinstance(self.ablations, Mapping) or not self.ablations:
      CHECK.refuse("ablations", self.ablations, "make it a map of names to bindings")
    for name, changes in self.ablations.items():
      CHECK.text("an ablation", name, "its name as text")
      _check_list(f"ablation {name}", changes, (str,))
    CHECK.text("data", self.data, "a file of configs/data/, or a path")
    CHECK.text("scale", self.scale, "a file of configs/scale/")
    _check_list("bindings", self.bindings, (str,))

  def rates_of(self, model: str) -> Sequence[float | None]:
    """The base rates of a model; None for the one that its log and scale have."""
    if self.learning_rates is None:
      return [None]
    if isinstance(self.learning_rates, Mapping):
      return self.learning_rates[model]
    return self.learning_rates

  def trials(self, days_named: str = "day_{}") -> list[Trial]:
    """All of them, seed by seed, so that an unfinished sweep has few seeds rather than gaps.

    Args:
      days_named: how the name of a trial says that it leaves out days, and how many.

    Raises:
      SweepError: two trials are the same.
    """
    methods = [Method(method) if isinstance(method, str) else method for method in self.methods]
    points = [(method, point) for method in methods for point in method.combinations()]
    trials = [
      self._trial(model, method, point, rate, multiplier, ablation, days, seed, days_named)
      for seed, model in itertools.product(self.seeds, self.models)
      for (method, point), rate, multiplier, ablation, days in itertools.product(
        points,
        self.rates_of(model),
        self.learning_rate_multipliers,
        self.ablations,
        self.days_left_out,
      )
    ]
    names = [trial.name for trial in trials]
    if twice := sorted({name for name in names if names.count(name) > 1}):
      raise SweepError(f"two trials are {twice[0]}; name each value of the grid once")
    return trials

  def _trial(
    self,
    model: str,
    method: Method,
    point: Mapping[str, Any],
    rate: float | None,
    multiplier: float,
    ablation: str,
    days: int,
    seed: int,
    days_named: str,
  ) -> Trial:
    changes = self.ablations[ablation]
    parts = [model, method.name]
    parts += [f"{setting.rpartition('.')[2]}={_text(value)}" for setting, value in point.items()]
    if rate is not None:
      parts.append(f"rate={_text(rate)}")
    parts.append(f"times={_text(multiplier)}")
    if changes:
      parts.append(ablation)
    if days:
      parts.append(days_named.format(days))
    parts.append(f"seed={seed}")
    config = method.config or method.name
    own: dict[str, Any] = dict(point)
    if config != method.name:
      own["train_and_evaluate.method_name"] = method.name
    if rate is not None:
      own["train_and_evaluate.learning_rate"] = float(rate)
    own["train_and_evaluate.learning_rate_multiplier"] = float(multiplier)
    own["train_and_evaluate.seed"] = seed
    bindings = [*self.bindings, *method.bindings]
    bindings += [f"{setting}={value!r}" for setting, value in own.items()]
    bindings += changes
    if days:
      bindings.append(f"train_and_evaluate.without_last_days={days}")
    return Trial(
      name=re.sub(r"[^\w.+=-]+", "_", "-".join(parts)),
      model=model,
      method=config,
      data=self.data,
      scale=self.scale,
      bindings=tuple(bindings),
      coordinates={
        "sweep": self.name,
        "model": model,
        "method": method.name,
        "learning_rate": rate,
        "learning_rate_multiplier": multiplier,
        "ablation": ablation,
        "days_left_out": days,
        "seed": seed,
      },
      thresholds=point,
    )


def settings(thresholds: Mapping[str, Any]) -> str:
  """A point in a method's grid as one line, without the names of what binds; "default" for none."""
  parts = [f"{name.rpartition('.')[2]}={value}" for name, value in thresholds.items()]
  return " ".join(parts) or "default"


def shard(trials: Sequence[Item], which: str) -> list[Item]:
  """Every n-th trial from the i-th on, for "i/n": the shards 1/n to n/n are the whole list.

  Raises SweepError if it is not of that form, or empty.
  """
  found = re.fullmatch(r"(\d+)/(\d+)", which)
  i, n = map(int, found.groups()) if found else (0, 0)
  if not 1 <= i <= n:
    raise SweepError(f"--shard is {which!r}; make it i/n with i from 1 to n, such as 1/2 and 2/2")
  if i > len(trials):
    raise SweepError(f"--shard {which} of {len(trials)} trials is empty; make fewer shards")
  return list(trials[i - 1 :: n])


def _check_axis(name: str, values: Any, kinds: tuple[type, ...] = (object,)) -> None:
  """Checks a list as `_check_list` does; it must not be empty either."""
  _check_list(name, values, kinds)
  if not values:
    raise SweepError(f"{name}: empty, which leaves no trial; give it a value or leave it out")


def _check_list(name: str, values: Any, kinds: tuple[type, ...]) -> None:
  """Raises SweepError unless `values` is a list of these kinds."""
  wanted = " or ".join(kind.__name__ for kind in kinds)
  if not isinstance(values, (list, tuple)):
    raise SweepError(f"{name}: {values!r} is no list; make it a list of {wanted}")
  for value in values:
    if not isinstance(value, kinds) or (isinstance(value, bool) and object not in kinds):
      raise SweepError(f"{name}: {value!r} is no {wanted}")


def _text(value: Any) -> str:
  """A value as part of a name: 2.0 and 2 are the same."""
  return f"{value:.12g}" if isinstance(value, float) else str(value)
