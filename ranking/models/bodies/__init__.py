"""What a model has between its inputs and its towers; each body, and each block of one, is a file.

Both are frozen dataclasses of settings that check themselves when made, and build the layers.
"""

import abc
from collections.abc import Sequence
from typing import Any

import tf_keras

from ranking.models.settings import ModelError


class Body(abc.ABC):
  """The settings of what all tasks share."""

  @abc.abstractmethod
  def build(self, tasks: Sequence[str], width: int, width_scale: float) -> tf_keras.layers.Layer:
    """Makes its layers, without their variables yet.

    What is returned maps x0, [b, width], to a list: for each task what its tower sees, [b, k].

    Args:
      tasks: their names.
      width: columns of x0.
      width_scale: the widths of all layers are multiplied by it.

    Raises:
      ModelError: a layer has no column at this scale, or x0 has too few.
    """


class Block(abc.ABC):
  """The settings of some layers of a body."""

  @abc.abstractmethod
  def build(self, width: int, width_scale: float) -> tf_keras.layers.Layer:
    """Makes its layers, which map [b, width] to [b, k]; arguments as of `Body.build`."""

  def width_after(self, width: int, width_scale: float) -> int:
    """k, the columns that it makes of so many: as many, unless a block says otherwise."""
    del width_scale
    return width


def check_block(name: str, block: Any) -> None:
  """Raises ModelError if the setting of this name is no block."""
  if not isinstance(block, Block):
    raise ModelError(f"{name} is {block!r}; make it a block, such as @DenseLayers()")


def check_blocks(name: str, blocks: Any) -> None:
  """Raises ModelError if the setting of this name is no list of blocks."""
  if not isinstance(blocks, (list, tuple)) or not all(isinstance(each, Block) for each in blocks):
    raise ModelError(f"{name} is {blocks!r}; make it a list of blocks, such as [@DenseLayers()]")
