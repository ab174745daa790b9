"""The last stage: the arrays of the store, and the features that say what their columns are."""

from pathlib import Path
from typing import Final

import numpy as np

from ranking.array import Array
from ranking.data import draft, merge
from ranking.data.features import Moments, standardise
from ranking.data.schema import Feature
from ranking.data.store import DayWriter
from ranking.data.work_folder import blocks, draft_folder, seen_folder, whole

VERSION: Final = 1  # raised when a packed column changes: its scale, its ids or its place


def pack_day(work: Path, merged: merge.Merged, moments: Moments, place: int) -> int:
  """Writes a day of the store. Returns its place."""
  day = draft.load(draft_folder(work, place))
  layout = day.layout
  widths = {
    "ids": len(layout.categorical),
    "bags": sum(feature.length for feature in merged.features if feature.kind == "bag"),
    "dense": len(moments.mean),
    "labels": len(layout.tasks),
  }
  with whole(work / "store" / day.name, work) as folder:
    if folder:
      ids = merge.ids_of(work / "merged", place)
      lengths = {feature.name: feature.length for feature in merged.features}
      folder.rmdir()  # DayWriter makes its own
      with DayWriter(folder, sum(day.rows), widths) as writer:
        for number, block in enumerate(blocks(work, place)):
          seen_path = draft.block_path(seen_folder(work, place), number)
          with open(seen_path, "rb") as file, np.load(file) as seen:
            dense, recent = seen["dense"], seen.get("recent")
          bags = [
            _bag(ids[name][block.lists[name]], lengths[name])[block.list_of_row[name]]
            for name in layout.bags
          ]
          if recent is not None:
            assert merged.ids_of_items is not None
            bags.append(merged.ids_of_items[recent])
          writer.write(
            ids=np.stack([ids[name][block.codes[name]] for name in layout.categorical], axis=1),
            bags=np.concatenate([np.zeros((len(block.time), 0), np.int32), *bags], axis=1),
            dense=standardise(np.concatenate([block.dense, dense], axis=1), moments),
            labels=block.labels,
            time=block.time,
          )
  return place


def features_of(merged: merge.Merged) -> tuple[Feature, ...]:
  """The features of the schema, in the order of their columns."""
  layout = merged.layout
  as_of = [
    Feature(name, "dense")
    for entity in layout.entities
    for name in (f"{entity}_count", *(f"{entity}_{task}_rate" for task in layout.rated_tasks))
  ]
  return (*merged.features, *as_of)


def _bag(ids: Array, length: int) -> Array:
  """Pads lists of ids [l, up to length] with 0 to [l, length]."""
  return np.pad(ids, ((0, 0), (0, length - ids.shape[1])))
