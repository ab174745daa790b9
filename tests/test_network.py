"""A built model predicts and loses as its formulas say."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking.array import Array
from ranking.data.schema import Feature, Schema
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.network import Network
from ranking.models.towers import Towers
from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy
from ranking.tasks import LabelStatistics, Task
from tests.toy_model import (
  KNOWN,
  TASKS,
  all_parts,
  batch,
  dense,
  schema,
  weights,
  without_special_weights,
)


@pytest.fixture
def network() -> Network:
  return without_special_weights(all_parts().build(schema()))


def part(of: dict[str, tf.Tensor], rows: slice) -> dict[str, tf.Tensor]:
  """Some rows of a batch, weights as they are."""
  return {name: value[rows] for name, value in of.items()}


def numpy_outputs(network: Network, rows: dict[str, tf.Tensor]) -> Array:
  """The forward pass in float64: the paper's formulas, layer by layer."""
  ids, bags, numbers = (rows[name].numpy() for name in ("ids", "bags", "dense"))
  parts = []
  for k, feature in enumerate(network.schema.of_kind("categorical")):
    parts.append(weights(network, f"embedding_{feature.name}")[0][ids[:, k]])
  for feature in network.schema.of_kind("bag"):
    mine, bags = bags[:, : feature.length], bags[:, feature.length :]
    (table,) = weights(network, f"embedding_{feature.name}")
    parts.append(
      np.array([table[bag[bag != 0]].mean(0) if bag.any() else 0 * table[0] for bag in mine])
    )
  x = x0 = np.concatenate([*parts, numbers], axis=1)
  for k in (1, 2):
    kernel, bias = weights(network, f"cross_{k}")
    x = x0 * (x @ kernel + bias) + x
  gamma, beta = weights(network, "layer_norm")
  x = gamma * (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-3) + beta
  for k in (1, 2):
    x = relu_layer(network, f"hidden_{k}", x)
  outputs = []
  for task in network.schema.tasks:
    kernel, bias = weights(network, f"{task.name}_logit")
    outputs.append(relu_layer(network, f"{task.name}_tower_1", x) @ kernel + bias)
  return np.concatenate(outputs, axis=1)


def relu_layer(network: Network, name: str, x: Array) -> Array:
  """max(0, x W + b)."""
  kernel, bias = weights(network, name)
  return np.maximum(x @ kernel + bias, 0)


def numpy_losses(network: Network, rows: dict[str, tf.Tensor]) -> Array:
  """Per task, the mean loss over the rows that have its label."""
  outputs, losses = numpy_outputs(network, rows), []
  for k, task in enumerate(network.schema.tasks):
    labelled = rows["weights"].numpy()[:, k] > 0
    y, x = rows["labels"].numpy()[labelled, k], outputs[labelled, k]
    p = 1 / (1 + np.exp(-x))
    entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    losses.append(np.mean(entropy if task.kind == "binary" else (y - x) ** 2))
  return np.array(losses)


def test_the_forward_pass_equals_its_formulas(network: Network) -> None:
  rows = batch(network.schema, 64)
  outputs = network(rows)
  assert outputs.dtype == tf.float32
  np.testing.assert_allclose(outputs, numpy_outputs(network, rows), rtol=1e-5, atol=1e-5)


def test_a_batch_of_one_row_is_the_row(network: Network) -> None:
  rows = batch(network.schema)
  alone = network(part(rows, slice(2, 3)))
  assert alone.shape == (1, 3)
  np.testing.assert_allclose(alone, network(rows)[2:3], rtol=1e-5, atol=1e-6)


def test_task_losses_are_means_over_the_labelled_rows(network: Network) -> None:
  rows = batch(network.schema, 64)
  losses = network.task_losses(rows, network(rows))
  np.testing.assert_allclose(losses, numpy_losses(network, rows), rtol=1e-5)


def test_a_rare_label_is_not_shrunk_and_a_missing_one_loses_nothing(network: Network) -> None:
  rows = batch(network.schema, 64)
  only_row_3 = np.zeros((64, 3), np.float32)
  only_row_3[3, :2] = 1.0  # one row has the first two labels, no row the third
  rows["weights"] = tf.constant(only_row_3)
  losses = network.task_losses(rows, network(rows)).numpy()
  alone = {**part(rows, slice(3, 4)), "weights": tf.ones([1, 3])}  # as if it had all labels
  np.testing.assert_allclose(losses[:2], numpy_losses(network, alone)[:2], rtol=1e-5)
  assert losses[2] == 0


def test_losses_of_two_halves_add_up_to_the_whole(network: Network) -> None:
  rows = batch(network.schema)
  halves = [part(rows, slice(0, 8)), part(rows, slice(8, 16))]
  for measure in (
    lambda given: network.task_losses(given, network(given)),
    network.constant_losses,
    network.compute_loss,
  ):
    np.testing.assert_allclose(sum(map(measure, halves)), measure(rows), rtol=1e-5)


def test_constant_losses_take_each_task_by_its_own_statistics() -> None:
  known = tuple(LabelStatistics(9, mean, 1.0) for mean in (0.5, -1.0, 0.1))
  of = Schema("toy", schema().features, TASKS, ("1", "2"), known)
  network = Model(dense(4), Inputs(20)).build(of)
  rows = batch(of)
  y, w = rows["labels"].numpy().astype(np.float64), rows["weights"].numpy()
  expected = [
    np.log(2),
    (w[:, 1] * (y[:, 1] + 1.0) ** 2).sum(),
    -(w[:, 2] * (y[:, 2] * np.log(0.1) + (1 - y[:, 2]) * np.log(0.9))).sum(),
  ]
  np.testing.assert_allclose(network.constant_losses(rows), expected, rtol=1e-5)


