import math
from typing import Literal

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tensorflow_recommenders.experimental.optimizers.clippy_adagrad import shrink_by_references

from ranking.array import Array
from ranking.optimizers import (
  AdaGC,
  AdaptiveGradientClipping,
  Clippy,
  GradientClipping,
  Lamb,
  LayerClippy,
  NoClip,
  RmsClip,
  ZClip,
)
from ranking.optimizers.clipping import Clip, Measures

CLIPS = (
  NoClip(),
  GradientClipping(0.5),
  AdaptiveGradientClipping(0.05),
  AdaptiveGradientClipping(0.05, unit="layer"),
  Lamb(0.1),
  Clippy(),
  LayerClippy(),
  RmsClip(0.5),
)
WITH_MEMORY = (AdaGC(), ZClip(), ZClip(warmup_steps=1))
# Not those with limits of each unit or layer.
OF_WHOLE_VARIABLES = tuple(
  clip for clip in CLIPS if clip not in (AdaptiveGradientClipping(0.05), LayerClippy())
)
NORM_5 = np.array([[3.0, 0.0], [0.0, -4.0]])  # columns of norm 3 and 4

# Ordinary numbers, zeros, and spikes of up to 1e6.
NUMBERS = st.one_of(
  st.just(0.0), st.floats(-2.0, 2.0, width=32), st.sampled_from([-1e6, 1e-6, 1e6])
)
SCALES = st.sampled_from([1e-20, 1e-10, 1e-3, 1.0, 1e3, 1e10, 1e20])
POWERS = st.integers(-60, 60).map(lambda power: 2.0**power)  # by which scaling is exact
RATES = st.sampled_from([1e-3, 0.1, 10.0])


def measures(
  clip: Clip, weights: Array, tensor: Array, rate: float = 0.1, of_rows: bool = False
) -> Measures:
  """In float64."""
  w, x, eta = (tf.constant(value, tf.float64) for value in (weights, tensor, rate))
  return clip.measure(w, x, eta, of_rows)


def factor(
  clip: Clip, weights: Array, tensor: Array, rate: float = 0.1, of_rows: bool = False
) -> Array:
  """σ as float64."""
  return np.asarray(clip.factor(measures(clip, weights, tensor, rate, of_rows)), np.float64)


def pressure(
  clip: Clip, weights: Array, tensor: Array, rate: float = 0.1, of_rows: bool = False
) -> Array:
  """As float64."""
  w, x, eta = (tf.constant(value, tf.float64) for value in (weights, tensor, rate))
  return np.asarray(clip.pressure(w, x, eta, of_rows), np.float64)


@st.composite
def weights_and_direction(draw: st.DrawFn) -> tuple[Array, Array]:
  """Two float64 arrays of the same shape, of no to three axes, each at a scale of its own."""
  shape = draw(array_shapes(min_dims=0, max_dims=3, max_side=4))
  weights, direction = (draw(arrays(np.float64, shape, elements=NUMBERS)) for _ in range(2))
  return weights * draw(SCALES), direction * draw(SCALES)


def length(tensor: Array, axes: tuple[int, ...] | None = None) -> Array:
  """The Euclidean norm over some axes, or all."""
  return np.sqrt(np.sum(np.square(tensor), axis=axes, keepdims=axes is not None))


def columns(tensor: Array) -> tuple[int, ...] | None:
  """The axes over which a kernel's units are summed; those of a vector are no units."""
  return tuple(range(tensor.ndim - 1)) if tensor.ndim > 1 else None


def test_no_clip_lets_everything_through() -> None:
  assert factor(NoClip(), np.zeros(3), np.full(3, 1e30)) == 1
  ones = [measures(NoClip(), np.zeros(3), np.ones(3))] * 3
  assert float(NoClip().factor(NoClip().join(ones))) == 1


def test_gradient_clipping_brings_a_long_gradient_to_the_threshold() -> None:
  for threshold in (2.0, 4.99):
    sigma = factor(GradientClipping(threshold), np.zeros((2, 2)), NORM_5)
    assert sigma == pytest.approx(threshold / 5, rel=1e-12)


def test_gradient_clipping_leaves_a_short_or_zero_gradient_alone() -> None:
  for gradient in (NORM_5, np.zeros((2, 2))):
    assert factor(GradientClipping(5.0), np.zeros((2, 2)), gradient) == 1


def test_what_was_clipped_once_is_not_clipped_again() -> None:
  for clip in (
    GradientClipping(2.0),
    AdaptiveGradientClipping(0.5, unit="output"),
    Clippy(),
    LayerClippy(),
    RmsClip(0.5),
  ):
    weights = np.ones((2, 2))
    clipped = factor(clip, weights, 100 * NORM_5) * 100 * NORM_5
    assert np.all(factor(clip, weights, 100 * NORM_5) < 1)
    np.testing.assert_allclose(factor(clip, weights, clipped), 1, rtol=1e-12)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(weights_and_direction())
