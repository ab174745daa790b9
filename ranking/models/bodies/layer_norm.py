"""LayerNorm, for inputs whose scale differs from row to row, such as those that were crossed."""

import dataclasses

import tf_keras

from ranking.models.bodies import Block


@dataclasses.dataclass(frozen=True)
class LayerNorm(Block):
  """x ← γ ∘ (x - mean) / deviation + β, with the mean and the deviation of each row."""

  def build(self, width: int, width_scale: float) -> tf_keras.layers.Layer:
    """The layer layer_norm."""
    del width, width_scale  # it is as wide as its input
    return tf_keras.layers.LayerNormalization(name="layer_norm")
