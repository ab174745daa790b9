"""What all days together say of each: ids of its values, and what was known when it began.

Days are merged one after the other, in order; what grows is a number per distinct value.
"""

import dataclasses
import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ranking.array import Array
from ranking.data import draft, features
from ranking.data.features import Moments, Values
from ranking.data.lookback import Lookback, put_before
from ranking.data.schema import DataError, Feature
from ranking.tasks import LabelStatistics

VERSION: Final = 1  # raised when vocabularies, statistics or what was known of the past change


@dataclasses.dataclass(frozen=True)
class Context:
  """What was known when a day began. A number is the place of a value among those of all days.

  Attributes:
    numbers: int64 [v] per entity, the number of each of the day's values.
    counts: float64 [v, 1] per entity, rows of all days before.
    known: float64 [v, 2R] per entity, sums of `lookback.terms` over the days that were known.
    known_of_all: float64 [1, 2R].
    latest: int64 [users, K] numbers of items, from the days that were known; None without history.
    unknown: places of the earlier days that were not wholly known when this one began.
  """

  numbers: Mapping[str, Array]
  counts: Mapping[str, Array]
  known: Mapping[str, Array]
  known_of_all: Array
  latest: Array | None
  unknown: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Merged:
  """What is the same for all days.

  Attributes:
    layout: of the log.
    features: but the as-of ones, in the order of their columns.
    ids_of_items: int32 [items + 1], the id of each item by number, then 0; None without history.
    report_values: of the schema.
    label_statistics: of the schema.
    dense: moments of the log's dense columns in the training days.
  """

  layout: draft.Layout
  features: tuple[Feature, ...]
  ids_of_items: Array | None
  report_values: tuple[str, ...]
  label_statistics: tuple[LabelStatistics, ...]
  dense: Moments


def merge(days: Sequence[Path], lookback: Lookback, folder: Path) -> Merged:
  """Merges drafted days and writes, per day, its context and the ids of its values.

  Args:
    days: folders of the drafted days in order; the last is day N.
    lookback: what a row sees of the past.
    folder: gets the files that `context_of` and `ids_of` read.

  Raises DataError where days differ in their columns or overlap in time.
  """
  first = draft.load(days[0])
  layout = first.layout
  columns = (*layout.categorical, *layout.bags)
  values = {name: Values() for name in columns}
  numbers: list[dict[str, Array]] = []
  counts = {name: np.zeros(0, np.int64) for name in columns}
  past = _Past(layout, lookback)
  lengths = dict.fromkeys(layout.bags, 1)
  labels, dense, end = [], [], None
  levels = {name: Counter[float]() for name in first.levels}
  for place, path in enumerate(days):
    day = draft.load(path)
    if day.layout != layout:
      raise DataError(f"day {day.name} has {day.layout}, but the first has {layout}")
    if end is not None and day.first_time <= end:
      raise DataError(f"day {day.name} begins before the day before it ends; mend the day boundary")
    end = day.last_time
    of_day = {name: values[name].codes(day.values[name]) for name in columns}
    numbers.append(of_day)
    _save(past.before(day, of_day), folder, "context", place)
    past.add(place, day, of_day)
    for name, longest in day.lengths.items():
      lengths[name] = max(lengths[name], longest)
    if place < len(days) - 1:
      for name in columns:
        counts[name] = _grown(counts[name], len(values[name]))
        counts[name][of_day[name]] += day.counts[name]
      labels.append(day.labels)
      for name, rows in day.levels.items():
        levels[name].update(rows)
      dense.append(day.dense)
  ids = {
    name: np.append(features.vocabulary(_grown(counts[name], len(values[name]))), np.int32(0))
    for name in columns
  }
  for place, of_day in enumerate(numbers):
    ids_of_day = {name: ids[name][np.append(of_day[name], -1)] for name in columns}
    _save(ids_of_day, folder, "ids", place)
  item = layout.entities[1] if lookback.history else ""
  bags = [
    Feature(name, "bag", features.vocabulary_size(ids[name]), lengths[name]) for name in layout.bags
  ]
  if lookback.history:
    size = features.vocabulary_size(ids[item])
    bags.append(Feature(f"recent_{item}", "bag", size, lookback.history))
  return Merged(
    layout=layout,
    features=(
      *(
        Feature(name, "categorical", features.vocabulary_size(ids[name]))
        for name in layout.categorical
      ),
      *bags,
      *(Feature(name, "dense") for name in layout.dense),
    ),
    ids_of_items=ids[item] if item else None,
    report_values=features.names_of_ids(
      values[layout.report_by].array(), ids[layout.report_by][:-1]
    )
    if layout.report_by
    else (),
    label_statistics=features.label_statistics(layout.tasks, _total(labels), levels),
    dense=_total(dense),
  )


