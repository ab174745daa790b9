from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ranking.array import Array
from ranking.optimizers import (
  AdaGC,
  Adagrad,
  Adam,
  AdaptiveGradientClipping,
  ClippedOptimizer,
  Clippy,
  GradientClipping,
  Lamb,
  LayerClippy,
  NoClip,
  RmsClip,
  Sgd,
  ZClip,
)
from ranking.optimizers.clipping import Clip
from ranking.optimizers.directions import Direction
from tests.numpy_optimizer import NumpyOptimizer, Rows

RATE = 0.125  # exact in float32, in which tf_keras keeps it
NONE = "^$"  # as `exclude`: finds no variable
STEPS = 20
Accumulate = Literal["clipped", "original"]

# Thresholds at which some of the gradients below are clipped and some are not; warm-ups so short
# that twenty steps see both phases.
METHODS: dict[str, Clip] = {
  "naive": NoClip(),
  "gc": GradientClipping(2.0),
  "agc": AdaptiveGradientClipping(0.5),
  "agc layer": AdaptiveGradientClipping(0.5, unit="layer"),
  "lamb": Lamb(0.1),
  "clippy": Clippy(0.1, 0.05),
  "layer_clippy": LayerClippy(0.1, 0.1, 0.05),
  "rms": RmsClip(0.5),
  "adagc": AdaGC(1.04, 2.0, 0.75, warmup_steps=5),
  "zclip": ZClip(1.0, 0.75, warmup_steps=5),
}
DIRECTIONS: dict[str, Direction] = {
  "sgd": Sgd(),
  "momentum": Sgd(0.75),
  "adagrad": Adagrad(),
  # Betas that float32 holds exactly: 1 - 0.999 already loses five digits there.
  "adam": Adam(0.875, 0.9375),
  "adamw": Adam(0.875, 0.9375, weight_decay=0.25),
}
# Where a clip acts on directions, or nothing accumulates, `accumulate` changes nothing.
CASES: list[tuple[str, str, Accumulate]] = [(m, d, "clipped") for m in METHODS for d in DIRECTIONS]
CASES += [
  (method, direction, "original")
  for method, clip in METHODS.items()
  if clip.acts_on == "gradient"
  for direction in ("momentum", "adagrad", "adam")
]
GLOBAL_CASES = [case for case in CASES if case[0] != "agc" and case[1] in ("adagrad", "adamw")]
PRECISIONS = [("float32", 1e-6), ("float64", 1e-12)]

RANDOM = np.random.default_rng(0)


def spiky(*shape: int) -> Array:
  """Gradients of `STEPS` steps, of lengths from 0.01 to 100; float64 that float32 holds exactly."""
  scale = 10.0 ** RANDOM.uniform(-2, 2, size=(STEPS, *[1] * len(shape)))
  return (RANDOM.normal(size=(STEPS, *shape)) * scale).astype(np.float32).astype(np.float64)


KERNEL, BIAS = RANDOM.normal(size=(5, 3)).astype(np.float32).astype(np.float64), np.zeros(3)
KERNEL_GRADIENTS, BIAS_GRADIENTS = spiky(5, 3), spiky(3)
TABLE = RANDOM.normal(size=(8, 3)).astype(np.float32).astype(np.float64)
ROWS = RANDOM.integers(0, 6, size=(STEPS, 5))  # with duplicates; rows 6 and 7 are never touched
ROW_GRADIENTS = spiky(5, 3)


def variables(dtype: str = "float32") -> list[tf.Variable]:
  """A kernel and a bias that starts at zero."""
  return [tf.Variable(KERNEL, dtype=dtype, name="kernel"), tf.Variable(BIAS, dtype=dtype, name="b")]


def table(dtype: str = "float32") -> tf.Variable:
  """An embedding table."""
  return tf.Variable(TABLE, dtype=dtype, name="embedding")


