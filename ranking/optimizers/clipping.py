"""Clipping factors σ: how much of a direction a method lets through (paper, sections 4 and 5.1.3).

A clip acts on the gradient before the slots see it (GC, AGC, AdaGC, ZClip) or on the direction
(LAMB, Clippy, LayerClippy, RmsClip). It works in two parts: `measure` reduces a variable to a few
numbers in one pass over it, and `factor` makes σ of them. Between the two, the measures of all
variables can be joined, so that one σ serves them all (4.3.2).
"""

import copy
import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal, TypeVar

import tensorflow as tf

from ranking.optimizers import reductions
from ranking.optimizers.settings import LATER, Ramp, ThresholdError, check

Own = TypeVar("Own", bound="Clip")
Measures = dict[str, tf.Tensor]
Memory = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Clip:
  """Base of all clips: a frozen dataclass of thresholds with pure methods.

  Raises ThresholdError for a number that is negative or none: σ would turn the step around.
  """

  acts_on: ClassVar[Literal["gradient", "direction"]]

  def __post_init__(self) -> None:
    check(self, ramps=True)

  def at(self: Own, number: tf.Tensor, dtype: tf.DType) -> Own:
    """Itself in one step, by its number: with scalars of a dtype for what is a Ramp."""
    ramps = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    ramps = {name: ramp for name, ramp in ramps.items() if isinstance(ramp, Ramp)}
    if not ramps:
      return self
    stepped = copy.copy(self)
    for name, ramp in ramps.items():
      object.__setattr__(stepped, name, tf.cast(ramp(number), dtype))
    return stepped

  @property
  def needs_preconditioner(self) -> bool:
    """Whether it is given 1/√G of Adagrad too: then `measure_beside` is called, not `measure`."""
    return False

  def measure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> Measures:
    """Numbers that `factor` needs, scalars unless said otherwise.

    Args:
      weights: of a variable, or of the rows of a table that a step touches.
      tensor: what the clip acts on, of the weights' shape and dtype.
      rate: scalar, the learning rate η.
      of_rows: whether these are rows of a table.
    """
    raise NotImplementedError

  def measure_beside(
    self, preconditioner: tf.Tensor, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor
  ) -> Measures:
    """`measure`, with what the gradient was multiplied with, of the weights' shape."""
    raise NotImplementedError

  def join(self, measures: Sequence[Measures]) -> Measures:
    """The measures of several variables as if they were one: sums."""
    return {name: tf.add_n([each[name] for each in measures]) for name in measures[0]}

  def factor(self, measures: Measures) -> tf.Tensor:
    """σ, in the measures' shape and dtype."""
    raise NotImplementedError

  def initial_memory(self) -> dict[str, float]:
    """Numbers a clip keeps of each variable from step to step, and what they start with."""
    return {}

  def factor_and_memory(
    self, own: Measures, everywhere: Measures, memory: Memory, step: tf.Tensor
  ) -> tuple[tf.Tensor, Memory]:
    """(σ, new memory). A clip with memory overrides this one instead of `factor`.

    Args:
      own: measures of the variable; with one σ for all, of all.
      everywhere: measures of all clipped variables joined; only given to a clip with memory.
      memory: scalars by name.
      step: scalar of the measures' dtype; 1 for the first.
    """
    del everywhere, step
    return self.factor(own), memory

  def pressure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> tf.Tensor:
    """How much each coordinate asks for clipping, in the weights' shape; the largest binds.

    In a norm that is the coordinate itself; see `LimitedMoves` for another.
    """
    del weights, rate, of_rows
    return tf.abs(tensor)

  def pressure_beside(
    self, preconditioner: tf.Tensor, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor
  ) -> tf.Tensor:
    """`pressure`, for a clip that needs the preconditioner."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class NoClip(Clip):
  """σ = 1: the paper's naive method."""

  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

  def measure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> Measures:
    """Nothing but σ."""
    del weights, rate, of_rows
    return {"one": tf.ones([], tensor.dtype)}

  def factor(self, measures: Measures) -> tf.Tensor:
    """Scalar 1."""
    return tf.ones_like(measures["one"])


@dataclasses.dataclass(frozen=True)
class GradientClipping(Clip):
  """σ = min(1, threshold / ‖g‖₂) (equation 2)."""

  threshold: float = 1e-1
  acts_on: ClassVar[Literal["gradient", "direction"]] = "gradient"

  def measure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> Measures:
    """‖g‖₂²."""
    del weights, rate, of_rows
    return {"gradient": reductions.total(tf.square(tensor))}

  def factor(self, measures: Measures) -> tf.Tensor:
    """In [0, 1]."""
    return at_most_one(self.threshold, tf.sqrt(measures["gradient"]))


