"""What a raw column is read as: each value as it is meant, or as wrong, never as something else."""

import datetime
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ranking.data.values import Bag, Flag, Id, Kind, Number, Time, looks_unsplit


def read(kind: Kind, column: Any, *missing: str) -> list[Any]:
  """The values, and "wrong" for what is something else."""
  array = column if isinstance(column, pa.Array) else pa.array(column)
  found = kind.read(array, missing)
  assert found.values.type == kind.type
  return [
    "wrong" if wrong else value
    for value, wrong in zip(found.values.to_pylist(), found.wrong, strict=True)
  ]


@pytest.mark.parametrize(
  ("column", "expected"),
  [
    (["a", " a ", "", None, "5", "5.0", "05", "-3.00", "1.5", "a.0"], None),
    ([5, None, 2**60 + 1], ["5", None, str(2**60 + 1)]),
    ([5.0, np.nan, 0.5, None, 1e300], ["5", None, "0.5", None, "1e+300"]),
    ([True, False, None], ["True", "False", None]),
    (pa.array(["x", None, "x"]).dictionary_encode(), ["x", None, "x"]),
    ([["a"], None], ["wrong", None]),
    ([{"a": 1}], ["wrong"]),
    ([b"ab"], ["ab"]),
    ([datetime.date(2026, 3, 1)], ["2026-03-01"]),
  ],
)
def test_ids_are_text_and_a_whole_number_is_one_id_in_every_form(
  column: Any, expected: list[Any] | None
) -> None:
  if expected is None:
    expected = ["a", "a", None, None, "5", "5", "05", "-3", "1.5", "a.0"]
  assert read(Id(), column) == expected


def test_words_for_nothing_are_values_unless_they_are_said_to_be_missing() -> None:
  words = ["NA", "None", "null", "nan", "-"]
  assert read(Id(), words) == words
  assert read(Id(), words, "NA", "-") == [None, "None", "null", "nan", None]
  assert read(Number(), ["1", "NA"]) == [1.0, "wrong"]
  assert read(Number(), ["1", "NA"], "NA") == [1.0, None]
  assert read(Flag(), ["1", "NA"], "NA") == [1, None]


def test_what_is_changed_is_counted() -> None:
  assert Id().read(pa.array([" a", "b", "NA", " "]), ["NA"]).counts == {
    "trimmed: blanks around values of {column}": 1,
    "missing: values of {column} that Table.missing names": 1,
  }


@pytest.mark.parametrize(
  ("kind", "column", "expected"),
  [
    (Number(), ["1", " -2.5 ", "1e3", "+4", "", None], [1.0, -2.5, 1000.0, 4.0, None, None]),
    (Number(), ["x", "1,5", "nan", "inf", "1e400", "1e308", "0x10"], ["wrong"] * 7),
    (Number(), ["3.4e38", "3.5e38"], [3.4e38, "wrong"]),
    (Number(logarithm=True), ["0", "1e308", "-1", "-0.5"], [0.0, 1e308, "wrong", "wrong"]),
    (Number(decimal=","), ["1,5", "2", "-,5", "1.5"], [1.5, 2.0, -0.5, "wrong"]),
    (Number(), [1.5, np.nan, None, np.inf], [1.5, None, None, "wrong"]),
    (Number(), [True, False, None], [1.0, 0.0, None]),
    (Number(), [[1.0]], ["wrong"]),
    (Number(), pa.array([1, 2], pa.decimal128(5, 1)), [1.0, 2.0]),
  ],
)
def test_numbers_are_finite_and_no_larger_than_they_can_be_stored(
  kind: Kind, column: Any, expected: list[Any]
) -> None:
  assert read(kind, column) == expected


def test_yes_and_no_are_told_in_the_style_they_are_written_in() -> None:
  texts = ["0", "1.0", "False", "TRUE", "no", "Yes", "n", "y", "f", "t", "", "-1", "2", "maybe"]
  codes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, None, "wrong", "wrong", "wrong"]
  assert read(Flag(), texts) == codes
  assert read(Flag(), [True, False, None]) == [3, 2, None]
  assert read(Flag(), [1, 0, 2]) == [1, 0, "wrong"]
  assert read(Flag(), [1.0, np.nan]) == [1, None]


@pytest.mark.parametrize(
  ("kind", "column", "expected"),
  [
    (Bag(), ["a,b", " a , ", "", None, "5.0"], [["a", "b"], ["a"], None, None, ["5"]]),
    (Bag("|"), ["a|b", "a,b"], [["a", "b"], ["a,b"]]),
    (Bag(" "), ["a  b"], [["a", "b"]]),
    (Bag(), ['["a", "b"]', "['a', 'b']", "[1, 2.0]", "[]"], [["a", "b"]] * 2 + [["1", "2"], []]),
    (Bag(), ["[a", "[a]", '[["a"]]'], [["[a"], "wrong", "wrong"]),
    (Bag(), [["a", None, " b"], [], None, ["5.0"]], [["a", "b"], [], [], ["5"]]),
    (Bag(), [[[1]], [[2]]], ["wrong", "wrong"]),
    (Bag(), pa.array([[1, 2], None, [3]])[1:], [[], ["3"]]),
  ],
)
def test_bags_are_lists_or_text_that_is_cut(kind: Bag, column: Any, expected: list[Any]) -> None:
  assert read(kind, column) == expected