def test_the_clipped_gradient_stays_when_a_long_one_gets_longer(
  sample: tuple[Array, Array],
) -> None:
  weights, gradient = sample
  clip = GradientClipping(0.5)
  assume(length(gradient) > 0.5)
  once = factor(clip, weights, gradient) * gradient
  assert length(once) == pytest.approx(0.5, rel=1e-12)
  again = factor(clip, weights, 1e3 * gradient) * 1e3 * gradient
  np.testing.assert_allclose(again, once, rtol=1e-12)


def test_adaptive_clipping_of_a_kernel_takes_one_norm_per_output_column() -> None:
  weights = np.array([[1.0, 6.0], [0.0, 8.0]])  # columns of norm 1 and 10
  sigma = factor(AdaptiveGradientClipping(0.5), weights, NORM_5)
  np.testing.assert_allclose(sigma, [[0.5 * 1 / 3, 1]], rtol=1e-12)


def test_adaptive_clipping_of_rows_takes_one_norm_per_row() -> None:
  weights = np.array([[6.0, 8.0], [1.0, 0.0]])  # rows of norm 10 and 1
  sigma = factor(AdaptiveGradientClipping(0.5), weights, NORM_5, of_rows=True)
  np.testing.assert_allclose(sigma, np.array([[1], [0.5 * 1 / 4]]), rtol=1e-12)
  cube = NORM_5[:, :, None] * np.ones(4)  # rows of norm 6 and 8
  sigma = factor(AdaptiveGradientClipping(0.5), np.ones((2, 2, 4)), cube, of_rows=True)
  expected = 0.5 * np.sqrt(8) / np.array([6.0, 8.0])
  np.testing.assert_allclose(sigma, expected[:, None, None], rtol=1e-12)


def test_adaptive_clipping_of_a_layer_takes_one_norm_of_it_all() -> None:
  weights = np.array([[1.0, 2.0], [2.0, 0.0]])  # of norm 3
  for of_rows in (False, True):
    clip = AdaptiveGradientClipping(0.5, unit="layer")
    sigma = factor(clip, weights, NORM_5, of_rows=of_rows)
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
  sigma = factor(AdaptiveGradientClipping(0.01), weights, gradient)
  norm = length(sigma * gradient, columns(gradient))
  of_weights = length(weights, columns(weights))
  assert np.all((sigma > 0) & (sigma <= 1))
  assert np.all(norm <= 0.01 * np.maximum(of_weights, 1e-3) * (1 + 1e-9))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(weights_and_direction(), POWERS, st.sampled_from(["output", "layer"]), st.booleans())
def test_adaptive_clipping_is_the_same_for_weights_and_gradient_in_another_unit(
  sample: tuple[Array, Array], scale: float, unit: Literal["output", "layer"], of_rows: bool
) -> None:
  weights, gradient = sample
  clip = AdaptiveGradientClipping(0.01, epsilon=0.0, unit=unit)
  once = factor(clip, weights, gradient, of_rows=of_rows)
  scaled = factor(clip, scale * weights, scale * gradient, of_rows=of_rows)
  np.testing.assert_allclose(scaled, once, rtol=1e-12)


def test_lamb_moves_a_layer_by_a_share_of_its_norm() -> None:
  weights = np.array([[0.0, 20.0], [0.0, 0.0]])
  assert factor(Lamb(0.1), weights, NORM_5) == pytest.approx(0.1 * 20 / 5, rel=1e-12)
  assert factor(Lamb(1.0), weights, NORM_5) == pytest.approx(4, rel=1e-12)  # may exceed 1


