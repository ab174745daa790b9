"""What would make a figure meaningless, or a column useless, in silence is said, on any log."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranking.array import Array
from ranking.data import remarks as module
from ranking.data.calendar import Calendar
from ranking.data.features import Moments
from ranking.data.prepare import prepare
from ranking.data.remark import Remark, unanswered
from ranking.data.schema import DataError
from ranking.data.sources.table import Table
from ranking.tasks import Task

DAY = 86_400_000
ROWS, DAYS = 200, 6


def calendar(*days: int) -> Calendar:
  """Days of 10 rows each, but for the first, which has one."""
  return Calendar(
    days=days,
    names=tuple(f"day {day}" for day in days),
    rows=(1, *(10 for _ in days[1:])),
    first_times=tuple(day * DAY for day in days),
  )


@pytest.mark.parametrize(
  ("kind", "labelled", "positives", "message"),
  [
    ("binary", [50, 50, 50], [10, 10, 10], None),
    ("binary", [0, 0, 50], [0, 0, 10], "has no label in the training days, 50 on day N: nothing"),
    (
      "regression",
      [0, 0, 0],
      [0, 0, 0],
      "has no label in the training days: nothing can be learnt",
    ),
    ("binary", [50, 50, 50], [0, 0, 10], "is never positive in the training days: nothing can be"),
    ("binary", [50, 50, 50], [50, 50, 10], "is always positive in the training days: nothing can"),
    ("binary", [50, 50, 0], [10, 10, 0], "has no label on day N: its figures are n/a"),
    ("binary", [50, 50, 50], [10, 10, 0], "is never positive on day N: it has no AUC"),
    ("binary", [50, 50, 50], [10, 10, 50], "is always positive on day N: it has no AUC"),
    ("binary", [50, 50, 50], [10, 10, 9], "has 9 positive rows on day N: its AUC says little"),
    ("binary", [50, 50, 50], [10, 10, 42], "has 8 negative rows on day N: its AUC says little"),
    ("regression", [50, 50, 50], [0, 0, 0], None),
  ],
)
def test_a_task_that_cannot_be_learnt_or_judged_is_warned_of(
  kind: str, labelled: list[int], positives: list[int], message: str | None
) -> None:
  columns = np.array(labelled, np.float64)[:, None], np.array(positives)[:, None]
  found = [*module._tasks([Task("click", kind)], *columns, np.array([False]))]
  assert len(found) == (message is not None)
  if message is not None:
    assert found[0].text.startswith(f"task click {message}")
    assert found[0].tasks == ["click"]


def test_a_number_that_is_one_value_in_all_training_rows_is_warned_of() -> None:
  columns = np.full((3, 1), 50.0), np.full((3, 1), 50)
  (found,) = module._tasks([Task("stars", "ordered")], *columns, np.array([True]))
  assert found.text.startswith("task stars has one value in all training rows: nothing can be")


def test_rows_years_before_or_after_the_others_are_warned_of() -> None:
  assert [*module._days(calendar(20_000, 20_001, 20_300))] == []
  (found,) = module._days(calendar(0, 20_000, 20_001))
  assert found.text == (
    "1 of 21 rows are of day 0 or before, 54.8 years before all others; they are kept: if a clock "
    "or a unit of time was wrong, leave them out (Table.since)"
  )
  (found,) = module._days(calendar(20_000, 20_001, 20_002, 25_000))
  assert found.text.startswith("10 of 31 rows are of day 25000 or after, 13.7 years after all")


def test_days_that_may_have_been_read_as_months_are_warned_of() -> None:
  march = [
    f"2026-{day:02}-03" for day in range(1, 11)
  ]  # the first ten days of March as the US has them
  days = calendar(*range(20_000, 20_010))
  (found,) = module._days(dataclasses.replace(days, names=tuple(march)))
  assert found.text == (
    "its 10 days span 274, and would span 10 if day and month are the other way round: if they "
    "are, mend Table.time_format"
  )
  for whole in (
    [f"2026-03-{day:02}" for day in range(1, 11)],
    [f"2026-{month:02}-{day:02}" for month in (1, 2, 3) for day in range(1, 13)],
    [*march, "2026-11-13"],  # which no calendar has the other way round
    ["2026-01-03", "2026-02-03"],
    [f"slice {k}" for k in range(5)],
  ):
    days = calendar(*range(20_000, 20_000 + len(whole)))
    assert [*module._days(dataclasses.replace(days, names=tuple(whole)))] == []


def amounts(*days: Array, kind: str = "regression") -> list[str]:
  """What is said of a task's labels, by day."""
  moments = [Moments.of(day[:, None]) for day in days]
  names = [f"day {k}" for k in range(len(days))]
  return [remark.text for remark in module._amounts([Task("price", kind)], moments, names)]


