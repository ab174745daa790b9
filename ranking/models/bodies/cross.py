"""Cross layers of DCN-v2, for products of features that plain layers are slow to learn."""

import dataclasses

import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from ranking.models.bodies import Block
from ranking.models.part import Part
from ranking.models.settings import check_whole


@dataclasses.dataclass(frozen=True)
class CrossLayers(Block):
  """x ← x0 ∘ (x W + b) + x, so many times; x0 is what the block is given, and as wide as x."""

  num_cross_layers: int

  def __post_init__(self) -> None:
    check_whole("CrossLayers.num_cross_layers", self.num_cross_layers)

  def build(self, width_scale: float) -> tf_keras.layers.Layer:
    """The layers cross_1, cross_2, …"""
    del width_scale  # they are as wide as their input
    return _Crossed(self.num_cross_layers)


class _Crossed(Part):
  def __init__(self, count: int):
    super().__init__()
    self._in_order = [Cross(name=f"cross_{k + 1}") for k in range(count)]

  def call(self, x0: tf.Tensor) -> tf.Tensor:
    x = x0
    for layer in self._in_order:
      x = layer(x0, x)
    return x


class Cross(tfrs.layers.dcn.Cross):
  """TFRS's layer; what it is made of computes as it does, not in the dtype of its weights."""

  def build(self, shape: tf.TensorShape) -> None:
    """Makes its weights."""
    super().build(shape)
    for inner in self.submodules:
      inner._set_dtype_policy(self.dtype_policy)
