"""What a saved optimizer says of itself, so that state never lands at another variable unnoticed.

State is saved as tf_keras saves its own: in lists, in the order of the variables that the optimizer
was built for. That order is the model's, whatever Keras has called its layers this time. Beside the
lists goes a layout that says what they are of; a restore compares it before anything is used.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ranking.errors import InputError

CURE = "build the optimizer for the variables that it was saved with, in their order"


class StateError(InputError):
  """A saved optimizer does not fit the one that it is restored into."""


class Layout(tf.train.experimental.PythonState):
  """A description of all lists of state, in checkpoints a string.

  Attributes:
    built: that of the optimizer it belongs to; None before it is built.
    awaited: that of what was restored before there was anything to compare it with.
  """

  def __init__(self) -> None:
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
    if saved is None:  # it was saved before its first step
      return
    if self.built is None:
      self.awaited = saved
    else:
      check_fit(saved, self.built)


def describe(
  variables: Sequence[tf.Variable], kinds: Callable[[tf.Variable], list[str]], shared: list[str]
) -> dict[str, Any]:
  """The layout of an optimizer: of each variable its name, shape, and what is kept of it."""
  return {
    "shared": shared,
    "variables": [
      {"name": short(variable), "shape": variable.shape.as_list(), "kept": kinds(variable)}
      for variable in variables
    ],
  }


def check_fit(saved: dict[str, Any], built: dict[str, Any]) -> None:
  """Raises StateError that names the first thing in which two layouts differ.

  Names may differ, as Keras counts layers anew in every process. But the same names in another
  order are other variables.
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
