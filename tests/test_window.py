"""The moving window: every row once, late by at most W, batches from (seed, step)."""

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
from ranking.data.schema import DataError
from ranking.data.store import Day, DayStore
from ranking.data.window import (
  MS_PER_HOUR,
  Batches,
  dataset,
  eval_batches,
  train_batches,
  uniform,
  window_order,
)
from tests.conftest import ROWS_PER_DAY
from tests.packing import with_changes

NAMES = ("ids", "bags", "dense", "labels", "weights")
TRAIN_ROWS = sum(ROWS_PER_DAY[:-1])  # 180
SIZE = 16  # 11 batches of the training days are whole, the last has 4 rows

gaps = st.one_of(st.just(0), st.integers(0, 5_000_000), st.integers(0, 10**11))  # up to 3 years
times = st.lists(gaps, min_size=1, max_size=60).map(
  lambda gaps: 1_650_000_000_000 + np.cumsum(gaps, dtype=np.int64)
)
seeds = st.integers(0, 2**63)
windows = st.one_of(st.sampled_from([0, 1, 24, math.inf]), st.floats(0, 24 * 30))


def splitmix64(seed: int, counter: int) -> int:
  """The hash in Python's own integers."""
  mask = 2**64 - 1
  state = (seed * 0xD1342543DE82EF95 + counter + 1) * 0x9E3779B97F4A7C15 & mask
  state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
  state = (state ^ state >> 27) * 0x94D049BB133111EB & mask
  return state ^ state >> 31


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


@pytest.mark.parametrize("seed", [0, 1, 2**63 + 5])
def test_uniform_is_splitmix64_of_seed_and_counter(seed: int) -> None:
  counters = [0, 1, 2, 1_000_000, 2**40]
  expected = [(splitmix64(seed, counter) >> 11) / 2**53 for counter in counters]
  np.testing.assert_array_equal(uniform(seed, np.array(counters)), expected)


def test_uniform_is_a_pure_function_of_each_counter() -> None:
  values = uniform(3, np.arange(1000))
  np.testing.assert_array_equal(uniform(3, np.arange(1000)), values)
  some = np.array([7, 999, 0, 7])
  np.testing.assert_array_equal(uniform(3, some), values[some])


@pytest.mark.parametrize("seed", [0, 1, 2, 1000])
def test_uniform_is_uniform(seed: int) -> None:
  size, bins = 100_000, 100
  values = uniform(seed, np.arange(size))
  assert values.min() >= 0
  assert values.max() < 1
  counts = np.bincount((values * bins).astype(int), minlength=bins)
  chi_square = ((counts - size / bins) ** 2).sum() / (size / bins)
  # Of 99 degrees of freedom: mean 99, deviation 14.1.
  assert 50 < chi_square < 160
  error = 1 / math.sqrt(size)
  assert values.mean() == pytest.approx(1 / 2, abs=4 * error * math.sqrt(1 / 12))
  assert (values**2).mean() == pytest.approx(1 / 3, abs=4 * error * math.sqrt(4 / 45))
  assert len(np.unique(values)) == size


@pytest.mark.parametrize("lag", [1, 2, 7])
def test_neighbours_and_seeds_are_independent(lag: int) -> None:
  size = 100_000
  values = uniform(0, np.arange(size))
  for other in (uniform(0, np.arange(lag, size + lag)), uniform(lag, np.arange(size))):
    assert abs(np.corrcoef(values, other)[0, 1]) < 4 / math.sqrt(size)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(time=times, hours=st.sampled_from([0, 0.01, 1, 24, math.inf]), seed=seeds)
def test_every_row_is_visited_once(time: Array, hours: float, seed: int) -> None:
  np.testing.assert_array_equal(np.sort(window_order(time, hours, seed)), np.arange(len(time)))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(time=times, hours=st.floats(0, 48), seed=seeds)
def test_no_row_comes_after_one_that_is_more_than_w_younger(
  time: Array, hours: float, seed: int
) -> None:
  visited = time[window_order(time, hours, seed)]
  youngest_so_far = np.maximum.accumulate(visited)
  assert (youngest_so_far - visited <= hours * MS_PER_HOUR).all()


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(time=times, hours=windows, seed=seeds)
def test_a_row_is_visited_when_all_that_are_older_by_more_than_w_have_been(
  time: Array, hours: float, seed: int
) -> None:
  visited: list[int] = []
  for row in window_order(time, hours, seed):
    older = {k for k in range(len(time)) if time[k] + hours * MS_PER_HOUR < time[row]}
    assert older <= set(visited)
    visited.append(row)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(time=times, hours=windows, seed=seeds)
def test_rows_are_sorted_by_time_plus_w_times_the_hash(
  time: Array, hours: float, seed: int
) -> None:
  def key(row: int) -> tuple[float, int]:
    u = (splitmix64(seed, row) >> 11) / 2**53
    return (u if math.isinf(hours) else int(time[row]) + hours * MS_PER_HOUR * u, row)

  assert window_order(time, hours, seed).tolist() == sorted(range(len(time)), key=key)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(time=times, seed=seeds)
def test_a_window_of_0_is_time_order_and_ties_stay_as_they_are(time: Array, seed: int) -> None:
  time = np.repeat(time, 3)
  np.testing.assert_array_equal(window_order(time, 0, seed), np.arange(len(time)))


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(time=times, seed=seeds)
def test_an_infinite_window_ignores_time(time: Array, seed: int) -> None:
  order = window_order(time, math.inf, seed)
  np.testing.assert_array_equal(order, window_order(np.zeros_like(time), math.inf, seed))
  np.testing.assert_array_equal(order, np.argsort(uniform(seed, np.arange(len(time)))))


