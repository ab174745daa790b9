"""Stacked factorization machines: the interaction layers of Wukong (Zhang et al. 2024)."""

import dataclasses

import tensorflow as tf
import tf_keras

from ranking.models.bodies import Block, check_block
from ranking.models.part import Stack
from ranking.models.settings import MOST_LAYERS, ModelError, check_whole, scaled


@dataclasses.dataclass(frozen=True)
class Wukong(Block):
  """Layers that each multiply all pairs of n fields, so that the degree of the products doubles.

  A linear layer makes of x a matrix X of n fields, [n, e], as the embeddings of the inputs are of
  different widths. Then each interaction makes

      products = MLP(LayerNorm(X (Xᵀ Y)))       n / 2 fields; Y is [n, r]
      compressed = L X                          n / 2 fields; L is [n / 2, n]
      X ← LayerNorm([products, compressed] + X)

  Attributes:
    num_layers: how many interactions.
    num_fields: n, an even number.
    field_width: e.
    rank: r; the dot products of all pairs are n² numbers, and r sums for each field stand for them.
    mlp: the hidden layers between these sums and the products; a linear layer follows them.
  """

  num_layers: int
  num_fields: int
  field_width: int
  rank: int
  mlp: Block

  def __post_init__(self) -> None:
    check_whole("Wukong.num_layers", self.num_layers, MOST_LAYERS)
    check_whole("Wukong.num_fields", self.num_fields)
    check_whole("Wukong.field_width", self.field_width)
    check_whole("Wukong.rank", self.rank)
    check_block("Wukong.mlp", self.mlp)
    if self.num_fields % 2:
      raise ModelError(
        f"Wukong.num_fields is {self.num_fields}; make it even: half of the fields are products"
      )
    if self.rank > self.num_fields:
      raise ModelError(
        f"Wukong.rank is {self.rank}, more than the {self.num_fields} of Wukong.num_fields; "
        f"make it {self.num_fields} or less"
      )

  def build(self, width: int, width_scale: float) -> tf_keras.layers.Layer:
    """The layers fields, interaction_1, interaction_2, …"""
    n, e = self.num_fields, self._field_width(width_scale)
    mlps = [self.mlp.build(n * self.rank, width_scale) for _ in range(self.num_layers)]
    return Stack(
      [
        tf_keras.layers.Dense(n * e, name="fields"),
        tf_keras.layers.Reshape([n, e]),
        *(_Interaction(n, e, self.rank, mlp, f"interaction_{k}") for k, mlp in enumerate(mlps, 1)),
        tf_keras.layers.Reshape([n * e]),
      ]
    )

  def width_after(self, width: int, width_scale: float) -> int:
    """n e."""
    return self.num_fields * self._field_width(width_scale)

  def _field_width(self, width_scale: float) -> int:
    return scaled("Wukong.field_width", self.field_width, width_scale)


class _Interaction(tf_keras.layers.Layer):
  def __init__(self, n: int, e: int, rank: int, mlp: tf_keras.layers.Layer, name: str):
    super().__init__(name=name)
    self._shape = (n, e, rank)
    self._norm_of_sums = tf_keras.layers.LayerNormalization(name="sums_norm")
    self._mlp = mlp
    self._to_fields = tf_keras.layers.Dense(n // 2 * e, name="products")
    self._norm = tf_keras.layers.LayerNormalization(name="layer_norm")

  def build(self, shape: tf.TensorShape) -> None:
    """Makes Y and L."""
    n, _, rank = self._shape
    self.directions = self.add_weight("directions", [n, rank])
    self.compression = self.add_weight("compression", [n // 2, n])
    super().build(shape)

  def call(self, x: tf.Tensor) -> tf.Tensor:
    """[b, n, e] of the same."""
    n, e, rank = self._shape
    sums = x @ tf.einsum("bne,nr->ber", x, self.directions)
    made = self._mlp(self._norm_of_sums(tf.reshape(sums, [-1, n * rank])))
    products = tf.reshape(self._to_fields(made), [-1, n // 2, e])
    compressed = tf.einsum("mn,bne->bme", self.compression, x)
    return self._norm(tf.concat([products, compressed], axis=1) + x)
