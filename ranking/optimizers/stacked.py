"""A step of many small variables of one shape and treatment, which are stacked and moved as one.

A step of hundreds would be hundreds of times the same dozens of operations, to trace and to carry
out.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from ranking.optimizers.clipping import Measures, Memory, NoClip
from ranking.optimizers.directions import Slots
from ranking.optimizers.fused import is_large
from ranking.optimizers.kept import Kept
from ranking.optimizers.rules import Treatment
from ranking.optimizers.step import (
  Decision,
  Judged,
  Pairs,
  Step,
  change_and_slots,
  constrain,
  decide,
  measures_of,
  rates_and_numbers,
)

STACKED_FROM = 8  # variables
Decided = list[tf.Tensor]  # σ of each variable, or nothing


class Stack(NamedTuple):
  """What a step will do to variables, each along the first axis."""

  places: list[int]  # of the variables among the pairs
  treated: Treatment
  change: tf.Tensor  # η·σ·r
  slots: Slots  # new ones
  factors: tf.Tensor  # the smallest σ of each
  half_square: tf.Tensor  # of the gradients
  memory: Memory  # new one of each; a scalar where it is of all variables of the clip
  old_slots: Slots
  old_memory: Memory


class Write(NamedTuple):
  """What to write of one variable; what there is already, where the step is not finite."""

  change: tf.Tensor
  slots: Slots
  factor: tf.Tensor
  finite: tf.Tensor
  memory: Memory  # of its clip, as far as this variable writes it


class _Values(NamedTuple):
  """Gradients, weights and slots of variables, stacked."""

  gradients: tf.Tensor
  weights: tf.Tensor
  slots: Slots


def decide_all(step: Step, pairs: Pairs) -> tuple[Pairs, list[Decision], list[Stack]]:
  """The pairs that are taken one by one, what is decided of them, and stacks of the others."""
  groups = _alike(step, pairs)
  together = {place for places in groups for place in places}
  alone = [pair for place, pair in enumerate(pairs) if place not in together]
  values = [_values(step, pairs, places) for places in groups]
  judged = {
    number: _judged(step, pairs, places, values[number])
    for number, places in enumerate(groups)
    if _needs_others(step, step.treatment(pairs[places[0]][1], pairs[places[0]][0]))
  }
  decisions = decide(step, alone, stacks=list(judged.values()))
  of_stacks = dict(zip(judged, decisions[len(alone) :], strict=True))
  stacks = [
    _take(step, pairs, places, values[number], judged.get(number), of_stacks.get(number))
    for number, places in enumerate(groups)
  ]
  return alone, decisions[: len(alone)], stacks


def _needs_others(step: Step, treated: Treatment) -> bool:
  """Whether σ depends on more than this step of one variable."""
  together = step.scope == "global" and treated.is_clipped
  return together or bool(treated.clip.initial_memory())


def _alike(step: Step, pairs: Pairs) -> list[list[int]]:
  """Places of small variables of one shape and treatment."""
  found: dict[Any, list[int]] = {}
  for place, (gradient, variable) in enumerate(pairs):
    if isinstance(gradient, tf.IndexedSlices):
      continue
    if variable.shape.is_fully_defined() and not is_large(gradient):
      treated, of_rows = step.treatment(variable, gradient), step.is_table(variable, gradient)
      key = (treated, of_rows, tuple(variable.shape), variable.dtype)
      found.setdefault(key, []).append(place)
  return [places for places in found.values() if len(places) >= STACKED_FROM]


def _values(step: Step, pairs: Pairs, places: list[int]) -> _Values:
  kept = [step.kept.slots[step.kept.index(pairs[place][1])] for place in places]
  return _Values(
    tf.stack([pairs[place][0] for place in places]),
    tf.stack([pairs[place][1] for place in places]),
    {name: tf.stack([slots[name] for slots in kept]) for name in kept[0]},
  )


def _judged(step: Step, pairs: Pairs, places: list[int], values: _Values) -> Judged:
  """Measures of each variable of a stack, for a clip that needs more than them."""
  gradient, variable = pairs[places[0]]
  treated, of_rows = step.treatment(variable, gradient), step.is_table(variable, gradient)
  ((rate, number),) = rates_and_numbers(step, [(gradient, variable)], [treated])

  def measure(values: _Values, rate: tf.Tensor, number: tf.Tensor) -> Measures:
    def measure_one(one: _Values) -> Measures:
      return measures_of(treated, of_rows, *one, rate, number)

    return dict(tf.vectorized_map(measure_one, values))

  measures = _function(step, "measures of stacked", pairs, places, measure)(values, rate, number)
  memories = [step.kept.memory_of(pairs[place][1], treated) for place in places]
  memory: Memory = dict(memories[0])
  if step.scope == "layer":
    memory = {name: tf.stack([each[name] for each in memories]) for name in memory}
  return Judged(treated, measures, memory, rate, number, is_stack=True)


def _take(
  step: Step,
  pairs: Pairs,
  places: list[int],
  values: _Values,
  judged: Judged | None,
  decision: Decision | None,
) -> Stack:
  """The step of variables of one shape and treatment, for which σ may be decided already."""
  gradient, variable = pairs[places[0]]
  treated, of_rows = step.treatment(variable, gradient), step.is_table(variable, gradient)
  ((rate, number),) = rates_and_numbers(step, [(gradient, variable)], [treated])

  def take(values: _Values, rate: tf.Tensor, number: tf.Tensor, decided: Decided) -> Any:
    def take_one(one: tuple[_Values, Decided]) -> tuple[tf.Tensor, Slots, tf.Tensor]:
      (gradient, weights, slots), factors = one
      if factors:
        (factor,) = factors
      else:
        measures = measures_of(treated, of_rows, gradient, weights, slots, rate, number)
        factor = treated.clip.at(number, gradient.dtype).factor(measures)
      change, slots = change_and_slots(
        step, treated, gradient, weights, slots, factor, rate, number
      )
      return change, slots, tf.reduce_min(factor)

    return tf.vectorized_map(take_one, (values, decided))

  decided, memory, old_memory = Decided(), Memory(), Memory()
  if judged is not None and decision is not None:
    decided = [tf.broadcast_to(decision.factor, [len(places)])]
    memory, old_memory = decision.memory, judged.memory
  function = _function(step, "stacked", pairs, places, take)
  change, slots, factors = function(values, rate, number, decided)
  half_square = tf.nn.l2_loss(values.gradients)
  old = (values.slots, old_memory)
  return Stack(places, treated, change, slots, factors, half_square, memory, *old)


def _function(
  step: Step, what: str, pairs: Pairs, places: list[int], body: Callable[..., Any]
) -> Callable[..., Any]:
  """A function in a graph, made once for variables of one shape and treatment."""
  gradient, variable = pairs[places[0]]
  treated, of_rows = step.treatment(variable, gradient), step.is_table(variable, gradient)
  key = (what, treated, of_rows, len(places), tuple(variable.shape), variable.dtype)
  if key not in step.functions:
    step.functions[key] = tf.function(functools.partial(body), autograph=False)
  return step.functions[key]


def writes_of(
  step: Step, pairs: Pairs, stack: Stack, finite: tf.Tensor
) -> list[tuple[tf.Variable, Write]]:
  """What to write of each of the variables."""
  variables = [pairs[place][1] for place in stack.places]
  indices = [step.kept.index(variable) for variable in variables]
  change = tf.where(finite, stack.change, tf.zeros_like(stack.change))
  if isinstance(stack.treated.clip, NoClip):  # then 1 is right whatever the step
    factors = [tf.constant(1.0, stack.factors.dtype)] * len(indices)
  else:
    old = tf.stack([step.kept.factors[index] for index in indices])
    factors = tf.unstack(tf.where(finite, stack.factors, old))
  slots: list[Slots] = [{} for _ in indices]
  for name, values in stack.slots.items():
    latest = tf.unstack(tf.where(finite, values, stack.old_slots[name]))
    for each, value in zip(slots, latest, strict=True):
      each[name] = value
  memories: list[Memory] = [{} for _ in indices]
  for name, values in stack.memory.items():
    old = tf.convert_to_tensor(stack.old_memory[name])
    latest = tf.where(finite, tf.cast(values, old.dtype), old)
    # What is of all variables of the clip the first one writes.
    each_latest = tf.unstack(latest) if latest.shape.rank else [latest]
    for each, value in zip(memories, each_latest, strict=False):
      each[name] = value
  parts = zip(tf.unstack(change), slots, factors, memories, strict=True)
  writes = [Write(change, own, factor, finite, memory) for change, own, factor, memory in parts]
  return list(zip(variables, writes, strict=True))


def write(kept: Kept, treated: Treatment, variable: tf.Variable, *parts: Any) -> None:
  """Writes one variable on one replica."""
  own = Write(*parts)
  index = kept.index(variable)
  for name, value in own.slots.items():
    kept.slots[index][name].assign(value)
  for name, value in own.memory.items():
    kept.memory_of(variable, treated)[name].assign(value)
  kept.factors[index].assign(own.factor)
  variable.assign_sub(own.change)
  constrain(variable, own.finite)
