"""What a saved optimizer says of itself, so that state never lands at another variable unnoticed.

State is saved as tf_keras saves its own: in lists, in the order of the variables that the optimizer
was built for. That order is the model's, whatever Keras has called its layers this time. Beside the
lists goes a layout that says what they are of; a restore compares it before anything is used.
"""

import json
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ranking.array import Array
from ranking.errors import InputError

CURE = "build the optimizer for the variables that it was saved with, in their order"


class StateError(InputError):
  """A saved optimizer does not fit the one that it is restored into."""


class StateWarning(UserWarning):
  """State was taken by the order of variables whose names have other numbers than when saved."""


class Layout(tf.train.experimental.PythonState):
  """A description of all lists of state, in checkpoints a string.

  Args:
    begin_anew: called where what is restored was saved before the first step, so with no lists.

  Attributes:
    built: that of the optimizer it belongs to; None before it is built.
    awaited: that of what was restored before there was anything to compare it with.
  """

  def __init__(self, begin_anew: Callable[[], None]) -> None:
    self._begin_anew = begin_anew
    self.built: dict[str, Any] | None = None
    self.awaited: dict[str, Any] | None = None

  def build(self, built: dict[str, Any]) -> None:
    """Raises StateError if what was restored is of something else."""
    if self.awaited is not None:
      check_fit(self.awaited, built)
    self.built, self.awaited = built, None

  def serialize(self) -> str:
    """Raises StateError where the state was restored and then never given its variables."""
    if self.built is None and self.awaited is not None:
      raise StateError(
        "the optimizer was restored and not yet built, so its state would be lost; call "
        "optimizer.build(model.trainable_variables) before it is saved again"
      )
    return json.dumps(self.built)

  def deserialize(self, text: bytes | str) -> None:
    """Raises StateError if the optimizer is built and the text is of something else."""
    self.expect(json.loads(text))

  def expect(self, saved: dict[str, Any] | None) -> None:
    """Compares what is about to be restored with what there is, now or when it is built."""
    if self.built is None:
      self.awaited = saved
    elif saved is None:
      self._begin_anew()
    else:
      check_fit(saved, self.built)


def describe(
  variables: Sequence[tf.Variable], kinds: Sequence[list[str]], shared: list[str]
) -> dict[str, Any]:
  """The layout of an optimizer: of each variable its name, shape, and what is kept of it."""
  return {
    "shared": shared,
    "variables": [
      {"name": short(variable), "shape": variable.shape.as_list(), "kept": kept}
      for variable, kept in zip(variables, kinds, strict=True)
    ],
  }


def check_fit(saved: dict[str, Any], built: dict[str, Any]) -> None:
  """Raises StateError that names the first thing in which two layouts differ.

  Numbers in names may differ, as Keras counts layers on through a process; but all by the same, and
  then it is said, for frozen layers would look alike. The same names in another order are other
  variables.
  """
  if saved["shared"] != built["shared"]:
    raise StateError(
      f"the saved optimizer keeps {_said(saved['shared'])} of all variables together, this one "
      f"{_said(built['shared'])}; restore it with the clip and scope that it was saved with"
    )
  old, new = saved["variables"], built["variables"]
  of_old, of_new = ([variable["name"] for variable in each] for each in (old, new))
  if len(old) != len(new):
    only = sorted(set(of_old) ^ set(of_new), key=(of_old + of_new).index)
    raise StateError(
      f"the saved optimizer is of {len(old)} variables, this one of {len(new)}; "
      + (f"not in both: {only[0]}; " if only else "")
      + CURE
    )
  for number, (one, two) in enumerate(zip(old, new, strict=True), start=1):
    if one["shape"] != two["shape"]:
      raise StateError(
        f"variable {number} of the saved optimizer is {one['name']} of shape {one['shape']}, of "
        f"this one {two['name']} of shape {two['shape']}; {CURE}"
      )
    if one["kept"] != two["kept"]:
      raise StateError(
        f"of {two['name']} the saved optimizer keeps {_said(one['kept'])}, this one "
        f"{_said(two['kept'])}; restore it with the direction and clip that it was saved with"
      )
  if of_old != of_new and sorted(of_old) == sorted(of_new) and len(set(of_old)) == len(of_old):
    moved = next(name for name, other in zip(of_old, of_new, strict=True) if name != other)
    raise StateError(
      f"{moved} is variable {of_old.index(moved) + 1} of the saved optimizer and variable "
      f"{of_new.index(moved) + 1} of this one; {CURE}"
    )
  _check_names(of_old, of_new)


