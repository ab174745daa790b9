"""The clips and directions for JAX, as one optax transformation in one file.

    from ranking.optimizers.optax import Adagrad, Clippy, clipped, no_tables

    transformation = clipped(Adagrad(), Clippy(), learning_rate=0.1, mask=no_tables)

The update is −η · σ · r. The direction r is made of the gradient by slots, the clipping factor σ by
a clip. In float64 a step is that of the TensorFlow optimizer of this package. Weights are read as
Flax lays them out: an output unit is a column of a kernel, [..., inputs, outputs].

It is an `optax.GradientTransformationExtraArgs` that scales by the learning rate itself, so it
stands last in an `optax.chain`. Gradients have to be summed over devices before, as they are under
`jax.jit` with sharded arrays.
"""

import copy
import dataclasses
import functools
import math
import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

Own = TypeVar("Own", bound="Clip")
Slots = dict[str, jax.Array]
Measures = dict[str, jax.Array]  # scalars but for unit-wise AGC, float32 or float64
Memory = dict[str, jax.Array]

SHARES = ("decay", "momentum", "beta_1", "beta_2")  # of the past in an average
STEPPED = ("threshold", "multiplier")  # in the names of numbers that may be a Ramp
POWER_STEPS = 4
QUINTIC = (3.4445, -4.7750, 2.0315)  # of Muon's authors, steep at 0
NEWTON_SCHULZ_STEPS = 5


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

  def __post_init__(self) -> None:
    _check(self)

  @property
  def accumulates_after(self) -> bool:
    """Whether r is of the slots before this step, so that they can see the clipped gradient."""
    return False

  def initial_slots(self) -> dict[str, float]:
    """Slot names and the value their entries start with."""
    return {}

  def slot_like(self, leaf: jax.Array) -> jax.Array:
    """An array of the shape that slots of a leaf have.

    Raises ValueError for a leaf that this direction is not for.
    """
    return leaf

  def move(
    self, gradient: jax.Array, slots: Slots, weights: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Slots]:
    """(r, new slots), finite where the gradient is. `step` is 1 for the first."""
    raise NotImplementedError

  def preconditioner(self, slots: Slots, new_slots: Slots) -> jax.Array:
    """What gradients were multiplied with. Raises ValueError if that is nothing of Adagrad's."""
    raise ValueError(
      f"a clip's accumulator_threshold needs an accumulator, and {self} has none; give it Adagrad()"
    )


@dataclasses.dataclass(frozen=True)
class Sgd(Direction):
  """r = g, or with momentum the sum of all gradients so far, each step weighted by it once more."""

  momentum: float = 0.0

  def initial_slots(self) -> dict[str, float]:
    """The velocity, if there is momentum."""
    return {"velocity": 0.0} if self.momentum else {}

  def move(
    self, gradient: jax.Array, slots: Slots, weights: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Slots]:
    """See `Direction`."""
    if not self.momentum:
      return gradient, slots
    velocity = self.momentum * slots["velocity"] + gradient
    return velocity, {"velocity": velocity}


