"""Each task's update is clipped before the sum, so that a bad task cannot exceed its budget.

Of a variable that several tasks share (paper, RQ2: a spurious gradient of one task reaches them
all), with g = Σ gₖ the sum of the tasks' gradients and P what the direction multiplies it with:

    σₖ = the clip's factor of task k alone, of gₖ or P·gₖ
    r = Σ αₖ·σₖ·P·gₖ
    w ← w − η·σ·r, σ the clip's factor of the sum

Where nothing is clipped that is the step of the sum of the gradients. With accumulate="clipped" the
slots see Σ σₖ·gₖ, so that a spike of one task does not lower the rate of all for good. It needs a
direction that multiplies gradients: Adagrad, or Sgd without momentum.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import tensorflow as tf

from ranking.optimizers.clipping import Clip, Measures
from ranking.optimizers.directions import Direction, Sgd, Slots
from ranking.optimizers.kept import Kept
from ranking.optimizers.rows import Gradient
from ranking.optimizers.rules import Treatment
from ranking.optimizers.settings import ThresholdError
from ranking.optimizers.stacked import Write
from ranking.optimizers.step import Step, rates_and_numbers

ROUNDS = 30  # of pairwise Frank-Wolfe, for a few tasks

Combine = Literal["sum", "even"]


class Shared(NamedTuple):
  """A variable that several tasks have a dense gradient of."""

  variable: tf.Variable
  gradients: list[tf.Tensor]  # of these tasks
  tasks: list[int]  # their places among all


class Update(NamedTuple):
  """What a step will do to a shared variable, before the tasks are summed."""

  parts: tf.Tensor  # [tasks, ...], σₖ·P·gₖ
  scale: tf.Tensor  # P, of the variable's shape or a scalar
  seen: tf.Tensor  # Σ gₖ or Σ σₖ·gₖ, what the slots see
  smallest: tf.Tensor  # of all σₖ


def check(scope: str, micro_batches: int, combine: str) -> None:
  """Raises ThresholdError for what cannot be done task by task."""
  if combine not in ("sum", "even"):
    raise ThresholdError(f'combine is {combine!r}; make it "sum" or "even"')
  if scope == "global":
    raise ThresholdError('scope="global" has one factor for all; clip tasks with scope="layer"')
  if micro_batches > 1:
    raise ThresholdError("updates of tasks are not summed over micro-batches; make them 1")


def finite_tasks(
  gradients: Sequence[Sequence[Gradient | None]], losses: Sequence[tf.Tensor] | None
) -> tuple[list[list[Gradient | None]], tf.Tensor]:
  """Gradients, 0 of a task of which any number is not finite; and a loss, NaN if all are such."""
  kept, are_good = [], []
  for task, own in enumerate(gradients):
    values = [g.values if isinstance(g, tf.IndexedSlices) else g for g in own if g is not None]
    loss = [] if losses is None else [_over_replicas(losses[task])]
    good = tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in (*values, *loss)])
    kept.append([_unless_bad(gradient, good) for gradient in own])
    are_good.append(good)
  return kept, tf.where(tf.reduce_any(are_good), 0.0, float("nan"))


def split(
  gradients: Sequence[Sequence[Gradient | None]],
  variables: Sequence[tf.Variable],
  is_clipped: Callable[[tf.Variable], bool],
) -> tuple[list[Shared], list[tuple[Gradient, tf.Variable]]]:
  """Variables whose tasks are clipped by themselves; and pairs of the others, gradients summed."""
  shared, pairs = [], []
  for place, variable in enumerate(variables):
    of_tasks = {task: own[place] for task, own in enumerate(gradients) if own[place] is not None}
    of_rows = any(isinstance(gradient, tf.IndexedSlices) for gradient in of_tasks.values())
    if len(of_tasks) > 1 and is_clipped(variable) and not of_rows:
      shared.append(Shared(variable, list(of_tasks.values()), list(of_tasks)))
    elif of_tasks:
      pairs.append((_total(list(of_tasks.values())), variable))
  return shared, pairs


def _total(gradients: Sequence[Gradient]) -> Gradient:
  if not all(isinstance(gradient, tf.IndexedSlices) for gradient in gradients):
    return tf.add_n([tf.convert_to_tensor(gradient) for gradient in gradients])
  values = tf.concat([gradient.values for gradient in gradients], 0)
  rows = tf.concat([tf.cast(gradient.indices, tf.int64) for gradient in gradients], 0)
  return tf.IndexedSlices(values, rows, gradients[0].dense_shape)


def _unless_bad(gradient: Gradient | None, good: tf.Tensor) -> Gradient | None:
  if gradient is None:
    return None
  if isinstance(gradient, tf.IndexedSlices):
    values = tf.where(good, gradient.values, tf.zeros_like(gradient.values))
    return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
  return tf.where(good, gradient, tf.zeros_like(gradient))


def _over_replicas(loss: tf.Tensor) -> tf.Tensor:
  replica = tf.distribute.get_replica_context()
  if replica is None or replica.num_replicas_in_sync == 1:
    return loss
  return replica.all_reduce(tf.distribute.ReduceOp.SUM, loss)


def are_finite(writes: Sequence[tuple[tf.Variable, Write]]) -> tf.Tensor:
  """Scalar bool, of all that would be written."""
  values = [value for _, w in writes for value in (w.change, w.factor, *w.slots.values())]
  return tf.reduce_all([True, *(tf.reduce_all(tf.math.is_finite(value)) for value in values)])


def _check_treatment(treated: Treatment) -> None:
  """Raises ThresholdError for a clip with memory, or a direction that multiplies no gradients."""
  direction, clip = treated.direction, treated.clip
  if clip.initial_memory():
    raise ThresholdError(
      f"{clip} remembers what it saw of all tasks together; clip tasks with one without a memory"
    )
  if not (direction.has_preconditioner or direction == Sgd()):
    raise ThresholdError(
      f"{direction} makes no update of each task by itself; give the shared variables Adagrad() or "
      "Sgd()"
    )


def writes_of(
  step: Step, shared: Sequence[Shared], combine: Combine
) -> list[tuple[tf.Variable, Write]]:
  """What to write of each shared variable, were the step taken.

  Args:
    step: to come.
    shared: variables; gradients summed over replicas.
    combine: "sum", α = 1; or "even", by which the task that gains least gains the most it can.
  """
  updates = [_update(step, each) for each in shared]
  count = 1 + max((task for each in shared for task in each.tasks), default=0)
  weights = tf.ones([count])
  if combine == "even" and updates:
    weights = _even(updates, shared, count)
  return [
    (each.variable, _write(step, each, update, weights))
    for each, update in zip(shared, updates, strict=True)
  ]


def _update(step: Step, shared: Shared) -> Update:
  variable, total = shared.variable, tf.add_n(shared.gradients)
  treated = step.treatment(variable, total)
  _check_treatment(treated)
  ((rate, number),) = rates_and_numbers(step, [(total, variable)], [treated])
  slots, clip = _slots(step, variable), treated.clip.at(number, variable.dtype)
  scale = _scale(treated.direction, total, slots, variable, number)
  parts, clipped, factors = [], [], []
  for gradient in shared.gradients:
    acted_on = gradient if clip.acts_on == "gradient" else scale * gradient
    measures = _measures(step, shared, clip, scale, acted_on, rate)
    factor = clip.factor(measures)
    parts.append(factor * scale * gradient)
    clipped.append(factor * gradient)
    factors.append(tf.reduce_min(factor))
  seen = tf.add_n(clipped) if step.accumulate == "clipped" else total
  return Update(tf.stack(parts), scale, seen, tf.reduce_min(tf.stack(factors)))


def _measures(
  step: Step,
  shared: Shared,
  clip: Clip,
  scale: tf.Tensor,
  acted_on: tf.Tensor,
  rate: tf.Tensor,
) -> Measures:
  if step.treatment(shared.variable, None).clip.needs_preconditioner:
    return clip.measure_beside(scale, shared.variable, acted_on, rate)
  return clip.measure(shared.variable, acted_on, rate, step.is_table(shared.variable, None))


def _write(step: Step, shared: Shared, update: Update, weights: tf.Tensor) -> Write:
  variable = shared.variable
  treated = step.treatment(variable, None)
  ((rate, number),) = rates_and_numbers(step, [(update.seen, variable)], [treated])
  slots, clip = _slots(step, variable), treated.clip.at(number, variable.dtype)
  own = tf.cast(tf.gather(weights, shared.tasks), variable.dtype)
  direction = tf.tensordot(own, update.parts, 1)
  factor, smallest = tf.ones([], variable.dtype), update.smallest
  if clip.acts_on == "direction":
    measures = _measures(step, shared, clip, update.scale, direction, rate)
    factor = clip.factor(measures)
    smallest = tf.minimum(smallest, tf.reduce_min(factor))
  _, new_slots = treated.direction(update.seen, slots, variable, number)
  return Write(rate * factor * direction, new_slots, smallest, tf.constant(True), {})


def unless(write: Write, kept: Kept, variable: tf.Variable, finite: tf.Tensor) -> Write:
  """What there is already, where the step is not finite."""
  place = kept.index(variable)
  old = kept.slots[place]
  slots = {name: tf.where(finite, value, old[name]) for name, value in write.slots.items()}
  change = tf.where(finite, write.change, tf.zeros_like(write.change))
  factor = tf.where(finite, write.factor, kept.factors[place])
  return Write(change, slots, factor, finite, {})


def _slots(step: Step, variable: tf.Variable) -> Slots:
  return step.kept.slots[step.kept.index(variable)]


def _scale(
  direction: Direction,
  gradient: tf.Tensor,
  slots: Slots,
  weights: tf.Tensor,
  number: tf.Tensor,
) -> tf.Tensor:
  """P, of the gradient's shape or a scalar."""
  if not direction.has_preconditioner:
    return tf.ones([], gradient.dtype)
  _, new_slots = direction(gradient, slots, weights, number)
  return direction.preconditioner(slots, new_slots)


