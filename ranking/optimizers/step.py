"""A step of variables one by one: measure, decide, move.

    measure   per variable: the numbers that its clip needs, in one pass
    decide    σ of every variable, or one σ for all of a clip; the clip's memory
    move      per variable: weights and slots, in one pass

Nothing is written before the third, which needs to know whether all is finite; see finite.py.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from ranking.optimizers import rows
from ranking.optimizers.clipping import Clip, Measures, Memory, NoClip
from ranking.optimizers.directions import Slots
from ranking.optimizers.fused import Functions, compiled, is_large
from ranking.optimizers.kept import Kept
from ranking.optimizers.rows import Gradient
from ranking.optimizers.rules import Treatment

Pairs = Sequence[tuple[Gradient, tf.Variable]]


class Step(NamedTuple):
  """What the step to come needs to know of its optimizer."""

  treatment: Callable[[tf.Variable, Gradient | None], Treatment]
  is_table: Callable[[tf.Variable, Gradient | None], bool]
  rate: Callable[[tf.DType], tf.Tensor]  # η, without the multiple of a rule
  number: Callable[[tf.DType], tf.Tensor]  # 1 for the first
  kept: Kept
  scope: Literal["layer", "global"]
  accumulate: Literal["clipped", "original"]
  functions: Functions


class Decision(NamedTuple):
  """What a step will do to one variable."""

  factor: tf.Tensor  # σ: scalar, or one for each unit of unit-wise AGC
  memory: Memory  # of its clip, after the step; empty where another variable keeps the same
  rate: tf.Tensor  # η
  step: tf.Tensor  # its number, 1 for the first


def at_least_float32(dtype: tf.DType) -> tf.DType:
  """A dtype that can count: bfloat16 has no 257."""
  return tf.float32 if dtype.size < tf.float32.size else dtype


class Judged(NamedTuple):
  """What a clip judges: a variable, or a stack of some, of which measures and memory are [n]."""

  treated: Treatment
  measures: Measures
  memory: Memory  # before the step; of all variables of the clip together where scope is "global"
  rate: tf.Tensor
  step: tf.Tensor
  is_stack: bool = False

  def of_each(self) -> list[Measures]:
    """The measures of each variable."""
    if not self.is_stack:
      return [self.measures]
    columns = [tf.unstack(values) for values in self.measures.values()]
    return [dict(zip(self.measures, row, strict=True)) for row in zip(*columns, strict=True)]


def decide(
  step: Step, pairs: Pairs, shadow: Clip | None = None, stacks: Sequence[Judged] = ()
) -> list[Decision]:
  """What a step will do to the variable of each of the pairs, and to stacks; writes nothing.

  Args:
    step: to come.
    pairs: gradients summed over replicas, each row of a table once.
    shadow: another clip, without memory, in place of those of all variables that are clipped.
    stacks: variables that are taken together, beside the pairs.
  """
  treated = [step.treatment(variable, gradient) for gradient, variable in pairs]
  if shadow is not None:
    treated = [t._replace(clip=shadow) if t.is_clipped else t for t in treated]
  now = rates_and_numbers(step, pairs, treated)
  judged = [
    Judged(t, _measure(step, t, *pair, *at), _memory(step, pair[1], t), *at)
    for t, pair, at in zip(treated, pairs, now, strict=True)
  ]
  judged += stacks
  of_clip: dict[Clip, list[Measures]] = {}
  for each in judged:
    clip = each.treated.clip
    if each.treated.is_clipped and (step.scope == "global" or clip.initial_memory()):
      of_clip.setdefault(clip, []).extend(each.of_each())
  joined = {clip: _join(clip, measures) for clip, measures in of_clip.items()}
  if step.scope == "global":
    return _decide_together(judged, joined)
  return [_decide_alone(step, each, joined.get(each.treated.clip, {})) for each in judged]


def _memory(step: Step, variable: tf.Variable, treated: Treatment) -> Memory:
  return dict(step.kept.memory_of(variable, treated)) if treated.clip.initial_memory() else {}


def _decide_alone(step: Step, judged: Judged, everywhere: Measures) -> Decision:
  """σ and the memory of each variable by itself."""
  treated, own, memory, rate, number, _ = judged
  if not treated.clip.initial_memory():
    factor = treated.clip.at(number, rate.dtype).factor(own)
    return Decision(factor, {}, rate, number)
  own, everywhere, memory = (_cast(values, number.dtype) for values in (own, everywhere, memory))
  if judged.is_stack:
    count = next(iter(own.values())).shape[0]
    key = ("stacked decision", treated, count, number.dtype)
    if key not in step.functions:
      step.functions[key] = tf.function(functools.partial(_of_each, treated.clip), autograph=False)
    factor, memory = step.functions[key](own, everywhere, memory, number)
  else:
    clip = treated.clip.at(number, number.dtype)
    factor, memory = clip.factor_and_memory(own, everywhere, memory, number)
  return Decision(tf.cast(factor, rate.dtype), memory, rate, number)


def _of_each(
  clip: Clip, own: Measures, everywhere: Measures, memory: Memory, number: tf.Tensor
) -> tuple[tf.Tensor, Memory]:
  """`factor_and_memory` of each variable of a stack."""
  clip = clip.at(number, number.dtype)

  def of_one(one: tuple[Measures, Memory]) -> tuple[tf.Tensor, Memory]:
    return clip.factor_and_memory(one[0], everywhere, one[1], number)

  made: tuple[tf.Tensor, Memory] = tf.vectorized_map(of_one, (own, memory))
  return made


def _decide_together(judged: Sequence[Judged], joined: dict[Clip, Measures]) -> list[Decision]:
  """One σ, and one memory, for all variables of a clip."""
  made: dict[Clip, tuple[tf.Tensor, Memory]] = {}
  decisions = []
  for treated, own, kept, rate, number, _ in judged:
    if not treated.is_clipped:
      decisions.append(Decision(treated.clip.factor(own), {}, rate, number))
      continue
    clip, memory = treated.clip, Memory()
    if clip not in made:
      everywhere = joined[clip]
      dtype = next(iter(everywhere.values())).dtype
      number_of_all = tf.cast(number, dtype)
      made[clip] = clip.at(number_of_all, dtype).factor_and_memory(
        everywhere, everywhere, _cast(kept, dtype), number_of_all
      )
      memory = made[clip][1]
    decisions.append(Decision(tf.cast(made[clip][0], rate.dtype), memory, rate, number))
  return decisions


def rates_and_numbers(
  step: Step, pairs: Pairs, treated: Sequence[Treatment]
) -> list[tuple[tf.Tensor, tf.Tensor]]:
  """Rate and number of the step to come, for each of the pairs."""
  made: dict[Any, tuple[tf.Tensor, tf.Tensor]] = {}
  keys = [(variable.dtype, t.rate) for (_, variable), t in zip(pairs, treated, strict=True)]
  for dtype, times in keys:
    if (dtype, times) not in made:
      rate = step.rate(dtype)
      made[dtype, times] = (rate if times == 1.0 else times * rate, step.number(dtype))
  return [made[key] for key in keys]


def _measure(
  step: Step,
  treated: Treatment,
  gradient: Gradient,
  variable: tf.Variable,
  rate: tf.Tensor,
  number: tf.Tensor,
) -> Measures:
  """What the clip needs to know of one variable."""
  of_rows = step.is_table(variable, gradient)
  measure = functools.partial(measures_of, treated, of_rows)
  slots = step.kept.slots[step.kept.index(variable)]
  values, weights, slots = rows.moved(gradient, variable, slots, treated.direction)
  if not is_large(gradient):
    return measure(values, weights, slots, rate, number)
  clip, direction, *_ = treated
  key = ("measure", clip, direction, of_rows, tuple(variable.shape), variable.dtype)
  weights, slots = tf.nest.map_structure(tf.convert_to_tensor, (weights, dict(slots)))
  return compiled(step.functions, key, measure)(values, weights, slots, rate, number)


def measures_of(
  treated: Treatment,
  of_rows: bool,
  gradient: tf.Tensor,
  weights: tf.Tensor,
  slots: Slots,
  rate: tf.Tensor,
  number: tf.Tensor,
) -> Measures:
  """What a clip needs to know, of values."""
  clip, direction = treated.clip.at(number, gradient.dtype), treated.direction
  if clip.acts_on == "direction":
    gradient, new_slots = direction(gradient, slots, weights, number)
    if treated.clip.needs_preconditioner:
      scale = direction.preconditioner(slots, new_slots)
      return clip.measure_beside(scale, weights, gradient, rate)
  return clip.measure(weights, gradient, rate, of_rows)


def change_and_slots(
  step: Step,
  treated: Treatment,
  gradient: tf.Tensor,
  weights: tf.Tensor,
  slots: Slots,
  factor: tf.Tensor,
  rate: tf.Tensor,
  number: tf.Tensor,
) -> tuple[tf.Tensor, Slots]:
  """(η·σ·r, new slots)."""
  make, on_gradient = treated.direction, treated.clip.acts_on == "gradient"
  if on_gradient and step.accumulate == "clipped":
    direction, new_slots = make(factor * gradient, slots, weights, number)
    return rate * direction, new_slots
  direction, new_slots = make(gradient, slots, weights, number)
  if make.accumulates_after and step.accumulate == "clipped":
    _, new_slots = make(factor * gradient, slots, weights, number)
  return rate * factor * direction, new_slots


def move(
  step: Step,
  treated: Treatment,
  variable: tf.Variable,
  gradient: Gradient,
  decision: Decision,
  finite: tf.Tensor,
) -> None:
  """Moves one variable and its slots on one replica, unless the step is not finite."""
  place = step.kept.index(variable)
  kept_slots = step.kept.slots[place]
  of_rows = isinstance(gradient, tf.IndexedSlices) and treated.direction.is_row_wise

  def move(
    gradient: Gradient,
    factor: tf.Tensor,
    rate: tf.Tensor,
    number: tf.Tensor,
    finite: tf.Tensor | None = None,
  ) -> None:
    values, weights, slots = rows.moved(gradient, variable, kept_slots, treated.direction)
    change, new_slots = change_and_slots(
      step, treated, values, weights, slots, factor, rate, number
    )
    if finite is not None:
      change = tf.where(finite, change, tf.zeros_like(change))
      new_slots = {name: tf.where(finite, new, slots[name]) for name, new in new_slots.items()}
    targets = [(kept_slots[name], value) for name, value in new_slots.items()]
    if of_rows:
      for slot, value in targets:
        slot.scatter_update(tf.IndexedSlices(value, gradient.indices))
      variable.scatter_sub(tf.IndexedSlices(change, gradient.indices))
    else:
      for slot, value in targets:
        slot.assign(value)
      variable.assign_sub(change)

  scalars = (decision.factor, decision.rate, decision.step)
  if is_large(gradient):
    fast = compiled(step.functions, ("write", variable.ref()), move)
    # A condition, not a selection of new or old values: XLA then writes in place.
    tf.cond(finite, lambda: fast(gradient, *scalars), lambda: None)
  else:  # where a condition costs more than the selection
    move(gradient, *scalars, finite)
  if isinstance(treated.clip, NoClip):
    step.kept.factors[place].assign(1.0)
  else:
    smallest = decision.factor
    if smallest.shape.rank != 0:  # one σ for each unit; of no rows there is none
      smallest = tf.reduce_min(smallest)
      smallest = tf.where(tf.math.is_inf(smallest), tf.ones_like(smallest), smallest)
    memory = step.kept.memory_of(variable, treated)
    kept = [(step.kept.factors[place], smallest)]
    kept += [(memory[name], value) for name, value in decision.memory.items()]
    for scalar, value in kept:
      scalar.assign(tf.where(finite, tf.cast(value, scalar.dtype), scalar))
  constrain(variable, finite)


def constrain(variable: tf.Variable, finite: tf.Tensor) -> None:
  """Applies a variable's constraint, after a step that is finite."""
  if variable.constraint is not None:
    variable.assign(tf.where(finite, variable.constraint(variable), variable))


def _join(clip: Clip, measures: Sequence[Measures]) -> Measures:
  """`clip.join`, in the first variable's dtype where they differ, and in one that can count."""
  dtypes = {name: at_least_float32(value.dtype) for name, value in measures[0].items()}
  return clip.join([{n: tf.cast(v, dtypes[n]) for n, v in each.items()} for each in measures])


def _cast(values: Measures, dtype: tf.DType) -> Measures:
  return {name: tf.cast(value, dtype) for name, value in values.items()}
