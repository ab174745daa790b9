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
from ranking.optimizers.operator_norm import OperatorNorm

STEPS = 50
RATE = 0.25  # exact in float32, which TensorFlow keeps it in
DIRECTIONS: tuple[Direction, ...] = (
  optimizers.Sgd(),
  optimizers.Sgd(momentum=0.9),
  optimizers.Adagrad(),
  optimizers.Adagrad(accumulate_when="after", keep=0.9),
  optimizers.Adam(),
  optimizers.Adam(weight_decay=0.1),
)
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
    for clip in CLIPS:
      for accumulate, scope in MODES:
        sees_all = clip.acts_on == "direction" and not direction.accumulates_after
        same = sees_all and accumulate == "original"
        of_units = getattr(clip, "unit", "layer") == "output" and scope == "global"
        lacks = clip.needs_preconditioner and not direction.has_preconditioner
        if not (same or of_units or lacks):
          yield Case(direction, clip, accumulate, scope)


CASES = tuple(cases())


class Problem(NamedTuple):
  """Weights and gradients: a kernel [inputs, outputs], a bias, a scalar and a table."""

  weights: tuple[Array, ...]
  gradients: tuple[tuple[Array, ...], ...]  # by step; of the table those of its rows
  rows: tuple[Array, ...]  # by step, one of them twice


@functools.cache
def problem() -> Problem:
  """Ordinary gradients, every seventh of which is a spike."""
  random = np.random.default_rng(3)
  weights = tuple(0.3 * random.normal(size=shape) for shape in ((6, 4), (4,), (), (8, 3)))
  gradients = tuple(
    tuple(
      (100.0 if k % 7 == 6 else 1.0) * random.normal(size=shape)
      for shape in ((6, 4), (4,), (), (4, 3))
    )
    for k in range(STEPS)
  )
  rows = tuple(np.array([k % 8, (k + 3) % 8, k % 8, (k * k + 1) % 8]) for k in range(STEPS))
  return Problem(weights, gradients, rows)


def tensorflow_steps(case: Case, dense: bool = False) -> list[list[Array]]:
  """The weights after every step, and last the factors of the last one."""
  weights, gradients, rows = problem()
  variables = [tf.Variable(w, dtype=tf.float64) for w in weights]
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
  def step(*gradients: tf.Tensor, rows: tf.Tensor) -> list[tf.Tensor]:
    *whole, table = gradients
    last: Any = tf.IndexedSlices(table, rows, tf.constant(weights[-1].shape, tf.int64))
    if dense:
      last = tf.convert_to_tensor(last)
    optimizer.apply_gradients(zip([*whole, last], variables, strict=True))
    return [tf.identity(variable) for variable in variables]

  after = [
    [value.numpy() for value in step(*map(tf.constant, gradients_now), rows=tf.constant(rows_now))]
    for gradients_now, rows_now in zip(gradients, rows, strict=True)
  ]
  return [*after, [factor.numpy() for factor in optimizer.clipping_factors()]]


def settings(part: Any) -> tuple[str, dict[str, Any]]:
  """The name and arguments of a clip or direction, to make its twin of."""
  return type(part).__name__, dataclasses.asdict(part)