@dataclasses.dataclass(frozen=True)
class AdaptiveGradientClipping(Clip):
  """σ = min(1, threshold · max(‖w‖₂, epsilon) / ‖g‖₂) (Brock et al. 2021; equation 3).

  With unit="output", norms and σ are those of a unit, as in the authors' code:
    kernels [..., inputs, outputs]: each output, over all axes but the last;
    rows of a table:                each row;
    vectors and scalars:            the whole.
  With unit="layer" they are those of the variable. `epsilon` lets biases leave zero. The authors
  leave output layers alone: name those in the optimizer's `exclude`.
  """

  threshold: float = 1e-2
  epsilon: float = 1e-3
  unit: Literal["output", "layer"] = "output"
  acts_on: ClassVar[Literal["gradient", "direction"]] = "gradient"

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.unit not in ("output", "layer"):
      raise ThresholdError(
        f'{type(self).__name__}.unit is {self.unit!r}; make it "output" or "layer"'
      )

  def measure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> Measures:
    """‖w‖₂² and ‖g‖₂² of each unit, shaped to broadcast against the weights."""
    del rate
    return {"weights": self._squares(weights, of_rows), "gradient": self._squares(tensor, of_rows)}

  def factor(self, measures: Measures) -> tf.Tensor:
    """In [0, 1], one for each unit."""
    return at_most_one(self._limit(measures["weights"]), tf.sqrt(measures["gradient"]))

  def pressure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> tf.Tensor:
    """The coordinate itself within the unit that is longest beside its limit, −1 elsewhere."""
    measures = self.measure(weights, tensor, rate, of_rows)
    length = tf.sqrt(measures["gradient"]) / self._limit(measures["weights"])
    return tf.where(length == tf.reduce_max(length), tf.abs(tensor), -tf.ones_like(tensor))

  def _limit(self, squares: tf.Tensor) -> tf.Tensor:
    return self.threshold * tf.maximum(tf.sqrt(squares), self.epsilon)

  def _squares(self, tensor: tf.Tensor, of_rows: bool) -> tf.Tensor:
    if self.unit == "layer" or tensor.shape.rank < 2:
      return reductions.total(tf.square(tensor))
    if of_rows:
      axes = list(range(1, tensor.shape.rank))
      return tf.reduce_sum(tf.square(tensor), axes, keepdims=True)
    return reductions.total_of_columns(tf.square(tensor))


@dataclasses.dataclass(frozen=True)
class Lamb(Clip):
  """σ = multiplier · ‖w‖₂ / ‖r‖₂, and the multiplier alone where a norm is 0 (You et al. 2020).

  The rule for zero norms is that of the authors' code; multiplier is the paper's μ (5.1.3).
  """

  multiplier: float = 1e-2
  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

  def measure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> Measures:
    """‖w‖₂² and ‖r‖₂²."""
    del rate, of_rows
    return {
      "weights": reductions.total(tf.square(weights)),
      "direction": reductions.total(tf.square(tensor)),
    }

  def factor(self, measures: Measures) -> tf.Tensor:
    """Positive; unlike the other factors it may exceed 1."""
    weights, direction = tf.sqrt(measures["weights"]), tf.sqrt(measures["direction"])
    zero = (weights == 0.0) | (direction == 0.0)
    safe = tf.where(zero, tf.ones_like(direction), direction)
    return self.multiplier * tf.where(zero, tf.ones_like(safe), weights / safe)


class LimitedMoves(Clip):
  """Base of the clips whose σ = min(1, min over coordinates of limit(w) / (η·|r|)).

  No coordinate then moves by more than its limit.
  """

  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

  def limit(self, weights: tf.Tensor) -> tf.Tensor:
    """The farthest that a step may move each coordinate, in the weights' shape."""
    raise NotImplementedError

  def measure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> Measures:
    """The largest move of a coordinate as a multiple of its limit."""
    return {"excess": reductions.largest(self.pressure(weights, tensor, rate, of_rows))}

  def join(self, measures: Sequence[Measures]) -> Measures:
    """The largest of all."""
    return {"excess": tf.reduce_max(tf.stack([each["excess"] for each in measures]))}

  def factor(self, measures: Measures) -> tf.Tensor:
    """In [0, 1]; 0 only where a coordinate with limit 0 would move."""
    return 1.0 / tf.maximum(tf.ones_like(measures["excess"]), measures["excess"])

  def pressure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> tf.Tensor:
    """η·|r| / limit(w); 0 for a coordinate that does not move."""
    del of_rows
    return _share(rate * tf.abs(tensor), self.limit(weights))


