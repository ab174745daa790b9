"""Trains a model on days 1..N-1 in moving-window order and measures it on day N."""

import contextlib
import copy
import dataclasses
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf
import tf_keras

from ranking.array import Array
from ranking.data import window
from ranking.data.lookback import Lookback
from ranking.data.prepare import prepare
from ranking.data.schema import Source
from ranking.data.store import DayStore
from ranking.evaluation.evaluate import Evaluator
from ranking.evaluation.predictions import Predictions
from ranking.models.model import Model
from ranking.models.network import Network
from ranking.optimizers.clipping import AdaptiveGradientClipping, Clip
from ranking.optimizers.observation import Observation
from ranking.optimizers.optimizer import ClippedOptimizer
from ranking.stability import health
from ranking.stability.divergence import DivergenceMonitor
from ranking.training import checkpoint, strategy
from ranking.training.console import (
  EVALUATION_COLUMNS,
  Console,
  evaluation_line,
  evaluation_rows,
)
from ranking.training.interrupt import signals
from ranking.training.pace import Pace
from ranking.training.result import plain, surroundings, write_atomically
from ranking.training.run_log import RunLog
from ranking.training.step import compile_steps

# A resumed run may change these: they say how far and how closely it is followed, not what it is.
FREE_ON_RESUME = re.compile(
  r"train_and_evaluate\.(run_directory|max_steps|eval_every|checkpoint_every|steps_per_call"
  r"|observe_every|on_divergence|store_directory) ="
)
ONE_FOR = {"layer": "each variable", "global": "all that are clipped"}


class Stopped(Exception):
  """A signal stopped the run; the message says after which step."""


class SettingError(ValueError):
  """A setting is out of range or does not fit the run directory: one line with the cure."""


