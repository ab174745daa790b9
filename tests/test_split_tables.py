"""A table that is split over devices computes and learns what one table does."""

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking import one_device, strategy
from ranking.array import Array
from ranking.data.schema import Schema
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.network import Network
from ranking.models.settings import ModelError
from ranking.models.split import Split, SplitEmbedding
from ranking.optimizers import (
  AdaGC,
  Adagrad,
  Adam,
  ClippedOptimizer,
  Clippy,
  GradientClipping,
)
from ranking.optimizers.grad_norm import GradNorm
from ranking.optimizers.row_adagrad import RowWiseAdagrad
from ranking.training import checkpoint
from ranking.training.step import compile_steps, training_step
from tests import toy_model
from tests.fresh_process import in_fresh_process

STEPS, ROWS, PARTS, REPLICAS = 3, 16, 3, 2
LARGE = 7  # rows: of the tables of the toy schema that are split
CLIPPY = {"direction": Adagrad(), "clip": Clippy(0.1, 0.05)}
OPTIMIZERS: dict[str, dict[str, Any]] = {
  "clippy, averages, micro-batches": {**CLIPPY, "use_ema": True, "micro_batches": 3},
  "one number a row": {"direction": RowWiseAdagrad(), "clip": AdaGC(0.9, 3.0, 0.75, 1)},
  "all rows move, one factor": {
    "direction": Adam(0.75, 0.875, 1e-2),
    "clip": GradientClipping(0.5),
    "scope": "global",
  },
}
Numbers = dict[str, Array]


def log() -> Schema:
  return toy_model.schema(categorical=2, bags=2, dense=2)


def build(
  replicas: tf.distribute.Strategy, split: Split | None, **more: Any
) -> tuple[Network, ClippedOptimizer]:
  """A network whose weights are the same however its tables are split, and its optimizer."""
  with replicas.scope():
    network = Model(toy_model.dense(4), Inputs(24, split=split)).build(log())
    values, random = whole(network.trainable_variables), np.random.default_rng(0)
    for name in sorted(values):
      values[name] = random.normal(size=values[name].shape).astype(np.float32)
    for variable in network.trainable_variables:
      table, part = parted(variable)
      variable.assign(values[table] if part is None else values[table][part::PARTS])
    optimizer = ClippedOptimizer(learning_rate=0.125, **more)
    optimizer.build(network.trainable_variables)
  return network, optimizer


def parted(variable: tf.Variable) -> tuple[str, int | None]:
  """What a variable is called, and which part of it this is."""
  name, _, part = variable.name.removesuffix(":0").rpartition("embeddings_")
  return (f"{name}embeddings", int(part)) if name else (part, None)


def whole(variables: Any) -> Numbers:
  """Variables by name, with parts put together."""
  made: dict[str, Any] = {}
  for variable in variables:
    name, part = parted(variable)
    made.setdefault(name, {})[part] = variable.numpy()
  for name, parts in made.items():
    if None in parts:
      made[name] = parts[None]
    elif name.startswith("clipping_factor") or parts[0].ndim == 0:
      made[name] = np.array(min(parts.values()))
    else:
      rows = sum(len(part) for part in parts.values())
      joined = np.zeros((rows, *parts[0].shape[1:]), parts[0].dtype)
      for number, part in parts.items():
        joined[number::PARTS] = part
      made[name] = joined
  return made


def train(
  replicas: tf.distribute.Strategy, network: Network, optimizer: ClippedOptimizer, steps: range
) -> None:
  """Takes steps in one call, so that they are a loop in a graph."""
  count = replicas.num_replicas_in_sync
  shares: list[dict[str, Array]] = []
  for k in steps:
    batch = {name: value.numpy() for name, value in toy_model.batch(log(), ROWS, k).items()}
    size = ROWS // count
    shares += [{n: v[r * size : (r + 1) * size] for n, v in batch.items()} for r in range(count)]
  stacked = {name: np.stack([share[name] for share in shares]) for name in shares[0]}
  data = iter(
    replicas.distribute_datasets_from_function(
      lambda context: tf.data.Dataset.from_tensor_slices(stacked)
    )
  )
  take = compile_steps(network, optimizer, replicas, {})
  taken = take(data, tf.constant(len(steps), tf.int32), False)
  assert bool(taken.finite)


