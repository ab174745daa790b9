import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.optimizers.directions import Adagrad, Sgd

RANDOM = np.random.default_rng(1)
GRADIENTS = RANDOM.normal(size=(20, 4, 3)) * 10.0 ** RANDOM.uniform(-4, 3, size=(20, 1, 1))


def test_sgd_is_the_gradient_and_keeps_nothing() -> None:
  gradient = tf.constant(GRADIENTS[0])
  direction, slots = Sgd()(gradient, {})
  np.testing.assert_array_equal(direction, gradient)
  assert slots == Sgd().initial_slots() == {}


def test_adagrad_divides_by_the_root_of_all_squares_so_far_this_one_included() -> None:
  adagrad = Adagrad(initial_accumulator_value=0.25, epsilon=1e-3)
  slots = {
    name: tf.fill([4, 3], tf.constant(value, tf.float64))
    for name, value in adagrad.initial_slots().items()
  }
  for step, gradient in enumerate(GRADIENTS):
    direction, slots = adagrad(tf.constant(gradient), slots)
    squares = 0.25 + np.square(GRADIENTS[: step + 1]).sum(axis=0)
    np.testing.assert_allclose(slots["accumulator"], squares, rtol=1e-12)
    np.testing.assert_allclose(direction, gradient / np.sqrt(squares + 1e-3), rtol=1e-12)


def test_rows_taken_out_of_a_table_get_what_they_would_get_in_it() -> None:
  gradient, accumulator = tf.constant(GRADIENTS[0]), tf.constant(np.square(GRADIENTS[1]))
  rows = [2, 0]
  whole, whole_slots = Adagrad()(gradient, {"accumulator": accumulator})
  part, part_slots = Adagrad()(
    tf.gather(gradient, rows), {"accumulator": tf.gather(accumulator, rows)}
  )
  np.testing.assert_array_equal(part, tf.gather(whole, rows))
  np.testing.assert_array_equal(
    part_slots["accumulator"], tf.gather(whole_slots["accumulator"], rows)
  )


def test_adagrad_of_a_zero_gradient_is_zero_even_with_an_empty_accumulator() -> None:
  zeros = tf.zeros([3])
  direction, slots = Adagrad()(zeros, {"accumulator": zeros})
  np.testing.assert_array_equal(direction, zeros)
  np.testing.assert_array_equal(slots["accumulator"], zeros)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.floats(-(2.0**60), 2.0**60, width=32), st.floats(0.0, 2.0**60, width=32))
def test_adagrad_never_exceeds_one(gradient: float, accumulator: float) -> None:
  slots = {"accumulator": tf.constant([accumulator], tf.float32)}
  direction, _ = Adagrad()(tf.constant([gradient], tf.float32), slots)
  assert abs(float(direction[0])) <= 1 + 1e-6