SMALL = np.random.default_rng(0).random(200)  # 0 to 1


def test_amounts_of_one_size_are_not_warned_of() -> None:
  assert amounts(SMALL, SMALL, 5 * SMALL) == []
  assert amounts(np.zeros(200), np.zeros(200), np.zeros(200)) == []
  assert amounts(np.full(200, np.nan), SMALL, SMALL) == []
  assert amounts(np.exp(2 * np.random.default_rng(0).standard_normal(200)), SMALL, SMALL) == []


def test_a_row_that_makes_all_of_the_spread_of_a_target_is_warned_of() -> None:
  (said,) = amounts(SMALL, np.append(SMALL, -1e9), SMALL)
  assert said == (
    "task price: the training row with -1e+09 makes 99.8% of the spread of all, beside which the "
    "others are alike; mend or drop it, or learn logarithms (target_scale)"
  )
  assert amounts(SMALL, SMALL, np.append(SMALL, 20.0)) == []  # which training does not see
  (of_counts,) = amounts(SMALL, np.append(SMALL, 1e9), SMALL, kind="count")
  assert of_counts.endswith("mend or drop it")
  rare = np.array([*[0.0] * 97, 1.0])
  assert amounts(rare, SMALL) == []  # an event in few rows


@pytest.mark.parametrize("place", [0, 2])
def test_a_day_in_another_unit_is_warned_of(place: int) -> None:
  days = [SMALL, SMALL, SMALL, SMALL, SMALL]
  days[place] = 100 * SMALL
  (said,) = amounts(*days)
  assert said.startswith(f"task price: labels of day {place} are 100 times those of the median")
  days[place] = SMALL / 100
  (said,) = amounts(*days)
  assert said.startswith(f"task price: labels of day {place} are 0.01 times those of the median")


def test_a_target_whose_digits_32_bits_do_not_hold_is_warned_of() -> None:
  near = np.round(1.7e9 + 500 * SMALL)
  (said,) = amounts(near, near, near)
  assert said == (
    "task price: labels are kept in 32 bits, which near 1.7e+09 are 2e+02 apart, and they deviate "
    "by 1.5e+02; take away a constant"
  )


def test_a_number_beside_which_all_others_are_the_same_is_warned_of() -> None:
  columns = np.stack([SMALL, np.append(SMALL[1:], 1e6)], axis=1)
  (found,) = module._lone_numbers(Moments.of(columns), ["size", "age"])
  assert found.features == ["age"]
  assert found.text.startswith("feature age: the training row with 1e+06 makes 99.5% of the spread")
  heavy = Moments.of(columns, np.append(np.ones(199), 1e-9))
  assert [*module._lone_numbers(heavy, ["size", "age"])] == []  # the weight of the row is not known


def test_a_day_n_of_few_rows_is_warned_of() -> None:
  days = dataclasses.replace(calendar(1, 2, 3), rows=(90, 90, 30))
  assert [*module._days(days)] == []
  (found,) = module._days(dataclasses.replace(days, rows=(90, 90, 29)))
  assert found.text == (
    "day N, day 3, has 29 rows, the median training day 90: if it is not whole, leave it out "
    "(without_last_days=1)"
  )


def log(folder: Path, **columns: Sequence[Any]) -> tuple[str, dict[str, Sequence[Any]]]:
  """A log of some days, evenly spaced, of 20 users and 30 items; further columns as they are."""
  random = np.random.default_rng(0)
  size = ROWS * DAYS
  seconds = 1_770_000_000 // 86_400 * 86_400 + np.arange(size) * (86_400 // ROWS)
  table: dict[str, Sequence[Any]] = {
    "t": seconds.tolist(),
    "u": random.integers(0, 20, size).tolist(),
    "i": random.integers(0, 30, size).tolist(),
    "click": random.integers(0, 2, size).tolist(),
    "age": random.normal(size=size).round(3).tolist(),
    **columns,
  }
  path = folder / "log.csv"
  with open(path, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
  return str(path), table


def warned(
  folder: Path,
  columns: Mapping[str, Sequence[Any]],
  categorical: Sequence[str] = (),
  dense: Sequence[str] = (),
  bags: Sequence[str] = (),
) -> list[str]:
  """The warnings in the card of a log with these columns."""
  raw, _ = log(folder, **columns)
  source = Table(
    raw=raw,
    name="made_up",
    time="t",
    time_unit="s",
    categorical=["u", "i", *categorical],
    entities=["u", "i"],
    dense=["age", *dense],
    bags=bags,
    binary=["click"],
  )
  return unanswered(prepare(source, folder / "store").card)


def test_an_honest_log_of_days_alike_gives_no_warning(tmp_path: Path) -> None:
  # Its counts of the past grow from day to day, its weekday is another one each day.
  weekday = np.repeat(np.arange(DAYS), ROWS).tolist()
  assert warned(tmp_path, {"weekday": weekday}, ["weekday"]) == []


def test_a_list_that_is_far_longer_than_others_is_warned_of_and_a_huge_one_refused(tmp_path: Path):
  def lists(longest: int) -> dict[str, Sequence[str]]:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 5, ROWS * DAYS)
    lengths[500] = longest
    return {"tags": [",".join(map(str, random.integers(0, 9, length))) for length in lengths]}

  assert warned(tmp_path, lists(64), bags=["tags"]) == []
  (said,) = warned(tmp_path, lists(4096), bags=["tags"])
  assert said.startswith("bag tags: its longest list has 4,096 values, and lists have ")
  with pytest.raises(DataError, match="bag tags has a list of 4,097 values, and every row takes"):
    warned(tmp_path, lists(4097), bags=["tags"])


