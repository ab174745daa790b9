"""Tables of embeddings: a variable for each feature, or one for many features of one width.

Every variable costs operations in a step, to trace, to compile and to carry out. Hundreds of small
tables become a few, and what is looked up in them stays the same. So it does in large ones that are
split over devices.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from ranking.array import Array
from ranking.data.schema import Feature
from ranking.models.layer_name import layer_name
from ranking.models.part import Part
from ranking.models.split import Split, SplitEmbedding


class Table(Part):
  """Looks ids up in one table, float32 [rows, width], in which each feature has rows of its own.

  Args:
    name: of the variable's layer.
    features: that are looked up in it, categorical ones before bags.
    columns: of each feature, by name, its first column among the ids.
    width: of an embedding.
    owners: by name, whose rows a feature is looked up in, if not in its own.
    split: into parts, if the table is large enough for it.
  """

  def __init__(
    self,
    name: str,
    features: Sequence[Feature],
    columns: Mapping[str, int],
    width: int,
    owners: Mapping[str, str],
    split: Split | None = None,
  ):
    super().__init__()
    first: dict[str, int] = {}  # row of each owner
    size = 0
    for feature in features:
      if (owner := owners.get(feature.name, feature.name)) not in first:
        first[owner] = size
        size += feature.vocabulary_size
    starts = [first[owners.get(feature.name, feature.name)] for feature in features]
    lengths = [feature.length for feature in features]
    spans = [np.arange(columns[f.name], columns[f.name] + f.length) for f in features]
    self._names = [feature.name for feature in features]
    self._lengths = [feature.length for feature in features if feature.kind == "bag"]
    self._columns: Array = np.concatenate(spans)
    self._rows: Array = np.repeat(starts, lengths)
    # float32 whatever the policy of mixed precision: rows are looked up and averaged in it.
    if split and size >= split.from_rows:
      self._layer = SplitEmbedding(size, width, split, name)
    else:
      self._layer = tf_keras.layers.Embedding(size, width, name=name, dtype="float32")

  @property
  def embeddings(self) -> list[tf.Variable]:
    """The variable, or those of the parts."""
    found = self._layer.embeddings
    return list(found) if isinstance(self._layer, SplitEmbedding) else [found]

  def call(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
    """Of each feature its embeddings: [b, width], or [b, length, width] of a bag.

    Args:
      ids: int32 [b, all columns].
    """
    if len(self._names) == 1:
      rows = ids[:, self._columns[0] : self._columns[-1] + 1]
    else:
      rows = tf.gather(ids, self._columns, axis=1) + tf.constant(self._rows, tf.int32)
    found = self._layer(rows)
    single = len(self._names) - len(self._lengths)
    vectors = tf.unstack(found[:, :single], axis=1) if single else []
    vectors += tf.split(found[:, single:], self._lengths, axis=1) if self._lengths else []
    return dict(zip(self._names, vectors, strict=True))


def tables(
  features: Sequence[Feature],
  columns: Mapping[str, int],
  widths: Mapping[str, int],
  owners: Mapping[str, str],
  joined_from: int,
  split: Split | None = None,
) -> dict[str, Table]:
  """The tables of some features, by what they are for: a feature, or a width.

  Args:
    features: categorical ones before bags.
    columns, widths, owners, split: see `Table`.
    joined_from: if there are so many features, those of one width have one table.
  """
  are_joined = len(features) >= joined_from
  groups: dict[str, list[Feature]] = {}
  for feature in features:
    owner = owners.get(feature.name, feature.name)
    key = f"width_{widths[feature.name]}" if are_joined else owner
    groups.setdefault(key, []).append(feature)
  return {
    key: Table(
      f"embeddings_{key}" if are_joined else f"embedding_{layer_name(key)}",
      group,
      columns,
      widths[group[0].name],
      owners,
      split,
    )
    for key, group in groups.items()
  }
