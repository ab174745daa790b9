"""The one optimizer: w ← w − η·σ·r, with a direction r and a clipping factor σ (equation 5).

A step has three parts, and nothing is written before the third:

    measure   per variable: ‖g‖₂², and the numbers its clip needs, each in one pass
    decide    whether the step is finite; σ of every variable, or one σ for all; the clip's memory
    write     per variable: weights and slots, in one pass
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import tensorflow as tf
import tf_keras

from ranking.optimizers.clipping import AdaptiveGradientClipping, Clip, Measures, Memory, NoClip
from ranking.optimizers.directions import Direction, Slots
from ranking.optimizers.settings import ThresholdError

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices

# A variable this large is measured and updated by compiled (XLA) functions, which read it fewer
# times. Compiling takes some 50 ms a variable, more than a short run on smaller ones gives back.
FUSED_FROM = 1 << 20


class Decision(NamedTuple):
  """What a step will do to one variable."""

  factor: tf.Tensor  # σ: scalar, or one for each unit of unit-wise AGC
  memory: Memory  # of its clip, after the step
  rate: tf.Tensor  # η
  step: tf.Tensor  # its number, 1 for the first


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
  """Describes a ClippedOptimizer: all of its arguments but the learning rate, which see there.

  Raises ThresholdError for an argument that it cannot have.
  """

  direction: Direction
  clip: Clip
  accumulate: Literal["clipped", "original"] = "clipped"
  exclude: str = "embedding"
  scope: Literal["layer", "global"] = "layer"

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
    of_units = isinstance(self.clip, AdaptiveGradientClipping) and self.clip.unit != "layer"
    if self.scope == "global" and of_units:
      raise ThresholdError('scope="global" needs norms of whole variables; give AGC unit="layer"')
    try:
      re.compile(self.exclude)
    except (re.error, TypeError) as error:
      raise ThresholdError(f"exclude is {self.exclude!r}, which is no pattern ({error})") from error

  def build(
    self, learning_rate: float | tf_keras.optimizers.schedules.LearningRateSchedule
  ) -> "ClippedOptimizer":
    """The optimizer with this learning rate."""
    return ClippedOptimizer(
      self.direction, self.clip, learning_rate, self.accumulate, self.exclude, self.scope
    )


@tf_keras.saving.register_keras_serializable("ranking")
class ClippedOptimizer(tf_keras.optimizers.Optimizer):
  """A tf_keras optimizer made of a direction and a clip.

  A step whose loss (where it is known: in `fit`, or given to `apply_gradients`) or any gradient is
  not finite, or whose squared gradients do not add up to a finite number, changes nothing but the
  counts `skipped_steps` and `skipped_in_a_row`.

  Args:
    direction: keeps the slots and makes r of the gradient.
    clip: makes σ.
    learning_rate: η, a float or a tf_keras schedule of the steps taken.
    accumulate: what the direction's slots see when the clip acts on gradients: the "clipped"
      gradient as in the methods' own papers, or the "original" one as in 4.3.1.
    exclude: variables whose name this pattern finds get the direction alone, σ = 1 (5.1.3); "" for
      none.
    scope: "layer" for one σ per variable, "global" for one σ for all that are clipped (4.3.2).
  """

  def __init__(
    self,
    direction: Direction,
    clip: Clip,
    learning_rate: float | tf_keras.optimizers.schedules.LearningRateSchedule = 0.1,
    accumulate: Literal["clipped", "original"] = "clipped",
    exclude: str = "embedding",
    scope: Literal["layer", "global"] = "layer",
    name: str = "ClippedOptimizer",
  ):
    OptimizerSettings(direction, clip, accumulate, exclude, scope)  # refuses what is none
    super().__init__(name=name, weight_decay=None)  # decay belongs to the direction
    self._learning_rate = self._build_learning_rate(learning_rate)
    self.direction = direction
    self.clip = clip
    self.accumulate = accumulate
    self.exclude = exclude
    self.scope = scope
    self._fused = self._no_dependency({})
    self._by_name: dict[str, tf.Variable] = {}  # what checkpoints hold

  def build(self, var_list: Sequence[tf.Variable]) -> None:
    """Creates slots, clip memory, counts, and per variable the smallest σ of the last step."""
    super().build(var_list)
    if getattr(self, "_built", False):
      return
    self.skipped_steps = self.add_variable([], tf.int64, name="skipped_steps")
    self.skipped_in_a_row = self.add_variable([], tf.int64, name="skipped_in_a_row")
    self._slots, self._memories, self._factors = [], [], []
    for name, variable in zip(_distinct_names(var_list), var_list, strict=True):

      def add(
        kind: str, value: float, shape: Any = (), name: str = name, variable: Any = variable
      ) -> tf.Variable:
        initial = tf.constant(value, variable.dtype, shape)
        made = self.add_variable_from_reference(variable, kind, initial_value=initial)
        self._by_name[f"{kind}|{name}"] = made
        return made

      slots = self.direction.initial_slots()
      memory = self.clip.initial_memory() if self.is_clipped(variable) else {}
      self._slots.append({kind: add(kind, v, variable.shape) for kind, v in slots.items()})
      self._memories.append({kind: add(kind, v) for kind, v in memory.items()})
      self._factors.append(add("clipping_factor", 1.0))
    for counter in ("iterations", "skipped_steps", "skipped_in_a_row"):
      self._by_name[counter] = getattr(self, counter)
    if isinstance(self._learning_rate, tf.Variable):
      self._by_name["learning_rate"] = self._learning_rate
    self._built = True

  def is_clipped(self, variable: tf.Variable) -> bool:
    """Whether the clip applies to a variable, or the direction alone."""
    return not self.exclude or re.search(self.exclude, variable.name) is None

  def clipping_factors(self) -> list[tf.Variable]:
    """Scalars, in the order of the built variables: the smallest σ of the last step taken."""
    return self._factors

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
  ) -> tf.Variable:
    """One step.

    Args:
      grads_and_vars: (gradient, variable); a variable without gradient is left alone.
      name: of the scope of operations.
      skip_gradients_aggregation: whether gradients are already summed over replicas.
      loss: looked at only for being finite.

    Returns:
      The count of steps taken, `iterations`.
    """
    self._compute_current_learning_rate()
    grads_and_vars = list(grads_and_vars)
    with tf.name_scope(name or self.name), tf.init_scope():
      self.build([variable for _, variable in grads_and_vars])
    if not skip_gradients_aggregation:
      grads_and_vars = self.aggregate_gradients(grads_and_vars)
    pairs = self.distinct(grads_and_vars)
    with tf.name_scope(name or self.name):
      finite = _all_finite([gradient for gradient, _ in pairs], loss)
      tf.__internal__.distribute.interim.maybe_merge_call(
        self._write, self._distribution_strategy, pairs, self.decide(self.clip, pairs), finite
      )
    return self.iterations

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
  def decide(self, clip: Clip, pairs: Sequence[tuple[Gradient, tf.Variable]]) -> list[Decision]:
    """What a clip makes of a step, for each of the pairs; writes nothing.

    Args:
      clip: the optimizer's own, or another without memory to compare it with.
      pairs: from `distinct`, the gradients summed over replicas.
    """
    clips = [clip if self.is_clipped(variable) else NoClip() for _, variable in pairs]
    dtypes = {variable.dtype for _, variable in pairs}
    now = {dtype: (self.rate(dtype), self.step(dtype)) for dtype in dtypes}
    measures = [
      self._measure(c, *pair, *now[pair[1].dtype]) for c, pair in zip(clips, pairs, strict=True)
    ]
    clipped = [m for m, c in zip(measures, clips, strict=True) if c is clip]
    needs_all = self.scope == "global" or clip.initial_memory()
    joined = _join(clip, clipped) if clipped and needs_all else {}
    decisions = []
    for c, own, (_, variable) in zip(clips, measures, pairs, strict=True):
      everywhere = {name: tf.cast(value, variable.dtype) for name, value in joined.items()}
      if c is clip and self.scope == "global":
        own = everywhere
      memory = self._memories[self._index(variable)] if c.initial_memory() else {}
      memory = {name: tf.convert_to_tensor(value) for name, value in memory.items()}
      rate, step = now[variable.dtype]
      factor, memory = c.factor_and_memory(own, everywhere, memory, step)
      decisions.append(Decision(factor, memory, rate, step))
    return decisions

  def rate(self, dtype: tf.DType) -> tf.Tensor:
    """η of the step to come; `learning_rate` still is the last step's if there is a schedule."""
    rate = self._learning_rate
    if isinstance(rate, tf_keras.optimizers.schedules.LearningRateSchedule):
      rate = rate(self.iterations)
    return tf.cast(rate, dtype)

  def step(self, dtype: tf.DType) -> tf.Tensor:
    """The number of the step to come; 1 for the first."""
    return tf.cast(self.iterations + 1, dtype)

  def values(self, gradient: Gradient, variable: tf.Variable) -> tuple[tf.Tensor, tf.Tensor, Slots]:
    """(gradient, weights, slots) of what a step moves, all of one shape.

    The whole variable; or the rows that a sparse gradient touches, unless the direction also moves
    those that it does not.
    """
    slots = self._slots[self._index(variable)]
    if not isinstance(gradient, tf.IndexedSlices):
      return gradient, variable, slots
    rows = gradient.indices
    if self.direction.is_row_wise:
      gathered = {name: tf.gather(slot, rows) for name, slot in slots.items()}
      return gradient.values, tf.gather(variable, rows), gathered
    dense = tf.math.unsorted_segment_sum(gradient.values, rows, variable.shape[0])
    return dense, variable, slots

  def _measure(
    self,
    clip: Clip,
    gradient: Gradient,
    variable: tf.Variable,
    rate: tf.Tensor,
    step: tf.Tensor,
  ) -> Measures:
    """What the clip needs to know of one variable."""
    of_rows, is_large = isinstance(gradient, tf.IndexedSlices), _is_large(gradient)

    def measure(*values: Any) -> Measures:
      gradient, weights, slots, rate, step = values
      if clip.acts_on == "direction":
        gradient, _ = self.direction(gradient, slots, weights, step)
      return clip.measure(weights, gradient, rate, of_rows)

    gradient, weights, slots = self.values(gradient, variable)
    if not is_large:
      return measure(gradient, weights, slots, rate, step)
    key = ("measure", clip, of_rows, tuple(variable.shape), variable.dtype)
    compiled = self._compiled(key, measure)
    weights, slots = tf.nest.map_structure(tf.convert_to_tensor, (weights, dict(slots)))
    return compiled(gradient, weights, slots, rate, step)

  def _write(
    self,
    distribution: tf.distribute.Strategy,
    pairs: Sequence[tuple[Gradient, tf.Variable]],
    decisions: Sequence[Decision],
    finite: tf.Tensor,
  ) -> None:
    """Carries out a decision on every replica."""
    update = distribution.extended.update
    for (gradient, variable), decision in zip(pairs, decisions, strict=True):
      update(variable, self._write_variable, args=(gradient, decision, finite), group=False)
    update(self._iterations, self._write_counts, args=(finite,), group=False)

  def _write_variable(
    self, variable: tf.Variable, gradient: Gradient, decision: Decision, finite: tf.Tensor
  ) -> None:
    """Moves one variable and its slots, unless the step is not finite."""
    index = self._index(variable)

    def move(
      gradient: Gradient,
      factor: tf.Tensor,
      rate: tf.Tensor,
      step: tf.Tensor,
      finite: tf.Tensor | None = None,
    ) -> None:
      values, weights, slots = self.values(gradient, variable)
      change, new_slots = self._move(values, weights, slots, factor, rate, step, variable)
      if finite is not None:
        change = tf.where(finite, change, tf.zeros_like(change))
        new_slots = {name: tf.where(finite, new, slots[name]) for name, new in new_slots.items()}
      targets = [(self._slots[index][name], value) for name, value in new_slots.items()]
      if isinstance(gradient, tf.IndexedSlices) and self.direction.is_row_wise:
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
    kept += [(self._memories[index][name], value) for name, value in decision.memory.items()]
    for scalar, value in kept:
      scalar.assign(tf.where(finite, value, scalar))
    if variable.constraint is not None:
      variable.assign(tf.where(finite, variable.constraint(variable), variable))

  def _move(
    self,
    gradient: tf.Tensor,
    weights: tf.Tensor,
    slots: Slots,
    factor: tf.Tensor,
    rate: tf.Tensor,
    step: tf.Tensor,
    variable: tf.Variable,
  ) -> tuple[tf.Tensor, Slots]:
    """(η·σ·r, new slots)."""
    on_gradient = self.clip.acts_on == "gradient" and self.is_clipped(variable)
    if on_gradient and self.accumulate == "clipped":
      direction, new_slots = self.direction(factor * gradient, slots, weights, step)
      return rate * direction, new_slots
    direction, new_slots = self.direction(gradient, slots, weights, step)
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
    return self._index_dict[self._var_key(variable)]

  def _trackable_children(self, save_type: str = "checkpoint", **kwargs: Any) -> dict[str, Any]:
    """By name, where tf_keras has positions that another order of variables would mix up."""
    if save_type == "checkpoint":
      return {"_by_name": self._by_name}
    return super()._trackable_children(save_type, **kwargs)

  def save_own_variables(self, store: Any) -> None:
    """For `model.save`: every variable under its name."""
    for name, variable in self._by_name.items():
      store[name] = variable.numpy()

  def load_own_variables(self, store: Any) -> None:
    """For `load_model`. Raises ValueError that names a missing or extra variable."""
    stored = set(store.keys())
    if not stored:
      return  # saved before its first step
    for name in sorted(stored ^ self._by_name.keys()):
      where = "the file has it, the optimizer not" if name in stored else "the file has it not"
      raise ValueError(f"optimizer variable {name}: {where}; load what the same optimizer saved")
    for name, variable in self._by_name.items():
      variable.assign(store[name])

  def get_config(self) -> dict[str, Any]:
    """Every argument of the constructor, as plain values."""
    return {
      "direction": {type(self.direction).__name__: dataclasses.asdict(self.direction)},
      "clip": {type(self.clip).__name__: dataclasses.asdict(self.clip)},
      "learning_rate": self._serialize_hyperparameter(self._learning_rate),
      "accumulate": self.accumulate,
      "exclude": self.exclude,
      "scope": self.scope,
      "name": self.name,
    }

  @classmethod
  def from_config(
    cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
  ) -> "ClippedOptimizer":
    """The inverse of `get_config`. Raises ValueError for a clip or direction that is unknown."""
    made: dict[str, Any] = {}
    for part, base in (("direction", Direction), ("clip", Clip)):
      ((name, arguments),) = config[part].items()
      kinds = {kind.__name__: kind for kind in _kinds(base)}
      if name not in kinds:
        raise ValueError(f"no {part} {name!r} is known; import the module that defines it")
      made[part] = kinds[name](**arguments)
    return super().from_config({**config, **made}, custom_objects)


