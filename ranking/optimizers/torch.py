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
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

Own = TypeVar("Own", bound="Clip")
Slots = dict[str, Tensor]
Measures = dict[str, Tensor]  # float64 on the host, a number for each part of a parameter
Memory = dict[str, Tensor]  # likewise

SHARES = ("decay", "momentum", "beta_1", "beta_2")  # of the past in an average
STEPPED = ("threshold", "multiplier")  # in the names of numbers that may be a Ramp
PIECE = 1 << 17  # elements; with what is made of it on the way, a piece stays in a CPU's cache
SMALL = 1 << 16  # elements; up to so many, parameters are worked on in a row with others,
TOGETHER = 1 << 19  # which is about so long
KEPT = 8  # bundles; what the measuring of so few has made is kept for writing
POWER_STEPS = 4
QUINTIC = (3.4445, -4.7750, 2.0315)  # of Muon's authors, steep at 0
NEWTON_SCHULZ_STEPS = 5
SURELY_POSITIVE = 1e-37  # an epsilon from which on nothing is divided by 0, in float32
SCALARS: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
LARGEST_RATE = 1e19  # whose square is finite in float32
JOINS = {"sum": (0.0, "sum"), "largest": (-math.inf, "amax")}


def _check(settings: Any) -> None:
  """Raises ValueError if a numeric field of a dataclass is negative, none, or no share of 1."""
  for field in dataclasses.fields(settings):
    if not isinstance(field.default, (int, float)) or isinstance(field.default, bool):
      continue
    value, name = getattr(settings, field.name), f"{type(settings).__name__}.{field.name}"
    may_be_ramp = isinstance(settings, Clip) and any(word in field.name for word in STEPPED)
    if isinstance(value, Ramp) and may_be_ramp:
      continue
    _check_number(name, value)
    if field.name in SHARES and value >= 1:
      raise ValueError(f"{name} is {value!r}; make it at least 0 and less than 1")


def _check_number(name: str, value: Any) -> None:
  is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
  if not (is_number and 0 <= value < math.inf):
    raise ValueError(f"{name} is {value!r}; make it a finite number that is not negative")


def _check_whole(name: str, value: Any) -> None:
  if not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
    raise ValueError(f"{name} is {value!r}; make it a whole number, 1 or more")


# Directions r: what the slots make of a gradient, before any clipping or learning rate.


@dataclasses.dataclass(frozen=True)
class Direction:
  """Base of all directions: a frozen dataclass of settings with a pure `move`."""

  in_pieces: ClassVar[bool] = True  # or it has to see a parameter whole, in its shape

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

  def slot_like(self, parameter: Tensor) -> Tensor:
    """A tensor of the shape that slots of a parameter have.

    Raises ValueError for a parameter that this direction is not for.
    """
    return parameter

  def move(
    self, gradient: Tensor, slots: Slots, weights: Tensor, step: int
  ) -> tuple[Tensor, Slots]:
    """(r, new slots), finite where the gradient is; writes to none of its arguments.

    All are float32 or float64, and of one shape but for slots that `slot_like` says otherwise of.
    `step` is 1 for the first.
    """
    raise NotImplementedError

  def preconditioner(self, slots: Slots, new_slots: Slots) -> Tensor:
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
    self, gradient: Tensor, slots: Slots, weights: Tensor, step: int
  ) -> tuple[Tensor, Slots]:
    """See `Direction`."""
    if not self.momentum:
      return gradient, slots
    velocity = (self.momentum * slots["velocity"]).add_(gradient)
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
    self, gradient: Tensor, slots: Slots, weights: Tensor, step: int
  ) -> tuple[Tensor, Slots]:
    """See `Direction`."""
    kept = slots["accumulator"] if self.keep == 1 else self.keep * slots["accumulator"]
    accumulator = torch.addcmul(kept, gradient, gradient)
    # At the largest number there is, rather than infinite, a weight would still move.
    new_slots = {"accumulator": accumulator.clamp_(max=torch.finfo(accumulator.dtype).max)}
    root = self._root(slots, new_slots)
    return torch.div(gradient, root, out=root), new_slots

  def preconditioner(self, slots: Slots, new_slots: Slots) -> Tensor:
    """1 / sqrt(G + epsilon), 0 where that is infinite."""
    return self._root(slots, new_slots).reciprocal_()

  def _root(self, slots: Slots, new_slots: Slots) -> Tensor:
    kept = slots if self.accumulates_after else new_slots
    return _divisor((kept["accumulator"] + self.epsilon).sqrt_(), self.epsilon)


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
    self, gradient: Tensor, slots: Slots, weights: Tensor, step: int
  ) -> tuple[Tensor, Slots]:
    """See `Direction`."""
    first = (self.beta_1 * slots["first_moment"]).add_(gradient, alpha=1 - self.beta_1)
    second = self.beta_2 * slots["second_moment"]
    second.addcmul_(gradient, gradient, value=1 - self.beta_2)
    root = _divisor(second.sqrt().add_(self.epsilon), self.epsilon)
    direction = torch.div(first, root, out=root)
    direction *= math.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
    if self.weight_decay:
      direction.add_(weights, alpha=self.weight_decay)
    return direction, {"first_moment": first, "second_moment": second}