def rows_of(embedding: tf.Variable, step: int) -> tf.IndexedSlices:
  """The gradient of an embedding table in a step."""
  values = tf.constant(ROW_GRADIENTS[step], embedding.dtype)
  return tf.IndexedSlices(values, tf.constant(ROWS[step]), embedding.shape)


def run(optimizer: Any, weights: Sequence[tf.Variable], gradients: Sequence[Array]) -> None:
  """Takes all steps of dense gradients, one array [steps, ...] per variable."""
  for step in range(len(gradients[0])):
    made = [tf.constant(g[step], v.dtype) for g, v in zip(gradients, weights, strict=True)]
    optimizer.apply_gradients(zip(made, weights, strict=True))


def run_rows(optimizer: Any, embedding: tf.Variable) -> None:
  """Takes all steps of sparse gradients."""
  for step in range(STEPS):
    optimizer.apply_gradients([(rows_of(embedding, step), embedding)])


def assert_close(actual: Any, expected: Array, tolerance: float) -> None:
  """Equal to so many digits of the largest number, as after sums in which numbers cancel."""
  atol = tolerance * max(1.0, float(np.max(np.abs(expected))))
  np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=atol)


def assert_moved_like(
  twin: NumpyOptimizer,
  optimizer: ClippedOptimizer,
  weights: Sequence[tf.Variable],
  tolerance: float,
) -> None:
  """Weights and clipping factors after a step."""
  for k, (weight, factor) in enumerate(zip(weights, optimizer.clipping_factors(), strict=True)):
    assert_close(weight, twin.weights[k], tolerance)
    np.testing.assert_allclose(factor, twin.factors[-1][k], rtol=10 * tolerance)


def assert_keeps_like(
  twin: NumpyOptimizer,
  optimizer: ClippedOptimizer,
  weights: Sequence[tf.Variable],
  tolerance: float,
) -> None:
  """Slots and memory, under the same names."""
  for k, weight in enumerate(weights):
    kept = optimizer.state_of(weight)
    for name, value in twin.state(k).items():
      assert_close(kept[name], np.asarray(value), 10 * tolerance)


def assert_clipped_at_times(clip: Clip, direction: str, factors: Sequence[float]) -> None:
  """Shows that a test tried both, unless a direction is always too long."""
  if not isinstance(clip, NoClip | Lamb):
    assert min(factors) < 1
    if clip.acts_on == "gradient" or direction == "adagrad":
      assert max(factors) == 1


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(("method", "direction", "accumulate"), CASES)
def test_every_method_equals_its_formulas_for_twenty_steps(
  method: str, direction: str, accumulate: Accumulate, dtype: str, tolerance: float
) -> None:
  clip, weights = METHODS[method], variables(dtype)
  twin = NumpyOptimizer([KERNEL, BIAS], DIRECTIONS[direction], clip, accumulate)
  optimizer = ClippedOptimizer(DIRECTIONS[direction], clip, RATE, accumulate)
  for step in range(STEPS):
    gradients = [KERNEL_GRADIENTS[step], BIAS_GRADIENTS[step]]
    run(optimizer, weights, [g[None] for g in gradients])
    twin.step(gradients, RATE)
    assert_moved_like(twin, optimizer, weights, tolerance)
  assert_keeps_like(twin, optimizer, weights, tolerance)
  assert_clipped_at_times(
    clip, direction, [factor for factors in twin.factors for factor in factors]
  )


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(("method", "direction", "accumulate"), CASES)
def test_sparse_gradients_move_rows_or_the_whole_table_as_the_direction_says(
  method: str, direction: str, accumulate: Accumulate, dtype: str, tolerance: float
) -> None:
  clip, embedding = METHODS[method], table(dtype)
  twin = NumpyOptimizer([TABLE], DIRECTIONS[direction], clip, accumulate)
  optimizer = ClippedOptimizer(DIRECTIONS[direction], clip, RATE, accumulate, exclude=NONE)
  for step in range(STEPS):
    optimizer.apply_gradients([(rows_of(embedding, step), embedding)])
    twin.step([Rows(ROWS[step], ROW_GRADIENTS[step])], RATE)
    assert_moved_like(twin, optimizer, [embedding], tolerance)
  assert_keeps_like(twin, optimizer, [embedding], tolerance)
  if DIRECTIONS[direction].is_row_wise:
    np.testing.assert_array_equal(embedding[6:], TABLE[6:])
  assert_clipped_at_times(clip, direction, [factor for (factor,) in twin.factors])


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(("method", "direction", "accumulate"), GLOBAL_CASES)
def test_global_scope_treats_all_clipped_variables_as_one(
  method: str, direction: str, accumulate: Accumulate, dtype: str, tolerance: float
) -> None:
  clip = METHODS[method]
  weights = [*variables(dtype), tf.Variable(KERNEL, dtype=dtype, name="embedding")]
  made = (DIRECTIONS[direction], clip)
  twin = NumpyOptimizer([KERNEL, BIAS, KERNEL], *made, accumulate, "global", excluded=[2])
  optimizer = ClippedOptimizer(*made, RATE, accumulate, scope="global")
  for step in range(STEPS):
    gradients = [KERNEL_GRADIENTS[step], BIAS_GRADIENTS[step], 10 * KERNEL_GRADIENTS[step]]
    run(optimizer, weights, [g[None] for g in gradients])
    twin.step(gradients, RATE)
    assert_moved_like(twin, optimizer, weights, tolerance)
    of_kernel, of_bias, of_excluded = (float(f) for f in optimizer.clipping_factors())
    assert of_kernel == of_bias
    assert of_excluded == 1
  assert_keeps_like(twin, optimizer, weights, tolerance)
  assert_clipped_at_times(clip, direction, [factors[0] for factors in twin.factors])


