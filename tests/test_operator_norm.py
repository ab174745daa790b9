"""The operator norm: against singular values in NumPy, and in every way an optimizer runs."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ranking import strategy
from ranking.array import Array
from ranking.optimizers import ClippedOptimizer, Sgd, fused
from ranking.optimizers.operator_norm import OperatorNorm
from tests.fresh_process import in_fresh_process

RANDOM = np.random.default_rng(1)
RATE = 0.5
NUMBERS = st.one_of(st.just(0.0), st.floats(-2, 2), st.sampled_from([-1e6, 1e-6, 1e6]))
SHAPES = [(6, 4), (3, 5, 7), (64, 64), (200, 16), (16, 200), (1, 9), (9, 1)]


def excess(weights: Array, direction: Array, clip: OperatorNorm) -> float:
  """The length of a step as a multiple of its limit, in float64."""
  w, r, eta = (tf.constant(value, tf.float64) for value in (weights, direction, RATE))
  return float(clip.measure(w, r, eta)["excess"])


def factor(weights: Array, direction: Array, clip: OperatorNorm) -> float:
  measured = {"excess": tf.constant(excess(weights, direction, clip), tf.float64)}
  return float(clip.factor(measured))


def twin(weights: Array, direction: Array, clip: OperatorNorm) -> float:
  """`excess` by singular values."""
  limit = clip.threshold * max(np.sqrt(np.mean(np.square(weights))), clip.epsilon)
  if direction.ndim < 2:
    return RATE * np.linalg.norm(direction) / (limit * math.sqrt(direction.size))
  matrix = direction.reshape(-1, direction.shape[-1])
  largest = np.linalg.svd(matrix, compute_uv=False)[0]
  return float(RATE * largest / (limit * sum(map(math.sqrt, matrix.shape))))


def rank_one(shape: tuple[int, ...]) -> Array:
  *rows, columns = shape
  return np.multiply.outer(RANDOM.normal(size=rows), RANDOM.normal(size=columns))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_step_of_rank_one_is_measured_exactly_and_kept_to_its_limit(
  shape: tuple[int, ...],
) -> None:
  weights, direction, clip = 0.1 * RANDOM.normal(size=shape), rank_one(shape), OperatorNorm()
  assert excess(weights, direction, clip) == pytest.approx(twin(weights, direction, clip), rel=1e-9)
  kept = factor(weights, direction, clip) * direction
  assert twin(weights, kept, clip) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_random_steps_are_measured_from_below_to_a_tenth_on_average(shape: tuple[int, ...]) -> None:
  shares = []
  for _ in range(10):
    weights, direction = RANDOM.normal(size=shape), RANDOM.normal(size=shape)
    true = twin(weights, direction, OperatorNorm())
    shares.append(excess(weights, direction, OperatorNorm()) / true)
  assert np.mean(shares) > 0.9
  assert max(shares) <= 1 + 1e-9


@pytest.mark.parametrize("shape", [(), (1,), (8,)], ids=str)
def test_a_vector_and_a_scalar_are_measured_by_their_length(shape: tuple[int, ...]) -> None:
  weights, direction, clip = RANDOM.normal(size=shape), RANDOM.normal(size=shape), OperatorNorm()
  assert excess(weights, direction, clip) == pytest.approx(
    twin(weights, direction, clip), rel=1e-12
  )


def test_weights_of_zero_move_by_a_share_of_epsilon() -> None:
  clip = OperatorNorm(threshold=0.1, epsilon=0.01)
  moved = RATE * factor(np.zeros(4), np.full(4, 30.0), clip) * 30.0
  assert moved == pytest.approx(0.1 * 0.01, rel=1e-12)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
  array_shapes(min_dims=0, max_dims=3, max_side=4).flatmap(
    lambda shape: st.tuples(*[arrays(np.float64, shape, elements=NUMBERS)] * 2)
  )
)
def test_the_factor_is_above_0_and_at_most_1_and_never_clips_more_than_the_true_norm_does(
  sample: tuple[Array, Array],
) -> None:
  weights, direction = sample
  sigma = factor(weights, direction, OperatorNorm())
  true = 1 / max(1, twin(weights, direction, OperatorNorm()))
  assert 0 < sigma <= 1
  assert sigma >= true * (1 - 1e-9)


@pytest.mark.parametrize("shape", [(), (3,), (6, 4)], ids=str)
def test_no_step_and_a_huge_threshold_are_left_alone(shape: tuple[int, ...]) -> None:
  weights, direction = RANDOM.normal(size=shape), RANDOM.normal(size=shape)
  assert factor(weights, direction, OperatorNorm()) < 1
  assert factor(weights, 0 * direction, OperatorNorm()) == 1
  assert factor(0 * weights, 0 * direction, OperatorNorm(epsilon=0)) == 1
  assert factor(weights, direction, OperatorNorm(threshold=1e6)) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_rows_of_a_table_is_measured_as_a_scalar_of_its_type(dtype: str) -> None:
  clip, measured = OperatorNorm(), []

  @tf.function(input_signature=[tf.TensorSpec([None, 5], dtype)] * 2)
  def measure(weights: tf.Tensor, direction: tf.Tensor) -> tf.Tensor:
    return clip.measure(weights, direction, tf.constant(RATE, dtype), of_rows=True)["excess"]

  for rows in (0, 1, 3):
    weights, direction = RANDOM.normal(size=(rows, 5)), rank_one((rows, 5))
    measured.append(measure(tf.constant(weights, dtype), tf.constant(direction, dtype)))
    wanted = twin(weights, direction, clip) if rows else 0
    assert float(measured[-1]) == pytest.approx(wanted, rel=1e-4)
  assert {(value.shape.rank, value.dtype.name) for value in measured} == {(0, dtype)}


START = [RANDOM.normal(size=shape).astype(np.float32) for shape in ((6, 4), (4,), (5, 3))]
MOVES = [rank_one((6, 4)), RANDOM.normal(size=4), rank_one((2, 3))]  # the last of two rows
ROWS = [3, 1]


def stepped(replicas: tf.distribute.Strategy, scope: str, fused_from: int) -> list[Array]:
  """A kernel, a bias and a table after one step, whose gradients the replicas share."""
  fused.FUSED_FROM = fused_from  # this is a process of its own
  with replicas.scope():
    variables = [tf.Variable(value) for value in START]
    optimizer = ClippedOptimizer(Sgd(), OperatorNorm(), RATE, exclude="", scope=scope)  # type: ignore[arg-type]
    optimizer.build(variables)

  @tf.function
  def step() -> None:
    kernel, bias, rows = (tf.constant(g / replicas.num_replicas_in_sync, tf.float32) for g in MOVES)
    gradients = [kernel, bias, tf.IndexedSlices(rows, tf.constant(ROWS), tf.constant([5, 3]))]
    optimizer.apply_gradients(zip(gradients, variables, strict=True))

  replicas.run(step)
  return [variable.numpy() for variable in variables]


def in_every_way() -> dict[tuple[int, str, int], list[Array]]:
  two = strategy.virtual_cpus(2)
  return {
    (replicas.num_replicas_in_sync, scope, fused_from): stepped(replicas, scope, fused_from)
    for replicas in (tf.distribute.get_strategy(), two)
    for scope in ("layer", "global")
    for fused_from in (1, 1 << 20)
  }


def test_compiled_or_not_on_one_and_two_replicas_a_step_is_that_of_numpy() -> None:
  clip, found = OperatorNorm(), in_fresh_process(in_every_way)
  touched = [START[0], START[1], START[2][ROWS]]
  own = [max(1, twin(*pair, clip)) for pair in zip(touched, MOVES, strict=True)]
  assert min(own) > 1
  for (replicas, scope, fused_from), after in found.items():
    by = own if scope == "layer" else [max(own)] * 3
    wanted = [start.astype(np.float64) for start in START]
    wanted[0] -= RATE * MOVES[0] / by[0]
    wanted[1] -= RATE * MOVES[1] / by[1]
    wanted[2][ROWS] -= RATE * MOVES[2] / by[2]
    for value, expected in zip(after, wanted, strict=True):
      np.testing.assert_allclose(
        value, expected, rtol=1e-5, atol=1e-6, err_msg=f"{replicas} {scope} {fused_from}"
      )
  assert len(found) == 8