@dataclasses.dataclass(frozen=True)
class Spam(Direction):
  """SPAM (Huang et al. 2025, arXiv 2501.06842): Adam without spikes, and begun anew at times.

  A gradient with g² > spike_threshold · v is brought to sign(g) · sqrt(spike_threshold · v), before
  the moments see it. Every `reset_every` steps the moments are 0 again; the next
  `warmup_after_reset` steps are shorter, a share from 1 % to all along half a cosine, and spikes
  are looked for again `settling_steps` after. As in the authors' code, v is not corrected for its
  bias where spikes are judged, and the corrections in r do not begin anew.
  """

  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-6
  spike_threshold: float = 5000.0
  reset_every: int = 500
  warmup_after_reset: int = 150
  settling_steps: int = 20

  def __post_init__(self) -> None:
    super().__post_init__()
    _check_whole("Spam.reset_every", self.reset_every)

  @property
  def is_row_wise(self) -> bool:
    """A row without gradient goes on moving by its first moment."""
    return False

  def initial_slots(self) -> dict[str, float]:
    """The two moments."""
    return {"first_moment": 0.0, "second_moment": 0.0}

  def move(
    self, gradient: Tensor, slots: Slots, weights: Tensor, step: int
  ) -> tuple[Tensor, Slots]:
    """See `Direction`."""
    since = step % self.reset_every
    if since == 0:
      slots = {name: torch.zeros_like(slot) for name, slot in slots.items()}
    if since >= self.settling_steps:
      second = slots["second_moment"]
      largest = self.spike_threshold * second
      is_spike = (second > 0) & (gradient.square() > largest)  # v = 0 is no history to judge by
      gradient = torch.where(is_spike, gradient.sign() * largest.sqrt(), gradient)
    adam = Adam(self.beta_1, self.beta_2, self.epsilon)
    direction, slots = adam.move(gradient, slots, weights, step)
    if step >= self.reset_every and since < self.warmup_after_reset:
      done = (since + 1) / (self.warmup_after_reset + 1)
      direction *= 1 - 0.99 * (1 + math.cos(math.pi * done)) / 2
    return direction, slots


@dataclasses.dataclass(frozen=True)
class Muon(Direction):
  """The average of gradients, a matrix, with singular values of about 1 (Jordan et al. 2024).

  r = √max(1, n/m) · NewtonSchulz(g + momentum · (M − g)) for a weight [n, ...] as a matrix of n
  outputs and m inputs, with M ← M + (1 − momentum) · (g − M). For hidden layers: give tables,
  vectors and output layers a group with another direction, as its authors do. Raises ValueError for
  a vector.
  """

  momentum: float = 0.95
  in_pieces: ClassVar[bool] = False

  @property
  def is_row_wise(self) -> bool:
    """All rows of a matrix move together."""
    return False

  def initial_slots(self) -> dict[str, float]:
    """The average M."""
    return {"average": 0.0}

  def slot_like(self, parameter: Tensor) -> Tensor:
    """The parameter, if it is no vector."""
    if parameter.dim() < 2:
      raise ValueError(
        f"Muon is for matrices, and a parameter has the shape {tuple(parameter.shape)}; put it "
        "into a group with another direction, such as Adam()"
      )
    return parameter

  def move(
    self, gradient: Tensor, slots: Slots, weights: Tensor, step: int
  ) -> tuple[Tensor, Slots]:
    """See `Direction`."""
    average = torch.lerp(slots["average"], gradient, 1 - self.momentum)
    ahead = torch.lerp(gradient, average, self.momentum).flatten(1)
    outputs, inputs = ahead.shape
    scale = math.sqrt(max(1.0, outputs / inputs))
    return scale * _newton_schulz(ahead).reshape(weights.shape), {"average": average}


@dataclasses.dataclass(frozen=True)
class RowWiseAdagrad(Direction):
  """r = g / sqrt(G + epsilon), where a row's G is the sum of the means of its squared gradients.

  For large tables, whose slots would be as large as they. As EXACT_ROWWISE_ADAGRAD of FBGEMM and
  TorchRec, which start G at 0 and divide by sqrt(G) + epsilon. r is 0 where G + epsilon is.
  """

  initial_accumulator_value: float = 0.1
  epsilon: float = 1e-7
  in_pieces: ClassVar[bool] = False

  def initial_slots(self) -> dict[str, float]:
    """G, a number for each row."""
    return {"row_accumulator": self.initial_accumulator_value}

  def slot_like(self, parameter: Tensor) -> Tensor:
    """[rows]."""
    return parameter.flatten(1)[:, 0] if parameter.dim() > 1 else parameter

  def move(
    self, gradient: Tensor, slots: Slots, weights: Tensor, step: int
  ) -> tuple[Tensor, Slots]:
    """See `Direction`."""
    total, square = slots["row_accumulator"], gradient.square()
    total = total + (square.flatten(1).mean(1) if square.dim() > 1 else square)
    total.clamp_(max=torch.finfo(total.dtype).max)
    root = _divisor((total + self.epsilon).sqrt_(), self.epsilon)
    root = root.reshape(root.shape + (1,) * (gradient.dim() - root.dim()))
    return gradient / root, {"row_accumulator": total}


