"""What a raw column is read as: each value as it is meant, or as wrong, never as something else."""

import datetime
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ranking.data.values import Bag, Flag, Id, Kind, Number, looks_unsplit


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


def test_bags_that_seem_to_be_cut_at_the_wrong_place_are_told() -> None:
  assert looks_unsplit(Counter({"a|b": 20, "c|d": 30}), None) == "|"
  assert looks_unsplit(Counter({"a|b": 20, "c|d": 30}), "|") is None
  assert looks_unsplit(Counter({"a,b": 20, "c": 30}), None) is None
  assert looks_unsplit(Counter({"a,b": 40, "c": 30}), "|") == ","
  assert looks_unsplit(Counter({f"word{k}": 1 for k in range(50)}), None) == ""
  assert looks_unsplit(Counter({"food": 50}), None) is None
  assert looks_unsplit(Counter({"a|b": 2}), None) is None  # too few to tell
