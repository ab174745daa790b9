"""Batches: every row once, in the order of the window, from (seed, step) alone."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.array import Array
from ranking.data import window
from ranking.data.order import WindowOrder
from ranking.data.schema import DataError
from ranking.data.store import Day, DayStore
from ranking.data.window import Batches, dataset, eval_batches, train_batches
from tests.conftest import ROWS_PER_DAY
from tests.packing import with_changes

NAMES = ("ids", "bags", "dense", "labels", "weights")
TRAIN_ROWS = sum(ROWS_PER_DAY[:-1])  # 180
SIZE = 16  # 11 batches of the training days are whole, the last has 4 rows

seeds = st.integers(0, 2**63)
windows = st.one_of(st.sampled_from([0, 1, 24, math.inf]), st.floats(0, 24 * 30))


@pytest.fixture
def batches(tiny_store: DayStore) -> Batches:
  return train_batches(tiny_store.train_days, SIZE, window_hours=24, seed=1)


def numbered_days(sizes: Sequence[int]) -> list[Day]:
  """Days of a row a minute whose id and dense feature are the number of the row."""
  days = []
  for k, size in enumerate(sizes):
    rows = np.arange(size) + sum(sizes[:k])
    numbers = rows.astype(np.int32)[:, None]
    dense = numbers.astype(np.float32)
    labels = np.where(numbers % 3 == 0, np.nan, numbers % 2).astype(np.float32)
    days.append(
      Day(f"day {k}", numbers, np.zeros((size, 0), np.int32), dense, labels, rows * 60_000)
    )
  return days


def whole(days: Sequence[Day], name: str) -> Array:
  return np.concatenate([getattr(day, name) for day in days])


def assert_equal_batches(one: Sequence[Array], other: Sequence[Array]) -> None:
  for name, left, right in zip(NAMES, one, other, strict=True):
    np.testing.assert_array_equal(left, right, err_msg=name)
    assert left.dtype == right.dtype


def joined(parts: Sequence[Sequence[Array]]) -> list[Array]:
  return [np.concatenate(slices) for slices in zip(*parts, strict=True)]


@pytest.mark.parametrize("hours", [0, 24, math.inf])
def test_batches_hold_every_training_row_once(tiny_store: DayStore, hours: float) -> None:
  days = tiny_store.train_days
  batches = train_batches(days, SIZE, hours, seed=4)
  assert len(batches) == 12
  assert [batches.rows(step) for step in range(12)] == [SIZE] * 11 + [4]
  seen = joined([batches.batch(step) for step in range(12)])
  order = WindowOrder(days, hours, seed=4)[:]
  for name, array in zip(("ids", "bags", "dense"), seen, strict=False):
    np.testing.assert_array_equal(array[:TRAIN_ROWS], whole(days, name)[order])
  np.testing.assert_array_equal(seen[3][:TRAIN_ROWS], np.nan_to_num(whole(days, "labels")[order]))


@pytest.mark.parametrize("hours", [0, 6, 24, 96, math.inf])
def test_every_seed_trains_on_the_same_rows(tiny_store: DayStore, hours: float) -> None:
  days, seen = tiny_store.train_days, []
  for seed in (0, 1, 2**63):
    batches = train_batches(days, SIZE, hours, seed)
    rows = joined([batches.batch(step) for step in range(len(batches))])
    table = np.concatenate([array[:TRAIN_ROWS] for array in rows[:4]], axis=1)
    seen.append(table[np.lexsort(table.T)])
  np.testing.assert_array_equal(seen[0], seen[1])
  np.testing.assert_array_equal(seen[0], seen[2])


@pytest.mark.parametrize("hours", [0, 24, math.inf])
def test_days_in_memory_and_days_on_disk_make_the_same_batches(
  tiny_store: DayStore, hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
  held = train_batches(tiny_store.train_days, SIZE, hours, seed=4)
  on_disk = dataclasses.replace(held)
  assert len(held._stretches[1]) == 1
  monkeypatch.setattr(window, "HELD_BYTES", 0)
  assert len(on_disk._stretches[1]) == 3
  for step in range(len(held)):
    assert_equal_batches(held.batch(step), on_disk.batch(step))


def test_a_day_alone_is_not_copied(tiny_store: DayStore) -> None:
  day = tiny_store.eval_day
  _, (held,) = eval_batches(day, SIZE)._stretches
  assert held is day


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
  sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
  share=st.integers(1, 5),
  hosts=st.integers(1, 4),
  here=st.integers(1, 3),
  hours=windows,
  seed=seeds,
)
def test_the_slices_of_all_hosts_are_disjoint_and_hold_every_row_once(
  sizes: list[int], share: int, hosts: int, here: int, hours: float, seed: int
) -> None:
  parts = hosts * here
  batches = train_batches(numbered_days(sizes), share * parts, hours, seed)
  visited: list[int] = []
  for step in range(len(batches)):
    slices = [batches.batch(step, part, parts) for part in range(parts)]
    assert all(len(array) == share for arrays in slices for array in arrays)
    real = batches.rows(step)
    rows = np.concatenate([ids[:, 0] for ids, *_ in slices])
    assert len(set(rows[:real])) == real  # no row in two slices
    assert set(rows[real:]) <= {rows[0]}  # padding
    visited += rows[:real].tolist()
    weights = np.concatenate([arrays[4][:, 0] for arrays in slices])
    labelled = (rows % 3 != 0) & (np.arange(len(rows)) < real)
    np.testing.assert_array_equal(weights > 0, labelled)
    assert weights.sum() == pytest.approx(1.0 if labelled.any() else 0.0)
  assert visited == batches.order[:].tolist()
  assert sorted(visited) == list(range(sum(sizes)))


def test_weights_are_one_over_the_labelled_rows_of_the_whole_batch(
  tiny_store: DayStore, batches: Batches
) -> None:
  labels = whole(tiny_store.train_days, "labels")
  for step in range(len(batches)):
    known = ~np.isnan(labels[batches.order[step * SIZE : (step + 1) * SIZE]])
    *_, weights = batches.batch(step)
    np.testing.assert_array_equal(weights[: len(known)] > 0, known)
    for task, count in enumerate(known.sum(axis=0)):
      np.testing.assert_array_equal(
        weights[: len(known), task][known[:, task]], np.float32(1 / count)
      )


def test_a_task_without_a_label_in_the_batch_has_no_weight(tiny_store: DayStore) -> None:
  day = tiny_store.eval_day
  labels = np.array(day.labels)
  labels[:SIZE, 1] = np.nan
  *_, seen, weights = eval_batches(with_changes(day, labels=labels), SIZE).batch(0)
  np.testing.assert_array_equal(weights[:, 1], np.zeros(SIZE))
  np.testing.assert_array_equal(seen[:, 1], np.zeros(SIZE))
  assert weights[:, 0].sum() == pytest.approx(1)


def test_the_last_batch_is_padded_with_rows_that_count_nothing(batches: Batches) -> None:
  ids, bags, dense, labels, weights = batches.batch(len(batches) - 1)
  assert len(ids) == len(bags) == len(dense) == SIZE
  np.testing.assert_array_equal(weights[4:], np.zeros((12, 3)))
  np.testing.assert_array_equal(labels[4:], np.zeros((12, 3)))
  np.testing.assert_allclose(weights[:4].sum(axis=0), 1, rtol=1e-6)
  assert np.isfinite(dense).all()


@pytest.mark.parametrize("parts", [1, 2, 4, 16])
def test_parts_are_slices_that_make_the_whole_batch(batches: Batches, parts: int) -> None:
  for step in (0, 5, len(batches) - 1):
    slices = [batches.batch(step, part, parts) for part in range(parts)]
    assert {len(array) for part in slices for array in part} == {SIZE // parts}
    assert_equal_batches(joined(slices), batches.batch(step))


def test_a_batch_depends_on_seed_and_step_only(tiny_store: DayStore, batches: Batches) -> None:
  again = train_batches(DayStore(tiny_store.directory).train_days, SIZE, 24, seed=1)
  for step in (7, 0, 11, 7):  # whatever was asked for before
    assert_equal_batches(again.batch(step), batches.batch(step))
  other = train_batches(tiny_store.train_days, SIZE, 24, seed=2)
  assert any((one != two).any() for one, two in zip(other.batch(0), batches.batch(0), strict=True))


def test_a_batch_is_nobody_elses(tiny_store: DayStore) -> None:
  batches = eval_batches(tiny_store.eval_day, SIZE)
  before = [array.copy() for array in batches.batch(0)]
  for array in batches.batch(0):
    array[:] = 7
  assert_equal_batches(batches.batch(0), before)


def test_what_is_gathered_lies_where_tensorflow_need_not_copy_it(batches: Batches) -> None:
  for step in range(len(batches)):
    for array in batches.batch(step)[:4]:
      assert array.ctypes.data % 64 == 0
      assert array.flags.c_contiguous


def test_batches_of_day_n_are_its_rows_in_time_order(tiny_store: DayStore) -> None:
  batches = eval_batches(tiny_store.eval_day, SIZE)
  assert (len(batches), batches.rows(2)) == (3, 8)
  ids = np.concatenate([batches.batch(step)[0] for step in range(3)])
  np.testing.assert_array_equal(ids[:40], tiny_store.eval_day.ids)
  assert {batches.day(step) for step in range(3)} == {"2024-03-04"}


def test_a_batch_is_named_after_the_day_of_its_middle_row(tiny_store: DayStore) -> None:
  batches = train_batches(tiny_store.train_days, SIZE, window_hours=0, seed=0)
  days = np.repeat(["2024-03-01", "2024-03-02", "2024-03-03"], ROWS_PER_DAY[:-1])
  middles = [*range(8, 176, 16), 178]
  assert [batches.day(step) for step in range(12)] == days[middles].tolist()


def test_a_batch_size_that_fits_exactly_has_no_padding(tiny_store: DayStore) -> None:
  batches = train_batches(tiny_store.train_days, 60, window_hours=1, seed=0)
  assert (len(batches), batches.rows(2)) == (3, 60)
  one = train_batches(tiny_store.train_days, 1000, window_hours=1, seed=0)
  assert (len(one), one.rows(0)) == (1, TRAIN_ROWS)
  assert (one.batch(0)[4][TRAIN_ROWS:] == 0).all()


@pytest.mark.parametrize(("first", "last"), [(0, 12), (5, 8), (11, 12), (3, 3)])
def test_a_dataset_is_the_batches_of_its_steps_in_order(
  tiny_store: DayStore, batches: Batches, first: int, last: int
) -> None:
  elements = list(dataset(batches, tiny_store.schema, first, last).as_numpy_iterator())
  assert len(elements) == last - first
  for step, element in zip(range(first, last), elements, strict=True):
    assert list(element) == list(NAMES)
    assert_equal_batches(list(element.values()), batches.batch(step))


def test_training_may_stop_and_go_on_at_any_step(tiny_store: DayStore) -> None:
  def elements(first: int, last: int) -> list[list[Array]]:
    # Another process begins with nothing but the store's folder, the seed and the step.
    again = train_batches(DayStore(tiny_store.directory).train_days, SIZE, 24, seed=1)
    pipeline = dataset(again, tiny_store.schema, first, last)
    return [list(element.values()) for element in pipeline.as_numpy_iterator()]

  straight = elements(0, 12)
  for step in range(1, 12):
    for position, one in enumerate(elements(0, step) + elements(step, 12)):
      assert_equal_batches(one, straight[position])


def test_a_dataset_knows_its_shapes(tiny_store: DayStore, batches: Batches) -> None:
  spec = dataset(batches, tiny_store.schema, 0, 1).element_spec
  widths = {"ids": 4, "bags": 3, "dense": 8, "labels": 3, "weights": 3}
  assert {name: part.shape.as_list() for name, part in spec.items()} == {
    name: [SIZE, width] for name, width in widths.items()
  }
  assert (spec["ids"].dtype, spec["weights"].dtype) == (tf.int32, tf.float32)


@pytest.mark.parametrize(("hosts", "replicas"), [(1, 2), (2, 2), (2, 4), (4, 8), (16, 16), (1, 1)])
def test_what_the_replicas_get_makes_the_whole_batch(
  tiny_store: DayStore, batches: Batches, hosts: int, replicas: int
) -> None:
  first, last = 9, 12
  of_host = []
  for host in range(hosts):
    context = tf.distribute.InputContext(hosts, host, replicas)
    pipeline = dataset(batches, tiny_store.schema, first, last, context)
    assert pipeline.element_spec["ids"].shape.as_list() == [SIZE // replicas, 4]
    of_host.append([list(element.values()) for element in pipeline.as_numpy_iterator()])
  here = replicas // hosts  # consecutive elements of one host, one for each of its replicas
  for position, step in enumerate(range(first, last)):
    mine = slice(position * here, (position + 1) * here)
    parts = [element for host in of_host for element in host[mine]]
    assert_equal_batches(joined(parts), batches.batch(step))
  assert {len(elements) for elements in of_host} == {(last - first) * here}


def test_damage_met_by_the_pipeline_is_said_as_such(
  tiny_store: DayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(window, "HELD_BYTES", 0)  # as for days that are read as they come
  batches = train_batches(tiny_store.train_days, SIZE, 0.0, seed=0)
  path = tiny_store.directory / tiny_store.schema.day_names[1] / "dense.npy"
  path.write_bytes(path.read_bytes()[:-1])
  data = iter(window.dataset(batches, tiny_store.schema, 0, len(batches)))
  of_first_day = ROWS_PER_DAY[0] // SIZE
  assert len(list(itertools.islice(data, of_first_day))) == of_first_day
  with pytest.raises(DataError, match=f"{path} is damaged"), window.own_errors(batches):
    next(data)
