"""Checks of settings: what passes, what does not, and what the one line says."""

import dataclasses
import math
import re
from typing import Any

import pytest

from ranking.checks import Checks
from ranking.data.lookback import Lookback
from ranking.data.schema import DataError
from ranking.data.sources.kuairand import KuaiRand
from ranking.data.sources.kuairec import KuaiRec
from ranking.data.sources.movielens import MovieLens
from ranking.data.sources.synthetic import Synthetic
from ranking.data.sources.table import Table


class Wrong(ValueError):
  """The error of a caller."""


CHECK = Checks("Owner", Wrong)


@pytest.mark.parametrize(
  ("check", "value"),
  [
    (lambda value: CHECK.whole("x", value, 1, 9), 9),
    (lambda value: CHECK.whole("x", value, 0), 10**30),
    (lambda value: CHECK.number("x", value, 0, 4), 4),
    (lambda value: CHECK.number("x", value, 0), 1e300),
    (lambda value: CHECK.share("x", value), 1.0),
    (lambda value: CHECK.flag("x", value), False),
    (lambda value: CHECK.text("x", value), "a b"),
    (lambda value: CHECK.choice("x", value, ("a", None)), None),
    (lambda value: CHECK.names("x", value), ()),
    (lambda value: CHECK.names("x", value), ["a", "b"]),
  ],
)
def test_what_is_right_is_given_back(check: Any, value: Any) -> None:
  assert check(value) is value


@pytest.mark.parametrize(
  ("check", "values", "cure"),
  [
    (
      lambda value: CHECK.whole("x", value, 1, 9000),
      [0, 9001, True, 3.0, "3", None, math.nan, [3]],
      "make it a whole number from 1 to 9,000",
    ),
    (lambda value: CHECK.whole("x", value, 0), [-1, "0"], "make it a whole number, 0 or more"),
    (
      lambda value: CHECK.number("x", value, 0, 4),
      [-0.1, 4.1, True, "1", None, math.nan, math.inf, [1.0]],
      "make it a number from 0 to 4",
    ),
    (lambda value: CHECK.number("x", value, 0), [math.inf, -1], "make it a number, 0 or more"),
    (lambda value: CHECK.share("x", value, 0.5), [0.6], "make it a number from 0 to 0.5"),
    (lambda value: CHECK.flag("x", value), [1, "no", None, 0.0], "make it True or False"),
    (lambda value: CHECK.text("x", value, "a path"), ["", " ", 5, None, "\0"], "make it a path"),
    (
      lambda value: CHECK.choice("x", value, ("a", 1, None)),
      ["b", True, ["a"]],
      "make it 'a', 1 or None",
    ),
    (
      lambda value: CHECK.names("x", value, "columns"),
      ["user", 5, None, [5], [""], {"user": 1}],
      "make it a list of columns, each in quotes",
    ),
    (lambda value: CHECK.names("x", value), [["a", "b", "a"]], "name a once"),
  ],
)
def test_what_is_wrong_is_one_line_with_the_setting_its_value_and_the_cure(
  check: Any, values: list[Any], cure: str
) -> None:
  for value in values:
    with pytest.raises(Wrong, match=f"^{re.escape(f'Owner.x is {value!r}; {cure}')}$"):
      check(value)


def test_a_number_too_large_for_a_float_is_refused_and_its_digits_are_cut() -> None:
  with pytest.raises(Wrong, match=r"^Owner\.x is 10{58}…; make it a number, 0 or more$"):
    CHECK.number("x", 10**400, 0)


def test_a_setting_without_an_owner_is_known_by_its_name() -> None:
  with pytest.raises(Wrong, match=r"^days is 0; make it"):
    Checks("", Wrong).whole("days", 0, 1)


SETTINGS: list[Any] = [Synthetic, KuaiRand, KuaiRec, MovieLens, Table, Lookback]


@pytest.mark.parametrize(
  ("made", "field"),
  [(made, field.name) for made in SETTINGS for field in dataclasses.fields(made)],
)
def test_every_setting_of_a_log_is_checked(made: Any, field: str) -> None:
  needed = {"categorical": ("user",), "binary": ("click",)} if made is Table else {}
  for value in (object(), math.nan, [["a"]]):
    with pytest.raises(DataError, match=rf"^{made.__name__}\.{field} is .*; \w") as refused:
      made(**{**needed, field: value})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("made", "version"), [(KuaiRand, "1K"), (MovieLens, "25m")])
def test_what_to_download_is_refused_beside_a_folder(made: Any, version: str) -> None:
  cure = f"{made.__name__}.version is '{version}'; it is downloaded: leave it out beside raw"
  with pytest.raises(DataError, match=f"^{cure}$"):
    made(raw="folder", version=version)
