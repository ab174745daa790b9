"""Trains a model on days 1..N-1 in moving-window order and measures it on day N."""

import contextlib
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from ranking.data import window
from ranking.errors import Stopped
from ranking.evaluation.predictions import Predictions
from ranking.files import write_atomically
from ranking.run_directory import RESULT, is_finished, write_result
from ranking.settings import SettingError, Settings
from ranking.stability import health
from ranking.stability.divergence import SMOOTHED_OVER, Measured
from ranking.stability.monitor import measured
from ranking.training import tables
from ranking.training.console import Console
from ranking.training.interrupt import signals
from ranking.training.record import record
from ranking.training.result import result_of
from ranking.training.run import Run, begin, build, check_alike, check_same_log, open_log
from ranking.training.run_log import NoLog, RunLog, open_run_log
from ranking.training.state import Evaluation, State, resume, save, settled
from ranking.training.step import compile_measuring, compile_steps
from ranking.training.watchdog import watched
from ranking.training.workers import GONE


def train_and_evaluate(
  settings: Settings, describe: Callable[[], str] = lambda: ""
) -> dict[str, Any]:
  """One run, from a raw log to result.json; goes on from the newest checkpoint if there is one.

  Args:
    settings: all of them.
    describe: makes the text of config.gin, once the run is built.

  Returns:
    The content of result.json.

  Raises:
    InputError: bad settings or input.
    Stopped: a signal came, or nobody reads the output any more; a checkpoint was saved.
    Lost: another worker went away.
  """
  began, workers = time.monotonic(), begin(settings)
  console = Console(silent=not workers.is_chief)
  with workers.missed():
    workers.of_chief(lambda: _check_folder(Path(settings.run_directory), console))
    check_alike(workers, settings)
    store = workers.chief_first(lambda: open_log(settings, console))
    check_same_log(workers, store)
    run = build(settings, store, console, workers)
    tables.show_variables(run)
    return _to_the_end(run, describe, began)


def _to_the_end(run: Run, describe: Callable[[], str], began: float) -> dict[str, Any]:
  """Trains and evaluates what is built; returns the content of result.json."""
  directory, workers, console = run.directory, run.workers, run.console
  with workers.together(lambda: open_run_log(directory) if workers.is_chief else NoLog()) as log:
    state = resume(run, log, began)
    with settled(state):
      if workers.is_chief:
        write_atomically(directory / "config.gin", describe())
      train(run, state, log)
      figures = finish(run, state, log)

  result = result_of(run, state, figures)
  if workers.is_chief:
    write_result(directory, result)
  with contextlib.suppress(*(GONE if workers.is_chief else ())):  # all is written then
    workers.texts("")  # nobody says that it is finished before it is
  workers.heard()
  console.say(
    f"{result['status']} in {result['seconds']:.0f} s, {result['examples_per_second']:,.0f} "
    f"examples/s, {result['peak_memory_mb']:,} MB: {directory / RESULT}"
  )
  return result


def train(run: Run, state: State, log: RunLog) -> None:
  """Takes steps up to the last, or until the run diverges. Raises Stopped when asked to stop."""
  settings, console, monitor = run.settings.progress, run.console, state.monitor
  take_steps = compile_steps(
    run.network,
    run.optimizer,
    run.replicas,
    run.settings.shadows,
    run.settings.training.balance,
  )
  data = run.data(state.step)
  with (
    signals() as asked_to_stop,
    console.progress(run.last_step, state.step) as progress,
    window.own_errors(run.batches),
  ):
    for end in settings.calls(state.step, run.last_step):
      observing = _is_due(end, settings.observe_every)
      with (
        state.speed.of(run.batches.batch_size * (end - state.step), observing),
        watched(settings.stuck_after_seconds, f"the call up to step {end}"),
      ):
        taken = take_steps(data, tf.constant(end - state.step, tf.int32), observing)
        taken.measured.numpy()  # the steps are taken only now
        loss = record(run, state, log, taken)
      progress.update(end, state.speed.examples_per_second, loss, monitor.status)

      if monitor.status == "diverged" and settings.on_divergence == "stop":
        console.say(
          f"diverged at step {monitor.diverged_at_step} ({monitor.reason}); stopped at {end}"
        )
        return
      if _is_due(end, settings.eval_every):
        evaluate(run, state, log)
      with watched(settings.stuck_after_seconds, "asking the other workers"):
        why = run.workers.first(_reason_to_stop(run, state, asked_to_stop()))
      if why:
        run.workers.heard()
        save(run, state, log)
        raise Stopped(_farewell(run, state, why))
      if _is_due(end, settings.checkpoint_every) and end < run.last_step:
        save(run, state, log)


