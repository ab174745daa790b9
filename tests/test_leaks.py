"""What is known only after the event is found, and what is merely strong is not."""

import numpy as np
import pytest

from ranking.array import Array
from ranking.data import leaks
from ranking.data.schema import Feature, Schema
from ranking.data.store import Day
from ranking.tasks import LabelStatistics, Task

ROWS, DAYS = 2_000, 4
SIZE = ROWS * DAYS
RANDOM = np.random.default_rng(0)
CLICK = RANDOM.random(SIZE) < 0.2
NOISE = RANDOM.normal(size=SIZE).astype(np.float32)
STARS = np.clip(np.round(3 + NOISE), 1, 5)
TASKS = (Task("click", "binary"), Task("stars", "regression"))


def flipped(share: float) -> Array:
  """The label with so many errors."""
  return CLICK ^ (np.random.default_rng(1).random(SIZE) < share)


def found(
  kind: str, column: Array, size: int = 0, honest: tuple[str, ...] = (), days: int = DAYS
) -> list[leaks.Leak]:
  """The leaks of a log with the feature `x` [n, length] and an honest one beside it."""
  column = column.reshape(SIZE, -1)
  features = (
    Feature("x", kind, size, column.shape[1]),  # type: ignore[arg-type]  # one of the three
    Feature("noise", "dense"),
  )
  empty = np.zeros((SIZE, 0), np.int32)
  arrays = {
    "ids": column.astype(np.int32) if kind == "categorical" else empty,
    "bags": column.astype(np.int32) if kind == "bag" else empty,
    "dense": np.stack([*(column.T if kind == "dense" else ()), NOISE[::-1]], axis=1),
    "labels": np.stack([CLICK, STARS], axis=1).astype(np.float32),
    "time": np.arange(SIZE),
  }
  arrays["dense"] = arrays["dense"].astype(np.float32)
  stored = [
    Day(f"day {k}", **{name: array[k * ROWS : (k + 1) * ROWS] for name, array in arrays.items()})
    for k in range(days)
  ]
  schema = Schema(
    dataset="made up",
    features=tuple(sorted(features, key=lambda f: ["categorical", "bag", "dense"].index(f.kind))),
    tasks=TASKS,
    day_names=tuple(day.name for day in stored),
    label_statistics=(LabelStatistics(1, 0.2, 0.1), LabelStatistics(1, 3.0, 1.0)),
  )
  return leaks.find(schema, stored, honest)


AFTER_THE_EVENT = {
  "its opposite": ("dense", 1.0 - 2.0 * CLICK, 0),
  "one error in a hundred": ("dense", 1.0 - 2.0 * flipped(0.01), 0),
  "a number above a limit": ("dense", np.where(CLICK, 5, -5) + NOISE, 0),
  "a number between two limits": ("dense", np.where(CLICK, NOISE / 10, 3 + NOISE / 10), 0),
  "there only where it is 1": ("dense", np.where(CLICK, NOISE, 0.0), 0),
  "a copy that half of the rows have": (
    "dense",
    np.where(NOISE > 0, 1.0 - 2.0 * CLICK, 0.0),
    0,
  ),
  "a word": ("categorical", np.where(CLICK, 3, 2), 4),
  "one of many words": ("categorical", np.where(CLICK, 2 + np.arange(SIZE) % 9, 20), 30),
  # The id of an order is rare, or is missing; on day N it is unseen, which looks as if missing.
  "an id made at the event": (
    "categorical",
    np.where(CLICK & (np.arange(SIZE) < SIZE - ROWS), 1, 0),
    2,
  ),
  "one of a bag": (
    "bag",
    np.stack([2 + np.arange(SIZE) % 50, np.where(CLICK, 60, 0)], axis=1),
    61,
  ),
}


@pytest.mark.parametrize("which", AFTER_THE_EVENT)
def test_what_is_known_after_the_event_is_found(which: str) -> None:
  kind, column, size = AFTER_THE_EVENT[which]
  (leak,) = found(kind, np.asarray(column), size)
  assert (leak.feature, leak.task, leak.measure) == ("x", "click", "AUC")
  assert 0.98 <= leak.figure <= 1
  assert leak.day in {"day 2", "day 3"}


KNOWN_BEFORE = {
  "a strong number": ("dense", 2.3 * CLICK + NOISE, 0),  # AUC 0.95
  "its copy with one error in ten": ("dense", 1.0 - 2.0 * flipped(0.1), 0),
  "a word that triples the odds": ("categorical", 2 + flipped(0.25), 4),
  "an id of each row": ("categorical", 2 + np.arange(SIZE), SIZE + 2),
  "an id of five rows": ("categorical", 2 + np.arange(SIZE) % (SIZE // 5), SIZE),
  "words of no meaning": ("bag", 2 + np.arange(2 * SIZE) % 50, 60),
  "a number that never varies": ("dense", np.zeros(SIZE), 0),
}


@pytest.mark.parametrize("which", KNOWN_BEFORE)
def test_what_may_be_known_before_is_not(which: str) -> None:
  kind, column, size = KNOWN_BEFORE[which]
  assert found(kind, np.asarray(column), size) == []


def test_a_leak_that_the_past_or_an_entity_cannot_be_is_not_looked_for() -> None:
  assert found("dense", 1.0 - 2.0 * CLICK, honest=("x",)) == []
  assert found("dense", 1.0 - 2.0 * CLICK, honest=("noise",)) != []


@pytest.mark.parametrize(("noise", "is_leak"), [(0.0, True), (0.1, True), (0.5, False)])
def test_a_number_that_nearly_is_the_label_leaks_it(noise: float, is_leak: bool) -> None:
  leaking = found("dense", STARS + noise * np.random.default_rng(2).normal(size=SIZE))
  assert [(leak.task, leak.measure) for leak in leaking] == [("stars", "R²")] * is_leak


def test_two_days_are_enough_and_few_positives_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
  (leak,) = found("dense", 1.0 - 2.0 * CLICK, days=2)
  assert leak.day == "day 1"
  monkeypatch.setattr(leaks, "LEAST_ROWS", 1_000)
  assert found("dense", 1.0 - 2.0 * CLICK) == []


def test_a_sample_is_of_all_parts_of_a_day_in_order() -> None:
  rows = np.arange(10_000)
  table = rows[:, None]
  day = Day("day", table, table, table, table, rows)
  some = leaks.sample(day, 100)
  np.testing.assert_array_equal(some.time // 100, np.arange(100))  # one of each hundred
  assert len(set((some.time % 100).tolist())) > 40
  np.testing.assert_array_equal(some.ids[:, 0], some.time)
  np.testing.assert_array_equal(leaks.sample(day, 100).time, some.time)
  np.testing.assert_array_equal(leaks.sample(day, 10_000).time, rows)


def test_the_auc_is_that_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setattr(leaks, "LEAST_ROWS", 1)
  codes, means = np.array([[0], [1], [1], [2], [5]]), np.array([0.1, 0.5, 0.9])
  label = np.array([0.0, 0.0, 1.0, 1.0, 1.0])
  score = np.array([0.1, 0.5, 0.5, 0.9, 0.3])  # what was never seen is as all rows together
  ahead = score[label == 1][:, None] - score[label == 0]
  expected = np.mean((ahead > 0) + 0.5 * (ahead == 0))
  assert leaks._auc(codes, label, means, 0.3) == pytest.approx(expected)
