"""The paper's shared bottom: blocks of layers that serve all tasks alike."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from ranking.models.bodies import Block, Body, check_blocks
from ranking.models.part import Named, Part, Stack


@dataclasses.dataclass(frozen=True)
class SharedBottom(Body):
  """Blocks applied in order, to what the block before made; none = towers on the inputs."""

  blocks: Sequence[Block]

  def __post_init__(self) -> None:
    check_blocks("SharedBottom.blocks", self.blocks)

  def build(self, tasks: Sequence[str], width: int, width_scale: float) -> tf_keras.layers.Layer:
    """Layers have the names that their blocks give them, behind block_3 if an earlier is alike."""
    layers: list[tf_keras.layers.Layer] = []
    kinds: list[type[Block]] = []
    for number, block in enumerate(self.blocks, start=1):
      layer = block.build(width, width_scale)
      width = block.width_after(width, width_scale)
      layers.append(Named(layer, f"block_{number}") if type(block) in kinds else layer)
      kinds.append(type(block))
    return _ForAll(Stack(layers), len(tasks))


class _ForAll(Part):
  def __init__(self, shared: tf_keras.layers.Layer, tasks: int):
    super().__init__()
    self._shared, self._tasks = shared, tasks

  def call(self, x0: tf.Tensor) -> list[tf.Tensor]:
    return [self._shared(x0)] * self._tasks
