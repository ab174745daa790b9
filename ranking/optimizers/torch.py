"""The clips and directions for PyTorch, in one file that needs PyTorch and NumPy and nothing else.

    from ranking.optimizers.torch import Adagrad, ClippedOptimizer, Clippy, tables_apart

    optimizer = ClippedOptimizer(tables_apart(model), Adagrad(), Clippy(), lr=0.1)

The update is w ← w − η · σ · r. The direction r is made of the gradient by slots, the clipping
factor σ by a clip. In float64 a step is that of the TensorFlow optimizer of this package. Weights
are read as PyTorch lays them out: an output unit is a row of a weight, not a column.

A step has three parts, and nothing is written before the third:

    measure   every gradient, and what its clip needs to know: numbers that go to the host at once
    decide    whether the step is finite; σ of every parameter, or one σ for all; the clip's memory
    write     weights and slots
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

Tensors = list[Tensor]  # pieces of parameters
Slots = dict[str, Tensors]
Measures = dict[str, Tensor]  # float64 on the host, a number for each part of a parameter
Memory = dict[str, Tensor]  # likewise

SHARES = ("decay", "momentum", "beta_1", "beta_2")  # of the past in an average
PIECE = 1 << 17  # elements; with what is made of it on the way, a piece stays in a CPU's cache
KEPT = 8  # bundles; what the measuring of so few has made is kept for writing
POWER_STEPS = 4
# An epsilon from which on nothing is divided by 0, in any type: what is less is 0 in float16.
SURELY_POSITIVE = 6e-8
SCALARS: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
LARGEST_RATE = 1e19  # whose square is finite in float32
JOINS = {"sum": (0.0, "sum"), "largest": (-math.inf, "amax"), "smallest": (math.inf, "amin")}


def _check(settings: Any) -> None:
  """Raises ValueError if a numeric field of a dataclass is negative, none, or no share of 1."""
  for field in dataclasses.fields(settings):
    if not isinstance(field.default, (int, float)) or isinstance(field.default, bool):
      continue
    value, name = getattr(settings, field.name), f"{type(settings).__name__}.{field.name}"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and 0 <= value < math.inf):
      raise ValueError(f"{name} is {value!r}; make it a finite number that is not negative")
    if field.name in SHARES and value >= 1:
      raise ValueError(f"{name} is {value!r}; make it at least 0 and less than 1")


# Directions r: what the slots make of a gradient, before any clipping or learning rate.


@dataclasses.dataclass(frozen=True)
class Direction:
  """Base of all directions: a frozen dataclass of settings with a pure `move`."""

  def __post_init__(self) -> None:
    _check(self)

  @property
  def is_row_wise(self) -> bool:
    """Whether a row without gradient neither moves nor changes its slots."""
    return True

  @property
  def accumulates_after(self) -> bool:
    """Whether r is of the slots before this step, so that they can see the clipped gradient."""
    return False

  def initial_slots(self) -> dict[str, float]:
    """Slot names and the value their entries start with."""
    return {}

  def move(
    self, gradients: Tensors, slots: Slots, weights: Tensors, step: int
  ) -> tuple[Tensors, Slots]:
    """(r, new slots), finite where gradients are; writes to none of its arguments.

    `step` is 1 for the first.
    """
    raise NotImplementedError

  def preconditioner(self, slots: Slots, new_slots: Slots) -> Tensors:
    """What gradients were multiplied with. Raises ValueError if that is nothing of Adagrad's."""
    raise ValueError(
      f"a clip's accumulator_threshold needs an accumulator, and {self} has none; give it Adagrad()"
    )


@dataclasses.dataclass(frozen=True)
class Sgd(Direction):
  """r = g, or with momentum the sum of all gradients so far, each step weighted by it once more."""

  momentum: float = 0.0
  lazy: bool = False

  @property
  def is_row_wise(self) -> bool:
    """A row without gradient goes on moving by its momentum, unless `lazy`."""
    return self.momentum == 0.0 or self.lazy

  def initial_slots(self) -> dict[str, float]:
    """The velocity, if there is momentum."""
    return {"velocity": 0.0} if self.momentum else {}

  def move(
    self, gradients: Tensors, slots: Slots, weights: Tensors, step: int
  ) -> tuple[Tensors, Slots]:
    """See `Direction`."""
    if not self.momentum:
      return gradients, slots
    velocity = torch._foreach_mul(slots["velocity"], self.momentum)
    torch._foreach_add_(velocity, gradients)
    return velocity, {"velocity": velocity}