def test_the_loss_is_the_sum_of_task_losses_times_loss_weights(network: Network) -> None:
  rows = batch(network.schema)
  expected = numpy_losses(network, rows) @ [1.0, 2.0, 0.5]
  assert float(network.compute_loss(rows)) == pytest.approx(expected, rel=1e-5)
  assert float(network.weighted(tf.constant([1.0, 10.0, 100.0]))) == 1 + 20 + 50


def test_whole_loss_weights_may_be_written_as_integers() -> None:
  of = schema(tasks=(Task("click", "binary", 3), Task("rating", "regression", 1)))
  network = Model(dense(4), Inputs(20)).build(of)
  assert float(network.weighted(tf.constant([2.0, 5.0]))) == 11


def test_compile_and_fit_train_it(network: Network) -> None:
  rows = batch(network.schema, 64)
  before = float(network.compute_loss(rows))
  network.compile(ClippedOptimizer(Adagrad(), Clippy(), 0.05))
  data = tf.data.Dataset.from_tensors(rows).repeat(20)
  history = network.fit(data, epochs=2, verbose=0).history["loss"]
  after = float(network.compute_loss(rows))
  assert after < 0.9 * before
  assert history[1] < history[0]


def test_columns_and_tasks_may_have_any_name_and_tables_are_still_known() -> None:
  names = ("customer id", "Käufer", "customer#", "customer_", "a/b")
  of = Schema(
    dataset="toy",
    features=tuple(Feature(name, "categorical", 5) for name in names),
    tasks=(Task("was bought?", "binary"), Task("embedding_click", "binary")),
    day_names=("1", "2"),
    label_statistics=(KNOWN, KNOWN),
  )
  network = Model(dense(4), Inputs(20), Towers([3])).build(of)
  optimizer = ClippedOptimizer(Adagrad(), Clippy(), 0.05, exclude="/embeddings")
  network.compile(optimizer, run_eagerly=True)
  network.fit(tf.data.Dataset.from_tensors(batch(of)), verbose=0)
  tables = [variable for variable in network.trainable_variables if network.is_embedding(variable)]
  assert len(tables) == len(names)
  assert network.parameter_counts()["embedding"] == 5 * 20
  clipped = [v for v in network.trainable_variables if network.optimizer.is_clipped(v)]
  assert len(clipped) == len(network.trainable_variables) - len(names)


@pytest.mark.parametrize("left_out", ["zeal", "rating", "click"])
def test_without_a_task_the_rest_has_the_gradients_of_a_loss_weight_of_0(left_out: str) -> None:
  zero = tuple(
    dataclasses.replace(task, loss_weight=0.0) if task.name == left_out else task for task in TASKS
  )
  of, rows = schema(tasks=zero), batch(schema(), 64)
  kept = [k for k, task in enumerate(TASKS) if task.name != left_out]
  less = {**rows, **{name: tf.gather(rows[name], kept, axis=1) for name in ("labels", "weights")}}
  gradients = []
  for given, some in ((of, rows), (of.without_tasks([left_out]), less)):
    network = without_special_weights(all_parts().build(given))
    with tf.GradientTape() as tape:
      loss = network.compute_loss(some)
    found = tape.gradient(loss, network.trainable_variables)
    names = [variable.name for variable in network.trainable_variables]
    gradients.append(dict(zip(names, map(tf.convert_to_tensor, found), strict=True)))
  ignored, gone = gradients
  assert {name for name in ignored if f"/{left_out}_" in name} == ignored.keys() - gone.keys()
  assert len(ignored) - len(gone) == 4
  for name, gradient in gone.items():
    np.testing.assert_array_equal(gradient, ignored[name], err_msg=name)
    assert np.any(gradient), name


def test_in_bfloat16_layers_compute_in_16_bits_and_all_else_stays_float32() -> None:
  model = dataclasses.replace(all_parts(), precision="bfloat16")
  network = without_special_weights(model.build(schema()))
  assert tf_keras.mixed_precision.global_policy().name == "float32"
  rows = batch(network.schema, 64)
  assert {variable.dtype for variable in network.variables} == {tf.float32}
  assert network._body(network._input_layers(rows))[0].dtype == tf.bfloat16
  multiplying = [layer for layer in network._flatten_layers() if hasattr(layer, "kernel")]
  assert {layer.compute_dtype for layer in multiplying if "_logit" not in layer.name} == {
    "bfloat16"
  }
  assert len(multiplying) == 2 + 2 + 3 * 2
  with tf.GradientTape() as tape:
    outputs = network(rows, training=True)
    task_losses = network.task_losses(rows, outputs)
    loss = network.weighted(task_losses)
  assert {outputs.dtype, task_losses.dtype, loss.dtype} == {tf.float32}
  # 8 bits of mantissa: every layer rounds by up to 0.4 %.
  expected = numpy_outputs(network, rows)
  np.testing.assert_allclose(outputs, expected, atol=0.05 * np.abs(expected).max())
  assert np.any(np.abs(outputs - expected) > 1e-4)
  for variable, gradient in zip(
    network.trainable_variables, tape.gradient(loss, network.trainable_variables), strict=True
  ):
    values = tf.convert_to_tensor(gradient)
    assert values.dtype == tf.float32
    assert np.isfinite(values).all(), variable.name
    assert np.any(values), variable.name