def context_of(folder: Path, place: int) -> Context:
  """Reads what was known when a day began; days are counted from 0."""
  context: Context = _load(folder, "context", place)
  return context


def ids_of(folder: Path, place: int) -> dict[str, Array]:
  """Per categorical column and bag int32 [v + 1]: ids of a day's values by code, and 0 for -1."""
  ids: dict[str, Array] = _load(folder, "ids", place)
  return ids


def _save(value: Any, folder: Path, what: str, place: int) -> None:
  with open(folder / f"{what}-{place:05d}.pickle", "wb") as file:
    pickle.dump(value, file)


def _load(folder: Path, what: str, place: int) -> Any:
  with open(folder / f"{what}-{place:05d}.pickle", "rb") as file:
    return pickle.load(file)


class _Past:
  """Sums per entity over the days so far, and which of these days were known."""

  def __init__(self, layout: draft.Layout, lookback: Lookback):
    width = 2 * len(layout.rated_tasks)
    self._layout, self._lookback = layout, lookback
    self._counts = {entity: np.zeros((0, 1)) for entity in layout.entities}
    self._known = {entity: np.zeros((0, width)) for entity in layout.entities}
    self._known_of_all = np.zeros((1, width))
    self._latest = np.full((0, lookback.history), -1)
    self._unknown: list[tuple[int, draft.Draft, dict[str, Array]]] = []

  def before(self, day: draft.Draft, numbers: Mapping[str, Array]) -> Context:
    """What was known when a day began."""
    while self._unknown and self._unknown[0][1].last_time < day.first_time - self._lookback.delay:
      self._know(*self._unknown.pop(0)[1:])
    entities = self._layout.entities
    latest = None
    if self._lookback.history:
      user = entities[0]
      self._latest = _grown(self._latest, numbers[user].max(initial=-1) + 1, -1)
      latest = self._latest[numbers[user]]
    for table in (self._counts, self._known):
      for entity in entities:
        table[entity] = _grown(table[entity], numbers[entity].max(initial=-1) + 1)
    return Context(
      numbers={entity: numbers[entity] for entity in entities},
      counts={entity: self._counts[entity][numbers[entity]] for entity in entities},
      known={entity: self._known[entity][numbers[entity]] for entity in entities},
      known_of_all=self._known_of_all.copy(),
      latest=latest,
      unknown=tuple(earlier for earlier, _, _ in self._unknown),
    )

  def add(self, place: int, day: draft.Draft, numbers: dict[str, Array]) -> None:
    """A day after `before` of it."""
    for entity in self._layout.entities:
      self._counts[entity][numbers[entity], 0] += day.counts[entity]
    self._unknown.append((place, day, numbers))

  def _know(self, day: draft.Draft, numbers: Mapping[str, Array]) -> None:
    for entity in self._layout.entities:
      self._known[entity][numbers[entity]] += day.terms[entity]
    self._known_of_all += day.terms_of_all
    if day.latest is not None:
      user, item = self._layout.entities[:2]
      newer = np.append(numbers[item], -1)[day.latest]
      who = numbers[user][: len(newer)]
      self._latest[who] = put_before(self._latest[who], newer)


def _grown(array: Array, length: int, fill: int = 0) -> Array:
  """Lengthens an array to `length` or more: to twice as long at least, so that growing is rare."""
  if len(array) >= length:
    return array
  rest = np.full((max(length, 2 * len(array)) - len(array), *array.shape[1:]), fill, array.dtype)
  return np.concatenate([array, rest])


def _total(moments: Sequence[Moments]) -> Moments:
  total = moments[0]
  for more in moments[1:]:
    total = total + more
  return total
