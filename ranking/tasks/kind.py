"""What a kind of task is: what its labels may be, its loss, its best constant and its measures."""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ranking.array import Array
from ranking.measures.concordance import same_length
from ranking.measures.differences import Difference
from ranking.measures.loss import MeanLoss, mean, relative_loss

# TensorFlow is loaded by `losses` alone: reading data does without it.
if TYPE_CHECKING:
  import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class LabelStatistics:
  """What is known of a task's label from the training days.

  Attributes:
    rows: that have one and count.
    mean, variance: of these, each as often as it counts; 0 without any.
    levels: (value, how often rows with it count) of each value, lowest first; empty for kinds that
      do not ask.
  """

  rows: int
  mean: float
  variance: float
  levels: tuple[tuple[float, float], ...] = ()

  @classmethod
  def of(
    cls, labels: Array, count_levels: bool = False, weights: Array | None = None
  ) -> "LabelStatistics":
    """Measures labels [n], NaN where missing, each row as often as its weight says (None = 1)."""
    present = ~np.isnan(labels) if weights is None else ~np.isnan(labels) & (weights > 0)
    if not present.any():
      return cls(0, 0.0, 0.0)
    labels = labels[present].astype(np.float64)
    weights = None if weights is None else weights[present]
    levels: tuple[tuple[float, float], ...] = ()
    if count_levels:
      values, place = np.unique(labels, return_inverse=True)
      levels = tuple(zip(values.tolist(), np.bincount(place, weights).tolist(), strict=True))
    of_all = mean(labels, weights)
    return cls(len(labels), of_all, mean(np.square(labels - of_all), weights), levels)

  @classmethod
  def from_json(cls, entry: Mapping[str, Any]) -> "LabelStatistics":
    """Reads an entry of a store's schema.json; older stores have no levels there."""
    levels = tuple((float(value), rows) for value, rows in entry.get("levels", ()))
    return cls(**{**entry, "levels": levels})


@dataclasses.dataclass(frozen=True)
class Measure:
  """How a figure is called and printed, and which direction is better.

  Attributes:
    name: its key in result.json, such as "auc".
    title: its name for people, such as "AUC".
    better: 1 if higher is better, -1 if lower is.
    test: how the difference of two runs on the same rows is tested.
    ranks: whether it is a share of pairs of rows in the right order, of which chance gets 0.5.
    unit: tables of many runs print the figure over this.
    symbol: of the unit, such as "%"; "" for that of the label.
    digits: behind the point there.
    plural: what a difference is counted in there, such as "points"; "" for the unit of the label.
  """

  name: str
  title: str
  better: int
  test: str
  ranks: bool = False
  unit: float = 1.0
  symbol: str = ""
  digits: int = 3
  plural: str = ""

  @property
  def axis(self) -> str:
    """Title and unit, such as "AUC (%)"."""
    return f"{self.title} ({self.symbol})" if self.symbol else self.title

  @property
  def heading(self) -> str:
    """The heading of a column in tables of many runs, with unit and direction: "AUC (%) ↑"."""
    return f"{self.axis} {'↑' if self.better > 0 else '↓'}"

  def text(self, value: float) -> str:
    """A figure as tables of many runs print it."""
    return f"{value / self.unit:.{self.digits}f}"


class Figures(NamedTuple):
  """What a kind measures on some rows; a figure that they have not is nan.

  Attributes:
    value: the measure of the kind.
    ci95: its 95 % interval, which takes rows as independent.
    calibration: mean prediction over mean label.
    logloss: -log of the label's probability, nats a row, of kinds that predict one.
  """

  value: float = math.nan
  ci95: tuple[float, float] = (math.nan, math.nan)
  calibration: float = math.nan
  logloss: float = math.nan


