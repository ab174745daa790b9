"""The input is as wide as it is told, and holds what its features say."""

import numpy as np
import pytest
import tensorflow as tf

from ranking.array import Array
from ranking.data.schema import Feature, Schema
from ranking.models.inputs import Inputs, embedding_widths
from ranking.models.model import Model
from ranking.models.network import Network
from ranking.models.settings import ModelError
from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy
from tests.toy_model import (
  KNOWN,
  SIX,
  TASKS,
  all_parts,
  batch,
  dense,
  schema,
  without_special_weights,
)


@pytest.mark.parametrize("total", [5, 6, 7, 26, 100, 1650])
def test_embedding_widths_fill_the_input_exactly_and_none_is_empty(total: int) -> None:
  widths = embedding_widths(schema(categorical=4, bags=1), total)
  assert sum(widths.values()) == total
  assert min(widths.values()) >= 1


def test_a_larger_vocabulary_never_gets_a_narrower_embedding() -> None:
  features = tuple(Feature(f"f{k}", "categorical", 10**k) for k in range(1, 7))
  of = Schema("toy", features, TASKS, ("1", "2"), (KNOWN,) * 3)
  widths = list(embedding_widths(of, 1000).values())
  assert widths == sorted(widths)
  # One column each, and the others as the fourth root of the size.
  shares = (10.0 ** np.arange(1, 7)) ** 0.25
  np.testing.assert_allclose(np.array(widths) - 1, 994 * shares / shares.sum(), atol=1)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.125, 0.3])
def test_too_narrow_an_input_is_refused_with_the_least_width_that_will_do(scale: float) -> None:
  of = schema(categorical=3, bags=2, dense=300)
  with pytest.raises(ModelError) as refused:
    Inputs(900).build(of, scale / 3)
  message = str(refused.value)
  assert message.startswith("toy has 300 dense features and 5 embeddings, and the input ")
  least = int(message.removesuffix(" or more").rpartition(" ")[2])
  assert message.endswith(f"make Inputs.input_width {least} or more")
  assert Inputs(least).build(of, scale / 3).width >= 305
  with pytest.raises(ModelError, match=r"Inputs.input_width"):
    Inputs(least - 1).build(of, scale / 3)


def test_a_bag_is_the_mean_of_its_ids_and_padding_does_not_count() -> None:
  pooled = Inputs(3).build(schema(categorical=0, bags=1, dense=0), 1.0)
  bags = tf.constant([[2, 4], [5, 0], [0, 5], [3, 3], [0, 0]])
  rows = {"ids": tf.zeros([5, 0], tf.int32), "bags": bags, "dense": tf.zeros([5, 0])}
  pooled(rows)
  (table,) = pooled.trainable_variables
  table.assign(np.arange(18.0).reshape(6, 3))
  expected = [(table[2] + table[4]) / 2, table[5], table[5], table[3], tf.zeros(3)]
  np.testing.assert_array_equal(pooled(rows), expected)


LEFT_OUT = (["id_1"], ["bag_0"], ["dense_2"], ["id_0", "id_2", "bag_1", "dense_0", "dense_3"])


def without_columns(rows: dict[str, tf.Tensor], of: Schema, names: list[str]) -> dict[str, Array]:
  """A batch as a store without these features would have it."""
  kept: dict[str, list[int]] = {"ids": [], "bags": [], "dense": []}
  place = {"ids": 0, "bags": 0, "dense": 0}
  arrays = {"categorical": "ids", "bag": "bags", "dense": "dense"}
  for feature in of.features:
    array = arrays[feature.kind]
    if feature.name not in names:
      kept[array] += range(place[array], place[array] + feature.length)
    place[array] += feature.length
  return {**rows, **{name: tf.gather(rows[name], k, axis=1) for name, k in kept.items()}}


@pytest.mark.parametrize("names", LEFT_OUT, ids=" ".join)
def test_a_model_without_features_is_that_of_a_log_that_never_had_them(names: list[str]) -> None:
  of = schema()
  network = without_special_weights(all_parts(names).build(of))
  never = without_special_weights(all_parts().build(of.without_features(names)))
  shapes = [{v.name: v.shape for v in each.trainable_variables} for each in (network, never)]
  assert shapes[0] == shapes[1]
  assert not any(f"embedding_{name}/" in variable for name in names for variable in shapes[0])
  assert network.parameter_counts() == never.parameter_counts()
  rows = batch(of, 64)
  np.testing.assert_array_equal(network(rows), never(without_columns(rows, of, names)))