def train_and_evaluate(
  *,
  run_directory: str,
  source: Source,
  lookback: Lookback | None = None,
  without_last_days: int = 0,
  without_tasks: Sequence[str] = (),
  model: Model,
  optimizer: Callable[..., ClippedOptimizer],
  learning_rate: float,
  model_name: str,
  method_name: str,
  scale_name: str,
  learning_rate_multiplier: float = 1.0,
  schedule: Callable[[float], tf_keras.optimizers.schedules.LearningRateSchedule] | None = None,
  batch_size: int = 512,
  window_hours: float | Literal["all"] = 24.0,
  max_steps: int | None = None,
  eval_every: int | None = None,
  checkpoint_every: int | None = None,
  observe_every: int | None = None,
  shadows: Mapping[str, Clip] | None = None,
  steps_per_call: int = 10,
  max_skipped_steps: int = 10,
  on_divergence: Literal["stop", "continue"] = "stop",
  seed: int = 0,
  store_directory: str = "data/store",
  distribution: Callable[[], tf.distribute.Strategy] = strategy.best_available,
  monitor: Callable[[], DivergenceMonitor] = DivergenceMonitor,
  describe_config: Callable[[], str] = lambda: "",
) -> dict[str, Any]:
  """One run, from a raw log to result.json; goes on from the newest checkpoint if there is one.

  Args:
    run_directory: see run_log.py.
    source: where the log comes from.
    lookback: what a row sees of the past; None = strictly earlier counts and rates alone.
    without_last_days: so many days are left out at the log's end, so that day N is an earlier one.
      Labels of MovieLens may still look into them: the seconds to a user's next rating do.
    without_tasks: the model has no such tasks, and the result no figures of them.
    model: describes the model; it is built for the day store's schema.
    optimizer: makes the optimizer, given learning_rate.
    learning_rate: the base rate, 1x.
    model_name, method_name, scale_name: how the result calls what it compares.
    learning_rate_multiplier: times the base rate; the paper compares 1 and 2.
    schedule: makes a schedule for a peak rate; None = a constant rate.
    batch_size: rows of a global batch, over all replicas.
    window_hours: W of the moving window; "all" shuffles the whole log.
    max_steps: stop after so many steps; None = one pass over days 1..N-1.
    eval_every, checkpoint_every: in steps; None = at the end only.
    observe_every: in steps; after so many, the optimizer's view of every variable goes to
      health.jsonl. None = never.
    shadows: other clips, by name, whose factors are observed beside the one in force.
    steps_per_call: steps the compiled function takes before the host looks at them.
    max_skipped_steps: a run diverges with so many steps in a row whose loss or gradients are not
      finite; such steps change nothing.
    on_divergence: whether a fully diverged run stops, or goes on to its end.
    seed: of initial weights and of the window.
    store_directory: where day stores are kept.
    distribution: makes the tf.distribute strategy.
    monitor: makes what judges the run by its losses.
    describe_config: text to keep as config.gin and to compare on resume.

  Returns:
    The content of result.json.

  Raises:
    SettingError, DataError: bad settings or input.
    Stopped: SIGTERM or SIGINT came; a checkpoint was saved.
  """
  _check_settings(locals())
  started = time.monotonic()
  directory = Path(run_directory)
  if (directory / "result.json").exists():
    raise SettingError(f"{directory} is a finished run; give RUN another folder or remove this one")
  console = Console()
  store = prepare(source, Path(store_directory), console, lookback, without_last_days)
  if without_tasks:
    try:
      store = store.without_tasks(without_tasks)
    except ValueError as error:
      raise SettingError(f"train_and_evaluate.without_tasks: {error}") from error
  hours = math.inf if window_hours == "all" else window_hours
  batches = window.train_batches(store.train_days, batch_size, hours, seed)
  last_step = min(max_steps or len(batches), len(batches))
  for each in (batches, window.eval_batches(store.eval_day, batch_size)):
    each.batch(0)  # a damaged array that it meets leaves no run directory behind
  console.say(
    f"{model_name} with {method_name} at scale {scale_name} on {source.name}: "
    f"{len(batches.order):,} rows of {len(store.train_days)} days, {last_step:,} steps of "
    f"{batch_size}, learning rate {learning_rate:g} × {learning_rate_multiplier:g}, seed {seed}; "
    f"day N = {store.eval_day.name}, {len(store.eval_day):,} rows; in {directory}"
  )

  replicas = distribution()
  if batch_size % replicas.num_replicas_in_sync:
    raise SettingError(
      f"batch_size {batch_size} does not split evenly over {replicas.num_replicas_in_sync} "
      "replicas; make it a multiple of that"
    )
  tf_keras.utils.set_random_seed(seed)
  try:
    with replicas.scope():
      network = model.build(store.schema)
      rate = learning_rate * learning_rate_multiplier
      rule = optimizer(learning_rate=rate if schedule is None else schedule(rate))
      rule.build(network.trainable_variables)
  except (ValueError, TypeError) as error:
    raise SettingError(f"cannot build {model_name} with {method_name}: {error}") from error
  parameters = network.parameter_counts()
  _print_variables(console, network, rule, parameters)

  _check_shadows(rule, shadows or {}, observe_every)
  judge = monitor()
  judge.max_skipped = max_skipped_steps
  config = describe_config()  # may refuse it; before there is a run directory
  try:
    opened = RunLog(directory)
  except BlockingIOError as error:
    raise SettingError(
      f"another process trains in {directory}; wait for it, or give RUN another folder"
    ) from error
  with opened as log:
    run = _Run(log, console, store, batches, network, rule, replicas, judge, config, started)
    run.resume()
    if run.step > last_step:
      raise SettingError(
        f"{directory} is at step {run.step} already; make train_and_evaluate.max_steps more than "
        f"{last_step}"
      )
    pace = Pace(last_step, steps_per_call, eval_every, checkpoint_every, observe_every)
    run.train(pace, shadows or {}, on_divergence)
    figures = run.finish()
  result = {
    "status": run.monitor.status,
    "diverged_at_step": run.monitor.diverged_at_step,
    "micro_divergences": run.monitor.micro_divergences,
    "skipped_steps": run.monitor.skipped_steps,
    "model": model_name,
    "method": method_name,
    "learning_rate": learning_rate,
    "learning_rate_multiplier": learning_rate_multiplier,
    "seed": seed,
    "dataset": source.name,
    "store": str(store.directory),
    "scale": scale_name,
    "train_days": list(store.schema.day_names[:-1]),
    "eval_day": store.eval_day.name,
    "window_hours": hours,
    "batch_size": batch_size,
    "steps": run.step,
    "parameters": parameters,
    **figures,
    "examples_per_second": round(run.speed.examples_per_second, 1),
    "seconds": round(run.seconds, 1),
    **surroundings(),
  }
  text = json.dumps(plain(result), indent=1, allow_nan=False)
  write_atomically(directory / "result.json", text + "\n")
  console.say(
    f"{result['status']} in {result['seconds']:.0f} s, {result['examples_per_second']:,.0f} "
    f"examples/s, {result['peak_memory_mb']:,} MB: {directory / 'result.json'}"
  )
  return result