def _join(clip: Clip, measures: Sequence[Measures]) -> Measures:
  """`clip.join`, in the first variable's dtype where they differ."""
  same = [
    {name: tf.cast(value, measures[0][name].dtype) for name, value in each.items()}
    for each in measures
  ]
  return clip.join(same)


def _kinds(base: type[Any]) -> list[type[Any]]:
  """A class's subclasses, theirs included."""
  return [kind for child in base.__subclasses__() for kind in (child, *_kinds(child))]


def _distinct_names(variables: Sequence[tf.Variable]) -> list[str]:
  """Names for checkpoints; a name that is taken gets the first number that makes it free."""
  names: list[str] = []
  for variable in variables:
    name = variable.name.removesuffix(":0").replace("/", "|")
    numbered = (f"{name}_{k}" if k else name for k in itertools.count())
    names.append(next(candidate for candidate in numbered if candidate not in names))
  return names


def _is_large(gradient: Gradient) -> bool:
  if isinstance(gradient, tf.IndexedSlices):
    return False
  size = gradient.shape.num_elements()
  return size is not None and size >= FUSED_FROM


def _all_finite(gradients: Sequence[Gradient], loss: tf.Tensor | None) -> tf.Tensor:
  """Scalar bool, the same on every replica: the loss and the sum of all squares are finite."""
  halves: dict[tf.DType, list[tf.Tensor]] = {}
  for gradient in gradients:
    values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
    halves.setdefault(values.dtype, []).append(tf.nn.l2_loss(values))
  finite = tf.reduce_all([tf.math.is_finite(2.0 * tf.add_n(same)) for same in halves.values()])
  if loss is None:
    return finite
  replica = tf.distribute.get_replica_context()
  if replica is not None and replica.num_replicas_in_sync > 1:
    loss = replica.all_reduce(tf.distribute.ReduceOp.SUM, loss)
  return finite & tf.reduce_all(tf.math.is_finite(loss))