def _newton_schulz(matrix: Tensor) -> Tensor:
  """The matrix [n, m] with singular values of about 1; 0 of one that is 0."""
  is_tall = matrix.shape[0] > matrix.shape[1]
  x = _of_length_one(matrix.T if is_tall else matrix)
  a, b, c = QUINTIC
  for _ in range(NEWTON_SCHULZ_STEPS):
    square = x @ x.T
    x = a * x + (b * square + c * square @ square) @ x
  return x.T if is_tall else x


def _divisor(root: Tensor, epsilon: float) -> Tensor:
  """Infinite where 0, which an epsilon of some size rules out, so that nothing is left."""
  return root if epsilon >= SURELY_POSITIVE else torch.where(root == 0.0, math.inf, root)


# Clips: how much of a step is let through.


@dataclasses.dataclass(frozen=True)
class Ramp:
  """A threshold of a clip that goes in a line from `first` to `last` over so many steps taken.

  Raises ValueError for a number that is negative, or no steps.
  """

  first: float
  last: float
  steps: int

  def __post_init__(self) -> None:
    for name in ("first", "last"):
      _check_number(f"Ramp.{name}", getattr(self, name))
    _check_whole("Ramp.steps", self.steps)

  def __call__(self, step: int) -> float:
    """The threshold in a step: in the first, which is 1, `first`; after `steps` of them `last`."""
    return self.last + (self.first - self.last) * max(0.0, 1 - (step - 1) / self.steps)


@dataclasses.dataclass
class Bundle:
  """What a step works on at a time: a large piece of a parameter, or many small ones in a row.

  Numbers of a bundle are float64 [pieces]. Half precision is worked on in float32.
  """

  owners: list[int]  # the part of each piece
  is_of_rows: list[bool]  # whether each is of rows of a table
  targets: list[Tensor]  # pieces of weights, to be written
  sizes: list[int]  # their elements
  weights: Tensor  # of the one piece's shape, or a vector
  gradient: Tensor  # likewise, as the slots
  slots: Slots
  rate: float  # η
  scales: Sequence[float] = ()  # RMS(w) of the parameter of each, for a clip that needs it
  preconditioner: Tensor | None = None  # what gradients were multiplied with, where it is needed
  made: tuple[Tensor, Slots] | None = None  # direction and new slots, where they are kept

  def vectors(self, tensor: Tensor) -> Sequence[Tensor]:
    """Views of a tensor, one for each piece; a vector if there are several."""
    return [tensor] if len(self.sizes) == 1 else tensor.split(self.sizes)

  def pieces(self, tensor: Tensor) -> Sequence[Tensor]:
    """Views of a tensor, one for each piece in its shape."""
    if len(self.sizes) == 1:
      return [tensor]
    views: Sequence[Tensor] = torch._utils._unflatten_dense_tensors(tensor, self.targets)
    return views

  def squares(self, tensor: Tensor) -> Tensor:
    """‖x‖₂² of each piece, without overflow of its float32."""
    return torch.stack(torch._foreach_norm(self.vectors(tensor))).double().square()

  def largest(self, tensor: Tensor) -> Tensor:
    """The largest number of each piece."""
    return torch.stack(torch._foreach_max(self.vectors(tensor))).double()

  def times(self, factor: Any, tensor: Tensor) -> Tensor:
    """A tensor by σ: a list of one for each piece, or a tensor of one for each element."""
    if isinstance(factor, Tensor) or len(factor) == 1:
      return tensor * (factor if isinstance(factor, Tensor) else factor[0])
    made = tensor.clone()
    torch._foreach_mul_(self.vectors(made), factor)
    return made

  def move(self, factor: Any, direction: Tensor) -> None:
    """Subtracts η·σ·r; σ as in `times`."""
    if isinstance(factor, Tensor) or self.targets[0].dtype != direction.dtype:
      moved = self.weights.sub(self.times(factor, direction), alpha=self.rate)
      torch._foreach_copy_(self.targets, self.pieces(moved))
    elif min(factor) == max(factor):
      torch._foreach_sub_(self.targets, self.pieces(direction), alpha=self.rate * factor[0])
    else:
      ones = [torch.ones((), dtype=direction.dtype, device=direction.device)] * len(factor)
      by = [-self.rate * each for each in factor]
      torch._foreach_addcmul_(self.targets, self.pieces(direction), ones, by)


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

  def at(self: Own, step: int) -> Own:
    """Itself in one step, with numbers for what is a Ramp."""
    values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    ramps = {name: ramp(step) for name, ramp in values.items() if isinstance(ramp, Ramp)}
    return dataclasses.replace(self, **ramps) if ramps else self

  @property
  def needs_preconditioner(self) -> bool:
    """Whether it is given 1/√G of Adagrad."""
    return False

  def measure(self, tensor: Tensor, bundle: Bundle) -> dict[str, Tensor]:
    """By name a number for each piece; "size" is known besides.

    Args:
      tensor: what the clip acts on, shaped like the bundle's weights.
      bundle: more of the pieces.
    """
    return {}

  def factor(self, measures: Measures) -> Tensor:
    """σ of each parameter."""
    raise NotImplementedError

  def initial_memory(self) -> dict[str, float]:
    """Numbers kept of each parameter from step to step, and what they start with."""
    return {}

  def factor_and_memory(
    self, own: Measures, everywhere: Measures, memory: Memory
  ) -> tuple[Tensor, Memory]:
    """(σ, new memory) of each parameter. A clip with memory overrides this one.

    Args:
      own: measures of the parameters; with one σ for all, of all.
      everywhere: measures of all parameters with this clip and scope, joined.
      memory: by name.
    """
    return self.factor(own), memory


