import math
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from ranking.array import Array
from ranking.optimizers import reductions

# Around a threshold of 64 elements: below, at, above; 8 divides the size, the rows, or neither.
SHAPES = [
  (),
  (1,),
  (63,),
  (64,),
  (65,),
  (67,),  # a prime
  (8, 8),
  (7, 9),
  (9, 8),
  (13, 5),
  (16, 5),
  (2, 4, 9),
  (3, 5, 7),
  (1, 128),
  (128, 1),
  (8192,),  # a thousand for each part
  (8, 1024),
  (24, 1024),
  (8200,),
]
WAYS: dict[str, Callable[[Callable[[tf.Tensor], tf.Tensor]], Callable[[tf.Tensor], tf.Tensor]]] = {
  "eager": lambda function: function,
  "graph": tf.function,
  "compiled": lambda function: tf.function(function, jit_compile=True),
}


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr(reductions, "LARGE", 64)


def sample(shape: tuple[int, ...]) -> Array:
  """Numbers of both signs."""
  return np.random.default_rng(math.prod(shape)).normal(size=shape)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_total_is_the_sum_of_all_elements(shape: tuple[int, ...], way: str) -> None:
  values = sample(shape)
  total = WAYS[way](reductions.total)(tf.constant(values))
  assert total.shape == ()
  assert float(total) == pytest.approx(math.fsum(values.ravel()), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if len(shape) > 1], ids=str)
def test_a_total_of_columns_sums_over_all_axes_but_the_last(
  shape: tuple[int, ...], way: str
) -> None:
  values = sample(shape)
  total = WAYS[way](reductions.total_of_columns)(tf.constant(values))
  expected = values.sum(axis=tuple(range(len(shape) - 1)), keepdims=True)
  assert total.shape == expected.shape
  np.testing.assert_allclose(total, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_largest_is_found_wherever_it_is(shape: tuple[int, ...], way: str) -> None:
  values = sample(shape) - 100.0  # all negative
  largest = WAYS[way](reductions.largest)
  for where in {0, values.size // 2, values.size - 1}:
    placed = values.copy().reshape(-1)
    placed[where] = -1.0
    assert float(largest(tf.constant(placed.reshape(shape)))) == -1.0


@pytest.mark.parametrize("way", ["eager", "compiled"])
def test_reductions_of_sizes_unknown_beforehand_are_the_same(way: str) -> None:
  values = sample((9, 8))
  signature = [tf.TensorSpec([None, 8], tf.float64)]
  for reduce, expected in (
    (reductions.total, values.sum()),
    (reductions.total_of_columns, values.sum(axis=0, keepdims=True)),
    (reductions.largest, values.max()),
  ):
    compiled = tf.function(reduce, input_signature=signature, jit_compile=way == "compiled")
    np.testing.assert_allclose(compiled(tf.constant(values)), expected, rtol=1e-12)


def test_an_empty_tensor_adds_up_to_nothing() -> None:
  assert float(reductions.total(tf.zeros([0, 3]))) == 0
  np.testing.assert_array_equal(reductions.total_of_columns(tf.zeros([0, 3])), [[0.0, 0.0, 0.0]])


@pytest.mark.parametrize("function", [reductions.total, reductions.largest])
def test_what_is_not_finite_is_not_lost(function: Callable[[tf.Tensor], tf.Tensor]) -> None:
  values = sample((8, 16)).reshape(-1)
  for where in (0, 17, 127):
    placed = values.copy()
    placed[where] = math.inf
    assert float(function(tf.constant(placed))) == math.inf
  placed[5] = math.nan
  assert math.isnan(float(reductions.total(tf.constant(placed))))


# A running sum stops growing where a float32 no longer notices what is added: after 2**24 ones.
MANY = (1 << 24) + (1 << 23)


@pytest.mark.parametrize("way", ["eager", "compiled"])
def test_a_sum_of_many_equal_numbers_goes_on_growing(
  way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(reductions, "LARGE", 1 << 20)
  ones = tf.ones([MANY])
  assert float(WAYS[way](reductions.total)(ones)) == MANY
  columns = WAYS[way](reductions.total_of_columns)(tf.reshape(ones, [-1, 4]))
  np.testing.assert_array_equal(columns, np.full((1, 4), MANY / 4))


@pytest.mark.parametrize("way", ["eager", "compiled"])
def test_a_sum_of_many_equal_numbers_keeps_its_digits(
  way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(reductions, "LARGE", 1 << 20)
  value = np.float32(0.3)
  total = WAYS[way](reductions.total)(tf.fill([MANY], value))
  assert float(total) == pytest.approx(MANY * float(value), rel=1e-5)
