"""The optimizer where tf_keras uses it: fit, tf.function, XLA, mixed precision, configurations."""

import dataclasses
import functools
import inspect
import itertools
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

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
  Lamb,
  LayerClippy,
  NoClip,
  RmsClip,
  Rule,
  Sgd,
  ZClip,
  fused,
)
from ranking.optimizers.clipping import Clip, Measures
from ranking.optimizers.directions import Direction, Slots
from tests.fresh_process import in_fresh_process

RATE = 0.125  # exact in float32, in which tf_keras keeps it
NONE = "^$"  # as `exclude`: finds no variable
STEPS = 6
SCOPES: tuple[Literal["layer", "global"], ...] = ("layer", "global")
ACCUMULATE: tuple[Literal["clipped", "original"], ...] = ("clipped", "original")

# No argument has its default, and some of the gradients below are clipped. Warmups end midway.
CLIPS: dict[str, Clip] = {
  "naive": NoClip(),
  "gc": GradientClipping(2.0),
  "agc": AdaptiveGradientClipping(0.5, 1e-2),
  "agc layer": AdaptiveGradientClipping(0.5, 1e-2, "layer"),
  "lamb": Lamb(0.1),
  "clippy": Clippy(0.1, 0.05),
  "layer_clippy": LayerClippy(0.2, 0.1, 0.05),
  "rms": RmsClip(0.2),
  "adagc": AdaGC(1.5, 3.0, 0.75, 3, 1e-9),
  "zclip": ZClip(1.25, 0.75, 3, 1e-4),
}
DIRECTIONS: dict[str, Direction] = {
  "sgd": Sgd(),
  "momentum": Sgd(0.5),
  "adagrad": Adagrad(0.25, 1e-5),
  "adam": Adam(0.75, 0.875, 1e-5, 0.0625),
}
ADAGRAD_AND_ADAM = ("adagrad", "adam")
VARIANTS = [
  (Adagrad(0.25, 1e-5, "after", 0.5), Clippy(0.1, 0.05, 0.01)),
  (Adam(0.75, 0.875, 1e-5, lazy=True), Clippy(0.1, 0.05)),
  (Sgd(0.5, lazy=True), Clippy(0.1, 0.05)),
]

RANDOM = np.random.default_rng(0)
SPIKES = 10.0 ** RANDOM.uniform(-1, 1, size=(STEPS, 1, 1))
KERNEL, BIAS, TABLE = RANDOM.normal(size=(5, 3)), np.zeros(3), RANDOM.normal(size=(8, 3))
KERNEL_GRADIENTS = SPIKES * RANDOM.normal(size=(STEPS, 5, 3))
BIAS_GRADIENTS = SPIKES[:, 0] * RANDOM.normal(size=(STEPS, 3))
ROW_GRADIENTS = SPIKES * RANDOM.normal(size=(STEPS, 5, 3))
ROWS = RANDOM.integers(0, 6, size=(STEPS, 5))  # with duplicates; rows 6 and 7 are never touched


def weights() -> list[tf.Variable]:
  """A kernel, a bias and a table."""
  return [
    tf.Variable(KERNEL, dtype=tf.float32, name="kernel"),
    tf.Variable(BIAS, dtype=tf.float32, name="bias"),
    tf.Variable(TABLE, dtype=tf.float32, name="table"),
  ]


def batch(step: int) -> list[tf.Tensor]:
  """Gradient of the kernel, of the bias, of some rows, and which rows."""
  dense = (KERNEL_GRADIENTS[step], BIAS_GRADIENTS[step], ROW_GRADIENTS[step])
  return [*(tf.constant(g, tf.float32) for g in dense), tf.constant(ROWS[step])]


def take_steps(
  optimizer: ClippedOptimizer,
  variables: list[tf.Variable],
  wrap: Callable[[Any], Any] = lambda step: step,
) -> list[Array]:
  """All steps, of a function that `wrap` may compile; returns weights, slots, memory, factors."""
  optimizer.build(variables)

  def step(kernel: tf.Tensor, bias: tf.Tensor, values: tf.Tensor, rows: tf.Tensor) -> None:
    slices = tf.IndexedSlices(values, rows, variables[2].shape)
    optimizer.apply_gradients(zip([kernel, bias, slices], variables, strict=True))

  wrapped = wrap(step)
  for k in range(STEPS):
    wrapped(*batch(k))
  return [variable.numpy() for variable in (*variables, *optimizer.variables)]


