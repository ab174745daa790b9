"""The settings of a run: frozen dataclasses that check themselves when they are made.

Gin fills them (configuration.py) and nothing below knows gin. The names of all fields of all groups
are different, so that gin and SET have one flat list: train_and_evaluate.seed, .source, ...
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import tensorflow as tf
import tf_keras

from ranking import strategy
from ranking.checks import Checks
from ranking.data.hashing import Hashing
from ranking.data.lookback import Lookback
from ranking.data.prepare import FAIR_SHARE, check_engine
from ranking.data.schema import Source
from ranking.errors import InputError
from ranking.models.model import Model
from ranking.nearest import nearest
from ranking.optimizers.balance import Balance
from ranking.optimizers.clipping import AdaptiveGradientClipping, Clip
from ranking.optimizers.optimizer_settings import OptimizerSettings
from ranking.stability.divergence import DivergenceRule

Rate: TypeAlias = float | tf_keras.optimizers.schedules.LearningRateSchedule
LARGEST_BATCH = 2**24  # rows; their ids and labels alone are gigabytes


class SettingError(InputError):
  """A setting is out of range or does not fit the run directory."""


CHECK = Checks("train_and_evaluate", SettingError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSettings:
  """Which log a run reads.

  Attributes:
    source: where the log comes from.
    lookback: what a row sees of the past.
    without_last_days: so many days are left out at the log's end, so that day N is an earlier one.
      Labels of MovieLens may still look into them: the seconds to a user's next rating do.
    without_tasks: the model has no such tasks, and the result no figures of them.
    fair_share: day N is the last day that has at least this share of the median rows of such days
      up to it; later days are left out. 0 = the last day, whatever it has.
    store_directory: where day stores are kept: a folder, or an address on object storage.
    hashing: which columns have ids made by a hash, such as @Hashing(); None = ids are numbered.
    engine: what prepares a store: "duckdb", "local[2]" (Spark in this machine, on two cores), or
      the spark://host:port of a cluster. The store is the same.
  """

  source: Source
  lookback: Lookback = dataclasses.field(default_factory=Lookback)
  without_last_days: int = 0
  without_tasks: Sequence[str] = ()
  fair_share: float = FAIR_SHARE
  store_directory: str = "data/store"
  engine: str = "duckdb"
  hashing: Hashing | None = None

  def __post_init__(self) -> None:
    if isinstance(self.source, type) or not hasattr(self.source, "identity"):
      CHECK.refuse("source", self.source, "make it an object, such as @Synthetic()")
    CHECK.made("lookback", self.lookback, Lookback, "@Lookback()")
    CHECK.whole("without_last_days", self.without_last_days, 0)
    CHECK.names("without_tasks", self.without_tasks, "tasks")
    CHECK.share("fair_share", self.fair_share)
    CHECK.text("store_directory", self.store_directory, "the path of a folder")
    check_engine(self.engine)
    if self.hashing is not None:
      CHECK.made("hashing", self.hashing, Hashing, "@Hashing() or None")


SCALES = ("standard", "log", "none")


def check_targets(target_scale: Any, loss_weights: Any) -> None:
  """Raises SettingError for a scale that there is not, or a weight that is none."""
  of_tasks = target_scale.values() if isinstance(target_scale, Mapping) else [target_scale]
  for scale in of_tasks:
    if scale not in SCALES and not (scale is None and target_scale is None):
      cure = f"make it one of {', '.join(SCALES)}, or a dict of these by task"
      CHECK.refuse("target_scale", scale, cure)
  CHECK.made("loss_weights", loss_weights, Mapping, "a dict of tasks to numbers")
  for task, weight in loss_weights.items():
    CHECK.number(f"loss_weights of {task}", weight, 0)
    if not weight:  # its figures would be of what nothing was learnt of
      CHECK.refuse(f"loss_weights of {task}", weight, f"leave it out: without_tasks=['{task}']")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
  """What a run trains and how: equal ones on one log make equal weights.

  Attributes:
    model: describes the model.
    optimizer: describes the optimizer.
    learning_rate: the base rate, 1x.
    learning_rate_multiplier: times the base rate; the paper compares 1 and 2.
    schedule: makes a schedule for a peak rate; None = a constant rate.
    batch_size: rows of a global batch, over all replicas.
    window_hours: W of the moving window; "all" shuffles the whole log.
    seed: of initial weights and of the window.
    monitor: by which rule the run is judged.
    target_scale: how regression tasks are learnt: "standard" (deviations of the training days),
      "log" (of log(1 + label), likewise) or "none" (as they are); or a dict of these by task, whose
      other tasks have the default. None = "standard" for a log of your own. Logs that come with the
      trainer have their targets on a sensible scale, and are learnt as they are, so that what was
      published of them stays comparable. Figures are always in the unit of the log.
    loss_weights: by task, how many times its loss counts; of others as the log says.
    balance: what weighs the tasks, or makes one gradient of theirs: @UncertaintyWeights(),
      @GradNorm(), @ProjectConflicts(); None = the weighted loss.
  """

  model: Model
  optimizer: OptimizerSettings
  learning_rate: float
  learning_rate_multiplier: float = 1.0
  schedule: Callable[[float], tf_keras.optimizers.schedules.LearningRateSchedule] | None = None
  batch_size: int = 512
  window_hours: float | Literal["all"] = 24.0
  seed: int = 0
  monitor: DivergenceRule = dataclasses.field(default_factory=DivergenceRule)
  target_scale: str | Mapping[str, str] | None = None
  loss_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
  balance: Balance | None = None

  def __post_init__(self) -> None:
    check_targets(self.target_scale, self.loss_weights)
    if self.balance is not None:
      CHECK.made("balance", self.balance, Balance, "@UncertaintyWeights() or the like")
      if self.balance.learns_weights and self.loss_weights:
        raise SettingError(
          "train_and_evaluate.loss_weights and balance say both how many times a task counts: "
          f"{type(self.balance).__name__} learns it; leave one out"
        )
    CHECK.made("model", self.model, Model, "a model, such as @Model()")
    CHECK.made("optimizer", self.optimizer, OptimizerSettings, "@ClippedOptimizer()")
    CHECK.made("monitor", self.monitor, DivergenceRule, "@DivergenceMonitor()")
    for name in ("learning_rate", "learning_rate_multiplier"):
      if CHECK.number(name, getattr(self, name), 0) == 0:
        CHECK.refuse(name, 0, "make it more than 0")
    if self.batch_size == 1:
      raise SettingError(
        "train_and_evaluate.batch_size is 1; make it 2 or more: a model whose units have died is "
        "known by two rows with one output"
      )
    CHECK.whole("batch_size", self.batch_size, 2, LARGEST_BATCH)
    CHECK.whole("seed", self.seed, 0, 2**32 - 1)
    if self.window_hours == math.inf:
      CHECK.refuse("window_hours", self.window_hours, 'make it finite, or "all"')
    if self.window_hours != "all":
      CHECK.number("window_hours", self.window_hours, 0)
    if self.schedule is not None and not callable(self.schedule):
      CHECK.refuse("schedule", self.schedule, "make it a class, such as @LinearWarmUp")
    self.rate()  # refuses a schedule whose numbers are wrong

  def rate(self) -> Rate:
    """The learning rate that the optimizer gets: a number, or a schedule of the steps taken."""
    peak = self.learning_rate * self.learning_rate_multiplier
    if not math.isfinite(peak):
      raise SettingError("train_and_evaluate.learning_rate times its multiplier is not finite")
    if self.schedule is None:
      return peak
    try:
      made = self.schedule(peak)
    except (ValueError, TypeError) as error:
      text = str(error).splitlines()[0]
      raise SettingError(f"train_and_evaluate.schedule cannot be made: {text}") from error
    if not isinstance(made, tf_keras.optimizers.schedules.LearningRateSchedule):
      raise SettingError(
        f"train_and_evaluate.schedule makes {made!r}; make it a class, such as @LinearWarmUp"
      )
    return made

  @property
  def window(self) -> float:
    """The width W of the window in hours, infinite for "all"."""
    return math.inf if self.window_hours == "all" else self.window_hours


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProgressSettings:
  """How far a run goes and how closely it is followed: what a resumed run may change.

  Attributes:
    max_steps: stop after so many steps; None = one pass over days 1..N-1.
    eval_every, checkpoint_every: in steps; None = at the end only.
    keep_checkpoints: so many of the newest checkpoints stay.
    keep_days: and the last one of each of so many days of the log, the newest.
    observe_every: in steps; after so many, the optimizer's view of every variable goes to
      health.jsonl. None = never.
    steps_per_call: steps the compiled function takes before the host looks at them.
    on_divergence: whether a fully diverged run stops, or goes on to its end.
    max_seconds: after so many, from the start of the process, a run that is not at its end saves a
      checkpoint and stops, as by a signal: for queues with a limit of time. None = never.
    stuck_after_seconds: a call that takes longer ends the process, see watchdog.py. None = never.
  """

  max_steps: int | None = None
  eval_every: int | None = None
  checkpoint_every: int | None = None
  keep_checkpoints: int = 2
  keep_days: int = 0
  observe_every: int | None = None
  steps_per_call: int = 10
  on_divergence: Literal["stop", "continue"] = "stop"
  max_seconds: float | None = None
  stuck_after_seconds: float | None = None

  def __post_init__(self) -> None:
    for name in ("max_seconds", "stuck_after_seconds"):
      if getattr(self, name) is not None:
        CHECK.number(name, getattr(self, name), 0)
    for name in ("max_steps", "eval_every", "checkpoint_every", "observe_every"):
      if getattr(self, name) is not None:
        CHECK.whole(name, getattr(self, name), 1)
    for name, least in (("steps_per_call", 1), ("keep_checkpoints", 1), ("keep_days", 0)):
      CHECK.whole(name, getattr(self, name), least)
    CHECK.choice("on_divergence", self.on_divergence, ("stop", "continue"))

  def calls(self, first: int, last: int) -> Iterator[int]:
    """Yields the step after each call; no call runs past one at which something is due.

    Args:
      first: steps taken before.
      last: the step to end at.
    """
    every = [self.eval_every, self.checkpoint_every, self.observe_every]
    step = first
    while step < last:
      due = [(step // steps + 1) * steps for steps in every if steps]
      step = min(step + self.steps_per_call, last, *due)
      yield step


@dataclasses.dataclass(frozen=True, kw_only=True)
class NameSettings:
  """How the result calls what it compares.

  Attributes:
    model_name, method_name, scale_name: short names, such as "large_dcn", "clippy" and "proxy".
  """

  model_name: str
  method_name: str
  scale_name: str

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):
      CHECK.text(field.name, getattr(self, field.name), "a name")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """All of a run.

  Attributes:
    run_directory: see run_log.py.
    log, training, progress, names: its groups.
    shadows: other clips, by name, whose factors are observed beside the one in force.
    distribution: makes the tf.distribute strategy.
  """

  run_directory: str
  log: LogSettings
  training: TrainingSettings
  progress: ProgressSettings
  names: NameSettings
  distribution: Callable[[], tf.distribute.Strategy] = strategy.best_available
  shadows: Mapping[str, Clip] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    CHECK.text("run_directory", self.run_directory, "the path of a folder")
    if not callable(self.distribution):
      CHECK.refuse("distribution", self.distribution, "make it a function, such as @best_available")
    self._check_shadows()

  @classmethod
  def of(cls, **given: Any) -> "Settings":
    """Settings of one flat list of names, whatever group they are in.

    Raises SettingError for a name that there is not, or that has no default and is not given.
    """
    if unknown := [name for name in given if name not in NAMES]:
      name = unknown[0]
      raise SettingError(f"no setting train_and_evaluate.{name}{nearest(name, list(NAMES))}")
    missing = [name for name, field in NAMES.items() if _is_required(field) and name not in given]
    if missing:
      raise SettingError(f"nothing sets train_and_evaluate.{missing[0]}; bind it in DATA")
    groups = {
      name: group(**{field: given[field] for field in _fields(group) if field in given})
      for name, group in GROUPS.items()
    }
    return cls(**groups, **{name: given[name] for name in OWN if name in given})

  def identity(self) -> dict[str, Any]:
    """Plain values of all that makes the run what it is, by group and name, as JSON holds them.

    Two runs whose identities are equal on one store make the same series.
    """
    log, training = (
      {name: getattr(group, name) for name in _fields(type(group))}
      for group in (self.log, self.training)
    )
    log["source"] = _plain(log["source"])
    for of_source in log["source"].values():  # the store says what it holds, wherever it lies
      of_source.pop("raw", None)
    del log["store_directory"], log["engine"]
    if log["hashing"] is None:  # what earlier versions had not
      del log["hashing"]
    del training["schedule"]
    for name, default in (("target_scale", None), ("loss_weights", {}), ("balance", None)):
      if training[name] == default:  # what earlier versions had not, and changes nothing
        del training[name]
    training["rate"] = self.training.rate()
    groups = {
      "log": log,
      "training": training,
      "names": dataclasses.asdict(self.names),
      "shadows": dict(self.shadows),
    }
    plain: dict[str, Any] = json.loads(json.dumps(_plain(groups)))
    return plain

  def _check_shadows(self) -> None:
    """Refuses what cannot be observed beside this optimizer."""
    CHECK.made("shadows", self.shadows, Mapping, "a dict of names to clips")
    optimizer, observed = self.training.optimizer, self.progress.observe_every
    for name, clip in self.shadows.items():
      where = f"train_and_evaluate.shadows names {name}, "
      if not isinstance(clip, Clip):
        raise SettingError(f"{where}{clip!r}; make it a clip, such as @Clippy()")
      if clip.initial_memory():
        raise SettingError(
          f"{where}{type(clip).__name__}, which judges by earlier steps of its own run; "
          "leave it out"
        )
      of_units = isinstance(clip, AdaptiveGradientClipping) and clip.unit != "layer"
      if observed and optimizer.scope == "global" and of_units:
        raise SettingError(
          f"{where}which judges units, and scope='global' needs norms of whole variables; bind "
          "AdaptiveGradientClipping.unit='layer'"
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """Says how two identities differ, a line for each value, such as "training.seed: 1, now 2"."""
  one, other = dict(_flat(old)), dict(_flat(new))
  return [
    f"{name}: {one.get(name, 'not set')}, now {other.get(name, 'not set')}"
    for name in dict.fromkeys([*one, *other])
    if one.get(name, _ABSENT) != other.get(name, _ABSENT)
  ]


_ABSENT = object()


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
  """The leaves of nested dicts, by path."""
  if isinstance(value, Mapping) and value:
    for name, entry in value.items():
      yield from _flat(entry, f"{path}.{name}" if path else name)
  else:
    yield path, value


def _plain(value: Any) -> Any:
  """For JSON: an object becomes its class's name and its fields or configuration."""
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    fields = {
      field.name: getattr(value, field.name)
      for field in dataclasses.fields(value)
      if field.init and _is_set(value, field)
    }
    return {type(value).__name__: _plain(fields)}
  if hasattr(value, "get_config"):
    return {type(value).__name__: _plain(value.get_config())}
  if isinstance(value, Mapping):
    return {str(name): _plain(entry) for name, entry in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(entry) for entry in value]
  if isinstance(value, str | int | float | None):
    return value
  return getattr(value, "__name__", repr(value))


def _fields(group: Any) -> list[str]:
  return [field.name for field in dataclasses.fields(group) if field.init]


def _is_set(value: Any, field: dataclasses.Field[Any]) -> bool:
  """False for a field that earlier versions had not, and that changes nothing."""
  return not (field.metadata.get("later") and getattr(value, field.name) == field.default)


def _is_required(field: "dataclasses.Field[Any]") -> bool:
  missing = dataclasses.MISSING
  return field.default is missing and field.default_factory is missing


GROUPS: dict[str, Any] = {
  "log": LogSettings,
  "training": TrainingSettings,
  "progress": ProgressSettings,
  "names": NameSettings,
}
OWN = ("run_directory", "distribution", "shadows")  # of no group
NAMES: dict[str, "dataclasses.Field[Any]"] = {
  field.name: field
  for group in (Settings, *GROUPS.values())
  for field in dataclasses.fields(group)
  if field.name not in GROUPS
}
