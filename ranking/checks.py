"""Checks of settings: a wrong one is an error of one line that names it, its value and the cure."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

LONGEST = 60  # characters of a value that are shown


@dataclasses.dataclass(frozen=True)
class Checks:
  """Checks of the settings of one owner.

  A value is returned as it came, so that a setting can be checked where it is used.

  Attributes:
    owner: whose settings they are, such as "Synthetic"; "" for settings known by their own name.
    error: the class of the errors that are raised.
  """

  owner: str
  error: type[ValueError]

  def refuse(self, name: str, value: object, cure: str) -> NoReturn:
    """Raises the error: the setting, its value, then the cure, such as "make it a list"."""
    shown = repr(value)
    shown = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
    raise self.error(f"{self.owner}.{name} is {shown}; {cure}".removeprefix("."))

  def whole(self, name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number from `least` to `most`; True and 3.0 are none."""
    if type(value) is not int or value < least or (most is not None and value > most):
      self.refuse(name, value, f"make it a whole number{_range(least, most)}")
    return value

  def number(self, name: str, value: Any, least: float, most: float | None = None) -> float:
    """A finite number from `least` to `most`; True is none."""
    most_there_is = sys.float_info.max if most is None else most
    if type(value) not in (int, float) or not least <= value <= most_there_is:
      self.refuse(name, value, f"make it a number{_range(least, most)}")
    return value

  def share(self, name: str, value: Any, most: float = 1) -> float:
    """A number from 0 to 1, or to less."""
    return self.number(name, value, 0, most)

  def flag(self, name: str, value: Any) -> bool:
    """True or False."""
    if type(value) is not bool:
      self.refuse(name, value, "make it True or False")
    return value

  def text(self, name: str, value: Any, what: str = "text") -> str:
    """Text that is not empty; `what` it says, for the error: "the path of a folder"."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
      self.refuse(name, value, f"make it {what}")
    return value

  def made(self, name: str, value: Any, kind: type, what: str) -> Any:
    """An object of a class; `what` to make it, for the error: "@Lookback()"."""
    if not isinstance(value, kind):
      self.refuse(name, value, f"make it {what}")
    return value

  def choice(self, name: str, value: Any, choices: Sequence[object]) -> Any:
    """One of a few values."""
    # Compared with type, because True equals 1, and a list has no hash.
    if not any(type(value) is type(choice) and value == choice for choice in choices):
      *others, last = map(repr, choices)
      self.refuse(name, value, f"make it {', '.join(others)} or {last}")
    return value

  def names(self, name: str, value: Any, what: str = "names") -> Sequence[str]:
    """A list of texts, none empty or there twice; `what` they name, for the error: "columns"."""
    if not isinstance(value, (list, tuple)) or not all(
      isinstance(each, str) and each for each in value
    ):
      self.refuse(name, value, f"make it a list of {what}, each in quotes")
    if twice := [each for each in value if value.count(each) > 1]:
      self.refuse(name, value, f"name {twice[0]} once")
    return value


def _range(least: float, most: float | None) -> str:
  """The range of a number in words."""
  return f", {least:,} or more" if most is None else f" from {least:,} to {most:,}"
