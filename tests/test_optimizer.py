import json
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

from ranking.data.schema import Array
from ranking.optimizers import (
  Adagrad,
  AdaptiveGradientClipping,
  ClippedOptimizer,
  Clippy,
  GradientClipping,
  Lamb,
  NoClip,
  Sgd,
)
from ranking.optimizers import optimizer as optimizer_module
from ranking.optimizers.clipping import Clip
from ranking.training import strategy
from tests.fresh_process import in_fresh_process

RATE = 0.125  # exact in float32, in which tf_keras keeps it
NONE = "^$"  # as `exclude`: finds no variable
STEPS = 20
ACCUMULATE: tuple[Literal["clipped", "original"], ...] = ("clipped", "original")

# Thresholds at which some of the gradients below are clipped and some are not.
METHODS: dict[str, Clip] = {
  "naive": NoClip(),
  "gc": GradientClipping(2.0),
  "agc": AdaptiveGradientClipping(0.5),
  "agc layer": AdaptiveGradientClipping(0.5, unit="layer"),
  "lamb": Lamb(0.1),
  "clippy": Clippy(0.1, 0.05),
}

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


class NumpyOptimizer:
  """The same method in float64, for one variable: a line per formula of the paper."""

  def __init__(self, weights: Array, clip: Clip, accumulate: str = "clipped"):
    self.weights, self.clip, self.accumulate = weights.copy(), clip, accumulate
    self.squares = np.full_like(weights, 0.1)
    self.factors: list[float] = []

  def step(self, gradient: Array, rate: float = RATE, rows: Array | slice = slice(None)) -> None:
    """Takes one gradient, of the whole variable or of some distinct rows."""
    weights = self.weights[rows]
    before = np.asarray(self.sigma(weights, gradient, rate))
    if isinstance(self.clip, GradientClipping | AdaptiveGradientClipping):
      seen = before * gradient if self.accumulate == "clipped" else gradient
    else:
      before, seen = np.ones(()), gradient
    self.squares[rows] += seen**2
    direction = before * gradient / np.sqrt(self.squares[rows] + 1e-7)
    after = np.ones(())
    if isinstance(self.clip, Lamb | Clippy):
      after = np.asarray(self.sigma(weights, direction, rate))
    self.weights[rows] -= rate * after * direction
    self.factors.append(float(np.min(before * after)))

  def step_rows(self, gradient: Array, rows: Array) -> None:
    """Takes gradients of rows, adding up those of the same row."""
    distinct, positions = np.unique(rows, return_inverse=True)
    total = np.zeros((len(distinct), gradient.shape[1]))
    np.add.at(total, positions, gradient)
    self.step(total, rows=distinct)

  def sigma(self, w: Array, x: Array, rate: float) -> Array | float:
    """σ of weights and gradient (GC, AGC) or direction (LAMB, Clippy)."""
    match self.clip:
      case GradientClipping(threshold):
        return min(1.0, threshold / norm(x))
      case AdaptiveGradientClipping(threshold, epsilon, unit):
        axis = 0 if unit == "output" and w.ndim == 2 else None
        return np.minimum(1.0, threshold * np.maximum(norm(w, axis), epsilon) / norm(x, axis))
      case Lamb(multiplier):
        return multiplier * (norm(w) / norm(x) if norm(w) * norm(x) > 0 else 1.0)
      case Clippy(relative, absolute):
        return min(1.0, np.min((relative * np.abs(w) + absolute) / (rate * np.abs(x))))
    return 1.0


def norm(x: Array, axis: int | None = None) -> Any:
  """The Euclidean length of all of x, or of its columns (axis 0)."""
  return np.sqrt((x**2).sum(axis=axis))


def variables(dtype: tf.DType = tf.float32) -> list[tf.Variable]:
  """A kernel and a bias that starts at zero."""
  return [tf.Variable(KERNEL, dtype=dtype, name="kernel"), tf.Variable(BIAS, dtype=dtype, name="b")]


def rows_of(table: tf.Variable, step: int) -> tf.IndexedSlices:
  """The gradient of an embedding table in a step."""
  values = tf.constant(ROW_GRADIENTS[step], table.dtype)
  return tf.IndexedSlices(values, tf.constant(ROWS[step]), table.shape)


