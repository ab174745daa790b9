"""The one optimizer: w ← w − η·σ·r, with a direction r and a clipping factor σ (equation 5).

What tf_keras asks of an optimizer is here; how a step is taken is in step.py (variables one by
one), stacked.py (many small ones at once) and finite.py (whether it is taken at all).
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
import tf_keras

from ranking import one_device
from ranking.optimizers import micro_batches, per_task, stacked
from ranking.optimizers.arguments import check_arguments, check_counts
from ranking.optimizers.clipping import Clip
from ranking.optimizers.directions import Adagrad, Direction
from ranking.optimizers.finite import is_finite
from ranking.optimizers.kept import FACTOR, Kept
from ranking.optimizers.plain import made, plain, plain_rule
from ranking.optimizers.rows import Gradient
from ranking.optimizers.rules import TABLES, Rule, Treatment, is_table, treatment
from ranking.optimizers.saved_state import (
  CURE,
  Layout,
  StateError,
  as_bytes,
  check_fit,
  of_adagrad,
  of_bytes,
  short,
)
from ranking.optimizers.settings import ThresholdError
from ranking.optimizers.step import Decision, Pairs, Step, at_least_float32, decide, move

# What tf_keras optimizers have, and a step of this one would not look at.
UNUSED = {
  "clipnorm": "clip=GradientClipping(threshold)",
  "global_clipnorm": 'clip=GradientClipping(threshold), scope="global"',
  "clipvalue": "a clip, such as clip=Clippy()",
  "weight_decay": "direction=Adam(weight_decay=...)",
}


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
    micro_batches: a step is taken after so many calls of `apply_gradients`, with the mean of their
      gradients; guards and clips see that mean. A count of 1 sums up nothing.
    use_ema, ema_momentum, ema_overwrite_frequency: averages of weights, as in tf_keras: after each
      step average ← momentum · average + (1 − momentum) · w; after so many steps, and at the end of
      `fit`, weights are set to them. See averages.py for evaluation.
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
    micro_batches: int = 1,
    use_ema: bool = False,
    ema_momentum: float = 0.99,
    ema_overwrite_frequency: int | None = None,
  ):
    check_arguments(direction, clip, accumulate, exclude, scope, rules)
    check_counts(micro_batches, ema_momentum, ema_overwrite_frequency)
    super().__init__(
      name,
      weight_decay=None,  # decay belongs to the direction
      use_ema=use_ema,
      ema_momentum=ema_momentum,
      ema_overwrite_frequency=ema_overwrite_frequency,
    )
    self._learning_rate = self._build_learning_rate(learning_rate)
    self.direction = direction
    self.clip = clip
    self.accumulate = accumulate
    self.exclude = exclude
    self.scope = scope
    self.rules = self._no_dependency(tuple(rules))
    self.skipped_steps = self.add_variable([], tf.int64, name="skipped_steps")
    self.skipped_in_a_row = self.add_variable([], tf.int64, name="skipped_in_a_row")
    self.micro_batches = micro_batches
    counts = ["skipped_steps", "skipped_in_a_row"]
    if micro_batches > 1:
      self.batches_summed = self.add_variable([], tf.int64, name="batches_summed")
      self.losses_summed = self.add_variable([], tf.float32, name="losses_summed")
      counts += ["batches_summed", "losses_summed"]
    self._counts = self._no_dependency(counts)
    self._seen = self._no_dependency({})  # whose gradients have been summed, and one of them
    self._functions = self._no_dependency({})  # that are compiled
    self._tables = self._no_dependency(set())  # variables whose gradients have come in rows
    self._layout = self._no_dependency(Layout(self._begin_anew))
    self._kept: Kept | None = None  # once built
    self._description: tf.Variable | None = None  # of what there are lists of
    self._lists = self._no_dependency({})  # of what is kept of each variable, by kind
    self._awaited = self._no_dependency({})  # values that were loaded before there were variables

  def __setattr__(self, name: str, value: Any) -> None:
    if name in UNUSED and value is not None:
      raise ThresholdError(
        f"{name} = {value!r} would be ignored; give the optimizer {UNUSED[name]} instead"
      )
    if name == "use_ema" and getattr(self, "_built", False) and value != self.use_ema:
      raise ThresholdError(
        f"use_ema = {value!r} comes too late: the optimizer is built; make it with use_ema={value}"
      )
    super().__setattr__(name, value)

  def build(self, var_list: Sequence[tf.Variable]) -> None:
    """Creates slots, clip memory, and per variable the smallest σ of the last step.

    Raises StateError if a state that was restored before is not of these variables.
    """
    if not getattr(self, "_built", False):
      self._build(list(var_list))
    self._refuse_foreign_state()

  def _build(self, var_list: list[tf.Variable]) -> None:
    treatments = [self.treatment(variable) for variable in var_list]
    more = (self.micro_batches > 1, bool(self.use_ema))
    kept = Kept(var_list, treatments, self.scope, *more, self._var_key)
    self._layout.build(kept.layout)
    super().build(var_list)

    def slot(kind: str, variable: tf.Variable, value: float) -> tf.Variable:
      with one_device.beside(variable):
        initial = tf.constant(value, variable.dtype, variable.shape)
      return self.add_variable_from_reference(variable, kind, initial_value=initial)

    def scalar(kind: str, variable: tf.Variable, value: float) -> tf.Variable:
      dtype = variable.dtype if kind == FACTOR else at_least_float32(variable.dtype)
      name = f"{kind}/{variable._shared_name}"
      added = tf.Variable(tf.constant(value, dtype), name=name, trainable=False)
      self._variables.append(added)
      return added

    def marks(kind: str, variable: tf.Variable, value: float) -> tf.Variable:
      initial = tf.fill(variable.shape[:1], tf.constant(value, variable.dtype))
      return self.add_variable_from_reference(variable, kind, initial_value=initial)

    averages = self._model_variables_moving_average if self.use_ema else None
    kept.make(slot, scalar, marks, averages)
    self._kept = self._no_dependency(kept)
    for kind, variables in kept.lists.items():
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
    layout = as_bytes(kept.layout)
    variable = tf.Variable(layout, name="layout", trainable=False)
    variable.assign = self._expect  # by LossScaleOptimizer, which loads by number and asks nothing
    self._description = self._no_dependency(variable)
    self._built = True

  def add_variable_from_reference(
    self,
    model_variable: tf.Variable,
    variable_name: str,
    shape: Any = None,
    initial_value: Any = None,
  ) -> tf.Variable:
    """As tf_keras does, and for a variable that lies on one device, there too."""
    device = one_device.device_of(model_variable)
    if device is None:
      return super().add_variable_from_reference(
        model_variable, variable_name, shape, initial_value
      )
    with one_device.made_on(device):
      added = tf.Variable(
        tf.zeros(shape or model_variable.shape) if initial_value is None else initial_value,
        name=f"{variable_name}/{model_variable._shared_name}",
        dtype=model_variable.dtype,
        trainable=False,
      )
    self._variables.append(added)
    return added

  @property
  def kept(self) -> Kept:
    """What is kept of variables. Raises RuntimeError before the optimizer is built."""
    if self._kept is None:
      raise RuntimeError("the optimizer is not built; call optimizer.build with its variables")
    return self._kept

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
      lacks = now.clip.initial_memory().keys() - self.kept.memory_of(variable, now).keys()
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
    if self._kept is None and variables is None:
      return []
    if variables is None:
      return list(self.kept.factors)
    return [self.kept.factors[self.kept.index(variable)] for variable in variables]

  def state_of(self, variable: tf.Variable) -> dict[str, tf.Variable]:
    """Slots, memory and clipping factor of a variable, by kind; memory may be of all variables."""
    place = self.kept.index(variable)
    return {
      **self.kept.slots[place],
      **self.kept.memory_of(variable, self.treatment(variable)),
      FACTOR: self.kept.factors[place],
    }

  def reset_slots(self, variables: Sequence[tf.Variable] | None = None) -> None:
    """Gives slots the values that they had before the first step; counts and memory stay.

    Those of some variables, or of all.
    """
    self.kept.reset_slots(variables)

  def _begin_anew(self) -> None:
    """Where a state from before the first step is restored."""
    self.kept.reset()

  def minimize(self, loss: Any, var_list: Any, tape: tf.GradientTape | None = None) -> tf.Variable:
    """Does what tf_keras does, and looks at the loss for being finite."""
    pairs = self.compute_gradients(loss, var_list, tape)
    return self.apply_gradients(pairs, loss=None if callable(loss) else loss)

  def aggregate_gradients(
    self, grads_and_vars: Iterable[tuple[Gradient | None, tf.Variable]]
  ) -> list[tuple[Gradient | None, tf.Variable]]:
    """Sums over replicas, as tf_keras does.

    The gradient of a variable that lies on one device already is of all; see models/split.py.
    """
    pairs = list(grads_and_vars)
    alone = {k for k, (_, variable) in enumerate(pairs) if one_device.device_of(variable)}
    summed = iter(super().aggregate_gradients([p for k, p in enumerate(pairs) if k not in alone]))
    return [pair if k in alone else next(summed) for k, pair in enumerate(pairs)]

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
    return self._take(self.distinct(grads_and_vars), loss, name or self.name)

  @tf.autograph.experimental.do_not_convert
  def apply_task_gradients(
    self,
    gradients: Sequence[Sequence[Gradient | None]],
    variables: Sequence[tf.Variable],
    losses: Sequence[tf.Tensor] | None = None,
    combine: per_task.Combine = "sum",
  ) -> tf.Variable:
    """One step of several tasks, each task's update clipped before the sum; see per_task.py.

    A task whose loss or gradients are not finite has no part in the step; if none has, it is
    skipped. What one task alone has, tables whose gradients come in rows, and what no clip is for
    are moved as by `apply_gradients` with the sum.

    Args:
      gradients: of each task, one or None for each variable.
      variables: of the model.
      losses: of each task, looked at only for being finite.
      combine: "sum"; or "even", by which the task that gains least gains the most it can.

    Returns:
      The count of steps taken, `iterations`.

    Raises ThresholdError for what cannot be done task by task: a clip with a memory,
    scope="global", micro-batches, or a direction other than Adagrad and Sgd without momentum.
    """
    per_task.check(self.scope, self.micro_batches, combine)
    self.check_replica(variables)
    self._compute_current_learning_rate()
    with tf.init_scope():
      self.build(list(variables))
    of_tasks = []
    for own in gradients:
      pairs = [(g, v) for g, v in zip(own, variables, strict=True) if g is not None]
      summed = iter(self.aggregate_gradients(pairs))
      of_tasks.append([None if g is None else next(summed)[0] for g in own])
    kept, loss = per_task.finite_tasks(of_tasks, losses)
    shared, others = per_task.split(kept, variables, self.is_clipped)
    return self._take(self.distinct(others) if others else [], loss, self.name, shared, combine)

  def _take(
    self,
    pairs: Pairs,
    loss: tf.Tensor | None,
    name: str,
    shared: Sequence[per_task.Shared] = (),
    combine: per_task.Combine = "sum",
  ) -> tf.Variable:
    """The step of variables with one gradient each, and of those that tasks share."""
    self.note_tables(pairs)
    summed = self._sum_up(pairs, loss) if self.micro_batches > 1 else None
    if summed is not None:
      pairs, loss = self._means(summed.sums), summed.losses
    step = self._step()
    with tf.name_scope(name):
      alone, decisions, stacks = stacked.decide_all(step, pairs)
      of_tasks = per_task.writes_of(step, shared, combine) if shared else []
      finite = is_finite(step, alone, decisions, stacks, loss)
      if of_tasks:
        finite &= per_task.are_finite(of_tasks)
      taken = finite if summed is None else finite & summed.due
      writes = [write for stack in stacks for write in stacked.writes_of(step, pairs, stack, taken)]
      writes += [(v, per_task.unless(write, self.kept, v, taken)) for v, write in of_tasks]
      tf.__internal__.distribute.interim.maybe_merge_call(
        self._write, self._distribution_strategy, alone, decisions, writes, taken, summed
      )
    return self.iterations

  def means(self, pairs: Pairs) -> Pairs:
    """Gradients of a step that would be taken now: with those of earlier micro-batches, if any."""
    return self._means(self._sum_up(pairs, None).sums) if self.micro_batches > 1 else pairs

  def _means(self, sums: Sequence[tuple[micro_batches.Sum, tf.Variable]]) -> Pairs:
    return [(micro_batches.mean(total, self.micro_batches), variable) for total, variable in sums]

  def _sum_up(self, pairs: Pairs, loss: tf.Tensor | None) -> micro_batches.Summed:
    """Sums of gradients and losses with those of this micro-batch, and whether a step is due."""
    own = {self._var_key(variable): (gradient, variable) for gradient, variable in pairs}
    for key, (gradient, variable) in own.items():
      self._seen.setdefault(key, (variable, isinstance(gradient, tf.IndexedSlices)))
    # A variable without a gradient here may have one in another micro-batch of the step.
    both = [own.get(key) or micro_batches.nothing(*seen) for key, seen in self._seen.items()]
    total = tf.zeros([]) if loss is None else tf.reduce_sum(tf.cast(loss, tf.float32))
    replica = tf.distribute.get_replica_context()
    if loss is not None and replica is not None and replica.num_replicas_in_sync > 1:
      total = replica.all_reduce(tf.distribute.ReduceOp.SUM, total)
    due = tf.equal((self.batches_summed + 1) % self.micro_batches, 0)
    sums = micro_batches.summed(self.kept, both)
    return micro_batches.Summed(sums, self.losses_summed + total, due)

  def _step(self) -> Step:
    """The step to come."""
    return Step(
      self.treatment,
      self.is_table,
      self.rate,
      self.step,
      self.kept,
      self.scope,
      self.accumulate,
      self._functions,
    )

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
  def decide(self, shadow: Clip | None, pairs: Pairs) -> list[Decision]:
    """What a step will do to the variable of each of the pairs, from `distinct`; see step.py.

    With a shadow, another clip, in place of those of all variables that are clipped.
    """
    return decide(self._step(), pairs, shadow)

  def rate(self, dtype: tf.DType) -> tf.Tensor:
    """η of the step to come; `learning_rate` still is the last step's if there is a schedule."""
    rate = self._learning_rate
    if isinstance(rate, tf_keras.optimizers.schedules.LearningRateSchedule):
      rate = rate(self.iterations)
    return tf.cast(rate, dtype)

  def step(self, dtype: tf.DType) -> tf.Tensor:
    """The number of the step to come, 1 for the first; in float32 at least, to count on."""
    return tf.cast(self.iterations + 1, at_least_float32(dtype))

  def _write(
    self,
    distribution: tf.distribute.Strategy,
    pairs: Pairs,
    decisions: Sequence[Decision],
    writes: Sequence[tuple[tf.Variable, stacked.Write]],
    taken: tf.Tensor,
    summed: micro_batches.Summed | None,
  ) -> None:
    """Carries out a decision on every replica."""
    step, update = self._step(), functools.partial(one_device.update, distribution)
    for variable, parts in writes:
      write = functools.partial(stacked.write, self.kept, self.treatment(variable))
      update(variable, write, parts)
    for (gradient, variable), decision in zip(pairs, decisions, strict=True):
      # By the variable itself: its copy on a replica has another name.
      here = distribution.experimental_local_results(gradient)[0]
      write = functools.partial(move, step, self.treatment(variable, here))
      update(variable, write, (gradient, decision, taken))
    if self.use_ema:
      for variable in (*(v for v, _ in writes), *(v for _, v in pairs)):
        update(variable, self._average, (taken,))
    counted: tuple[Any, ...] = (taken,)
    if summed is not None:
      write = functools.partial(micro_batches.write, self.kept)
      for total, variable in summed.sums:
        update(variable, write, (total, summed.due))
      counted = (taken, summed.losses, summed.due)
    if self._distribution_strategy is distribution:
      update(self._iterations, self._write_counts, counted)
    else:  # made outside of its scope, the counts are ordinary variables
      local = [distribution.experimental_local_results(value)[0] for value in counted]
      self._write_counts(self._iterations, *local)

  def _average(self, variable: tf.Variable, taken: tf.Tensor) -> None:
    """Lets an average follow the weights of one variable on one replica, after a step."""
    average = self.kept.averages[self.kept.index(variable)]
    latest = self.ema_momentum * average + (1 - self.ema_momentum) * variable
    average.assign(tf.where(taken, latest, average))
    if self.ema_overwrite_frequency:
      now = tf.equal((self.iterations + 1) % self.ema_overwrite_frequency, 0)
      variable.assign(tf.where(taken & now, average, variable))

  def _write_counts(
    self,
    iterations: tf.Variable,
    taken: tf.Tensor,
    losses: tf.Tensor | None = None,
    due: tf.Tensor | None = None,
  ) -> None:
    """Counts a step as taken or skipped, or a micro-batch before one is due."""
    steps = tf.constant(1, tf.int64) if due is None else tf.cast(due, tf.int64)
    done = tf.cast(taken, tf.int64)
    iterations.assign_add(done)
    self.skipped_steps.assign_add(steps - done)
    self.skipped_in_a_row.assign((1 - done) * (self.skipped_in_a_row + steps - done))
    if due is not None:
      self.batches_summed.assign_add(1)
      self.losses_summed.assign(tf.where(due, 0.0, losses))

  # Saving and restoring

  def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> dict[str, Any]:
    """As tf_keras names them, so that its Adagrad's checkpoints can be gone on from."""
    if save_type != "checkpoint":
      return super()._trackable_children(save_type, **kwargs)
    names = ("_iterations", "_learning_rate", "_current_learning_rate")
    children = {name: getattr(self, name, None) for name in (*names, *self._counts, "_layout")}
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
    made = {name: getattr(self, name) for name in ("iterations", *self._counts)}
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

  def _expect(self, layout: Any) -> None:
    """Raises StateError if what is being loaded is of other variables than the optimizer's."""
    self._layout.expect(of_bytes(layout))

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
    if not values or values[-1].dtype not in (np.int32, np.uint8):
      raise RuntimeError(
        f"set_weights was given {len(values)} arrays that do not say which variables they are of; "
        "give it those of optimizer.variables of an optimizer like this one, or start anew"
      )
    shapes, own = ([tuple(value.shape) for value in each] for each in (values[:-1], self.numbers))
    try:
      check_fit(of_bytes(values[-1]), self.kept.layout)
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
      "direction": plain(self.direction),
      "clip": plain(self.clip),
      "learning_rate": self._serialize_hyperparameter(self._learning_rate),
      "accumulate": self.accumulate,
      "exclude": self.exclude,
      "scope": self.scope,
      "name": self.name,
      "rules": [plain_rule(rule) for rule in self.rules],
      "micro_batches": self.micro_batches,
      "use_ema": self.use_ema,
      "ema_momentum": self.ema_momentum,
      "ema_overwrite_frequency": self.ema_overwrite_frequency,
    }

  @classmethod
  def from_config(
    cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
  ) -> "ClippedOptimizer":
    """The inverse of `get_config`. Raises ValueError for a clip or direction that is unknown."""
    rules = [Rule(**made(rule)) for rule in config.get("rules", ())]
    return super().from_config({**config, **made(config), "rules": rules}, custom_objects)


def _list_name(kind: str) -> str:
  """What a checkpoint calls the list of one kind of state; some as tf_keras does."""
  return "_model_variables_moving_average" if kind == "average" else f"_{kind}s"
