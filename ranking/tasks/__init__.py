"""The predictions of a model: each is a task, and its kind says all that differs between them.

A kind is one class in one file; `KINDS` has them in the order in which tables name them.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranking.array import Array
from ranking.nearest import nearest
from ranking.tasks.binary import Binary
from ranking.tasks.count import Count
from ranking.tasks.kind import Kind, LabelStatistics, Measure
from ranking.tasks.ordered import Ordered
from ranking.tasks.regression import Regression

KINDS: dict[str, Kind] = {
  kind.name: kind
  for kind in (
    Binary(),
    Regression(),
    Count(),
    Ordered(),
  )
}
# What binary tasks have beside the AUC, where users and requests have rows of both labels.
WITHIN: dict[str, Measure] = {
  name: Measure(
    name,
    title,
    better=1,
    test=f"the ratio of sums over users of {what}",
    unit=0.01,
    symbol="%",
    digits=2,
    plural="points",
  )
  for name, title, what in (
    ("gauc", "AUC within users", "their AUCs"),
    ("ndcg", "NDCG of requests", "their requests' NDCGs"),
  )
}
MEASURES: dict[str, Measure] = {kind.measure.name: kind.measure for kind in KINDS.values()}
MEASURES |= WITHIN

__all__ = [
  "KINDS",
  "MEASURES",
  "WITHIN",
  "Kind",
  "LabelStatistics",
  "LearntTask",
  "Measure",
  "Task",
  "evaluate",
  "evaluate_truth",
  "headline",
]


@dataclasses.dataclass(frozen=True)
class Task:
  """One prediction; its mean loss over labelled rows counts `loss_weight` times.

  Attributes:
    name: of the label's column.
    kind: one of KINDS, by name, as stores and results hold it.
    loss_weight: its share of the summed loss.

  Raises:
    ValueError: a kind that there is not.
  """

  name: str
  kind: str
  loss_weight: float = 1.0

  def __post_init__(self) -> None:
    if self.kind not in KINDS:
      raise ValueError(
        f"task {self.name} is of kind {self.kind!r}, which there is not"
        f"{nearest(str(self.kind), [*KINDS])}"
      )

  @property
  def rules(self) -> Kind:
    """What its kind says."""
    return KINDS[self.kind]


@dataclasses.dataclass(frozen=True)
class LearntTask(Task):
  """A task as one run learns it.

  Attributes:
    learning: its kind, which may learn on a scale of its own.
  """

  learning: Kind = dataclasses.field(default_factory=Regression)

  @property
  def rules(self) -> Kind:
    """What its kind says."""
    return self.learning


def headline(kinds: Mapping[str, str]) -> str:
  """The task that runs are chosen by: the first whose measure ranks rows, else the first of all.

  Args:
    kinds: of each task, by its name, in the order of the store; not empty.
  """
  ranked = [task for task, kind in kinds.items() if KINDS[kind].measure.ranks]
  return [*ranked, *kinds][0]


def evaluate(
  tasks: Sequence[Task],
  known: Sequence[LabelStatistics],
  labels: Array,
  outputs: Array,
  weights: Array | None = None,
) -> dict[str, dict[str, Any]]:
  """The `metrics` of result.json: figures by task name.

  Args:
    tasks: T tasks, in the order of the columns.
    known: of each task's label in the training days.
    labels: [n, T]; NaN = label missing.
    outputs: [n, T], of the model.
    weights: [n], how often each row counts; None = 1.

  Raises:
    ValueError: other shapes, or a label that its task cannot have.
  """
  labels, outputs = np.asarray(labels), np.asarray(outputs)
  if labels.ndim != 2 or labels.shape != outputs.shape or labels.shape[1] != len(tasks):
    raise ValueError(
      f"labels and outputs must both be [rows, {len(tasks)}], one column per task; "
      f"got {list(labels.shape)} and {list(outputs.shape)}"
    )
  figures = {}
  for column, (task, of_task) in enumerate(zip(tasks, known, strict=True)):
    try:
      figures[task.name] = task.rules.evaluate(
        labels[:, column], outputs[:, column], of_task, weights
      )
    except ValueError as error:
      raise ValueError(f"task {task.name} {error}") from None
  return figures


def evaluate_truth(
  tasks: Sequence[Task], known: Sequence[LabelStatistics], labels: Array, truth: Array
) -> dict[str, dict[str, Any]]:
  """Evaluates a model that knows each label's expected value, `truth` [n, T]; see `evaluate`."""
  outputs = [
    task.rules.outputs_of(truth[:, column], of_task)
    for column, (task, of_task) in enumerate(zip(tasks, known, strict=True))
  ]
  return evaluate(tasks, known, labels, np.stack(outputs, axis=1))
