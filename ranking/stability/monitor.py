"""The verdict of a run: of its whole loss, and of each task by itself (paper 2.1).

The run has diverged if its whole loss has, or one of its tasks: one that is lost while the others
live is lost all the same. It has learned nothing if neither the whole nor any task ever got surely
below the best constant. Micro-divergences of the run are those of its whole loss; each task has its
own. divergence.py says by what rule.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ranking.stability.divergence import DivergenceRule, Judge, Measured, Status

FEW_STEPS = 10  # named in a reason


@dataclasses.dataclass
class DivergenceMonitor:
  """Watches one run by a rule. Its other attributes are its whole state, to be saved.

  Attributes:
    whole: judges the weighted sum of the task losses.
    of_task: judges each task, by its name.
    is_over: whether the run has come to its end.
    skipped_steps: that the optimizer left out because they were not finite.
    skipped_since: the first of those in a row now.
  """

  rule: DivergenceRule = dataclasses.field(default_factory=DivergenceRule)
  whole: Judge = dataclasses.field(default_factory=Judge)
  of_task: dict[str, Judge] = dataclasses.field(default_factory=dict)
  is_over: bool = False
  skipped_steps: int = 0
  skipped_since: int | None = None

  def __post_init__(self) -> None:
    self.whole.rule = self.rule

  def skip(self, step: int, not_finite: Sequence[str] = ()) -> Status:
    """Counts a step that was skipped because it was not finite; returns the verdict so far.

    Args:
      step: of the run.
      not_finite: the tasks whose losses were not finite; none if only gradients were not.
    """
    self.skipped_steps += 1
    self.skipped_since = self.skipped_since or step
    if (row := step - self.skipped_since + 1) >= self.rule.max_skipped:
      what = f"the loss of {', '.join(not_finite)}" if not_finite else "a gradient"
      self.give_up(self.skipped_since, f"{what} was not finite, {row} steps in a row")
      for task in not_finite:
        self._judge_of(task).give_up(self.skipped_since, "its loss was not finite")
    return self.status

  def update(self, step: int, whole: Measured, tasks: Mapping[str, Measured]) -> Status:
    """Takes the measurements of a step that was taken, in order; returns the verdict so far."""
    self.skipped_since = None
    self.whole.update(step, whole)
    for task, measured in tasks.items():
      self._judge_of(task).update(step, measured)
    return self.status

  def finish(self, again: Sequence[tuple[Measured, Mapping[str, Measured]]] = ()) -> Status:
    """The verdict at the end of training.

    Args:
      again: the last batches, measured once more after the last step: the whole, and each task.
    """
    self.is_over = True
    self.whole.finish([whole for whole, _ in again])
    for task, judge in self.of_task.items():
      judge.finish([tasks[task] for _, tasks in again])
    return self.status

  def give_up(self, step: int, reason: str) -> Status:
    """The run has fully diverged, from `step` on, unless it had before."""
    self.whole.give_up(step, reason)
    return self.status

  @property
  def status(self) -> Status:
    """The verdict so far; of a run that may still learn, ok."""
    if self._lost:
      return "diverged"
    if self.whole.micro_divergences:
      return "micro_diverged"
    judges = (self.whole, *self.of_task.values())
    nothing = self.is_over and all(judge.has_learned_nothing for judge in judges)
    return "learned_nothing" if nothing else "ok"

  @property
  def diverged_at_step(self) -> int | None:
    """The first step at which the whole is lost, or else a task; None if nothing is."""
    if self.whole.diverged_at_step is not None:
      return self.whole.diverged_at_step
    return min((judge.diverged_at_step or 0 for judge in self._lost.values()), default=None)

  @property
  def recovered_at_step(self) -> int | None:
    """The step from which all that was lost is learned again, to the end; None if it is not."""
    at = [judge.recovered_at_step for judge in self._lost.values()]
    return max((step for step in at if step), default=None) if all(at) else None

  @property
  def micro_divergences(self) -> list[int]:
    """Their first steps."""
    return self.whole.micro_divergences

  @property
  def reason(self) -> str | None:
    """Why the verdict is what it is, in one sentence; None for a run that has surely learned."""
    if lost := self._lost:
      whole, tasks = "" in lost, [name for name in lost if name]
      first = "" if whole else min(tasks, key=lambda name: lost[name].diverged_at_step or 0)
      who = f"task {first}: " if first else ""
      with_it = f"; lost tasks: {', '.join(tasks)}" if whole and tasks else ""
      others = "; the other tasks live" if not whole and len(tasks) < len(self.of_task) else ""
      again = f"; learned again from step {at}" if (at := self.recovered_at_step) else ""
      return f"{who}{lost[first].reason}{with_it}{others}{again}"
    if self.status == "micro_diverged":
      return f"its loss left its running band at {_steps(self.micro_divergences)}, and came back"
    if all(judge.level is None for judge in (self.whole, *self.of_task.values())):
      if len(self.of_task) == 1:
        return _learned_nothing(*self.of_task.values())
      return (
        f"in {self.whole.steps} steps neither the whole loss nor that of any task was surely below "
        "the best constant's"
      )
    return None

  def verdicts(self) -> dict[str, dict[str, Any]]:
    """The verdict of each task at the end, for result.json."""
    return {task: _verdict(judge) for task, judge in self.of_task.items()}

  def state(self) -> dict[str, Any]:
    """Plain values without the rule; `DivergenceMonitor.of(rule, state)` goes on from them."""
    return {
      "whole": self.whole.state(),
      "of_task": {task: judge.state() for task, judge in self.of_task.items()},
      "skipped_steps": self.skipped_steps,
      "skipped_since": self.skipped_since,
    }

  @classmethod
  def of(cls, rule: DivergenceRule, state: Mapping[str, Any]) -> "DivergenceMonitor":
    """Goes on from a state."""
    judges = {task: Judge(rule, **judge) for task, judge in state["of_task"].items()}
    return cls(rule, **{**state, "whole": Judge(rule, **state["whole"]), "of_task": judges})

  @property
  def _lost(self) -> dict[str, Judge]:
    """What has diverged: the whole as "", and tasks by name."""
    judges = {"": self.whole, **self.of_task}
    return {name: judge for name, judge in judges.items() if judge.diverged_at_step is not None}

  def _judge_of(self, task: str) -> Judge:
    if task not in self.of_task:
      self.of_task[task] = Judge(self.rule, of_task=True)
    return self.of_task[task]


def measured(
  row: Mapping[str, float], tasks: Sequence[str]
) -> tuple[Measured, dict[str, Measured]]:
  """What a line of metrics.jsonl says of the whole and of each task.

  A batch has as many labels for the whole as its tasks have, each as much as it is of the loss.

  Args:
    row: named as in health.py; one of an earlier version has of each task its loss alone, and is
      judged as a whole.
    tasks: their names.
  """
  of_task = {
    task: Measured(
      row[f"{task}/loss"],
      row[f"{task}/constant_loss"],
      row[f"{task}/output_spread"],
      labels := row[f"{task}/labels"],
      min(row[f"{task}/positives"], labels - row[f"{task}/positives"]),
    )
    for task in tasks
    if f"{task}/constant_loss" in row
  }
  whole = Measured(row["loss"], row["constant_loss"], row["output_spread"])
  return whole._replace(**labels_of_whole(of_task.values())), of_task


def labels_of_whole(of_task: Iterable[Measured]) -> dict[str, float]:
  """The mean of the labels of tasks, and of their rarer ones, weighted by the best constants'."""
  each = [task for task in of_task if task.constant_loss > 0]
  if not each:
    return {}
  total = sum(task.constant_loss for task in each)
  return {
    "labels": sum(task.constant_loss * task.labels for task in each) / total,
    "rarer": sum(task.constant_loss * task.rarer for task in each) / total,
  }


