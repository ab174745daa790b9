"""Simulated runs whose truth is known: rows, labels and outputs, and what befell the model.

A row has a hidden trait that moves all its labels. The model learns to see the trait: its outputs
are the best constant plus skill × what the trait says, plus noise of its own. What befalls it
changes the outputs of one task or of all: an error that is added for a while or for ever, skill
that is gone. Losses, best constants and counts are then taken from rows, as the trainer takes them.
"""

import dataclasses
from typing import Literal, NamedTuple

import numpy as np

from ranking.array import Array
from ranking.stability.divergence import Measured, Status
from ranking.stability.monitor import labels_of_whole

Kind = Literal["binary", "normal", "skewed", "sparse"]


@dataclasses.dataclass(frozen=True)
class Task:
  """One task of a simulated log.

  Attributes:
    kind: of the label: 0 and 1; normal; log-normal; mostly 0 and else log-normal.
    rate: of the label's positives, of kinds that have them.
    signal: how far the trait moves the label; 0 = it cannot be learnt.
    overfit: noise of the model's own outputs, in units of the best constant's.
  """

  kind: Kind
  rate: float = 0.3
  signal: float = 1.0
  overfit: float = 0.1


@dataclasses.dataclass(frozen=True)
class Event:
  """What befalls the model.

  Attributes:
    at: the first step of it, counted from 1.
    lasts: steps; None = to the end.
    error: of the outputs while it lasts: so much is added to and taken from them, in units of the
      label's deviation, or of logits.
    skill: what is left of the skill while it lasts.
    back: the share of the skill that it has afterwards.
    ramp: steps over which it begins.
    dead: whether all outputs are equal while it lasts.
    nan: whether losses are not finite while it lasts.
    task: the only task that it befalls; None = all.
  """

  at: int
  lasts: int | None = None
  error: float = 0.0
  skill: float = 0.0
  back: float = 1.0
  ramp: int = 0
  dead: bool = False
  nan: bool = False
  task: int | None = None


class Curve(NamedTuple):
  """A run as the trainer would have measured it, and the truth about it.

  Attributes:
    name: what kind of run it is.
    statuses: verdicts of the run that are right.
    step: at which it diverged or first micro-diverged; None if it did neither.
    task: the only task that this befell.
    losses, constants, labels, rarer, spreads: [steps, T], as `Measured` has them.
  """

  name: str
  statuses: tuple[Status, ...]
  step: int | None
  task: int | None
  losses: Array
  constants: Array
  labels: Array
  rarer: Array
  spreads: Array

  @property
  def steps(self) -> int:
    """How many there are."""
    return len(self.losses)

  @property
  def is_known(self) -> bool:
    """Whether it is known if the run diverged."""
    return len(self.statuses) < 4

  @property
  def is_simulated(self) -> bool:
    """Whether all of the truth is known."""
    return len(self.statuses) < 3

  def measured(self, k: int) -> tuple[Measured, dict[str, Measured]]:
    """What step k, counted from 0, measured of the whole and of each task."""
    columns = (self.losses, self.constants, self.spreads, self.labels, self.rarer)
    values = [column[k].tolist() for column in columns]
    tasks = {f"task_{j}": Measured(*each) for j, each in enumerate(zip(*values, strict=True))}
    whole = Measured(sum(values[0]), sum(values[1]), max(values[2]))
    return whole._replace(**labels_of_whole(tasks.values())), tasks


def simulate(
  seed: int,
  tasks: list[Task],
  steps: int,
  rows: int,
  learns_over: float,
  events: list[Event],
  overshoot: float = 0.0,
  drift: float = 0.0,
  labelled: float = 1.0,
) -> list[Array]:
  """Losses, constants, labels, rarer labels and spreads of a run, each [steps, T].

  Args:
    seed: of all that is random.
    tasks: T of them.
    steps: of the run.
    rows: of a batch.
    learns_over: steps after which it has learned all but a third.
    events: what befalls it.
    overshoot: error of the outputs of the first steps, gone within thirty.
    drift: how far the labels move from the constant of the training days, over the run.
    labelled: the share of rows that have labels.
  """
  random = np.random.default_rng(seed)
  step = np.arange(steps)
  trait = random.normal(size=(steps, rows)).astype(np.float32)
  columns = []
  for j, task in enumerate(tasks):
    skill = 1 - np.exp(-step / learns_over)
    error = overshoot * np.exp(-step / 8.0)
    dead = np.zeros(steps, bool)
    nan = np.zeros(steps, bool)
    for event in events:
      if event.task not in (None, j):
        continue
      end = steps if event.lasts is None else min(steps, event.at - 1 + event.lasts)
      during = slice(event.at - 1, end)
      begun = np.minimum(1.0, (step[during] - event.at + 2) / (event.ramp + 1))
      skill[during] *= 1 - begun * (1 - event.skill)
      skill[end:] *= event.back
      error[during] += begun * event.error
      dead[during] |= event.dead
      nan[during] |= event.nan
    columns.append(
      _task(random, task, trait, skill, error, dead, nan, drift * step / steps, labelled)
    )
  return [np.stack(each, axis=1) for each in zip(*columns, strict=True)]


def _task(
  random: np.random.Generator,
  task: Task,
  trait: Array,
  skill: Array,
  error: Array,
  dead: Array,
  nan: Array,
  drift: Array,
  labelled: float,
) -> tuple[Array, ...]:
  """What one task's batches measured, each [steps]."""
  shape = trait.shape
  seen = task.signal * trait
  noise = random.normal(size=shape).astype(np.float32)
  sign = np.where(random.random(shape) < 0.5, -1.0, 1.0).astype(np.float32)
  own = task.overfit * random.normal(size=shape).astype(np.float32)
  has = random.random(shape) < labelled
  if task.kind == "binary":
    bias = np.log(task.rate / (1 - task.rate))
    label: Array = (random.random(shape) < _sigmoid(seen + bias + drift[:, None])) * 1.0
    rate = float(_sigmoid(task.signal * random.normal(size=200_000) + bias).mean())
    constant = np.log(rate / (1 - rate))
    output = constant + skill[:, None] * (seen + bias - constant) + own + error[:, None] * sign
    output = np.where(dead[:, None], constant + error[:, None], output)
    losses = np.logaddexp(0, output) - label * output
    constants = np.logaddexp(0, constant) - label * constant
    above = label > rate
  else:
    label = seen + noise + drift[:, None]
    if task.kind != "normal":
      label = np.exp(1.2 * label / np.sqrt(1 + task.signal**2))
    if task.kind == "sparse":
      label *= random.random(shape) < task.rate
    mean, deviation = float(label.mean()), float(label.std())
    slope = float(np.mean((label - mean) * trait))
    output = mean + skill[:, None] * slope * trait + deviation * (own + error[:, None] * sign)
    output = np.where(dead[:, None], mean + deviation * error[:, None], output)
    losses, constants, above = (output - label) ** 2, (mean - label) ** 2, label > mean
  counts = has.sum(axis=1)
  positives = (above & has).sum(axis=1)

  def mean_of(values: Array) -> Array:
    return (values * has).sum(axis=1) / np.maximum(counts, 1)

  spread = np.where(dead, 0.0, np.ptp(output, axis=1))
  loss = np.where(nan, np.nan, mean_of(losses))
  return loss, mean_of(constants), counts, np.minimum(positives, counts - positives), spread


def _sigmoid(x: Array) -> Array:
  return 1 / (1 + np.exp(-x))
