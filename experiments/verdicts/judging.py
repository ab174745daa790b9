"""How often the verdict is right about labelled curves."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from experiments.verdicts.simulation import Curve
from ranking.stability.divergence import DivergenceRule
from ranking.stability.monitor import DivergenceMonitor


class Judged(NamedTuple):
  """What the verdict says of a curve.

  Attributes:
    curve: with the truth.
    monitor: at the end of the run.
    said_at: the step at which the run was first called diverged; None if it never was, or only at
      its end.
  """

  curve: Curve
  monitor: DivergenceMonitor
  said_at: int | None

  @property
  def micro(self) -> bool:
    """Whether the whole loss or a task is said to have micro-diverged."""
    judges = (self.monitor.whole, *self.monitor.of_task.values())
    return any(judge.micro_divergences for judge in judges)

  @property
  def said(self) -> str:
    """The verdict, with the micro-divergences of tasks."""
    if self.monitor.status != "diverged" and self.micro:
      return "micro_diverged"
    return self.monitor.status

  @property
  def is_near(self) -> bool:
    """Whether the step that is named is within 1 % of the run's steps of the true one."""
    step, true = self.monitor.diverged_at_step, self.curve.step
    return step is not None and true is not None and abs(step - true) <= self.curve.steps / 100


class Counts(NamedTuple):
  """Curves of which a verdict is right, wrongly given, and wrongly not given."""

  right: int
  wrong: int
  missed: int

  @property
  def recall(self) -> float:
    """The share of those it should be given to."""
    return self.right / max(self.right + self.missed, 1)

  @property
  def precision(self) -> float:
    """The share of those it is given to."""
    return self.right / max(self.right + self.wrong, 1)


def judge(curve: Curve, rule: DivergenceRule) -> Judged:
  """Watches a curve as the trainer would."""
  monitor, said_at = DivergenceMonitor(rule), None
  for k in range(curve.steps):
    whole, tasks = curve.measured(k)
    not_finite = [task for task, each in tasks.items() if not math.isfinite(each.loss)]
    if not_finite:
      monitor.skip(k + 1, not_finite)
    else:
      monitor.update(k + 1, whole, tasks)
    if said_at is None and monitor.status == "diverged":
      said_at = k + 1
  monitor.finish()
  return Judged(curve, monitor, said_at)


def divergences(judged: Iterable[Judged]) -> Counts:
  """How often diverged is said and true, of the runs whose truth is known."""
  known = [one for one in judged if one.curve.is_known]
  return _counts([(one.said == "diverged", "diverged" in one.curve.statuses) for one in known])


def micro_divergences(judged: Iterable[Judged]) -> Counts:
  """How often micro_diverged is said and true, of runs that have not diverged by either."""
  lived = [
    one
    for one in judged
    if one.said != "diverged" and "diverged" not in one.curve.statuses and one.curve.is_simulated
  ]
  return _counts([(one.micro, "micro_diverged" in one.curve.statuses) for one in lived])


def _counts(pairs: list[tuple[bool, bool]]) -> Counts:
  return Counts(
    sum(said and true for said, true in pairs),
    sum(said and not true for said, true in pairs),
    sum(true and not said for said, true in pairs),
  )