@dataclasses.dataclass(frozen=True)
class Adagrad(Direction):
  """r = g / sqrt(G + epsilon) with G including g²; epsilon as in tf_keras.

  With accumulate_when="after", G is without this step's g², as in the release of Clippy's authors;
  then g² can enter it clipped, by `accumulate`. r is 0 where G + epsilon is.
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
    self, gradient: jax.Array, slots: Slots, weights: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Slots]:
    """See `Direction`."""
    # At the largest number there is, rather than infinite, a weight would still move.
    largest = jnp.finfo(gradient.dtype).max
    accumulator = jnp.minimum(self.keep * slots["accumulator"] + jnp.square(gradient), largest)
    new_slots = {"accumulator": accumulator}
    return gradient * self.preconditioner(slots, new_slots), new_slots

  def preconditioner(self, slots: Slots, new_slots: Slots) -> jax.Array:
    """1 / sqrt(G + epsilon), 0 where that is infinite."""
    total = (slots if self.accumulates_after else new_slots)["accumulator"] + self.epsilon
    return jnp.where(total == 0.0, 0.0, jax.lax.rsqrt(jnp.where(total == 0.0, 1.0, total)))


@dataclasses.dataclass(frozen=True)
class Adam(Direction):
  """r = m̂ / (sqrt(v̂) + ε̂) + weight_decay · w (Kingma & Ba 2015; with decay, AdamW).

  As in tf_keras, epsilon is added to sqrt(v) before the bias of v is corrected. The decay is part
  of r, so that a clip which limits r limits all that moves a weight. m̂ / 0 counts as 0.
  """

  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-7
  weight_decay: float = 0.0

  def initial_slots(self) -> dict[str, float]:
    """The two moments."""
    return {"first_moment": 0.0, "second_moment": 0.0}

  def move(
    self, gradient: jax.Array, slots: Slots, weights: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Slots]:
    """See `Direction`."""
    first = self.beta_1 * slots["first_moment"] + (1 - self.beta_1) * gradient
    second = self.beta_2 * slots["second_moment"] + (1 - self.beta_2) * jnp.square(gradient)
    correction = jnp.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
    root = jnp.sqrt(second) + self.epsilon
    direction = jnp.where(root == 0.0, 0.0, correction * first / jnp.where(root == 0.0, 1.0, root))
    direction = (direction + self.weight_decay * weights).astype(gradient.dtype)
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

  def initial_slots(self) -> dict[str, float]:
    """The two moments."""
    return {"first_moment": 0.0, "second_moment": 0.0}

  def move(
    self, gradient: jax.Array, slots: Slots, weights: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Slots]:
    """See `Direction`."""
    since = jnp.mod(step, self.reset_every)
    slots = {name: jnp.where(since == 0, 0.0, slot) for name, slot in slots.items()}
    second = slots["second_moment"]
    largest = self.spike_threshold * second
    looks = (since >= self.settling_steps) & (second > 0)  # v = 0 is no history to judge by
    near = jnp.sign(gradient) * jnp.sqrt(largest)
    gradient = jnp.where(looks & (jnp.square(gradient) > largest), near, gradient)
    adam = Adam(self.beta_1, self.beta_2, self.epsilon)
    direction, slots = adam.move(gradient, slots, weights, step)
    done = (since + 1) / (self.warmup_after_reset + 1)
    share = 1 - 0.99 * (1 + jnp.cos(math.pi * done)) / 2
    is_short = (step >= self.reset_every) & (since < self.warmup_after_reset)
    return jnp.where(is_short, share, 1.0).astype(direction.dtype) * direction, slots


@dataclasses.dataclass(frozen=True)
class Muon(Direction):
  """The average of gradients, a matrix, with singular values of about 1 (Jordan et al. 2024).

  r = √max(1, n/m) · NewtonSchulz(g + momentum · (M − g)) for a kernel [..., n] as a matrix [m, n],
  with M ← M + (1 − momentum) · (g − M). For hidden layers: give tables, vectors and output layers
  another direction by `optax.multi_transform`, as its authors do. Raises ValueError for a vector.
  """

  momentum: float = 0.95

  def initial_slots(self) -> dict[str, float]:
    """The average M."""
    return {"average": 0.0}

  def slot_like(self, leaf: jax.Array) -> jax.Array:
    """The leaf, if it is no vector."""
    if leaf.ndim < 2:
      raise ValueError(
        f"Muon is for matrices, and a leaf has the shape {leaf.shape}; give it another direction, "
        "such as Adam(), by optax.multi_transform"
      )
    return leaf

  def move(
    self, gradient: jax.Array, slots: Slots, weights: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Slots]:
    """See `Direction`."""
    average = slots["average"] + (1 - self.momentum) * (gradient - slots["average"])
    ahead = gradient + self.momentum * (average - gradient)
    matrix = ahead.reshape(-1, weights.shape[-1])
    inputs, outputs = matrix.shape
    scale = math.sqrt(max(1.0, outputs / inputs))
    return scale * _newton_schulz(matrix).reshape(weights.shape), {"average": average}


@dataclasses.dataclass(frozen=True)
class RowWiseAdagrad(Direction):
  """r = g / sqrt(G + epsilon), where a row's G is the sum of the means of its squared gradients.

  For large tables, whose slots would be as large as they. As EXACT_ROWWISE_ADAGRAD of FBGEMM and
  TorchRec, which start G at 0 and divide by sqrt(G) + epsilon. r is 0 where G + epsilon is.
  """

  initial_accumulator_value: float = 0.1
  epsilon: float = 1e-7

  def initial_slots(self) -> dict[str, float]:
    """G, a number for each row."""
    return {"row_accumulator": self.initial_accumulator_value}

  def slot_like(self, leaf: jax.Array) -> jax.Array:
    """[rows]."""
    return jnp.sum(leaf, axis=range(1, leaf.ndim))

  def move(
    self, gradient: jax.Array, slots: Slots, weights: jax.Array, step: jax.Array
  ) -> tuple[jax.Array, Slots]:
    """See `Direction`."""
    squares = jnp.mean(jnp.square(gradient), axis=range(1, gradient.ndim))
    total = jnp.minimum(slots["row_accumulator"] + squares, jnp.finfo(gradient.dtype).max)
    divisor = total + self.epsilon
    scale = jnp.where(divisor == 0.0, 0.0, jax.lax.rsqrt(jnp.where(divisor == 0.0, 1.0, divisor)))
    scale = scale.reshape(*scale.shape, *[1] * (gradient.ndim - scale.ndim))
    return gradient * scale, {"row_accumulator": total}


def _newton_schulz(matrix: jax.Array) -> jax.Array:
  """The matrix [m, n] with singular values of about 1; 0 of one that is 0."""
  is_tall = matrix.shape[0] > matrix.shape[1]
  x = _of_length_one(matrix.T if is_tall else matrix)
  a, b, c = QUINTIC
  for _ in range(NEWTON_SCHULZ_STEPS):
    square = x @ x.T
    x = a * x + (b * square + c * square @ square) @ x
  return x.T if is_tall else x


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

  def __call__(self, step: jax.Array) -> jax.Array:
    """The threshold in a step: in the first, which is 1, `first`; after `steps` of them `last`."""
    return self.last + (self.first - self.last) * jnp.maximum(0.0, 1 - (step - 1) / self.steps)


class Leaf(NamedTuple):
  """What a clip may want to know of a leaf, float32 or float64."""

  weights: jax.Array
  tensor: jax.Array  # what the clip acts on, of the weights' shape
  rate: jax.Array  # η
  preconditioner: jax.Array | None  # what gradients were multiplied with, where it is needed


@dataclasses.dataclass(frozen=True)
class Clip:
  """Base of all clips: a frozen dataclass of thresholds with pure methods.

  `measure` reduces a leaf to a few numbers, and `factor` makes σ of them. Between the two, the
  measures of all leaves can be joined, so that one σ serves them all.
  """

  acts_on: ClassVar[Literal["gradient", "direction"]]
  joins: ClassVar[Literal["sum", "largest"]] = "sum"

  def __post_init__(self) -> None:
    _check(self)

  def at(self: Own, step: jax.Array) -> Own:
    """Itself in one step, with scalars of the step's dtype for what is a Ramp."""
    stepped = copy.copy(self)
    for field in dataclasses.fields(self):
      if isinstance(ramp := getattr(self, field.name), Ramp):
        object.__setattr__(stepped, field.name, ramp(step))
    return stepped

  @property
  def needs_preconditioner(self) -> bool:
    """Whether it is given 1/√G of Adagrad."""
    return False

  def measure(self, leaf: Leaf) -> Measures:
    """Numbers that `factor` needs."""
    raise NotImplementedError

  def factor(self, measures: Measures) -> jax.Array:
    """σ, in the measures' shape."""
    raise NotImplementedError

  def initial_memory(self) -> dict[str, float]:
    """Numbers a clip keeps of each leaf from step to step, and what they start with."""
    return {}

  def factor_and_memory(
    self, own: Measures, everywhere: Measures, memory: Memory
  ) -> tuple[jax.Array, Memory]:
    """(σ, new memory). A clip with memory overrides this one instead of `factor`.

    Args:
      own: measures of the leaf; with one σ for all, of all.
      everywhere: measures of all clipped leaves joined.
      memory: scalars by name.
    """
    return self.factor(own), memory


