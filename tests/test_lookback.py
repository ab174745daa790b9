"""Delayed feedback and recent history, row against row, and nothing that was not known yet."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.array import Array
from ranking.data.lookback import MS_PER_HOUR, PRIOR_ROWS, Lookback
from ranking.data.prepare import prepare
from ranking.data.schema import DataError
from ranking.data.store import DayStore
from tests.conftest import TinySource, make_log
from tests.frames import FrameLog
from tests.packing import as_of, pack, recent

LOOKBACKS = st.builds(
  Lookback, feedback_delay_hours=st.sampled_from([0.0, 0.2, 1.0, 26.5]), history=st.integers(1, 4)
)


def rates_by_brute_force(log: FrameLog, delay: int) -> dict[str, list[float]]:
  """Every row against every other: counts at once, labels when they are known."""
  columns: dict[str, list[float]] = {}
  for entity in log.entities:
    values = log.categorical[entity]
    for row, now in enumerate(log.time):
      same = (values == values[row]).to_numpy()  # NaN and None equal nothing
      columns.setdefault(f"{entity}_count", []).append(math.log1p((same & (log.time < now)).sum()))
      for task in log.rated_tasks:
        label = log.labels[task].to_numpy(np.float64)
        known = ~np.isnan(label) & (log.time < now - delay)
        everyone = (label[known].sum() + 0.5) / (known.sum() + 1)
        mean = (label[same & known].sum() + PRIOR_ROWS * everyone) / (
          (same & known).sum() + PRIOR_ROWS
        )
        columns.setdefault(f"{entity}_{task}_rate", []).append(mean)
  return columns


def recent_by_brute_force(log: FrameLog, lookback: Lookback) -> Array:
  """For each row, its user's earlier rows with positive feedback, latest first."""
  user, item = (log.categorical[entity] for entity in log.entities[:2])
  liked = (log.labels[log.rated_tasks[0]].to_numpy() > 0) & item.notna().to_numpy()
  found = np.full((len(log.time), lookback.history), -1)
  for row, now in enumerate(log.time):
    past = (user == user[row]).to_numpy() & liked & (log.time < now - lookback.delay)
    latest = np.flatnonzero(past)[::-1][: lookback.history]
    found[row, : len(latest)] = latest
  return found


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 9), lookback=LOOKBACKS)
def test_rates_equal_brute_force_whatever_the_delay(seed: int, lookback: Lookback) -> None:
  log = make_log(seed)
  measured, expected = as_of(log, lookback), rates_by_brute_force(log, lookback.delay)
  assert list(measured) == list(expected)
  np.testing.assert_allclose(measured, pd.DataFrame(expected)[list(measured)], rtol=1e-12)


def test_labels_that_cannot_be_added_up_are_refused(tiny_log: FrameLog) -> None:
  huge = dataclasses.replace(tiny_log, labels=tiny_log.labels.assign(stars=4e12))
  with pytest.raises(DataError, match=r"^label stars holds 4e\+12, too large to be summed up$"):
    as_of(huge, Lookback())


def test_the_tiny_log_has_a_history_to_speak_of(tiny_log: FrameLog) -> None:
  rows = recent_by_brute_force(tiny_log, Lookback(history=3))
  assert (rows[:, 0] >= 0).sum() > 50
  assert (rows[:, 2] >= 0).sum() > 10
  assert (rows[:, 0] < 0).sum() > 20


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(position=st.integers(0, 219), lookback=LOOKBACKS)
def test_no_label_that_is_not_known_yet_changes_what_a_row_sees(
  position: int, lookback: Lookback
) -> None:
  log = make_log()
  now = log.time[position]
  labels = log.labels.copy()
  unknown = log.time >= now - lookback.delay
  labels.loc[unknown] = 1.0 - labels.loc[unknown].fillna(0.0).clip(upper=1)
  other = dataclasses.replace(log, labels=labels)
  rows = log.time <= now
  before, after = (as_of(each, lookback, 40)[rows] for each in (log, other))
  np.testing.assert_array_equal(before, after)
  before, after = (recent(each, lookback, 40)[rows] for each in (log, other))
  np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
  "lookback", [Lookback(history=2), Lookback(1.0, 4), Lookback(26.5, 1)], ids=str
)
def test_a_history_becomes_a_bag_that_shares_the_ids_of_its_item(
  tiny_log: FrameLog, lookback: Lookback
) -> None:
  plain, packed = pack("tiny", tiny_log), pack("tiny", tiny_log, lookback)
  of_item = next(f for f in packed.schema.features if f.name == "author_id")
  bag = next(f for f in packed.schema.features if f.name == "recent_author_id")
  assert (bag.kind, bag.length) == ("bag", lookback.history)
  assert bag.vocabulary_size == of_item.vocabulary_size
  column = [f.name for f in packed.schema.of_kind("categorical")].index("author_id")
  rows = recent_by_brute_force(tiny_log, lookback)
  expected = np.where(rows < 0, 0, packed.ids[:, column][rows])
  np.testing.assert_array_equal(packed.bags[:, -lookback.history :], expected)
  np.testing.assert_array_equal(packed.bags[:, : -lookback.history], plain.bags)
  assert packed.bags.dtype == np.int32