@dataclasses.dataclass(frozen=True)
class Clippy(LimitedMoves):
  """No coordinate moves by more than relative·|w| + absolute (Algorithm 1).

  The authors' release in TensorFlow Recommenders has a third part, accumulator/√(G + ε), which gets
  narrower as training goes on; it needs Adagrad. That release is, with its defaults,
  `Adagrad(accumulate_when="after")`, `Clippy(0.1, 1e-7)`, `accumulate="original"`, `exclude=""`.
  """

  relative_threshold: float = 0.5
  absolute_threshold: float = 1e-2
  accumulator_threshold: float = dataclasses.field(default=0.0, metadata=LATER)

  @property
  def needs_preconditioner(self) -> bool:
    """Where the third part is there."""
    return self.accumulator_threshold != 0.0

  def limit(self, weights: tf.Tensor) -> tf.Tensor:
    """relative·|w| + absolute."""
    return self.relative_threshold * tf.abs(weights) + self.absolute_threshold

  def measure_beside(
    self, preconditioner: tf.Tensor, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor
  ) -> Measures:
    """The largest move of a coordinate as a multiple of its limit, of three parts."""
    return {
      "excess": reductions.largest(self.pressure_beside(preconditioner, weights, tensor, rate))
    }

  def pressure_beside(
    self, preconditioner: tf.Tensor, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor
  ) -> tf.Tensor:
    """η·|r| as a share of the limit of three parts."""
    limit = self.limit(weights) + self.accumulator_threshold * preconditioner
    return _share(rate * tf.abs(tensor), limit)


@dataclasses.dataclass(frozen=True)
class LayerClippy(LimitedMoves):
  """No coordinate moves by more than relative·|w| + layer·max(RMS(w), epsilon). Not of the paper.

  Clippy's absolute threshold, as a share of the layer: an output moves by the sum of what the
  weights of its inputs do, so a limit that suits one width is too wide for a wider layer. RMS(w)
  shrinks with the width, by the usual initial values. `epsilon` lets biases leave zero, as the
  parameter scale of Adafactor does (Shazeer & Stern 2018, section 8).
  """

  relative_threshold: float = 0.1
  layer_threshold: float = 0.02
  epsilon: float = 1e-3

  def limit(self, weights: tf.Tensor) -> tf.Tensor:
    """relative·|w| + layer·max(RMS(w), epsilon); of a table, the RMS of the rows touched."""
    scale = tf.maximum(_root_mean_square(weights), self.epsilon)
    return self.relative_threshold * tf.abs(weights) + self.layer_threshold * scale


@dataclasses.dataclass(frozen=True)
class RmsClip(Clip):
  """σ = min(1, threshold / RMS(r)): Adafactor's update clipping (Shazeer & Stern 2018, section 6).

  StableAdamW applies the same to Adam, with RMS(g / sqrt(v)) in place of RMS(r).
  """

  threshold: float = 1.0
  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

  def measure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> Measures:
    """‖r‖₂² and the number of coordinates."""
    del weights, rate, of_rows
    return {
      "direction": reductions.total(tf.square(tensor)),
      "coordinates": tf.cast(tf.size(tensor), tensor.dtype),
    }

  def factor(self, measures: Measures) -> tf.Tensor:
    """In [0, 1]."""
    # A step may touch no row of a table at all.
    mean = tf.math.divide_no_nan(measures["direction"], measures["coordinates"])
    return at_most_one(self.threshold, tf.sqrt(mean))


def _share(move: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
  """move / limit, 0 where there is no move."""
  return tf.where(move == 0.0, tf.zeros_like(move), move / limit)


def _root_mean_square(tensor: tf.Tensor) -> tf.Tensor:
  """Scalar, 0 of nothing."""
  size = tf.cast(tf.size(tensor), tensor.dtype)
  return tf.sqrt(tf.math.divide_no_nan(reductions.total(tf.square(tensor)), size))


def at_most_one(limit: tf.Tensor | float, norm: tf.Tensor) -> tf.Tensor:
  """min(1, limit / norm), 1 where the norm is 0."""
  over = norm > limit
  return tf.where(over, limit / tf.where(over, norm, tf.ones_like(norm)), tf.ones_like(norm))
