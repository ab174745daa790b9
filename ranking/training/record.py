"""What becomes of a call's measurements: the verdict, and the series of the run directory."""

import math
from typing import Any

import tensorflow as tf

from ranking.optimizers.observation import Observation
from ranking.stability import health
from ranking.stability.monitor import measured
from ranking.training.run import Run
from ranking.training.run_log import RunLog
from ranking.training.state import State
from ranking.training.step import Taken


def record(run: Run, state: State, log: RunLog, taken: Taken) -> float:
  """Judges and writes down the steps of one call; returns the last loss."""
  tasks = [task.name for task in run.store.schema.tasks]
  names = health.names(tasks)
  rows: list[dict[str, Any]] = []
  for values in taken.measured.numpy().tolist():
    row = dict(zip(names, values, strict=True))
    whole = run.batches.rows(state.step) == run.batches.batch_size
    day = run.batches.day(state.step)
    state.step += 1
    if row["skipped"]:
      run.console.say(f"step {state.step} changed nothing: its loss or gradients are not finite")
      state.monitor.skip(state.step, [t for t in tasks if not math.isfinite(row[f"{t}/loss"])])
    elif whole:  # a partial batch is too noisy to judge by
      state.monitor.update(state.step, *measured(row, tasks))
    rows.append({"step": state.step, "day": day, "verdict": state.monitor.status, **row})
  if not bool(taken.finite):
    state.monitor.give_up(state.step, "a weight is not finite")
  state.evaluation = None
  log.steps(rows)
  variables = run.network.trainable_variables
  clipped = [run.network.short_name(v) for v in variables if run.optimizer.is_clipped(v)]
  factors = dict(zip(clipped, taken.factors.numpy().tolist(), strict=True))
  observed = zip(variables, taken.observations, strict=True) if taken.observations else ()
  log.health(
    state.step,
    factors,
    {run.network.short_name(v): _plain(observation) for v, observation in observed},
    run.task_weights(),
  )
  return float(rows[-1]["loss"])


def _plain(observation: Observation) -> dict[str, Any]:
  """Turns tensors into numbers and lists of them, for JSON."""
  return tf.nest.map_structure(lambda value: value.numpy().tolist(), observation._asdict())