def test_global_scope_joins_sparse_gradients_with_dense_ones() -> None:
  for method in ("gc", "clippy", "rms", "zclip"):
    weights = [tf.Variable(KERNEL, name="kernel"), table("float64")]
    twin = NumpyOptimizer([KERNEL, TABLE], Adagrad(), METHODS[method], scope="global")
    optimizer = ClippedOptimizer(Adagrad(), METHODS[method], RATE, exclude=NONE, scope="global")
    for step in range(STEPS):
      dense = tf.constant(KERNEL_GRADIENTS[step])
      optimizer.apply_gradients(zip([dense, rows_of(weights[1], step)], weights, strict=True))
      twin.step([KERNEL_GRADIENTS[step], Rows(ROWS[step], ROW_GRADIENTS[step])], RATE)
      assert_moved_like(twin, optimizer, weights, 1e-12)


def test_adam_with_its_default_betas_equals_its_formulas() -> None:
  weights = variables()
  twin = NumpyOptimizer([KERNEL, BIAS], Adam(), NoClip())
  optimizer = ClippedOptimizer(Adam(), NoClip(), RATE)
  for step in range(STEPS):
    gradients = [KERNEL_GRADIENTS[step], BIAS_GRADIENTS[step]]
    run(optimizer, weights, [g[None] for g in gradients])
    twin.step(gradients, RATE)
    # In float32, 1 - 0.999 is off by 5e-5 and its root by half of that.
    for weight, expected in zip(weights, twin.weights, strict=True):
      np.testing.assert_allclose(weight, expected, rtol=5e-5, atol=5e-5)