def assert_near(ours: Iterable[Any], theirs: Iterable[Any], tolerance: float = 1e-6) -> None:
  """Equal but for rounding."""
  for one, two in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(one, two, rtol=10 * tolerance, atol=tolerance)


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
  """Dense variables of any size go through compiled functions."""
  monkeypatch.setattr(fused, "FUSED_FROM", 1)


# fit


def adagrad_with_clippy(w: Array, gradients: Callable[[Array, int], Array]) -> Array:
  """Weights after four steps, in float64."""
  squares = np.full_like(w, 0.1)
  for step in range(4):
    g = gradients(w, step)
    squares += g**2
    r = g / np.sqrt(squares + 1e-7)
    w = w - RATE * min(1.0, np.min((0.1 * np.abs(w) + 0.05) / (RATE * np.abs(r)))) * r
  return w


def adam_with_gradient_clipping(w: Array, gradients: Callable[[Array, int], Array]) -> Array:
  """Weights after four steps, in float64."""
  first, second = np.zeros_like(w), np.zeros_like(w)
  for step in range(4):
    g = gradients(w, step)
    g = g * min(1.0, 0.5 / np.linalg.norm(g))
    first, second = 0.75 * first + 0.25 * g, 0.875 * second + 0.125 * g**2
    m, v = first / (1 - 0.75 ** (step + 1)), second / (1 - 0.875 ** (step + 1))
    w = w - RATE * m / (np.sqrt(v) + 1e-7)
  return w


@pytest.mark.parametrize(
  ("direction", "clip", "twin"),
  [
    (Adagrad(), Clippy(0.1, 0.05), adagrad_with_clippy),
    (Adam(0.75, 0.875), GradientClipping(0.5), adam_with_gradient_clipping),
  ],
  ids=["adagrad clippy", "adam gc"],
)
def test_compile_and_fit_train_with_it(direction: Direction, clip: Clip, twin: Any) -> None:
  model = tf_keras.Sequential([tf_keras.layers.Dense(1, use_bias=False, input_shape=(5,))])
  model.set_weights([KERNEL[:, :1]])
  model.compile(ClippedOptimizer(direction, clip, RATE), "mse")
  random = np.random.default_rng(1)
  x, y = random.normal(size=(40, 5)), random.normal(size=(40, 1))
  model.fit(x, y, batch_size=10, shuffle=False, verbose=0)

  def gradient(w: Array, step: int) -> Array:
    a, b = x[10 * step :][:10], y[10 * step :][:10]
    return 2 * a.T @ (a @ w - b) / 10

  np.testing.assert_allclose(model.get_weights()[0], twin(KERNEL[:, :1], gradient), atol=2e-6)
  assert int(model.optimizer.iterations) == 4


def embedding_model(**dtype: Any) -> tf_keras.Model:
  """Two ids of a table of 12 rows, and a dense layer; the same every time."""
  tf_keras.utils.set_random_seed(3)
  layers = tf_keras.layers
  return tf_keras.Sequential(
    [
      layers.Embedding(12, 4, input_length=2, name="ids", **dtype),
      layers.Flatten(**dtype),
      layers.Dense(4, activation="tanh", **dtype),
      layers.Dense(1, dtype=tf.float32),
    ]
  )


def fitted(
  optimizer: Any, jit_compile: bool = False, **dtype: Any
) -> tuple[list[Array], list[Array]]:
  """Weights before and after six steps on batches in which ids come twice; 10 and 11 never do."""
  random = np.random.default_rng(2)
  x, y = random.integers(0, 10, size=(48, 2)), 3 * random.normal(size=(48, 1))
  model = embedding_model(**dtype)
  before = model.get_weights()
  model.compile(optimizer, "mse", jit_compile=jit_compile)
  model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
  assert {variable.dtype for variable in model.trainable_variables} == {tf.float32}
  return before, model.get_weights()


