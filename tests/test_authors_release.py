"""Equal to ClippyAdagrad of tensorflow-recommenders, in each mode and in what it is tested for.

Its own tests are known as facts: each has its counterpart here, on other numbers.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from ranking.array import Array
from ranking.optimizers import Adagrad, Adam, ClippedOptimizer, Clippy, Rule, StateError
from tests.clippy_adagrad import ClippyAdagrad, shrink_by_references

Theirs = tfrs.experimental.optimizers.ClippyAdagrad
MODES: dict[str, Any] = {
  "delayed": {},
  "delayed, clipped": {"clip_accumulator_update": True},
  "standard": {"use_standard_accumulator_update": True},
}
PROBLEMS, STEPS = 40, 8


# Forty random problems in each mode


def random_problem(number: int) -> tuple[dict[str, Any], list[Array], list[list[Any]]]:
  """Settings; a kernel and a table; per step the kernel's gradient, and rows that come twice."""
  random = np.random.default_rng(number)
  settings = {
    "learning_rate": float(random.choice([0.125, 0.5, 2.0])),
    "initial_accumulator_value": float(random.choice([0.01, 0.1, 1.0])),
    "variable_relative_threshold": float(random.choice([0.0, 0.1, 0.5])),
    "accumulator_relative_threshold": float(random.choice([0.0, 1e-3, 0.1])),
    "absolute_threshold": float(random.choice([1e-7, 1e-2, 0.5])),
    "epsilon": float(random.choice([0.0, 2.0**-23, 2.0**-10])),
  }
  weights = [random.normal(size=(4, 3)), random.normal(size=(6, 3))]
  weights[0][0] = 0.0  # as biases start
  scales = 10.0 ** random.uniform(-2, 2, size=STEPS)
  gradients = [
    [
      scale * random.normal(size=(4, 3)) * (random.random((4, 3)) < 0.8),
      scale * random.normal(size=(5, 3)),
      random.integers(0, 5, 5),
    ]
    for scale in scales
  ]
  return settings, weights, gradients


def state_after(optimizer: Any, weights: list[Array], gradients: list[list[Any]]) -> list[Array]:
  """Weights, accumulators and factors after every step, in float64."""
  kernel, table = (tf.Variable(w, dtype=tf.float64) for w in weights)
  seen = []
  for dense, values, rows in gradients:
    slices = tf.IndexedSlices(tf.constant(values), tf.constant(rows), table.shape)
    optimizer.apply_gradients([(tf.constant(dense), kernel), (slices, table)])
    kept = (kernel, table, *optimizer._accumulators, *optimizer.clipping_factors)
    seen += [value.numpy() for value in kept]
  return seen


@pytest.mark.parametrize("mode", MODES)
def test_forty_random_problems_have_the_same_steps(mode: str) -> None:
  clipped = 0
  for number in range(PROBLEMS):
    settings, weights, gradients = random_problem(number)
    # Rate and epsilon are exact in float32, to which the release rounds them.
    theirs = Theirs(**settings, **MODES[mode], export_clipping_factors=True)
    ours: Any = ClippyAdagrad(**settings, **MODES[mode])
    here, there = (state_after(made, weights, gradients) for made in (ours, theirs))
    for one, two in zip(here, there, strict=True):
      np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12, err_msg=f"problem {number}")
    factors = [float(factor) for factor in here[4::6]]
    clipped += min(factors) < 1 and max(factors) > min(factors)
  assert clipped > PROBLEMS / 2


def test_the_modes_differ() -> None:
  settings, weights, gradients = random_problem(1)
  ends = [
    state_after(ClippyAdagrad(**settings, **mode), weights, gradients)[-6]
    for mode in MODES.values()
  ]
  assert not np.allclose(ends[0], ends[1])
  assert not np.allclose(ends[0], ends[2])


# Facts of its own tests