@dataclasses.dataclass(frozen=True)
class _OfGradients(Clip):
  """What those that judge gradients by their length measure."""

  acts_on: ClassVar[Literal["gradient", "direction"]] = "gradient"

  def measure(self, leaf: Leaf) -> Measures:
    """‖g‖₂²."""
    return {"gradient": _square(leaf.tensor)}


@dataclasses.dataclass(frozen=True)
class NoClip(_OfGradients):
  """σ = 1."""

  def factor(self, measures: Measures) -> jax.Array:
    """1."""
    return jnp.ones_like(measures["gradient"])


@dataclasses.dataclass(frozen=True)
class GradientClipping(_OfGradients):
  """σ = min(1, threshold / ‖g‖₂)."""

  threshold: float = 1e-1

  def factor(self, measures: Measures) -> jax.Array:
    """In [0, 1]."""
    return at_most_one(self.threshold, jnp.sqrt(measures["gradient"]))


@dataclasses.dataclass(frozen=True)
class AdaptiveGradientClipping(Clip):
  """σ = min(1, threshold · max(‖w‖₂, epsilon) / ‖g‖₂) (Brock et al. 2021).

  With unit="output", norms and σ are those of a unit: each output of a kernel [..., inputs,
  outputs], over all axes but the last; a whole vector or scalar. With unit="layer" they are those
  of the leaf. `epsilon` lets biases leave zero. Its authors leave output layers alone: mask those.
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

  def measure(self, leaf: Leaf) -> Measures:
    """‖w‖₂² and ‖g‖₂² of each unit, shaped to broadcast against the weights."""
    return {"weights": self._squares(leaf.weights), "gradient": self._squares(leaf.tensor)}

  def factor(self, measures: Measures) -> jax.Array:
    """In [0, 1], one for each unit."""
    limit = self.threshold * jnp.maximum(jnp.sqrt(measures["weights"]), self.epsilon)
    return at_most_one(limit, jnp.sqrt(measures["gradient"]))

  def _squares(self, tensor: jax.Array) -> jax.Array:
    if self.unit == "layer" or tensor.ndim < 2:
      return _square(tensor)
    return jnp.sum(jnp.square(tensor), axis=range(tensor.ndim - 1), keepdims=True)


@dataclasses.dataclass(frozen=True)
class Lamb(Clip):
  """σ = multiplier · ‖w‖₂ / ‖r‖₂, and the multiplier alone where a norm is 0 (You et al. 2020)."""

  multiplier: float = 1e-2
  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

  def measure(self, leaf: Leaf) -> Measures:
    """‖w‖₂² and ‖r‖₂²."""
    return {"weights": _square(leaf.weights), "direction": _square(leaf.tensor)}

  def factor(self, measures: Measures) -> jax.Array:
    """Positive; unlike the other factors it may exceed 1."""
    weights, direction = jnp.sqrt(measures["weights"]), jnp.sqrt(measures["direction"])
    zero = (weights == 0.0) | (direction == 0.0)
    return self.multiplier * jnp.where(zero, 1.0, weights / jnp.where(zero, 1.0, direction))


class _Excess(Clip):
  """Base of the clips that measure a step as a multiple of its limit, the "excess"."""

  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"
  joins: ClassVar[Literal["sum", "largest"]] = "largest"

  def factor(self, measures: Measures) -> jax.Array:
    """In [0, 1]; 0 only where the limit is and something would move."""
    return 1.0 / jnp.maximum(measures["excess"], 1.0)


class LimitedMoves(_Excess):
  """Base of the clips whose σ = min(1, min over coordinates of limit(w) / (η·|r|))."""

  def limit(self, leaf: Leaf) -> jax.Array:
    """The farthest that a step may move each coordinate."""
    raise NotImplementedError

  def measure(self, leaf: Leaf) -> Measures:
    """The largest move of a coordinate as a multiple of its limit."""
    move = leaf.rate * jnp.abs(leaf.tensor)
    return {"excess": jnp.max(jnp.where(move == 0.0, 0.0, move / self.limit(leaf)), initial=0.0)}


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

  def limit(self, leaf: Leaf) -> jax.Array:
    """relative·|w| + absolute, and the third part."""
    limit = self.relative_threshold * jnp.abs(leaf.weights) + self.absolute_threshold
    if leaf.preconditioner is None:
      return limit
    return limit + self.accumulator_threshold * leaf.preconditioner


@dataclasses.dataclass(frozen=True)
class LayerClippy(LimitedMoves):
  """No coordinate moves by more than relative·|w| + layer·max(RMS(w), epsilon).

  Clippy's absolute threshold as a share of the layer, so that wide layers need no search.
  """

  relative_threshold: float = 0.1
  layer_threshold: float = 0.02
  epsilon: float = 1e-3

  def limit(self, leaf: Leaf) -> jax.Array:
    """relative·|w| + layer·max(RMS(w), epsilon)."""
    scale = jnp.maximum(_root_mean_square(leaf.weights), self.epsilon)
    return self.relative_threshold * jnp.abs(leaf.weights) + self.layer_threshold * scale


@dataclasses.dataclass(frozen=True)
class OperatorNorm(_Excess):
  """σ = min(1, threshold · max(RMS(w), epsilon) · (√m + √n) / (η · ‖r‖)), ‖r‖ the operator norm.

  A kernel [..., n] is a matrix [m, n], all axes but the last being folded; a vector or scalar of n
  numbers has the limit threshold · max(RMS(w), epsilon) · √n and the Euclidean norm. The operator
  norm is found by power iteration, and so from below.
  """

  threshold: float = 0.03
  epsilon: float = 1e-3

  def measure(self, leaf: Leaf) -> Measures:
    """The length of the step as a multiple of its limit."""
    limit = self.threshold * jnp.maximum(_root_mean_square(leaf.weights), self.epsilon)
    if leaf.tensor.ndim < 2:
      norm, width = jnp.sqrt(_square(leaf.tensor)), math.sqrt(leaf.tensor.size)
    else:
      matrix = leaf.tensor.reshape(-1, leaf.tensor.shape[-1])
      norm, width = _operator_norm(matrix), sum(map(math.sqrt, matrix.shape))
    step = leaf.rate * norm
    return {"excess": jnp.where(step == 0.0, 0.0, step / (limit * width))}


@dataclasses.dataclass(frozen=True)
class RmsClip(Clip):
  """σ = min(1, threshold / RMS(r)): Adafactor's update clipping (Shazeer & Stern 2018)."""

  threshold: float = 1.0
  acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

  def measure(self, leaf: Leaf) -> Measures:
    """‖r‖₂² and the number of coordinates."""
    square = _square(leaf.tensor)
    return {"direction": square, "coordinates": jnp.asarray(leaf.tensor.size, square.dtype)}

  def factor(self, measures: Measures) -> jax.Array:
    """In [0, 1]."""
    coordinates = jnp.maximum(measures["coordinates"], 1.0)
    return at_most_one(self.threshold, jnp.sqrt(measures["direction"] / coordinates))