@pytest.mark.parametrize(
  ("direction", "theirs"),
  [
    (Adagrad(), tf_keras.optimizers.Adagrad),
    (Adam(), tf_keras.optimizers.Adam),
    (Sgd(0.5), lambda rate: tf_keras.optimizers.SGD(rate, 0.5)),
  ],
  ids=["adagrad", "adam", "momentum"],
)
def test_fit_with_an_embedding_equals_tf_keras_where_nothing_is_clipped(
  direction: Direction, theirs: Any
) -> None:
  _, ours = fitted(ClippedOptimizer(direction, GradientClipping(1e9), 1 / 64, exclude=NONE))
  _, expected = fitted(theirs(1 / 64))
  assert_near(ours, expected, 2e-6)


@pytest.mark.parametrize(("direction", "name"), [("adagrad", "clippy"), ("adam", "agc")])
def test_fit_with_jit_compile_gives_the_weights_of_fit_without(direction: str, name: str) -> None:
  def optimizer() -> ClippedOptimizer:
    return ClippedOptimizer(DIRECTIONS[direction], CLIPS[name], RATE, exclude=NONE)

  plain, jitted = optimizer(), optimizer()
  before, expected = fitted(plain)
  _, ours = fitted(jitted, jit_compile=True)
  assert_near(ours, expected, 2e-6)
  assert_near(jitted.clipping_factors(), plain.clipping_factors(), 1e-5)
  assert min(float(factor) for factor in plain.clipping_factors()) < 1
  for start, one in zip(before, expected, strict=True):
    assert not np.allclose(one, start, atol=1e-3)
  moved = np.any(ours[0] != before[0], axis=1)
  assert moved.tolist() == [True] * 10 + [direction == "adam"] * 2  # the decay of Adam


@pytest.mark.parametrize(("direction", "name"), [("adagrad", "clippy"), ("adam", "adagc")])
def test_mixed_bfloat16_trains_float32_variables_nearly_as_float32_does(
  direction: str, name: str
) -> None:
  def optimizer() -> ClippedOptimizer:
    return ClippedOptimizer(DIRECTIONS[direction], CLIPS[name], 1 / 32, exclude=NONE)

  mixed = optimizer()
  before, low = fitted(mixed, dtype="mixed_bfloat16")
  _, high = fitted(optimizer())
  assert {v.dtype for v in mixed.numbers} == {tf.float32, tf.int64}
  assert int(mixed.skipped_steps) == 0
  for start, one, two in zip(before, low, high, strict=True):
    assert np.isfinite(one).all()
    assert not np.array_equal(one, two)  # the layers did compute in bfloat16
    assert np.linalg.norm(one - two) < 0.1 * np.linalg.norm(two - start)


def test_weight_constraints_are_applied_after_the_step() -> None:
  def model(optimizer: Any) -> list[Array]:
    tf_keras.utils.set_random_seed(5)
    limits = tf_keras.constraints
    dense = tf_keras.layers.Dense(
      3, input_shape=(4,), kernel_constraint=limits.MaxNorm(0.25), bias_constraint=limits.NonNeg()
    )
    made = tf_keras.Sequential([dense])
    made.compile(optimizer, "mse")
    random = np.random.default_rng(6)
    x, y = random.normal(size=(24, 4)), random.normal(size=(24, 3))
    made.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    return made.get_weights()

  kernel, bias = model(ClippedOptimizer(Adagrad(), NoClip(), RATE))
  assert_near([kernel, bias], model(tf_keras.optimizers.Adagrad(RATE)))
  assert np.linalg.norm(kernel, axis=0).max() == pytest.approx(0.25, rel=1e-5)
  assert bias.min() == 0


# tf.function and XLA


def make(name: str, direction: str) -> ClippedOptimizer:
  """An optimizer that clips all variables; some clips take all of them together."""
  scope: Literal["layer", "global"] = "global" if name in ("gc", "rms", "zclip") else "layer"
  accumulate: Literal["clipped", "original"] = "original" if name == "adagc" else "clipped"
  return ClippedOptimizer(DIRECTIONS[direction], CLIPS[name], RATE, accumulate, NONE, scope)


@functools.cache
def eager_steps(name: str, direction: str) -> list[Array]:
  """What all others have to equal."""
  return take_steps(make(name, direction), weights())


