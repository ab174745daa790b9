"""RMSNorm, a LayerNorm that takes no mean away."""

import dataclasses

import tensorflow as tf
import tf_keras

from ranking.models.bodies import Block


@dataclasses.dataclass(frozen=True)
class RmsNorm(Block):
  """x ← γ ∘ x / √(mean of x² + 1e-6), with the mean of each row (Zhang & Sennrich 2019)."""

  def build(self, width: int, width_scale: float) -> tf_keras.layers.Layer:
    """The layer rms_norm."""
    del width, width_scale  # it is as wide as its input
    return RmsNormalization(name="rms_norm")


class RmsNormalization(tf_keras.layers.Layer):
  """The layer; a weight γ for each column, 1 at first."""

  def build(self, shape: tf.TensorShape) -> None:
    """Makes γ."""
    self.gamma = self.add_weight("gamma", [shape[-1]], initializer="ones")
    super().build(shape)

  def call(self, x: tf.Tensor) -> tf.Tensor:
    """Any shape; in half precision the mean is taken in float32, where squares do not overflow."""
    wide = tf.cast(x, tf.float32) if x.dtype.size < 4 else x
    inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(wide), axis=-1, keepdims=True) + 1e-6)
    return x * tf.cast(inverse, x.dtype) * self.gamma