WITNESSES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
  "tf_keras Adagrad": (
    lambda: ClippedOptimizer(Adagrad(), NoClip(), RATE),
    lambda: tf_keras.optimizers.Adagrad(RATE),
  ),
  "tf_keras Adam": (
    lambda: ClippedOptimizer(Adam(0.875, 0.9375), NoClip(), RATE),
    lambda: tf_keras.optimizers.Adam(RATE, 0.875, 0.9375),
  ),
  "tf_keras AdamW": (
    lambda: ClippedOptimizer(Adam(0.875, 0.9375, 1e-3, 0.25), NoClip(), RATE),
    lambda: tf_keras.optimizers.AdamW(RATE, 0.25, 0.875, 0.9375, 1e-3),
  ),
  "tf_keras SGD": (
    lambda: ClippedOptimizer(Sgd(), NoClip(), RATE),
    lambda: tf_keras.optimizers.SGD(RATE),
  ),
  # A momentum that float32 holds, to which tf_keras rounds it.
  "tf_keras SGD with momentum": (
    lambda: ClippedOptimizer(Sgd(0.75), NoClip(), RATE),
    lambda: tf_keras.optimizers.SGD(RATE, momentum=0.75),
  ),
  "tfrs ClippyAdagrad": (
    lambda: ClippedOptimizer(Adagrad(), Clippy(0.1, 0.05), RATE, exclude=NONE),
    lambda: tfrs.experimental.optimizers.ClippyAdagrad(
      RATE,
      variable_relative_threshold=0.1,
      absolute_threshold=0.05,
      use_standard_accumulator_update=True,
    ),
  ),
}


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("witness", WITNESSES)
def test_equals_other_implementations_for_twenty_steps(
  witness: str, dtype: str, tolerance: float
) -> None:
  ours, theirs = WITNESSES[witness]
  here, there = variables(dtype), variables(dtype)
  run(ours(), here, [KERNEL_GRADIENTS, BIAS_GRADIENTS])
  run(theirs(), there, [KERNEL_GRADIENTS, BIAS_GRADIENTS])
  for mine, other in zip(here, there, strict=True):
    assert_close(mine, other.numpy(), tolerance)
  tables = [table(dtype), table(dtype)]
  run_rows(ours(), tables[0])
  run_rows(theirs(), tables[1])
  assert_close(tables[0], tables[1].numpy(), tolerance)


# Of 2**20 elements and more: 8 divides the rows of the first, the size of the second, and neither.
LARGE = [(1032, 1024), (1030, 1024), (1049, 1001)]


