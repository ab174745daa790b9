"""Cross layers that see a normalised x, so that their values do not grow with each of them."""

import dataclasses

import tensorflow as tf
import tf_keras

from ranking.models.bodies import Block
from ranking.models.bodies.cross import Crossed
from ranking.models.bodies.rms_norm import RmsNormalization
from ranking.models.settings import MOST_LAYERS, check_whole


@dataclasses.dataclass(frozen=True)
class ResidualCrossLayers(Block):
  """x ← x + x0 ∘ (RMSNorm(x) W + b), so many times, where `CrossLayers` multiply x itself.

  What a layer adds does not depend on the size of x: x grows by sums and not by products, so that
  a step which makes W large makes the output large once, and not to the power of the layers.
  """

  num_cross_layers: int

  def __post_init__(self) -> None:
    check_whole("ResidualCrossLayers.num_cross_layers", self.num_cross_layers, MOST_LAYERS)

  def build(self, width: int, width_scale: float) -> tf_keras.layers.Layer:
    """The layers cross_1, cross_2, …, each with its rms_norm."""
    del width_scale  # they are as wide as their input
    return Crossed([_Cross(width, f"cross_{k + 1}") for k in range(self.num_cross_layers)])


class _Cross(tf_keras.layers.Layer):
  def __init__(self, width: int, name: str):
    super().__init__(name=name)
    self._norm = RmsNormalization(name="rms_norm")
    self._product = tf_keras.layers.Dense(width, name="product")

  def call(self, x0: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return x + x0 * self._product(self._norm(x))
