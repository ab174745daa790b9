"""What a step is about to do to each variable, and what other clips would do (paper, Figures 4, 8).

Observing writes nothing and keeps nothing: a step that is observed is the step that is not.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import tensorflow as tf

from ranking.optimizers.clipping import Clip
from ranking.optimizers.guards import unwrapped
from ranking.optimizers.optimizer import ClippedOptimizer
from ranking.optimizers.rows import Gradient, moved


class Observation(NamedTuple):
  """One variable in one step: scalars in its dtype, but for `coordinate`.

  Of a table with sparse gradients only the rows that the step moves are looked at.
  """

  gradient_norm: tf.Tensor  # ‖g‖₂, before any clipping
  weight_norm: tf.Tensor  # ‖w‖₂, before the step
  direction_norm: tf.Tensor  # ‖r‖₂ of the gradient before any clipping
  largest_ratio: tf.Tensor  # max |r/w|; infinite where a weight of 0 is about to move
  factor: tf.Tensor  # σ of the clip in force; of unit-wise AGC the smallest
  coordinate: tf.Tensor  # int64 [rank]: the weight that bound σ; −1 where σ is 1
  shadow_factors: dict[str, tf.Tensor]  # σ of other clips, on the same weights, slots and gradient


@tf.autograph.experimental.do_not_convert
def observe(
  optimizer: ClippedOptimizer,
  grads_and_vars: Iterable[tuple[Gradient | None, tf.Variable]],
  shadows: Mapping[str, Clip],
) -> list[Observation]:
  """Observations of the variables that have a gradient; call it before `apply_gradients`.

  Args:
    optimizer: built; mixed_float16 may have put a LossScaleOptimizer around it.
    grads_and_vars: as for `apply_gradients`, summed over replicas.
    shadows: other clips, by the names to give their factors.

  Raises:
    ValueError: a shadow needs a memory of earlier steps, which only the clip in force has.
    RuntimeError: it is called outside of a replica; with a strategy, observe in `strategy.run`.
  """
  for name, clip in shadows.items():
    if clip.initial_memory():
      raise ValueError(
        f"shadow {name}: {type(clip).__name__} judges by earlier steps of its own run; leave it out"
      )
  optimizer, grads_and_vars = unwrapped(optimizer), list(grads_and_vars)
  optimizer.check_replica([variable for _, variable in grads_and_vars])
  pairs = optimizer.distinct(grads_and_vars)
  optimizer.note_tables(pairs)
  pairs = optimizer.means(pairs)
  decided = {name: optimizer.decide(clip, pairs) for name, clip in shadows.items()}
  in_force = optimizer.decide(None, pairs)
  return [
    _observe(
      *(optimizer, gradient, variable, tf.reduce_min(in_force[k].factor)),
      {name: tf.reduce_min(decisions[k].factor) for name, decisions in decided.items()},
    )
    for k, (gradient, variable) in enumerate(pairs)
  ]


def _observe(
  optimizer: ClippedOptimizer,
  gradient: Gradient,
  variable: tf.Variable,
  factor: tf.Tensor,
  shadow_factors: dict[str, tf.Tensor],
) -> Observation:
  clip, make, times, _ = optimizer.treatment(variable, gradient)
  kept = optimizer.kept.slots[optimizer.kept.index(variable)]
  values, weights, slots = moved(gradient, variable, kept, make)
  direction, new_slots = make(values, slots, weights, optimizer.step(values.dtype))
  acted_on = values if clip.acts_on == "gradient" else direction
  rate = times * optimizer.rate(values.dtype)
  stepped = clip.at(optimizer.step(values.dtype), values.dtype)
  if clip.needs_preconditioner:
    scale = make.preconditioner(slots, new_slots)
    pressure = stepped.pressure_beside(scale, weights, acted_on, rate)
  else:
    pressure = stepped.pressure(weights, acted_on, rate, optimizer.is_table(variable, gradient))
  # One more, which never is the largest, because a step may touch no row of a table at all.
  position = tf.argmax(tf.pad(tf.reshape(pressure, [-1]), [[0, 1]], constant_values=-2.0))
  if isinstance(gradient, tf.IndexedSlices) and make.is_row_wise:
    width = math.prod(variable.shape[1:])
    rows = tf.pad(tf.cast(gradient.indices, tf.int64), [[0, 1]])
    position = rows[position // width] * width + position % width
  coordinate = _unravel(position, variable.shape)
  ratio = tf.where(direction == 0.0, tf.zeros_like(direction), tf.abs(direction / weights))
  return Observation(
    tf.norm(values),
    tf.norm(weights),
    tf.norm(direction),
    tf.reduce_max(ratio),
    factor,
    tf.where(factor == 1.0, -tf.ones_like(coordinate), coordinate),
    shadow_factors,
  )


def _unravel(position: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
  """The index [rank] of a position in a flattened tensor."""
  index: list[tf.Tensor] = []
  for size in reversed(shape):
    index.insert(0, position % size)
    position //= size
  return tf.stack(index) if index else tf.zeros([0], tf.int64)