@pytest.mark.parametrize("shape", LARGE, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_a_large_variable_equals_the_formulas_and_its_own_plain_path(
  method: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
  random = np.random.default_rng(2)
  start = random.normal(size=shape).astype(np.float32)
  gradients = random.normal(size=(2, *shape)).astype(np.float32)
  gradients[1] *= 30
  clip: Clip = METHODS[method]
  if isinstance(clip, AdaGC | ZClip):  # so short that the second step is judged
    clip = AdaGC(warmup_steps=1) if isinstance(clip, AdaGC) else ZClip(warmup_steps=1)
  twin = NumpyOptimizer([start], Adagrad(), clip)
  for gradient in gradients.astype(np.float64):
    twin.step([gradient], RATE)
  made = []
  for fused_from in (1 << 20, 1 << 40):
    monkeypatch.setattr("ranking.optimizers.fused.FUSED_FROM", fused_from)
    monkeypatch.setattr("ranking.optimizers.reductions.LARGE", fused_from)
    weights = [tf.Variable(start, name="kernel")]
    optimizer = ClippedOptimizer(Adagrad(), clip, RATE)
    run(optimizer, weights, [gradients])
    assert_moved_like(twin, optimizer, weights, 1e-5)
    assert_keeps_like(twin, optimizer, weights, 1e-5)
    made.append(weights[0].numpy())
    assert bool(optimizer._functions) == (fused_from == 1 << 20)
  fused, plain = made
  np.testing.assert_allclose(fused, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["gc", "agc", "clippy"])
def test_large_variables_of_the_same_shape_are_not_mistaken_for_each_other(
  method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr("ranking.optimizers.fused.FUSED_FROM", 4)
  names, starts = ("embedding", "one", "two"), (KERNEL, KERNEL, KERNEL[::-1])
  weights = [tf.Variable(w, name=name) for name, w in zip(names, starts, strict=True)]
  twin = NumpyOptimizer(starts, Adagrad(), METHODS[method], excluded=[0])
  optimizer = ClippedOptimizer(Adagrad(), METHODS[method], RATE)
  for gradient in KERNEL_GRADIENTS[:5]:
    gradients = [gradient, gradient, 3 * gradient]
    run(optimizer, weights, [g[None] for g in gradients])
    twin.step(gradients, RATE)
    assert_moved_like(twin, optimizer, weights, 1e-12)
  assert_keeps_like(twin, optimizer, weights, 1e-12)


def test_another_clip_than_its_own_is_measured_by_itself_on_large_variables(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  monkeypatch.setattr("ranking.optimizers.fused.FUSED_FROM", 4)
  kernel = tf.Variable(KERNEL, name="kernel")
  optimizer = ClippedOptimizer(Sgd(), GradientClipping(2.0), RATE)
  optimizer.build([kernel])
  gradient = KERNEL_GRADIENTS[np.argmax(np.abs(KERNEL_GRADIENTS).max(axis=(1, 2)))]
  pairs = optimizer.distinct([(tf.constant(gradient), kernel)])
  for clip in (
    GradientClipping(2.0),
    GradientClipping(0.5),
    Clippy(0.1, 0.05),
    LayerClippy(),
    RmsClip(0.5),
  ):
    twin = NumpyOptimizer([KERNEL], Sgd(), clip)
    twin.step([gradient], RATE)
    (decision,) = optimizer.decide(clip, pairs)
    np.testing.assert_allclose(decision.factor, twin.factors[0][0], rtol=1e-12)
  np.testing.assert_array_equal(kernel, KERNEL)  # nothing was written


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_large_variable_goes_in_every_direction(direction: str) -> None:
  random = np.random.default_rng(3)
  start = random.normal(size=LARGE[2]).astype(np.float32)
  gradients = random.normal(size=(2, *LARGE[2])).astype(np.float32)
  weights = [tf.Variable(start, name="kernel")]
  twin = NumpyOptimizer([start], DIRECTIONS[direction], GradientClipping(100.0))
  optimizer = ClippedOptimizer(DIRECTIONS[direction], GradientClipping(100.0), RATE)
  for gradient in gradients:
    run(optimizer, weights, [gradient[None]])
    twin.step([gradient.astype(np.float64)], RATE)
  assert_moved_like(twin, optimizer, weights, 1e-5)
  assert_keeps_like(twin, optimizer, weights, 1e-5)


@pytest.mark.parametrize(
  "clip",
  [
    GradientClipping(1e9),
    AdaptiveGradientClipping(1e9),
    Clippy(1e9, 1e9),
    LayerClippy(1e9, 1e9),
    RmsClip(1e9),
    AdaGC(1e9, 1e9, warmup_steps=5),
    ZClip(1e9, warmup_steps=5),
  ],
  ids=["gc", "agc", "clippy", "layer_clippy", "rms", "adagc", "zclip"],
)
def test_wide_thresholds_change_nothing(clip: Clip) -> None:
  clipped, plain = variables(), variables()
  run(ClippedOptimizer(Adagrad(), clip, RATE), clipped, [KERNEL_GRADIENTS, BIAS_GRADIENTS])
  run(ClippedOptimizer(Adagrad(), NoClip(), RATE), plain, [KERNEL_GRADIENTS, BIAS_GRADIENTS])
  for mine, other in zip(clipped, plain, strict=True):
    np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("method", METHODS)
def test_a_bias_leaves_zero_and_a_zero_gradient_moves_nothing(
  method: str, scope: Literal["layer", "global"]
) -> None:
  if (method, scope) == ("agc", "global"):
    return
  optimizer = ClippedOptimizer(Adagrad(), METHODS[method], RATE, scope=scope)
  kernel, bias = variables()
  pairs = [(tf.zeros_like(kernel), kernel), (tf.ones_like(bias), bias)]
  optimizer.apply_gradients(pairs)
  np.testing.assert_array_equal(kernel, KERNEL.astype(np.float32))
  assert np.all(bias.numpy() < 0)
  if (method, scope) == ("lamb", "layer"):  # the trust ratio of a zero norm is 1
    np.testing.assert_allclose(bias, -RATE * 0.1 / np.sqrt(0.1 + 1) * np.ones(3), rtol=1e-6)


SCALES = st.sampled_from([1e-20, 1e-10, 1e-3, 1.0, 1e3, 1e10, 1e18, 1e20])


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_under_clippy_no_coordinate_moves_more_than_its_limit(data: st.DataObject) -> None:
  shape = data.draw(array_shapes(min_dims=0, max_dims=3, max_side=4))
  ordinary = st.floats(-2.0, 2.0, width=32)
  numbers = st.just(0.0) | ordinary | st.sampled_from([-1e6, 1e-6, 1e6])
  weights = data.draw(arrays(np.float32, shape, elements=numbers))
  gradient = data.draw(arrays(np.float32, shape, elements=st.just(0.0) | ordinary))
  with np.errstate(under="ignore"):
    gradient *= np.float32(data.draw(SCALES))
  direction = data.draw(st.sampled_from([Sgd(), Sgd(0.75), Adagrad(), Adam(), Adam(0.5, 0.5)]))
  rate = data.draw(st.sampled_from([0.01, 1.0, 100.0]))
  variable = tf.Variable(weights, name="kernel")
  optimizer = ClippedOptimizer(direction, Clippy(0.5, 1e-2), rate)
  for _ in range(2):
    before = variable.numpy()
    optimizer.apply_gradients([(tf.constant(gradient), variable)])
    limit = 0.5 * np.abs(before) + 1e-2
    rounding = 1e-6 * (np.abs(before) + limit)
    assert np.all(np.abs(variable.numpy() - before) <= limit + rounding)
  if np.any(np.abs(gradient) > 2e19):  # whose square float32 does not hold
    assert int(optimizer.skipped_steps) == 2
    np.testing.assert_array_equal(variable, weights)
  elif np.all(np.abs(gradient) < 1e18 * 2.1):
    assert int(optimizer.skipped_steps) == 0


def test_an_empty_pattern_excludes_nothing() -> None:
  variable = tf.Variable([1.0], name="embedding")
  assert ClippedOptimizer(Adagrad(), Clippy(), RATE, exclude="").is_clipped(variable)
  assert not ClippedOptimizer(Adagrad(), Clippy(), RATE).is_clipped(variable)


def test_excluded_variables_get_the_direction_alone() -> None:
  optimizer = ClippedOptimizer(Adagrad(), Clippy(1e-3, 1e-3), RATE, exclude="embedding|_logit")
  names = ("embedding_user", "click_logit", "hidden_1")
  weights = [tf.Variable(KERNEL, dtype=tf.float32, name=name) for name in names]
  run(optimizer, weights, [KERNEL_GRADIENTS] * 3)
  twin = NumpyOptimizer([KERNEL] * 3, Adagrad(), Clippy(1e-3, 1e-3), excluded=[0, 1])
  for gradient in KERNEL_GRADIENTS:
    twin.step([gradient] * 3, RATE)
  for weight, expected in zip(weights, twin.weights, strict=True):
    np.testing.assert_allclose(weight, expected, rtol=1e-6, atol=1e-6)
  assert [optimizer.is_clipped(weight) for weight in weights] == [False, False, True]
  factors = [float(factor) for factor in optimizer.clipping_factors()]
  assert factors[:2] == [1, 1]
  assert 0 < factors[2] < 1


def test_excluded_variables_have_no_part_in_what_adagc_measures_everywhere() -> None:
  clip = AdaGC(absolute_threshold=1.0, warmup_steps=5)
  kernel, _ = variables()
  embedding = table()
  optimizer = ClippedOptimizer(Sgd(), clip, RATE)
  pairs = [(tf.ones_like(kernel), kernel), (tf.fill([8, 3], 1e6), embedding)]
  optimizer.apply_gradients(pairs)
  assert float(optimizer.clipping_factors()[0]) == pytest.approx(1 / np.sqrt(15), rel=1e-6)
  assert optimizer.state_of(embedding).keys() == {"clipping_factor"}


def test_embeddings_are_excluded_unless_told_otherwise() -> None:
  optimizer = ClippedOptimizer(Adagrad(), Clippy())
  assert not optimizer.is_clipped(tf.Variable(0.0, name="model/embedding_user/embeddings"))
  assert optimizer.is_clipped(tf.Variable(0.0, name="model/hidden_1/kernel"))


@pytest.mark.parametrize("method", ["gc", "agc", "clippy", "rms"])
def test_a_spike_in_one_variable_leaves_the_others_alone(method: str) -> None:
  optimizer = ClippedOptimizer(Sgd(), METHODS[method], RATE)
  kernel, bias = variables()
  optimizer.apply_gradients([(tf.fill([5, 3], 1e6), kernel), (tf.fill([3], 1e-5), bias)])
  of_kernel, of_bias = optimizer.clipping_factors()
  assert float(of_kernel) < 1
  assert float(of_bias) == 1


def test_in_global_scope_a_spike_in_one_variable_shortens_all() -> None:
  optimizer = ClippedOptimizer(Sgd(), GradientClipping(1.0), RATE, scope="global")
  kernel, bias = variables()
  optimizer.apply_gradients([(tf.fill([5, 3], 1e6), kernel), (tf.fill([3], 1.0), bias)])
  expected = -RATE / np.sqrt(15 * 1e12 + 3)
  np.testing.assert_allclose(bias, np.full(3, expected), rtol=1e-6)


def test_clipping_factors_are_the_smallest_of_the_last_step() -> None:
  optimizer = ClippedOptimizer(Adagrad(), AdaptiveGradientClipping(0.5), RATE)
  kernel = tf.Variable([[3.0, 1.0], [4.0, 0.0]], name="kernel")  # columns of norm 5 and 1
  optimizer.build([kernel])
  (factor,) = optimizer.clipping_factors()
  assert float(factor) == 1  # before the first step nothing was clipped
  optimizer.apply_gradients([(tf.constant([[5.0, 1.0], [0.0, 0.0]]), kernel)])
  assert float(factor) == 0.5
  optimizer.apply_gradients([(tf.zeros([2, 2]), kernel)])
  assert float(factor) == 1


@pytest.mark.parametrize("direction", ["sgd", "adagrad"])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_that_touches_no_row_changes_nothing(method: str, direction: str) -> None:
  embedding = table()
  optimizer = ClippedOptimizer(DIRECTIONS[direction], METHODS[method], RATE, exclude=NONE)
  empty = tf.IndexedSlices(tf.zeros([0, 3]), tf.zeros([0], tf.int64), embedding.shape)
  optimizer.apply_gradients([(empty, embedding)])
  np.testing.assert_array_equal(embedding, TABLE.astype(np.float32))
  assert float(optimizer.clipping_factors()[0]) == pytest.approx(0.1 if method == "lamb" else 1)
  assert int(optimizer.iterations) == 1


def test_slots_and_factors_follow_their_variables_whatever_the_order_of_gradients() -> None:
  for method in ("clippy", "adagc", "zclip"):
    optimizer = ClippedOptimizer(Adagrad(), METHODS[method], RATE)
    weights = variables()
    optimizer.build(weights)
    for step in range(STEPS):
      pairs = [(tf.constant(BIAS_GRADIENTS[step], tf.float32), weights[1])]
      pairs.insert(step % 2, (tf.constant(KERNEL_GRADIENTS[step], tf.float32), weights[0]))
      optimizer.apply_gradients(pairs)
    straight = variables()
    expected = ClippedOptimizer(Adagrad(), METHODS[method], RATE)
    run(expected, straight, [KERNEL_GRADIENTS, BIAS_GRADIENTS])
    for mine, other in zip(weights, straight, strict=True):
      np.testing.assert_array_equal(mine, other)
    for one, two in zip(optimizer.clipping_factors(), expected.clipping_factors(), strict=True):
      assert float(one) == float(two)


def test_a_variable_without_gradient_is_left_alone() -> None:
  optimizer = ClippedOptimizer(Adam(), METHODS["zclip"], RATE)
  kernel, bias = variables()
  optimizer.build([kernel, bias])
  optimizer.apply_gradients([(tf.ones_like(kernel), kernel), (None, bias)])
  np.testing.assert_array_equal(bias, BIAS)
  assert float(optimizer.state_of(bias)["mean_norm"]) == 0
  assert float(optimizer.state_of(kernel)["mean_norm"]) == pytest.approx(np.sqrt(15), rel=1e-6)


def test_without_any_gradient_the_error_says_so() -> None:
  optimizer = ClippedOptimizer(Adam(), NoClip(), RATE)
  with pytest.raises(ValueError, match="no variable has a gradient; does the loss depend on them"):
    optimizer.distinct([(None, variables()[0])])


@pytest.mark.parametrize("method", ["naive", "agc", "clippy"])
def test_a_learning_rate_schedule_counts_steps(method: str) -> None:
  schedule = tf_keras.optimizers.schedules.PiecewiseConstantDecay([4, 9], [0.125, 0.5, 0.0625])
  kernel = tf.Variable(KERNEL, name="kernel")
  optimizer = ClippedOptimizer(Adagrad(), METHODS[method], schedule)
  twin = NumpyOptimizer([KERNEL], Adagrad(), METHODS[method])
  for step, gradient in enumerate(KERNEL_GRADIENTS):
    optimizer.apply_gradients([(tf.constant(gradient), kernel)])
    twin.step([gradient], rate=0.125 if step <= 4 else 0.5 if step <= 9 else 0.0625)
    np.testing.assert_allclose(kernel, twin.weights[0], rtol=1e-12, atol=1e-12)
  assert int(optimizer.iterations) == STEPS


def test_an_unknown_accumulate_is_named() -> None:
  with pytest.raises(ValueError, match='accumulate is \'both\'; make it "clipped" or "original"'):
    ClippedOptimizer(Adagrad(), NoClip(), accumulate="both")  # type: ignore[arg-type]


def test_an_unknown_scope_is_named() -> None:
  with pytest.raises(ValueError, match='scope is \'model\'; make it "layer" or "global"'):
    ClippedOptimizer(Adagrad(), NoClip(), scope="model")  # type: ignore[arg-type]


def test_one_factor_for_all_variables_needs_one_norm_of_each() -> None:
  with pytest.raises(ValueError, match='scope="global" needs norms of whole variables; give AGC'):
    ClippedOptimizer(Adagrad(), AdaptiveGradientClipping(), scope="global")
  ClippedOptimizer(Adagrad(), AdaptiveGradientClipping(unit="layer"), scope="global")


def test_an_exclude_that_is_no_pattern_is_named() -> None:
  with pytest.raises(ValueError, match=r"exclude is '\(', which is no pattern"):
    ClippedOptimizer(Adagrad(), NoClip(), exclude="(")


def test_variables_of_two_precisions_share_what_a_clip_needs_of_all() -> None:
  weights = [tf.Variable(BIAS, dtype=dtype, name=dtype.name) for dtype in (tf.float32, tf.float64)]
  optimizer = ClippedOptimizer(Sgd(), AdaGC(absolute_threshold=1.0), 1.0)
  optimizer.apply_gradients([(tf.constant([3.0, 0, 0], w.dtype), w) for w in weights])
  for weight in weights:  # together 3·sqrt(2) long, brought to 1
    np.testing.assert_allclose(weight, [-1 / np.sqrt(2), 0, 0], rtol=1e-6)
