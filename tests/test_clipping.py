import math
from typing import Literal

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tensorflow_recommenders.experimental.optimizers.clippy_adagrad import shrink_by_references

from ranking.data.schema import Array
from ranking.optimizers import (
  AdaptiveGradientClipping,
  Clippy,
  GradientClipping,
  Lamb,
  NoClip,
)
from ranking.optimizers.clipping import Clip

CLIPS = (
  NoClip(),
  GradientClipping(0.5),
  AdaptiveGradientClipping(0.05),
  AdaptiveGradientClipping(0.05, unit="layer"),
  Lamb(0.1),
  Clippy(),
)
NORM_5 = np.array([[3.0, 0.0], [0.0, -4.0]])  # columns of norm 3 and 4

# Ordinary weights, zeros, and spikes of up to 1e6.
NUMBERS = st.one_of(
  st.just(0.0), st.floats(-2.0, 2.0, width=32), st.sampled_from([-1e6, 1e-6, 1e6])
)


def factor(clip: Clip, weights: Array, tensor: Array, rate: float = 0.1) -> Array:
  """σ as float64."""
  made = clip.factor(*(tf.constant(value, tf.float64) for value in (weights, tensor, rate)))
  return np.asarray(made, np.float64)


@st.composite
def weights_and_direction(draw: st.DrawFn) -> tuple[Array, Array]:
  """Two float64 arrays of the same shape, of one to three axes."""
  shape = draw(array_shapes(max_dims=3, max_side=4))
  return draw(arrays(np.float64, shape, elements=NUMBERS)), draw(
    arrays(np.float64, shape, elements=NUMBERS)
  )


def test_no_clip_lets_everything_through() -> None:
  assert factor(NoClip(), np.zeros(3), np.full(3, 1e30)) == 1


def test_gradient_clipping_brings_a_long_gradient_to_the_threshold() -> None:
  for threshold in (2.0, 4.99):
    sigma = factor(GradientClipping(threshold), np.zeros((2, 2)), NORM_5)
    assert sigma == pytest.approx(threshold / 5, rel=1e-12)


def test_gradient_clipping_leaves_a_short_or_zero_gradient_alone() -> None:
  for gradient in (NORM_5, np.zeros((2, 2))):
    assert factor(GradientClipping(5.0), np.zeros((2, 2)), gradient) == 1


def test_what_was_clipped_once_is_not_clipped_again() -> None:
  for clip in (GradientClipping(2.0), AdaptiveGradientClipping(0.5, unit="output"), Clippy()):
    weights = np.ones((2, 2))
    clipped = factor(clip, weights, 100 * NORM_5) * 100 * NORM_5
    assert np.all(factor(clip, weights, 100 * NORM_5) < 1)
    np.testing.assert_allclose(factor(clip, weights, clipped), 1, rtol=1e-12)


def test_adaptive_clipping_of_a_kernel_takes_one_norm_per_output_column() -> None:
  weights = np.array([[1.0, 6.0], [0.0, 8.0]])  # columns of norm 1 and 10
  sigma = factor(AdaptiveGradientClipping(0.5), weights, NORM_5)
  np.testing.assert_allclose(sigma, [[0.5 * 1 / 3, 1]], rtol=1e-12)


def test_adaptive_clipping_of_a_layer_takes_one_norm_of_it_all() -> None:
  weights = np.array([[1.0, 2.0], [2.0, 0.0]])  # of norm 3
  sigma = factor(AdaptiveGradientClipping(0.5, unit="layer"), weights, NORM_5)
  assert sigma.shape == ()
  assert sigma == pytest.approx(0.5 * 3 / 5, rel=1e-12)


@pytest.mark.parametrize("unit", ["output", "layer"])
def test_adaptive_clipping_of_a_bias_takes_one_norm_of_it_all(
  unit: Literal["output", "layer"],
) -> None:
  clip = AdaptiveGradientClipping(0.5, unit=unit)
  sigma = factor(clip, np.array([6.0, 8.0]), np.array([30.0, 40.0]))
  assert sigma == pytest.approx(0.5 * 10 / 50, rel=1e-12)


def test_an_unknown_unit_is_named() -> None:
  with pytest.raises(ValueError, match='unit is \'row\'; make it "output" or "layer"'):
    AdaptiveGradientClipping(unit="row")  # type: ignore[arg-type]


def test_epsilon_lets_zero_weights_move_under_adaptive_clipping() -> None:
  clip = AdaptiveGradientClipping(0.5, epsilon=1e-3)
  sigma = factor(clip, np.zeros(2), np.array([3.0, 4.0]))
  assert sigma == pytest.approx(0.5 * 1e-3 / 5, rel=1e-12)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(weights_and_direction())