@dataclasses.dataclass(frozen=True)
class NoClip(Clip):
  """σ = 1."""

  acts_on: ClassVar[Literal["gradient", "direction"]] = "gradient"

  def factor(self, measures: Measures) -> Tensor:
    """1."""
    return torch.ones_like(measures["size"])


@dataclasses.dataclass(frozen=True)
class _OfGradients(Clip):
  """What those that judge gradients by their length measure."""

  acts_on: ClassVar[Literal["gradient", "direction"]] = "gradient"

  def measure(self, tensor: Tensor, bundle: Bundle) -> dict[str, Tensor]:
    """‖g‖₂²."""
    return {"gradient": bundle.squares(tensor)}


@dataclasses.dataclass(frozen=True)
class GradientClipping(_OfGradients):
  """σ = min(1, threshold / ‖g‖₂)."""

  threshold: float = 1e-1

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

  def measure(self, tensor: Tensor, bundle: Bundle) -> dict[str, Tensor]:
    """‖w‖₂² and ‖g‖₂² of layers."""
    if self.unit == "output":
      return {}
    return {"weights": bundle.squares(bundle.weights), "gradient": bundle.squares(tensor)}

  def factor(self, measures: Measures) -> Tensor:
    """In [0, 1]."""
    limit = self.threshold * measures["weights"].sqrt().clamp(min=self.epsilon)
    return at_most_one(limit, measures["gradient"].sqrt())

  def factors_of_units(self, tensor: Tensor, bundle: Bundle) -> Tensor:
    """σ of the unit of every element, in [0, 1], to multiply with."""
    factors = [
      at_most_one(self.threshold * _lengths(w).clamp(min=self.epsilon), _lengths(x))
      for w, x in zip(bundle.pieces(bundle.weights), bundle.pieces(tensor), strict=True)
    ]
    if len(factors) == 1:
      return factors[0]
    pairs = zip(factors, bundle.targets, strict=True)
    return torch.cat([factor.expand(target.shape).reshape(-1) for factor, target in pairs])


@dataclasses.dataclass(frozen=True)
class Lamb(Clip):
  """σ = multiplier · ‖w‖₂ / ‖r‖₂, and the multiplier alone where a norm is 0 (You et al. 2020)."""

  multiplier: float = 1e-2
  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

  def measure(self, tensor: Tensor, bundle: Bundle) -> dict[str, Tensor]:
    """‖w‖₂² and ‖r‖₂²."""
    return {"weights": bundle.squares(bundle.weights), "direction": bundle.squares(tensor)}

  def factor(self, measures: Measures) -> Tensor:
    """Positive; unlike the other factors it may exceed 1."""
    weights, direction = measures["weights"].sqrt(), measures["direction"].sqrt()
    zero = (weights == 0.0) | (direction == 0.0)
    return self.multiplier * torch.where(zero, 1.0, weights / torch.where(zero, 1.0, direction))


class _Excess(Clip):
  """Base of the clips that measure a step as a multiple of its limit, the "excess"."""

  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"
  joins: ClassVar[Literal["sum", "largest"]] = "largest"

  def factor(self, measures: Measures) -> Tensor:
    """In [0, 1]; 0 only where the limit is and something would move."""
    return 1.0 / measures["excess"].clamp(min=1.0)


class LimitedMoves(_Excess):
  """Base of the clips whose σ = min(1, min over coordinates of limit(w) / (η·|r|))."""

  def limit(self, bundle: Bundle) -> Tensor:
    """The farthest that a step may move each coordinate."""
    raise NotImplementedError

  def measure(self, tensor: Tensor, bundle: Bundle) -> dict[str, Tensor]:
    """The largest r of a coordinate as a multiple of its limit, times η."""
    # Not 0, so that what does not move is 0 and not 0 / 0.
    limit = self.limit(bundle).clamp_(min=torch.finfo(tensor.dtype).tiny)
    largest = bundle.largest(torch.div(tensor, limit, out=limit).abs_())
    # Not infinite, so that a rate of 0 times it is 0.
    return {"excess": bundle.rate * largest.clamp(max=torch.finfo(torch.float64).max)}


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
    return self.accumulator_threshold != 0.0

  def limit(self, bundle: Bundle) -> Tensor:
    """relative·|w| + absolute, and the third part."""
    limit = bundle.weights.abs().mul_(self.relative_threshold).add_(self.absolute_threshold)
    if bundle.preconditioner is not None:
      limit.add_(bundle.preconditioner, alpha=self.accumulator_threshold)
    return limit


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

  def limit(self, bundle: Bundle) -> Tensor:
    """relative·|w| + layer·max(RMS(w), epsilon)."""
    shares = [self.layer_threshold * max(scale, self.epsilon) for scale in bundle.scales]
    limit = bundle.weights.abs().mul_(self.relative_threshold)
    torch._foreach_add_(bundle.vectors(limit), shares)
    return limit


