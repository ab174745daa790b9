import math

import numpy as np
import pytest
import tensorflow as tf

from ranking import strategy
from ranking.array import Array
from ranking.stability import health
from tests.fresh_process import in_fresh_process

TASKS = ["click", "rating"]
TASK_LOSSES = np.array([[0.25, 0.5], [0.125, 2.0]])  # of two replicas
CONSTANT_LOSSES = np.array([0.75, 3.0])
OF_TASKS = np.stack(  # loss, constant's, labels and positives of both tasks, of two replicas
  [TASK_LOSSES, TASK_LOSSES + 1, np.array([[4.0, 3.0], [2.0, 3.0]]), np.array([[1.0, 2.0]] * 2)],
  axis=1,
)
OUTPUTS = np.array([[[1.0, 5.0], [4.0, 5.5]], [[0.0, 2.0], [0.5, 9.0]]])
GRADIENTS = [np.array([[3.0, 0.0], [0.0, 0.0]]), np.array([4.0, 12.0])]
FACTORS = [1.0, 0.125]
SPREADS = [3.0, 7.0]  # of the outputs: the widest task of each replica


def measure(replica: int | tf.Tensor) -> tf.Tensor:
  """What a replica measures."""
  return health.measure(
    tf.reduce_sum(tf.constant(TASK_LOSSES, tf.float32)[replica]),
    tf.constant(CONSTANT_LOSSES, tf.float32)[replica],
    tf.constant(OF_TASKS, tf.float32)[replica],
    tf.constant(OUTPUTS, tf.float32)[replica],
    [tf.constant(gradient, tf.float32) for gradient in GRADIENTS],
    [tf.constant(factor) for factor in FACTORS],
    tf.constant(True),
  )


def measure_on_two_replicas() -> list[Array]:
  """What each of two replicas measures."""
  two = strategy.virtual_cpus(2)

  def on_this_replica() -> tf.Tensor:
    return measure(tf.distribute.get_replica_context().replica_id_in_sync_group)

  vectors = tf.function(lambda: two.run(on_this_replica))()
  return [vector.numpy() for vector in two.experimental_local_results(vectors)]


def by_name(vector: Array) -> dict[str, float]:
  """The entries of a health vector."""
  return dict(zip(health.names(TASKS), map(float, vector), strict=True))


def of_tasks(values: Array) -> dict[str, float]:
  """The entries of [4, 2] values."""
  whats = health.OF_TASK[:4]
  return {
    f"{task}/{what}": values[k, j] for k, what in enumerate(whats) for j, task in enumerate(TASKS)
  }


def test_names_are_in_the_order_of_the_vector() -> None:
  assert health.names(TASKS) == (
    *("loss", "constant_loss", "gradient_norm", "clipping_factor", "output_spread", "skipped"),
    *("click/loss", "rating/loss", "click/constant_loss", "rating/constant_loss"),
    *("click/labels", "rating/labels", "click/positives", "rating/positives"),
    *("click/output_spread", "rating/output_spread"),
  )


@pytest.mark.parametrize("replica", [0, 1])
def test_one_replica_measures_its_own_values(replica: int) -> None:
  one_of_two = {
    "loss": TASK_LOSSES[replica].sum(),
    "constant_loss": CONSTANT_LOSSES[replica],
    "gradient_norm": math.sqrt(3**2 + 4**2 + 12**2),
    "clipping_factor": 0.125,
    "output_spread": SPREADS[replica],
    "skipped": 1.0,
    **of_tasks(OF_TASKS[replica]),
    "click/output_spread": [3.0, 0.5][replica],
    "rating/output_spread": [0.5, 7.0][replica],
  }
  vector = measure(replica)
  assert vector.dtype == tf.float32
  assert by_name(vector.numpy()) == one_of_two


def test_two_replicas_measure_the_same_and_losses_are_summed() -> None:
  first, second = in_fresh_process(measure_on_two_replicas)
  np.testing.assert_array_equal(first, second)
  assert by_name(first) == {
    "loss": TASK_LOSSES.sum(),
    "constant_loss": CONSTANT_LOSSES.sum(),
    "gradient_norm": 13.0,  # the gradients are already summed
    "clipping_factor": 0.125,
    "output_spread": 7.0,  # of the rating: from 2 to 9, both of the second replica
    "skipped": 1.0,
    **of_tasks(OF_TASKS.sum(axis=0)),
    "click/output_spread": 4.0,
    "rating/output_spread": 7.0,
  }


@tf.function(reduce_retracing=True)
def measure_outputs(outputs: tf.Tensor) -> tf.Tensor:
  """As a step does, in a graph."""
  zero, taken = tf.constant(0.0), tf.constant(False)
  return health.measure(
    zero, zero, tf.zeros([4, 2]), outputs, [tf.zeros([1])], [tf.ones([])], taken
  )


def spread(outputs: Array) -> float:
  """The measured output_spread."""
  vector = measure_outputs(tf.constant(outputs, tf.float32))
  assert vector[health.NAMES.index("skipped")] == 0
  return float(vector[health.NAMES.index("output_spread")])


def test_replicas_of_one_row_each_are_compared_with_each_other() -> None:
  assert in_fresh_process(spread_of_two_single_rows) == pytest.approx(4.0)


def spread_of_two_single_rows() -> float:
  """With one row on each of two replicas."""
  two = strategy.virtual_cpus(2)

  def on_this_replica() -> tf.Tensor:
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    zero, outputs = tf.constant(0.0), tf.constant([[[1.0, 5.0]], [[2.0, 1.0]]])[replica]
    return health.measure(zero, zero, tf.zeros([4, 2]), outputs, [], [], tf.constant(False))

  vectors = tf.function(lambda: two.run(on_this_replica))()
  first, second = (vector.numpy() for vector in two.experimental_local_results(vectors))
  assert (first == second).all()
  entries = dict(zip(health.NAMES, first, strict=False))
  assert (entries["gradient_norm"], entries["clipping_factor"]) == (0.0, 1.0)  # nothing is clipped
  return float(entries["output_spread"])


def test_outputs_that_are_equal_in_every_row_have_no_spread() -> None:
  assert spread(np.array([[1.0, 7.0]] * 3)) == 0  # tasks differ, rows do not
  assert spread(np.array([[1.0, 7.0], [1.0, 7.0], [1.0, 7.5]])) == 0.5
  assert spread(np.array([[-5.0, -7.0]] * 3)) == 0
  assert spread(np.array([[-5.0, -7.0], [-5.25, -7.0]])) == 0.25


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_outputs_that_are_not_finite_show_in_the_spread(bad: float) -> None:
  assert not math.isfinite(spread(np.array([[0.0, 1.0], [bad, 1.0]])))
  assert not math.isfinite(spread(np.array([[0.0, bad], [0.0, bad]])))


def test_all_finite_looks_at_every_entry_of_every_weight() -> None:
  weights = [tf.Variable(np.zeros((3, 2)), dtype=tf.float32), tf.Variable([1e38, -1e38])]
  assert bool(health.all_finite(weights))
  for bad in (math.nan, math.inf, -math.inf):
    for weight, place in ((weights[0], (2, 1)), (weights[1], (0,))):
      before = weight.numpy()
      spoilt = before.copy()
      spoilt[place] = bad
      weight.assign(spoilt)
      assert not bool(health.all_finite(weights))
      weight.assign(before)
  assert bool(health.all_finite(weights))