class Kind(abc.ABC):
  """A kind of task. Its objects have no state; one task's numbers come as LabelStatistics."""

  name: ClassVar[str]
  measure: ClassVar[Measure]
  counts_positives: ClassVar[bool] = False  # whether the share of labels above 0 says something
  counts_levels: ClassVar[bool] = False  # whether LabelStatistics.levels are needed
  has_logloss: ClassVar[bool] = False  # whether an output says how probable each label is

  def check(self, labels: Array) -> None:
    """Raises ValueError, to be put behind the label's name, for one that is none of this kind.

    Args:
      labels: [n], not NaN.
    """
    if np.isinf(labels).any():
      raise ValueError("holds an infinite value; drop or clip such rows")

  @abc.abstractmethod
  def constant_output(self, known: LabelStatistics) -> float:
    """The model's output that loses least if it is the same for every row of the training days."""

  @abc.abstractmethod
  def losses(
    self, labels: "tf.Tensor", outputs: "tf.Tensor", known: LabelStatistics
  ) -> "tf.Tensor":
    """float32 [b], the loss of each row, never below 0.

    Args:
      labels: float32 [b]; 0 where missing, whose loss has weight 0.
      outputs: float32 [b], or a scalar that all rows share; on the scale that is learnt.
      known: of the training days.
    """

  def in_unit(self, outputs: "tf.Tensor", known: LabelStatistics) -> "tf.Tensor":
    """float32 [b], as `figures` and users of the model take them, of outputs as `losses` does.

    They differ for kinds that learn on a scale of their own.
    """
    del known
    return outputs

  @abc.abstractmethod
  def row_losses(self, labels: Array, outputs: Array, known: LabelStatistics) -> Array:
    """float64 [n], what is learnt: `losses` of outputs in the label's unit, up to one factor.

    Args:
      labels, outputs, known: as of `figures`.
    """

  def constant_in_unit(self, known: LabelStatistics) -> float:
    """`constant_output` as `row_losses` takes it."""
    return self.constant_output(known)

  @abc.abstractmethod
  def figures(
    self, labels: Array, outputs: Array, known: LabelStatistics, weights: Array | None
  ) -> Figures:
    """What `evaluate` measures, all in float64.

    Args:
      labels: [n], n > 0, of this kind.
      outputs: [n], finite, of the model.
      known: of the training days.
      weights: [n] above 0, how often each row counts; None = 1.
    """

  def can_be_learnt(self, known: LabelStatistics) -> bool:
    """Whether the labels of the training days say anything."""
    return known.rows > 0

  def evaluate(
    self,
    labels: Array,
    outputs: Array,
    known: LabelStatistics,
    weights: Array | None = None,
  ) -> dict[str, Any]:
    """For result.json, over the rows that have a label and count.

    When any of these rows has an output that is not finite every figure is None: a NaN model has no
    AUC, though Keras reads 0.0 or 0.5 for one. So it is where the labels of the training days say
    nothing: the figure would be that of the initial weights. And so is a figure that has no value,
    such as the AUC of one class: a result is always valid JSON.

    Args:
      labels: [n]; NaN = label missing.
      outputs: [n], of the model, any float dtype.
      known: of the training days.
      weights: [n] of 0 or more, how often each row counts in the figures: the values are those of
        rows repeated so often, while intervals take each row as one. `rows`, `positives` and
        `nonfinite` count rows. None = 1.

    Returns:
      kind, the measure by its name, ci95 [low, high], rows, positives and logloss if the kind has
      them, relative_loss (the loss over that of the constant that is best for the training days)
      with relative_loss_ci95, calibration, and nonfinite (labelled rows whose output is not
      finite).

    Raises:
      ValueError: as `check`.
    """
    labels, outputs = same_length(labels, outputs)
    counts = ~np.isnan(labels) if weights is None else ~np.isnan(labels) & (weights > 0)
    labels, outputs = labels[counts], outputs[counts]
    weights = None if weights is None else weights[counts].astype(np.float64)
    self.check(labels)
    nonfinite = len(outputs) - int(np.count_nonzero(np.isfinite(outputs)))
    measured, relative = Figures(), MeanLoss(math.nan, (math.nan, math.nan))
    if len(labels) and not nonfinite and self.can_be_learnt(known):
      measured = self.figures(labels, outputs, known, weights)
      constant = np.full(len(labels), self.constant_in_unit(known))
      relative = relative_loss(
        self.row_losses(labels, outputs, known), self.row_losses(labels, constant, known), weights
      )
    entry: dict[str, Any] = {"kind": self.name, self.measure.name: _figure(measured.value)}
    entry["ci95"] = _interval(measured.ci95)
    entry["rows"] = len(labels)
    if self.counts_positives:
      entry["positives"] = int(np.count_nonzero(labels > 0))
    if self.has_logloss:
      entry["logloss"] = _figure(measured.logloss)
    entry["relative_loss"] = _figure(relative.value)
    entry["relative_loss_ci95"] = _interval(relative.ci95)
    entry["calibration"] = _figure(measured.calibration)
    entry["nonfinite"] = nonfinite
    return entry

  def outputs_of(self, means: Array, known: LabelStatistics) -> Array:
    """float64 [n], the outputs of a model that knows each label's expected value, [n]."""
    del known
    return means

  @abc.abstractmethod
  def difference(
    self,
    labels: Array,
    first: Array,
    second: Array,
    users: Array,
    weights: Array | None = None,
  ) -> Difference:
    """The measure of the first model minus that of the second.

    Args:
      labels, first, second, users, weights: as of `concordance_difference`; outputs of the models.
    """


def calibration(predictions: Array, labels: Array, weights: Array | None) -> float:
  """Mean prediction over mean label; nan where the labels sum to 0."""
  predicted, seen = mean(predictions, weights), mean(labels, weights)
  return predicted / seen if seen else math.nan


def _figure(value: float) -> float | None:
  return value if math.isfinite(value) else None


def _interval(bounds: tuple[float, float]) -> list[float] | None:
  return [*bounds] if all(map(math.isfinite, bounds)) else None