def test_lamb_is_its_multiplier_where_a_norm_is_zero() -> None:
  zeros = np.zeros((2, 2))
  for weights, direction in ((zeros, NORM_5), (NORM_5, zeros), (zeros, zeros)):
    assert factor(Lamb(0.25), weights, direction) == 0.25


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(weights_and_direction(), POWERS)
def test_what_lamb_makes_of_a_direction_does_not_depend_on_its_length(
  sample: tuple[Array, Array], scale: float
) -> None:
  weights, direction = sample
  assume(length(weights) > 0)
  once = factor(Lamb(0.1), weights, direction) * direction
  assert length(once) == pytest.approx(0.1 * length(weights) if np.any(direction) else 0, rel=1e-12)
  scaled = factor(Lamb(0.1), weights, scale * direction) * scale * direction
  np.testing.assert_allclose(scaled, once, rtol=1e-12)


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
@given(weights_and_direction(), RATES)
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


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(weights_and_direction(), POWERS, RATES, st.booleans())
def test_clippy_is_the_same_for_weights_limits_and_moves_in_another_unit(
  sample: tuple[Array, Array], scale: float, rate: float, by_rate: bool
) -> None:
  weights, direction = sample
  once = factor(Clippy(0.5, 1e-2), weights, direction, rate)
  longer, faster = (1.0, scale) if by_rate else (scale, 1.0)
  scaled = factor(Clippy(0.5, 1e-2 * scale), scale * weights, longer * direction, faster * rate)
  np.testing.assert_allclose(scaled, once, rtol=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(weights_and_direction())
def test_clippy_equals_tensorflow_recommenders(sample: tuple[Array, Array]) -> None:
  weights, direction = sample
  _, expected = shrink_by_references(
    tf.constant(0.1 * direction), [tf.constant(weights)], [0.5], 1e-2
  )
  assert factor(Clippy(0.5, 1e-2), weights, direction) == pytest.approx(float(expected), rel=1e-12)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(weights_and_direction(), RATES)
def test_layer_clippy_is_clippy_whose_absolute_threshold_is_a_share_of_the_layers_rms(
  sample: tuple[Array, Array], rate: float
) -> None:
  weights, direction = sample
  share = 0.02 * max(float(np.sqrt(np.mean(weights**2))), 1e-3)
  twin = factor(Clippy(0.1, share), weights, direction, rate)
  assert factor(LayerClippy(), weights, direction, rate) == pytest.approx(float(twin), rel=1e-12)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(weights_and_direction(), POWERS, RATES)
def test_layer_clippy_without_its_floor_needs_no_other_threshold_in_another_unit(
  sample: tuple[Array, Array], scale: float, rate: float
) -> None:
  weights, direction = sample
  assume(np.any(weights))
  clip = LayerClippy(epsilon=0.0)
  once = factor(clip, weights, direction, rate)
  scaled = factor(clip, scale * weights, scale * direction, rate)
  np.testing.assert_allclose(scaled, once, rtol=1e-12)


def test_layer_clippy_lets_a_bias_of_zeros_move() -> None:
  sigma = factor(LayerClippy(epsilon=1e-3), np.zeros(3), np.ones(3), rate=0.1)
  assert sigma == pytest.approx(0.02 * 1e-3 / 0.1)
  assert factor(LayerClippy(), np.zeros((0, 2)), np.zeros((0, 2)), of_rows=True) == 1


def test_rms_clipping_brings_the_root_of_the_mean_square_to_the_threshold() -> None:
  for threshold in (1.0, 2.49):  # the RMS of four numbers of norm 5 is 2.5
    sigma = factor(RmsClip(threshold), np.zeros((2, 2)), NORM_5)
    assert sigma == pytest.approx(threshold / 2.5, rel=1e-12)
  assert factor(RmsClip(2.5), np.zeros((2, 2)), NORM_5) == 1


def test_rms_clipping_of_nothing_or_zeros_is_no_clipping() -> None:
  assert factor(RmsClip(), np.zeros((2, 2)), np.zeros((2, 2))) == 1
  assert factor(RmsClip(), np.zeros((0, 2)), np.zeros((0, 2)), of_rows=True) == 1


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(weights_and_direction(), POWERS)
def test_once_it_clips_rms_clipping_makes_the_same_of_any_length(
  sample: tuple[Array, Array], scale: float
) -> None:
  weights, direction = sample
  clip = RmsClip(0.5)
  rms = length(direction) / np.sqrt(direction.size)
  assume(min(rms, scale * rms) > 0.5)
  once = factor(clip, weights, direction) * direction
  assert length(once) == pytest.approx(0.5 * np.sqrt(direction.size), rel=1e-12)
  scaled = factor(clip, weights, scale * direction) * scale * direction
  np.testing.assert_allclose(scaled, once, rtol=1e-12)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(CLIPS), weights_and_direction(), RATES, st.booleans())
def test_every_factor_is_in_its_range_at_every_scale(
  clip: Clip, sample: tuple[Array, Array], rate: float, of_rows: bool
) -> None:
  sigma = factor(clip, *sample, rate, of_rows)
  assert np.all(np.isfinite(sigma))
  assert np.all(sigma > 0)
  assert isinstance(clip, Lamb) or np.all(sigma <= 1)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(OF_WHOLE_VARIABLES), st.data())