def test_a_leak_comes_first_and_columns_of_no_use_are_named_together(tmp_path: Path) -> None:
  size = ROWS * DAYS
  _, table = log(tmp_path)
  columns: dict[str, Sequence[Any]] = {
    "nonclk": [1 - click for click in table["click"]],
    **{"empty": [""] * size, "void": [""] * size, "same": ["x"] * size},
    **{"one": [3.5] * size, "row_id": [f"r{k}" for k in range(size)]},
  }
  found = warned(tmp_path, columns, ["empty", "same", "row_id"], ["nonclk", "void", "one"])
  assert found == [
    "feature nonclk alone predicts click on 2026-02-06 almost perfectly (AUC 1.000): if it is "
    "known only after the event, it is a leak; leave it out (Inputs.without_features)",
    "features void, empty: without a value in all training rows, so nothing can be learnt of it",
    "features one, same: the same in all training rows, so nothing can be learnt of it",
    "feature row_id: rare in all training rows, no value being there three times, so nothing can "
    "be learnt of it",
  ]


def test_a_column_that_is_another_one_on_day_n_is_warned_of(tmp_path: Path) -> None:
  size, last = ROWS * DAYS, ROWS * (DAYS - 1)
  random = np.random.default_rng(1)
  price = random.normal(size=size)
  price[last:] += 3  # in another currency
  country = random.choice(["AT", "DE", "FR"], size).astype(object)
  country[last:] = [value.lower() for value in country[last:]]
  found = warned(
    tmp_path, {"price": price.tolist(), "country": country.tolist()}, ["country"], ["price"]
  )
  assert found[0] == "on 2026-02-07 100% of rows have a country that no training day has"
  assert len(found) == 2
  assert found[1].startswith(
    "feature price jumps on 2026-02-07: it differs from the day before by a PSI of "
  )


def test_a_number_that_stands_for_a_missing_one_is_warned_of(tmp_path: Path) -> None:
  random = np.random.default_rng(2)
  size = ROWS * DAYS
  shares = random.random(size)
  some = random.random(size) < 0.05
  columns = {
    "low": np.where(some, -999, shares),
    "high": np.where(some, 9_999_999, random.integers(1, 7, size)),
    "year": np.where(some, 0, random.integers(1990, 2026, size)),
    "zero": np.where(some, 0, shares),
    "tail": np.exp(3 * random.standard_normal(size)),
    "flag": some.astype(int),
  }
  lists = {name: values.tolist() for name, values in columns.items()}
  found = warned(tmp_path, lists, dense=list(lists))
  what = "if that stands for a missing one, say so (Table.missing)"
  assert found == [
    f"feature {name}: {some[:-ROWS].mean():.0%} of rows have its {which} value, far from all "
    f"others; {what}"
    for name, which in (("low", "lowest"), ("high", "highest"), ("year", "lowest"))
  ]


def test_ids_that_are_new_each_day_are_no_warning(tmp_path: Path) -> None:
  size = ROWS * DAYS
  random = np.random.default_rng(2)
  video = np.arange(size) // ROWS * 10 + random.integers(0, 25, size)  # 10 of 25 a day are new
  assert warned(tmp_path, {"video": video.tolist()}, ["video"]) == []


def test_a_warning_is_answered_by_leaving_out_all_that_it_is_about() -> None:
  kept = [
    Remark("of a task", tasks=["click"]),
    Remark("of features", features=["a", "b"]),
    Remark("of a leak", features=["a"], tasks=["click"]),
    Remark("of the days"),
  ]
  card = {"warnings": [remark._asdict() for remark in kept]}
  assert unanswered(card) == [remark.text for remark in kept]
  assert unanswered(card, without_tasks=["click"]) == ["of features", "of the days"]
  assert unanswered(card, without_features=["a"]) == ["of a task", "of features", "of the days"]
  assert unanswered(card, ["click"], ["a", "b"]) == ["of the days"]
  assert unanswered({}) == []  # of an older store
