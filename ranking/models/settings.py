"""What the settings of a model may be, and how wide its layers are at a scale."""

import math
from collections.abc import Sequence
from typing import Any

from ranking.errors import InputError


class ModelError(InputError):
  """A setting that no model can have."""


# Of a field that earlier versions had not: at its default it is left out of a run's identity.
LATER = {"later": True}
MOST = 1_000_000  # columns: a kernel of that many squared fits nowhere
MOST_LAYERS = 1_000  # layers, experts or levels: each is traced and compiled by itself


def is_whole(value: Any, least: int, most: int = MOST) -> bool:
  """Whether a value is an integer from `least` to `most`; True and False are none."""
  return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def check_whole(name: str, value: Any, most: int = MOST) -> None:
  """Raises ModelError if the setting of this name is no whole number of 1 to `most`."""
  if not is_whole(value, 1, most):
    raise ModelError(f"{name} is {value!r}; make it a whole number of 1 to {most:,}")


def check_widths(name: str, widths: Any) -> None:
  """Raises ModelError if the setting of this name is no list of whole numbers of 1 or more."""
  if not isinstance(widths, (list, tuple)) or not all(is_whole(width, 1) for width in widths):
    raise ModelError(
      f"{name} is {widths!r}; make it a list of whole numbers of 1 to {MOST:,}, such as [512, 512]"
    )


def check_positive(name: str, value: Any) -> None:
  """Raises ModelError if the setting of this name is no positive number."""
  is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
  if not (is_number and 0 < value < math.inf):
    raise ModelError(f"{name} is {value!r}; make it a positive number")


def scaled(name: str, width: int, width_scale: float) -> int:
  """A width times the scale, rounded. Raises ModelError if that is no column."""
  columns = round(width * width_scale)
  if columns < 1:
    raise ModelError(
      f"{name} has {width}, and times Model.width_scale {width_scale:g} that is no column; "
      f"make it {least_width(1, width_scale)} or more"
    )
  return columns


def least_width(columns: int, width_scale: float) -> int:
  """The smallest width that is so many columns or more at a scale."""
  width = math.floor((columns - 0.5) / width_scale)
  while round(width * width_scale) < columns:
    width += 1
  return width


def all_scaled(name: str, widths: Sequence[int], width_scale: float) -> list[int]:
  """Each of `widths` as `scaled` makes it."""
  return [scaled(name, width, width_scale) for width in widths]
