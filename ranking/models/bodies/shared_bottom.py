"""The paper's shared bottom: blocks of layers that serve all tasks alike."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from ranking.models.bodies import Block, Body
from ranking.models.part import Named, Part, Stack
from ranking.models.settings import ModelError


@dataclasses.dataclass(frozen=True)
class SharedBottom(Body):
  """Blocks applied in order, to what the block before made; none = towers on the inputs."""

  blocks: Sequence[Block]

  def __post_init__(self) -> None:
    blocks = self.blocks
    if not isinstance(blocks, (list, tuple)) or not all(isinstance(b, Block) for b in blocks):
      raise ModelError(
        f"SharedBottom.blocks is {blocks!r}; make it a list of blocks, such as [@DenseLayers()]"
      )

  def build(self, tasks: Sequence[str], width_scale: float) -> tf_keras.layers.Layer:
    """Layers have the names that their blocks give them, behind block_3 if an earlier is alike."""
    layers = [block.build(width_scale) for block in self.blocks]
    kinds = [type(block) for block in self.blocks]
    return _ForAll(
      Stack(
        [
          Named(layer, f"block_{k + 1}") if kinds[k] in kinds[:k] else layer
          for k, layer in enumerate(layers)
        ]
      ),
      len(tasks),
    )


class _ForAll(Part):
  def __init__(self, shared: tf_keras.layers.Layer, tasks: int):
    super().__init__()
    self._shared, self._tasks = shared, tasks

  def call(self, x0: tf.Tensor) -> list[tf.Tensor]:
    return [self._shared(x0)] * self._tasks