@pytest.mark.parametrize("names", LEFT_OUT, ids=" ".join)
def test_a_feature_that_is_left_out_has_no_influence(names: list[str]) -> None:
  of = schema()
  network = without_special_weights(all_parts(names).build(of))
  plain = without_special_weights(all_parts().build(of))
  rows, other = batch(of, 64), batch(of, 64, seed=1)
  mixed: dict[str, tf.Tensor] = {}
  for array, kind in (("ids", "categorical"), ("bags", "bag"), ("dense", "dense")):
    out = np.concatenate([[f.name in names] * f.length for f in of.of_kind(kind)])
    mixed[array] = tf.where(out, other[array], rows[array])
  np.testing.assert_array_equal(network(mixed), network(rows))
  assert np.any(plain(mixed) != plain(rows))


def test_the_others_fill_the_input_of_table_1_when_a_feature_is_left_out() -> None:
  of = schema(30, 5, 12, SIX)
  names = ["id_29", "bag_0", "dense_11"]
  counts = Model(dense(512, 512), Inputs(without_features=names)).build(of).parameter_counts()
  assert counts["non_embedding"] == 1_111_046
  widths = embedding_widths(of.without_features(names), 1650 - 11)
  assert sum(widths.values()) == 1650 - 11
  sizes = {feature.name: feature.vocabulary_size for feature in of.features}
  assert counts["embedding"] == sum(sizes[name] * width for name, width in widths.items())


@pytest.mark.parametrize(
  ("names", "message"),
  [
    (["bag_00"], r"^Inputs.without_features: no feature 'bag_00'; the nearest is 'bag_0'$"),
    ("id_0", r"^Inputs.without_features is 'id_0'; make it a list of names of features$"),
    (["id_0", "bag_0"], r"^no feature of toy has an embedding to fill the input; keep one in Inp"),
  ],
)
def test_a_feature_that_cannot_be_left_out_is_refused(names: list[str], message: str) -> None:
  with pytest.raises(ModelError, match=message):
    Inputs(20, names).build(schema(1, 1), 1.0)


def joined_as(separate: Network, joined: Network) -> dict[str, Array]:
  """The tables of a model with a variable for each feature, put together as another has them."""
  values = {v.name: v.numpy() for v in separate.trainable_variables if separate.is_embedding(v)}
  names = [f.name for kind in ("categorical", "bag") for f in separate.schema.of_kind(kind)]
  tables = [values[f"network/embedding_{name}/embeddings:0"] for name in names]
  return {
    variable.name: np.concatenate([t for t in tables if t.shape[1] == variable.shape[1]])
    for variable in joined.trainable_variables
    if joined.is_embedding(variable)
  }


def test_many_tables_of_one_width_are_one_variable_that_learns_as_they_do() -> None:
  of = schema(9, 4, 4)
  separate, joined = (
    without_special_weights(Model(dense(8), Inputs(40, joined_from=least)).build(of))
    for least in (14, 13)
  )
  tables = joined_as(separate, joined)
  assert len(tables) == 3
  assert all(name.startswith("network/embeddings_width_") for name in tables)
  assert joined.parameter_counts() == separate.parameter_counts()
  for variable in joined.trainable_variables:
    if variable.name in tables:
      variable.assign(tables[variable.name])
  optimizers = [ClippedOptimizer(Adagrad(), Clippy(), 0.1) for _ in range(2)]
  for seed in range(3):
    rows = batch(of, 64, seed)
    np.testing.assert_array_equal(joined(rows), separate(rows))
    for network, optimizer in zip((separate, joined), optimizers, strict=True):
      with tf.GradientTape() as tape:
        loss = network.compute_loss(rows, training=True)
      optimizer.minimize(loss, network.trainable_variables, tape)
  for variable in joined.trainable_variables:
    assert joined.is_embedding(variable) == (not optimizers[1].is_clipped(variable))
  for name, expected in joined_as(separate, joined).items():
    (found,) = (v for v in joined.trainable_variables if v.name == name)
    np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)
    assert np.any(expected != tables[name])


def test_a_log_that_comes_with_the_trainer_keeps_a_variable_for_each_feature() -> None:
  names = {v.name for v in Model(dense(4), Inputs(200)).build(schema(40, 5)).trainable_variables}
  assert sum("/embedding_" in name for name in names) == 45
