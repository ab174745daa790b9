"""The order of the window: that of a full sort by time plus W times the hash, made in blocks."""

import math
import threading
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.array import Array
from ranking.data import order
from ranking.data.order import MS_PER_HOUR, WindowOrder, uniform
from ranking.data.schema import DataError

gaps = st.one_of(st.just(0), st.integers(0, 5_000_000), st.integers(0, 10**11))  # up to 3 years
times = st.lists(gaps, min_size=1, max_size=60).map(
  lambda gaps: 1_650_000_000_000 + np.cumsum(gaps, dtype=np.int64)
)
seeds = st.integers(0, 2**63)
windows = st.one_of(
  st.sampled_from([0, 1, 24, math.inf]), st.floats(0, 24 * 30), st.sampled_from([1e-9, 1e9, 1e300])
)


class Times:
  """A day that says when its times were read."""

  def __init__(self, times: Array, name: str = "day", read: list[str] | None = None):
    self.name, self._times, self._read = name, times, [] if read is None else read

  def __len__(self) -> int:
    return len(self._times)

  @property
  def time(self) -> Array:
    self._read.append(self.name)
    return self._times


def days_of(time: Array, cuts: list[int]) -> list[Times]:
  """The times in days that end before the rows `cuts`; some may be empty."""
  return [Times(part) for part in np.split(time, sorted(cut % (len(time) + 1) for cut in cuts))]


def window_order(time: Array, hours: float, seed: int) -> Array:
  """The whole order of one day."""
  return WindowOrder([Times(time)], hours, seed)[:]


def full_sort(time: Array, hours: float, seed: int) -> Array:
  """The order by one sort of all keys in memory: what published runs were trained in."""
  u = uniform(seed, np.arange(len(time)))
  key = u if np.isinf(hours) else time + hours * MS_PER_HOUR * u
  return np.argsort(key, kind="stable")


def splitmix64(seed: int, counter: int) -> int:
  """The hash in Python's own integers."""
  mask = 2**64 - 1
  state = (seed * 0xD1342543DE82EF95 + counter + 1) * 0x9E3779B97F4A7C15 & mask
  state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
  state = (state ^ state >> 27) * 0x94D049BB133111EB & mask
  return state ^ state >> 31


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


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
  time=times,
  repeats=st.integers(1, 4),
  cuts=st.lists(st.integers(0, 1000), max_size=4),
  hours=windows,
  seed=seeds,
  block=st.integers(1, 70),
  chunk=st.integers(1, 30),
  edges=st.integers(1, 9),
  asked=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=5),
)
def test_any_part_asked_for_in_any_order_is_that_of_one_sort_of_all_rows(
  time: Array,
  repeats: int,
  cuts: list[int],
  hours: float,
  seed: int,
  block: int,
  chunk: int,
  edges: int,
  asked: list[tuple[int, int]],
) -> None:
  time = np.repeat(time, repeats)  # rows of one millisecond, also across the ends of days
  expected = full_sort(time, hours, seed)
  with mock.patch.multiple(order, BLOCK_ROWS=block, CHUNK_ROWS=chunk, EDGES=edges):
    made = WindowOrder(days_of(time, cuts), hours, seed)
    assert len(made) == len(time)
    for first, last in asked:
      np.testing.assert_array_equal(made[first:last], expected[first:last])
    np.testing.assert_array_equal(made[:], expected)


@pytest.mark.parametrize("hours", [0.5, 24, 24 * 30, math.inf])
def test_a_long_log_of_bursts_and_silence_is_that_of_one_sort(hours: float) -> None:
  random = np.random.default_rng(0)
  gaps = random.choice(
    [0, 0, 0, 5_000, 400_000, 10**8], 300_000, p=[0.3, 0.3, 0.3, 0.09, 0.0099, 0.0001]
  )
  time = 1_650_000_000_000 + np.cumsum(gaps)
  expected = full_sort(time, hours, 5)
  with mock.patch.multiple(order, BLOCK_ROWS=20_000, CHUNK_ROWS=3_000):
    made = WindowOrder(days_of(time, [60_000, 60_000, 200_000]), hours, 5)
    np.testing.assert_array_equal(made[250_000:250_100], expected[250_000:250_100])
    np.testing.assert_array_equal(made[:], expected)


def test_keys_that_are_equal_come_by_number_of_row_also_across_blocks() -> None:
  time = np.repeat(1_650_000_000_000 + np.arange(3) * 1_000, 100)
  hours = 1e-13  # less than the least step of a key: all rows of a time have one key
  with mock.patch.multiple(order, BLOCK_ROWS=7, CHUNK_ROWS=10):
    np.testing.assert_array_equal(window_order(time, hours, 3), np.arange(300))
  few = np.array([3.0, 1.0, 3.0, 1.0, 2.0, 3.0])
  assert order._stable_argsort(few).tolist() == [1, 3, 4, 0, 2, 5]