@dataclasses.dataclass(frozen=True)
class AdaGC(_OfGradients):
  """σ = min(1, relative_threshold · γ / ‖g‖₂), γ an average of clipped norms (arXiv 2502.11034).

  γ ← decay · γ + (1 − decay) · σ‖g‖₂ for each leaf. In its first `warmup_steps` the gradient of all
  leaves together is clipped to `absolute_threshold` and γ is the smallest norm so far. A clipped
  norm of `epsilon` or less is neither remembered nor counted.
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
  ) -> tuple[jax.Array, Memory]:
    """σ in [0, 1], γ and its count."""
    norm, average = jnp.sqrt(own["gradient"]), memory["average_norm"]
    warm = memory["norms_seen"] >= self.warmup_steps
    known = jnp.where(average > 0.0, average, norm)
    factor = jnp.where(
      warm,
      at_most_one(self.relative_threshold * known, norm),
      at_most_one(self.absolute_threshold, jnp.sqrt(everywhere["gradient"])),
    )
    clipped = factor * norm
    smallest = jnp.where(average > 0.0, jnp.minimum(average, clipped), clipped)
    mean = self.decay * known + (1.0 - self.decay) * clipped
    latest = {"average_norm": jnp.where(warm, mean, smallest)}
    return factor, _unless(clipped <= self.epsilon, memory, latest)


@dataclasses.dataclass(frozen=True)
class ZClip(_OfGradients):
  """A norm more than `threshold` deviations above its mean is brought near it (arXiv 2504.02507).

  With z = (‖g‖₂ − mean) / deviation > threshold, σ‖g‖₂ = mean + threshold² / z · deviation. Mean
  and variance are averages with weight `decay` on the past, of clipped norms; over the first
  `warmup_steps`, which are not clipped, plain ones. A norm of `epsilon` or less, which is added to
  deviations, is neither remembered nor counted. The authors judge the norm of all leaves together
  (scope="global").
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
  ) -> tuple[jax.Array, Memory]:
    """σ in [0, 1], mean, variance and their count."""
    norm, number = jnp.sqrt(own["gradient"]), memory["norms_seen"] + 1.0
    mean, variance = memory["mean_norm"], memory["variance_of_norm"]
    warm = number > self.warmup_steps
    deviation = jnp.sqrt(variance)
    score = (norm - mean) / (deviation + self.epsilon)
    high = warm & (score > self.threshold)
    near = mean + self.threshold**2 / jnp.where(high, score, 1.0) * deviation
    clipped = jnp.where(high, near, norm)
    weight = jnp.where(warm, 1.0 - self.decay, 1.0 / number)
    new_mean = mean + weight * (clipped - mean)
    # The authors take the new mean; over the first steps that is not yet the variance.
    squares = jnp.where(warm, clipped - new_mean, clipped - mean) * (clipped - new_mean)
    new_variance = variance + weight * (squares - variance)
    latest = {"mean_norm": new_mean, "variance_of_norm": new_variance}
    return at_most_one(clipped, norm), _unless(norm <= self.epsilon, memory, latest)