def _check_names(old: Sequence[str], new: Sequence[str]) -> None:
  """Raises StateError unless names differ by the same numbers; warns if they do so.

  In every layer that has layers they may differ by others: a model that is loaded has the names of
  its own layers, and those within are numbered anew.
  """
  shifts: dict[Any, int] = {}
  for number, (one, two) in enumerate(zip(old, new, strict=True), start=1):
    parts = _numbered(one), _numbered(two)
    for level, (before, now) in enumerate(zip(*parts, strict=False)):
      shift = now[1] - before[1]
      place = (now[0], *(tuple(above[level + 1 :]) for above in parts))
      if before[0] != now[0] or shifts.setdefault(place, shift) != shift:
        raise StateError(
          f"variable {number} of the saved optimizer is {one}, of this one {two}, and by their "
          f"names they are not the same; {CURE}, with the names that layers had"
        )
  if any(shifts.values()):
    one, two = next(pair for pair in zip(old, new, strict=True) if pair[0] != pair[1])
    warnings.warn(
      f"state was restored by the order of variables: of {one} into {two}, and so on. That is "
      "right if the layers are the same and only numbered anew, and wrong if others are frozen "
      "than when it was saved; layers with names of their own leave no doubt",
      StateWarning,
      stacklevel=2,
    )


def _numbered(name: str) -> list[tuple[str, int]]:
  """The parts of a name, the last first, each with its number apart: of "dense_2", "dense" and 2.

  From the last, as a model's own name is there or not, by how the model was first called.
  """
  parts = [re.fullmatch(r"(.*?)(?:_(\d+))?", part) for part in reversed(name.split("/"))]
  return [(part[1], int(part[2] or 0)) for part in parts if part]


def as_bytes(layout: dict[str, Any] | None) -> Array:
  """int32 [n]: a layout among arrays; workers cannot tell each other a variable of uint8."""
  return np.frombuffer(json.dumps(layout).encode(), np.uint8).astype(np.int32)


def of_bytes(array: Any) -> Any:
  """The inverse of `as_bytes`, also of uint8. Raises StateError for what is none."""
  try:
    return json.loads(np.asarray(array).astype(np.uint8).tobytes().decode())
  except ValueError as error:
    raise StateError("the last array is no description of an optimizer's variables") from error


def of_adagrad(values: dict[str, Any], shapes: Sequence[Any]) -> dict[str, Any]:
  """Values that tf_keras's Adagrad or TFRS's ClippyAdagrad saved by number, by their names here.

  Raises StateError if they are not those of an Adagrad for variables of these shapes.
  """
  iterations, *kept = (values[str(number)] for number in range(len(values)))
  if len(kept) == 2 * len(shapes) and all(factor.shape == () for factor in kept[1::2]):
    kept = kept[::2]  # TFRS has put a clipping factor after every accumulator
  found, wanted = [list(value.shape) for value in kept], [list(shape) for shape in shapes]
  if found != wanted or any((value < 0).any() for value in kept):
    raise StateError(
      f"the file holds values of shapes {found}, which are no accumulators of shapes {wanted}; "
      + CURE
    )
  named = {f"accumulator.{place}": value for place, value in enumerate(kept)}
  return {"iterations": iterations, **named}


def short(variable: tf.Variable) -> str:
  """The name of a variable without the number of its output."""
  name: str = variable.name
  return name.removesuffix(":0")


def _said(kinds: Sequence[str]) -> str:
  return ", ".join(kinds) or "nothing"
