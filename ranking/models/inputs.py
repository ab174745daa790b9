"""The inputs of a model: embeddings of ids, means of embeddings of bags, and dense features."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ranking.array import Array
from ranking.data.schema import Feature, Schema
from ranking.models.part import Part
from ranking.models.settings import LATER, ModelError, check_whole, least_width, scaled
from ranking.models.tables import tables


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What the body sees of a batch.

  Attributes:
    input_width: d, the width of x0. Embeddings fill what the dense features leave of it, so that
      all logs have Table 1's parameter counts.
    without_features: the model does not look at these; the others fill the input.
    joined_from: from so many embeddings on, all of one width are one variable.
  """

  input_width: int = 1650
  without_features: Sequence[str] = ()
  joined_from: int = dataclasses.field(default=64, metadata=LATER)

  def __post_init__(self) -> None:
    check_whole("Inputs.input_width", self.input_width)
    check_whole("Inputs.joined_from", self.joined_from)
    names = self.without_features
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
      raise ModelError(f"Inputs.without_features is {names!r}; make it a list of names of features")

  def width(self, width_scale: float) -> int:
    """d at a scale. Raises ModelError if that is no column."""
    return scaled("Inputs.input_width", self.input_width, width_scale)

  def build(self, schema: Schema, width_scale: float) -> "InputLayers":
    """Makes the layers for a log. Raises ModelError if its features do not fit in d columns."""
    try:
      seen = schema.without_features(self.without_features)
    except ValueError as error:
      raise ModelError(f"Inputs.without_features: {error}") from error
    self.check_fit(schema.dataset, seen.features, width_scale)
    width = self.width(width_scale) - len(seen.of_kind("dense"))
    return InputLayers(schema, seen, embedding_widths(seen, width), self.joined_from)

  def check_fit(self, dataset: str, features: Sequence[Feature], width_scale: float) -> None:
    """Raises ModelError if the features of a log do not fit in d columns."""
    width = self.width(width_scale)
    seen = [feature for feature in features if feature.name not in self.without_features]
    dense = sum(feature.kind == "dense" for feature in seen)
    embeddings = len(seen) - dense
    if not embeddings:
      raise ModelError(
        f"no feature of {dataset} has an embedding to fill the input; keep one in "
        "Inputs.without_features"
      )
    if width < len(seen):
      raise ModelError(
        f"{dataset} has {dense} dense features and {embeddings} embeddings, and the input "
        f"{width} columns at Model.width_scale {width_scale:g}; make Inputs.input_width "
        f"{least_width(len(seen), width_scale)} or more"
      )


class InputLayers(Part):
  """Maps a batch to x0, [b, d].

  Args:
    schema: of the batches.
    seen: the same without the features that the model does not look at.
    widths: of the embeddings, by name of feature.
    joined_from: see `Inputs`.
  """

  def __init__(self, schema: Schema, seen: Schema, widths: dict[str, int], joined_from: int):
    super().__init__()
    self._seen = [*seen.of_kind("categorical"), *seen.of_kind("bag")]
    self._columns = _columns(schema)
    self._tables = tables(self._seen, self._columns, widths, joined_from)
    self._has_all_dense = seen.of_kind("dense") == schema.of_kind("dense")
    self._dense_columns = np.flatnonzero(
      [feature in seen.features for feature in schema.of_kind("dense")]
    )
    self.embedding_count = len(self._seen)
    self.width = sum(widths.values()) + len(self._dense_columns)

  def call(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """Embeddings, then means of bags, then dense features, all in the order of the schema."""
    ids = tf.concat([batch["ids"], batch["bags"]], axis=1)
    vectors = {name: found for table in self._tables.values() for name, found in table(ids).items()}
    parts = []
    for feature in self._seen:
      part = vectors[feature.name]
      if feature.kind == "bag":
        start = self._columns[feature.name]
        part = _mean_of_present(part, ids[:, start : start + feature.length])
      parts.append(part)
    dense = batch["dense"]
    if not self._has_all_dense:
      dense = tf.gather(dense, self._dense_columns, axis=1)
    x0 = tf.concat([*parts, tf.cast(dense, tf.float32)], axis=1)
    return tf.cast(x0, self.compute_dtype)

  def is_embedding(self, variable: tf.Variable) -> bool:
    """Whether a variable holds embeddings."""
    return any(variable is table.embeddings for table in self._tables.values())


def _columns(schema: Schema) -> dict[str, int]:
  """The first column of each categorical feature and bag where ids and bags lie side by side."""
  columns, start = {}, 0
  for feature in (*schema.of_kind("categorical"), *schema.of_kind("bag")):
    columns[feature.name] = start
    start += feature.length
  return columns


def embedding_widths(schema: Schema, total: int) -> dict[str, int]:
  """Splits `total` columns over the categorical features and bags, as the 4th root of their size.

  Args:
    schema: with at least one of them.
    total: at least as many as they are; each gets one column or more.
  """
  features = (*schema.of_kind("categorical"), *schema.of_kind("bag"))
  shares: Array = np.array([feature.vocabulary_size for feature in features]) ** 0.25
  ends = np.round(np.cumsum(shares) / shares.sum() * (total - len(features))).astype(int)
  widths = 1 + np.diff(ends, prepend=0)
  return {feature.name: int(width) for feature, width in zip(features, widths, strict=True)}


def _mean_of_present(vectors: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
  """[b, k], of vectors [b, length, k] whose id is not the padding 0; 0 where all are padding."""
  present = tf.cast(ids != 0, vectors.dtype)[:, :, None]
  return tf.reduce_sum(vectors * present, axis=1) / tf.maximum(tf.reduce_sum(present, axis=1), 1.0)
