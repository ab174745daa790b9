"""Steps whose loss or gradients are not finite: counted, and otherwise as if they never came."""

import itertools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

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
  fused,
)
from ranking.optimizers.clipping import Clip
from ranking.optimizers.directions import Direction

RATE = 0.125
STEPS, INJECTIONS = 6, 4  # of each case; there are 27, so more than a hundred injections
BAD = (np.nan, np.inf, -np.inf, 1e25)  # the square of 1e25 overflows float32

# Warmups of clips with memory end midway.
CLIPS: dict[str, Clip] = {
  "naive": NoClip(),
  "gc": GradientClipping(2.0),
  "agc": AdaptiveGradientClipping(0.5),
  "agc layer": AdaptiveGradientClipping(0.5, unit="layer"),
  "lamb": Lamb(0.1),
  "clippy": Clippy(0.1, 0.05),
  "layer_clippy": LayerClippy(0.1, 0.1, 0.05),
  "rms": RmsClip(0.2),
  "adagc": AdaGC(1.5, 3.0, 0.75, warmup_steps=3),
  "zclip": ZClip(1.25, 0.75, warmup_steps=3),
}
DIRECTIONS: dict[str, Direction] = {"momentum": Sgd(0.5), "adagrad": Adagrad(), "adam": Adam()}
CASES = list(itertools.product(CLIPS, DIRECTIONS))

RANDOM = np.random.default_rng(0)
START = {
  "kernel": RANDOM.normal(size=(5, 3)),
  "bias": np.zeros(3),
  "table": RANDOM.normal(size=(8, 3)),
  "embedding": RANDOM.normal(size=(8, 3)),  # excluded from clipping
}
SHAPES = {"kernel": (5, 3), "bias": (3,), "table": (5, 3), "embedding": (5, 3)}
Gradients = dict[str, Array]


def good_steps() -> list[tuple[Gradients, Array]]:
  """Gradients by variable, of rows for the tables, and the rows: some come twice."""
  random = np.random.default_rng(1)
  return [
    (
      {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()},
      random.integers(0, 6, size=5),
    )
    for _ in range(STEPS)
  ]


class Training:
  """Weights and an optimizer, whose step is compiled or not."""

  def __init__(self, optimizer: ClippedOptimizer, compiled: bool = False):
    self.optimizer = optimizer
    self.weights = {
      name: tf.Variable(start, dtype=tf.float32, name=name) for name, start in START.items()
    }
    optimizer.build(list(self.weights.values()))
    self._step = tf.function(self._apply) if compiled else self._apply

  def _apply(self, gradients: dict[str, tf.Tensor], rows: tf.Tensor, loss: tf.Tensor) -> None:
    pairs = []
    for name, variable in self.weights.items():
      gradient = gradients[name]
      if name in ("table", "embedding"):
        gradient = tf.IndexedSlices(gradient, rows, variable.shape)
      pairs.append((gradient, variable))
    self.optimizer.apply_gradients(pairs, loss=loss)

  def step(self, gradients: Gradients, rows: Array, loss: float = 1.0) -> None:
    """Takes a step."""
    tensors = {name: tf.constant(gradient) for name, gradient in gradients.items()}
    self._step(tensors, tf.constant(rows), tf.constant(loss, tf.float32))

  def variables(self) -> list[tf.Variable]:
    """All but the counts of skipped steps."""
    counts = (self.optimizer.skipped_steps, self.optimizer.skipped_in_a_row)
    own = [v for v in self.optimizer.variables if all(v is not count for count in counts)]
    return [*self.weights.values(), *own]

  def bits(self) -> list[bytes]:
    """Weights, slots, memory, factors, iterations, to the last bit."""
    return [variable.numpy().tobytes() for variable in self.variables()]

  def skipped(self) -> tuple[int, int]:
    """In all, and in a row."""
    return int(self.optimizer.skipped_steps), int(self.optimizer.skipped_in_a_row)


def spoiled(gradients: Gradients, random: np.random.Generator) -> Gradients:
  """With one coordinate that is not finite, or whose square is not."""
  name = random.choice(list(SHAPES))
  gradient = gradients[name].copy()
  gradient[tuple(random.integers(size) for size in gradient.shape)] = random.choice(BAD)
  return {**gradients, name: gradient}