class _Run:
  """A run under way: everything that changes between its first step and its result."""

  def __init__(
    self,
    log: RunLog,
    console: Console,
    store: DayStore,
    batches: window.Batches,
    network: Network,
    rule: ClippedOptimizer,
    replicas: tf.distribute.Strategy,
    monitor: DivergenceMonitor,
    config: str,
    started: float,
  ):
    self.log, self.console, self.store, self.batches = log, console, store, batches
    self.network, self.rule, self.replicas, self.config = network, rule, replicas, config
    self.step = 0
    self.monitor = monitor
    self.speed = Speed()
    self.started = started  # by the monotonic clock; earlier than it was, after a resume
    self.outputs: Array | None = None  # the predictions of day N at this step, once made
    self.directory = log.directory
    self.evaluator = Evaluator(network, store.schema, store.eval_day, batches.batch_size, replicas)

  def resume(self) -> None:
    """Goes back to the newest checkpoint, if there is one."""
    restored = checkpoint.restore(
      self.directory / "checkpoints", self._variables(), self.console.say
    )
    if restored is not None:
      self.step, state = restored
      _check_same_run(self.directory, state["config"], self.config)
      if not {"store", "speed"} <= state.keys():
        raise SettingError(f"{self.directory} was begun by an earlier version; give RUN another")
      if state["store"] != self.store.directory.name:
        raise SettingError(
          f"{self.directory} was begun on the day store {state['store']}, the log now makes "
          f"{self.store.directory.name}; give RUN another folder, or bring that log back"
        )
      self.monitor = DivergenceMonitor(**state["monitor"])
      self.speed = Speed(**state["speed"])
      self.started -= state["seconds"]
      self.console.say(f"going on from step {self.step} of {self.directory}")
    self.log.rewind(self.step)
    write_atomically(self.directory / "config.gin", self.config)

  def train(self, pace: Pace, shadows: Mapping[str, Clip], on_divergence: str) -> None:
    """Takes steps up to the last, or until the run diverges, or until a signal comes."""
    steps = compile_steps(self.network, self.rule, self.replicas, shadows)
    first, last = self.step, pace.last_step
    data = iter(
      self.replicas.distribute_datasets_from_function(
        lambda context: window.dataset(self.batches, self.store.schema, first, last, context)
      )
    )
    with (
      signals() as asked_to_stop,
      self.console.progress(last, first) as progress,
      window.own_errors(self.batches),
    ):
      for end in pace.calls(first):
        observing = pace.is_due(end, pace.observe_every)
        with self.speed.of(self.batches.batch_size * (end - self.step), observing):
          count = tf.constant(end - self.step, tf.int32)
          measured, finite, observations = steps(data, count, observing)
          measured = measured.numpy()
        loss = self._record(measured, bool(finite), observations)
        progress.update(end, self.speed.examples_per_second, loss, self.monitor.status)
        if self.monitor.status == "diverged" and on_divergence == "stop":
          self.console.say(f"diverged at step {self.monitor.diverged_at_step}; stopped at {end}")
          return
        if pace.is_due(end, pace.eval_every):
          self.evaluate()
        if asked_to_stop():
          self.save()
          lost = " without a checkpoint of it, for it has diverged" * (
            self.monitor.status == "diverged"
          )
          raise Stopped(
            f"stopped by a signal after step {end}{lost}; the same command with "
            f"RUN={self.directory} goes on"
          )
        if pace.is_due(end, pace.checkpoint_every) and end < last:
          self.save()

  def _record(self, measured: Any, finite: bool, observations: Sequence[Observation]) -> float:
    """Judges and writes down the steps of one call, [steps, 6 + T]; returns the last loss."""
    names = health.names([task.name for task in self.store.schema.tasks])
    rows = []
    for values in measured:
      row = dict(zip(names, map(float, values), strict=True))
      whole = self.batches.rows(self.step) == self.batches.batch_size
      day = self.batches.day(self.step)
      self.step += 1
      if row["skipped"]:
        self.console.say(f"step {self.step} changed nothing: its loss or gradients are not finite")
        self.monitor.skip(self.step)
      elif whole:  # a partial batch is too noisy to judge by
        self.monitor.update(self.step, row["loss"], row["constant_loss"], row["output_spread"])
      rows.append({"step": self.step, "day": day, "verdict": self.monitor.status, **row})
    if not finite:
      self.monitor.give_up(self.step)
    self.outputs = None
    self.log.steps(rows)
    variables, name = self.network.trainable_variables, self.network.short_name
    factors = zip(self.rule.clipping_factors(), variables, strict=True)
    observed = zip(variables, observations, strict=True) if observations else ()
    self.log.health(
      self.step,
      {name(v): float(tf.identity(f)) for f, v in factors if self.rule.is_clipped(v)},
      {name(v): _plain_observation(o) for v, o in observed},
    )
    return float(rows[-1]["loss"])

  def evaluate(self) -> Array:
    """Measures day N at this step, once; returns the predictions, float32 [n, T]."""
    if self.outputs is None:
      self.outputs = self.evaluator.predictions()
      metrics, day = self.evaluator.figures(self.outputs), self.store.eval_day.name
      self.log.evaluation(self.step, day, metrics)
      self.console.say(evaluation_line(self.step, day, metrics))
    return self.outputs

  @property
  def seconds(self) -> float:
    """Since the start, with what earlier processes took up to the checkpoint gone on from."""
    return time.monotonic() - self.started

  def save(self) -> None:
    """Writes a checkpoint from which `resume` goes on exactly; never of a diverged state."""
    self.log.flush()
    if self.monitor.status == "diverged":
      return
    state = {
      **{"monitor": self.monitor.state(), "config": self.config},
      **{"speed": dataclasses.asdict(self.speed), "seconds": self.seconds},
      "store": self.store.directory.name,
    }
    checkpoint.save(self.directory / "checkpoints", self.step, self._variables(), state)

  def finish(self) -> dict[str, Any]:
    """The last verdict, checkpoint, evaluation and predictions; returns the result's figures."""
    last_words = copy.deepcopy(self.monitor)  # a run that goes on with more steps has said none
    status = last_words.finish()
    if status != "diverged":
      self.save()  # first: what follows takes a while, and may be stopped
    self.monitor = last_words
    outputs = self.evaluate()
    Predictions.of(outputs, self.store).save(self.directory)
    metrics, by = self.evaluator.figures(outputs), self.evaluator.figures_by(outputs)
    day, headline = self.store.eval_day.name, self.store.schema.tasks[0].name
    if by:
      title = f"{headline} by {self.store.schema.report_by}"
      rows = [[value, *evaluation_rows(of)[0][1:]] for value, of in by.items()]
      columns = (str(self.store.schema.report_by), *EVALUATION_COLUMNS[1:])
      self.console.table(title, columns, rows)
    title = f"Day N = {day} after {self.step:,} steps: {status}"
    self.console.table(title, EVALUATION_COLUMNS, evaluation_rows(metrics))
    by_name = {str(self.store.schema.report_by): by} if by else {}
    return {"metrics": metrics, "metrics_by": by_name}

  def _variables(self) -> list[tf.Variable]:
    return [*self.network.variables, *self.rule.variables]


