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
    (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), ["wrong"]),
    ([5.0, np.inf, -np.inf], ["5", "wrong", "wrong"]),
    ([b"ab"], ["ab"]),
    (pa.array([b"ab"], pa.binary_view()), ["ab"]),
    (
      pa.array([b"0123456789abcdef"], pa.uuid()),
      ["30313233-3435-3637-3839-616263646566"],
    ),
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


@pytest.mark.parametrize("column", [["-1", "-1.0", "2"], [-1.0, -1.0, 2.0], [-1, -1, 2]])
@pytest.mark.parametrize("missing", ["-1", "-1.0"])
def test_a_number_that_means_missing_does_so_however_it_is_written(
  column: list[Any], missing: str
) -> None:
  assert read(Id(), column, missing) == [None, None, "2"]
  found = Number().read(pa.array(column), [missing])
  assert found.values.to_pylist() == [None, None, 2.0]
  assert found.counts == {"missing: values of {column} that Table.missing names": 2}
  assert read(Number(), ["-999.90", "-9.999e2", "1"], "-999.9") == [None, None, 1.0]
  assert read(Number(decimal=","), [-1.0, 0.5], missing) == [None, 0.5]


@pytest.mark.parametrize(
  "column",
  [["NA|a", "NA", "1.0|b"], [["NA", "a"], ["NA"], ["1.0", "b"]], ['["NA", "a"]', "NA", "b|1"]],
)
def test_an_id_of_a_bag_that_means_missing_is_none(column: list[Any]) -> None:
  found = Bag("|").read(pa.array(column), ["NA", "1"])
  assert [each or [] for each in found.values.to_pylist()] == [["a"], [], ["b"]]
  assert found.counts["missing: values of {column} that Table.missing names"] == 3


def test_what_is_changed_is_counted() -> None:
  assert Id().read(pa.array([" a", "b", "NA", " "]), ["NA"]).counts == {
    "trimmed: blanks around values of {column}": 1,
    "missing: values of {column} that Table.missing names": 1,
  }


@pytest.mark.parametrize(
  ("column", "lost"),
  [
    (["1.23E+17", "1.2e5", "1e5", "123456789012345678", "0e0"], 2),
    ([2.0**53, 2.0**53 - 1, np.nan], 1),
    (pa.array([2**24, 2**24 - 1], pa.float32()), 1),
    (pa.array([2**60 + 1]), 0),
  ],
)
def test_ids_that_a_program_rounded_are_counted(column: Any, lost: int) -> None:
  counts = Id().read(pa.array(column), []).counts
  what = "kept: ids of {column} that are rounded numbers, of which several may be one"
  assert counts.get(what, 0) == lost


@pytest.mark.parametrize(
  ("decimal", "texts", "alike"),
  [
    (".", ["1.234"] * 20 + ["900"], 20),
    (",", ["12,345"] * 20 + ["900"], 20),
    (".", ["1.234"] * 20 + ["1234"], 0),
    (".", ["1.234"] * 20 + ["1.5", "2"], 0),
    (".", ["0.234"] * 20 + ["2"], 0),
    (".", ["1.234"] * 20, 0),  # of three digits each
  ],
)
def test_numbers_that_look_like_thousands_are_counted(
  decimal: str, texts: list[str], alike: int
) -> None:
  counts = Number(decimal=decimal).read(pa.array(texts), []).counts
  assert sum(counts.values()) == alike


@pytest.mark.parametrize(
  ("kind", "column", "expected"),
  [
    (Number(), ["1", " -2.5 ", "1e3", "+4", "", None], [1.0, -2.5, 1000.0, 4.0, None, None]),
    (Number(), ["x", "1,5", "nan", "inf", "1e400", "1e308", "0x10"], ["wrong"] * 7),
    (Number(), ["3.4e38", "3.5e38"], [3.4e38, "wrong"]),
    (Number(logarithm=True), ["0", "1e308", "-1", "-0.5"], [0.0, 1e308, "wrong", "wrong"]),
    (Number(decimal=","), ["1,5", "2", "-,5", "1.5"], [1.5, 2.0, -0.5, "wrong"]),
    (Number(decimal=","), [1.5, None], [1.5, None]),
    (Number(), [1.5, np.nan, None, np.inf], [1.5, None, None, "wrong"]),
    (Number(), [True, False, None], [1.0, 0.0, None]),
    (Number(), [[1.0]], ["wrong"]),
    (Number(), [datetime.timedelta(1), None], ["wrong", None]),
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
    (Bag("|"), ["a|b", "a,b", "[a]|b]"], [["a", "b"], ["a,b"], ["[a]", "b]"]]),
    (Bag("|"), ['["a|b", "c"]', "['d']", '[["a"]]'], [["a|b", "c"], ["d"], "wrong"]),
    (Bag(), ["('a', 'b')", "{'a', 'b'}", "(none)"], [["a", "b"], ["a", "b"], ["(none)"]]),
    (Bag(), ["['a' 'b']", "[1 2]", "{a,b}", '{"a": 1}'], ["wrong"] * 4),  # of NumPy, of SQL
    (Bag(), ["((1, 2), (3, 4))", "[" * 9999 + "]" * 9999], ["wrong"] * 2),
    (Bag(" "), ["a  b"], [["a", "b"]]),
    (Bag(), ['["a", "b"]', "['a', 'b']", "[1, 2.0]", "[]"], [["a", "b"]] * 2 + [["1", "2"], []]),
    (Bag(), ["[a", "[a]", '[["a"]]'], [["[a"], "wrong", "wrong"]),
    (Bag(), [["a", None, " b"], [], None, ["5.0"]], [["a", "b"], [], [], ["5"]]),
    (Bag(), [[[1]], [[2]]], ["wrong", "wrong"]),
    (Bag(), pa.array([[1, 2], None, [3]])[1:], [[], ["3"]]),
    (Bag(), pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2))[1:], [[], ["3", "4"]]),
    (Bag(), pa.array([["a"], None, []], pa.list_view(pa.string())), [["a"], [], []]),
    (Bag(), pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())), ["wrong", None]),
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
  assert looks_unsplit(Counter({"[1 2]": 50}), "|") == " "
  assert looks_unsplit(Counter({"[1, 2]": 50}), "|") is None


def test_what_is_no_number_does_not_change_how_others_are_read() -> None:
  texts = ["0.1", "+.5e+1", "5.", "12345678901234567890", "2.2250738585072014e-308"]
  expected = [0.1, 5.0, 5.0, 12345678901234567890.0, 2.2250738585072014e-308]
  odd = ["1_000", "0x10", "5-", "(5)", "1 000", "--5", "1d5", "\uff15", "$5", "True"]
  assert read(Number(), texts) == expected
  assert read(Number(), texts + odd) == expected + ["wrong"] * len(odd)