@pytest.mark.parametrize(
  ("number", "name", "direction"),
  [pytest.param(k, *case, id=" ".join(case)) for k, case in enumerate(CASES)],
)
def test_a_run_with_bad_steps_equals_bit_for_bit_the_run_without_them(
  number: int, name: str, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  # Every clip has a case that is compiled, one of large variables, one with a schedule.
  compiled, large = number % 2 == 0, number % 4 < 2
  monkeypatch.setattr(fused, "FUSED_FROM", 1 if large else 1 << 20)
  scope: Literal["layer", "global"] = "global" if number % 5 == 0 and name != "agc" else "layer"
  rate: Any = RATE
  if number % 3:
    rate = tf_keras.optimizers.schedules.ExponentialDecay(RATE, 1, 0.5)
  training = Training(
    ClippedOptimizer(DIRECTIONS[direction], CLIPS[name], rate, scope=scope), compiled
  )
  steps = good_steps()
  initial = [variable.numpy() for variable in training.variables()]
  expected = [training.bits()]
  for gradients, rows in steps:
    training.step(gradients, rows)
    expected.append(training.bits())
  assert training.skipped() == (0, 0)
  assert len(set(map(tuple, expected))) == STEPS + 1  # every step did something

  for variable, value in zip(training.variables(), initial, strict=True):
    variable.assign(value)
  random = np.random.default_rng(number)
  places = sorted(random.integers(0, STEPS, INJECTIONS).tolist())  # before which good steps
  seen = 0
  for k, (gradients, rows) in enumerate(steps):
    for in_a_row in range(1, places.count(k) + 1):
      training.step(spoiled(gradients, random), rows)
      seen += 1
      assert training.skipped() == (seen, in_a_row)
      assert training.bits() == expected[k]
    training.step(gradients, rows)
    assert training.skipped() == (seen, 0)
    assert training.bits() == expected[k + 1]
  assert seen == INJECTIONS


def test_the_cases_above_are_a_hundred_and_try_everything() -> None:
  assert len(CASES) * INJECTIONS >= 100
  for name in CLIPS:
    numbers = [number for number, (clip, _) in enumerate(CASES) if clip == name]
    assert {number % 2 for number in numbers} == {0, 1}
  tried = set()
  for number in range(len(CASES)):
    random = np.random.default_rng(number)
    random.integers(0, STEPS, INJECTIONS)
    for _ in range(INJECTIONS):
      after = spoiled({name: np.zeros(shape) for name, shape in SHAPES.items()}, random)
      tried |= {(name, str(value)) for name, g in after.items() for value in g[~(g == 0)].tolist()}
  assert tried == {(name, str(value)) for name in SHAPES for value in BAD}


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize(
  "values",
  [
    pytest.param({"kernel": [2e19]}, id="one square"),
    pytest.param({"kernel": [1.5e19, 1.5e19]}, id="the sum of a variable"),
    pytest.param({"table": [2e19]}, id="rows"),
    pytest.param({"kernel": [1.5e19], "bias": [1.5e19]}, id="the sum of all variables"),
  ],
)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "tf.function"])
def test_finite_gradients_whose_squares_do_not_add_up_are_skipped(
  values: dict[str, list[float]], compiled: bool, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(fused, "FUSED_FROM", 1 if large else 1 << 20)
  training = Training(ClippedOptimizer(Adagrad(), ZClip(), RATE, scope="global"), compiled)
  ((gradients, rows), *_) = good_steps()
  rows = np.arange(5)
  training.step(gradients, rows)
  before = training.bits()
  huge = {name: gradient.copy() for name, gradient in gradients.items()}
  for name, numbers in values.items():
    huge[name].flat[: len(numbers)] = numbers
  training.step(huge, rows)
  assert training.skipped() == (1, 1)
  assert training.bits() == before


def test_gradients_that_can_just_be_squared_are_taken() -> None:
  training = Training(ClippedOptimizer(Adagrad(), GradientClipping(1.0), RATE))
  ((gradients, rows), *_) = good_steps()
  training.step({**gradients, "kernel": np.full((5, 3), 1e18, np.float32)}, rows)
  assert training.skipped() == (0, 0)
  kernel = tf.Variable([1.0, 2.0], dtype=tf.float64, name="kernel")
  optimizer = ClippedOptimizer(Adagrad(), NoClip(), RATE)
  optimizer.apply_gradients([(tf.constant([1e25, -1e25], tf.float64), kernel)])
  np.testing.assert_allclose(kernel, [1 - RATE, 2 + RATE])
  assert int(optimizer.skipped_steps) == 0


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "tf.function"])
def test_a_loss_that_is_not_finite_is_skipped_though_its_gradients_are(
  compiled: bool, loss: float
) -> None:
  training = Training(ClippedOptimizer(Adam(), AdaGC(warmup_steps=1), RATE), compiled)
  (first, second, *_) = good_steps()
  training.step(*first)
  before = training.bits()
  training.step(*second, loss)
  assert training.skipped() == (1, 1)
  assert training.bits() == before
  training.step(*second, 3.0)
  assert training.skipped() == (1, 0)
  assert training.bits() != before