def trained(replicas: tf.distribute.Strategy, split: Split | None, **more: Any) -> Numbers:
  """Weights and all that the optimizer keeps, after the steps."""
  network, optimizer = build(replicas, split, **more)
  train(replicas, network, optimizer, range(STEPS))
  return whole([*network.trainable_variables, *optimizer.numbers])


def gone_on(two: tf.distribute.Strategy, folder: str) -> list[Numbers]:
  """All steps on two devices; and the last on one, from a checkpoint of the two."""
  split, ends = Split(PARTS, LARGE), []
  network, optimizer = build(two, split, **CLIPPY)
  train(two, network, optimizer, range(2))
  checkpoint.save(Path(folder), 2, [*network.variables, *optimizer.numbers], {})
  train(two, network, optimizer, range(2, STEPS))
  ends.append(whole([*network.trainable_variables, *optimizer.numbers]))
  one = tf.distribute.get_strategy()
  network, optimizer = build(one, split, **CLIPPY)
  checkpoint.restore(Path(folder), [*network.variables, *optimizer.numbers], print)
  train(one, network, optimizer, range(2, STEPS))
  return [*ends, whole([*network.trainable_variables, *optimizer.numbers])]


def everything() -> dict[str, Any]:
  """All that the tests below look at, of one process."""
  several, one = strategy.virtual_cpus(REPLICAS), tf.distribute.get_strategy()
  tf.get_logger().setLevel("ERROR")
  split = Split(PARTS, LARGE)
  network, optimizer = build(several, split, **CLIPPY)
  variables = [*network.trainable_variables, *optimizer.numbers]
  workers = tf.distribute.MultiWorkerMirroredStrategy
  with pytest.raises(ModelError) as refused:
    build(workers(), split, **CLIPPY)
  with tempfile.TemporaryDirectory() as folder:
    ends = gone_on(several, folder)
  return {
    "ends": {
      name: [trained(one, None, **more), trained(several, split, **more)]
      for name, more in OPTIMIZERS.items()
    },
    "places": {v.name: one_device.device_of(v) for v in variables},
    "refusal": str(refused.value),
    "gone on": ends,
  }


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
  return in_fresh_process(everything)