def evaluate(run: Run, state: State, log: RunLog) -> Evaluation:
  """Measures day N at this step, once."""
  if state.evaluation is None:
    day = run.store.eval_day.name
    limit = run.settings.progress.stuck_after_seconds
    with state.speed.apart("evaluations"):
      with run.averaged():
        outputs = run.evaluator.predictions(
          lambda: watched(limit, f"a batch of day N at step {state.step}")
        )
      state.evaluation = Evaluation(outputs, run.evaluator.figures(outputs))
    log.evaluation(state.step, day, state.evaluation.metrics)
    run.console.say(tables.evaluation_line(state.step, day, state.evaluation.metrics))
    if learnt := run.task_weights():
      of_tasks = ", ".join(f"{task} {weight:.3g}" for task, weight in learnt.items())
      run.console.say(f"weights of tasks that were learnt up to step {state.step}: {of_tasks}")
  return state.evaluation


def measure_again(run: Run, state: State) -> list[tuple[Measured, dict[str, Measured]]]:
  """The last whole batches by the weights that the last step left, which no step has measured."""
  end = state.step - (run.batches.rows(state.step - 1) < run.batches.batch_size)
  first = max(end - SMOOTHED_OVER, 0)
  if end == first:
    return []
  measure = compile_measuring(run.network, run.replicas)
  with (
    state.speed.apart("evaluations"),
    watched(run.settings.progress.stuck_after_seconds, "measuring the last batches again"),
    window.own_errors(run.batches),
  ):
    vectors = measure(run.data(first), tf.constant(end - first, tf.int32)).numpy().tolist()
  tasks = [task.name for task in run.store.schema.tasks]
  names = health.names(tasks)
  return [measured(dict(zip(names, vector, strict=True)), tasks) for vector in vectors]


def finish(run: Run, state: State, log: RunLog) -> dict[str, Any]:
  """The last verdict, checkpoint, evaluation and predictions; returns the result's figures."""
  last_words = copy.deepcopy(state.monitor)  # a run that goes on with more steps has said none
  last_words.finish(measure_again(run, state))
  if last_words.status != "diverged":
    save(run, state, log)  # first: what follows takes a while, and may be stopped
  state.monitor = last_words
  outputs, metrics = evaluate(run, state, log)
  if run.workers.is_chief:
    Predictions.of(outputs, run.store).save(run.directory)
  by_value = run.evaluator.figures_by(outputs)
  figures = {
    "metrics": metrics,
    "metrics_by": {str(run.store.schema.report_by): by_value} if by_value else {},
  }
  tables.show_figures(run, state, figures)
  return figures


def _check_folder(directory: Path, console: Console) -> None:
  """Raises SettingError unless a run can be in a folder; says if its result was damaged."""
  if directory.exists() and not directory.is_dir():
    raise SettingError(f"{directory} is a file; give RUN a folder")
  if is_finished(directory):
    raise SettingError(f"{directory} is a finished run; give RUN another folder or remove this one")
  if (directory / RESULT).exists():
    console.say(f"{directory / RESULT} is damaged: the run is finished again")


def _is_due(step: int, every: int | None) -> bool:
  return every is not None and step % every == 0


def _reason_to_stop(run: Run, state: State, by_signal: bool) -> str | None:
  """Why a run that has steps left stops now, in words."""
  limit = run.settings.progress.max_seconds
  if by_signal:
    return "by a signal"
  if run.console.is_closed:
    return "as nobody reads its output"
  if limit is not None and state.seconds_here > limit and state.step < run.last_step:
    return f"as max_seconds is {limit:g}"
  return None


def _farewell(run: Run, state: State, why: str) -> str:
  lost = ""
  if state.monitor.status == "diverged":
    lost = " without a checkpoint of it, for it has diverged"
  again = f"the same command with RUN={run.directory} goes on"
  return f"stopped {why} after step {state.step}{lost}; {again}"
