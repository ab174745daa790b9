"""What an observation says of a step, against NumPy, and that observing changes nothing."""

import math

import numpy as np
import pytest
import tensorflow as tf

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
  LinearWarmUp,
  NoClip,
  Observation,
  RmsClip,
  Rule,
  Sgd,
  observe,
)
from ranking.optimizers.clipping import Clip

RATE = 0.125
RANDOM = np.random.default_rng(2)
WEIGHTS = RANDOM.normal(size=(5, 3))
GRADIENT = 10.0 * RANDOM.normal(size=(5, 3))
SHADOWS: dict[str, Clip] = {
  "gc": GradientClipping(2.0),
  "agc": AdaptiveGradientClipping(0.5),
  "lamb": Lamb(0.1),
  "clippy": Clippy(0.1, 0.05),
  "layer_clippy": LayerClippy(0.1, 0.1, 0.05),
  "rms_clip": RmsClip(0.25),
}


def kernel() -> tf.Variable:
  return tf.Variable(WEIGHTS, name="kernel")


def look(clip: Clip, variable: tf.Variable, gradient: Array) -> Observation:
  """The observation of one variable by a fresh optimizer."""
  optimizer = ClippedOptimizer(Adagrad(), clip, RATE)
  optimizer.build([variable])
  (seen,) = observe(optimizer, [(tf.constant(gradient, variable.dtype), variable)], SHADOWS)
  return seen