def test_minimize_looks_at_a_loss_that_comes_with_its_tape() -> None:
  kernel = tf.Variable([1.0, 2.0], name="kernel")
  optimizer = ClippedOptimizer(Adagrad(), NoClip(), RATE)
  for constant in (0.0, np.inf, 0.0):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(kernel) + constant
    before = kernel.numpy()
    optimizer.minimize(loss, [kernel], tape)
    assert np.array_equal(kernel.numpy(), before) == np.isinf(constant)
  assert int(optimizer.iterations) == 2


@pytest.mark.parametrize("name", ["naive", "agc"])
def test_a_skipped_step_does_not_apply_constraints_either(name: str) -> None:
  kernel = tf.Variable([[3.0], [4.0]], name="kernel", constraint=tf_keras.constraints.MaxNorm(1.0))
  optimizer = ClippedOptimizer(Adagrad(), CLIPS[name], RATE)
  optimizer.apply_gradients([(tf.constant([[np.nan], [1.0]]), kernel)])
  np.testing.assert_array_equal(kernel, [[3.0], [4.0]])
  optimizer.apply_gradients([(tf.constant([[1.0], [1.0]]), kernel)])
  np.testing.assert_allclose(np.linalg.norm(kernel), 1.0, rtol=1e-6)


# Keras models


def mse_of_first_plus_second(labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
  """A loss that the second label makes infinite while all gradients stay finite."""
  return tf.square(labels[:, :1] - predictions)[:, 0] + labels[:, 1]


def model(optimizer: ClippedOptimizer, loss: str | Callable[..., Any] = "mse") -> tf_keras.Model:
  """Ids and a dense layer."""
  tf_keras.utils.set_random_seed(1)
  made = tf_keras.Sequential(
    [
      tf_keras.layers.Embedding(9, 3, input_length=2),
      tf_keras.layers.Flatten(),
      tf_keras.layers.Dense(4, activation="relu"),
      tf_keras.layers.Dense(1),
    ]
  )
  made.compile(optimizer, loss)
  return made


def state(trained: tf_keras.Model) -> list[bytes]:
  """Of the weights and of all that the optimizer checkpoints but the counts."""
  counts = ("skipped_steps", "skipped_in_a_row")
  own = [value for name, value in trained.optimizer._named_values().items() if name not in counts]
  return [variable.numpy().tobytes() for variable in (*trained.weights, *own)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_fit_skips_a_batch_whose_loss_alone_is_not_finite(bad: float) -> None:
  random = np.random.default_rng(2)
  x, y = random.integers(0, 9, size=(12, 2)), random.normal(size=(12, 2))
  y[6, 1] = bad  # in the second of three batches
  fitted, without = (
    model(ClippedOptimizer(Adagrad(), Clippy(), RATE), mse_of_first_plus_second) for _ in range(2)
  )
  fitted.fit(x, y, batch_size=4, shuffle=False, verbose=0)
  keep = [0, 1, 2, 3, 8, 9, 10, 11]
  without.fit(x[keep], y[keep], batch_size=4, shuffle=False, verbose=0)
  assert int(fitted.optimizer.skipped_steps) == 1
  assert int(fitted.optimizer.iterations) == 2
  assert state(fitted) == state(without)


@pytest.mark.parametrize(
  ("direction", "name"), [("adagrad", "clippy"), ("adam", "zclip"), ("momentum", "adagc")]
)
def test_a_hundred_bad_labels_leave_a_model_as_if_they_never_came(
  direction: str, name: str
) -> None:
  trained, without = (
    model(ClippedOptimizer(DIRECTIONS[direction], CLIPS[name], 1 / 64)) for _ in range(2)
  )
  random = np.random.default_rng(3)
  for injection in range(100):
    x, y = random.integers(0, 9, size=(4, 2)), random.normal(size=(4, 1))
    if injection % 2:
      trained.train_on_batch(x, y)
      without.train_on_batch(x, y)
    y[random.integers(4)] = BAD[injection % 4]
    trained.train_on_batch(x, y)
    assert int(trained.optimizer.skipped_steps) == injection + 1
    if injection % 10 == 9:
      assert state(trained) == state(without)
  assert int(trained.optimizer.iterations) == 50
  for variable in (*trained.weights, *trained.optimizer.variables):
    assert np.isfinite(variable.numpy()).all()