@dataclasses.dataclass(frozen=True)
class OperatorNorm(_Excess):
  """σ = min(1, threshold · max(RMS(w), epsilon) · (√m + √n) / (η · ‖r‖)), ‖r‖ the operator norm.

  A weight [n, ...] is a matrix of n outputs and m inputs; a vector or scalar of n numbers has the
  limit threshold · max(RMS(w), epsilon) · √n and the Euclidean norm. The operator norm is found by
  power iteration, and so from below.
  """

  threshold: float = 0.03
  epsilon: float = 1e-3
  in_pieces: ClassVar[bool] = False
  needs_scale: ClassVar[bool] = True

  def measure(self, tensor: Tensor, bundle: Bundle) -> dict[str, Tensor]:
    """The length of the step as a multiple of its limit."""
    excess = []
    for piece, scale, of_rows in zip(
      bundle.pieces(tensor), bundle.scales, bundle.is_of_rows, strict=True
    ):
      limit = self.threshold * max(scale, self.epsilon)
      if piece.dim() < 2:
        norm, width = torch.linalg.vector_norm(piece), math.sqrt(piece.numel())
      else:
        matrix = piece.flatten(1).T if of_rows else piece.flatten(1)
        norm, width = _operator_norm(matrix), sum(map(math.sqrt, matrix.shape))
      step = bundle.rate * norm.double()
      excess.append(torch.where(step == 0.0, 0.0, step / (limit * width)))
    return {"excess": torch.stack(excess)}


@dataclasses.dataclass(frozen=True)
class RmsClip(Clip):
  """σ = min(1, threshold / RMS(r)): Adafactor's update clipping (Shazeer & Stern 2018)."""

  threshold: float = 1.0
  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

  def measure(self, tensor: Tensor, bundle: Bundle) -> dict[str, Tensor]:
    """‖r‖₂²."""
    return {"direction": bundle.squares(tensor)}

  def factor(self, measures: Measures) -> Tensor:
    """In [0, 1]."""
    return at_most_one(self.threshold, (measures["direction"] / measures["size"]).sqrt())


@dataclasses.dataclass(frozen=True)
class AdaGC(_OfGradients):
  """σ = min(1, relative_threshold · γ / ‖g‖₂), γ an average of clipped norms (arXiv 2502.11034).

  γ ← decay · γ + (1 − decay) · σ‖g‖₂ for each parameter. In its first `warmup_steps` the gradient
  of all parameters together is clipped to `absolute_threshold` and γ is the smallest norm so far.
  A clipped norm of `epsilon` or less is neither remembered nor counted.
  """

  relative_threshold: float = 1.04
  absolute_threshold: float = 1.0
  decay: float = 0.99
  warmup_steps: int = 100
  epsilon: float = 1e-6

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
    return factor, _unless(clipped <= self.epsilon, memory, latest)


@dataclasses.dataclass(frozen=True)
class ZClip(_OfGradients):
  """A norm more than `threshold` deviations above its mean is brought near it (arXiv 2504.02507).

  With z = (‖g‖₂ − mean) / deviation > threshold, σ‖g‖₂ = mean + threshold² / z · deviation. Mean
  and variance are averages with weight `decay` on the past, of clipped norms; over the first
  `warmup_steps`, which are not clipped, plain ones. A norm of `epsilon` or less, which is added to
  deviations, is neither remembered nor counted. The authors judge the norm of all parameters
  together (scope="global").
  """

  threshold: float = 2.5
  decay: float = 0.97
  warmup_steps: int = 25
  epsilon: float = 1e-6

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
    return at_most_one(clipped, norm), _unless(norm <= self.epsilon, memory, latest)


def _unless(nothing: Tensor, memory: Memory, latest: Memory) -> Memory:
  """The latest memory and a count of one more, or all as it was."""
  latest = {**latest, "norms_seen": memory["norms_seen"] + 1.0}
  return {name: torch.where(nothing, memory[name], value) for name, value in latest.items()}


def at_most_one(limit: Tensor | float, norm: Tensor) -> Tensor:
  """min(1, limit / norm), 1 where the norm is 0."""
  over = norm > limit
  return torch.where(over, limit / torch.where(over, norm, 1.0), 1.0).to(norm.dtype)


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