# In turn, because to compile one takes seconds.
@pytest.mark.parametrize(
  ("name", "direction"), list(zip(CLIPS, itertools.cycle(ADAGRAD_AND_ADAM), strict=False))
)
def test_a_step_under_jit_compile_equals_an_eager_one(name: str, direction: str) -> None:
  jitted = make(name, direction)
  steps = take_steps(jitted, weights(), lambda step: tf.function(step, jit_compile=True))
  assert_near(steps, eager_steps(name, direction))
  assert int(jitted.iterations) == STEPS
  if name != "naive":
    for one, two in zip(steps, eager_steps("naive", direction)[:3], strict=False):
      assert not np.allclose(one, two)


@pytest.mark.parametrize(
  ("direction", "in_function"), [("adagrad", True), ("adam", False)], ids=["tf.function", "eager"]
)
@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.usefixtures("everything_is_large")
def test_steps_of_large_variables_equal_those_of_small_ones(
  name: str, direction: str, in_function: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
  large = make(name, direction)
  steps = take_steps(large, weights(), tf.function if in_function else lambda step: step)
  assert {key[0] for key in large._functions} == {"measure", "write"}
  with monkeypatch.context() as patched:
    patched.setattr(fused, "FUSED_FROM", 1 << 20)
    assert_near(steps, eager_steps(name, direction))


def many_large_variables() -> tuple[list[int], list[str], list[str]]:
  """How often each function was traced; TensorFlow's warnings, and those of a careless function."""
  logger, messages = tf.get_logger(), []
  handler = logging.Handler()
  handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
  logger.addHandler(handler)
  fused.FUSED_FROM = 1  # in this process only
  optimizer = ClippedOptimizer(Adagrad(), ZClip(warmup_steps=1), RATE)
  variables = [tf.Variable(tf.ones([k + 1, 2]), name=f"kernel_{k}") for k in range(9)]
  for step in range(3):
    optimizer.learning_rate = RATE / (step + 1)
    optimizer.apply_gradients([(tf.fill(v.shape, step + 1.0), v) for v in variables])
  counts = [made.experimental_get_tracing_count() for made in optimizer._functions.values()]
  ours = [message for message in messages if "retracing" in message]
  messages.clear()
  careless = tf.function(lambda number: number)
  for number in range(9):
    careless(number)
  return counts, ours, [message for message in messages if "retracing" in message]


@pytest.fixture(scope="module")
def of_many_large_variables() -> tuple[list[int], list[str], list[str]]:
  """Of a process of its own: TensorFlow gives the same warning only twice."""
  return in_fresh_process(many_large_variables)


def test_large_variables_of_many_shapes_are_compiled_once_each(
  of_many_large_variables: tuple[list[int], list[str], list[str]],
) -> None:
  counts, *_ = of_many_large_variables
  assert counts == [1] * 18


def test_large_variables_of_many_shapes_raise_no_retracing_warning(
  of_many_large_variables: tuple[list[int], list[str], list[str]],
) -> None:
  _, ours, careless = of_many_large_variables
  assert careless  # so that silence means something
  assert ours == []


@pytest.mark.usefixtures("everything_is_large")
def test_rows_are_not_compiled_anew_for_every_count_of_them() -> None:
  optimizer = ClippedOptimizer(Adagrad(), Clippy(), RATE, exclude=NONE)
  table = tf.Variable(TABLE, dtype=tf.float32, name="table")
  for count in range(1, 5):
    slices = tf.IndexedSlices(tf.ones([count, 3]), tf.range(count), table.shape)
    optimizer.apply_gradients([(slices, table)])
  counts = [made.experimental_get_tracing_count() for made in optimizer._functions.values()]
  assert sum(counts) <= 1


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("in_function", [False, True], ids=["eager", "tf.function"])
def test_a_learning_rate_assigned_after_building_takes_effect(
  large: bool, in_function: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(fused, "FUSED_FROM", 1 if large else 1 << 20)
  kernel = tf.Variable([[8.0, 8.0]], name="kernel")
  optimizer = ClippedOptimizer(Sgd(), Clippy(0.0, 1.0), RATE)
  optimizer.build([kernel])

  def step() -> None:
    optimizer.apply_gradients([(tf.constant([[2.0, 4.0]]), kernel)])

  take = tf.function(step) if in_function else step
  moves = []
  for rate in (0.125, 0.25, 0.5, 0.0):  # at 0.5 a move of 2 is clipped to 1
    optimizer.learning_rate = rate
    before = kernel.numpy()
    take()
    moves.append((before - kernel.numpy())[0].tolist())
  assert moves == [[0.25, 0.5], [0.5, 1.0], [0.5, 1.0], [0.0, 0.0]]


def test_a_schedule_can_take_the_place_of_a_rate() -> None:
  kernel = tf.Variable([8.0], name="kernel")
  optimizer = ClippedOptimizer(Sgd(), NoClip(), 0.5)
  optimizer.apply_gradients([(tf.ones([1]), kernel)])
  values = [1.0, 2.0, 4.0]
  optimizer.learning_rate = tf_keras.optimizers.schedules.PiecewiseConstantDecay([1, 2], values)
  for _ in range(3):  # the steps counted from 0 are now 1, 2 and 3
    optimizer.apply_gradients([(tf.ones([1]), kernel)])
  assert float(kernel[0]) == 8 - 0.5 - 1 - 2 - 4
  assert float(optimizer.learning_rate) == 4


# Gradients that are not there


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", ["gc", "zclip", "clippy"])
def test_a_variable_without_gradient_is_left_alone(
  name: str, scope: Literal["layer", "global"]
) -> None:
  def built(variables: list[tf.Variable]) -> ClippedOptimizer:
    optimizer = ClippedOptimizer(DIRECTIONS["adam"], CLIPS[name], RATE, scope=scope)
    optimizer.build(variables)
    return optimizer

  idle = tf.Variable(KERNEL, name="idle")
  variables = [idle, *weights()[:2]]
  optimizer, expected = built(variables), weights()[:2]
  alone = built(expected)
  before = {kind: value.numpy() for kind, value in optimizer.state_of(idle).items()}
  for step in range(STEPS):
    kernel, bias, *_ = batch(step)
    optimizer.apply_gradients(zip([None, kernel, bias], variables, strict=True))
    alone.apply_gradients(zip([kernel, bias], expected, strict=True))
  np.testing.assert_array_equal(idle, KERNEL)
  assert len(before) == 3 + len(CLIPS[name].initial_memory())
  for kind, value in before.items():
    if scope == "layer" or kind not in CLIPS[name].initial_memory():
      np.testing.assert_array_equal(optimizer.state_of(idle)[kind], value)
  for one, two in zip(variables[1:], expected, strict=True):
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
  ("aggregated", "text"),
  [(False, "^No gradients provided for any variable"), (True, "^no variable has a gradient; does")],
)
def test_a_step_without_any_gradient_is_an_error(aggregated: bool, text: str) -> None:
  pairs = [(None, variable) for variable in weights()]
  optimizer = ClippedOptimizer(Adagrad(), NoClip(), RATE)
  with pytest.raises(ValueError, match=text):
    optimizer.apply_gradients(pairs, skip_gradients_aggregation=aggregated)
  assert int(optimizer.iterations) == 0


# Configurations


def through_config(optimizer: ClippedOptimizer) -> ClippedOptimizer:
  """A copy by way of its config."""
  return ClippedOptimizer.from_config(optimizer.get_config())


def through_json(optimizer: ClippedOptimizer) -> ClippedOptimizer:
  """A copy by way of the text that tf_keras makes of it."""
  text = json.dumps(tf_keras.optimizers.serialize(optimizer))
  return tf_keras.optimizers.deserialize(json.loads(text))


COPIES = pytest.mark.parametrize("copied", [through_config, through_json])


def assert_same_settings(copy: ClippedOptimizer, optimizer: ClippedOptimizer) -> None:
  """All that the constructor takes."""
  assert type(copy) is ClippedOptimizer
  for part in ("direction", "clip", "accumulate", "exclude", "scope", "name", "rules"):
    assert getattr(copy, part) == getattr(optimizer, part)
    assert type(getattr(copy, part)) is type(getattr(optimizer, part))
  rate, expected = copy._learning_rate, optimizer._learning_rate
  if isinstance(expected, tf.Variable):
    assert float(rate) == float(expected)
  else:
    assert type(rate) is type(expected)
    assert rate.get_config() == expected.get_config()
  assert copy.get_config() == optimizer.get_config()


@COPIES
@pytest.mark.parametrize("name", CLIPS)
def test_config_round_trip_keeps_every_argument(name: str, copied: Any) -> None:
  schedule = tf_keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.75)
  settings = itertools.product(DIRECTIONS.values(), SCOPES, ACCUMULATE, [schedule, 0.3])
  for direction, scope, accumulate, rate in settings:
    if name == "agc" and scope == "global":
      continue
    optimizer = ClippedOptimizer(direction, CLIPS[name], rate, accumulate, "_logit", scope, "mine")
    assert_same_settings(copied(optimizer), optimizer)