def test_details_tell_how_long_ago_each_event_was_and_what_the_user_did(tiny_log: FrameLog) -> None:
  plain = pack("tiny", tiny_log, Lookback(1.0, 3))
  packed = pack("tiny", tiny_log, Lookback(1.0, 3, history_details=True))
  np.testing.assert_array_equal(packed.bags[:, :-6], plain.bags)
  rows = recent_by_brute_force(tiny_log, Lookback(1.0, 3))
  binary = [task.name for task in tiny_log.tasks if task.kind == "binary"]
  done = (tiny_log.labels[binary].to_numpy() > 0).astype(int)
  ages, actions = np.zeros((2, *rows.shape), int)
  for row, place in zip(*np.nonzero(rows >= 0), strict=True):
    event = rows[row, place]
    seconds = int(tiny_log.time[row] - tiny_log.time[event]) // 1000
    ages[row, place] = 1 + seconds.bit_length()
    actions[row, place] = 1 + int("".join(map(str, reversed(done[event]))), 2)
  np.testing.assert_array_equal(packed.bags[:, -6:-3], ages)
  np.testing.assert_array_equal(packed.bags[:, -3:], actions)
  assert len(np.unique(ages)) > 3
  assert len(np.unique(actions)) > 2
  bags = packed.schema.of_kind("bag")[-3:]
  assert packed.schema.recent == tuple(bag.name for bag in bags)
  assert [bag.name for bag in bags] == [
    f"recent_author_id{what}" for what in ("", "_age", "_actions")
  ]
  assert ages.max() < bags[1].vocabulary_size
  assert bags[2].vocabulary_size == 1 + 2 ** len(binary)


def test_a_log_without_positive_feedback_has_empty_histories(tiny_log: FrameLog) -> None:
  cold = dataclasses.replace(tiny_log, labels=tiny_log.labels.assign(click=0.0))
  assert (pack("tiny", cold, Lookback(history=2)).bags[:, -2:] == 0).all()


@pytest.mark.parametrize("lacking", [{"entities": ("user_id",)}, {"rated_tasks": ()}])
def test_a_log_that_cannot_have_a_history_is_refused(
  tiny_log: FrameLog, lacking: dict[str, Any]
) -> None:
  with pytest.raises(DataError, match="a history needs a user, an item and a rated task"):
    pack("tiny", dataclasses.replace(tiny_log, **lacking), Lookback(history=2))


@pytest.mark.parametrize("lacking", [{"entities": ()}, {"rated_tasks": ()}])
def test_a_delay_that_would_change_nothing_is_refused(
  tiny_log: FrameLog, lacking: dict[str, Any]
) -> None:
  message = (
    r"^Lookback.feedback_delay_hours is 2.0, but .*; only the past labels of an entity can be"
  )
  with pytest.raises(DataError, match=message):
    pack("tiny", dataclasses.replace(tiny_log, **lacking), Lookback(2.0))


@pytest.mark.parametrize(
  ("setting", "message"),
  [
    (
      {"feedback_delay_hours": -1.0},
      "feedback_delay_hours is -1.0; make it a number from 0 to 1,000,000$",
    ),
    (
      {"feedback_delay_hours": math.inf},
      "feedback_delay_hours is inf; make it a number from 0 to 1,000,000$",
    ),
    (
      {"feedback_delay_hours": "2h"},
      "feedback_delay_hours is '2h'; make it a number from 0 to 1,000,000$",
    ),
    ({"history": "3"}, "history is '3'; make it a whole number from 0 to 1,000$"),
    ({"history": 1.5}, "history is 1.5; make it a whole number from 0 to 1,000$"),
    ({"history": True}, "history is True; make it a whole number from 0 to 1,000$"),
    ({"history": 10**9}, "history is 1000000000; make it a whole number from 0 to 1,000$"),
    ({"history": -1}, "history is -1; make it a whole number from 0 to 1,000$"),
    ({"history_details": True}, "history_details is True and Lookback.history 0; make that the"),
    ({"history": 2, "history_details": 1}, "history_details is 1; make it True or False$"),
  ],
)
def test_an_impossible_lookback_is_refused(setting: dict[str, Any], message: str) -> None:
  with pytest.raises(DataError, match=message):
    Lookback(**setting)


def test_another_lookback_is_another_store(tiny_log: FrameLog, tmp_path: Path) -> None:
  lookbacks = [None, Lookback(), Lookback(1.0), Lookback(history=2)]
  stores = [prepare(TinySource(tiny_log), tmp_path, lookback=each).directory for each in lookbacks]
  assert stores[0] == stores[1]
  assert len(set(stores)) == 3
  assert DayStore(stores[2]).card["made_from"]["lookback"] == {
    "feedback_delay_hours": 1.0,
    "history": 0,
  }


def test_a_delay_of_an_hour_is_an_hour() -> None:
  assert Lookback(1.5).delay == 1.5 * MS_PER_HOUR
