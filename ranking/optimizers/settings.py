"""What the numbers of a clip or a direction may be."""

import dataclasses
from typing import Any

from ranking.errors import InputError

# Metadata of a field that came later: left out of a run's identity while it has its default, so
# that checkpoints from before it are gone on from.
LATER = {"later": True}

SHARES = ("decay", "momentum", "beta_1", "beta_2")  # of the past in an average


class ThresholdError(InputError):
  """A number of a clip or a direction is out of its range."""


def check(settings: Any) -> None:
  """Raises ThresholdError if a numeric field of a dataclass is negative, none, or no share of 1."""
  for field in dataclasses.fields(settings):
    if not isinstance(field.default, (int, float)) or isinstance(field.default, bool):
      continue
    value, name = getattr(settings, field.name), f"{type(settings).__name__}.{field.name}"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (is_number and value >= 0):
      raise ThresholdError(f"{name} is {value!r}; make it a number that is not negative")
    if field.name in SHARES and value >= 1:
      raise ThresholdError(f"{name} is {value!r}; make it at least 0 and less than 1")