def test_norms_and_factors_are_those_of_numpy() -> None:
  seen = look(Clippy(0.1, 0.05), kernel(), GRADIENT)
  direction = GRADIENT / np.sqrt(0.1 + GRADIENT**2 + 1e-7)
  moves = RATE * np.abs(direction) / (0.1 * np.abs(WEIGHTS) + 0.05)
  length = {
    name: np.sqrt((value**2).sum())
    for name, value in (("g", GRADIENT), ("w", WEIGHTS), ("r", direction))
  }
  columns = np.sqrt((WEIGHTS**2).sum(axis=0)) / np.sqrt((GRADIENT**2).sum(axis=0))
  expected = {
    "gradient_norm": length["g"],
    "weight_norm": length["w"],
    "direction_norm": length["r"],
    "largest_ratio": np.max(np.abs(direction / WEIGHTS)),
    "factor": 1 / moves.max(),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(getattr(seen, name), value, rtol=1e-12, err_msg=name)
  shadows = {
    "gc": 2 / length["g"],
    "agc": 0.5 * columns.min(),
    "lamb": 0.1 * length["w"] / length["r"],
    "clippy": 1 / moves.max(),
    "rms_clip": 0.25 / (length["r"] / math.sqrt(15)),
  }
  assert all(factor < 1 for factor in shadows.values())  # every rule is put to work
  for name, value in shadows.items():
    np.testing.assert_allclose(seen.shadow_factors[name], value, rtol=1e-12, err_msg=name)
  assert tuple(seen.coordinate.numpy()) == np.unravel_index(moves.argmax(), moves.shape)


def test_the_coordinate_is_the_one_that_binds_the_rule_in_force() -> None:
  gradient = np.full((5, 3), 0.5)
  gradient[4, 0], gradient[2, 1] = -9.0, 8.0
  weights = np.ones((5, 3))
  weights[:, 1] = 1e-3  # AGC's limit of this unit is the lowest
  weights[1, 2] = 0.0  # and Clippy's of this weight
  clips: dict[Clip, list[int]] = {
    GradientClipping(2.0): [4, 0],
    AdaptiveGradientClipping(0.5): [2, 1],
    Clippy(0.5, 1e-3): [1, 2],
    Lamb(0.1): [4, 0],
  }
  for clip, expected in clips.items():
    seen = look(clip, tf.Variable(weights, name="kernel"), gradient)
    assert seen.coordinate.numpy().tolist() == expected, clip


def test_no_coordinate_binds_a_rule_that_lets_everything_through() -> None:
  for clip in (NoClip(), GradientClipping(1e9), Clippy(1e9, 1e9)):
    seen = look(clip, kernel(), GRADIENT)
    assert float(seen.factor) == 1
    assert seen.coordinate.numpy().tolist() == [-1, -1]


def test_a_weight_of_zero_that_is_about_to_move_has_an_infinite_ratio() -> None:
  still = np.array([0.0, 2.0])
  assert (
    float(look(NoClip(), tf.Variable(still, name="b"), np.array([0.0, 0.0])).largest_ratio) == 0
  )
  assert math.isinf(look(NoClip(), tf.Variable(still, name="b"), np.ones(2)).largest_ratio)


def test_of_a_table_the_rows_that_the_step_moves_are_seen() -> None:
  table = tf.Variable(WEIGHTS, name="table")
  rows = tf.IndexedSlices(tf.constant([[1.0, 1, 1], [1, 1, 50], [1, 1, 1]], tf.float64), [3, 1, 3])
  for direction, touched in ((Adagrad(), [1, 3]), (Adam(), [0, 1, 2, 3, 4])):
    optimizer = ClippedOptimizer(direction, GradientClipping(1.0), RATE, exclude="")
    optimizer.build([table])
    (seen,) = observe(optimizer, [(rows, table)], {})
    np.testing.assert_allclose(seen.gradient_norm, math.sqrt(3 * 2**2 + 1 + 1 + 50**2))
    np.testing.assert_allclose(seen.weight_norm, np.linalg.norm(WEIGHTS[touched]))
    assert seen.coordinate.numpy().tolist() == [1, 2]


@pytest.mark.parametrize(
  "clip", [Clippy(), AdaptiveGradientClipping(), GradientClipping()], ids=str
)
def test_a_step_that_touches_no_row_can_be_observed_and_taken(clip: Clip) -> None:
  table = tf.Variable(WEIGHTS, name="table")
  optimizer = ClippedOptimizer(Adagrad(), clip, RATE)
  optimizer.build([table])
  none = tf.IndexedSlices(tf.zeros([0, 3], tf.float64), tf.zeros([0], tf.int32))
  (seen,) = observe(optimizer, [(none, table)], {"agc": AdaptiveGradientClipping()})
  assert float(seen.gradient_norm) == 0
  optimizer.apply_gradients([(none, table)])
  np.testing.assert_array_equal(table, WEIGHTS)
  assert [float(factor) for factor in optimizer.clipping_factors()] == [1.0]
  assert int(optimizer.iterations) == 1


def test_of_a_table_with_a_dense_gradient_rows_are_the_units_too() -> None:
  # By columns the third one would bind, whose longest coordinate is another.
  table = tf.Variable(np.ones((3, 3)), name="embeddings")
  gradient = np.array([[3.0, 3.0, 3.5], [0.0, 0.0, 4.0], [0.0, 0.0, 4.5]])
  optimizer = ClippedOptimizer(Sgd(), AdaptiveGradientClipping(0.5), RATE, exclude="")
  optimizer.build([table])
  pairs = [(tf.constant(gradient), table)]
  (seen,) = observe(optimizer, pairs, {})
  optimizer.apply_gradients(pairs)
  assert seen.coordinate.numpy().tolist() == [0, 2]
  assert float(seen.factor) == float(optimizer.clipping_factors()[0]) < 1


def test_rate_of_a_rule_and_limit_of_three_parts_decide_the_coordinate() -> None:
  variable = tf.Variable([1.0, 1.0, 2.0], name="kernel")
  gradient = tf.constant([0.1, 8.0, 9.0])
  # What is left of 1/√G makes the limit of the first the widest by far.
  clip = Clippy(0.0, 0.0, accumulator_threshold=0.1)
  optimizer = ClippedOptimizer(Adagrad(), clip, 1.0, rules=[Rule("kernel", rate=0.5)])
  optimizer.build([variable])
  (seen,) = observe(optimizer, [(gradient, variable)], {})
  limit = 0.1 / np.sqrt(0.1 + gradient.numpy() ** 2)
  moves = 0.5 * gradient.numpy() / np.sqrt(0.1 + gradient.numpy() ** 2)
  assert seen.coordinate.numpy().tolist() == [int(np.argmax(moves / limit))] == [2]
  np.testing.assert_allclose(seen.factor, np.min(limit / moves), rtol=1e-5)


def test_excluded_variables_are_seen_with_a_factor_of_one() -> None:
  seen = look(GradientClipping(0.1), tf.Variable(WEIGHTS, name="embedding"), GRADIENT)
  assert float(seen.factor) == 1
  assert {float(factor) for factor in seen.shadow_factors.values()} == {1.0}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("direction", [Adagrad(), Adam()], ids=str)
def test_observing_changes_nothing_that_a_run_or_a_checkpoint_holds(
  direction: Adagrad | Adam, compiled: bool
) -> None:
  runs = []
  for observing in (False, True):
    variables = [kernel(), tf.Variable(np.zeros(3), name="bias")]
    optimizer = ClippedOptimizer(direction, AdaGC(warmup_steps=2), RATE)
    optimizer.build(variables)

    def step(
      gradients: list[tf.Tensor], variables=variables, optimizer=optimizer, observing=observing
    ) -> list[Observation]:
      pairs = list(zip(gradients, variables, strict=True))
      seen = observe(optimizer, pairs, SHADOWS) if observing else []
      optimizer.apply_gradients(pairs)
      return seen

    take = tf.function(step) if compiled else step
    for k in range(4):
      take([tf.constant(GRADIENT * (k + 1)), tf.constant(GRADIENT[0])])
    runs.append({v.name: v.numpy() for v in (*variables, *optimizer.variables)})
  assert runs[0].keys() == runs[1].keys()
  for name in runs[0]:
    np.testing.assert_array_equal(runs[0][name], runs[1][name], err_msg=name)


def test_a_shadow_that_judges_by_earlier_steps_is_refused() -> None:
  optimizer = ClippedOptimizer(Adagrad(), NoClip(), RATE)
  variable = kernel()
  optimizer.build([variable])
  with pytest.raises(ValueError, match="shadow z: AdaGC judges by earlier steps of its own run"):
    observe(optimizer, [(tf.constant(GRADIENT), variable)], {"z": AdaGC()})


def test_every_scalar_shape_has_its_coordinate() -> None:
  for shape in ((), (4,), (2, 3, 2)):
    weights, gradient = np.ones(shape), np.ones(shape)
    gradient[(-1,) * len(shape)] = 100.0
    seen = look(GradientClipping(1.0), tf.Variable(weights, name="w"), gradient)
    assert seen.coordinate.numpy().tolist() == [size - 1 for size in shape]


def test_under_a_schedule_the_factor_is_that_of_the_step_to_come() -> None:
  variable = tf.Variable([1.0], name="w")
  optimizer = ClippedOptimizer(Sgd(), Clippy(), LinearWarmUp(0.4, 4))
  optimizer.build([variable])
  for _ in range(6):
    pairs = [(tf.constant([10.0]), variable)]
    (seen,) = observe(optimizer, pairs, {"clippy": Clippy()})
    optimizer.apply_gradients(pairs)
    (taken,) = optimizer.clipping_factors()
    assert float(seen.factor) == float(seen.shadow_factors["clippy"]) == float(taken) < 1
