import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.array import Array
from ranking.optimizers import ClippedOptimizer, NoClip
from ranking.optimizers.directions import Adagrad, Adam, Direction, Sgd, Slots

RANDOM = np.random.default_rng(1)
GRADIENTS = RANDOM.normal(size=(20, 4, 3)) * 10.0 ** RANDOM.uniform(-4, 3, size=(20, 1, 1))
WEIGHTS = RANDOM.normal(size=(4, 3))
DIRECTIONS = (Sgd(), Sgd(0.75), Adagrad(), Adam(), Adam(weight_decay=0.25))


def first_slots(direction: Direction) -> Slots:
  """As the optimizer makes them, for one of `GRADIENTS`."""
  return {
    name: tf.fill([4, 3], tf.constant(value, tf.float64))
    for name, value in direction.initial_slots().items()
  }


def follow(direction: Direction, gradients: Array = GRADIENTS) -> tuple[list[Array], Slots]:
  """The direction of every step, and the slots after the last."""
  slots, made = first_slots(direction), []
  for step, gradient in enumerate(gradients, start=1):
    counted = tf.constant(step, tf.float64)
    r, slots = direction(tf.constant(gradient), slots, tf.constant(WEIGHTS), counted)
    made.append(r.numpy())
  return made, slots


def test_sgd_is_the_gradient_and_keeps_nothing() -> None:
  made, slots = follow(Sgd())
  np.testing.assert_array_equal(made, GRADIENTS)
  assert slots == Sgd().initial_slots() == {}


def test_momentum_weighs_a_gradient_down_once_more_in_every_later_step() -> None:
  made, slots = follow(Sgd(0.75))
  for step, r in enumerate(made):
    powers = 0.75 ** np.arange(step, -1, -1)
    expected = np.tensordot(powers, GRADIENTS[: step + 1], axes=1)
    np.testing.assert_allclose(r, expected, rtol=1e-12, atol=1e-10)
  np.testing.assert_array_equal(slots["velocity"], made[-1])


def test_adagrad_divides_by_the_root_of_all_squares_so_far_this_one_included() -> None:
  adagrad = Adagrad(initial_accumulator_value=0.25, epsilon=1e-3)
  made, slots = follow(adagrad)
  for step, r in enumerate(made):
    squares = 0.25 + np.square(GRADIENTS[: step + 1]).sum(axis=0)
    np.testing.assert_allclose(r, GRADIENTS[step] / np.sqrt(squares + 1e-3), rtol=1e-12)
  np.testing.assert_allclose(slots["accumulator"], squares, rtol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.25])
def test_adam_divides_one_weighted_mean_of_gradients_by_the_root_of_another(decay: float) -> None:
  made, slots = follow(Adam(0.875, 0.9375, epsilon=1e-3, weight_decay=decay))
  for step, r in enumerate(made):
    ages = np.arange(step, -1, -1)
    past = GRADIENTS[: step + 1]
    # The weights of a mean add up to 1, so that no bias is left to correct.
    mean = np.tensordot(0.875**ages / np.sum(0.875**ages), past, axes=1)
    of_squares = np.tensordot(0.9375**ages / np.sum(0.9375**ages), past**2, axes=1)
    epsilon = 1e-3 / np.sqrt(1 - 0.9375 ** (step + 1))
    expected = mean / (np.sqrt(of_squares) + epsilon) + decay * WEIGHTS
    np.testing.assert_allclose(r, expected, rtol=1e-11, atol=1e-12)
  kept = (1 - 0.875**20) * mean, (1 - 0.9375**20) * of_squares
  np.testing.assert_allclose(slots["first_moment"], kept[0], rtol=1e-11, atol=1e-10)
  np.testing.assert_allclose(slots["second_moment"], kept[1], rtol=1e-11)


@pytest.mark.parametrize("beta_1", [0.0, 0.5, 0.875])
@pytest.mark.parametrize("beta_2", [0.5, 0.9375])
def test_the_first_step_of_adam_has_length_one_in_every_coordinate(
  beta_1: float, beta_2: float
) -> None:
  made, _ = follow(Adam(beta_1, beta_2, epsilon=0.0), GRADIENTS[:1])
  np.testing.assert_allclose(made[0], np.sign(GRADIENTS[0]), rtol=1e-12)