@dataclasses.dataclass
class Speed:
  """Examples per second of training calls; those that compile only count if there are no others.

  A call compiles if none before was of its kind: with or without an observation.

  Its attributes are its whole state; which call compiles is a matter of the process.
  """

  examples: int = 0
  seconds: float = 0.0
  compiling_examples: int = 0
  compiling_seconds: float = 0.0

  def __post_init__(self) -> None:
    self._compiled: set[bool] = set()

  @contextlib.contextmanager
  def of(self, examples: int, observing: bool) -> Iterator[None]:
    """Times the body as one call over so many examples."""
    started = time.monotonic()
    yield
    seconds = time.monotonic() - started
    if observing in self._compiled:
      self.examples += examples
      self.seconds += seconds
    else:
      self.compiling_examples += examples
      self.compiling_seconds += seconds
    self._compiled.add(observing)

  @property
  def examples_per_second(self) -> float:
    """0 before the first call."""
    if self.seconds:
      return self.examples / self.seconds
    return self.compiling_examples / self.compiling_seconds if self.compiling_seconds else 0.0


def _plain_observation(observation: Observation) -> dict[str, Any]:
  """As numbers and lists of them, for JSON."""
  return tf.nest.map_structure(lambda value: value.numpy().tolist(), observation._asdict())


def _print_variables(
  console: Console, network: Network, rule: ClippedOptimizer, parameters: dict[str, int]
) -> None:
  """The parameter table, and which variable gets which rule."""

  def clip_of(variable: tf.Variable) -> str:
    return type(rule.clip).__name__ if rule.is_clipped(variable) else "direction alone"

  variables = network.trainable_variables
  rows: list[tuple[str, str, int, str]] = [
    (network.short_name(v), " × ".join(map(str, v.shape)), math.prod(v.shape), clip_of(v))
    for v in variables
    if not network.is_embedding(v)
  ]
  tables = [variable for variable in variables if network.is_embedding(variable)]
  of_tables = ", ".join(dict.fromkeys(map(clip_of, tables)))
  rows.append((f"{len(tables)} embedding tables", "", parameters["embedding"], of_tables))
  rows.append(("all but embeddings", "", parameters["non_embedding"], ""))
  title = (
    f"Input width {network.input_width}. {rule.direction} of the {rule.accumulate} gradient, "
    f"times the clipping factor of {rule.clip}, one for {ONE_FOR[rule.scope]}"
  )
  console.table(title, ("variable", "shape", "parameters", "rule"), rows)


