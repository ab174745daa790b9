"""Tables whose rows are dealt out to the devices, for those that no device can hold.

Row r of a table in p parts is row r // p of part r % p, so that all parts have frequent ids, whose
numbers are low. Each part, with its slots, lies on one device; they are dealt out in turn. A
replica looks its ids up in all parts, and the gradients of rows go back to where these lie: what a
model computes and learns is that of one table.

Tried on virtual CPUs. **On GPUs it has never run.**
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from ranking import one_device
from ranking.models.settings import ModelError, check_whole


@dataclasses.dataclass(frozen=True)
class Split:
  """Which tables of embeddings are split, and how finely.

  Attributes:
    parts: of a table, each of which lies on one device. A run may go on with more devices or fewer,
      but not with other parts.
    from_rows: tables with so many rows or more are split; none into parts without a row.
  """

  parts: int = 8
  from_rows: int = 1_000_000

  def __post_init__(self) -> None:
    check_whole("Split.parts", self.parts)
    check_whole("Split.from_rows", self.from_rows, 2**31)
    if self.from_rows < self.parts:
      raise ModelError(
        f"Split.from_rows is {self.from_rows} and Split.parts {self.parts}, so a part could have "
        f"no row; make from_rows {self.parts} or more"
      )

  def devices(self) -> list[str | None]:
    """Those that parts are dealt out to; None for where variables are made anyway.

    Raises ModelError where devices do not reach each other's variables.
    """
    try:
      return [*one_device.devices()] or [None]
    except ValueError as error:
      raise ModelError(f"{error}; choose HARDWARE=gpus or set Inputs.split=None") from error


class SplitEmbedding(tf_keras.layers.Layer):
  """Looks ids up in a table that is split, as `tf_keras.layers.Embedding` does in one that is not.

  Its variables are embeddings_0 and so on, float32 [rows of the part, width].

  Args:
    rows: of the table.
    width: of an embedding.
    split: of which it has the parts.
    name: of the layer.

  Raises ModelError as `Split.devices`.
  """

  def __init__(self, rows: int, width: int, split: Split, name: str):
    super().__init__(name=name, dtype="float32")
    self.shapes = [(len(range(part, rows, split.parts)), width) for part in range(split.parts)]
    self.embeddings: list[tf.Variable] = []
    self._devices = split.devices()

  def build(self, input_shape: tf.TensorShape) -> None:
    """Makes the parts."""
    for part, shape in enumerate(self.shapes):
      with one_device.made_on(self._devices[part % len(self._devices)]):
        self.embeddings.append(self.add_weight(f"embeddings_{part}", shape, initializer="uniform"))
    super().build(input_shape)

  def call(self, ids: tf.Tensor) -> tf.Tensor:
    """float32 [..., width].

    Args:
      ids: int32 [...].
    """

    @tf.custom_gradient
    def look_up(ids: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
      # That of TensorFlow 1, as the newer one has no "mod".
      found = tf.compat.v1.nn.embedding_lookup(self.embeddings, ids, partition_strategy="mod")

      def gradients(
        upstream: tf.Tensor, variables: Sequence[tf.Variable]
      ) -> tuple[None, list[tf.IndexedSlices]]:
        of_parts = self._gradients(tf.reshape(ids, [-1]), upstream)
        return None, [of_parts[variable.ref()] for variable in variables]

      return found, gradients

    return look_up(ids)

  def _gradients(self, ids: tf.Tensor, upstream: tf.Tensor) -> dict[Any, tf.IndexedSlices]:
    """Of each part, by reference, the gradient of all replicas.

    They are gathered before they are dealt out: then each replica has as many, as TensorFlow needs
    in a loop of steps.
    """
    rows, width = sum(rows for rows, _ in self.shapes), self.shapes[0][1]
    shape = tf.constant([rows, width])
    found = tf.IndexedSlices(tf.reshape(upstream, [-1, width]), ids, shape)
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
      found = replica.all_reduce(tf.distribute.ReduceOp.SUM, found)
    parts = len(self.shapes)
    places = tf.range(tf.size(found.indices))
    of_parts = tf.dynamic_partition(places, found.indices % parts, parts)
    return {
      variable.ref(): tf.IndexedSlices(
        tf.gather(found.values, own), tf.gather(found.indices, own) // parts, variable.shape
      )
      for variable, own in zip(self.embeddings, of_parts, strict=True)
    }