@dataclasses.dataclass(slots=True)
class _Part:
  """What a step moves of one parameter: all of it, or the rows that a sparse gradient touches."""

  number: int  # its place among all parts
  parameter: Tensor
  state: dict[str, Any]  # all that is kept of the parameter
  weights: Tensor
  size: int  # their elements
  gradient: Tensor
  slots: Slots
  is_of_rows: bool  # whether the gradient came sparse
  rows: Tensor | None = None  # of the parameter, int64, where the others stay

  def split(self) -> Iterator["_Part"]:
    """Some rows at a time; a vector is whole.

    On an accelerator a part is whole too: there, many pieces would be many launches.
    """
    if not self.weights.is_cpu or self.weights.dim() < 2:
      yield self
      return
    at_once = max(1, PIECE * len(self.weights) // self.size)
    slots = {name: slot.split(at_once) for name, slot in self.slots.items()}
    for k, (w, g) in enumerate(
      zip(self.weights.split(at_once), self.gradient.split(at_once), strict=True)
    ):
      own = {name: pieces[k] for name, pieces in slots.items()}
      yield dataclasses.replace(self, weights=w, size=w.numel(), gradient=g, slots=own)


class ClippedOptimizer(torch.optim.Optimizer):
  """A PyTorch optimizer made of a direction and a clip.

  A step whose loss (where a closure gives it) or any gradient is not finite, or whose squared
  gradients overflow (float32 for half precision), or whose learning rate is not finite, changes
  nothing but the counts `skipped_steps` and `skipped_in_a_row`. Gradients may be dense or, as those
  of `torch.nn.Embedding(sparse=True)`, sparse: with Sgd and Adagrad only the rows touched are read.
  Slots of parameters in half precision are float32, where small squares still add up.

  Parameters have to be whole on every process, as under DistributedDataParallel.

  Args:
    params: parameters or groups of them. A group may have a direction, clip, lr, accumulate and
      scope of its own; see `tables_apart` for one that leaves embedding tables unclipped.
    direction: keeps the slots and makes r of the gradient.
    clip: makes σ.
    lr: the learning rate η; a scheduler of PyTorch may change it.
    accumulate: what the direction's slots see when the clip acts on gradients: the "clipped"
      gradient as in the methods' own papers, or the "original" one.
    scope: "layer" for one σ per parameter, "global" for one σ, and one memory, for all parameters
      whose groups have the same clip and this scope.

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
      "memory": {},  # of the clip, with scope="global"
    }
    super().__init__(params, defaults)

  def add_param_group(self, param_group: dict[str, Any]) -> None:
    """Adds parameters. Raises ValueError for a setting that they cannot have."""
    _check_group({**self.defaults, **param_group})
    super().add_param_group(param_group)
    first, added = self.param_groups[0], self.param_groups[-1]
    for count in ("skipped_steps", "skipped_in_a_row"):
      added[count] = first[count]
    added["memory"] = next(
      (dict(group["memory"]) for group in self.param_groups[:-1] if _are_alike(group, added)), {}
    )

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
    number = self.param_groups[0]["steps"] + 1
    groups = [_Group(settings, self._parts(settings), number) for settings in self.param_groups]
    groups = [group for group in groups if group.parts]
    finite = loss is None or math.isfinite(float(loss))
    for group in groups:
      finite = group.measure() and finite
    for group in groups:
      alike = [other for other in groups if _are_alike(other.settings, group.settings)]
      finite = finite and group.decide(alike)
    for group in groups if finite else ():
      group.write()
      if group.settings["scope"] == "global":
        for settings in self.param_groups:
          if _are_alike(settings, group.settings):
            settings["memory"] = {name: float(each[0]) for name, each in group.memory.items()}
    for settings in self.param_groups:
      settings["steps"] += int(finite)
      settings["skipped_steps"] += int(not finite)
      settings["skipped_in_a_row"] = 0 if finite else settings["skipped_in_a_row"] + 1
    return loss

  def _parts(self, group: Mapping[str, Any]) -> list[_Part]:
    """What a step moves of a group; parameters without gradient are left alone."""
    direction: Direction = group["direction"]
    initial = direction.initial_slots()
    parts: list[_Part] = []
    for parameter in group["params"]:
      gradient, size = parameter.grad, parameter.numel()
      if gradient is None or size == 0:
        continue
      state = self.state[parameter]
      if not state or type(parameter) is not torch.nn.Parameter:
        _check_parameter(parameter)
      for name, value in initial.items():
        if name not in state:
          like = direction.slot_like(parameter)
          state[name] = torch.full_like(
            like, value, dtype=_wide(parameter.dtype), requires_grad=False
          )
      slots, of_rows = {name: state[name] for name in initial}, gradient.is_sparse
      if of_rows and not direction.is_row_wise:  # all rows of the table move
        gradient = gradient.to_dense()
      part = _Part(len(parts), parameter, state, parameter, size, gradient, slots, of_rows)
      if gradient.is_sparse:
        part = _rows_touched(part)
      if part.size:
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
    """The inverse of `state_dict`. Raises ValueError, before anything changes, for what is none."""
    saved = state_dict.get("param_groups", ({},))
    for name in ("direction", "clip"):
      if not all(name in group for group in saved):
        raise ValueError(
          f"the state has no {name}, so it is not one of a ClippedOptimizer; load it with the "
          "optimizer that saved it, or begin with new slots"
        )
    groups = [
      {
        **group,
        "direction": _made("direction", Direction, group["direction"]),
        "clip": _made("clip", Clip, group["clip"]),
      }
      for group in saved
    ]
    slots: dict[Tensor, Slots] = {}
    for group, own in zip(groups, self.param_groups, strict=False):  # PyTorch refuses other counts
      for key, parameter in zip(group["params"], own["params"], strict=False):
        state = state_dict["state"].get(key, {})
        slots[parameter] = {name: v for name, v in state.items() if torch.is_tensor(v)}
        for name, value in slots[parameter].items():
          if value.shape != group["direction"].slot_like(parameter).shape:
            raise ValueError(
              f"the state's {name} {tuple(value.shape)} is not one of a parameter "
              f"{tuple(parameter.shape)}; give the optimizer the parameters that it was saved "
              "with, in their order"
            )
    super().load_state_dict({**state_dict, "param_groups": groups})
    for parameter, values in slots.items():  # PyTorch has cast them to half precision
      wide = {"device": parameter.device, "dtype": _wide(parameter.dtype), "copy": True}
      self.state[parameter].update({name: value.to(**wide) for name, value in values.items()})


class _Group:
  """A step of one group of parameters; `number` is that of the optimizer's."""

  def __init__(self, settings: dict[str, Any], parts: list[_Part], number: int):
    self.settings, self.parts = settings, parts
    self.direction: Direction = settings["direction"]
    self.clip: Clip = settings["clip"].at(number)
    self.rate, self.step = float(settings["lr"]), settings["steps"] + 1
    self.clips_gradients = self.clip.acts_on == "gradient"
    self.of_units = _of_units(self.clip)
    self.scales: list[float] = []  # RMS(w) of the parts
    self.closed = list(self._closed())
    self.kept = [self._open(pieces) for pieces in self.closed] if len(self.closed) <= KEPT else []
    self.owners = torch.tensor([piece.number for pieces in self.closed for piece in pieces])
    self.measures: Measures = {}
    self.factors = torch.ones(len(parts), **SCALARS)
    self.memory: Memory = {}

  def _closed(self) -> Iterator[list[_Part]]:
    """The pieces of every bundle: one that is large or of rows, or small ones of one kind."""
    waiting: dict[Any, list[_Part]] = {}
    in_pieces = self.clip.in_pieces and self.direction.in_pieces
    for part in self.parts:
      if part.size > SMALL or part.rows is not None or not self.direction.in_pieces:
        for piece in part.split() if in_pieces and part.size > PIECE else (part,):
          yield [piece]
      else:
        kind = (part.weights.dtype, part.weights.device)
        waiting.setdefault(kind, []).append(part)
    for parts in waiting.values():
      ends = itertools.accumulate(part.size for part in parts)
      pairs = zip(ends, parts, strict=True)
      for _, own in itertools.groupby(pairs, key=lambda pair: pair[0] // TOGETHER):
        yield [part for _, part in own]

  def _open(self, pieces: list[_Part]) -> Bundle:
    weights = [piece.weights for piece in pieces]
    return Bundle(
      owners=[piece.number for piece in pieces],
      is_of_rows=[piece.is_of_rows for piece in pieces],
      targets=weights,
      sizes=[piece.size for piece in pieces],
      weights=_in_a_row(weights),
      gradient=_in_a_row([piece.gradient for piece in pieces]),
      slots={name: self._slots_in_a_row(name, pieces) for name in pieces[0].slots},
      rate=self.rate,
    )

  def _slots_in_a_row(self, name: str, pieces: list[_Part]) -> Tensor:
    """Slots of one kind; those of small parameters are views of one vector from now on."""
    own = [piece.slots[name] for piece in pieces]
    if len(own) == 1:
      return own[0]
    row, (*places, end) = own[0]._base, itertools.accumulate((p.size for p in pieces), initial=0)
    if (
      row is None
      or row.numel() != end
      or any(
        each._base is not row or each.storage_offset() != place
        for each, place in zip(own, places, strict=True)
      )
    ):
      row = _in_a_row(own)
      views = torch._utils._unflatten_dense_tensors(row, own)
      for piece, view in zip(pieces, views, strict=True):
        piece.slots[name] = piece.state[name] = view
    return row

  def _bundles(self) -> Iterator[Bundle]:
    """All of them; a few are kept open from measuring to writing."""
    for bundle in self.kept or map(self._open, self.closed):
      bundle.scales = [self.scales[owner] for owner in bundle.owners] if self.scales else []
      yield bundle

  def measure(self) -> bool:
    """Fills `measures`; whether all gradients are finite, and the sum of their squares is."""
    size = torch.tensor([part.size for part in self.parts], **SCALARS)
    if self.clip.needs_scale:
      squares = [bundle.squares(bundle.weights) for bundle in self._bundles()]
      self.scales = (self._joined(squares, "sum") / size).sqrt().tolist()
    found: dict[str, list[Tensor]] = {}
    lengths: dict[torch.dtype, list[Tensor]] = {}
    for bundle in self._bundles():
      length = torch.linalg.vector_norm(bundle.gradient).double().cpu()
      lengths.setdefault(bundle.gradient.dtype, []).append(length)
      acts_on = bundle.gradient
      if not self.clips_gradients:
        acts_on, slots = bundle.made = self._move(bundle, acts_on)
        if self.settings["clip"].needs_preconditioner:
          bundle.preconditioner = self.direction.preconditioner(bundle.slots, slots)
      for name, values in self.clip.measure(acts_on, bundle).items():
        found.setdefault(name, []).append(values)
      if self.of_units:
        factors = self.of_units.factors_of_units(acts_on, bundle)
        found.setdefault("smallest", []).append(bundle.largest(-factors))
    joins = "largest" if self.of_units else self.clip.joins
    self.measures = {name: self._joined(values, joins) for name, values in found.items()}
    fits = all(  # which no NaN is
      torch.stack(own).square().sum() <= torch.finfo(dtype).max for dtype, own in lengths.items()
    ) and not any(values.isnan().any() for values in self.measures.values())
    self.measures["size"] = size
    return fits and abs(self.rate) <= LARGEST_RATE

  def decide(self, alike: Sequence["_Group"]) -> bool:
    """Fills `factors` and `memory`; whether what multiplies the direction is finite."""
    if self.of_units:
      self.factors = -self.measures["smallest"]
    else:
      joined = {n: torch.cat([group.measures[n] for group in alike]) for n in self.measures}
      everywhere = {
        name: values.max() if self.clip.joins == "largest" else values.sum()
        for name, values in joined.items()
      }
      own, kept = self.measures, [part.state for part in self.parts]
      if self.settings["scope"] == "global":
        own = {name: value.expand(len(self.parts)) for name, value in everywhere.items()}
        kept = [self.settings["memory"]] * len(self.parts)
      memory = {
        name: torch.tensor([each.get(name, start) for each in kept], **SCALARS)
        for name, start in self.clip.initial_memory().items()
      }
      self.factors, self.memory = self.clip.factor_and_memory(own, everywhere, memory)
    return bool((self.rate * self.factors).isfinite().all())

  def write(self) -> None:
    """Moves weights and slots."""
    factors = self.factors.tolist()
    memory = {name: values.tolist() for name, values in self.memory.items()}
    for number, part in enumerate(self.parts):
      part.state["clipping_factor"] = factors[number]
      if self.settings["scope"] == "layer":
        for name, values in memory.items():
          part.state[name] = values[number]
    sees_clipped = self.settings["accumulate"] == "clipped" and not isinstance(self.clip, NoClip)
    for bundle in self._bundles():
      factor: Any = [factors[owner] for owner in bundle.owners]
      if self.of_units:
        factor = self.of_units.factors_of_units(bundle.gradient, bundle)
      if sees_clipped and self.clips_gradients:
        direction, slots = self._move(bundle, bundle.times(factor, bundle.gradient))
        bundle.move([1.0] * len(bundle.owners), direction)
      else:
        direction, slots = bundle.made or self._move(bundle, bundle.gradient)
        if sees_clipped and self.direction.accumulates_after:
          _, slots = self._move(bundle, bundle.times(factor, bundle.gradient))
        bundle.move(factor, direction)
      for name, values in slots.items():
        bundle.slots[name].copy_(values)
    for part in self.parts:
      if part.rows is not None:
        part.parameter.index_copy_(0, part.rows, part.weights)
        for name, slot in part.slots.items():
          part.state[name].index_copy_(0, part.rows, slot)

  def _move(self, bundle: Bundle, gradient: Tensor) -> tuple[Tensor, Slots]:
    return self.direction.move(gradient, bundle.slots, bundle.weights, self.step)

  def _joined(self, of_pieces: list[Tensor], joins: str) -> Tensor:
    """Numbers of all pieces as numbers of the parts, float64 on the host."""
    numbers = torch.cat([number.double().cpu() for number in of_pieces])
    start, reduce = JOINS[joins]
    joined = torch.full([len(self.parts)], start, **SCALARS)
    return joined.scatter_reduce_(0, self.owners, numbers, reduce)


def _wide(dtype: torch.dtype) -> torch.dtype:
  """float32 for what is less precise."""
  return torch.promote_types(dtype, torch.float32)


def _in_a_row(pieces: list[Tensor]) -> Tensor:
  """One piece as it is, several as a vector; at least in float32."""
  if len(pieces) == 1:
    return pieces[0].to(_wide(pieces[0].dtype))
  return torch._utils._flatten_dense_tensors(pieces).to(_wide(pieces[0].dtype))


def _are_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
  """Whether one σ is for both of two groups of parameters, if it is not one for each parameter."""
  return bool(one["clip"] == other["clip"] and one["scope"] == other["scope"])


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
  slots, weights = {name: slot[rows] for name, slot in part.slots.items()}, part.parameter[rows]
  return dataclasses.replace(
    part,
    weights=weights,
    size=weights.numel(),
    gradient=gradient.values(),
    slots=slots,
    rows=rows,
  )


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
  if group["scope"] == "global" and _of_units(group["clip"]):
    raise ValueError('scope="global" needs norms of whole parameters; give AGC unit="layer"')


def _of_units(clip: Clip) -> AdaptiveGradientClipping | None:
  """The clip if it judges output units, which have no scope but their own."""
  return clip if isinstance(clip, AdaptiveGradientClipping) and clip.unit == "output" else None


def _made(kind: str, base: type[Any], described: Any) -> Any:
  """The direction or clip that a state_dict describes as {name: settings}."""
  if isinstance(described, base):
    return described
  ((name, settings),) = described.items()
  kinds = {each.__name__: each for each in _kinds(base)}
  if name not in kinds:
    raise ValueError(f"no {kind} {name!r} is known; import the module that defines it")
  foreign = settings.keys() - {field.name for field in dataclasses.fields(kinds[name])}
  if foreign:
    raise ValueError(f"{name} has no {min(foreign)}; load the state with what saved it")
  ramps = {name: Ramp(**value) for name, value in settings.items() if isinstance(value, dict)}
  return kinds[name](**{**settings, **ramps})


def _kinds(base: type[Any]) -> list[type[Any]]:
  """A class's subclasses, theirs included."""
  return [kind for child in base.__subclasses__() for kind in (child, *_kinds(child))]
