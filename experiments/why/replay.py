"""Trains a run again with the trainer's own step, and keeps its states on the way."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from experiments.figures import moments
from experiments.why.descent import State
from experiments.why.landscape import Landscape
from ranking.array import Array
from ranking.stability import health
from ranking.stability.monitor import DivergenceMonitor, measured
from ranking.training.run import Run
from ranking.training.step import compile_steps

EVERY = 10  # steps between states that are kept


class Replay(NamedTuple):
  """A run up to its verdict, or to its end."""

  steps: pd.DataFrame  # as `series.steps`
  states: list[State]  # the first before step 1, then after each EVERY steps
  moments: moments.Moments | None  # a, b and c; None if it was not lost


def replay(run: Run, landscape: Landscape, last_step: int) -> Replay:
  """Takes the steps of a run that was only built, up to `last_step` or until it has diverged."""
  names = health.names(landscape.tasks)
  take = compile_steps(run.network, run.optimizer, run.replicas, {}, run.settings.training.balance)
  monitor = DivergenceMonitor(run.settings.training.monitor)
  data = run.data(0)
  rows: list[dict[str, float]] = []
  states = [State(0, landscape.weights(), accumulators(run))]
  while len(rows) < last_step and monitor.status != "diverged":
    count = min(EVERY, last_step - len(rows))
    for values in take(data, tf.constant(count, tf.int32), False).measured.numpy().tolist():
      row = {"step": len(rows) + 1, **dict(zip(names, values, strict=True))}
      if row["skipped"]:
        monitor.skip(row["step"])
      else:
        monitor.update(row["step"], *measured(row, landscape.tasks))
      rows.append(row)
    states.append(State(len(rows), landscape.weights(), accumulators(run)))
  steps = pd.DataFrame(rows)
  steps = steps.assign(relative_loss=steps.loss / steps.constant_loss)
  lost = monitor.status == "diverged"
  return Replay(steps, states, moments.find(steps) if lost else None)


def accumulators(run: Run) -> Array:
  """float32 [weights], Adagrad's of all variables, in their order."""
  parts = []
  for variable in run.network.trainable_variables:
    parts.append(run.optimizer.state_of(variable)["accumulator"].numpy().ravel())
  return np.concatenate(parts)