@pytest.mark.parametrize(
  ("tensor", "references", "factors", "absolute", "shrunk", "factor"),
  [
    pytest.param(3.0, [5.0], [0.1], 0.1, 0.6, 0.2, id="to the limit"),
    pytest.param(3.0, [-5.0], [0.1], 0.1, 0.6, 0.2, id="sign of the reference"),
    pytest.param(-3.0, [5.0], [0.1], 0.1, -0.6, 0.2, id="sign of the tensor"),
    pytest.param(-3.0, [3.0], [0.1], 0.0, -0.3, 0.1, id="without an absolute part"),
    pytest.param(-3.0, [0.0], [0.1], 0.0, 0.0, 0.0, id="a limit of 0"),
    pytest.param(3.0, [40.0], [0.1], 0.2, 3.0, 1.0, id="below the limit"),
    pytest.param(-3.0, [40.0], [0.1], 0.2, -3.0, 1.0, id="negative and below"),
    pytest.param(0.0, [2.0], [0.1], 0.1, 0.0, 1.0, id="nothing to shrink"),
    pytest.param(0.0, [2.0], [0.1], 0.0, 0.0, 1.0, id="nothing, without an absolute part"),
    pytest.param(0.0, [0.0], [0.0], 0.0, 0.0, 1.0, id="nothing, and a limit of 0"),
    pytest.param(4.0, [3.0, -6.0], [0.1, 0.2], 0.1, 1.6, 0.4, id="two references"),
    pytest.param(4.0, [], [], 0.1, 0.1, 0.025, id="no reference"),
    pytest.param(0.0, [], [], 0.0, 0.0, 1.0, id="no reference and nothing"),
    pytest.param([2.0, 2.0], [[2.0, 0.3]], [0.1], 0.01, [0.04, 0.04], 0.02, id="the least of all"),
    pytest.param(
      [2.0, 2.0, 0.0, 0.0],
      [[2.0, 0.2, 1.0, 0.0]],
      [0.1],
      0.0,
      [0.02, 0.02, 0.0, 0.0],
      0.01,
      id="zeros do not bind",
    ),
    pytest.param(
      [1.0, 1.0, 0.0], [[1.0, 0.0, 0.0]], [0.1], 0.0, [0.0, 0.0, 0.0], 0.0, id="a zero binds all"
    ),
    pytest.param(
      [[1.0, 4.0], [1.0, 4.0]], [2.0], [0.1], 0.2, [[0.1, 0.4], [0.1, 0.4]], 0.1, id="broadcast"
    ),
  ],
)
def test_a_tensor_is_shrunk_below_its_limits_by_one_factor(
  tensor: Any, references: Any, factors: Any, absolute: float, shrunk: Any, factor: float
) -> None:
  made, sigma = shrink_by_references(tensor, references, factors, absolute)
  np.testing.assert_allclose(made, shrunk, rtol=1e-6)
  np.testing.assert_allclose(sigma, factor, rtol=1e-6)


ROOT = 0.5  # of the first accumulator


def one_step(gradient: float, compiled: bool = False, **settings: Any) -> tuple[Any, ...]:
  """A kernel and a row of a table after a step, their accumulators and factors."""
  optimizer = ClippyAdagrad(initial_accumulator_value=ROOT**2, **settings)
  kernel = tf.Variable([1.0, 3.0], dtype=tf.float64)
  table = tf.Variable([[5.0, 5.0], [1.0, 3.0]])

  def step() -> None:
    dense = tf.constant([gradient, gradient], tf.float64)
    rows = tf.IndexedSlices(tf.constant([[gradient, gradient]]), tf.constant([1]), table.shape)
    optimizer.apply_gradients([(dense, kernel), (rows, table)])

  (tf.function(step) if compiled else step)()
  np.testing.assert_array_equal(table[0], [5.0, 5.0])
  np.testing.assert_array_equal(optimizer._accumulators[1][0], [ROOT**2, ROOT**2])
  np.testing.assert_allclose(table[1], kernel, rtol=1e-5)
  np.testing.assert_allclose(optimizer._accumulators[1][1], optimizer._accumulators[0], rtol=1e-5)
  first, second = optimizer.clipping_factors
  assert float(first) == pytest.approx(float(second), rel=1e-5)
  return kernel.numpy(), optimizer._accumulators[0].numpy(), float(first)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "tf.function"])
def test_a_small_step_is_not_clipped_and_of_the_accumulator_before_it(compiled: bool) -> None:
  kernel, accumulator, factor = one_step(0.25, compiled, learning_rate=0.125)
  np.testing.assert_allclose(kernel, [1 - 0.0625, 3 - 0.0625], rtol=1e-6)
  np.testing.assert_allclose(accumulator, ROOT**2 + 0.25**2, rtol=1e-6)
  assert factor == 1


@pytest.mark.parametrize("clipped", [False, True])
def test_a_large_step_is_brought_to_a_limit_of_three_parts(clipped: bool) -> None:
  kernel, accumulator, factor = one_step(
    8.0,
    learning_rate=0.25,
    variable_relative_threshold=0.5,
    accumulator_relative_threshold=0.05,
    absolute_threshold=0.1,
    epsilon=0.0,
    clip_accumulator_update=clipped,
  )
  limit = 0.5 * 1 + 0.05 / ROOT + 0.1  # of the first coordinate, which binds
  np.testing.assert_allclose(kernel, [1 - limit, 3 - limit], rtol=1e-6)
  assert factor == pytest.approx(limit / (0.25 * 8 / ROOT), rel=1e-6)
  expected = ROOT**2 + (8 * factor) ** 2 if clipped else ROOT**2 + 8**2
  np.testing.assert_allclose(accumulator, expected, rtol=1e-6)


