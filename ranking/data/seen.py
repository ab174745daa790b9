"""The look back: what the rows of a day saw of the past."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from ranking.array import Array
from ranking.data import draft, merge
from ranking.data.features import Moments
from ranking.data.lookback import Latest, Lookback, Rates, terms
from ranking.data.work_folder import blocks, draft_folder, dump, seen_folder, whole

VERSION: Final = 1  # raised when as-of features or histories change, or how they are kept


def look_back(work: Path, lookback: Lookback, place: int) -> int:
  """Writes what the rows of a day saw of the past. Returns its place.

  Per block `dense`, its as-of features, and with a history `recent`, numbers of items [n, K]; for
  the day the moments of the former.
  """
  with whole(seen_folder(work, place), work) as folder:
    if folder:
      context = merge.context_of(work / "merged", place)
      day = draft.load(draft_folder(work, place))
      layout, entities = day.layout, day.layout.entities
      rates = Rates(
        [context.counts[entity] for entity in entities],
        [context.known[entity] for entity in entities],
        context.known_of_all,
        lookback.delay,
      )
      recent = None if context.latest is None else Latest(context.latest, lookback.delay)
      item_numbers = np.append(context.numbers[entities[1]], -1) if recent else np.zeros(0)

      for earlier in context.unknown:
        numbers = merge.context_of(work / "merged", earlier).numbers
        here = {e: _place_of(context.numbers[e], numbers[e]) for e in entities}
        for block in blocks(work, earlier, entities):
          groups = [here[entity][block.codes[entity]] for entity in entities]
          rates.add(groups, block.time, terms(block.rated(layout)))
          if recent:
            user, time, item = block.positive(layout)
            recent.add(here[entities[0]][user], time, numbers[entities[1]][item])
      total = None
      for number, block in enumerate(blocks(work, place, entities)):
        groups = [block.codes[entity] for entity in entities]
        arrays: dict[str, Any] = {
          "dense": rates.before(groups, block.time, terms(block.rated(layout)))
        }
        if recent:
          user, time, item = block.positive(layout)
          recent.add(user, time, item_numbers[item])
          arrays["recent"] = recent.before(groups[0], block.time)
        np.savez(draft.block_path(folder, number), **arrays)
        moments = Moments.of(arrays["dense"])
        total = moments if total is None else total + moments
      dump(total, folder / "moments.pickle")
  return place


def _place_of(numbers: Array, others: Array) -> Array:
  """Finds where each of `others` is among `numbers`, [o + 1]; -1 if it is not, and at the end."""
  order = np.argsort(numbers)
  place = np.searchsorted(numbers[order], others)
  place = np.append(order, -1)[np.minimum(place, len(numbers))]
  found = (place >= 0) & (numbers[place] == others) if len(numbers) else np.zeros(len(others), bool)
  return np.append(np.where(found, place, -1), -1)
