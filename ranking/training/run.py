"""What a run is made of, built from its settings; of all this only variables change in training."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

from ranking.data import window
from ranking.data.prepare import prepare
from ranking.data.remark import unanswered
from ranking.data.sources.table import Table
from ranking.data.store import DayStore
from ranking.errors import InputError, first_line
from ranking.evaluation.evaluate import Evaluator
from ranking.models.network import Network
from ranking.optimizers.averages import averaged_weights
from ranking.optimizers.optimizer import ClippedOptimizer
from ranking.settings import SettingError, Settings, differences
from ranking.training.console import Console
from ranking.training.targets import learnt
from ranking.training.watchdog import watched
from ranking.training.workers import GONE, Workers, lost


@dataclasses.dataclass(frozen=True)
class Run:
  """A run before its first step.

  Attributes:
    settings: all of them.
    console: what a person sees.
    store: the log.
    batches: of days 1..N-1, in moving-window order.
    last_step: the step to end at.
    workers: the processes that take its steps, of which this is one.
    network: with its initial weights.
    optimizer: built for them.
    evaluator: of day N.
  """

  settings: Settings
  console: Console
  store: DayStore
  batches: window.Batches
  last_step: int
  workers: Workers
  network: Network
  optimizer: ClippedOptimizer
  evaluator: Evaluator

  @property
  def replicas(self) -> tf.distribute.Strategy:
    """The strategy that network and optimizer live in."""
    return self.workers.replicas

  @property
  def directory(self) -> Path:
    """The run directory."""
    return Path(self.settings.run_directory)

  @property
  def variables(self) -> list[tf.Variable]:
    """All that a checkpoint holds: weights, slots and counts."""
    return [*self.network.variables, *self.optimizer.numbers]

  def task_weights(self) -> dict[str, float]:
    """How many times each task's loss counts now, where that is learnt; else nothing."""
    balance = self.settings.training.balance
    if balance is None or not balance.learns_weights:
      return {}
    names = [task.name for task in self.network.schema.tasks]
    return dict(zip(names, balance.weights(self.network).numpy().tolist(), strict=True))

  def averaged(self) -> contextlib.AbstractContextManager[None]:
    """Within it weights are their averages, if the optimizer keeps any."""
    if not self.optimizer.use_ema:
      return contextlib.nullcontext()
    return averaged_weights(self.optimizer, self.network.trainable_variables)

  def data(self, first: int) -> Iterator[Any]:
    """The distributed batches from step `first` (counted from 0) to the last."""
    return iter(
      self.replicas.distribute_datasets_from_function(
        lambda context: window.dataset(
          self.batches, self.store.schema, first, self.last_step, context
        )
      )
    )


def begin(settings: Settings) -> Workers:
  """Makes the strategy, and waits for its other workers.

  Raises:
    SettingError: there are no such devices, or the batch does not split over them.
    Lost: a worker does not come.
  """
  limit = settings.progress.stuck_after_seconds
  try:
    with watched(limit, "waiting for the other workers"):
      made = settings.distribution()
  except InputError as error:  # says it all; gin adds lines
    raise SettingError(str(error).splitlines()[0]) from error
  except GONE as error:
    raise lost(error) from error
  except (ValueError, RuntimeError, tf.errors.OpError) as error:
    said = first_line(error)
    raise SettingError(f"train_and_evaluate.distribution cannot be made: {said}") from error
  if not isinstance(made, tf.distribute.Strategy):
    raise SettingError(
      f"train_and_evaluate.distribution makes {made!r}; make it a function, such as @best_available"
    )
  rows, replicas = settings.training.batch_size, made.num_replicas_in_sync
  if rows % replicas:
    raise SettingError(
      f"batch_size {rows} does not split evenly over {replicas} replicas; make it a "
      "multiple of that"
    )
  return Workers(made)