@pytest.mark.parametrize("hours", [1, 12, 24])
def test_the_longest_delay_is_w_and_hardly_less(hours: int) -> None:
  time = np.arange(0, 60 * 3_600_000, 6_000)
  visited = time[window_order(time, hours, seed=0)]
  delay = (np.maximum.accumulate(visited) - visited).max() / MS_PER_HOUR
  assert 0.9 * hours < delay <= hours


def test_a_batch_is_a_sample_of_its_window() -> None:
  time = np.arange(0, 40 * 3_600_000, 6_000)  # 600 rows an hour for 40 hours
  visited = time[window_order(time, 24, seed=0)] / MS_PER_HOUR
  batch = visited[len(visited) // 2 :][:1000]  # 100 minutes of rows, from the last 24 hours
  assert batch.max() - batch.min() > 20
  assert np.histogram(batch, bins=8)[0].min() > 60
  half = time[window_order(time, 12, seed=0)][len(time) // 2 :][:1000] / MS_PER_HOUR
  assert half.max() - half.min() < 14.5


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_rows_are_visited_evenly_over_their_window(seed: int) -> None:
  per_hour, hours, size = 10_000, 6, 300_000  # 30 hours of evenly spaced rows
  time = np.arange(size) * (3_600_000 // per_hour)
  place = np.empty(size, np.int64)
  place[window_order(time, hours, seed)] = np.arange(size)
  # A row with hash u is visited when u·W more of the log has passed, but for W/2 in which the first
  # rows came late; only the rows of the first and last window differ.
  inside = slice(hours * per_hour, size - hours * per_hour)
  late = (place - np.arange(size))[inside] / (hours * per_hour) + 0.5
  assert late.min() == pytest.approx(0, abs=0.02)
  assert late.max() == pytest.approx(1, abs=0.02)
  counts, _ = np.histogram(late, bins=20, range=(0.02, 0.98))
  expected = 0.96 / 20 * len(late)
  # Of 20 degrees of freedom: mean 20, deviation 6.3.
  assert 4 < ((counts - expected) ** 2).sum() / expected < 50
  # Early or late has nothing to do with where the row stands.
  assert abs(np.corrcoef(late, np.arange(len(late)))[0, 1]) < 4 / math.sqrt(len(late))


@pytest.mark.parametrize(("seed", "other"), [(0, 1), (1, 2), (0, 2**40), (7, 2**63)])
def test_two_seeds_together_are_uniform_on_the_square(seed: int, other: int) -> None:
  size, bins = 200_000, 10
  ours, theirs = uniform(seed, np.arange(size)), uniform(other, np.arange(size))
  counts, _, _ = np.histogram2d(ours, theirs, bins=bins, range=((0, 1), (0, 1)))
  expected = size / bins**2
  # Of 99 degrees of freedom: mean 99, deviation 14.1.
  assert 50 < ((counts - expected) ** 2).sum() / expected < 160


def test_rows_of_one_millisecond_come_in_every_order_equally_often() -> None:
  tries, rows = 6_000, 3
  time = np.full(rows, 1_650_000_000_000)
  orders = [tuple(window_order(time, 24, seed)) for seed in range(tries)]
  counts = np.array([orders.count(order) for order in set(orders)])
  assert len(counts) == 6
  expected = tries / 6
  # Of 5 degrees of freedom: 25 is passed once in 7,000.
  assert ((counts - expected) ** 2).sum() / expected < 25


@pytest.mark.parametrize("hours", [0.5, 6, 24, 96])
def test_days_that_weeks_lie_between_are_not_mixed(hours: float) -> None:
  week, sizes = 7 * 24 * 3_600_000, (300, 200, 400)
  starts = np.repeat(np.array([0, 2, 5]) * week, sizes)
  rows_of_day = np.concatenate([np.arange(size) for size in sizes])
  order = window_order(starts + rows_of_day * 60_000, hours, seed=3)
  day = np.repeat(np.arange(3), sizes)
  np.testing.assert_array_equal(day[order], day)
  assert (order != np.arange(len(order))).mean() > 0.9


def test_a_longer_window_mixes_more_days() -> None:
  time = np.arange(20 * 1440) * 60_000  # a row a minute for 20 days
  reach = []
  for hours in (0, 6, 24, 96, math.inf):
    day = window_order(time, hours, seed=0) // 1440
    batches = day[: len(day) // 600 * 600].reshape(-1, 600)
    reach.append(np.mean([len(set(batch)) for batch in batches]))
  assert reach == sorted(reach)
  assert reach[0] < 1.5 < reach[2] < 3 < reach[3] < 6
  assert reach[4] == 20


def test_another_seed_is_another_order() -> None:
  time = np.arange(1000) * 60_000
  for hours in (1, 24, math.inf):
    orders = [window_order(time, hours, seed) for seed in (0, 1, 2**40)]
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("hours", [0, 24, math.inf])
def test_batches_hold_every_training_row_once(tiny_store: DayStore, hours: float) -> None:
  days = tiny_store.train_days
  batches = train_batches(days, SIZE, hours, seed=4)
  assert len(batches) == 12
  assert [batches.rows(step) for step in range(12)] == [SIZE] * 11 + [4]
  seen = joined([batches.batch(step) for step in range(12)])
  order = window_order(whole(days, "time"), hours, seed=4)
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
  assert visited == batches.order.tolist()
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
