"""Attention over recent items equals its formulas, and sees the items that there are, in order."""

import numpy as np
import pytest
import tensorflow as tf

from ranking.array import Array
from ranking.data.schema import Schema
from ranking.models.attention import Attention
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.network import Network
from ranking.models.settings import ModelError
from tests.toy_model import (
  LENGTH,
  RECENT,
  batch,
  dense,
  schema,
  weights,
  with_history,
  without_special_weights,
)


def rows_of(of: Schema, rows: int = 32) -> dict[str, tf.Tensor]:
  """A batch with histories of 0 to LENGTH items; what stands beside no item is padding too."""
  made = batch(of, rows)
  bags = made["bags"].numpy()
  there = np.arange(LENGTH) < np.arange(rows)[:, None] % (LENGTH + 1)
  for k in range(3):
    of_bag = bags[:, 2 + k * LENGTH : 2 + (k + 1) * LENGTH]
    of_bag[:] = np.where(there, np.maximum(of_bag, 1), 0)
  return {**made, "bags": tf.constant(bags)}


def pooled(network: Network, rows: dict[str, tf.Tensor], item: int = 1) -> Array:
  """What attention makes of the histories, float64 [b, w], row by row and item by item."""
  (table,), (place,), (age,), (did,) = (
    weights(network, name)
    for name in ("embedding_id_1", "attention_place", "attention_age", "attention_actions")
  )
  kernel, bias = weights(network, "attention_1")
  (score,) = weights(network, "attention_score")
  made = []
  for ids, bags in zip(rows["ids"].numpy(), rows["bags"].numpy(), strict=True):
    query = table[ids[item]]
    items, ages, actions = bags[2:].reshape(3, LENGTH)
    vectors = [
      table[items[k]] + place[k] + age[ages[k]] + did[actions[k]] for k in range(LENGTH) if items[k]
    ]
    scores = [
      np.maximum(np.concatenate([h, query, h * query]) @ kernel + bias, 0) @ score for h in vectors
    ]
    shares = np.exp(np.array(scores))
    made.append(sum(a * h for a, h in zip(shares, vectors, strict=True)) / max(shares.sum(), 1e-9))
  return np.array([np.broadcast_to(x, table.shape[1:]) for x in made])


@pytest.fixture(scope="module")
def network() -> Network:
  made = Model(dense(8), Inputs(40, attention=Attention([6]))).build(with_history())
  return without_special_weights(made)


def inputs(network: Network, rows: dict[str, tf.Tensor]) -> Array:
  return np.asarray(network._input_layers(rows))


def columns(network: Network, rows: dict[str, tf.Tensor]) -> slice:
  """Where x0 holds what attention made: behind three ids and a bag, before two dense columns."""
  width = weights(network, "embedding_id_1")[0].shape[1]
  return slice(-2 - width, -2)


def test_it_equals_its_formulas_and_a_user_without_history_has_zeros(network: Network) -> None:
  rows = rows_of(network.schema)
  x0 = inputs(network, rows)
  assert x0.shape == (32, network.input_width) == (32, 40)
  seen = x0[:, columns(network, rows)]
  np.testing.assert_allclose(seen, pooled(network, rows), rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(seen[:: LENGTH + 1], 0)
  assert np.all(np.abs(seen[1 :: LENGTH + 1]).max(axis=1) > 1e-3)


def test_padding_has_no_part_and_order_and_the_rows_own_item_have_one(network: Network) -> None:
  rows = rows_of(network.schema)
  mine = columns(network, rows)
  before = inputs(network, rows)[:, mine]
  bags = rows["bags"].numpy()
  items, ages, actions = (bags[:, 2 + k * LENGTH : 2 + (k + 1) * LENGTH].copy() for k in range(3))
  full = (items > 0).all(axis=1)

  def changed(**other: Array) -> Array:
    parts = [other.get("items", items), other.get("ages", ages), other.get("actions", actions)]
    of_bags = np.concatenate([bags[:, :2], *parts], axis=1)
    return inputs(network, {**rows, "bags": tf.constant(of_bags)})[:, mine]

  nowhere = items == 0
  beside = changed(ages=np.where(nowhere, 3, ages), actions=np.where(nowhere, 2, actions))
  np.testing.assert_array_equal(beside, before)
  turned = changed(items=items[:, ::-1], ages=ages[:, ::-1], actions=actions[:, ::-1])
  assert np.all(np.abs(turned - before)[full].max(axis=1) > 1e-4)
  for what in ("ages", "actions"):
    other = changed(
      **{what: np.where(nowhere, 0, 1 + {"ages": ages, "actions": actions}[what] % 4)}
    )
    assert np.all(np.abs(other - before)[full].max(axis=1) > 1e-4), what
  ids = rows["ids"].numpy()
  ids[:, 1] = (ids[:, 1] + 1) % network.schema.features[1].vocabulary_size
  asked = inputs(network, {**rows, "ids": tf.constant(ids)})[:, mine]
  assert np.all(np.abs(asked - before)[full].max(axis=1) > 1e-5)


def test_every_variable_learns_and_tables_are_known_as_such(network: Network) -> None:
  rows = rows_of(network.schema)
  with tf.GradientTape() as tape:
    loss = network.compute_loss(rows)
  found = tape.gradient(loss, network.trainable_variables)
  for variable, gradient in zip(network.trainable_variables, found, strict=True):
    assert np.any(tf.convert_to_tensor(gradient)), variable.name
    assert network.is_embedding(variable) == ("/embeddings" in variable.name), variable.name


def test_the_same_vectors_are_looked_up_where_tables_are_joined(network: Network) -> None:
  made = Model(dense(8), Inputs(40, joined_from=2, attention=Attention([6])))
  joined = without_special_weights(made.build(network.schema))
  count = joined.parameter_counts()
  assert count == network.parameter_counts()
  assert len(joined.trainable_variables) < len(network.trainable_variables)


def test_details_that_are_left_out_are_not_looked_at() -> None:
  made = Model(dense(8), Inputs(40, RECENT[1:], attention=Attention([6]))).build(with_history())
  names = {v.name for v in made.trainable_variables}
  assert "network/attention_place/embeddings:0" in names
  assert not any("attention_age" in name or "attention_actions" in name for name in names)


@pytest.mark.parametrize(
  ("of", "without", "message"),
  [
    (schema(), [], r"^Inputs.attention is set, and toy was prepared without details of a user's"),
    (with_history(), ["id_1"], r"^Inputs.attention needs id_1, which Inputs.without_features name"),
    (with_history(), ["recent_id_1"], r"^Inputs.attention needs recent_id_1, which Inputs.withou"),
  ],
)
def test_attention_to_nothing_is_refused(of: Schema, without: list[str], message: str) -> None:
  with pytest.raises(ModelError, match=message):
    Inputs(40, without, attention=Attention([6])).build(of, 1.0)


@pytest.mark.parametrize(
  ("units", "message"), [([], "is empty; give it a width"), ([0], "is .0.;")]
)
def test_hidden_layers_that_cannot_be_are_refused(units: list[int], message: str) -> None:
  with pytest.raises(ModelError, match=f"^Attention.hidden_units {message}"):
    Attention(units)
