"""Labels by expression: what the columns are read as, and what it comes to."""

from typing import Any

import ibis
import pandas as pd
import pytest

from ranking.data.expression import Expression, Type
from ranking.data.schema import DataError

ROWS = pd.DataFrame(
  {
    "event": ["buy", "view", None, "order"],
    "rating": [5.0, 3.0, 4.0, None],
    "done": [True, False, None, True],
  }
)


def worked_out(text: str, truth: bool = True) -> list[Any]:
  """What it comes to on ROWS; None where it has no value."""
  table = ibis.memtable(ROWS)

  def resolve(name: str, kind: Type) -> Any:
    del kind
    return table[{"an event": "event", "a `b": "event", "log.rating": "rating"}.get(name, name)]

  value = Expression(text, truth).value(resolve).name("value")
  found = ibis.duckdb.connect().to_pyarrow(table.select(value))
  return found["value"].to_pylist()


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("event == 'buy'", [True, False, None, False]),
    ("event != 'buy'", [False, True, None, True]),
    ("event in ['buy', 'order']", [True, False, None, True]),
    ("event not in ['buy', 'order']", [False, True, None, False]),
    ("rating >= 4", [True, False, True, None]),
    ("3 < rating <= 4", [False, False, True, None]),
    ("rating in [3, 4]", [False, True, True, None]),
    ("rating in [-3, 4.0]", [False, False, True, None]),
    ("event is not None", [True, True, False, True]),
    ("rating is None or event == 'view'", [False, True, None, True]),
    ("done", [True, False, None, True]),
    ("not done", [False, True, None, False]),
    ("done == False", [False, True, None, False]),
    ("done and rating > 4", [True, False, False, None]),
    ("done or rating > 3", [True, False, True, True]),
    ("rating * 2 - 1 == 9", [True, False, False, None]),
    ("`an event` == 'buy'", [True, False, None, False]),
    ("log.rating > 3", [True, False, True, None]),
    ("`a ``b` == 'buy'", [True, False, None, False]),
    ("event == 'a`buy`'", [False, False, None, False]),
    ("(event == 'buy') + 2 * (event == 'view') > 1", [False, True, None, False]),
  ],
)
def test_an_expression_says_yes_no_or_nothing(text: str, expected: list[Any]) -> None:
  assert worked_out(text) == expected


def test_an_expression_may_be_a_number() -> None:
  assert worked_out("rating / 2 + 0.5", truth=False) == [3.0, 2.0, 2.5, None]


@pytest.mark.parametrize(
  ("text", "truth", "expected"),
  [
    ("a == 'x' and b > 1 or c", True, [("a", "id"), ("b", "number"), ("c", "flag")]),
    ("winner == clicked", True, [("winner", "id"), ("clicked", "id")]),
    ("high > low", True, [("high", "number"), ("low", "number")]),
    ("price", False, [("price", "number")]),
    ("`a b` == True", True, [("a b", "flag")]),
    (f"item == {2**60 + 1}", True, [("item", "id")]),  # which is no float
    (f"item in [1, {2**60 + 1}]", True, [("item", "id")]),
    ("item in [1, 'x']", True, [("item", "id")]),
    ("day >= '2026-03-01'", True, [("day", "id")]),
  ],
)
def test_what_a_column_is_read_as_follows_from_its_place(
  text: str, truth: bool, expected: list[tuple[str, str]]
) -> None:
  assert list(Expression(text, truth).columns()) == expected


def test_a_column_alone_may_have_any_name() -> None:
  for name in ("a`b", "`a`", "it's", 'a "b"', "and"):
    assert list(Expression.of_column(name, truth=True).columns()) == [(name, "flag")]


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("event = 'buy'", r"^\"event = 'buy'\" is no expression; write it like event == 'buy'"),
    ("__import__('os')", r"cannot be worked out at \"__import__\('os'\)\"; it may compare"),
    ("event == other(1)", r"cannot be worked out at 'other\(1\)'"),
    ("a / b > 1", r"cannot be worked out at 'a / b'"),
    ("a / 0 > 1", r"cannot be worked out at 'a / 0'"),
    ("1 == 1", r"cannot be worked out at '1'"),
    ("1", r"^the expression '1' names no column; it may compare"),
    ("event in names", r"cannot be worked out at 'names'"),
    ("event in []", r"at '\[\]'; give numbers or texts, such as event in \['buy', 'order'\]$"),
    ("event in [None]", r"cannot be worked out at '\[None\]'; give numbers or texts"),
    (
      "event is 'buy'",
      r"at \"'buy'\"; is and is not ask whether there is a value: write is not None$",
    ),
    ("rating > '9'", r"at \"'9'\"; leave out the quotes around a number$"),  # 10 would be less
    (f"item > {2**53 + 1}", r"at '9007199254740993'; compare with 9007199254740992 at most$"),
    ("a + b", r"cannot be worked out at 'a \+ b'; compare it with a number, such as a \+ b > 0$"),
  ],
)
def test_what_is_no_expression_is_refused(text: str, message: str) -> None:
  with pytest.raises(DataError, match=message):
    Expression(text, truth=True)