def _check_settings(settings: dict[str, Any]) -> None:
  """Raises SettingError for a value out of range, before anything is read or written."""
  positive = (
    *("learning_rate", "learning_rate_multiplier", "batch_size", "steps_per_call"),
    "max_skipped_steps",
  )
  optional = ("max_steps", "eval_every", "checkpoint_every", "observe_every")
  whole = ("batch_size", "steps_per_call", "max_skipped_steps", "seed", *optional)
  for name in (*positive, *optional, "window_hours", "seed"):
    value = settings[name]
    if (value is None and name in optional) or (name == "window_hours" and value == "all"):
      continue
    kind = int if name in whole else (int, float)
    if not isinstance(value, kind) or isinstance(value, bool):
      wanted = "a whole number" if name in whole else "a number"
      raise SettingError(f"train_and_evaluate.{name} is {value!r}; make it {wanted}")
    if not math.isfinite(value) or (name == "seed" and value >= 2**32):
      wanted = "less than 2 ** 32" if name == "seed" else "finite"
      wanted += ', or "all"' * (name == "window_hours")
      raise SettingError(f"train_and_evaluate.{name} is {value!r}; make it {wanted}")
    if name == "batch_size" and value == 1:
      raise SettingError(
        "train_and_evaluate.batch_size is 1; make it 2 or more: a model whose units have died is "
        "known by two rows with one output"
      )
    may_be_zero = name in ("window_hours", "seed")
    if not (value > 0 or (may_be_zero and value == 0)):
      wanted = "0 or more" if may_be_zero else "positive"
      raise SettingError(f"train_and_evaluate.{name} is {value!r}; make it {wanted}")
  for name, is_right, wanted in (
    ("model", lambda made: isinstance(made, Model), "a model, such as @Model()"),
    ("source", lambda made: not isinstance(made, type), "an object, such as @Synthetic()"),
    ("lookback", lambda made: made is None or isinstance(made, Lookback), "@Lookback() or None"),
    ("schedule", lambda made: made is None or callable(made), "a class, such as @LinearWarmUp"),
    ("distribution", callable, "a function, such as @best_available"),
  ):
    if not is_right(settings[name]):
      raise SettingError(f"train_and_evaluate.{name} is {settings[name]!r}; make it {wanted}")
  for name, clip in (settings["shadows"] or {}).items():
    if not isinstance(clip, Clip):
      raise SettingError(
        f"train_and_evaluate.shadows names {name}, {clip!r}; make it a clip, such as @Clippy()"
      )
    if clip.initial_memory():
      raise SettingError(
        f"train_and_evaluate.shadows names {name}, {type(clip).__name__}, which judges by earlier "
        "steps of its own run; leave it out"
      )
  if settings["on_divergence"] not in ("stop", "continue"):
    raise SettingError(
      f"train_and_evaluate.on_divergence is {settings['on_divergence']!r}; "
      'make it "stop" or "continue"'
    )


def _check_shadows(
  rule: ClippedOptimizer, shadows: Mapping[str, Clip], observe_every: int | None
) -> None:
  """Raises SettingError for one that cannot be observed beside this optimizer."""
  for name, clip in shadows.items():
    of_units = isinstance(clip, AdaptiveGradientClipping) and clip.unit != "layer"
    if observe_every and rule.scope == "global" and of_units:
      raise SettingError(
        f"train_and_evaluate.shadows names {name}, which judges units, and scope='global' needs "
        "norms of whole variables; bind AdaptiveGradientClipping.unit='layer'"
      )


def _check_same_run(directory: Path, old: str, new: str) -> None:
  """Raises SettingError unless both configurations describe the same run."""
  bound = [
    {  # a long value goes on in indented lines
      re.sub(r"\s*\\?\n\s*", " ", binding).strip()
      for binding in re.split(r"\n(?=\S)", text)
      if binding.strip() and not binding.startswith("#") and not FREE_ON_RESUME.search(binding)
    }
    for text in (old, new)
  ]
  if changed := sorted(bound[0] ^ bound[1]):
    raise SettingError(
      f"{directory} holds a checkpoint of another configuration ({changed[0]} differs); "
      "give RUN another folder, or resume with the settings in its config.gin"
    )