@COPIES
@pytest.mark.parametrize(("direction", "clip"), VARIANTS, ids=str)
def test_config_round_trip_keeps_variants_and_rules(
  direction: Direction, clip: Clip, copied: Any
) -> None:
  rules = [Rule("bias", clip, direction, 0.5), Rule(TABLES, NoClip()), Rule("_logit", rate=0.0)]
  more: dict[str, Any] = {"micro_batches": 2, "use_ema": True, "ema_momentum": 0.5}
  more["ema_overwrite_frequency"] = 3
  optimizer = ClippedOptimizer(direction, clip, 0.5, "original", "x", rules=rules, **more)
  assert_same_settings(copied(optimizer), optimizer)


def test_the_round_trip_would_notice_an_argument_that_falls_back_to_its_default() -> None:
  parts: list[Any] = [*CLIPS.values(), *DIRECTIONS.values()]
  parts += [part for variant in VARIANTS for part in variant]
  tried, every = set(), set()
  for part in parts:
    for field in dataclasses.fields(part):
      every.add((type(part), field.name))
      if getattr(part, field.name) != field.default:
        tried.add((type(part), field.name))
  assert tried == every


@COPIES
def test_a_rate_assigned_later_is_the_one_in_the_config(copied: Any) -> None:
  optimizer = ClippedOptimizer(Adagrad(), NoClip(), 0.5)
  optimizer.learning_rate = 0.25
  assert float(copied(optimizer).learning_rate) == 0.25