def _unless(nothing: jax.Array, memory: Memory, latest: Memory) -> Memory:
  """The latest memory and a count of one more, or all as it was."""
  latest = {**latest, "norms_seen": memory["norms_seen"] + 1.0}
  return {name: jnp.where(nothing, memory[name], value) for name, value in latest.items()}


def at_most_one(limit: jax.Array | float, norm: jax.Array) -> jax.Array:
  """min(1, limit / norm), 1 where the norm is 0."""
  over = norm > limit
  return jnp.where(over, limit / jnp.where(over, norm, 1.0), 1.0)


def _wide(tensor: jax.Array) -> Any:
  """The type in which a leaf is worked on: its own, float32 for what is less precise."""
  return jnp.promote_types(jnp.result_type(tensor), jnp.float32)


def _square(tensor: jax.Array) -> jax.Array:
  """‖x‖₂²."""
  return jnp.sum(jnp.square(tensor))


def _root_mean_square(tensor: jax.Array) -> jax.Array:
  """Scalar, 0 of nothing."""
  return jnp.sqrt(_square(tensor) / max(tensor.size, 1))


def _operator_norm(matrix: jax.Array) -> jax.Array:
  """Scalar, about the largest singular value of [m, n]; never above it."""
  # Of fixed random numbers, which no structure of a layer is at right angles to.
  start = np.random.default_rng(0).normal(size=matrix.shape[1])
  right = _of_length_one(jnp.asarray(start, matrix.dtype))
  for _ in range(POWER_STEPS):
    left = _of_length_one(matrix @ right)
    right = _of_length_one(left @ matrix)
  return jnp.linalg.norm(matrix @ right)


