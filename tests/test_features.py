"""Packed features: vocabularies, bags, as-of features by brute force, nothing from the future."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.array import Array
from ranking.data.lookback import PRIOR_ROWS, Lookback
from ranking.data.schema import DataError, Feature
from ranking.tasks import LabelStatistics, Task
from tests.conftest import make_log
from tests.frames import Bag, FrameLog
from tests.packing import Packed, as_of, encode, encode_bag, pack, standardise

NAN = math.nan


def as_of_by_brute_force(log: FrameLog) -> pd.DataFrame:
  """Row against row: what a person would count by hand."""
  columns: dict[str, list[float]] = {}
  labels = {task: log.labels[task].to_numpy(np.float64) for task in log.rated_tasks}
  for entity in log.entities:
    values = log.categorical[entity]
    for row, now in enumerate(log.time):
      earlier = log.time < now
      same = earlier & (values == values[row]).to_numpy()  # NaN and None equal nothing
      columns.setdefault(f"{entity}_count", []).append(math.log(1 + same.sum()))
      for task, label in labels.items():
        known = ~np.isnan(label)
        everyone = (label[earlier & known].sum() + 0.5) / ((earlier & known).sum() + 1)
        mean = label[same & known].sum() + PRIOR_ROWS * everyone
        mean /= (same & known).sum() + PRIOR_ROWS
        columns.setdefault(f"{entity}_{task}_rate", []).append(mean)
  return pd.DataFrame(columns)


@st.composite
def small_log(draw: st.DrawFn) -> FrameLog:
  """Few users, few moments and few labels, so that ties and repeats are common."""
  size = draw(st.integers(1, 25))

  def column(values: st.SearchStrategy[float | None]) -> list[float | None]:
    return draw(st.lists(values, min_size=size, max_size=size))

  user = st.sampled_from([None, 1.0, 2.0, 3.0])
  return FrameLog(
    time=np.sort(np.array(column(st.integers(0, 8)), np.int64)),
    day=np.zeros(size, np.int32),
    day_names=("one",),
    time_zone="UTC",
    categorical=pd.DataFrame({"user": column(user), "video": column(user)}, dtype=object),
    bags={},
    dense=pd.DataFrame(index=range(size)),
    labels=pd.DataFrame({"click": column(st.sampled_from([0.0, 1.0, NAN]))}, dtype=np.float32),
    tasks=(Task("click", "binary"),),
    entities=("user", "video"),
    rated_tasks=("click",),
    cleaning={},
  )


def altered(log: FrameLog, rows: Array, labels: Array, seed: int = 1) -> FrameLog:
  """The log with other ids, lists and dense values in `rows`, and other labels in `labels`."""
  random = np.random.default_rng(seed)
  size = len(log.time)
  categorical = log.categorical.astype(object)
  for name in categorical:
    known = np.array([*log.categorical[name].unique(), "new to the log", None], object)
    categorical.loc[rows, name] = random.choice(known, rows.sum())
  bags = {
    name: Bag(
      [*bag.lists, ["new", "list"]],
      np.where(rows, random.integers(0, len(bag.lists) + 1, size), bag.index),
    )
    for name, bag in log.bags.items()
  }
  dense = log.dense.copy()
  dense.loc[rows] = random.choice([NAN, -1e6, 0.0, 1e6], size=(rows.sum(), dense.shape[1]))
  changed = log.labels.copy()
  for task in log.tasks:
    old = changed.loc[labels, task.name]
    changed.loc[labels, task.name] = (1 - old if task.kind == "binary" else 9 - old).fillna(1)
  return dataclasses.replace(log, categorical=categorical, bags=bags, dense=dense, labels=changed)


def first_rows(packed: Packed, rows: int) -> dict[str, Array]:
  names = ("ids", "bags", "dense", "labels", "time")
  return {name: getattr(packed, name)[:rows] for name in names}


def test_the_tiny_log_has_what_the_tests_of_it_rely_on(tiny_log: FrameLog) -> None:
  assert (np.diff(tiny_log.time) == 0).sum() > 20
  for table in (tiny_log.categorical[["user_id", "author_id"]], tiny_log.labels):
    assert table.isna().any().all()
  assert tiny_log.dense.length.isna().any()
  packed = pack("tiny", tiny_log)
  of_day_n = packed.ids[tiny_log.day == 3, 0]
  assert {0, 1} < set(of_day_n)


def test_as_of_features_equal_brute_force(tiny_log: FrameLog) -> None:
  expected = as_of_by_brute_force(tiny_log)
  measured = as_of(tiny_log, Lookback())
  assert list(measured) == [
    *("user_id_count", "user_id_click_rate", "user_id_stars_rate"),
    *("author_id_count", "author_id_click_rate", "author_id_stars_rate"),
  ]
  pd.testing.assert_frame_equal(measured, expected, rtol=1e-12)
  assert (expected.nunique() > 20).all()


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(small_log())
def test_as_of_features_equal_brute_force_whatever_the_ties_and_holes(log: FrameLog) -> None:
  pd.testing.assert_frame_equal(as_of(log, Lookback()), as_of_by_brute_force(log), rtol=1e-12)


def test_rows_of_one_millisecond_do_not_see_each_other() -> None:
  log = dataclasses.replace(
    make_log(),
    time=np.array([5, 5, 5, 9], np.int64),
    day=np.zeros(4, np.int32),
    tasks=(Task("click", "binary"),),
    categorical=pd.DataFrame({"user": ["a", "a", "b", "a"]}),
    labels=pd.DataFrame({"click": [1.0, 1.0, 0.0, 0.0]}),
    dense=pd.DataFrame(index=range(4)),
    entities=("user",),
    rated_tasks=("click",),
  )
  measured = as_of(log, Lookback())
  np.testing.assert_allclose(measured.user_count, np.log([1, 1, 1, 3]))
  everyone = (2 + 0.5) / (3 + 1)
  last = (2 + PRIOR_ROWS * everyone) / (2 + PRIOR_ROWS)
  np.testing.assert_allclose(measured.user_click_rate, [0.5, 0.5, 0.5, last])


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(position=st.integers(0, 219), seed=st.integers(0, 99))
def test_rows_after_any_time_change_no_as_of_feature_up_to_it(position: int, seed: int) -> None:
  log = make_log()
  now = log.time[position]
  # The labels of `now` too: a row does not see its own label, nor those it ties with.
  other = altered(log, rows=log.time > now, labels=log.time >= now, seed=seed)
  known = log.time <= now
  pd.testing.assert_frame_equal(
    as_of(log, Lookback())[known], as_of(other, Lookback())[known], check_exact=True
  )


def test_what_is_altered_after_a_time_does_change_features_after_it(tiny_log: FrameLog) -> None:
  now = tiny_log.time[100]
  other = altered(tiny_log, rows=tiny_log.time > now, labels=tiny_log.time >= now)
  later = tiny_log.time > now
  assert ((as_of(tiny_log, Lookback()) != as_of(other, Lookback()))[later].sum() > 20).all()


@pytest.mark.parametrize("seed", range(3))
def test_day_n_changes_no_packed_array_of_the_training_days(tiny_log: FrameLog, seed: int) -> None:
  last = tiny_log.day == 3
  other = altered(tiny_log, rows=last, labels=last, seed=seed)
  before, after = pack("tiny", tiny_log), pack("tiny", other)
  train_rows = int((~last).sum())
  kept, expected = first_rows(after, train_rows), first_rows(before, train_rows)
  for name, array in expected.items():
    np.testing.assert_array_equal(kept[name], array, err_msg=name)
  assert before.schema == after.schema
  for name in ("ids", "bags", "dense", "labels"):
    assert (getattr(before, name)[last] != getattr(after, name)[last]).any()


def test_day_n_may_even_be_cut_short(tiny_log: FrameLog) -> None:
  train_rows = int((tiny_log.day < 3).sum())
  rows = train_rows + 5
  shorter = dataclasses.replace(
    tiny_log,
    time=tiny_log.time[:rows],
    day=tiny_log.day[:rows],
    categorical=tiny_log.categorical.iloc[:rows],
    bags={name: Bag(bag.lists, bag.index[:rows]) for name, bag in tiny_log.bags.items()},
    dense=tiny_log.dense.iloc[:rows],
    labels=tiny_log.labels.iloc[:rows],
  )
  kept = first_rows(pack("tiny", shorter), rows)
  for name, array in first_rows(pack("tiny", tiny_log), rows).items():
    np.testing.assert_array_equal(kept[name], array, err_msg=name)


@pytest.mark.parametrize("kind", ["text", "numbers"])
def test_a_vocabulary_is_the_frequent_ids_of_the_training_days(kind: str) -> None:
  values: list[object] = ["b", "b", "b", None, "a", "a", "a", "a", "c", "c", "c", "d", "d", None]
  unseen: list[object] = ["e", "e", "e", "d", "d", "a", None]  # as often as you like
  if kind == "numbers":
    codes = {"a": 10.0, "b": 7.0, "c": 8.0, "d": 1.0, "e": -3.0, None: NAN}
    values, unseen = [codes[v] for v in values], [codes[v] for v in unseen]  # type: ignore[index]
  train = np.arange(21) < 14
  ids, size = encode(pd.Series(values + unseen), train)
  # 0 missing or unseen, 1 seen twice only, then by falling count; "b" came before "c".
  expected = [3, 3, 3, 0, 2, 2, 2, 2, 4, 4, 4, 1, 1, 0]
  np.testing.assert_array_equal(ids, [*expected, 0, 0, 0, 1, 1, 2, 0])
  assert size == 5
  assert ids.dtype == np.int32


@pytest.mark.parametrize("values", ["abc", [None, None, "a"], [None, None, None]])
def test_a_vocabulary_without_a_frequent_id_has_the_two_shared_ids(values: Sequence[Any]) -> None:
  ids, size = encode(pd.Series(list(values), dtype=object), np.array([True, True, False]))
  expected = [1 if value else 0 for value in values[:2]]
  np.testing.assert_array_equal(ids, [*expected, 0])
  assert size == 2


def test_a_bag_counts_each_list_as_often_as_training_rows_have_it() -> None:
  bag = Bag(
    lists=[["x", "y"], [], ["z", "x", "w"], ["only on day N"], ["w", None]],
    index=np.array([0, 0, 1, 2, 4, 2, 3, 3, 3, 3]),
  )
  train = np.arange(10) < 5
  ids, size = encode_bag(bag, train)
  # Training rows: x three times, y and w twice, z once; None is missing.
  of_list = [[2, 1, 0], [0, 0, 0], [1, 2, 1], [0, 0, 0], [1, 0, 0]]
  np.testing.assert_array_equal(ids, [of_list[number] for number in bag.index])
  assert ids.dtype == np.int32
  assert size == 3


def test_bags_that_are_all_empty_have_one_column_of_padding() -> None:
  ids, size = encode_bag(Bag([[]], np.zeros(4, np.int64)), np.arange(4) < 3)
  np.testing.assert_array_equal(ids, np.zeros((4, 1)))
  assert size == 2


def test_standardised_values_have_mean_0_and_deviation_1_on_the_training_days() -> None:
  random = np.random.default_rng(1)
  column = pd.Series(np.append(random.normal(50, 7, 900), random.normal(80, 1, 100)), name="x")
  column[random.random(1000) < 0.2] = NAN
  train = np.arange(1000) < 900
  scaled = standardise(column, train)
  known = scaled[train & column.notna().to_numpy()]
  assert known.mean() == pytest.approx(0, abs=1e-6)
  assert known.std() == pytest.approx(1, abs=1e-6)
  assert (scaled[column.isna()] == 0).all()
  assert scaled[~train & column.notna().to_numpy()].mean() == pytest.approx(30 / 7, abs=0.3)
  assert scaled.dtype == np.float32


def test_standardised_values_stay_within_five_deviations() -> None:
  column = pd.Series([-1.0, 1.0, 1e300, -1e300, 3.0], name="x")
  scaled = standardise(column, np.array([True, True, False, False, False]))
  np.testing.assert_array_equal(scaled, [-1, 1, 5, -5, 3])


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 + 0.1, -1e9 / 3, NAN])
def test_a_feature_that_never_changes_is_0_everywhere(constant: float) -> None:
  column = pd.Series([*[constant] * 1000, 2.0], name="x")
  train = np.arange(1001) < 1000
  np.testing.assert_array_equal(standardise(column, train), np.zeros(1001))


def test_packed_arrays_follow_the_schema(tiny_log: FrameLog) -> None:
  packed = pack("tiny", tiny_log)
  rows = len(tiny_log.time)
  for array, dtype, width in (
    (packed.ids, np.int32, 4),
    (packed.bags, np.int32, 3),
    (packed.dense, np.float32, 8),
    (packed.labels, np.float32, 3),
  ):
    assert array.shape == (rows, width)
    assert array.dtype == dtype
  assert packed.time.dtype == np.int64
  np.testing.assert_array_equal(packed.time, tiny_log.time)
  np.testing.assert_array_equal(packed.labels, tiny_log.labels)

  schema = packed.schema
  assert (schema.dataset, schema.tasks, schema.day_names) == (
    "tiny", tiny_log.tasks, tiny_log.day_names
  )  # fmt: skip
  train = tiny_log.day < 3
  expected = []
  for k, (name, column) in enumerate(tiny_log.categorical.items()):
    ids, size = encode(column, train)
    np.testing.assert_array_equal(packed.ids[:, k], ids)
    expected.append(Feature(str(name), "categorical", size))
  bag, size = encode_bag(tiny_log.bags["likes"], train)
  np.testing.assert_array_equal(packed.bags, bag)
  expected.append(Feature("likes", "bag", size, length=3))
  dense = pd.concat([tiny_log.dense, as_of(tiny_log, Lookback())], axis=1)
  for k, (name, column) in enumerate(dense.items()):
    np.testing.assert_array_equal(packed.dense[:, k], standardise(column, train))
    expected.append(Feature(str(name), "dense"))
  assert schema.features == tuple(expected)


def test_bags_of_several_features_stand_side_by_side(tiny_log: FrameLog) -> None:
  colours = Bag([["red", "green"]], np.zeros(len(tiny_log.time), np.int64))
  packed = pack("tiny", dataclasses.replace(tiny_log, bags={**tiny_log.bags, "colours": colours}))
  np.testing.assert_array_equal(packed.bags[:, :3], pack("tiny", tiny_log).bags)
  np.testing.assert_array_equal(packed.bags[:, 3:], [[2, 3]] * len(tiny_log.time))
  assert [feature.length for feature in packed.schema.of_kind("bag")] == [3, 2]


def test_a_log_without_bags_has_a_bag_array_without_columns(tiny_log: FrameLog) -> None:
  packed = pack("tiny", dataclasses.replace(tiny_log, bags={}))
  assert packed.bags.shape == (len(tiny_log.time), 0)
  assert packed.schema.of_kind("bag") == ()


def test_label_statistics_are_of_labelled_rows_of_the_training_days(tiny_log: FrameLog) -> None:
  train = tiny_log.labels[tiny_log.day < 3].astype(np.float64)
  for task, measured in zip(
    tiny_log.tasks, pack("tiny", tiny_log).schema.label_statistics, strict=True
  ):
    label = train[task.name]
    assert measured.rows == label.count()
    assert measured.mean == pytest.approx(label.mean(), rel=1e-12)
    assert measured.variance == pytest.approx(label.var(ddof=0), rel=1e-12)


def test_a_task_without_a_label_in_the_training_days_has_statistics_of_0_rows(
  tiny_log: FrameLog,
) -> None:
  labels = tiny_log.labels.copy()
  labels.loc[tiny_log.day < 3, "like"] = NAN
  statistics = pack("tiny", dataclasses.replace(tiny_log, labels=labels)).schema.label_statistics
  assert statistics[1] == LabelStatistics(rows=0, mean=0.0, variance=0.0)


@pytest.mark.parametrize(
  ("table", "column", "value", "message"),
  [
    (
      *("dense", "length", -math.inf),
      r"^dense feature length holds an infinite value; take log1p or clip it$",
    ),
    (
      *("labels", "stars", math.inf),
      r"^label stars holds an infinite value; drop or clip such rows$",
    ),
    (
      *("labels", "click", 2.0),
      r"^label click is binary but holds 2\.0; make it 0 or 1, or a regression$",
    ),
  ],
)
def test_a_value_that_cannot_be_trained_on_is_named_with_its_cure(
  tiny_log: FrameLog, table: str, column: str, value: float, message: str
) -> None:
  for rows in ([0], [217, 219]):  # the first, and two of day N
    bad = getattr(tiny_log, table).copy()
    bad.loc[rows, column] = value
    with pytest.raises(DataError, match=message):
      pack("tiny", dataclasses.replace(tiny_log, **{table: bad}))