def _verdict(judge: Judge) -> dict[str, Any]:
  """One task's, with the step and the reason."""
  status: Status = judge.status
  step, reason = judge.diverged_at_step, judge.reason or None
  if status == "micro_diverged":
    step = judge.micro_divergences[0]
    reason = f"its loss left its running band at {_steps(judge.micro_divergences)}, and came back"
  if status == "ok" and judge.level is None:
    status = "learned_nothing" if judge.has_learned_nothing else "ok"
    reason = _learned_nothing(judge)
  if status == "diverged" and judge.recovered_at_step:
    reason = f"{reason}; learned again from step {judge.recovered_at_step}"
  return {
    "status": status,
    "step": step,
    "reason": reason,
    "micro_divergences": judge.micro_divergences,
    "recovered_at_step": judge.recovered_at_step,
    "level": None if math.isnan(judge.smoothed) else judge.smoothed,
  }


def _learned_nothing(judge: Judge) -> str:
  seen = f"{judge.steps} steps"
  if not judge.labels:
    return f"none of its {seen} had a label"
  if math.isfinite(judge.rarer):
    seen += f" with {judge.rarer:,.0f} of {judge.labels:,.0f} labels on the rarer side"
  if math.isnan(judge.smoothed):
    return f"{seen} are too few to tell whether its loss is below the best constant's"
  return (
    f"in {seen} its loss was never surely below the best constant's; it was "
    f"{judge.smoothed:.3f} of it at the end"
  )


def _steps(steps: Sequence[int]) -> str:
  named = ", ".join(map(str, steps[:FEW_STEPS]))
  more = f" and {len(steps) - FEW_STEPS} more" if len(steps) > FEW_STEPS else ""
  return f"step{'s' * (len(steps) > 1)} {named}{more}"
