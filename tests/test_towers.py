"""A tower is of one task alone, and starts as its best constant predictor."""

import numpy as np
import pytest
import tensorflow as tf

from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.towers import Towers
from tests.toy_model import (
  TASKS,
  all_parts,
  batch,
  dense,
  schema,
  weights,
  without_special_weights,
)


def test_outputs_come_in_the_order_of_the_tasks() -> None:
  network = without_special_weights(all_parts().build(schema()))
  for variable in network.trainable_variables:
    for k, task in enumerate(TASKS):
      if f"/{task.name}_logit/" in variable.name:
        variable.assign(tf.fill(variable.shape, float(k) if "bias" in variable.name else 0.0))
  np.testing.assert_array_equal(network(batch(network.schema, 5)), [[0, 1, 2]] * 5)


def test_a_new_model_predicts_near_the_best_constants() -> None:
  network = Model(dense(8), Inputs(20)).build(schema())
  for task in TASKS:
    (_, bias) = weights(network, f"{task.name}_logit")
    expected = np.log(0.25 / 0.75) if task.kind == "binary" else 0.25
    np.testing.assert_allclose(bias, [expected], rtol=1e-6)


@pytest.mark.parametrize("task", range(3))
def test_an_output_depends_on_the_tower_of_its_own_task_only(task: int) -> None:
  network = without_special_weights(all_parts().build(schema()))
  rows = batch(network.schema)
  with tf.GradientTape() as tape:
    output = tf.reduce_sum(network(rows)[:, task])
  reached = tape.gradient(
    output, network.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
  )
  for variable, gradient in zip(network.trainable_variables, reached, strict=True):
    owners = [k for k, t in enumerate(TASKS) if f"/{t.name}_" in variable.name]
    values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
    assert bool(tf.reduce_any(values != 0.0)) == (owners in ([], [task])), variable.name


def test_without_a_task_its_tower_is_not_counted_and_its_constant_loss_not_either() -> None:
  of = schema()
  rows = batch(of, 64)
  model = Model(dense(12, 9), Inputs(30), Towers([5]))
  networks = [model.build(given) for given in (of, of.without_tasks(["rating"]))]
  counts = [network.parameter_counts() for network in networks]
  assert counts[0]["embedding"] == counts[1]["embedding"]
  assert counts[0]["non_embedding"] - counts[1]["non_embedding"] == (9 * 5 + 5) + (5 + 1)
  less = {name: tf.gather(rows[name], [0, 2], axis=1) for name in ("labels", "weights")}
  whole, part = networks[0].constant_losses(rows), networks[1].constant_losses({**rows, **less})
  np.testing.assert_array_equal(part, whole.numpy()[[0, 2]])