def assert_alike(one: Numbers, other: Numbers) -> None:
  assert one.keys() == other.keys()
  for name, value in one.items():
    np.testing.assert_allclose(other[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_split_over_devices_a_table_learns_what_one_learns_on_one(
  seen: dict[str, Any], name: str
) -> None:
  one, split = seen["ends"][name]
  assert any("embeddings" in name for name in one)
  assert_alike(one, split)


def test_each_part_and_its_slots_lie_on_one_device_in_turn(seen: dict[str, Any]) -> None:
  places = {name: place for name, place in seen["places"].items() if place is not None}
  parts = [name for name in places if "embeddings_" in name and "/accumulator" not in name]
  slots = [name for name in places if name.startswith("accumulator/")]
  assert len(slots) == len(parts) - len(slots) > 0
  for name, place in places.items():
    assert place.endswith(f"CPU:{int(name.removesuffix(':0')[-1]) % REPLICAS}"), (name, place)
  assert all("embeddings_" in name for name in places)


def test_a_run_goes_on_from_two_devices_on_one(seen: dict[str, Any]) -> None:
  assert_alike(*seen["gone on"])


def test_workers_are_told_that_their_devices_do_not_reach_each_other(seen: dict[str, Any]) -> None:
  said = seen["refusal"]
  assert "do not reach each other's variables; choose HARDWARE=gpus or set" in said
  assert len(said.splitlines()) == 1


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_lookups_and_gradients_are_those_of_keras(
  rows: int, parts: int, width: int, seed: int
) -> None:
  parts = min(parts, rows)
  random = np.random.default_rng(seed)
  table = random.normal(size=(rows, width)).astype(np.float32)
  ids = tf.constant(random.integers(0, rows, (3, 2)), tf.int32)
  towards = tf.constant(random.normal(size=(3, 2, width)), tf.float32)
  split = SplitEmbedding(rows, width, Split(parts, parts), "split")
  split.build(tf.TensorShape([None]))
  for number, part in enumerate(split.embeddings):
    part.assign(table[number::parts])
  plain = tf_keras.layers.Embedding(rows, width, weights=[table])
  with tf.GradientTape() as tape:
    found = split(ids)
    loss = tf.reduce_sum(found * towards)
  np.testing.assert_array_equal(found, plain(ids))
  gradients = tape.gradient(loss, split.embeddings)
  wanted = np.zeros_like(table)
  np.add.at(wanted, ids.numpy(), towards.numpy())
  for number, gradient in enumerate(gradients):
    own = tf.convert_to_tensor(gradient)
    np.testing.assert_allclose(own, wanted[number::parts], rtol=1e-6, atol=1e-6)


def test_tables_of_so_many_rows_or_more_are_split_and_all_of_one_size_count_the_same() -> None:
  plain = Model(toy_model.dense(4), Inputs(24)).build(log())
  split = Model(toy_model.dense(4), Inputs(24, split=Split(PARTS, LARGE))).build(log())
  assert split.parameter_counts() == plain.parameter_counts()
  names = {split.short_name(v) for v in split.trainable_variables if split.is_embedding(v)}
  rows = {f.name: f.vocabulary_size for f in log().features if f.vocabulary_size}
  for name, size in rows.items():
    parts = {f"embedding_{name}/embeddings_{k}" for k in range(PARTS)}
    assert (parts if size >= LARGE else {f"embedding_{name}/embeddings"}) <= names
  assert min(rows.values()) < LARGE <= max(rows.values())


@pytest.mark.parametrize(
  ("given", "said"),
  [
    ({"parts": 0}, "Split.parts is 0; make it a whole number"),
    ({"parts": 2.0}, "Split.parts is 2.0; make it"),
    ({"from_rows": 0}, "Split.from_rows is 0; make it"),
    ({"parts": 8, "from_rows": 7}, "a part could have no row; make from_rows 8 or more"),
  ],
)
def test_what_cannot_be_split_is_refused_in_one_line(given: dict[str, Any], said: str) -> None:
  with pytest.raises(ModelError) as refused:
    Split(**given)
  assert said in str(refused.value)
  assert len(str(refused.value).splitlines()) == 1


def test_anything_but_a_split_is_refused() -> None:
  with pytest.raises(ModelError, match=r"Inputs\.split is True; make it @Split"):
    Inputs(24, split=True)  # type: ignore[arg-type]


def test_a_part_has_no_more_than_its_share_of_rows() -> None:
  shapes = SplitEmbedding(11, 2, Split(4, 4), "t").shapes
  assert [rows for rows, _ in shapes] == [3, 3, 3, 2]
  assert sum(math.prod(shape) for shape in shapes) == 22


def test_parts_begin_with_different_numbers_as_small_as_those_of_keras() -> None:
  split = SplitEmbedding(400, 2, Split(4, 4), "t")
  split.build(tf.TensorShape([None]))
  begins = np.concatenate([part.numpy().ravel() for part in split.embeddings])
  assert len(np.unique(begins)) > 0.99 * len(begins)
  assert 0.04 < np.abs(begins).max() <= 0.05  # that of tf_keras.layers.Embedding


def test_gradients_at_the_towers_do_not_go_back_to_the_tables(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  """On replicas each way back gathers the gradients of a table that is split, used or not."""
  calls, gradients = [], SplitEmbedding._gradients

  def counted(layer: SplitEmbedding, *given: Any) -> Any:
    calls.append(layer.name)
    return gradients(layer, *given)

  monkeypatch.setattr(SplitEmbedding, "_gradients", counted)
  network, optimizer = build(tf.distribute.get_strategy(), Split(PARTS, LARGE), **CLIPPY)
  balance = GradNorm()
  balance.prepare(network)
  training_step(network, optimizer, {}, balance)(toy_model.batch(log(), ROWS), False)
  assert len(calls) == len(set(calls)) > 0
