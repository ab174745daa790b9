"""Whether what a step would write is finite."""

from collections.abc import Sequence

import tensorflow as tf

from ranking.optimizers import rows
from ranking.optimizers.clipping import NoClip
from ranking.optimizers.stacked import Stack
from ranking.optimizers.step import Decision, Pairs, Step


def is_finite(
  step: Step,
  pairs: Pairs,
  decisions: Sequence[Decision],
  stacks: Sequence[Stack],
  loss: tf.Tensor | None,
) -> tf.Tensor:
  """Scalar bool, the same on every replica.

  The sum of all squared gradients, and the square of the rate: then so is any product of the two.
  σ and the clip's new memory. Our own directions make finite numbers of finite gradients; those of
  another direction are looked at one by one.

  Args:
    step: to come.
    pairs, decisions: of variables that are taken one by one.
    stacks: of the others.
    loss: a replica's own; None where it is not known.
  """
  squares: dict[tf.DType, list[tf.Tensor]] = {}
  for gradient, _ in pairs:
    values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
    squares.setdefault(values.dtype, []).append(tf.nn.l2_loss(values))
  for stack in stacks:
    squares.setdefault(stack.half_square.dtype, []).append(stack.half_square)
  sums = [2.0 * tf.add_n(same) for same in squares.values()]
  rates = {id(decision.rate): decision.rate for decision in decisions}
  sums += [tf.square(rate) for rate in rates.values()]
  for stack in stacks:
    sums += [stack.change, stack.factors, *stack.memory.values()]
    if not stack.treated.direction.keeps_finite:
      sums += stack.slots.values()
  scalars: dict[tf.DType, list[tf.Tensor]] = {}
  for (gradient, variable), decision in zip(pairs, decisions, strict=True):
    treated = step.treatment(variable, gradient)
    seen = list(decision.memory.values())
    if not isinstance(treated.clip, NoClip):
      seen.append(decision.factor)
    if not treated.direction.keeps_finite:
      slots = step.kept.slots[step.kept.index(variable)]
      values, weights, slots = rows.moved(gradient, variable, slots, treated.direction)
      direction, slots = treated.direction(values, slots, weights, decision.step)
      seen += [direction, *slots.values()]
    for value in seen:
      if value.shape.rank == 0:
        scalars.setdefault(value.dtype, []).append(value)
      else:
        sums.append(value)
  sums += [tf.stack(same) for same in scalars.values()]
  finite = tf.reduce_all([True, *(tf.reduce_all(tf.math.is_finite(total)) for total in sums)])
  if loss is None:
    return finite
  replica = tf.distribute.get_replica_context()
  if replica is not None and replica.num_replicas_in_sync > 1:
    loss = replica.all_reduce(tf.distribute.ReduceOp.SUM, loss)
  return finite & tf.reduce_all(tf.math.is_finite(loss))