def test_no_unit_keeps_a_gradient_longer_than_its_share_of_the_weights(
  sample: tuple[Array, Array],
) -> None:
  weights, gradient = sample
  axes = tuple(range(weights.ndim - 1)) or None
  sigma = factor(AdaptiveGradientClipping(0.01), weights, gradient)
  norm = np.sqrt(np.square(sigma * gradient).sum(axis=axes))
  of_weights = np.sqrt(np.square(weights).sum(axis=axes))
  assert np.all((sigma > 0) & (sigma <= 1))
  assert np.all(norm <= 0.01 * np.maximum(of_weights, 1e-3) * (1 + 1e-9))


def test_lamb_moves_a_layer_by_a_share_of_its_norm() -> None:
  weights = np.array([[0.0, 20.0], [0.0, 0.0]])
  assert factor(Lamb(0.1), weights, NORM_5) == pytest.approx(0.1 * 20 / 5, rel=1e-12)
  assert factor(Lamb(1.0), weights, NORM_5) == pytest.approx(4, rel=1e-12)  # may exceed 1


def test_lamb_is_its_multiplier_where_a_norm_is_zero() -> None:
  zeros = np.zeros((2, 2))
  for weights, direction in ((zeros, NORM_5), (NORM_5, zeros), (zeros, zeros)):
    assert factor(Lamb(0.25), weights, direction) == 0.25


def test_clippy_is_the_smallest_ratio_of_limit_to_move() -> None:
  weights, direction = np.array([2.0, -1.0, 0.0]), np.array([-30.0, 40.0, 1.0])
  # limits 1.01, 0.51, 0.01 against moves 3, 4, 0.1
  assert factor(Clippy(0.5, 0.01), weights, direction, rate=0.1) == pytest.approx(0.01 / 0.1)
  assert factor(Clippy(0.5, 1.0), weights, direction, rate=0.1) == pytest.approx(1.5 / 4)
  assert factor(Clippy(0.5, 1.0), weights, direction, rate=0.01) == 1


def test_a_coordinate_that_does_not_move_never_binds() -> None:
  clip = Clippy(0.5, 0.0)
  assert factor(clip, np.zeros(3), np.zeros(3)) == 1
  assert factor(clip, np.array([0.0, 1.0]), np.array([0.0, 10.0])) == pytest.approx(0.5 / 1)


def test_without_an_absolute_threshold_one_zero_weight_stops_its_variable() -> None:
  assert factor(Clippy(0.5, 0.0), np.array([0.0, 1.0]), np.array([1e-9, 0.0])) == 0


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(weights_and_direction(), st.sampled_from([1e-3, 0.1, 10.0]))
def test_clippy_is_the_largest_factor_that_keeps_every_coordinate_in_its_limit(
  sample: tuple[Array, Array], rate: float
) -> None:
  weights, direction = sample
  sigma = factor(Clippy(0.5, 1e-2), weights, direction, rate)
  limit = 0.5 * np.abs(weights) + 1e-2
  moves = rate * np.abs(direction)
  assert 0 < sigma <= 1
  assert np.all(sigma * moves <= limit * (1 + 1e-12))
  assert sigma == 1 or np.any(1.001 * sigma * moves > limit)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(weights_and_direction())
def test_clippy_equals_tensorflow_recommenders(sample: tuple[Array, Array]) -> None:
  weights, direction = sample
  _, expected = shrink_by_references(
    tf.constant(0.1 * direction), [tf.constant(weights)], [0.5], 1e-2
  )
  assert factor(Clippy(0.5, 1e-2), weights, direction) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_clip_hides_a_gradient_that_is_not_finite(clip: Clip, bad: float) -> None:
  tensor = np.array([1.0, bad, 0.0])
  with np.errstate(invalid="ignore"):
    assert not np.all(np.isfinite(factor(clip, np.ones(3), tensor) * tensor))


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (2, 3, 2)], ids=str)
def test_the_factor_broadcasts_and_keeps_the_type_of_the_weights(
  clip: Clip, shape: tuple[int, ...]
) -> None:
  for dtype in (tf.float32, tf.float64):
    weights, rate = tf.ones(shape, dtype), tf.constant(0.1, dtype)
    sigma = clip.factor(weights, 100 * weights, rate)
    assert sigma.dtype == dtype
    assert (sigma * weights).shape == weights.shape
