"""What a model has between its inputs and its towers; each body, and each block of one, is a file.

Both are frozen dataclasses of settings that check themselves when made, and build the layers.
"""

import abc
from collections.abc import Sequence

import tf_keras


class Body(abc.ABC):
  """The settings of what all tasks share."""

  @abc.abstractmethod
  def build(self, tasks: Sequence[str], width_scale: float) -> tf_keras.layers.Layer:
    """Makes its layers, without their variables yet.

    What is returned maps x0, [b, d], to a list: for each task what its tower sees, [b, k].

    Args:
      tasks: their names.
      width_scale: the widths of all layers are multiplied by it.

    Raises:
      ModelError: a layer has no column at this scale.
    """


class Block(abc.ABC):
  """The settings of some layers of a body."""

  @abc.abstractmethod
  def build(self, width_scale: float) -> tf_keras.layers.Layer:
    """Makes its layers, which map [b, any width] to [b, k]; arguments as of `Body.build`."""
