"""What a kind of task is: what its labels may be, its loss, its best constant and its measures."""

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from ranking.array import Array
from ranking.measures.differences import Difference


@dataclasses.dataclass(frozen=True)
class LabelStatistics:
  """What is known of a task's label from the training days: rows with one, mean and variance."""

  rows: int
  mean: float
  variance: float

  @classmethod
  def of(cls, labels: Array) -> "LabelStatistics":
    """Of labels [n], NaN where missing; mean and variance 0 if all are."""
    present = labels[~np.isnan(labels)].astype(np.float64)
    if not len(present):
      return cls(0, 0.0, 0.0)
    return cls(len(present), float(present.mean()), float(present.var()))


@dataclasses.dataclass(frozen=True)
class Measure:
  """How a figure is called and printed, and which direction is better.

  Attributes:
    name: its key in result.json, such as "auc".
    title: its column in the table of a run, such as "AUC".
    heading: its column in the tables of many runs, with unit and direction.
    better: 1 if higher is better, -1 if lower is.
    unit: tables of many runs print the figure over this.
    digits: behind the point there.
    plural: what a difference is counted in there, such as "points"; "" for the unit of the label.
  """

  name: str
  title: str
  heading: str
  better: int
  unit: float = 1.0
  digits: int = 3
  plural: str = ""

  def text(self, value: float) -> str:
    """A figure as tables of many runs print it."""
    return f"{value / self.unit:.{self.digits}f}"


class Kind(abc.ABC):
  """A kind of task. Its objects have no state; one task's numbers come as LabelStatistics."""

  name: ClassVar[str]
  measure: ClassVar[Measure]
  counts_positives: ClassVar[bool] = False  # whether the share of labels above 0 says something

  @abc.abstractmethod
  def check(self, labels: Array) -> None:
    """Raises ValueError, to be put behind the label's name, for one that is none of this kind.

    Args:
      labels: [n], finite.
    """

  @abc.abstractmethod
  def constant_output(self, known: LabelStatistics) -> float:
    """The model's output that loses least if it is the same for every row of the training days."""

  @abc.abstractmethod
  def losses(self, labels: tf.Tensor, outputs: tf.Tensor, known: LabelStatistics) -> tf.Tensor:
    """float32 [b], the loss of each row.

    Args:
      labels: float32 [b]; 0 where missing, whose loss has weight 0.
      outputs: float32 [b], or a scalar that all rows share.
      known: of the training days.
    """

  @abc.abstractmethod
  def evaluate(self, labels: Array, outputs: Array, known: LabelStatistics) -> dict[str, Any]:
    """For result.json: kind, the measure by its name, ci95, rows, calibration, nonfinite.

    Args:
      labels: [n]; NaN = label missing.
      outputs: [n], of the model.
      known: of the training days.

    Raises:
      ValueError: a label is none of this kind.
    """

  def outputs_of(self, means: Array) -> Array:
    """float64 [n], the outputs of a model that knows each label's expected value."""
    return means

  @abc.abstractmethod
  def difference(self, labels: Array, first: Array, second: Array, users: Array) -> Difference:
    """The measure of the first model minus that of the second; arguments as of `auc_difference`."""
