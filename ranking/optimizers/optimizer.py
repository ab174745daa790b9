"""The one optimizer: w ← w − η·σ·r, with a direction r and a clipping factor σ (equation 5).

A step has three parts, and nothing is written before the third:

    measure   per variable: ‖g‖₂², and the numbers its clip needs, each in one pass
    decide    whether the step is finite; σ of every variable, or one σ for all; the clip's memory
    write     per variable: weights and slots, in one pass
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
import tf_keras

from ranking.optimizers.clipping import AdaptiveGradientClipping, Clip, Measures, Memory, NoClip
from ranking.optimizers.directions import Adagrad, Direction, Slots
from ranking.optimizers.rules import TABLES, Rule, Treatment, check_pattern, is_table, treatment
from ranking.optimizers.saved_state import (
  CURE,
  Layout,
  StateError,
  as_bytes,
  check_fit,
  describe,
  of_adagrad,
  of_bytes,
  short,
)
from ranking.optimizers.settings import LATER, ThresholdError

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices

# A variable this large is measured and updated by compiled (XLA) functions, which read it fewer
# times. Compiling takes some 50 ms a variable, more than a short run on smaller ones gives back.
FUSED_FROM = 1 << 20

COUNTS = ("skipped_steps", "skipped_in_a_row")

# So many small variables of one shape and treatment are stacked and moved as one. A step of
# hundreds would be hundreds of times the same dozens of operations, to trace and to carry out.
STACKED_FROM = 8

# What tf_keras optimizers have, and a step of this one would not look at.
UNUSED = {
  "clipnorm": "clip=GradientClipping(threshold)",
  "global_clipnorm": 'clip=GradientClipping(threshold), scope="global"',
  "clipvalue": "a clip, such as clip=Clippy()",
  "weight_decay": "direction=Adam(weight_decay=...)",
}


class Decision(NamedTuple):
  """What a step will do to one variable."""

  factor: tf.Tensor  # σ: scalar, or one for each unit of unit-wise AGC
  memory: Memory  # of its clip, after the step; empty where another variable keeps the same
  rate: tf.Tensor  # η
  step: tf.Tensor  # its number, 1 for the first


class Together(NamedTuple):
  """What a step will do to variables that it has stacked: each along the first axis."""

  places: list[int]  # of the variables among the pairs
  direction: Direction
  change: tf.Tensor  # η·σ·r
  slots: Slots  # new ones
  factors: tf.Tensor  # the smallest σ of each
  half_square: tf.Tensor  # of the gradients


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
  """Describes a ClippedOptimizer: all of its arguments but the learning rate, which see there.

  Raises ThresholdError for an argument that it cannot have.
  """

  direction: Direction
  clip: Clip
  accumulate: Literal["clipped", "original"] = "clipped"
  exclude: str = TABLES
  scope: Literal["layer", "global"] = "layer"
  rules: Sequence[Rule] = dataclasses.field(default=(), metadata=LATER)

  def __post_init__(self) -> None:
    for kind, made, wanted in (
      ("direction", self.direction, Direction),
      ("clip", self.clip, Clip),
    ):
      if not isinstance(made, wanted):
        raise ThresholdError(f"{kind} is {made!r}; make it a {wanted.__name__.lower()}, an object")
    for name, known in (("accumulate", ("clipped", "original")), ("scope", ("layer", "global"))):
      if getattr(self, name) not in known:
        raise ThresholdError(
          f'{name} is {getattr(self, name)!r}; make it "{known[0]}" or "{known[1]}"'
        )
    for rule in self.rules:
      if not isinstance(rule, Rule):
        raise ThresholdError(f'rules has {rule!r}; make it Rule("pattern", clip=...)')
    check_pattern("exclude", self.exclude)
    for clip in (self.clip, *(rule.clip for rule in self.rules)):
      of_units = isinstance(clip, AdaptiveGradientClipping) and clip.unit != "layer"
      if self.scope == "global" and of_units:
        raise ThresholdError('scope="global" needs norms of whole variables; give AGC unit="layer"')
    for rule in (Rule("", self.clip), *self.rules):
      clip, direction = rule.clip or self.clip, rule.direction or self.direction
      if clip.needs_preconditioner and not direction.has_preconditioner:
        raise ThresholdError(
          f"{clip} has a threshold that is relative to an accumulator, and {direction} has none; "
          "give it direction=Adagrad()"
        )

  def build(
    self, learning_rate: float | tf_keras.optimizers.schedules.LearningRateSchedule
  ) -> "ClippedOptimizer":
    """The optimizer with this learning rate."""
    return ClippedOptimizer(
      self.direction,
      self.clip,
      learning_rate,
      self.accumulate,
      self.exclude,
      self.scope,
      rules=self.rules,
    )


@tf_keras.saving.register_keras_serializable("ranking")
class ClippedOptimizer(tf_keras.optimizers.Optimizer):
  """A tf_keras optimizer made of a direction and a clip.

  A step whose loss (where it is known: in `fit`, or given to `apply_gradients`), learning rate or
  any gradient is not finite, or whose squared gradients do not add up to a finite number, changes
  nothing but the counts `skipped_steps` and `skipped_in_a_row`.

  State is saved as tf_keras saves its own, by the order of the variables; see saved_state.py.

  Args:
    direction: keeps the slots and makes r of the gradient.
    clip: makes σ.
    learning_rate: η, a float or a tf_keras schedule of the steps taken.
    accumulate: what the direction's slots see: the "clipped" gradient as in the papers of clips
      that act on gradients, or the "original" one as in 4.3.1. Clips that act on directions come
      too late for it, unless the direction accumulates after the step.
    exclude: variables that get the direction alone, σ = 1 (5.1.3): TABLES for those that are looked
      up, or a pattern that is searched for in their names; "" for none.
    scope: "layer" for one σ per variable, "global" for one σ for all that are clipped (4.3.2).
    rules: other treatments of some variables; the first that fits wins, before `exclude`.
  """

  def __init__(
    self,
    direction: Direction,
    clip: Clip,
    learning_rate: float | tf_keras.optimizers.schedules.LearningRateSchedule = 0.1,
    accumulate: Literal["clipped", "original"] = "clipped",
    exclude: str = TABLES,
    scope: Literal["layer", "global"] = "layer",
    name: str = "ClippedOptimizer",
    rules: Sequence[Rule] = (),
  ):
    OptimizerSettings(direction, clip, accumulate, exclude, scope, rules)  # refuses what is none
    super().__init__(name=name, weight_decay=None)  # decay belongs to the direction
    self._learning_rate = self._build_learning_rate(learning_rate)
    self.direction = direction
    self.clip = clip
    self.accumulate = accumulate
    self.exclude = exclude
    self.scope = scope
    self.rules = self._no_dependency(tuple(rules))
    self.skipped_steps = self.add_variable([], tf.int64, name="skipped_steps")
    self.skipped_in_a_row = self.add_variable([], tf.int64, name="skipped_in_a_row")
    self._fused = self._no_dependency({})
    self._tables = self._no_dependency(set())  # variables whose gradients have come in rows
    self._layout = self._no_dependency(Layout(self._begin_anew))
    self._lists = self._no_dependency({})  # of what is kept of each variable, by kind
    self._awaited = self._no_dependency({})  # values that were loaded before there were variables
    self._description: tf.Variable | None = None  # of what there are lists of, once built

  def __setattr__(self, name: str, value: Any) -> None:
    if name in UNUSED and value is not None:
      raise ThresholdError(
        f"{name} = {value!r} would be ignored; give the optimizer {UNUSED[name]} instead"
      )
    if name == "use_ema" and value:
      raise ThresholdError("use_ema = True would be ignored; average the weights in a callback")
    super().__setattr__(name, value)

  def build(self, var_list: Sequence[tf.Variable]) -> None:
    """Creates slots, clip memory, and per variable the smallest σ of the last step.

    Raises StateError if a state that was restored before is not of these variables.
    """
    if not getattr(self, "_built", False):
      self._build(list(var_list))
    self._refuse_foreign_state()

  def _build(self, var_list: list[tf.Variable]) -> None:
    first_of = self._first_of_clips(var_list)
    shared = [kind for clip in first_of for kind in clip.initial_memory()]
    self._layout.build(describe(var_list, self._kinds_of, shared))
    super().build(var_list)
    self._built_for = self._no_dependency(var_list)
    self._slots, self._memories, self._factors = (self._no_dependency([]) for _ in range(3))
    self._shared_memories = self._no_dependency({})
    lists: dict[str, list[tf.Variable]] = {}

    def slot(kind: str, variable: tf.Variable, value: float) -> tf.Variable:
      initial = tf.constant(value, variable.dtype, variable.shape)
      made = self.add_variable_from_reference(variable, kind, initial_value=initial)
      lists.setdefault(kind, []).append(made)
      return made

    def scalar(kind: str, variable: tf.Variable, value: float, dtype: tf.DType) -> tf.Variable:
      initial, name = tf.constant(value, dtype), f"{kind}/{variable._shared_name}"
      made = tf.Variable(initial, name=name, trainable=False)
      self._variables.append(made)
      lists.setdefault(kind, []).append(made)
      return made

    def memory(clip: Clip, variable: tf.Variable) -> dict[str, tf.Variable]:
      dtype = at_least_float32(variable.dtype)
      return {
        kind: scalar(kind, variable, value, dtype) for kind, value in clip.initial_memory().items()
      }

    for variable in var_list:
      treated = self.treatment(variable)
      slots = treated.direction.initial_slots()
      self._slots.append({kind: slot(kind, variable, value) for kind, value in slots.items()})
      self._memories.append(memory(treated.clip, variable) if self.scope == "layer" else {})
      self._factors.append(scalar("clipping_factor", variable, 1.0, variable.dtype))
    for clip, variable in first_of.items():
      self._shared_memories[clip] = memory(clip, variable)
    for kind, variables in lists.items():
      for position in self._deferred_dependencies.get(_list_name(kind), ()):
        if len(position.object_proto.children) != len(variables):
          raise StateError(
            f"the checkpoint has {len(position.object_proto.children)} {kind}s, the optimizer "
            f"{len(variables)} of them; {CURE}"
          )
      self._lists[kind] = tf.__internal__.tracking.wrap(variables)
      self._handle_deferred_dependencies(_list_name(kind), self._lists[kind])
    self._assign_values(self._awaited)
    self._awaited.clear()
    layout = as_bytes(self._layout.built)
    self._description = self._no_dependency(tf.Variable(layout, name="layout", trainable=False))
    self._built = True

  def _first_of_clips(self, variables: Sequence[tf.Variable]) -> dict[Clip, tf.Variable]:
    """With one σ for all: the clips that have a memory, and the first variable of each."""
    found: dict[Clip, tf.Variable] = {}
    for variable in variables:
      treated = self.treatment(variable)
      if self.scope == "global" and treated.is_clipped and treated.clip.initial_memory():
        found.setdefault(treated.clip, variable)
    return found

  def _kinds_of(self, variable: tf.Variable) -> list[str]:
    """What is kept of a variable, by name."""
    treated = self.treatment(variable)
    memory = treated.clip.initial_memory() if self.scope == "layer" else {}
    return [*treated.direction.initial_slots(), *memory, "clipping_factor"]

  def _memory_of(self, treated: Treatment, index: int) -> dict[str, tf.Variable]:
    """What the clip of a variable remembers, of it or of all of the clip's variables."""
    if self.scope == "global":
      return self._shared_memories.get(treated.clip, {}) if treated.is_clipped else {}
    return self._memories[index]

  def treatment(self, variable: tf.Variable, gradient: Gradient | None = None) -> Treatment:
    """Clip, direction and rate of a variable; a gradient in rows shows that it is a table."""
    looked_up = self.is_table(variable, gradient)
    made = treatment(variable, looked_up, self.rules, self.exclude, self.clip, self.direction)
    if self._use_weight_decay(variable):
      return made
    return made._replace(direction=made.direction.without_decay())

  def is_table(self, variable: tf.Variable, gradient: Gradient | None = None) -> bool:
    """Whether a variable is looked up, as its name says, or its gradients, now or earlier."""
    return self._var_key(variable) in self._tables or is_table(variable, gradient)

  def note_tables(self, pairs: Iterable[tuple[Gradient, tf.Variable]]) -> None:
    """Takes variables whose gradients come in rows for tables from now on.

    Raises StateError if what was made for one when the optimizer was built is not a table's.
    """
    for gradient, variable in pairs:
      if not isinstance(gradient, tf.IndexedSlices) or self.is_table(variable):
        continue
      before, now = self.treatment(variable), self.treatment(variable, gradient)
      lacks = now.clip.initial_memory().keys() - self._memory_of(now, self._index(variable)).keys()
      if lacks or before.direction.initial_slots() != now.direction.initial_slots():
        raise StateError(
          f"variable {short(variable)} is looked up, which its name does not say, and the "
          "optimizer was built for what it keeps of other variables; name it in a rule, "
          f'Rule("{short(variable)}", ...), before that for TABLES'
        )
      self._tables.add(self._var_key(variable))

  def is_clipped(self, variable: tf.Variable) -> bool:
    """Whether the clip applies to a variable, or the direction alone."""
    return self.treatment(variable).is_clipped

  def describe(self, variables: Iterable[tf.Variable]) -> str:
    """Which variable is treated how, a line for each."""
    rows = [(short(variable), self.treatment(variable)) for variable in variables]
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(
      f"{name:{width}s}  {treated.direction}, "
      + (f"{treated.clip}" if treated.is_clipped else "direction alone")
      + (f", rate × {treated.rate:g}" if treated.rate != 1.0 else "")
      for name, treated in rows
    )

  def clipping_factors(self, variables: Iterable[tf.Variable] | None = None) -> list[tf.Variable]:
    """The smallest σ of the last step taken, a scalar for each of some variables.

    Without an argument they are those that the optimizer was built for, which may be more than the
    trainable ones of today: every scalar is called clipping_factor/ and the variable's name.
    """
    if variables is None:
      return list(self._factors) if getattr(self, "_built", False) else []
    return [self._factors[self._index(variable)] for variable in variables]

  def state_of(self, variable: tf.Variable) -> dict[str, tf.Variable]:
    """Slots, memory and clipping factor of a variable, by kind; memory may be of all variables."""
    index = self._index(variable)
    return {
      **self._slots[index],
      **self._memory_of(self.treatment(variable), index),
      "clipping_factor": self._factors[index],
    }

  def reset_slots(self) -> None:
    """Gives all slots the values that they had before the first step; counts and memory stay."""
    for slots, variable in zip(self._slots, self._built_for, strict=True):
      for kind, value in self.treatment(variable).direction.initial_slots().items():
        slots[kind].assign(tf.fill(variable.shape, tf.constant(value, slots[kind].dtype)))

  def _begin_anew(self) -> None:
    """Gives all that is kept of variables the values that it had before the first step."""
    self.reset_slots()
    for factor in self._factors:
      factor.assign(1.0)
    for memory in (*self._memories, *self._shared_memories.values()):
      for number in memory.values():
        number.assign(0.0)

  def minimize(self, loss: Any, var_list: Any, tape: tf.GradientTape | None = None) -> tf.Variable:
    """Does what tf_keras does, and looks at the loss for being finite."""
    pairs = self.compute_gradients(loss, var_list, tape)
    return self.apply_gradients(pairs, loss=None if callable(loss) else loss)

  @tf.autograph.experimental.do_not_convert  # nothing to convert, and looking for it takes seconds
  def apply_gradients(
    self,
    grads_and_vars: Iterable[tuple[Gradient | None, tf.Variable]],
    name: str | None = None,
    skip_gradients_aggregation: bool = False,
    loss: tf.Tensor | None = None,
    experimental_aggregate_gradients: bool = True,
  ) -> tf.Variable:
    """One step.

    Args:
      grads_and_vars: (gradient, variable); a variable without gradient is left alone.
      name: of the scope of operations.
      skip_gradients_aggregation: whether gradients are already summed over replicas.
      loss: looked at only for being finite.
      experimental_aggregate_gradients: the opposite of `skip_gradients_aggregation`, as in older
        optimizers.

    Returns:
      The count of steps taken, `iterations`.
    """
    grads_and_vars = list(grads_and_vars)
    if not grads_and_vars:
      return self.iterations
    self.check_replica([variable for _, variable in grads_and_vars])
    self._compute_current_learning_rate()
    with tf.init_scope():
      self.build([variable for _, variable in grads_and_vars])
    if experimental_aggregate_gradients and not skip_gradients_aggregation:
      grads_and_vars = self.aggregate_gradients(grads_and_vars)
    pairs = self.distinct(grads_and_vars)
    self.note_tables(pairs)
    with tf.name_scope(name or self.name):
      stacks = [self._take_together(pairs, places) for places in self._alike(pairs)]
      stacked = {place for together in stacks for place in together.places}
      alone = [pair for place, pair in enumerate(pairs) if place not in stacked]
      decisions = self.decide(None, alone) if alone else []
      finite = self._is_finite(alone, decisions, stacks, loss)
      writes = [write for each in stacks for write in self._writes(pairs, each, finite)]
      tf.__internal__.distribute.interim.maybe_merge_call(
        self._write, self._distribution_strategy, alone, decisions, writes, finite
      )
    return self.iterations

  def _alike(self, pairs: Sequence[tuple[Gradient, tf.Variable]]) -> list[list[int]]:
    """Places of small variables that a step can stack: of one shape, treatment and no memory."""
    found: dict[Any, list[int]] = {}
    for place, (gradient, variable) in enumerate(pairs):
      treated = self.treatment(variable, gradient)
      together = self.scope == "global" and treated.is_clipped
      if together or treated.clip.initial_memory() or isinstance(gradient, tf.IndexedSlices):
        continue
      if variable.shape.is_fully_defined() and not _is_large(gradient):
        of_rows = self.is_table(variable, gradient)
        key = (treated, of_rows, tuple(variable.shape), variable.dtype)
        found.setdefault(key, []).append(place)
    return [places for places in found.values() if len(places) >= STACKED_FROM]

  def _take_together(
    self, pairs: Sequence[tuple[Gradient, tf.Variable]], places: list[int]
  ) -> Together:
    """The step of variables of one shape and treatment."""
    gradient, variable = pairs[places[0]]
    treated, of_rows = self.treatment(variable, gradient), self.is_table(variable, gradient)
    kept = [self._slots[self._index(pairs[place][1])] for place in places]
    stack = (
      tf.stack([pairs[place][0] for place in places]),
      tf.stack([pairs[place][1] for place in places]),
      {name: tf.stack([slots[name] for slots in kept]) for name in kept[0]},
    )
    ((rate, step),) = self._now([(gradient, variable)], [treated])

    def take(stack: Any, rate: tf.Tensor, step: tf.Tensor) -> Any:
      def take_one(one: Any) -> tuple[tf.Tensor, Slots, tf.Tensor]:
        gradient, weights, slots = one
        measures = _measures(treated, of_rows, gradient, weights, slots, rate, step)
        factor = treated.clip.factor(measures)
        change, slots = self._move(gradient, weights, slots, factor, rate, step, treated)
        return change, slots, tf.reduce_min(factor)

      return tf.vectorized_map(take_one, stack)

    key = ("together", treated, of_rows, len(places), tuple(variable.shape), variable.dtype)
    if key not in self._fused:
      self._fused[key] = tf.function(functools.partial(take), autograph=False)
    change, slots, factors = self._fused[key](stack, rate, step)
    return Together(places, treated.direction, change, slots, factors, tf.nn.l2_loss(stack[0]))

  def _writes(
    self, pairs: Sequence[tuple[Gradient, tf.Variable]], together: Together, finite: tf.Tensor
  ) -> list[tuple[tf.Variable, tuple[Any, ...]]]:
    """(variable, what to write) of variables that were stacked; what there is if not finite."""
    variables = [pairs[place][1] for place in together.places]
    indices = [self._index(variable) for variable in variables]
    change = tf.where(finite, together.change, tf.zeros_like(together.change))
    old = tf.stack([self._factors[index] for index in indices])
    factors = tf.unstack(tf.where(finite, together.factors, old))
    slots: list[Slots] = [{} for _ in indices]
    for name, values in together.slots.items():
      old = tf.stack([self._slots[index][name] for index in indices])
      for each, value in zip(slots, tf.unstack(tf.where(finite, values, old)), strict=True):
        each[name] = value
    parts = zip(tf.unstack(change), slots, factors, [finite] * len(indices), strict=True)
    return list(zip(variables, parts, strict=True))

  def _write_part(
    self,
    variable: tf.Variable,
    change: tf.Tensor,
    slots: Slots,
    factor: tf.Tensor,
    finite: tf.Tensor,
  ) -> None:
    """Writes what was computed together for one variable."""
    index = self._index(variable)
    for name, value in slots.items():
      self._slots[index][name].assign(value)
    self._factors[index].assign(factor)
    variable.assign_sub(change)
    _constrain(variable, finite)

  def check_replica(self, variables: Iterable[tf.Variable]) -> None:
    """Raises RuntimeError or ValueError where a step would go wrong on several replicas."""
    now = tf.distribute.get_strategy()
    if tf.distribute.in_cross_replica_context():
      raise RuntimeError(
        "the optimizer was called outside of a replica; call it in a function given to strategy.run"
      )
    if tf.distribute.has_strategy() and self._distribution_strategy is now:
      home = f"{type(now).__name__} that the optimizer was made in"
    elif self._distribution_strategy.num_replicas_in_sync > 1:
      raise RuntimeError(
        "the optimizer was made in the scope of a strategy and called outside of it; call it in a "
        "function given to strategy.run"
      )
    else:
      home = f"{type(now).__name__} that the optimizer was called in"
    for variable in variables:
      if not now.extended.variable_created_in_scope(variable):
        raise ValueError(
          f"variable {short(variable)} was not created in the scope of the strategy {home}; make "
          "and train the model with one strategy"
        )

  @tf.autograph.experimental.do_not_convert
  def distinct(
    self, grads_and_vars: Iterable[tuple[Gradient | None, tf.Variable]]
  ) -> list[tuple[Gradient, tf.Variable]]:
    """Drops variables without gradient, and adds up the gradients of a row that comes twice."""
    pairs = [(gradient, variable) for gradient, variable in grads_and_vars if gradient is not None]
    if not pairs:
      raise ValueError("no variable has a gradient; does the loss depend on them, inside the tape?")
    gradients = self._deduplicate_sparse_grad([gradient for gradient, _ in pairs])
    return [(g, variable) for g, (_, variable) in zip(gradients, pairs, strict=True)]

  @tf.autograph.experimental.do_not_convert
  def decide(
    self, shadow: Clip | None, pairs: Sequence[tuple[Gradient, tf.Variable]]
  ) -> list[Decision]:
    """What a step will do to the variable of each of the pairs; writes nothing.

    Args:
      shadow: another clip, without memory, in place of those of all variables that are clipped.
      pairs: from `distinct`, the gradients summed over replicas.
    """
    treated = [self.treatment(variable, gradient) for gradient, variable in pairs]
    if shadow is not None:
      treated = [t._replace(clip=shadow) if t.is_clipped else t for t in treated]
    now = self._now(pairs, treated)
    measures = [
      self._measure(t, *pair, *at) for t, pair, at in zip(treated, pairs, now, strict=True)
    ]
    of_clip: dict[Clip, list[Measures]] = {}
    for t, own in zip(treated, measures, strict=True):
      if t.is_clipped and (self.scope == "global" or t.clip.initial_memory()):
        of_clip.setdefault(t.clip, []).append(own)
    joined = {clip: _join(clip, each) for clip, each in of_clip.items()}
    if self.scope == "global":
      return self._decide_together(treated, measures, joined, now)
    decisions = []
    for t, own, (_, variable), (rate, step) in zip(treated, measures, pairs, now, strict=True):
      if not t.clip.initial_memory():
        decisions.append(Decision(t.clip.factor(own), {}, rate, step))
        continue
      kept = self._memories[self._index(variable)]
      own, everywhere, memory = (
        _cast(values, step.dtype) for values in (own, joined.get(t.clip, {}), kept)
      )
      factor, memory = t.clip.factor_and_memory(own, everywhere, memory, step)
      decisions.append(Decision(tf.cast(factor, rate.dtype), memory, rate, step))
    return decisions

  def _decide_together(
    self,
    treated: Sequence[Treatment],
    measures: Sequence[Measures],
    joined: dict[Clip, Measures],
    now: Sequence[tuple[tf.Tensor, tf.Tensor]],
  ) -> list[Decision]:
    """One σ, and one memory, for all variables of a clip."""
    made: dict[Clip, tuple[tf.Tensor, Memory]] = {}
    decisions = []
    for t, own, (rate, step) in zip(treated, measures, now, strict=True):
      if not t.is_clipped:
        decisions.append(Decision(t.clip.factor(own), {}, rate, step))
        continue
      memory: Memory = {}
      if t.clip not in made:
        everywhere = joined[t.clip]
        dtype = next(iter(everywhere.values())).dtype
        memory = _cast(self._shared_memories.get(t.clip, {}), dtype)
        made[t.clip] = t.clip.factor_and_memory(
          everywhere, everywhere, memory, tf.cast(step, dtype)
        )
        memory = made[t.clip][1]
      decisions.append(Decision(tf.cast(made[t.clip][0], rate.dtype), memory, rate, step))
    return decisions

  def _now(
    self, pairs: Sequence[tuple[Gradient, tf.Variable]], treated: Sequence[Treatment]
  ) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Rate and number of the step to come, for each of the pairs."""
    made: dict[Any, tuple[tf.Tensor, tf.Tensor]] = {}
    keys = [(variable.dtype, t.rate) for (_, variable), t in zip(pairs, treated, strict=True)]
    for dtype, times in keys:
      if (dtype, times) not in made:
        rate = self.rate(dtype)
        made[dtype, times] = (rate if times == 1.0 else times * rate, self.step(dtype))
    return [made[key] for key in keys]

  def rate(self, dtype: tf.DType) -> tf.Tensor:
    """η of the step to come; `learning_rate` still is the last step's if there is a schedule."""
    rate = self._learning_rate
    if isinstance(rate, tf_keras.optimizers.schedules.LearningRateSchedule):
      rate = rate(self.iterations)
    return tf.cast(rate, dtype)

  def step(self, dtype: tf.DType) -> tf.Tensor:
    """The number of the step to come, 1 for the first; in float32 at least, to count on."""
    return tf.cast(self.iterations + 1, at_least_float32(dtype))

  def values(
    self, gradient: Gradient, variable: tf.Variable, direction: Direction
  ) -> tuple[tf.Tensor, tf.Tensor, Slots]:
    """(gradient, weights, slots) of what a step moves, all of one shape.

    The whole variable; or the rows that a sparse gradient touches, unless the direction also moves
    those that it does not.
    """
    slots = self._slots[self._index(variable)]
    if not isinstance(gradient, tf.IndexedSlices):
      return gradient, variable, slots
    rows = gradient.indices
    if direction.is_row_wise:
      gathered = {name: tf.gather(slot, rows) for name, slot in slots.items()}
      return gradient.values, tf.gather(variable, rows), gathered
    dense = tf.math.unsorted_segment_sum(gradient.values, rows, variable.shape[0])
    return dense, variable, slots

  def _measure(
    self,
    treated: Treatment,
    gradient: Gradient,
    variable: tf.Variable,
    rate: tf.Tensor,
    step: tf.Tensor,
  ) -> Measures:
    """What the clip needs to know of one variable."""
    of_rows = self.is_table(variable, gradient)
    measure = functools.partial(_measures, treated, of_rows)
    values, weights, slots = self.values(gradient, variable, treated.direction)
    if not _is_large(gradient):
      return measure(values, weights, slots, rate, step)
    clip, direction, *_ = treated
    key = ("measure", clip, direction, of_rows, tuple(variable.shape), variable.dtype)
    compiled = self._compiled(key, measure)
    weights, slots = tf.nest.map_structure(tf.convert_to_tensor, (weights, dict(slots)))
    return compiled(values, weights, slots, rate, step)

  def _is_finite(
    self,
    pairs: Sequence[tuple[Gradient, tf.Variable]],
    decisions: Sequence[Decision],
    stacks: Sequence[Together],
    loss: tf.Tensor | None,
  ) -> tf.Tensor:
    """Scalar bool, the same on every replica: whether what a step would write is finite.

    The sum of all squared gradients, and the square of the rate: then so is any product of the two.
    σ and the clip's new memory. Our own directions make finite numbers of finite gradients; those
    of another direction are looked at one by one.
    """
    squares: dict[tf.DType, list[tf.Tensor]] = {}
    for gradient, _ in pairs:
      values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
      squares.setdefault(values.dtype, []).append(tf.nn.l2_loss(values))
    for together in stacks:
      squares.setdefault(together.half_square.dtype, []).append(together.half_square)
    sums = [2.0 * tf.add_n(same) for same in squares.values()]
    rates = {id(decision.rate): decision.rate for decision in decisions}
    sums += [tf.square(rate) for rate in rates.values()]
    for together in stacks:
      sums += [together.change, together.factors]
      if not together.direction.keeps_finite:
        sums += together.slots.values()
    scalars: dict[tf.DType, list[tf.Tensor]] = {}
    for (gradient, variable), decision in zip(pairs, decisions, strict=True):
      treated = self.treatment(variable, gradient)
      seen = list(decision.memory.values())
      if not isinstance(treated.clip, NoClip):
        seen.append(decision.factor)
      if not treated.direction.keeps_finite:
        values, weights, slots = self.values(gradient, variable, treated.direction)
        direction, slots = treated.direction(values, slots, weights, decision.step)
        seen += [direction, *slots.values()]
      for value in seen:
        if value.shape.rank == 0:
          scalars.setdefault(value.dtype, []).append(value)
        else:
          sums.append(value)
    sums += [tf.stack(same) for same in scalars.values()]
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(total)) for total in sums])
    if loss is None:
      return finite
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
      loss = replica.all_reduce(tf.distribute.ReduceOp.SUM, loss)
    return finite & tf.reduce_all(tf.math.is_finite(loss))

  def _write(
    self,
    distribution: tf.distribute.Strategy,
    pairs: Sequence[tuple[Gradient, tf.Variable]],
    decisions: Sequence[Decision],
    writes: Sequence[tuple[tf.Variable, tuple[Any, ...]]],
    finite: tf.Tensor,
  ) -> None:
    """Carries out a decision on every replica."""
    update = distribution.extended.update
    for variable, parts in writes:
      update(variable, self._write_part, args=parts, group=False)
    for (gradient, variable), decision in zip(pairs, decisions, strict=True):
      # By the variable itself: its copy on a replica has another name.
      here = distribution.experimental_local_results(gradient)[0]
      write = functools.partial(self._write_variable, self.treatment(variable, here))
      update(variable, write, args=(gradient, decision, finite), group=False)
    if self._distribution_strategy is distribution:
      update(self._iterations, self._write_counts, args=(finite,), group=False)
    else:  # made outside of its scope, the counts are ordinary variables
      self._write_counts(self._iterations, distribution.experimental_local_results(finite)[0])

  def _write_variable(
    self,
    treated: Treatment,
    variable: tf.Variable,
    gradient: Gradient,
    decision: Decision,
    finite: tf.Tensor,
  ) -> None:
    """Moves one variable and its slots, unless the step is not finite."""
    index = self._index(variable)
    of_rows = isinstance(gradient, tf.IndexedSlices) and treated.direction.is_row_wise

    def move(
      gradient: Gradient,
      factor: tf.Tensor,
      rate: tf.Tensor,
      step: tf.Tensor,
      finite: tf.Tensor | None = None,
    ) -> None:
      values, weights, slots = self.values(gradient, variable, treated.direction)
      change, new_slots = self._move(values, weights, slots, factor, rate, step, treated)
      if finite is not None:
        change = tf.where(finite, change, tf.zeros_like(change))
        new_slots = {name: tf.where(finite, new, slots[name]) for name, new in new_slots.items()}
      targets = [(self._slots[index][name], value) for name, value in new_slots.items()]
      if of_rows:
        for slot, value in targets:
          slot.scatter_update(tf.IndexedSlices(value, gradient.indices))
        variable.scatter_sub(tf.IndexedSlices(change, gradient.indices))
      else:
        for slot, value in targets:
          slot.assign(value)
        variable.assign_sub(change)

    scalars = (decision.factor, decision.rate, decision.step)
    if _is_large(gradient):
      compiled = self._compiled(("write", variable.ref()), move)
      # A condition, not a selection of new or old values: XLA then writes in place.
      tf.cond(finite, lambda: compiled(gradient, *scalars), lambda: None)
    else:  # where a condition costs more than the selection
      move(gradient, *scalars, finite)
    smallest = decision.factor
    if smallest.shape.rank != 0:  # one σ for each unit; of no rows there is none
      smallest = tf.reduce_min(smallest)
      smallest = tf.where(tf.math.is_inf(smallest), tf.ones_like(smallest), smallest)
    kept = [(self._factors[index], smallest)]
    memory = self._memory_of(treated, index)
    kept += [(memory[name], value) for name, value in decision.memory.items()]
    for scalar, value in kept:
      scalar.assign(tf.where(finite, tf.cast(value, scalar.dtype), scalar))
    _constrain(variable, finite)

  def _move(
    self,
    gradient: tf.Tensor,
    weights: tf.Tensor,
    slots: Slots,
    factor: tf.Tensor,
    rate: tf.Tensor,
    step: tf.Tensor,
    treated: Treatment,
  ) -> tuple[tf.Tensor, Slots]:
    """(η·σ·r, new slots)."""
    make, on_gradient = treated.direction, treated.clip.acts_on == "gradient"
    if on_gradient and self.accumulate == "clipped":
      direction, new_slots = make(factor * gradient, slots, weights, step)
      return rate * direction, new_slots
    direction, new_slots = make(gradient, slots, weights, step)
    if make.accumulates_after and self.accumulate == "clipped":
      _, new_slots = make(factor * gradient, slots, weights, step)
    return rate * factor * direction, new_slots

  def _write_counts(self, iterations: tf.Variable, finite: tf.Tensor) -> None:
    taken = tf.cast(finite, tf.int64)
    iterations.assign_add(taken)
    self.skipped_steps.assign_add(1 - taken)
    self.skipped_in_a_row.assign((1 - taken) * (self.skipped_in_a_row + 1))

  def _compiled(self, key: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as XLA compiles it, kept so that eager steps compile once as well."""
    if key not in self._fused:
      # TensorFlow takes functions of the same code for one that it traces again and again.
      self._fused[key] = tf.function(functools.partial(function), jit_compile=True)
    return self._fused[key]

  def _index(self, variable: tf.Variable) -> int:
    """The place of a variable. Raises KeyError for one that the optimizer was not built for."""
    index: int | None = getattr(self, "_index_dict", {}).get(self._var_key(variable))
    if index is None:
      raise KeyError(
        f"the optimizer was not built for variable {short(variable)}; call optimizer.build with "
        "all variables that will ever be trained before the first step, or compile with a new "
        "optimizer"
      )
    return index

  # Saving and restoring

  def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> dict[str, Any]:
    """As tf_keras names them, so that its Adagrad's checkpoints can be gone on from."""
    if save_type != "checkpoint":
      return super()._trackable_children(save_type, **kwargs)
    names = ("_iterations", "_learning_rate", "_current_learning_rate")
    children = {name: getattr(self, name, None) for name in (*names, *COUNTS, "_layout")}
    if not isinstance(self._learning_rate, tf.Variable):
      del children["_learning_rate"]
    children |= {_list_name(kind): variables for kind, variables in self._lists.items()}
    return {name: child for name, child in children.items() if child is not None}

  def _refuse_foreign_state(self) -> None:
    """Raises StateError where a checkpoint holds state that nothing here takes."""
    harmless = ("_variables", "clipping_factors")  # of tf_keras, beside its lists by kind; of TFRS
    for name, positions in self._deferred_dependencies.items():
      if name not in harmless and any(p.object_proto.children for p in positions):
        raise StateError(
          f"the checkpoint holds {name.removeprefix('_')} of another optimizer, or of an earlier "
          f"version of this one; restore it with the one that saved it ({self.name})"
        )

  def _named_values(self) -> dict[str, tf.Variable]:
    """All that is saved, by name."""
    made = {name: getattr(self, name) for name in ("iterations", *COUNTS)}
    if isinstance(self._learning_rate, tf.Variable):
      made["learning_rate"] = self._learning_rate
    for kind, variables in self._lists.items():
      made |= {f"{kind}.{place}": variable for place, variable in enumerate(variables)}
    return made

  def save_own_variables(self, store: Any) -> None:
    """For `model.save` and `save_weights`: every variable, and what they are of."""
    text = self._layout.serialize()
    for name, variable in self._named_values().items():
      store[name] = variable.numpy()
    store["layout"] = np.frombuffer(text.encode(), np.uint8)

  def load_own_variables(self, store: Any) -> None:
    """For `load_model` and `load_weights`.

    Raises StateError for what was saved of other variables, or by another optimizer.
    """
    names = list(store.keys())  # a store is no mapping
    values = {name: np.array(store[name]) for name in names}
    if "layout" in values:
      self._layout.expect(of_bytes(values.pop("layout")))
    elif not isinstance(self.direction, Adagrad) or "0" not in values:
      raise StateError(
        "the file holds another optimizer, or an earlier version of this one; load it with that, "
        "or weights alone"
      )
    if getattr(self, "_built", False):
      self._assign_values(values)
    else:
      self._assign_values({name: values[name] for name in values if name in self._named_values()})
      self._awaited |= values

  def _assign_values(self, values: dict[str, Any]) -> None:
    if "0" in values:  # as tf_keras numbers them
      values = of_adagrad(values, [variable.shape for variable in self._lists["accumulator"]])
    for name, variable in self._named_values().items():
      if name in values:
        variable.assign(values[name])

  @property
  def numbers(self) -> list[tf.Variable]:
    """Counts, slots, memory and clipping factors: all that steps change."""
    return list(self._variables)

  @property
  def variables(self) -> list[tf.Variable]:
    """`numbers`, and what they are of: .h5 files hold nothing else of an optimizer."""
    made: list[tf.Variable] = super().variables
    if self._description is not None:
      made.append(self._description)
    return made

  def set_weights(self, weights: Sequence[Any]) -> None:
    """Takes the values of all of `variables`, in their order, from .h5 files too.

    Raises RuntimeError for those of other variables, or of another optimizer. For a ValueError,
    load_model would begin with a new state.
    """
    values = [np.asarray(value) for value in weights]
    if not getattr(self, "_built", False):
      raise RuntimeError(
        "set_weights was called before the optimizer was built; call "
        "optimizer.build(model.trainable_variables) first"
      )
    if not values or values[-1].dtype != np.uint8:
      raise RuntimeError(
        f"set_weights was given {len(values)} arrays that do not say which variables they are of; "
        "give it those of optimizer.variables of an optimizer like this one, or start anew"
      )
    shapes, own = ([tuple(value.shape) for value in each] for each in (values[:-1], self.numbers))
    try:
      check_fit(of_bytes(values[-1]), self._layout.built)
    except StateError as error:
      raise RuntimeError(str(error)) from error
    if shapes != own:
      raise RuntimeError(
        f"set_weights was given {len(shapes)} arrays, and the optimizer has {len(own)} variables "
        "of other shapes; give it those of an optimizer like this one"
      )
    super().set_weights(values[:-1])

  def get_config(self) -> dict[str, Any]:
    """Every argument of the constructor, as plain values."""
    return {
      "direction": _plain(self.direction),
      "clip": _plain(self.clip),
      "learning_rate": self._serialize_hyperparameter(self._learning_rate),
      "accumulate": self.accumulate,
      "exclude": self.exclude,
      "scope": self.scope,
      "name": self.name,
      "rules": [
        {
          "variables": rule.variables,
          "clip": rule.clip and _plain(rule.clip),
          "direction": rule.direction and _plain(rule.direction),
          "rate": rule.rate,
        }
        for rule in self.rules
      ],
    }

  @classmethod
  def from_config(
    cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
  ) -> "ClippedOptimizer":
    """The inverse of `get_config`. Raises ValueError for a clip or direction that is unknown."""
    rules = [Rule(**_made(rule)) for rule in config.get("rules", ())]
    return super().from_config({**config, **_made(config), "rules": rules}, custom_objects)


def _plain(part: Any) -> dict[str, Any]:
  """A clip or direction as its name and fields."""
  return {type(part).__name__: dataclasses.asdict(part)}


def _made(config: dict[str, Any]) -> dict[str, Any]:
  """A configuration with its direction and clip as objects."""
  made = dict(config)
  for part, base in (("direction", Direction), ("clip", Clip)):
    if config[part] is None:
      continue
    ((name, arguments),) = config[part].items()
    kinds = {kind.__name__: kind for kind in _kinds(base)}
    if name not in kinds:
      raise ValueError(f"no {part} {name!r} is known; import the module that defines it")
    made[part] = kinds[name](**arguments)
  return made


def _measures(
  treated: Treatment,
  of_rows: bool,
  gradient: tf.Tensor,
  weights: tf.Tensor,
  slots: Slots,
  rate: tf.Tensor,
  step: tf.Tensor,
) -> Measures:
  """What the clip of a variable needs to know of it."""
  clip, direction, *_ = treated
  if clip.acts_on == "direction":
    gradient, new_slots = direction(gradient, slots, weights, step)
    if clip.needs_preconditioner:
      scale = direction.preconditioner(slots, new_slots)
      return clip.measure_beside(scale, weights, gradient, rate)
  return clip.measure(weights, gradient, rate, of_rows)


def _constrain(variable: tf.Variable, finite: tf.Tensor) -> None:
  if variable.constraint is not None:
    variable.assign(tf.where(finite, variable.constraint(variable), variable))


def at_least_float32(dtype: tf.DType) -> tf.DType:
  """A dtype that can count: bfloat16 has no 257."""
  return tf.float32 if dtype.size < tf.float32.size else dtype


def _join(clip: Clip, measures: Sequence[Measures]) -> Measures:
  """`clip.join`, in the first variable's dtype where they differ, and in one that can count."""
  dtypes = {name: at_least_float32(value.dtype) for name, value in measures[0].items()}
  return clip.join([{n: tf.cast(v, dtypes[n]) for n, v in each.items()} for each in measures])


def _cast(values: Measures, dtype: tf.DType) -> Measures:
  return {name: tf.cast(value, dtype) for name, value in values.items()}


def _kinds(base: type[Any]) -> list[type[Any]]:
  """A class's subclasses, theirs included."""
  return [kind for child in base.__subclasses__() for kind in (child, *_kinds(child))]


def _list_name(kind: str) -> str:
  """What a checkpoint calls the list of one kind of state; accumulators as tf_keras does."""
  return f"_{kind}s"


def _is_large(gradient: Gradient) -> bool:
  if isinstance(gradient, tf.IndexedSlices):
    return False
  size = gradient.shape.num_elements()
  return size is not None and size >= FUSED_FROM
