"""A step of several micro-batches: that of one batch of all of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking import strategy
from ranking.array import Array
from ranking.optimizers import (
  TABLES,
  AdaGC,
  Adagrad,
  Adam,
  AdaptiveGradientClipping,
  ClippedOptimizer,
  Clippy,
  GradientClipping,
  NoClip,
  Rule,
  Sgd,
  observe,
)
from ranking.optimizers.clipping import Clip
from ranking.optimizers.directions import Direction
from tests.fresh_process import in_fresh_process

COUNT, STEPS = 3, 4
RANDOM = np.random.default_rng(0)
KERNEL, TABLE = RANDOM.normal(size=(4, 3)), RANDOM.normal(size=(9, 3))
GRADIENTS = RANDOM.normal(size=(STEPS, COUNT, 4, 3)) * 10.0 ** RANDOM.uniform(
  -1, 1, (STEPS, 1, 1, 1)
)
ROWS = RANDOM.integers(0, 7, size=(STEPS, COUNT, 5))
OF_ROWS = RANDOM.normal(size=(STEPS, COUNT, 5, 3))


def variables() -> list[tf.Variable]:
  return [tf.Variable(KERNEL, name="kernel"), tf.Variable(TABLE, name="users")]


def slices(rows: Array, values: Array) -> tf.IndexedSlices:
  return tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant([9, 3]))


def take(
  optimizer: ClippedOptimizer, weights: list[tf.Variable], micro: bool, steps: range
) -> None:
  """Steps of micro-batches, or of one batch with all of their rows."""
  kernel, table = weights
  for k in steps:
    if micro:
      for gradient, rows, values in zip(GRADIENTS[k], ROWS[k], OF_ROWS[k], strict=True):
        optimizer.apply_gradients(
          [(tf.constant(gradient), kernel), (slices(rows, values), table)], loss=tf.constant(1.0)
        )
    else:
      all_rows = slices(ROWS[k].ravel(), OF_ROWS[k].reshape(-1, 3) / COUNT)
      optimizer.apply_gradients([(tf.constant(GRADIENTS[k].mean(0)), kernel), (all_rows, table)])


def all_of(optimizer: ClippedOptimizer, weights: list[tf.Variable]) -> list[Array]:
  """Weights, slots, memory and factors."""
  kept = [value for variable in weights for value in optimizer.state_of(variable).values()]
  return [value.numpy() for value in (*weights, *kept, optimizer.iterations)]


@pytest.mark.parametrize(
  ("clip", "direction"),
  [
    (NoClip(), Sgd(0.5)),
    (GradientClipping(0.5), Adagrad()),
    (AdaptiveGradientClipping(0.1), Adam()),
    (Clippy(0.1, 0.01), Adagrad()),
    (AdaGC(), Adam(lazy=True)),
  ],
  ids=lambda made: type(made).__name__,
)
def test_micro_batches_take_the_step_of_one_batch(clip: Clip, direction: Direction) -> None:
  micro = ClippedOptimizer(direction, clip, 0.125, exclude="", micro_batches=COUNT)
  whole = ClippedOptimizer(direction, clip, 0.125, exclude="")
  here, there = variables(), variables()
  take(micro, here, True, range(STEPS))
  take(whole, there, False, range(STEPS))
  for one, two in zip(all_of(micro, here), all_of(whole, there), strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-9)
  assert min(float(factor) for factor in whole.clipping_factors()) < 1 or clip == NoClip()
  if direction.is_row_wise:
    np.testing.assert_array_equal(here[1][7:], TABLE[7:])  # which never came


def test_nothing_moves_before_a_step_is_due_and_rows_begin_anew_after_it() -> None:
  optimizer, (kernel, table) = ClippedOptimizer(Sgd(), NoClip(), 1.0, micro_batches=2), variables()
  one, two = (slices(np.array([row]), np.ones((1, 3))) for row in (1, 2))
  optimizer.apply_gradients([(one, table), (tf.ones([4, 3], tf.float64), kernel)])
  np.testing.assert_array_equal(table, TABLE)
  assert int(optimizer.iterations) == 0
  # The kernel has no gradient in this one; that of the other is not lost.
  optimizer.apply_gradients([(two, table)])
  np.testing.assert_allclose(table[1:3], TABLE[1:3] - 0.5)
  np.testing.assert_allclose(kernel, KERNEL - 0.5)
  before = table.numpy()
  for _ in range(2):
    optimizer.apply_gradients([(two, table)])
  np.testing.assert_allclose(table, before - np.eye(9)[2][:, None])
  np.testing.assert_allclose(kernel, KERNEL - 0.5)
  assert int(optimizer.iterations) == 2


@pytest.mark.parametrize("bad", ["gradient", "loss"])
def test_one_bad_micro_batch_skips_the_step_and_not_the_next(bad: str) -> None:
  optimizer, weights = ClippedOptimizer(Adagrad(), Clippy(), 0.125, micro_batches=2), variables()
  kernel = weights[0]
  for spoiled, is_taken in ((True, False), (False, True)):
    before = kernel.numpy()
    for k in range(2):
      wrong = np.nan if spoiled and k == 0 else 1.0
      gradient = wrong * tf.ones([4, 3], tf.float64) if bad == "gradient" else tf.ones_like(kernel)
      loss = tf.constant(wrong if bad == "loss" else 1.0)
      optimizer.apply_gradients([(gradient, kernel)], loss=loss)
    assert (not np.array_equal(kernel, before)) == is_taken
    assert int(optimizer.skipped_in_a_row) == (not is_taken)
  assert (int(optimizer.iterations), int(optimizer.skipped_steps)) == (1, 1)


def test_many_small_variables_and_large_ones_do_so_too() -> None:
  for count, exclude in ((9, ""), (2, TABLES)):
    here, there = (
      [tf.Variable(KERNEL * (k + 1), name=f"w_{k}") for k in range(count)] for _ in range(2)
    )
    micro = ClippedOptimizer(Adagrad(), Clippy(), 0.5, exclude=exclude, micro_batches=COUNT)
    whole = ClippedOptimizer(Adagrad(), Clippy(), 0.5, exclude=exclude)
    for of_step in GRADIENTS:
      for gradient in of_step:
        micro.apply_gradients([(tf.constant(gradient), variable) for variable in here])
      whole.apply_gradients([(tf.constant(of_step.mean(0)), variable) for variable in there])
    for one, two in zip(here, there, strict=True):
      np.testing.assert_allclose(one, two, rtol=1e-9)


def test_a_step_that_is_observed_is_of_what_is_summed() -> None:
  optimizer, (kernel, _) = (
    ClippedOptimizer(Sgd(), GradientClipping(1.0), micro_batches=2),
    variables(),
  )
  optimizer.build([kernel])
  seen = []
  for size in (2.0, 6.0):
    pairs = [(tf.fill([4, 3], tf.constant(size, tf.float64)), kernel)]
    seen.append(observe(optimizer, pairs, {})[0].gradient_norm)
    optimizer.apply_gradients(pairs)
  np.testing.assert_allclose(seen, np.sqrt(12) * np.array([1.0, 4.0]))


def test_a_sum_is_saved_and_gone_on_with(tmp_path: Path) -> None:
  def made() -> tuple[ClippedOptimizer, list[tf.Variable]]:
    rules = [Rule("users", direction=Adam(lazy=True))]
    return ClippedOptimizer(Adagrad(), Clippy(), 0.125, rules=rules, micro_batches=2), variables()

  def add(optimizer: ClippedOptimizer, weights: list[tf.Variable], k: int) -> None:
    pairs: list[Any] = [(tf.constant(GRADIENTS[k, 0]), weights[0])]
    optimizer.apply_gradients([*pairs, (slices(ROWS[k, 0], OF_ROWS[k, 0]), weights[1])])

  straight, weights = made()
  for k in range(3):
    add(straight, weights, k)
  saved = tf.train.Checkpoint(o=straight, w=weights).write(str(tmp_path / "saved"))
  other, others = made()
  other.build(others)
  tf.train.Checkpoint(o=other, w=others).read(saved).assert_consumed()
  for optimizer, of_it in ((straight, weights), (other, others)):
    add(optimizer, of_it, 3)
  for one, two in zip(all_of(straight, weights), all_of(other, others), strict=True):
    np.testing.assert_array_equal(one, two)
  without = ClippedOptimizer(Adagrad(), Clippy(), 0.125)
  without.build(others)
  with pytest.raises(ValueError, match="keeps accumulator, clipping_factor, gradient_sum, rows_to"):
    tf.train.Checkpoint(o=without).read(saved)


@pytest.mark.parametrize("count", [0, 1.5, True, None])
def test_what_is_no_count_is_refused(count: Any) -> None:
  with pytest.raises(ValueError, match=f"^micro_batches is {count}; make it a whole number, 1 or"):
    ClippedOptimizer(Sgd(), NoClip(), micro_batches=count)


def test_fit_with_micro_batches_is_fit_with_large_ones() -> None:
  x, y = RANDOM.normal(size=(48, 4)), RANDOM.normal(size=(48, 1))
  weights = []
  for size, count in ((8, 3), (24, 1)):
    tf_keras.utils.set_random_seed(1)
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(4,))])
    model.compile(ClippedOptimizer(Adagrad(), Clippy(), 0.1, micro_batches=count), "mse")
    model.fit(x, y, batch_size=size, shuffle=False, verbose=0)
    weights.append(model.get_weights())
  for one, two in zip(*weights, strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-5)


def on_replicas() -> list[list[Array]]:
  """Weights, averages and counts of one replica, and of each of two with half of each gradient."""
  two = strategy.virtual_cpus(2)
  tf.get_logger().setLevel("ERROR")
  states: list[list[Array]] = []
  for replicas in (tf.distribute.get_strategy(), two):
    with replicas.scope():
      kernel, table = (
        tf.Variable(tf.constant(value, tf.float32), name=name)
        for name, value in (("kernel", KERNEL), ("users", TABLE))
      )
      optimizer = ClippedOptimizer(
        Adagrad(), Clippy(), 0.125, micro_batches=2, use_ema=True, ema_momentum=0.5
      )
      optimizer.build([kernel, table])
    share = 1 / replicas.num_replicas_in_sync

    def step(numbers: Any, rows: Any, bound: Any = (optimizer, kernel, table, share)) -> None:
      (gradient, values, loss), (optimizer, kernel, table, share) = numbers, bound
      slices = tf.IndexedSlices(share * values, rows, tf.constant([9, 3]))
      optimizer.apply_gradients([(share * gradient, kernel), (slices, table)], loss=loss)

    run = tf.function(lambda *args, r=replicas, s=step: r.run(s, args=args))
    for k in range(4):
      numbers = (GRADIENTS[k, 0], OF_ROWS[k, 0], np.nan if k == 1 else 1.0)
      run(tuple(tf.constant(n, tf.float32) for n in numbers), tf.constant(ROWS[k, 0]))
    local = [replicas.experimental_local_results(v) for v in (kernel, table, *optimizer.numbers)]
    states += [[value.numpy() for value in of_one] for of_one in zip(*local, strict=True)]
  return states


def test_two_replicas_take_the_steps_of_one() -> None:
  one, first, second = in_fresh_process(on_replicas)
  for whole, half, other in zip(one, first, second, strict=True):
    np.testing.assert_array_equal(half, other)
    np.testing.assert_allclose(half, whole, rtol=1e-5)
  assert [int(count) for count in one[2:5]] == [1, 1, 0]  # taken, skipped, skipped in a row
