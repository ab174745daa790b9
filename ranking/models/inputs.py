"""The inputs of a model: embeddings of ids, means of embeddings of bags, and dense features."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from ranking.array import Array
from ranking.data.schema import Feature, Schema
from ranking.models.attention import Attention, AttentionLayers
from ranking.models.part import Part
from ranking.models.settings import LATER, ModelError, check_whole, least_width, scaled
from ranking.models.split import Split
from ranking.models.tables import tables


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What the body sees of a batch.

  Attributes:
    input_width: d, the width of x0. Embeddings fill what the dense features leave of it, so that
      all logs have Table 1's parameter counts.
    without_features: the model does not look at these; the others fill the input.
    joined_from: from so many embeddings on, all of one width are one variable.
    attention: in place of the mean of a user's recent items, such as @Attention(); needs
      Lookback.history and Lookback.history_details.
    split: which tables are split over devices, such as @Split(); None for none.
  """

  input_width: int = 1650
  without_features: Sequence[str] = ()
  joined_from: int = dataclasses.field(default=64, metadata=LATER)
  attention: Attention | None = dataclasses.field(default=None, metadata=LATER)
  split: Split | None = dataclasses.field(default=None, metadata=LATER)

  def __post_init__(self) -> None:
    check_whole("Inputs.input_width", self.input_width)
    check_whole("Inputs.joined_from", self.joined_from)
    names = self.without_features
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
      raise ModelError(f"Inputs.without_features is {names!r}; make it a list of names of features")
    if not isinstance(self.attention, Attention | None):
      raise ModelError(f"Inputs.attention is {self.attention!r}; make it @Attention() or None")
    if not isinstance(self.split, Split | None):
      raise ModelError(f"Inputs.split is {self.split!r}; make it @Split() or None")

  def width(self, width_scale: float) -> int:
    """d at a scale. Raises ModelError if that is no column."""
    if self.attention:
      self.attention.build(1, {}, 1, width_scale)  # refuses a layer without a column
    return scaled("Inputs.input_width", self.input_width, width_scale)

  def build(self, schema: Schema, width_scale: float) -> "InputLayers":
    """Makes the layers for a log. Raises ModelError if its features do not fit in d columns."""
    try:
      seen = schema.without_features(self.without_features)
    except ValueError as error:
      raise ModelError(f"Inputs.without_features: {error}") from error
    self.check_fit(schema.dataset, seen.features, width_scale)
    if self.attention:
      self._check_recent(seen)
    return InputLayers(schema, seen, self, width_scale)

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

  def _check_recent(self, seen: Schema) -> None:
    """Raises ModelError where attention lacks what it is about."""
    if not seen.recent:
      raise ModelError(
        f"Inputs.attention is set, and {seen.dataset} was prepared without details of a user's "
        "recent items; set Lookback.history=20 and Lookback.history_details=True"
      )
    names = [feature.name for feature in seen.features]
    for needed in (seen.entities[1], seen.recent[0]):
      if needed not in names:
        raise ModelError(
          f"Inputs.attention needs {needed}, which Inputs.without_features names; leave out one "
          "of the two"
        )