def _even(updates: Sequence[Update], shared: Sequence[Shared], count: int) -> tf.Tensor:
  """αₖ, float32 [count]: of updates that are equally long, the shortest convex sum.

  Its product with each of them is at least its own square: no task loses, and the one that gains
  least gains the most it can. Equal ones have α = 1, the plain sum. PUB (arXiv 2410.05806) argues
  for balancing updates and not gradients; the rule is MGDA's (Désidéri 2012), by Frank-Wolfe.
  """
  products = tf.zeros([count, count])
  for update, each in zip(updates, shared, strict=True):
    rows = tf.reshape(tf.cast(update.parts, tf.float32), [len(each.tasks), -1])
    places = [[i, j] for i in each.tasks for j in each.tasks]
    own = tf.reshape(tf.matmul(rows, rows, transpose_b=True), [-1])
    products = tf.tensor_scatter_nd_add(products, places, own)
  lengths = tf.sqrt(tf.linalg.diag_part(products))
  is_there = lengths > 0  # a task without an update has no part in the sum
  safe = tf.where(is_there, lengths, tf.ones_like(lengths))
  cosines = products / (safe[:, None] * safe[None, :])
  there = tf.cast(is_there, tf.float32)
  present = tf.maximum(tf.reduce_sum(there), 1.0)
  shares = there / present
  for _ in range(ROUNDS):
    slope = tf.linalg.matvec(cosines, shares)
    # What the task that gains most has goes to the one that gains least.
    least = tf.argmin(tf.where(is_there, slope, tf.fill([count], float("inf"))))
    most = tf.argmax(tf.where(shares > 0, slope, tf.fill([count], -float("inf"))))
    way = tf.one_hot(least, count) - tf.one_hot(most, count)
    curve = tf.tensordot(way, tf.linalg.matvec(cosines, way), 1)
    along = tf.math.divide_no_nan(-tf.tensordot(way, slope, 1), curve)
    shares += tf.clip_by_value(along, 0.0, shares[most]) * way
  mean = tf.reduce_sum(lengths) / present
  return present * shares * mean / safe