def test_in_the_standard_mode_the_first_step_from_zero_is_as_long_as_the_rate() -> None:
  optimizer = ClippyAdagrad(
    learning_rate=0.125, initial_accumulator_value=0.0, use_standard_accumulator_update=True
  )
  kernel = tf.Variable([2.0, 4.0])
  optimizer.apply_gradients([(tf.constant([0.3, 0.4]), kernel)])
  np.testing.assert_allclose(kernel, [2 - 0.125, 4 - 0.125], rtol=1e-5)
  np.testing.assert_allclose(optimizer._accumulators[0], [0.3**2, 0.4**2], rtol=1e-6)


def test_a_configuration_comes_back_whole() -> None:
  made = ClippyAdagrad(0.25, 0.2, 0.3, 0.6, 0.4, 0.5, True, True)
  again = ClippyAdagrad.from_config(made.get_config())
  assert again.ours.get_config() == made.ours.get_config()
  assert {k: v for k, v in vars(again).items() if k != "ours"} == {
    k: v for k, v in vars(made).items() if k != "ours"
  }


# What fits


def test_a_limit_that_is_relative_to_an_accumulator_needs_one() -> None:
  clip = Clippy(accumulator_threshold=0.1)
  with pytest.raises(
    ValueError, match=r"relative to an accumulator, and Adam\(.*\) has none; give"
  ):
    ClippedOptimizer(Adam(), clip)
  with pytest.raises(ValueError, match="relative to an accumulator"):
    ClippedOptimizer(Adam(), Clippy(), rules=[Rule("kernel", clip)])
  ClippedOptimizer(Adam(), Clippy(), rules=[Rule("kernel", clip, Adagrad())])


def test_an_unknown_time_to_accumulate_is_named() -> None:
  with pytest.raises(ValueError, match='accumulate_when is \'now\'; make it "before" or "after"'):
    Adagrad(accumulate_when="now")  # type: ignore[arg-type]


# Moving a run over


OTHERS = {
  "tf_keras Adagrad": lambda: tf_keras.optimizers.Adagrad(0.25),
  "TFRS ClippyAdagrad": lambda: Theirs(0.25, use_standard_accumulator_update=True),
  "TFRS, with its factors": lambda: Theirs(
    0.25, use_standard_accumulator_update=True, export_clipping_factors=True
  ),
}


@pytest.mark.parametrize("built", [False, True], ids=["before build", "after build"])
@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_another_adagrad_keeps_its_accumulators(
  other: str, built: bool, tmp_path: Path
) -> None:
  variables = [tf.Variable([1.0, 2.0], name="a"), tf.Variable([3.0, 4.0], name="b")]
  theirs: Any = OTHERS[other]()
  for size in (1.0, 2.0):
    theirs.apply_gradients([(tf.fill([2], k * size), v) for k, v in enumerate(variables, 1)])
  path = tf.train.Checkpoint(optimizer=theirs).write(str(tmp_path / "checkpoint"))
  ours = ClippedOptimizer(Adagrad(), Clippy(0.1, 1e-7), 0.125)
  if built:
    ours.build(variables)
  tf.train.Checkpoint(optimizer=ours).read(path).expect_partial()
  ours.build(variables)
  assert int(ours.iterations) == 2
  assert float(ours.learning_rate) == 0.25
  for variable, accumulator in zip(variables, theirs._accumulators, strict=True):
    np.testing.assert_array_equal(ours.state_of(variable)["accumulator"], accumulator)


@pytest.mark.parametrize("other", OTHERS)
def test_a_weights_file_of_another_adagrad_keeps_its_accumulators(
  other: str, tmp_path: Path
) -> None:
  def model(optimizer: Any) -> tf_keras.Model:
    made = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
    made.compile(optimizer, "mse")
    return made

  theirs = model(OTHERS[other]())
  theirs.train_on_batch(np.ones((2, 3)), np.ones((2, 2)))
  theirs.save_weights(tmp_path / "model.weights.h5")
  ours = model(ClippedOptimizer(Adagrad(), Clippy(), 0.25))
  ours.load_weights(tmp_path / "model.weights.h5")
  ours.optimizer.build(ours.trainable_variables)
  assert int(ours.optimizer.iterations) == 1
  kept = theirs.optimizer._accumulators
  for variable, accumulator in zip(ours.trainable_variables, kept, strict=True):
    np.testing.assert_array_equal(ours.optimizer.state_of(variable)["accumulator"], accumulator)


def test_a_checkpoint_of_an_adagrad_for_fewer_variables_is_refused(tmp_path: Path) -> None:
  variables = [tf.Variable([1.0, 2.0], name=name) for name in "abc"]
  theirs = tf_keras.optimizers.Adagrad(0.25)
  theirs.build(variables[:2])
  path = tf.train.Checkpoint(optimizer=theirs).write(str(tmp_path / "checkpoint"))
  ours = ClippedOptimizer(Adagrad(), Clippy())
  tf.train.Checkpoint(optimizer=ours).read(path).expect_partial()
  with pytest.raises(StateError, match="has 2 accumulators, the optimizer 3 of them"):
    ours.build(variables)