def run(optimizer: Any, weights: Sequence[tf.Variable], gradients: Sequence[Array]) -> None:
  """Takes all steps of dense gradients, one array [steps, ...] per variable."""
  for step in range(len(gradients[0])):
    made = [tf.constant(g[step], v.dtype) for g, v in zip(gradients, weights, strict=True)]
    optimizer.apply_gradients(zip(made, weights, strict=True))


def run_rows(optimizer: Any, table: tf.Variable) -> None:
  """Takes all steps of sparse gradients."""
  for step in range(STEPS):
    optimizer.apply_gradients([(rows_of(table, step), table)])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("accumulate", ACCUMULATE)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_equals_its_formulas_for_twenty_steps(
  method: str, accumulate: Literal["clipped", "original"], dtype: str, tolerance: float
) -> None:
  clip = METHODS[method]
  weights = variables(tf.as_dtype(dtype))
  twins = [NumpyOptimizer(start, clip, accumulate) for start in (KERNEL, BIAS)]
  optimizer = ClippedOptimizer(Adagrad(), clip, RATE, accumulate)
  for step in range(STEPS):
    gradients = [KERNEL_GRADIENTS[step], BIAS_GRADIENTS[step]]
    run(optimizer, weights, [g[None] for g in gradients])
    for twin, gradient in zip(twins, gradients, strict=True):
      twin.step(gradient)
    for twin, weight, factor in zip(twins, weights, optimizer.clipping_factors(), strict=True):
      np.testing.assert_allclose(weight, twin.weights, rtol=tolerance, atol=tolerance)
      np.testing.assert_allclose(factor, twin.factors[-1], rtol=10 * tolerance)
  if clip not in (NoClip(), METHODS["lamb"]):
    assert {factor < 1 for factor in twins[0].factors} == {True, False}  # the test tried both


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("accumulate", ACCUMULATE)
@pytest.mark.parametrize("method", METHODS)
def test_rows_of_a_table_are_treated_as_a_variable_of_their_own(
  method: str, accumulate: Literal["clipped", "original"], dtype: str, tolerance: float
) -> None:
  clip = METHODS[method]
  table = tf.Variable(TABLE, dtype=tf.as_dtype(dtype), name="embedding")
  twin = NumpyOptimizer(TABLE, clip, accumulate)
  optimizer = ClippedOptimizer(Adagrad(), clip, RATE, accumulate, exclude=NONE)
  for step in range(STEPS):
    optimizer.apply_gradients([(rows_of(table, step), table)])
    twin.step_rows(ROW_GRADIENTS[step], ROWS[step])
    np.testing.assert_allclose(table, twin.weights, rtol=tolerance, atol=tolerance)
    (factor,) = optimizer.clipping_factors()
    np.testing.assert_allclose(factor, twin.factors[-1], rtol=10 * tolerance)
  np.testing.assert_array_equal(table[6:], TABLE[6:])
  if clip not in (NoClip(), METHODS["lamb"]):
    assert {factor < 1 for factor in twin.factors} == {True, False}


