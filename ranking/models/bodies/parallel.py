"""Blocks side by side, such as DCN-v2's cross layers beside its plain ones."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from ranking.models.bodies import Block, check_blocks
from ranking.models.part import Named, Part
from ranking.models.settings import ModelError


@dataclasses.dataclass(frozen=True)
class Parallel(Block):
  """Every one of `branches` sees x; what they make of it is put side by side."""

  branches: Sequence[Block]

  def __post_init__(self) -> None:
    check_blocks("Parallel.branches", self.branches)
    if len(self.branches) < 2:
      raise ModelError(f"Parallel.branches has {len(self.branches)}; make it two blocks or more")

  def build(self, width: int, width_scale: float) -> tf_keras.layers.Layer:
    """Layers have the names that their blocks give them, behind branch_1, branch_2, …"""
    return _SideBySide(
      [
        Named(branch.build(width, width_scale), f"branch_{k}")
        for k, branch in enumerate(self.branches, start=1)
      ]
    )

  def width_after(self, width: int, width_scale: float) -> int:
    """The sum of theirs."""
    return sum(branch.width_after(width, width_scale) for branch in self.branches)


class _SideBySide(Part):
  def __init__(self, branches: list[tf_keras.layers.Layer]):
    super().__init__()
    self._branches = branches

  def call(self, x: tf.Tensor) -> tf.Tensor:
    return tf.concat([branch(x) for branch in self._branches], axis=1)