@dataclasses.dataclass(frozen=True)
class Adagrad(Direction):
  """r = g / sqrt(G + epsilon) with G including g²; epsilon as in tf_keras.

  With accumulate_when="after", G is without this step's g², as in the release of Clippy's authors;
  then g² can enter it clipped, by the optimizer's `accumulate`. r is 0 where G + epsilon is.
  With a share `keep` below 1 it forgets: G ← keep · G + g².
  """

  initial_accumulator_value: float = 0.1
  epsilon: float = 1e-7
  accumulate_when: Literal["before", "after"] = "before"
  keep: float = 1.0

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.accumulate_when not in ("before", "after"):
      raise ValueError(
        f'Adagrad.accumulate_when is {self.accumulate_when!r}; make it "before" or "after"'
      )
    if self.keep > 1:
      raise ValueError(f"Adagrad.keep is {self.keep!r}; make it a share, from 0 to 1")
    if self.accumulates_after and not self.initial_accumulator_value + self.epsilon > 0:
      raise ValueError(
        'Adagrad(accumulate_when="after") divides by sqrt(0) in its first step; make '
        "initial_accumulator_value or epsilon positive"
      )

  @property
  def accumulates_after(self) -> bool:
    """With accumulate_when="after"."""
    return self.accumulate_when == "after"

  def initial_slots(self) -> dict[str, float]:
    """The accumulator G."""
    return {"accumulator": self.initial_accumulator_value}

  def move(
    self, gradients: Tensors, slots: Slots, weights: Tensors, step: int
  ) -> tuple[Tensors, Slots]:
    """See `Direction`."""
    kept = slots["accumulator"]
    if self.keep != 1:
      kept = torch._foreach_mul(kept, self.keep)
    accumulator = torch._foreach_addcmul(kept, gradients, gradients)
    # At the largest number there is, rather than infinite, a weight would still move.
    torch._foreach_clamp_max_(accumulator, torch.finfo(accumulator[0].dtype).max)
    new_slots = {"accumulator": accumulator}
    return torch._foreach_div(gradients, self._roots(slots, new_slots)), new_slots

  def preconditioner(self, slots: Slots, new_slots: Slots) -> Tensors:
    """1 / sqrt(G + epsilon), 0 where that is infinite."""
    return torch._foreach_reciprocal(self._roots(slots, new_slots))

  def _roots(self, slots: Slots, new_slots: Slots) -> Tensors:
    kept = slots if self.accumulates_after else new_slots
    roots = torch._foreach_add(kept["accumulator"], self.epsilon)
    torch._foreach_sqrt_(roots)
    return _infinite_for_zero(roots, self.epsilon)


@dataclasses.dataclass(frozen=True)
class Adam(Direction):
  """r = m̂ / (sqrt(v̂) + ε̂) + weight_decay · w (Kingma & Ba 2015; with decay, AdamW).

  As in tf_keras, epsilon is added to sqrt(v) before the bias of v is corrected, and a sparse
  gradient lets every row of a table move, unless `lazy`. The decay is part of r, so that a clip
  which limits r limits all that moves a weight. m̂ / 0 counts as 0.
  """

  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-7
  weight_decay: float = 0.0
  lazy: bool = False

  @property
  def is_row_wise(self) -> bool:
    """A row without gradient goes on moving by its first moment, unless `lazy`."""
    return self.lazy

  def initial_slots(self) -> dict[str, float]:
    """The two moments."""
    return {"first_moment": 0.0, "second_moment": 0.0}

  def move(
    self, gradients: Tensors, slots: Slots, weights: Tensors, step: int
  ) -> tuple[Tensors, Slots]:
    """See `Direction`."""
    first = torch._foreach_mul(slots["first_moment"], self.beta_1)
    torch._foreach_add_(first, gradients, alpha=1 - self.beta_1)
    second = torch._foreach_mul(slots["second_moment"], self.beta_2)
    torch._foreach_addcmul_(second, gradients, gradients, value=1 - self.beta_2)
    roots = torch._foreach_sqrt(second)
    torch._foreach_add_(roots, self.epsilon)
    direction = torch._foreach_div(first, _infinite_for_zero(roots, self.epsilon))
    correction = math.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
    torch._foreach_mul_(direction, correction)
    if self.weight_decay:
      torch._foreach_add_(direction, weights, alpha=self.weight_decay)
    return direction, {"first_moment": first, "second_moment": second}


def _infinite_for_zero(roots: Tensors, epsilon: float) -> Tensors:
  """Makes of 0, which an epsilon of some size rules out, a divisor that leaves nothing."""
  if epsilon >= SURELY_POSITIVE:
    return roots
  return [torch.where(root == 0.0, math.inf, root) for root in roots]


# Clips: how much of a step is let through.


class About(NamedTuple):
  """What a clip may want to know of some pieces."""

  rate: float  # η
  scales: list[float]  # RMS(w) of the parameter of each, for a clip that needs it
  of_rows: list[bool]  # whether each is of rows of a table
  preconditioners: Tensors  # what gradients were multiplied with, for a clip that needs it


@dataclasses.dataclass(frozen=True)
class Clip:
  """Base of all clips: a frozen dataclass of thresholds with pure methods.

  `measure` reduces pieces of parameters to numbers; they are joined to those of whole parameters,
  and with scope="global" of all, and `factor` makes σ of them.
  """

  acts_on: ClassVar[Literal["gradient", "direction"]]
  joins: ClassVar[Literal["sum", "largest"]] = "sum"
  in_pieces: ClassVar[bool] = True  # or it has to see a parameter whole
  needs_scale: ClassVar[bool] = False  # RMS(w) of whole parameters

  def __post_init__(self) -> None:
    _check(self)

  @property
  def needs_preconditioner(self) -> bool:
    """Whether it is given 1/√G of Adagrad."""
    return False

  def measure(self, weights: Tensors, tensors: Tensors, about: About) -> dict[str, Tensor]:
    """By name a number for each piece, float64. ‖g‖₂² ("gradient") and "size" are known besides.

    Args:
      weights: of the pieces.
      tensors: what the clip acts on, of the weights' shapes.
      about: more of the pieces.
    """
    return {}

  def factor(self, measures: Measures) -> Tensor:
    """σ of each parameter."""
    raise NotImplementedError

  def factors_of_units(self, weights: Tensors, tensors: Tensors) -> Tensors | None:
    """σ of each output unit of each piece, for a clip that judges by units."""
    return None

  def initial_memory(self) -> dict[str, float]:
    """Numbers kept of each parameter from step to step, and what they start with."""
    return {}

  def factor_and_memory(
    self, own: Measures, everywhere: Measures, memory: Memory
  ) -> tuple[Tensor, Memory]:
    """(σ, new memory) of each parameter. A clip with memory overrides this one.

    Args:
      own: measures of the parameters; with one σ for all, of all.
      everywhere: measures of all clipped parameters joined.
      memory: by name.
    """
    return self.factor(own), memory