@pytest.mark.parametrize(
  ("ours", "theirs"),
  [
    (
      lambda: ClippedOptimizer(Adagrad(), NoClip(), RATE),
      lambda: tf_keras.optimizers.Adagrad(RATE),
    ),
    (lambda: ClippedOptimizer(Sgd(), NoClip(), RATE), lambda: tf_keras.optimizers.SGD(RATE)),
    (
      lambda: ClippedOptimizer(Adagrad(), Clippy(0.1, 0.05), RATE, exclude=NONE),
      lambda: tfrs.experimental.optimizers.ClippyAdagrad(
        RATE,
        variable_relative_threshold=0.1,
        absolute_threshold=0.05,
        use_standard_accumulator_update=True,
      ),
    ),
  ],
  ids=["tf_keras Adagrad", "tf_keras SGD", "tfrs ClippyAdagrad"],
)
def test_equals_other_implementations_for_twenty_steps(
  ours: Callable[[], Any], theirs: Callable[[], Any]
) -> None:
  here, there = variables(), variables()
  run(ours(), here, [KERNEL_GRADIENTS, BIAS_GRADIENTS])
  run(theirs(), there, [KERNEL_GRADIENTS, BIAS_GRADIENTS])
  for mine, other in zip(here, there, strict=True):
    np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-6)
  tables = [tf.Variable(TABLE, dtype=tf.float32, name="embedding") for _ in range(2)]
  run_rows(ours(), tables[0])
  run_rows(theirs(), tables[1])
  np.testing.assert_allclose(tables[0], tables[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
  "clip",
  [GradientClipping(1e9), AdaptiveGradientClipping(1e9), Clippy(1e9, 1e9)],
  ids=["gc", "agc", "clippy"],
)
def test_wide_thresholds_change_nothing(clip: Clip) -> None:
  clipped, plain = variables(), variables()
  run(ClippedOptimizer(Adagrad(), clip, RATE), clipped, [KERNEL_GRADIENTS, BIAS_GRADIENTS])
  run(ClippedOptimizer(Adagrad(), NoClip(), RATE), plain, [KERNEL_GRADIENTS, BIAS_GRADIENTS])
  for mine, other in zip(clipped, plain, strict=True):
    np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("method", METHODS)
def test_a_bias_leaves_zero_and_a_zero_gradient_moves_nothing(method: str) -> None:
  optimizer = ClippedOptimizer(Adagrad(), METHODS[method], RATE)
  kernel, bias = variables()
  pairs = [(tf.zeros_like(kernel), kernel), (tf.ones_like(bias), bias)]
  optimizer.apply_gradients(pairs)
  np.testing.assert_array_equal(kernel, KERNEL.astype(np.float32))
  assert np.all(bias.numpy() < 0)
  if method == "lamb":  # the trust ratio of a zero norm is 1, so only the multiplier is left
    np.testing.assert_allclose(bias, -RATE * 0.1 / np.sqrt(0.1 + 1) * np.ones(3), rtol=1e-6)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_under_clippy_no_coordinate_moves_more_than_its_limit(data: st.DataObject) -> None:
  shape = data.draw(array_shapes(max_dims=3, max_side=4))
  ordinary = st.floats(-2.0, 2.0, width=32)
  weights = data.draw(arrays(np.float32, shape, elements=st.just(0.0) | ordinary))
  spike = st.sampled_from([-1e6, 1e-6, 1e6])
  gradient = data.draw(arrays(np.float32, shape, elements=st.just(0.0) | ordinary | spike))
  variable = tf.Variable(weights, name="kernel")
  rate = data.draw(st.sampled_from([0.01, 1.0, 100.0]))
  for _ in range(2):
    before = variable.numpy()
    ClippedOptimizer(Adagrad(), Clippy(0.5, 1e-2), rate).apply_gradients([(gradient, variable)])
    limit = 0.5 * np.abs(before) + 1e-2
    rounding = 1e-6 * (np.abs(before) + limit)
    assert np.all(np.abs(variable.numpy() - before) <= limit + rounding)


def test_excluded_variables_get_the_direction_alone() -> None:
  optimizer = ClippedOptimizer(Adagrad(), Clippy(1e-3, 1e-3), RATE, exclude="embedding|_logit")
  names = ("embedding_user", "click_logit", "hidden_1")
  weights = [tf.Variable(KERNEL, dtype=tf.float32, name=name) for name in names]
  run(optimizer, weights, [KERNEL_GRADIENTS] * 3)
  naive, clipped = NumpyOptimizer(KERNEL, NoClip()), NumpyOptimizer(KERNEL, Clippy(1e-3, 1e-3))
  for gradient in KERNEL_GRADIENTS:
    naive.step(gradient)
    clipped.step(gradient)
  for weight, twin in zip(weights, (naive, naive, clipped), strict=True):
    np.testing.assert_allclose(weight, twin.weights, rtol=1e-6, atol=1e-6)
  assert [optimizer.is_clipped(weight) for weight in weights] == [False, False, True]
  factors = [float(factor) for factor in optimizer.clipping_factors()]
  assert factors[:2] == [1, 1]
  assert 0 < factors[2] < 1


def test_embeddings_are_excluded_unless_told_otherwise() -> None:
  optimizer = ClippedOptimizer(Adagrad(), Clippy())
  assert not optimizer.is_clipped(tf.Variable(0.0, name="model/embedding_user/embeddings"))
  assert optimizer.is_clipped(tf.Variable(0.0, name="model/hidden_1/kernel"))


def test_a_spike_in_one_variable_leaves_the_others_alone() -> None:
  optimizer = ClippedOptimizer(Adagrad(), Clippy(), RATE)
  kernel, bias = variables()
  optimizer.apply_gradients([(tf.fill([5, 3], 1e6), kernel), (tf.fill([3], 1e-3), bias)])
  of_kernel, of_bias = optimizer.clipping_factors()
  assert float(of_kernel) < 1
  assert float(of_bias) == 1


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


def test_slots_and_factors_follow_their_variables_whatever_the_order_of_gradients() -> None:
  optimizer = ClippedOptimizer(Adagrad(), METHODS["clippy"], RATE)
  weights = variables()
  optimizer.build(weights)
  for step in range(STEPS):
    pairs = [(tf.constant(BIAS_GRADIENTS[step], tf.float32), weights[1])]
    pairs.insert(step % 2, (tf.constant(KERNEL_GRADIENTS[step], tf.float32), weights[0]))
    optimizer.apply_gradients(pairs)
  straight = variables()
  expected = ClippedOptimizer(Adagrad(), METHODS["clippy"], RATE)
  run(expected, straight, [KERNEL_GRADIENTS, BIAS_GRADIENTS])
  for mine, other in zip(weights, straight, strict=True):
    np.testing.assert_array_equal(mine, other)
  for one, two in zip(optimizer.clipping_factors(), expected.clipping_factors(), strict=True):
    assert float(one) == float(two)


@pytest.mark.parametrize("method", ["naive", "agc", "clippy"])
def test_a_learning_rate_schedule_counts_steps(method: str) -> None:
  schedule = tf_keras.optimizers.schedules.PiecewiseConstantDecay([4, 9], [0.125, 0.5, 0.0625])
  kernel = tf.Variable(KERNEL, name="kernel")
  optimizer = ClippedOptimizer(Adagrad(), METHODS[method], schedule)
  twin = NumpyOptimizer(KERNEL, METHODS[method])
  for step, gradient in enumerate(KERNEL_GRADIENTS):
    optimizer.apply_gradients([(tf.constant(gradient), kernel)])
    twin.step(gradient, rate=0.125 if step <= 4 else 0.5 if step <= 9 else 0.0625)
    np.testing.assert_allclose(kernel, twin.weights, rtol=1e-12, atol=1e-12)
  assert int(optimizer.iterations) == STEPS


@pytest.mark.parametrize("fused_from", [1, 1 << 20], ids=["fused", "plain"])
@pytest.mark.parametrize("method", METHODS)
def test_a_compiled_step_equals_an_eager_one(
  method: str, fused_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
  eager, compiled = variables(), variables()
  tables = [tf.Variable(TABLE, dtype=tf.float32, name="table") for _ in range(2)]
  optimizers = [ClippedOptimizer(Adagrad(), METHODS[method], RATE, exclude=NONE) for _ in range(2)]
  optimizers[1].build([*compiled, tables[1]])

  @tf.function
  def step(kernel: tf.Tensor, bias: tf.Tensor, values: tf.Tensor, rows: tf.Tensor) -> None:
    slices = tf.IndexedSlices(values, rows, tables[1].shape)
    optimizers[1].apply_gradients(zip([kernel, bias, slices], [*compiled, tables[1]], strict=True))

  for k in range(STEPS):
    dense = [tf.constant(g[k], tf.float32) for g in (KERNEL_GRADIENTS, BIAS_GRADIENTS)]
    slices = rows_of(tables[0], k)
    optimizers[0].apply_gradients(zip([*dense, slices], [*eager, tables[0]], strict=True))
    with monkeypatch.context() as patched:
      patched.setattr("ranking.optimizers.optimizer.FUSED_FROM", fused_from)
      step(*dense, slices.values, slices.indices)
  for one, two in zip([*eager, tables[0]], [*compiled, tables[1]], strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)


def test_compile_and_fit_train_with_it() -> None:
  model = tf_keras.Sequential([tf_keras.layers.Dense(1, use_bias=False, input_shape=(3,))])
  model.set_weights([KERNEL[:3, :1]])
  model.compile(ClippedOptimizer(Adagrad(), Clippy(0.1, 0.05), RATE), "mse")
  x, y = RANDOM.normal(size=(40, 3)), RANDOM.normal(size=(40, 1))
  model.fit(x, y, batch_size=10, shuffle=False, verbose=0)
  twin = NumpyOptimizer(KERNEL[:3, :1], Clippy(0.1, 0.05))
  for k in range(0, 40, 10):
    a, b = x[k : k + 10], y[k : k + 10]
    twin.step(2 * a.T @ (a @ twin.weights - b) / 10)
  np.testing.assert_allclose(model.get_weights()[0], twin.weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("as_json", [False, True], ids=["config", "tf_keras JSON"])
def test_config_round_trip_keeps_every_argument(method: str, as_json: bool) -> None:
  schedule = tf_keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.75)
  made = [
    ClippedOptimizer(Sgd(), METHODS[method]),
    ClippedOptimizer(
      *(Adagrad(0.25, 1e-6), METHODS[method], schedule, "original", "_logit", "mine"), clipnorm=3.0
    ),
  ]
  for optimizer in made:
    if as_json:
      text = json.dumps(tf_keras.optimizers.serialize(optimizer))
      copy = tf_keras.optimizers.deserialize(json.loads(text))
    else:
      copy = ClippedOptimizer.from_config(optimizer.get_config())
    assert copy.get_config() == optimizer.get_config()
    assert copy.direction == optimizer.direction
    assert copy.clip == optimizer.clip


def test_config_names_every_argument_of_the_constructor() -> None:
  config = ClippedOptimizer(Adagrad(), Clippy()).get_config()
  arguments = ClippedOptimizer.__init__.__annotations__.keys() - {"kwargs", "return"}
  assert arguments <= config.keys()


def test_an_unknown_accumulate_is_named() -> None:
  with pytest.raises(ValueError, match='accumulate is \'both\'; make it "clipped" or "original"'):
    ClippedOptimizer(Adagrad(), NoClip(), accumulate="both")  # type: ignore[arg-type]


def weights_after_five_steps(replicas: tf.distribute.Strategy) -> dict[str, list[Array]]:
  """By method: a linear model on embeddings, trained on batches of 8 rows over all replicas."""
  random = np.random.default_rng(5)
  rows, labels = random.integers(0, 6, size=(5, 8)), random.normal(size=(5, 8, 3))
  share = 8 // replicas.num_replicas_in_sync
  after = {}
  for method, clip in METHODS.items():
    with replicas.scope():
      weights = [*variables(), tf.Variable(TABLE[:, :1], dtype=tf.float32, name="table")]
      optimizer = ClippedOptimizer(Adagrad(), clip, RATE, exclude=NONE)
      optimizer.build(weights)

    def step(
      mine: tf.Tensor, truth: tf.Tensor, weights: Any = weights, optimizer: Any = optimizer
    ) -> None:
      kernel, bias, table = weights
      with tf.GradientTape() as tape:
        output = tf.gather(table, mine) * kernel[:1] + tf.reduce_sum(kernel**2) + bias
        loss = tf.reduce_sum((output - truth) ** 2) / 8  # a share of the global mean
      optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    compiled = tf.function(lambda *batch, step=step: replicas.run(step, args=batch))
    for k in range(5):
      compiled(
        *(
          replicas.experimental_distribute_values_from_function(
            lambda context, value=value, k=k: tf.constant(
              value[k][context.replica_id_in_sync_group * share :][:share]
            )
          )
          for value in (rows.astype(np.int32), labels.astype(np.float32))
        )
      )
    after[method] = [weight.numpy() for weight in weights]
  return after


def on_one_and_two_replicas() -> tuple[dict[str, list[Array]], dict[str, list[Array]]]:
  """`weights_after_five_steps` on each, the large-variable path included."""
  optimizer_module.FUSED_FROM = 4  # in this process only; the bias stays below
  two = strategy.virtual_cpus(2)
  return weights_after_five_steps(tf.distribute.get_strategy()), weights_after_five_steps(two)


def test_two_replicas_with_half_the_batch_each_equal_one_with_all_of_it() -> None:
  one, two = in_fresh_process(on_one_and_two_replicas)
  for method in METHODS:
    for whole, halves, start in zip(one[method], two[method], (KERNEL, BIAS, TABLE), strict=True):
      np.testing.assert_allclose(halves, whole, rtol=1e-6, atol=1e-6, err_msg=method)
      assert not np.allclose(whole, start[:, : whole.shape[-1]] if start.ndim == 2 else start)