class InputLayers(Part):
  """Maps a batch to x0, [b, d], in the precision of the model.

  Args:
    schema: of the batches.
    seen: the same without the features that the model does not look at.
    inputs: their settings.
    width_scale: as of the model.
  """

  def __init__(self, schema: Schema, seen: Schema, inputs: Inputs, width_scale: float):
    super().__init__()
    self._columns = _columns(schema)
    dense = seen.of_kind("dense")
    self._has_all_dense = dense == schema.of_kind("dense")
    self._dense_columns = np.flatnonzero([each in dense for each in schema.of_kind("dense")])
    owners = {each.name: each.table for each in seen.features if each.table}
    self._details: dict[str, Feature] = {}
    if inputs.attention:
      self._item, self._recent = seen.entities[1], seen.recent[0]
      # A recent item's vector is the one that it has as a row's item.
      owners[self._recent] = owners.get(self._item, self._item)
      named = {feature.name: feature for feature in seen.features}
      for what, name in zip(("age", "actions"), seen.recent[1:], strict=True):
        if name in named:
          self._details[what] = named[name]
      seen = seen.without_features([each.name for each in self._details.values()])
    self._embedded = (*seen.of_kind("categorical"), *seen.of_kind("bag"))
    widths = embedding_widths(seen, inputs.width(width_scale) - len(dense), owners)
    self._tables = tables(
      self._embedded, self._columns, widths, owners, inputs.joined_from, inputs.split
    )
    self.embedding_count = len(self._embedded)
    self.width = sum(widths.values()) + len(dense)
    self._attention: AttentionLayers | None = None
    if inputs.attention:
      (recent,) = (feature for feature in self._embedded if feature.name == self._recent)
      sizes = {what: each.vocabulary_size for what, each in self._details.items()}
      width = widths[self._recent]
      self._attention = inputs.attention.build(recent.length, sizes, width, width_scale)

  def call(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """Embeddings, then means of bags, then dense features, all in the order of the schema."""
    ids = tf.concat([batch["ids"], batch["bags"]], axis=1)
    vectors = {name: found for table in self._tables.values() for name, found in table(ids).items()}
    parts = []
    for feature in self._embedded:
      part = vectors[feature.name]
      if self._attention and feature.name == self._recent:
        details = {what: self._ids_of(ids, of) for what, of in self._details.items()}
        part = self._attention(vectors[self._item], part, self._ids_of(ids, feature), details)
      elif feature.kind == "bag":
        part = _mean_of_present(part, self._ids_of(ids, feature))
      parts.append(part)
    dense = batch["dense"]
    if not self._has_all_dense:
      dense = tf.gather(dense, self._dense_columns, axis=1)
    x0 = tf.concat([*parts, tf.cast(dense, tf.float32)], axis=1)
    return tf.cast(x0, self.compute_dtype)

  def _ids_of(self, ids: tf.Tensor, bag: Feature) -> tf.Tensor:
    """int32 [b, length]."""
    start = self._columns[bag.name]
    return ids[:, start : start + bag.length]

  def is_embedding(self, variable: tf.Variable) -> bool:
    """Whether a variable holds embeddings."""
    variables = [part for table in self._tables.values() for part in table.embeddings]
    variables += self._attention.embeddings if self._attention else []
    return any(variable is each for each in variables)


def _columns(schema: Schema) -> dict[str, int]:
  """The first column of each categorical feature and bag where ids and bags lie side by side."""
  columns, start = {}, 0
  for feature in (*schema.of_kind("categorical"), *schema.of_kind("bag")):
    columns[feature.name] = start
    start += feature.length
  return columns


def embedding_widths(
  schema: Schema, total: int, owners: Mapping[str, str] | None = None
) -> dict[str, int]:
  """Splits `total` columns over the categorical features and bags, as the 4th root of their size.

  Args:
    schema: with at least one of them.
    total: at least as many as they are; each gets one column or more.
    owners: by name, whose rows a feature is looked up in, if not in its own. Such features are as
      wide as each other, and what their equal widths leave over the others get, if there are any.
  """
  features = (*schema.of_kind("categorical"), *schema.of_kind("bag"))
  found = [(owners or {}).get(feature.name, feature.name) for feature in features]
  uses = collections.Counter(found)
  shares: Array = np.array([feature.vocabulary_size for feature in features]) ** 0.25
  together = np.array([uses[owner] > 1 for owner in found])
  widths: Array = 1 + np.floor(shares / shares.sum() * (total - len(features))).astype(int)
  if not together.all():
    rest = total - widths[together].sum() - np.count_nonzero(~together)
    ends = np.round(np.cumsum(shares[~together]) / shares[~together].sum() * rest).astype(int)
    widths[~together] = 1 + np.diff(ends, prepend=0)
  return {feature.name: int(width) for feature, width in zip(features, widths, strict=True)}


def _mean_of_present(vectors: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
  """[b, k], of vectors [b, length, k] whose id is not the padding 0; 0 where all are padding."""
  present = tf.cast(ids != 0, vectors.dtype)[:, :, None]
  return tf.reduce_sum(vectors * present, axis=1) / tf.maximum(tf.reduce_sum(present, axis=1), 1.0)