def test_decay_adds_a_share_of_the_weights_and_leaves_the_moments_alone() -> None:
  plain, plain_slots = follow(Adam())
  decayed, slots = follow(Adam(weight_decay=0.25))
  np.testing.assert_allclose(
    np.subtract(decayed, plain), [0.25 * WEIGHTS] * 20, rtol=1e-9, atol=1e-12
  )
  for name in ("first_moment", "second_moment"):
    np.testing.assert_array_equal(slots[name], plain_slots[name])


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_a_row_without_gradient_stays_as_it_is_only_where_the_direction_says_so(
  direction: Direction,
) -> None:
  _, slots = follow(direction)
  slots = {name: value + 1.0 for name, value in slots.items()}
  step = tf.constant(21.0, tf.float64)
  zeros = tf.zeros([4, 3], tf.float64)
  r, later = direction(zeros, slots, tf.constant(WEIGHTS), step)
  unmoved = np.all(r.numpy() == 0)
  unchanged = all(np.array_equal(later[name], slots[name]) for name in slots)
  assert direction.is_row_wise == unmoved
  assert direction.is_row_wise == unchanged


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_rows_taken_out_of_a_table_get_what_they_would_get_in_it(direction: Direction) -> None:
  _, slots = follow(direction)
  rows, step = [2, 0], tf.constant(21.0, tf.float64)
  gradient, weights = tf.constant(GRADIENTS[0]), tf.constant(WEIGHTS)
  whole, whole_slots = direction(gradient, slots, weights, step)
  some = {name: tf.gather(value, rows) for name, value in slots.items()}
  part, part_slots = direction(tf.gather(gradient, rows), some, tf.gather(weights, rows), step)
  # Vectorized and leftover elements of one operation may round differently.
  np.testing.assert_allclose(part, tf.gather(whole, rows), rtol=1e-14)
  assert part_slots.keys() == whole_slots.keys() == direction.initial_slots().keys()
  for name, value in part_slots.items():
    np.testing.assert_allclose(value, tf.gather(whole_slots[name], rows), rtol=1e-14)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_direction_and_its_slots_have_the_type_and_shape_of_the_gradient(
  direction: Direction, dtype: str
) -> None:
  for shape in ((), (3,), (2, 0), (2, 3, 2)):
    ones = tf.ones(shape, dtype)
    slots = dict.fromkeys(direction.initial_slots(), ones)
    r, slots = direction(ones, slots, ones, tf.constant(3, dtype))
    for made in (r, *slots.values()):
      assert made.dtype == dtype
      assert made.shape == shape


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_direction_hides_a_gradient_that_is_not_finite(direction: Direction, bad: float) -> None:
  ones = tf.ones([2], tf.float64)
  slots = dict.fromkeys(direction.initial_slots(), ones)
  gradient = tf.constant([1.0, bad], tf.float64)
  r, later = direction(gradient, slots, ones, tf.constant(2.0, tf.float64))
  seen = [r, *later.values()]
  assert not all(np.all(np.isfinite(value)) for value in seen)
  assert np.isfinite(r[0])


def test_adagrad_of_a_zero_gradient_is_zero_even_with_an_empty_accumulator() -> None:
  zeros = tf.zeros([3])
  direction, slots = Adagrad()(zeros, {"accumulator": zeros}, zeros, tf.constant(1.0))
  np.testing.assert_array_equal(direction, zeros)
  np.testing.assert_array_equal(slots["accumulator"], zeros)


def test_adam_of_zero_gradients_is_zero() -> None:
  made, _ = follow(Adam(), np.zeros((3, 4, 3)))
  np.testing.assert_array_equal(made, np.zeros((3, 4, 3)))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.floats(-(2.0**60), 2.0**60, width=32), st.floats(0.0, 2.0**60, width=32))
def test_adagrad_never_exceeds_one(gradient: float, accumulator: float) -> None:
  slots = {"accumulator": tf.constant([accumulator], tf.float32)}
  given = tf.constant([gradient], tf.float32)
  direction, _ = Adagrad()(given, slots, given, tf.constant(1.0))
  assert abs(float(direction[0])) <= 1 + 1e-6


def test_adagrad_can_forget_a_share_of_its_accumulator_in_each_step() -> None:
  made, slots = follow(Adagrad(0.1, 1e-7, keep=0.75))
  accumulator = np.full((4, 3), 0.1)
  for gradient, r in zip(GRADIENTS, made, strict=True):
    accumulator = 0.75 * accumulator + gradient**2
    np.testing.assert_allclose(r, gradient / np.sqrt(accumulator + 1e-7), rtol=1e-12)
  np.testing.assert_allclose(slots["accumulator"], accumulator, rtol=1e-12)


def test_the_sum_of_squares_stays_a_number() -> None:
  optimizer, weight = ClippedOptimizer(Adagrad(), NoClip(), 0.5), tf.Variable([1.0, 1.0])
  for _ in range(8):  # each square is 1e38, and the largest float32 3.4e38
    optimizer.apply_gradients([(tf.constant([1e19, 0.0]), weight)])
  kept = optimizer.state_of(weight)["accumulator"].numpy()
  assert kept[0] == np.finfo(np.float32).max
  before = weight.numpy()
  optimizer.apply_gradients([(tf.constant([1e19, 0.0]), weight)])
  np.testing.assert_allclose(weight[0], before[0] - 0.5 * 1e19 / np.sqrt(kept[0]), rtol=1e-6)
  assert (int(optimizer.iterations), int(optimizer.skipped_steps)) == (9, 0)


def test_in_a_stream_without_end_adagrad_stops_unless_it_forgets() -> None:
  steady = np.ones((4000, 4, 3))
  assert np.max(follow(Adagrad(), steady)[0][-1]) < 0.02
  np.testing.assert_allclose(follow(Adagrad(keep=0.99), steady)[0][-1], np.sqrt(0.01), rtol=1e-3)


def test_more_than_all_cannot_be_kept() -> None:
  with pytest.raises(ValueError, match=r"^Adagrad.keep is 1.5; make it a share, from 0 to 1$"):
    Adagrad(keep=1.5)