@pytest.mark.parametrize(
  ("hours", "first", "needed", "at_most"),
  [
    (24, 0, {"0", "1"}, {"0", "1", "2", "3"}),
    (24, 20 * 1440, {"19", "20"}, {str(day) for day in range(24)}),  # a few are read to find it
    (24, 29 * 1440, {"28", "29"}, {str(day) for day in range(30)}),
    (math.inf, 5_000, set(), set()),
  ],
)
def test_no_day_is_read_before_the_window_comes_to_it(
  hours: float, first: int, needed: set[str], at_most: set[str]
) -> None:
  read: list[str] = []
  days = [Times((np.arange(1440) + 1440 * day) * 60_000, str(day), read) for day in range(30)]
  with mock.patch.multiple(order, BLOCK_ROWS=1000, CHUNK_ROWS=100):
    made = WindowOrder(days, hours, seed=1)
    assert read == []
    made[first : first + 100]
    made._thread.shutdown()
  assert needed <= set(read) <= at_most
  assert len(set(read)) < 10


@pytest.mark.parametrize("hours", [1, 24, math.inf])
def test_what_is_held_does_not_grow_with_the_log_or_the_window(hours: float) -> None:
  held = []
  least = order._least

  def counted(parts: list[tuple[Array, Array]]) -> tuple[Array, Array, float]:
    held.append(sum(len(keys) for keys, _ in parts))
    return least(parts)

  time = np.arange(200_000) * 1_000  # 56 hours
  with (
    mock.patch.multiple(order, BLOCK_ROWS=1_000, CHUNK_ROWS=100),
    mock.patch.object(order, "_least", counted),
  ):
    made = WindowOrder(days_of(time, [70_000]), hours, 1)
    for first in (0, 123_456):
      made[first : first + 3_000]
      assert all(len(block.rows) <= 1_000 for block in made._blocks)
    made._thread.shutdown()  # the next block is made with these limits too
  assert len(held) > 8
  assert max(held) <= 1_250 + 100


def test_a_place_is_found_by_counting_and_not_by_sorting(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  monkeypatch.setattr(order, "BLOCK_ROWS", 1_000)
  made = WindowOrder([Times(np.arange(100_000) * 1_000)], 2, 1)
  sorted_blocks: list[int] = []
  make = made._make

  def counted(start: order._Start) -> order._Block:
    sorted_blocks.append(start.position)
    return make(start)

  monkeypatch.setattr(made, "_make", counted)
  made[90_000:90_010]
  made._thread.shutdown()
  assert len(sorted_blocks) == 2  # the one that was asked for, and the next
  assert 89_900 < sorted_blocks[0] <= 90_000 < sorted_blocks[1]


def test_several_threads_read_one_order() -> None:
  time = np.sort(np.random.default_rng(0).integers(0, 10**9, 20_000))
  expected = full_sort(time, 24, 2)
  wrong: list[int] = []
  with mock.patch.multiple(order, BLOCK_ROWS=700, CHUNK_ROWS=300):
    made = WindowOrder([Times(time)], 24, 2)

    def read(first: int) -> None:
      for start in range(first * 100, 20_000, 400):
        if (made[start : start + 100] != expected[start : start + 100]).any():
          wrong.append(start)

    threads = [threading.Thread(target=read, args=(k,)) for k in range(4)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    made._thread.shutdown()
  assert wrong == []


@pytest.mark.parametrize("days", [[[5, 6, 4], [9]], [[5, 6], [4, 9]]])
def test_times_that_decrease_are_an_error_and_no_wrong_order(days: list[list[int]]) -> None:
  made = WindowOrder([Times(np.array(day), f"day {k}") for k, day in enumerate(days)], 24, 0)
  with pytest.raises(DataError, match=r"the times of day \d decrease; prepare the log again"):
    made[:1]


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(time=times, seed=seeds)
def test_a_window_of_0_is_time_order_and_ties_stay_as_they_are(time: Array, seed: int) -> None:
  time = np.repeat(time, 3)
  np.testing.assert_array_equal(window_order(time, 0, seed), np.arange(len(time)))


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(time=times, seed=seeds)
def test_an_infinite_window_ignores_time(time: Array, seed: int) -> None:
  visited = window_order(time, math.inf, seed)
  np.testing.assert_array_equal(visited, window_order(np.zeros_like(time), math.inf, seed))
  np.testing.assert_array_equal(visited, np.argsort(uniform(seed, np.arange(len(time)))))


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
  counts = np.array([orders.count(each) for each in set(orders)])
  assert len(counts) == 6
  expected = tries / 6
  # Of 5 degrees of freedom: 25 is passed once in 7,000.
  assert ((counts - expected) ** 2).sum() / expected < 25


@pytest.mark.parametrize("hours", [0.5, 6, 24, 96])
def test_days_that_weeks_lie_between_are_not_mixed(hours: float) -> None:
  week, sizes = 7 * 24 * 3_600_000, (300, 200, 400)
  starts = np.repeat(np.array([0, 2, 5]) * week, sizes)
  rows_of_day = np.concatenate([np.arange(size) for size in sizes])
  visited = window_order(starts + rows_of_day * 60_000, hours, seed=3)
  day = np.repeat(np.arange(3), sizes)
  np.testing.assert_array_equal(day[visited], day)
  assert (visited != np.arange(len(visited))).mean() > 0.9


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
    assert len({tuple(each) for each in orders}) == 3