@dataclasses.dataclass(frozen=True)
class NoClip(Clip):
  """σ = 1."""

  acts_on: ClassVar[Literal["gradient", "direction"]] = "gradient"

  def factor(self, measures: Measures) -> Tensor:
    """1."""
    return torch.ones_like(measures["gradient"])


@dataclasses.dataclass(frozen=True)
class GradientClipping(Clip):
  """σ = min(1, threshold / ‖g‖₂)."""

  threshold: float = 1e-1
  acts_on: ClassVar[Literal["gradient", "direction"]] = "gradient"

  def factor(self, measures: Measures) -> Tensor:
    """In [0, 1]."""
    return at_most_one(self.threshold, measures["gradient"].sqrt())


@dataclasses.dataclass(frozen=True)
class AdaptiveGradientClipping(Clip):
  """σ = min(1, threshold · max(‖w‖₂, epsilon) / ‖g‖₂) (Brock et al. 2021).

  With unit="output", norms and σ are those of a unit: each row of a weight (over all axes but the
  first), a whole vector or scalar. With unit="layer" they are those of the parameter. `epsilon`
  lets biases leave zero. Its authors leave output layers alone: give those a group with NoClip().
  """

  threshold: float = 1e-2
  epsilon: float = 1e-3
  unit: Literal["output", "layer"] = "output"
  acts_on: ClassVar[Literal["gradient", "direction"]] = "gradient"

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.unit not in ("output", "layer"):
      raise ValueError(
        f'AdaptiveGradientClipping.unit is {self.unit!r}; make it "output" or "layer"'
      )

  def measure(self, weights: Tensors, tensors: Tensors, about: About) -> dict[str, Tensor]:
    """‖w‖₂² of each piece."""
    return {"weights": _squares(weights)} if self.unit == "layer" else {}

  def factor(self, measures: Measures) -> Tensor:
    """In [0, 1]."""
    limit = self.threshold * measures["weights"].sqrt().clamp(min=self.epsilon)
    return at_most_one(limit, measures["gradient"].sqrt())

  def factors_of_units(self, weights: Tensors, tensors: Tensors) -> Tensors | None:
    """In [0, 1], shaped to broadcast against the weights."""
    if self.unit == "layer":
      return None
    return [
      at_most_one(self.threshold * _lengths(w).clamp(min=self.epsilon), _lengths(x))
      for w, x in zip(weights, tensors, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class Lamb(Clip):
  """σ = multiplier · ‖w‖₂ / ‖r‖₂, and the multiplier alone where a norm is 0 (You et al. 2020)."""

  multiplier: float = 1e-2
  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

  def measure(self, weights: Tensors, tensors: Tensors, about: About) -> dict[str, Tensor]:
    """‖w‖₂² and ‖r‖₂²."""
    return {"weights": _squares(weights), "direction": _squares(tensors)}

  def factor(self, measures: Measures) -> Tensor:
    """Positive; unlike the other factors it may exceed 1."""
    weights, direction = measures["weights"].sqrt(), measures["direction"].sqrt()
    zero = (weights == 0.0) | (direction == 0.0)
    return self.multiplier * torch.where(zero, 1.0, weights / torch.where(zero, 1.0, direction))


class LimitedMoves(Clip):
  """Base of the clips whose σ = min(1, min over coordinates of limit(w) / (η·|r|))."""

  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"
  joins: ClassVar[Literal["sum", "largest"]] = "largest"

  def limits(self, weights: Tensors, about: About) -> Tensors:
    """The farthest that a step may move each coordinate."""
    raise NotImplementedError

  def measure(self, weights: Tensors, tensors: Tensors, about: About) -> dict[str, Tensor]:
    """The largest r of a coordinate as a multiple of its limit, times η."""
    limits = self.limits(weights, about)
    # Not 0, so that what does not move is 0 and not 0 / 0.
    torch._foreach_clamp_min_(limits, torch.finfo(limits[0].dtype).tiny)
    excess = torch._foreach_div(tensors, limits)
    torch._foreach_abs_(excess)
    largest = torch.stack(torch._foreach_max(excess)).double()
    # Not infinite, so that a rate of 0 times it is 0.
    return {"excess": about.rate * largest.clamp(max=torch.finfo(torch.float64).max)}

  def factor(self, measures: Measures) -> Tensor:
    """In [0, 1]; 0 only where a coordinate with limit 0 would move."""
    return 1.0 / measures["excess"].clamp(min=1.0)


@dataclasses.dataclass(frozen=True)
class Clippy(LimitedMoves):
  """No coordinate moves by more than relative·|w| + absolute (Algorithm 1 of the paper).

  The authors' release in TensorFlow Recommenders has a third part, accumulator/√(G + ε); it needs
  Adagrad. That release is, with its defaults, `Adagrad(accumulate_when="after")`,
  `Clippy(0.1, 1e-7)`, `accumulate="original"`.
  """

  relative_threshold: float = 0.5
  absolute_threshold: float = 1e-2
  accumulator_threshold: float = 0.0

  @property
  def needs_preconditioner(self) -> bool:
    """Where the third part is there."""
    return self.accumulator_threshold > 0

  def limits(self, weights: Tensors, about: About) -> Tensors:
    """relative·|w| + absolute, and the third part."""
    limits = torch._foreach_abs(weights)
    torch._foreach_mul_(limits, self.relative_threshold)
    torch._foreach_add_(limits, self.absolute_threshold)
    if about.preconditioners:
      torch._foreach_add_(limits, about.preconditioners, alpha=self.accumulator_threshold)
    return limits


@dataclasses.dataclass(frozen=True)
class LayerClippy(LimitedMoves):
  """No coordinate moves by more than relative·|w| + layer·max(RMS(w), epsilon).

  Clippy's absolute threshold as a share of the layer, so that wide layers need no search. Of a
  table with a sparse gradient, the RMS is that of the rows touched.
  """

  relative_threshold: float = 0.1
  layer_threshold: float = 0.02
  epsilon: float = 1e-3
  needs_scale: ClassVar[bool] = True

  def limits(self, weights: Tensors, about: About) -> Tensors:
    """relative·|w| + layer·max(RMS(w), epsilon)."""
    limits = torch._foreach_abs(weights)
    torch._foreach_mul_(limits, self.relative_threshold)
    torch._foreach_add_(limits, [self.layer_threshold * max(s, self.epsilon) for s in about.scales])
    return limits


@dataclasses.dataclass(frozen=True)
class OperatorNorm(Clip):
  """σ = min(1, threshold · max(RMS(w), epsilon) · (√m + √n) / (η · ‖r‖)), ‖r‖ the operator norm.

  A weight [n, ...] is a matrix of n outputs and m inputs; a vector or scalar of n numbers has the
  limit threshold · max(RMS(w), epsilon) · √n and the Euclidean norm. The operator norm is found by
  power iteration, and so from below.
  """

  threshold: float = 0.03
  epsilon: float = 1e-3
  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"
  joins: ClassVar[Literal["sum", "largest"]] = "largest"
  in_pieces: ClassVar[bool] = False
  needs_scale: ClassVar[bool] = True

  def measure(self, weights: Tensors, tensors: Tensors, about: About) -> dict[str, Tensor]:
    """The length of the step as a multiple of its limit."""
    excess = []
    for tensor, scale, of_rows in zip(tensors, about.scales, about.of_rows, strict=True):
      limit = self.threshold * max(scale, self.epsilon)
      if tensor.dim() < 2:
        norm, width = torch.linalg.vector_norm(tensor), math.sqrt(tensor.numel())
      else:
        matrix = tensor.flatten(1).T if of_rows else tensor.flatten(1)
        norm, width = _operator_norm(matrix), sum(map(math.sqrt, matrix.shape))
      step = about.rate * norm.double()
      excess.append(torch.where(step == 0.0, 0.0, step / (limit * width)))
    return {"excess": torch.stack(excess)}

  def factor(self, measures: Measures) -> Tensor:
    """In [0, 1]; 0 only where the threshold is."""
    return 1.0 / measures["excess"].clamp(min=1.0)


@dataclasses.dataclass(frozen=True)
class RmsClip(Clip):
  """σ = min(1, threshold / RMS(r)): Adafactor's update clipping (Shazeer & Stern 2018)."""

  threshold: float = 1.0
  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

  def measure(self, weights: Tensors, tensors: Tensors, about: About) -> dict[str, Tensor]:
    """‖r‖₂²."""
    return {"direction": _squares(tensors)}

  def factor(self, measures: Measures) -> Tensor:
    """In [0, 1]."""
    return at_most_one(self.threshold, (measures["direction"] / measures["size"]).sqrt())


@dataclasses.dataclass(frozen=True)
class AdaGC(Clip):
  """σ = min(1, relative_threshold · γ / ‖g‖₂), γ an average of clipped norms (arXiv 2502.11034).

  γ ← decay · γ + (1 − decay) · σ‖g‖₂ for each parameter. In its first `warmup_steps` the gradient
  of all parameters together is clipped to `absolute_threshold` and γ is the smallest norm so far.
  A norm of 0 is neither remembered nor counted.
  """

  relative_threshold: float = 1.04
  absolute_threshold: float = 1.0
  decay: float = 0.99
  warmup_steps: int = 100
  acts_on: ClassVar[Literal["gradient", "direction"]] = "gradient"

  def initial_memory(self) -> dict[str, float]:
    """γ, and how many norms it is of."""
    return {"average_norm": 0.0, "norms_seen": 0.0}

  def factor_and_memory(
    self, own: Measures, everywhere: Measures, memory: Memory
  ) -> tuple[Tensor, Memory]:
    """σ in [0, 1], γ and its count."""
    norm, average = own["gradient"].sqrt(), memory["average_norm"]
    warm = memory["norms_seen"] >= self.warmup_steps
    known = torch.where(average > 0.0, average, norm)
    factor = torch.where(
      warm,
      at_most_one(self.relative_threshold * known, norm),
      at_most_one(self.absolute_threshold, everywhere["gradient"].sqrt()),
    )
    clipped = factor * norm
    smallest = torch.where(average > 0.0, torch.minimum(average, clipped), clipped)
    mean = self.decay * known + (1.0 - self.decay) * clipped
    latest = {"average_norm": torch.where(warm, mean, smallest)}
    return factor, _unless(clipped == 0.0, memory, latest)


@dataclasses.dataclass(frozen=True)
class ZClip(Clip):
  """A norm more than `threshold` deviations above its mean is brought near it (arXiv 2504.02507).

  With z = (‖g‖₂ − mean) / deviation > threshold, σ‖g‖₂ = mean + threshold² / z · deviation. Mean
  and variance are averages with weight `decay` on the past, of clipped norms; over the first
  `warmup_steps`, which are not clipped, plain ones. A norm of 0 is neither remembered nor counted.
  The authors judge the norm of all parameters together (scope="global").
  """

  threshold: float = 2.5
  decay: float = 0.97
  warmup_steps: int = 25
  epsilon: float = 1e-6
  acts_on: ClassVar[Literal["gradient", "direction"]] = "gradient"

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.warmup_steps < 1:
      raise ValueError(
        f"ZClip.warmup_steps is {self.warmup_steps}; make it 1 or more: without a mean of norms to "
        "judge by, every norm is an outlier"
      )

  def initial_memory(self) -> dict[str, float]:
    """Mean and variance of the norm, and how many norms they are of."""
    return {"mean_norm": 0.0, "variance_of_norm": 0.0, "norms_seen": 0.0}

  def factor_and_memory(
    self, own: Measures, everywhere: Measures, memory: Memory
  ) -> tuple[Tensor, Memory]:
    """σ in [0, 1], mean, variance and their count."""
    norm, number = own["gradient"].sqrt(), memory["norms_seen"] + 1.0
    mean, variance = memory["mean_norm"], memory["variance_of_norm"]
    warm = number > self.warmup_steps
    deviation = variance.sqrt()
    score = (norm - mean) / (deviation + self.epsilon)
    high = warm & (score > self.threshold)
    near = mean + self.threshold**2 / torch.where(high, score, 1.0) * deviation
    clipped = torch.where(high, near, norm)
    weight = torch.where(warm, 1.0 - self.decay, 1.0 / number)
    new_mean = mean + weight * (clipped - mean)
    # The authors take the new mean; over the first steps that is not yet the variance.
    squares = torch.where(warm, clipped - new_mean, clipped - mean) * (clipped - new_mean)
    new_variance = variance + weight * (squares - variance)
    latest = {"mean_norm": new_mean, "variance_of_norm": new_variance}
    return at_most_one(clipped, norm), _unless(norm == 0.0, memory, latest)


def _unless(nothing: Tensor, memory: Memory, latest: Memory) -> Memory:
  """The latest memory and a count of one more, or all as it was."""
  latest = {**latest, "norms_seen": memory["norms_seen"] + 1.0}
  return {name: torch.where(nothing, memory[name], value) for name, value in latest.items()}


def at_most_one(limit: Tensor | float, norm: Tensor) -> Tensor:
  """min(1, limit / norm), 1 where the norm is 0."""
  over = norm > limit
  return torch.where(over, limit / torch.where(over, norm, 1.0), 1.0).to(norm.dtype)


def _squares(tensors: Tensors) -> Tensor:
  """‖x‖₂² of each, in float64, where those of float32 and less do not overflow."""
  wide = torch.promote_types(tensors[0].dtype, torch.float32)
  return torch.stack(torch._foreach_norm(tensors, 2, wide)).double().square()


def _lengths(tensor: Tensor) -> Tensor:
  """‖x‖₂ of each row, [rows, 1, ...], or of a whole vector."""
  axes = tuple(range(1, tensor.dim())) if tensor.dim() > 1 else None
  return torch.linalg.vector_norm(tensor, dim=axes, keepdim=tensor.dim() > 1)


def _operator_norm(matrix: Tensor) -> Tensor:
  """Scalar, about the largest singular value of [n, m]; never above it."""
  # Of fixed random numbers, which no structure of a layer is at right angles to.
  start = torch.from_numpy(np.random.default_rng(0).normal(size=matrix.shape[0]))
  left = _of_length_one(start.to(matrix))
  for _ in range(POWER_STEPS):
    right = _of_length_one(left @ matrix)
    left = _of_length_one(matrix @ right)
  return torch.linalg.vector_norm(left @ matrix)


def _of_length_one(vector: Tensor) -> Tensor:
  norm = torch.linalg.vector_norm(vector)
  return vector / torch.where(norm == 0.0, 1.0, norm)


# The optimizer.


@dataclasses.dataclass
class _Part:
  """What a step moves of one parameter: all of it, or the rows that a sparse gradient touches."""

  parameter: Tensor
  weights: Tensor
  gradient: Tensor
  slots: dict[str, Tensor]
  rows: Tensor | None  # of the parameter, int64

  def split(self, in_pieces: bool) -> Iterator[tuple[Tensor, Tensor, dict[str, Tensor]]]:
    """(weights, gradient, slots) of some rows at a time; a vector and a small part are whole.

    On an accelerator a part is whole too: there, many pieces would be many launches.
    """
    rows, size = len(self.weights) if self.weights.dim() else 1, self.weights.numel()
    if not in_pieces or self.weights.device.type != "cpu" or self.weights.dim() < 2:
      at_once = rows
    else:
      at_once = max(1, PIECE * rows // size)
    if at_once >= rows:
      yield self.weights, self.gradient, self.slots
      return
    slots = {name: slot.split(at_once) for name, slot in self.slots.items()}
    for k, (w, g) in enumerate(
      zip(self.weights.split(at_once), self.gradient.split(at_once), strict=True)
    ):
      yield w, g, {name: pieces[k] for name, pieces in slots.items()}


@dataclasses.dataclass
class _Bundle:
  """Pieces of one type on one device, which are worked on together."""

  owners: list[int] = dataclasses.field(default_factory=list)  # the part of each piece
  weights: Tensors = dataclasses.field(default_factory=list)
  gradients: Tensors = dataclasses.field(default_factory=list)
  slots: Slots = dataclasses.field(default_factory=dict)
  unit_factors: Tensors | None = None  # σ, of a clip that judges by units
  made: tuple[Tensors, Slots] | None = None  # direction and new slots, where they are kept


def _bundles(parts: Sequence[_Part], in_pieces: bool) -> list[_Bundle]:
  bundles: list[_Bundle] = []
  kind, filled = None, 0
  for number, part in enumerate(parts):
    for weights, gradient, slots in part.split(in_pieces):
      filled += weights.numel()
      is_full = weights.device.type == "cpu" and filled > 2 * PIECE
      if is_full or kind != (weights.device, weights.dtype):
        bundles.append(_Bundle())
        kind, filled = (weights.device, weights.dtype), weights.numel()
      last = bundles[-1]
      last.owners.append(number)
      last.weights.append(weights)
      last.gradients.append(gradient)
      for name, slot in slots.items():
        last.slots.setdefault(name, []).append(slot)
  return bundles


class ClippedOptimizer(torch.optim.Optimizer):
  """A PyTorch optimizer made of a direction and a clip.

  A step whose loss (where a closure gives it) or any gradient is not finite, or whose squared
  gradients overflow the parameter's type, or whose learning rate is not finite, changes nothing
  but the counts `skipped_steps` and `skipped_in_a_row`. Gradients may be dense or, as those of
  `torch.nn.Embedding(sparse=True)`, sparse: with Sgd and Adagrad only the rows touched are read.

  Parameters have to be whole on every process, as under DistributedDataParallel.

  Args:
    params: parameters or groups of them. A group may have a direction, clip, lr, accumulate and
      scope of its own; see `tables_apart` for one that leaves embedding tables unclipped.
    direction: keeps the slots and makes r of the gradient.
    clip: makes σ.
    lr: the learning rate η; a scheduler of PyTorch may change it.
    accumulate: what the direction's slots see when the clip acts on gradients: the "clipped"
      gradient as in the methods' own papers, or the "original" one.
    scope: "layer" for one σ per parameter, "global" for one σ for all with the same clip.

  Raises ValueError for an argument that it cannot have.
  """

  def __init__(
    self,
    params: Iterable[Any],
    direction: Direction,
    clip: Clip,
    lr: float = 0.1,
    accumulate: Literal["clipped", "original"] = "clipped",
    scope: Literal["layer", "global"] = "layer",
  ):
    defaults = {
      "lr": lr,
      "direction": direction,
      "clip": clip,
      "accumulate": accumulate,
      "scope": scope,
      "steps": 0,
      "skipped_steps": 0,
      "skipped_in_a_row": 0,
    }
    super().__init__(params, defaults)

  def add_param_group(self, param_group: dict[str, Any]) -> None:
    """Adds parameters. Raises ValueError for a setting that they cannot have."""
    _check_group({**self.defaults, **param_group})
    super().add_param_group(param_group)
    first = self.param_groups[0]
    for count in ("skipped_steps", "skipped_in_a_row"):
      self.param_groups[-1][count] = first[count]

  @property
  def skipped_steps(self) -> int:
    """How many steps were not finite."""
    return int(self.param_groups[0]["skipped_steps"])

  @property
  def skipped_in_a_row(self) -> int:
    """How many of the last steps were not finite."""
    return int(self.param_groups[0]["skipped_in_a_row"])

  def clipping_factors(self) -> dict[Tensor, float]:
    """σ of each parameter in the last step that moved it; of unit-wise AGC the smallest."""
    return {
      parameter: self.state[parameter]["clipping_factor"]
      for group in self.param_groups
      for parameter in group["params"]
      if "clipping_factor" in self.state.get(parameter, {})
    }

  @torch.no_grad()
  def step(self, closure: Callable[[], Any] | None = None) -> Any:
    """One step; returns the closure's loss.

    Raises ValueError for a gradient or parameter of a kind that it cannot take.
    """
    loss = None
    if closure is not None:
      with torch.enable_grad():
        loss = closure()
    groups = [_Group(group, self._parts(group)) for group in self.param_groups]
    groups = [group for group in groups if group.parts]
    finite = loss is None or math.isfinite(float(loss))
    for group in groups:
      finite = group.measure() and finite
    for group in groups:
      finite = finite and group.decide(groups, self.state)
    for group in groups if finite else ():
      group.write(self.state)
    for settings in self.param_groups:
      settings["steps"] += int(finite)
      settings["skipped_steps"] += int(not finite)
      settings["skipped_in_a_row"] = 0 if finite else settings["skipped_in_a_row"] + 1
    return loss

  def _parts(self, group: Mapping[str, Any]) -> list[_Part]:
    """What a step moves of a group; parameters without gradient are left alone."""
    parts = []
    for parameter in group["params"]:
      if parameter.grad is None or parameter.numel() == 0:
        continue
      _check_parameter(parameter)
      state, direction = self.state[parameter], group["direction"]
      for name, value in direction.initial_slots().items():
        if name not in state:
          state[name] = torch.full_like(
            parameter, value, memory_format=torch.preserve_format, requires_grad=False
          )
      for name, value in group["clip"].initial_memory().items():
        state.setdefault(name, value)
      slots = {name: state[name] for name in direction.initial_slots()}
      part = _Part(parameter, parameter, parameter.grad, slots, None)
      if parameter.grad.is_sparse:
        part = _rows_touched(part) if direction.is_row_wise else _made_dense(part)
      if part.weights.numel():
        parts.append(part)
    return parts

  def state_dict(self) -> dict[str, Any]:
    """Plain values and tensors, so that `torch.load` needs to know no class of ours."""
    made = super().state_dict()
    for group in made["param_groups"]:
      for kind in ("direction", "clip"):
        setting = group[kind]
        group[kind] = {type(setting).__name__: dataclasses.asdict(setting)}
    return made

  def load_state_dict(self, state_dict: dict[str, Any]) -> None:
    """The inverse of `state_dict`. Raises ValueError for a clip or direction that is unknown."""
    groups = [
      {
        **group,
        "direction": _made("direction", Direction, group["direction"]),
        "clip": _made("clip", Clip, group["clip"]),
      }
      for group in state_dict["param_groups"]
    ]
    super().load_state_dict({**state_dict, "param_groups": groups})


class _Group:
  """A step of one group of parameters."""

  def __init__(self, settings: dict[str, Any], parts: list[_Part]):
    self.settings, self.parts = settings, parts
    self.direction: Direction = settings["direction"]
    self.clip: Clip = settings["clip"]
    self.rate, self.step = float(settings["lr"]), settings["steps"] + 1
    self.clips_gradients = self.clip.acts_on == "gradient"
    self.bundles = _bundles(parts, self.clip.in_pieces)
    self.owners = torch.tensor([owner for bundle in self.bundles for owner in bundle.owners])
    self.measures: Measures = {}
    self.factors = torch.ones(len(parts), **SCALARS)
    self.memory: Memory = {}
    self.largest: set[str] = set()  # measures that join by the largest, not the sum

  def measure(self) -> bool:
    """Fills `measures`; whether every gradient is finite, and its square in its type."""
    scales = self._scales() if self.clip.needs_scale else []
    found: dict[str, Tensors] = {"gradient": [_squares(b.gradients) for b in self.bundles]}
    for bundle in self.bundles:
      acts_on, preconditioners = bundle.gradients, []
      if not self.clips_gradients:
        acts_on, slots = made = self._move(bundle, bundle.gradients)
        bundle.made = made if len(self.bundles) <= KEPT else None
        if self.clip.needs_preconditioner:
          preconditioners = self.direction.preconditioner(bundle.slots, slots)
      bundle.unit_factors = self.clip.factors_of_units(bundle.weights, acts_on)
      about = About(
        self.rate,
        [scales[owner] for owner in bundle.owners] if scales else [],
        [self.parts[owner].parameter.grad.is_sparse for owner in bundle.owners],
        preconditioners,
      )
      for name, values in self.clip.measure(bundle.weights, acts_on, about).items():
        found.setdefault(name, []).append(values)
    self.largest = found.keys() - {"gradient"} if self.clip.joins == "largest" else set()
    self.measures = {
      name: self._joined(values, "largest" if name in self.largest else "sum")
      for name, values in found.items()
    }
    most = torch.tensor([torch.finfo(part.weights.dtype).max for part in self.parts], **SCALARS)
    fits = bool((self.measures["gradient"] <= most).all())  # not, of what is no number
    fits &= not any(bool(values.isnan().any()) for values in self.measures.values())
    self.measures["size"] = torch.tensor([part.weights.numel() for part in self.parts], **SCALARS)
    return fits and abs(self.rate) <= LARGEST_RATE

  def decide(self, groups: Sequence["_Group"], state: Mapping[Tensor, Mapping[str, Any]]) -> bool:
    """Fills `factors` and `memory`; whether what multiplies the direction is finite."""
    of_units = [factors for bundle in self.bundles for factors in bundle.unit_factors or ()]
    if of_units:
      self.factors = self._joined([factors.min()[None] for factors in of_units], "smallest")
      return bool((self.rate * self.factors).isfinite().all())
    alike = [group.measures for group in groups if group.clip == self.clip]
    everywhere = {name: torch.cat([each[name] for each in alike]) for name in self.measures}
    everywhere = {
      name: values.max() if name in self.largest else values.sum()
      for name, values in everywhere.items()
    }
    own = self.measures
    if self.settings["scope"] == "global":
      own = {name: value.expand(len(self.parts)) for name, value in everywhere.items()}
    memory = {
      name: torch.tensor([state[part.parameter][name] for part in self.parts], **SCALARS)
      for name in self.clip.initial_memory()
    }
    self.factors, self.memory = self.clip.factor_and_memory(own, everywhere, memory)
    return bool((self.rate * self.factors).isfinite().all())

  def write(self, state: Mapping[Tensor, dict[str, Any]]) -> None:
    """Moves weights and slots."""
    factors = self.factors.tolist()
    memory = {name: values.tolist() for name, values in self.memory.items()}
    for number, part in enumerate(self.parts):
      state[part.parameter]["clipping_factor"] = factors[number]
      state[part.parameter].update({name: values[number] for name, values in memory.items()})
    clips_first = self.clips_gradients and self.settings["accumulate"] == "clipped"
    for bundle in self.bundles:
      own: Any = bundle.unit_factors
      if own is None:
        own = [factors[owner] for owner in bundle.owners]
      if clips_first:
        clipped = bundle.gradients
        if not isinstance(self.clip, NoClip):
          clipped = torch._foreach_mul(clipped, own)
        direction, slots = self._move(bundle, clipped)
      else:
        direction, slots = bundle.made or self._move(bundle, bundle.gradients)
        if self.direction.accumulates_after and self.settings["accumulate"] == "clipped":
          _, slots = self._move(bundle, torch._foreach_mul(bundle.gradients, own))
        direction = torch._foreach_mul(direction, own)
      for name, values in slots.items():
        torch._foreach_copy_(bundle.slots[name], values)
      torch._foreach_sub_(bundle.weights, direction, alpha=self.rate)
    for part in self.parts:
      if part.rows is not None:
        part.parameter.index_copy_(0, part.rows, part.weights)
        for name, slot in part.slots.items():
          state[part.parameter][name].index_copy_(0, part.rows, slot)

  def _move(self, bundle: _Bundle, gradients: Tensors) -> tuple[Tensors, Slots]:
    return self.direction.move(gradients, bundle.slots, bundle.weights, self.step)

  def _scales(self) -> list[float]:
    """RMS(w) of every part."""
    squares = [_squares(bundle.weights) for bundle in self.bundles]
    sizes = torch.tensor([part.weights.numel() for part in self.parts], **SCALARS)
    scales: list[float] = (self._joined(squares, "sum") / sizes).sqrt().tolist()
    return scales

  def _joined(self, of_pieces: Tensors, joins: str) -> Tensor:
    """Numbers of all pieces as numbers of the parts, float64 on the host."""
    numbers = torch.cat([number.double().cpu() for number in of_pieces])
    start, reduce = JOINS[joins]
    joined = torch.full([len(self.parts)], start, **SCALARS)
    return joined.scatter_reduce_(0, self.owners, numbers, reduce)


def tables_apart(model: torch.nn.Module) -> list[dict[str, Any]]:
  """Two groups for an optimizer: a model's embedding tables, without a clip, and all the rest."""
  kinds = (torch.nn.Embedding, torch.nn.EmbeddingBag)
  tables = {
    parameter
    for module in model.modules()
    if isinstance(module, kinds)
    for parameter in module.parameters(recurse=False)
  }
  rest = [parameter for parameter in model.parameters() if parameter not in tables]
  apart = [parameter for parameter in model.parameters() if parameter in tables]
  groups: list[dict[str, Any]] = [{"params": rest}, {"params": apart, "clip": NoClip()}]
  return [group for group in groups if group["params"]]


def _rows_touched(part: _Part) -> _Part:
  """The rows of a table that a sparse gradient has, each once."""
  gradient = part.gradient.coalesce()
  if gradient.sparse_dim() != 1:
    raise ValueError(
      f"a sparse gradient of shape {tuple(gradient.shape)} has {gradient.sparse_dim()} sparse "
      "axes; make it one of rows, or dense"
    )
  rows = gradient.indices()[0]
  slots = {name: slot[rows] for name, slot in part.slots.items()}
  return _Part(part.parameter, part.parameter[rows], gradient.values(), slots, rows)


def _made_dense(part: _Part) -> _Part:
  """A table all of whose rows move."""
  return dataclasses.replace(part, gradient=part.gradient.to_dense())


def _check_parameter(parameter: Tensor) -> None:
  if not parameter.is_floating_point():
    raise ValueError(f"a parameter is of {parameter.dtype}; make it one of a real floating type")
  if hasattr(parameter, "full_tensor") or type(parameter).__name__ == "FlatParameter":
    raise ValueError(
      "a parameter is sharded over processes, so that its norms are not known here; use "
      "DistributedDataParallel, which keeps it whole"
    )


def _check_group(group: Mapping[str, Any]) -> None:
  for kind, base in (("direction", Direction), ("clip", Clip)):
    if not isinstance(group[kind], base):
      raise ValueError(f"{kind} is {group[kind]!r}; make it a {kind} of this module, an object")
  for name, known in (("accumulate", ("clipped", "original")), ("scope", ("layer", "global"))):
    if group[name] not in known:
      raise ValueError(f'{name} is {group[name]!r}; make it "{known[0]}" or "{known[1]}"')
  if not float(group["lr"]) >= 0.0:
    raise ValueError(f"lr is {group['lr']!r}; make it a number that is not negative")
  clip = group["clip"]
  of_units = isinstance(clip, AdaptiveGradientClipping) and clip.unit != "layer"
  if group["scope"] == "global" and of_units:
    raise ValueError('scope="global" needs norms of whole parameters; give AGC unit="layer"')


def _made(kind: str, base: type[Any], described: Any) -> Any:
  """The direction or clip that a state_dict describes as {name: settings}."""
  if isinstance(described, base):
    return described
  ((name, settings),) = described.items()
  kinds = {each.__name__: each for each in _kinds(base)}
  if name not in kinds:
    raise ValueError(f"no {kind} {name!r} is known; import the module that defines it")
  return kinds[name](**settings)


def _kinds(base: type[Any]) -> list[type[Any]]:
  """A class's subclasses, theirs included."""
  return [kind for child in base.__subclasses__() for kind in (child, *_kinds(child))]