def test_joined_measures_are_those_of_one_long_variable(clip: Clip, data: st.DataObject) -> None:
  parts = [data.draw(weights_and_direction()) for _ in range(data.draw(st.integers(1, 3)))]
  rate = data.draw(RATES)
  joined = clip.join([measures(clip, *part, rate) for part in parts])
  weights, direction = (np.concatenate([part[k].ravel() for part in parts]) for k in (0, 1))
  np.testing.assert_allclose(
    clip.factor(joined), factor(clip, weights, direction, rate), rtol=1e-12
  )


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(weights_and_direction(), RATES)
def test_where_clippy_clips_the_coordinate_of_most_pressure_moves_by_its_limit(
  sample: tuple[Array, Array], rate: float
) -> None:
  weights, direction = sample
  clip = Clippy(0.5, 1e-2)
  sigma = factor(clip, weights, direction, rate)
  made = pressure(clip, weights, direction, rate)
  assert made.shape == weights.shape
  assert np.all(made[direction == 0] == 0)
  binding = np.unravel_index(np.argmax(made), made.shape)
  if sigma < 1:
    move = sigma * rate * abs(direction[binding])
    assert move == pytest.approx(0.5 * abs(weights[binding]) + 1e-2, rel=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
  st.sampled_from([GradientClipping(), Lamb(), RmsClip(), NoClip(), *WITH_MEMORY]),
  weights_and_direction(),
)
def test_in_a_norm_the_largest_coordinate_binds(clip: Clip, sample: tuple[Array, Array]) -> None:
  weights, tensor = sample
  np.testing.assert_array_equal(pressure(clip, weights, tensor), np.abs(tensor))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(weights_and_direction(), st.sampled_from(["output", "layer"]), st.booleans())
def test_in_adaptive_clipping_the_largest_coordinate_of_the_most_clipped_unit_binds(
  sample: tuple[Array, Array], unit: Literal["output", "layer"], of_rows: bool
) -> None:
  weights, gradient = sample
  clip = AdaptiveGradientClipping(0.01, unit=unit)
  made = pressure(clip, weights, gradient, of_rows=of_rows)
  assert made.shape == weights.shape
  binding = np.unravel_index(np.argmax(made), made.shape)
  sigma = factor(clip, weights, gradient, of_rows=of_rows)
  of_each = np.broadcast_to(sigma, gradient.shape)
  assert of_each[binding] == pytest.approx(np.min(sigma), rel=1e-12)
  if np.min(sigma) < 1:  # where nothing is clipped, units of the same factor differ in length
    axes = columns(gradient) if unit == "output" else None
    if unit == "output" and of_rows and gradient.ndim > 1:
      axes = tuple(range(1, gradient.ndim))
    largest = np.broadcast_to(
      np.max(np.abs(gradient), axis=axes, keepdims=axes is not None), gradient.shape
    )
    assert abs(gradient[binding]) == largest[binding]


def test_coordinates_outside_the_most_clipped_unit_do_not_bind() -> None:
  weights = np.array([[1.0, 100.0], [0.0, 0.0]])  # columns of norm 1 and 100
  made = pressure(AdaptiveGradientClipping(0.5), weights, NORM_5)
  np.testing.assert_array_equal(made, [[3, -1], [0, -1]])
  made = pressure(AdaptiveGradientClipping(0.5), weights, NORM_5, of_rows=True)
  np.testing.assert_array_equal(made, [[-1, -1], [0, 4]])


@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_clip_hides_a_gradient_that_is_not_finite(clip: Clip, bad: float) -> None:
  tensor = np.array([1.0, bad, 0.0])
  with np.errstate(invalid="ignore"):
    assert not np.all(np.isfinite(factor(clip, np.ones(3), tensor) * tensor))


@pytest.mark.parametrize("clip", [*CLIPS, *WITH_MEMORY], ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (2, 3, 2), (0, 2)], ids=str)
@pytest.mark.parametrize("of_rows", [False, True], ids=["whole", "rows"])
def test_the_factor_broadcasts_and_keeps_the_type_of_the_weights(
  clip: Clip, shape: tuple[int, ...], of_rows: bool
) -> None:
  for dtype in (tf.float32, tf.float64):
    weights, rate, step = tf.ones(shape, dtype), tf.constant(0.1, dtype), tf.constant(1.0, dtype)
    memory = {name: tf.constant(value, dtype) for name, value in clip.initial_memory().items()}
    made = clip.measure(weights, 100 * weights, rate, of_rows)
    sigma, later = clip.factor_and_memory(made, made, memory, step)
    assert sigma.dtype == dtype
    assert (sigma * weights).shape == weights.shape
    assert {name: value.dtype for name, value in later.items()} == dict.fromkeys(memory, dtype)


def test_a_clip_without_memory_keeps_nothing_and_looks_at_no_one_else() -> None:
  for clip in CLIPS:
    assert clip.initial_memory() == {}
    own = measures(clip, np.ones((2, 2)), NORM_5)
    sigma, later = clip.factor_and_memory(own, {}, {}, tf.constant(1.0, tf.float64))
    np.testing.assert_array_equal(sigma, clip.factor(own))
    assert later == {}