MARCH = 1_772_323_200_000  # 2026-03-01, UTC


@pytest.mark.parametrize(
  ("kind", "column", "expected"),
  [
    (Time(), ["2026-03-01", "2026-03-01T01:00+01:00", "2026-03-01 00:00:00.000Z"], [MARCH] * 3),
    (Time(), ["2026-03-01T00:00:00.0019", "20260301"], [MARCH + 1, MARCH]),
    (Time(), ["2026-03-01", "", None, "soon", "17"], [MARCH, *["wrong"] * 4]),
    (Time(format="%y%m%d%H"), ["26030100", "26033100x"], [MARCH, "wrong"]),
    (Time(format="%y%m%d%H"), [26030100], [MARCH]),
    (Time(format="%m/%d/%Y %I:%M %p"), ["03/01/2026 12:00 AM"], [MARCH]),
    (Time("s"), [MARCH // 1000, None], [MARCH, "wrong"]),
    (Time("s"), [str(MARCH // 1000), f"{MARCH // 1000}.5", "x"], [MARCH, MARCH + 500, "wrong"]),
    (Time("ns"), [f"{MARCH}999999"], [MARCH]),
    (Time("us"), [MARCH * 1000 + 1999], [MARCH + 1]),
    (Time("s"), [0, 86_400, 100_000], [0, 86_400_000, 100_000_000]),  # of an unknown start
    (Time("s"), [MARCH // 1000, MARCH // 1000, 5], [MARCH, MARCH, 5000]),  # a clock that was wrong
    (Time(), pa.array([MARCH * 1000], pa.timestamp("us")), [MARCH]),
    (Time(), pa.array([MARCH], pa.timestamp("ms", "Asia/Tokyo")), [MARCH]),
    (Time(), [datetime.date(2026, 3, 1), None], [MARCH, "wrong"]),
    (Time(), [1.5], ["wrong"]),
    (Time(), pa.nulls(1), ["wrong"]),
  ],
)
def test_times_are_ms_since_1970_in_utc(kind: Time, column: Any, expected: list[Any]) -> None:
  assert read(kind, column) == expected


def test_local_times_are_those_on_the_wall_of_their_zone() -> None:
  texts = ["2026-03-29T01:59", "2026-03-29T02:30", "2026-10-25T02:30", "2026-10-25T02:30:00Z"]
  kind = Time(zone="Europe/Berlin")
  expected = pd.to_datetime(
    ["2026-03-29T00:59", "2026-03-29T01:30", "2026-10-25T00:30", "2026-10-25T02:30"]
  )
  for column in (texts, texts[:3], pa.array(pd.to_datetime(texts[:3]))):
    ms = expected[: len(column)].astype("datetime64[ms]").astype(np.int64)
    assert read(kind, column) == ms.tolist()
  assert kind.read(pa.array(texts), ()).counts == {
    "kept: times in an hour that the clocks repeat, taken as the earlier": 1,
    "kept: times in an hour that the clocks skip, taken an hour later": 1,
  }
  stated = Time(format="%d.%m.%Y %H:%M", zone="Europe/Berlin")
  assert read(stated, ["01.03.2026 01:00"]) == [MARCH]


@pytest.mark.parametrize(
  ("kind", "column", "cure"),
  [
    (
      Time("ms"),
      [MARCH // 1000],
      'be in the year 1970; Table.time_unit = "s" makes it 2026-',
    ),
    (Time("s"), [MARCH], 'in the year 58132; Table.time_unit = "ms" makes it 2026-03-01'),
    (Time("us"), [MARCH * 10**6], 'Table.time_unit = "ns" makes it 2026-03-01'),
    (Time(), [MARCH], 'Table.time_unit = "ms" makes it 2026-03-01'),
    (Time(), [str(MARCH // 1000)], 'Table.time_unit = "s" makes it 2026-03-01'),
    (Time(), ["26030100", "26030123"], 'give Table.time_format = "%y%m%d%H"'),
    (Time(), ["03/13/2026 12:04 AM"] * 2 + ["03/14/2026 1:04 PM"], '"%m/%d/%Y %I:%M %p"'),
    (Time(), ["01/02/2026", "03/02/2026"], 'time_format = "%m/%d/%Y" or "%d/%m/%Y"'),
  ],
)
def test_times_in_another_unit_or_format_than_was_said_come_with_the_one_that_fits(
  kind: Time, column: list[Any], cure: str
) -> None:
  found = kind.read(pa.array(column), ())
  assert found.wrong.all()
  assert cure in found.cure


def test_bags_that_seem_to_be_cut_at_the_wrong_place_are_told() -> None:
  assert looks_unsplit(Counter({"a|b": 20, "c|d": 30}), None) == "|"
  assert looks_unsplit(Counter({"a|b": 20, "c|d": 30}), "|") is None
  assert looks_unsplit(Counter({"a,b": 20, "c": 30}), None) is None
  assert looks_unsplit(Counter({"a,b": 40, "c": 30}), "|") == ","
  assert looks_unsplit(Counter({f"word{k}": 1 for k in range(50)}), None) == ""
  assert looks_unsplit(Counter({"food": 50}), None) is None
  assert looks_unsplit(Counter({"a|b": 2}), None) is None  # too few to tell
