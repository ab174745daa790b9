"""Fifty steps of the TensorFlow optimizer in float64, which its twins in other libraries repeat."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ranking import optimizers
from ranking.array import Array
from ranking.optimizers.clipping import Clip
from ranking.optimizers.directions import Direction
from ranking.optimizers.muon import Muon
from ranking.optimizers.operator_norm import OperatorNorm
from ranking.optimizers.row_adagrad import RowWiseAdagrad
from ranking.optimizers.settings import Ramp
from ranking.optimizers.spam import Spam

STEPS = 50
RATE = 0.25  # exact in float32, which TensorFlow keeps it in
DIRECTIONS: tuple[Direction, ...] = (
  optimizers.Sgd(),
  optimizers.Sgd(momentum=0.9),
  optimizers.Adagrad(),
  optimizers.Adagrad(accumulate_when="after", keep=0.9),
  optimizers.Adam(),
  optimizers.Adam(weight_decay=0.1),
  # Spikes that are found, and twice a new beginning whose shorter steps are over before the next.
  Spam(spike_threshold=20.0, reset_every=20, warmup_after_reset=8, settling_steps=4),
  Muon(),
  RowWiseAdagrad(),
)


def ramp(first: float, last: float) -> Any:
  """For 20 steps, in place of a number."""
  return Ramp(first, last, steps=20)


CLIPS: tuple[Clip, ...] = (
  optimizers.NoClip(),
  optimizers.GradientClipping(0.5),
  optimizers.AdaptiveGradientClipping(0.05),
  optimizers.AdaptiveGradientClipping(0.05, unit="layer"),
  optimizers.Clippy(),
  optimizers.Clippy(0.1, 1e-7, accumulator_threshold=0.05),
  optimizers.LayerClippy(),
  OperatorNorm(),
  optimizers.RmsClip(0.5),
  optimizers.AdaGC(warmup_steps=10),
  optimizers.ZClip(warmup_steps=10),
  optimizers.Lamb(0.1),
)
RAMPS: tuple[Clip, ...] = (  # one of each way to come by a threshold, over less than all steps
  optimizers.GradientClipping(ramp(2.0, 0.5)),
  optimizers.AdaptiveGradientClipping(ramp(0.02, 0.1)),
  optimizers.Clippy(ramp(0.5, 0.1), ramp(1e-3, 1e-2), accumulator_threshold=ramp(0.0, 0.05)),
  optimizers.AdaGC(ramp(2.0, 1.04), ramp(0.5, 1.0), warmup_steps=10),
  optimizers.Lamb(ramp(0.01, 0.1)),
)
# What the slots see matters to clips that act on gradients, and where they see it after the step.
# Units have no scope but their own; only Adagrad has what a third threshold is relative to.
MODES = (("clipped", "layer"), ("original", "layer"), ("clipped", "global"))


class Case(NamedTuple):
  direction: Direction
  clip: Clip
  accumulate: str
  scope: str

  def __str__(self) -> str:
    return f"{self.direction}-{self.clip}-{self.accumulate}-{self.scope}"


def cases() -> Iterator[Case]:
  for direction in DIRECTIONS:
    for clip in (*CLIPS, *(RAMPS if direction == optimizers.Adagrad() else ())):
      for accumulate, scope in MODES:
        sees_all = clip.acts_on == "direction" and not direction.accumulates_after
        same = sees_all and accumulate == "original"
        of_units = getattr(clip, "unit", "layer") == "output" and scope == "global"
        lacks = clip.needs_preconditioner and not direction.has_preconditioner
        if not (same or of_units or lacks):
          yield Case(direction, clip, accumulate, scope)


CASES = tuple(cases())


class Weight(NamedTuple):
  """A weight and its gradients by step; those of a table are of some rows, one of them twice."""

  kind: str  # kernel [inputs, outputs], vector (or scalar) or table
  start: Array
  gradients: tuple[Array, ...]
  rows: tuple[Array, ...]


@functools.cache
def problem(direction: Direction) -> tuple[Weight, ...]:
  """What a direction is for; gradients are ordinary, every seventh is a spike."""
  random = np.random.default_rng(3)
  made = []
  for kind, shape in (
    *(("kernel", (6, 4)), ("kernel", (3, 5)), ("vector", (4,)), ("vector", ())),
    ("table", (8, 3)),
  ):
    of_gradient = (4, *shape[1:]) if kind == "table" else shape
    gradients = tuple(
      (100.0 if k % 7 == 6 else 1.0) * random.normal(size=of_gradient) for k in range(STEPS)
    )
    rows = tuple(np.array([k % 8, (k + 3) % 8, k % 8, (k * k + 1) % 8]) for k in range(STEPS))
    made.append(Weight(kind, 0.3 * random.normal(size=shape), gradients, rows))
  if isinstance(direction, Muon):
    return tuple(weight for weight in made if weight.kind == "kernel")
  if isinstance(direction, RowWiseAdagrad):  # a kernel's first axis is another one in PyTorch
    return tuple(weight for weight in made if weight.kind != "kernel")
  return tuple(made)


def tensorflow_steps(case: Case, dense: bool = False) -> list[list[Array]]:
  """The weights after every step, and last the factors of the last one."""
  weights = problem(case.direction)
  variables = [tf.Variable(weight.start, dtype=tf.float64) for weight in weights]
  optimizer = optimizers.ClippedOptimizer(
    case.direction,
    case.clip,
    RATE,
    case.accumulate,  # type: ignore[arg-type]  # one of the two
    exclude="",
    scope=case.scope,  # type: ignore[arg-type]  # likewise
  )
  optimizer.build(variables)

  @tf.function
  def step(gradients: list[tf.Tensor], rows: list[tf.Tensor]) -> list[tf.Tensor]:
    pairs: list[Any] = []
    for weight, gradient, own, variable in zip(weights, gradients, rows, variables, strict=True):
      if weight.kind == "table":
        gradient = tf.IndexedSlices(gradient, own, tf.constant(weight.start.shape, tf.int64))
        gradient = tf.convert_to_tensor(gradient) if dense else gradient
      pairs.append((gradient, variable))
    optimizer.apply_gradients(pairs)
    return [tf.identity(variable) for variable in variables]

  after = []
  for k in range(STEPS):
    gradients = [tf.constant(weight.gradients[k]) for weight in weights]
    rows = [tf.constant(weight.rows[k]) for weight in weights]
    after.append([value.numpy() for value in step(gradients, rows)])
  return [*after, [factor.numpy() for factor in optimizer.clipping_factors()]]


def settings(part: Any) -> tuple[str, dict[str, Any]]:
  """The name and arguments of a clip or direction, to make its twin of."""
  fields = dataclasses.fields(part)
  return type(part).__name__, {field.name: getattr(part, field.name) for field in fields}
