"""What the numbers of a clip or a direction may be."""

import dataclasses
from typing import Any

from ranking.errors import InputError

# Metadata of a field that came later: left out of a run's identity while it has its default, so
# that checkpoints from before it are gone on from.
LATER = {"later": True}

SHARES = ("decay", "momentum", "beta_1", "beta_2")  # of the past in an average


STEPPED = ("threshold", "multiplier")  # in the names of numbers that may be a Ramp


class ThresholdError(InputError):
  """A number of a clip or a direction is out of its range."""


@dataclasses.dataclass(frozen=True)
class Ramp:
  """A threshold of a clip that goes in a line from `first` to `last` over so many steps taken.

  Raises ThresholdError for a number that is negative, or no steps.
  """

  first: float
  last: float
  steps: int

  def __post_init__(self) -> None:
    for name in ("first", "last"):
      _check_number(f"Ramp.{name}", getattr(self, name))
    is_whole = isinstance(self.steps, int) and not isinstance(self.steps, bool)
    if not (is_whole and self.steps >= 1):
      raise ThresholdError(f"Ramp.steps is {self.steps!r}; make it a whole number, 1 or more")

  def __call__(self, number: Any) -> Any:
    """The threshold in a step, by its number; in the first it is `first`, after `steps` `last`."""
    left = 1 - (number - 1) / self.steps
    return self.last + (self.first - self.last) * (left + abs(left)) / 2  # nothing left is 0


def check(settings: Any, ramps: bool = False) -> None:
  """Raises ThresholdError if a numeric field of a dataclass is negative, none, or no share of 1.

  With `ramps`, a field that is called a threshold or a multiplier may have a Ramp.
  """
  for field in dataclasses.fields(settings):
    if not isinstance(field.default, (int, float)) or isinstance(field.default, bool):
      continue
    value, name = getattr(settings, field.name), f"{type(settings).__name__}.{field.name}"
    if ramps and isinstance(value, Ramp) and any(word in field.name for word in STEPPED):
      continue
    _check_number(name, value)
    if field.name in SHARES and value >= 1:
      raise ThresholdError(f"{name} is {value!r}; make it at least 0 and less than 1")


def _check_number(name: str, value: Any) -> None:
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  if not (is_number and value >= 0):
    raise ThresholdError(f"{name} is {value!r}; make it a number that is not negative")
