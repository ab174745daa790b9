"""Experts, of which there are several, and the gates that mix what they make."""

from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from ranking.models.bodies import Block
from ranking.models.part import Named


def experts(
  block: Block, name: str, count: int, width: int, width_scale: float
) -> list[tf_keras.layers.Layer]:
  """So many times the same layers with weights of their own, behind names such as expert_1."""
  return [Named(block.build(width, width_scale), f"{name}_{k + 1}") for k in range(count)]


def gate(name: str, num_experts: int) -> tf_keras.layers.Layer:
  """Maps x to shares of the experts, [b, E], softmax(x G), that add up to 1 for each row."""
  return tf_keras.layers.Dense(num_experts, activation="softmax", use_bias=False, name=name)


def mixture(shares: tf.Tensor, made: Sequence[tf.Tensor]) -> tf.Tensor:
  """[b, k]: Σ share_e · what expert e made."""
  return tf.einsum("be,bek->bk", shares, tf.stack(made, axis=1))