def test_config_names_every_argument_of_the_constructor() -> None:
  config = ClippedOptimizer(Adagrad(), Clippy()).get_config()
  assert config.keys() == inspect.signature(ClippedOptimizer).parameters.keys()


@COPIES
def test_a_users_own_clip_and_direction_make_the_round_trip_and_train(copied: Any) -> None:
  @dataclasses.dataclass(frozen=True)
  class Halving(Clip):
    share: float = 0.5
    acts_on: ClassVar[Literal["gradient", "direction"]] = "direction"

    def measure(
      self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
    ) -> Measures:
      return {"one": tf.ones([], tensor.dtype)}

    def factor(self, measures: Measures) -> tf.Tensor:
      return self.share * measures["one"]

  @dataclasses.dataclass(frozen=True)
  class TighterHalving(Halving):
    tightness: int = 1

  @dataclasses.dataclass(frozen=True)
  class SignOfGradient(Direction):
    length: float = 1.0

    def __call__(
      self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, Slots]:
      return self.length * tf.sign(gradient), slots

  for clip in (Halving(0.25), TighterHalving(0.25, 2)):
    optimizer = ClippedOptimizer(SignOfGradient(4.0), clip, 0.5)
    copy = copied(optimizer)
    assert_same_settings(copy, optimizer)
    kernel = tf.Variable([1.0, 1.0, 1.0], name="kernel")
    copy.apply_gradients([(tf.constant([-3.0, 0.0, 9.0]), kernel)])
    assert kernel.numpy().tolist() == [1.5, 1.0, 0.5]  # 0.5 · 0.25 · 4 = 0.5


def test_an_unknown_clip_of_a_config_is_named() -> None:
  config = {**ClippedOptimizer(Adagrad(), Clippy()).get_config(), "clip": {"Foo": {}}}
  with pytest.raises(ValueError, match="no clip 'Foo' is known; import the module that defines it"):
    ClippedOptimizer.from_config(config)
