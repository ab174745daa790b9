"""Attention over a user's recent items: those that tell of this row's item count (DIN).

    hₖ = item + place + age + actions of the k-th     vectors of w, looked up
    sₖ = MLP([hₖ, q, hₖ ∘ q])                         q is the vector of the row's item
    x  = Σ softmax(s)ₖ · hₖ                           over the items that there are; else 0

Zhou et al. 2018 leave the softmax out, so that who has seen more has a larger x. Here no history,
however long, makes larger inputs.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import tensorflow as tf
import tf_keras

from ranking.models.part import Part, Stack
from ranking.models.settings import ModelError, all_scaled, check_widths


@dataclasses.dataclass(frozen=True)
class Attention:
  """What a model makes of a user's recent items, in place of the mean of their embeddings.

  Attributes:
    hidden_units: widths of the ReLU layers of the MLP, before its linear output.
  """

  hidden_units: Sequence[int]

  def __post_init__(self) -> None:
    check_widths("Attention.hidden_units", self.hidden_units)
    if not self.hidden_units:
      raise ModelError("Attention.hidden_units is empty; give it a width, such as [64]")

  def build(
    self, length: int, details: Mapping[str, int], width: int, width_scale: float
  ) -> "AttentionLayers":
    """Makes the layers.

    Args:
      length: how many recent items there are.
      details: how many ids tell of "age" and "actions", as far as the model looks at them.
      width: of the vectors.
      width_scale: the widths of hidden layers are multiplied by it.
    """
    widths = all_scaled("Attention.hidden_units", self.hidden_units, width_scale)
    return AttentionLayers({"place": length, **details}, width, widths)


class AttentionLayers(Part):
  """The layers of `Attention`; what is not multiplied by a kernel is float32 in any precision."""

  def __init__(self, sizes: Mapping[str, int], width: int, hidden: Sequence[int]):
    super().__init__()
    self._vectors = {
      what: tf_keras.layers.Embedding(size, width, name=f"attention_{what}", dtype="float32")
      for what, size in sizes.items()
    }
    self._mlp = Stack(
      [
        *(
          tf_keras.layers.Dense(units, activation="relu", name=f"attention_{k}")
          for k, units in enumerate(hidden, start=1)
        ),
        # A bias would add the same to all scores, of which softmax takes no notice.
        tf_keras.layers.Dense(1, use_bias=False, name="attention_score", dtype="float32"),
      ]
    )

  def call(
    self, item: tf.Tensor, recent: tf.Tensor, ids: tf.Tensor, details: Mapping[str, tf.Tensor]
  ) -> tf.Tensor:
    """x, float32 [b, w].

    Args:
      item: [b, w], the vector of the row's item.
      recent: [b, length, w], the vectors of the recent ones.
      ids: int32 [b, length], theirs; 0 for none.
      details: int32 [b, length] each, of "age" and "actions".
    """
    items = recent + self._vectors["place"](tf.range(ids.shape[1]))
    for what, of_items in details.items():
      items += self._vectors[what](of_items)
    query = tf.broadcast_to(item[:, None, :], tf.shape(items))
    scores = self._mlp(tf.concat([items, query, items * query], axis=2))
    present = tf.cast(ids != 0, tf.float32)[:, :, None]
    shares = tf.nn.softmax(tf.where(present > 0, scores, -1e9), axis=1) * present
    return tf.reduce_sum(shares * items, axis=1)

  @property
  def embeddings(self) -> list[tf.Variable]:
    """The variables in which vectors are looked up."""
    return [layer.embeddings for layer in self._vectors.values()]
