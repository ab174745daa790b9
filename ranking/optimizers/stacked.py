"""A step of many small variables of one shape and treatment, which are stacked and moved as one.

A step of hundreds would be hundreds of times the same dozens of operations, to trace and to carry
out.
"""

import functools
from typing import Any, NamedTuple

import tensorflow as tf

from ranking.optimizers.directions import Direction, Slots
from ranking.optimizers.fused import is_large
from ranking.optimizers.kept import Kept
from ranking.optimizers.step import (
  Pairs,
  Step,
  change_and_slots,
  constrain,
  measures_of,
  rates_and_numbers,
)

STACKED_FROM = 8  # variables


class Stack(NamedTuple):
  """What a step will do to variables, each along the first axis."""

  places: list[int]  # of the variables among the pairs
  direction: Direction
  change: tf.Tensor  # η·σ·r
  slots: Slots  # new ones
  factors: tf.Tensor  # the smallest σ of each
  half_square: tf.Tensor  # of the gradients


class Write(NamedTuple):
  """What to write of one variable; what there is already, where the step is not finite."""

  change: tf.Tensor
  slots: Slots
  factor: tf.Tensor
  finite: tf.Tensor


def stacks_of(step: Step, pairs: Pairs) -> list[Stack]:
  """All that can be stacked."""
  return [_take(step, pairs, places) for places in _alike(step, pairs)]


def _alike(step: Step, pairs: Pairs) -> list[list[int]]:
  """Places of small variables of one shape and treatment, without memory."""
  found: dict[Any, list[int]] = {}
  for place, (gradient, variable) in enumerate(pairs):
    treated = step.treatment(variable, gradient)
    together = step.scope == "global" and treated.is_clipped
    if together or treated.clip.initial_memory() or isinstance(gradient, tf.IndexedSlices):
      continue
    if variable.shape.is_fully_defined() and not is_large(gradient):
      of_rows = step.is_table(variable, gradient)
      key = (treated, of_rows, tuple(variable.shape), variable.dtype)
      found.setdefault(key, []).append(place)
  return [places for places in found.values() if len(places) >= STACKED_FROM]


def _take(step: Step, pairs: Pairs, places: list[int]) -> Stack:
  """The step of variables of one shape and treatment."""
  gradient, variable = pairs[places[0]]
  treated, of_rows = step.treatment(variable, gradient), step.is_table(variable, gradient)
  kept = [step.kept.slots[step.kept.index(pairs[place][1])] for place in places]
  stack = (
    tf.stack([pairs[place][0] for place in places]),
    tf.stack([pairs[place][1] for place in places]),
    {name: tf.stack([slots[name] for slots in kept]) for name in kept[0]},
  )
  ((rate, number),) = rates_and_numbers(step, [(gradient, variable)], [treated])

  def take(stack: Any, rate: tf.Tensor, number: tf.Tensor) -> Any:
    def take_one(one: Any) -> tuple[tf.Tensor, Slots, tf.Tensor]:
      gradient, weights, slots = one
      measures = measures_of(treated, of_rows, gradient, weights, slots, rate, number)
      factor = treated.clip.at(number, gradient.dtype).factor(measures)
      change, slots = change_and_slots(
        step, treated, gradient, weights, slots, factor, rate, number
      )
      return change, slots, tf.reduce_min(factor)

    return tf.vectorized_map(take_one, stack)

  key = ("stacked", treated, of_rows, len(places), tuple(variable.shape), variable.dtype)
  if key not in step.functions:
    step.functions[key] = tf.function(functools.partial(take), autograph=False)
  change, slots, factors = step.functions[key](stack, rate, number)
  return Stack(places, treated.direction, change, slots, factors, tf.nn.l2_loss(stack[0]))


def writes_of(
  step: Step, pairs: Pairs, stack: Stack, finite: tf.Tensor
) -> list[tuple[tf.Variable, Write]]:
  """What to write of each of the variables."""
  variables = [pairs[place][1] for place in stack.places]
  indices = [step.kept.index(variable) for variable in variables]
  change = tf.where(finite, stack.change, tf.zeros_like(stack.change))
  old = tf.stack([step.kept.factors[index] for index in indices])
  factors = tf.unstack(tf.where(finite, stack.factors, old))
  slots: list[Slots] = [{} for _ in indices]
  for name, values in stack.slots.items():
    old = tf.stack([step.kept.slots[index][name] for index in indices])
    for each, value in zip(slots, tf.unstack(tf.where(finite, values, old)), strict=True):
      each[name] = value
  writes = (Write(*parts, finite) for parts in zip(tf.unstack(change), slots, factors, strict=True))
  return list(zip(variables, writes, strict=True))


def write(kept: Kept, variable: tf.Variable, *parts: Any) -> None:
  """Writes one variable on one replica."""
  own = Write(*parts)
  index = kept.index(variable)
  for name, value in own.slots.items():
    kept.slots[index][name].assign(value)
  kept.factors[index].assign(own.factor)
  variable.assign_sub(own.change)
  constrain(variable, own.finite)