def _of_length_one(vector: jax.Array) -> jax.Array:
  norm = jnp.linalg.norm(vector)
  return vector / jnp.where(norm == 0.0, 1.0, norm)


# The transformation.


class ClippedState(NamedTuple):
  """What `clipped` keeps."""

  steps: jax.Array  # taken, int32
  slots: dict[str, Any]  # by name a tree like the parameters; float32 for half precision
  memory: dict[str, jax.Array]  # of the clip, by name [leaves], or [1] with scope="global"
  factors: Any  # the smallest σ of each leaf in the last step taken, a tree like the parameters


class FiniteState(NamedTuple):
  """What `skip_unless_finite` keeps."""

  inner: Any  # the state of the transformation
  skipped_steps: jax.Array  # that were not finite, int32
  skipped_in_a_row: jax.Array  # of these the last


def clipped(
  direction: Direction,
  clip: Clip,
  learning_rate: float | jax.Array | Callable[[jax.Array], jax.Array | float] = 0.1,
  accumulate: Literal["clipped", "original"] = "clipped",
  scope: Literal["layer", "global"] = "layer",
  mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
  """A transformation that makes −η·σ·r of a gradient; its `update` needs the parameters.

  Its state is a FiniteState of a ClippedState: see `skip_unless_finite` for steps that are not
  finite. With `optax.inject_hyperparams` give static_args="mask" if the mask is a function.

  Args:
    direction: keeps the slots and makes r of the gradient.
    clip: makes σ.
    learning_rate: η, or a schedule of the steps taken, as those of optax.
    accumulate: what the direction's slots see when the clip acts on gradients: the "clipped"
      gradient as in the methods' own papers, or the "original" one.
    scope: "layer" for one σ per leaf, "global" for one σ for all that are clipped.
    mask: a tree of bools like the parameters, or a function that makes it of them: False for leaves
      that get the direction alone, σ = 1. See `no_tables`. None clips all.

  Raises:
    ValueError: an argument is none that it can have.
  """
  for kind, made, base in (("direction", direction, Direction), ("clip", clip, Clip)):
    if not isinstance(made, base):
      raise ValueError(f"{kind} is {made!r}; make it a {kind} of this module, an object")
  for name, given, known in (
    ("accumulate", accumulate, ("clipped", "original")),
    ("scope", scope, ("layer", "global")),
  ):
    if given not in known:
      raise ValueError(f'{name} is {given!r}; make it "{known[0]}" or "{known[1]}"')
  of_units = isinstance(clip, AdaptiveGradientClipping) and clip.unit != "layer"
  if scope == "global" and of_units:
    raise ValueError('scope="global" needs norms of whole leaves; give AGC unit="layer"')
  if clip.needs_preconditioner and not isinstance(direction, Adagrad):
    raise ValueError(f"{clip} needs an accumulator, and {direction} has none; give it Adagrad()")

  def init(params: Any) -> ClippedState:
    count = len(jax.tree.leaves(params)) if scope == "layer" else 1
    return ClippedState(
      steps=jnp.zeros([], jnp.int32),
      slots={
        name: jax.tree.map(functools.partial(_filled, direction, value), params)
        for name, value in direction.initial_slots().items()
      },
      memory={
        name: jnp.full([count], value, jnp.result_type(float))
        for name, value in clip.initial_memory().items()
      },
      factors=jax.tree.map(lambda leaf: jnp.ones([], _wide(leaf)), params),
    )

  def update(
    updates: Any, state: ClippedState, params: Any = None, **extra: Any
  ) -> tuple[Any, ClippedState]:
    del extra
    if params is None:
      raise ValueError("clips need the weights; call update(updates, state, params)")
    given, tree = jax.tree.flatten(updates)
    weights = [jnp.asarray(leaf, _wide(leaf)) for leaf in tree.flatten_up_to(params)]
    gradients = [jnp.asarray(g, w.dtype) for g, w in zip(given, weights, strict=True)]
    slots: list[Slots] = [{} for _ in gradients]
    for name, leaves in state.slots.items():
      for own, leaf in zip(slots, tree.flatten_up_to(leaves), strict=True):
        own[name] = leaf
    masks = tree.flatten_up_to(mask(params) if callable(mask) else mask) if mask is not None else []
    is_clipped = [bool(each) for each in masks] or [True] * len(gradients)
    number = state.steps + 1
    rate = jnp.asarray(
      learning_rate(state.steps) if callable(learning_rate) else learning_rate,
      jnp.result_type(float),
    )

    made = [
      direction.move(g, own, w, number.astype(w.dtype))
      for g, own, w in zip(gradients, slots, weights, strict=True)
    ]
    own_measures = [
      clip.at(number.astype(w.dtype)).measure(
        Leaf(
          w,
          g if clip.acts_on == "gradient" else r,
          rate.astype(w.dtype),
          direction.preconditioner(old, new) if clip.needs_preconditioner else None,
        )
      )
      for w, g, old, (r, new) in zip(weights, gradients, slots, made, strict=True)
    ]
    of_clipped = [own for own, yes in zip(own_measures, is_clipped, strict=True) if yes]
    everywhere = {} if of_units else _joined(clip, of_clipped)
    factors: list[jax.Array] = []
    memory = dict(state.memory)
    for place, (own, yes) in enumerate(zip(own_measures, is_clipped, strict=True)):
      at = place if scope == "layer" else 0
      sigma = jnp.ones([], rate.dtype)
      if yes:
        sigma, latest = clip.at(number.astype(rate.dtype)).factor_and_memory(
          own if scope == "layer" else everywhere,
          everywhere,
          {name: kept[at] for name, kept in state.memory.items()},
        )
        memory = {name: memory[name].at[at].set(value) for name, value in latest.items()}
      factors.append(sigma)

    changes = []
    for k, (g, w) in enumerate(zip(gradients, weights, strict=True)):
      (r, new), sigma, at_step = made[k], factors[k].astype(w.dtype), number.astype(w.dtype)
      change = sigma * r
      if is_clipped[k] and accumulate == "clipped":
        if clip.acts_on == "gradient" and not direction.accumulates_after:
          change, new = direction.move(sigma * g, slots[k], w, at_step)
        elif direction.accumulates_after:
          _, new = direction.move(sigma * g, slots[k], w, at_step)
      slots[k] = new
      changes.append((-rate.astype(w.dtype) * change).astype(jnp.result_type(given[k])))
    return tree.unflatten(changes), ClippedState(
      steps=number,
      slots={name: tree.unflatten([new[name] for new in slots]) for name in state.slots},
      memory=memory,
      factors=tree.unflatten(
        [jnp.min(sigma).astype(w.dtype) for sigma, w in zip(factors, weights, strict=True)]
      ),
    )

  return skip_unless_finite(optax.GradientTransformationExtraArgs(init, update))


def skip_unless_finite(
  transformation: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """A transformation whose steps that are not finite are 0 and change nothing but two counts.

  Finite are: the sum of squared gradients, all updates, and `value`, the loss, an optional argument
  of `update`. `clipped` is one of these, and sees the leaves that it is given; around an
  `optax.multi_transform` or `optax.masked` this sees the others as well.
  """
  inner = optax.with_extra_args_support(transformation)

  def init(params: Any) -> FiniteState:
    return FiniteState(inner.init(params), jnp.zeros([], jnp.int32), jnp.zeros([], jnp.int32))

  def update(
    updates: Any, state: FiniteState, params: Any = None, *, value: Any = None, **extra: Any
  ) -> tuple[Any, FiniteState]:
    if value is not None:
      extra["value"] = value
    changes, new = inner.update(updates, state.inner, params, **extra)
    squares = [_square(jnp.asarray(g, _wide(g))) for g in jax.tree.leaves(updates)]
    checks = [
      jnp.isfinite(sum(squares, jnp.zeros([]))),
      jnp.all(jnp.isfinite(0.0 if value is None else value)),
    ]
    checks += [jnp.all(jnp.isfinite(change)) for change in jax.tree.leaves(changes)]
    finite = jnp.all(jnp.stack(checks))

    def kept(new: jax.Array, old: jax.Array) -> jax.Array:
      return jnp.where(finite, new, old)

    skipped = 1 - finite.astype(jnp.int32)
    return jax.tree.map(lambda change: kept(change, jnp.zeros_like(change)), changes), FiniteState(
      inner=jax.tree.map(kept, new, state.inner),
      skipped_steps=state.skipped_steps + skipped,
      skipped_in_a_row=skipped * (state.skipped_in_a_row + 1),
    )

  return optax.GradientTransformationExtraArgs(init, update)


# Words in the key of a leaf that is multiplied or added, though it is called an embedding too.
NO_TABLE = {"kernel", "bias", "projection", "dense", "scale", "norm", "gamma", "beta", "gate"}


def no_tables(params: Any) -> Any:
  """A mask: False for embedding tables, leaves whose own key has the word "embedding" in it.

  The keys above do not count, nor does an attribute "value" below: the layers of a
  user_embedding_tower are no tables, and an embedding_kernel is none.
  """

  def is_no_table(path: Any, _: Any) -> bool:
    names = [jax.tree_util.keystr(path[k : k + 1]).lower() for k in range(len(path))]
    while len(names) > 1 and re.fullmatch(r"\W*value\W*", names[-1]):
      names.pop()
    words = set(re.split(r"[^a-z]+", names[-1])) if names else set()
    return not words & {"embedding", "embeddings"} or bool(words & NO_TABLE)

  return jax.tree_util.tree_map_with_path(is_no_table, params)


def _filled(direction: Direction, value: float, leaf: jax.Array) -> jax.Array:
  """A slot of a leaf, sharded as that is."""
  return jnp.full_like(direction.slot_like(jnp.asarray(leaf)), value, dtype=_wide(leaf))


def _joined(clip: Clip, measures: list[Measures]) -> Measures:
  """The measures of several leaves as if they were one."""
  join = jnp.max if clip.joins == "largest" else jnp.sum
  names = measures[0] if measures else ()
  return {name: join(jnp.stack([each[name] for each in measures])) for name in names}