def check_alike(workers: Workers, settings: Settings) -> None:
  """Raises SettingError, on all workers, if one was given other settings than the chief."""
  mine = {
    **settings.identity(),
    "progress": dataclasses.asdict(settings.progress),
    "version": {"tensorflow": version("tensorflow"), "ranking": _code()},
  }
  first, *others = (json.loads(text) for text in workers.texts(json.dumps(mine)))
  for number, other in enumerate(others, 1):
    if changed := differences(first, other):
      workers.heard()
      raise SettingError(
        f"worker {number} has other settings than worker 0 ({changed[0]}); give all "
        "the same command and versions"
      )


def _code() -> str:
  """Tells whether two machines have the same code: a few letters that change with any of it."""
  package = Path(__file__).parent.parent
  files = {str(path.relative_to(package)): path.read_bytes() for path in package.rglob("*.py")}
  return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]


def check_same_log(workers: Workers, store: DayStore) -> None:
  """Raises SettingError, on all workers, if one reads another log than the chief."""
  first, *others = workers.texts(store.directory.name)
  for number, other in enumerate(others, 1):
    if other != first:
      workers.heard()
      raise SettingError(
        f"worker {number} reads another log than worker 0 (day store {other}, not {first}); "
        "give all the same files"
      )


def open_log(settings: Settings, console: Console) -> DayStore:
  """The day store of a log, prepared if it is not there yet; says what to look at in it.

  Raises DataError and SettingError, and ModelError before a log is read that the model is too
  narrow for, where its description tells.
  """
  log, model = settings.log, settings.training.model
  if isinstance(log.source, Table):
    model.inputs.check_fit(log.source.name, log.source.features(log.lookback), model.width_scale)
  store = prepare(
    log.source,
    log.store_directory,
    console,
    log.lookback,
    log.without_last_days,
    log.fair_share,
    log.engine,
    log.hashing,
  )
  if log.without_tasks:
    try:
      store = store.without_tasks(log.without_tasks)
    except ValueError as error:
      raise SettingError(f"train_and_evaluate.without_tasks: {error}") from error
  for line in unanswered(store.card, log.without_tasks or (), model.inputs.without_features):
    console.say(f"warning: {line}")
  console.say(f"what the log holds and how it was read: {store.directory / 'summary.md'}")
  return store


def build(settings: Settings, store: DayStore, console: Console, workers: Workers) -> Run:
  """Builds model and optimizer for a log. Raises SettingError where they do not fit it."""
  training, names = settings.training, settings.names
  days = store.train_days
  batches = window.train_batches(days, training.batch_size, training.window, training.seed)
  for each in (batches, window.eval_batches(store.eval_day, training.batch_size)):
    each.batch(0)  # a damaged array that it meets leaves no run directory behind
  last_step = min(settings.progress.max_steps or len(batches), len(batches))
  console.say(
    f"{names.model_name} with {names.method_name} at scale {names.scale_name} on "
    f"{settings.log.source.name}: {len(batches.order):,} rows of {len(days)} days, "
    f"{last_step:,} steps of {training.batch_size}, learning rate {training.learning_rate:g} × "
    f"{training.learning_rate_multiplier:g}, seed {training.seed}; "
    f"day N = {store.eval_day.name}, {len(store.eval_day):,} rows; in {settings.run_directory}"
  )
  if (warmup := getattr(training.rate(), "warmup_steps", 0)) > len(batches):
    console.say(
      f"warning: the warm-up takes {warmup} steps, a pass over this log only {len(batches)}, so "
      "the rate never gets to what is set; make warmup_steps a part of that, or the batch smaller"
    )
  tf_keras.utils.set_random_seed(training.seed)
  schema = learnt(store, training, own=isinstance(settings.log.source, Table))
  try:
    with workers.replicas.scope():
      network = training.model.build(schema)
      if training.balance is not None:
        training.balance.prepare(network)
      optimizer = training.optimizer.build(training.rate())
      optimizer.build(network.trainable_variables)
  except (ValueError, tf.errors.ResourceExhaustedError) as error:
    raise SettingError(
      f"cannot build {names.model_name} with {names.method_name}: {first_line(error)}"
    ) from error
  evaluator = Evaluator(network, schema, store.eval_day, training.batch_size, workers.replicas)
  return Run(settings, console, store, batches, last_step, workers, network, optimizer, evaluator)
