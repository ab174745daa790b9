"""A store's card: what the data is, how it was cleaned, how well it could be predicted at best."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ranking.array import Array
from ranking.data.draft import Draft
from ranking.data.schema import Schema
from ranking.tasks import KINDS, evaluate_truth


def describe(
  schema: Schema,
  days: Sequence[Draft],
  last_ids: Array,
  truth: tuple[Array, Array] | None,
  cleaning: Mapping[str, int],
  identity: dict[str, Any],
) -> dict[str, Any]:
  """The content of schema.json.

  Args:
    schema: of the store.
    days: its drafts, in order.
    last_ids: int32 [n, C] of day N.
    truth: labels and truth [n, T] of day N, for a source that knows them.
    cleaning: what was dropped or repaired while reading, beside what the drafts say.
    identity: what the store was made from.
  """
  cleaned = Counter(cleaning)
  for day in days:
    cleaned.update(day.cleaning)  # keeps zeros, unlike +
  return {
    **schema.to_json(),
    "time_zone": days[0].layout.time_zone,
    "rows_per_day": [sum(day.rows) for day in days],
    "first_time_per_day": [day.first_time for day in days],
    "labelled_per_day": {
      task.name: [int(day.labels.rows[k]) for day in days] for k, task in enumerate(schema.tasks)
    },
    "positives_per_day": {
      task.name: [int(day.positives[k]) for day in days]
      for k, task in enumerate(schema.tasks)
      if task.rules.counts_positives
    },
    "unseen_rows_of_day_n": {
      feature.name: int(np.count_nonzero(last_ids[:, k] == 0))
      for k, feature in enumerate(schema.of_kind("categorical"))
    },
    "cleaning": dict(cleaned),
    "best_possible_on_day_n": None
    if truth is None
    else evaluate_truth(schema.tasks, schema.label_statistics, *truth),
    "made_from": identity,
  }


def to_markdown(card: dict[str, Any]) -> str:
  """The card for people."""
  days = pd.DataFrame({"day": card["day_names"], "rows": card["rows_per_day"]})
  for task, labelled in card["labelled_per_day"].items():
    if task in card["positives_per_day"]:
      days[f"{task} (positives)"] = card["positives_per_day"][task]
    else:
      days[f"{task} (labelled)"] = labelled
  features, unseen = pd.DataFrame(card["features"]), card["unseen_rows_of_day_n"]
  features["missing or unseen on day N"] = [
    f"{unseen[name]:,} rows ({unseen[name] / card['rows_per_day'][-1]:.2%})"
    if name in unseen
    else ""
    for name in features["name"]
  ]
  parts = [
    f"# {card['dataset']}: {sum(card['rows_per_day']):,} rows, {len(days)} days",
    f"Days in {card['time_zone']}; trained on all but the last, evaluated on {days.day.iloc[-1]}.",
    "## Rows and positives per day",
    _table(days),
    "## Cleaning",
    "\n".join(f"- {what}: {count:,}" for what, count in card["cleaning"].items()) or "- nothing",
  ]
  if card["best_possible_on_day_n"]:
    best = []
    for task, entry in card["best_possible_on_day_n"].items():
      measure = KINDS[entry["kind"]].measure
      best.append((task, measure.title, entry[measure.name]))
    parts += [
      "## What the true probabilities score on day N",
      _table(pd.DataFrame(best, columns=["task", "measure", "value"])),
    ]
  parts += ["## Features", _table(features)]
  return "\n\n".join(parts) + "\n"


def _table(frame: pd.DataFrame) -> str:
  rows = [frame.columns.astype(str).tolist(), ["---"] * frame.shape[1]]
  rows += [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
  return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(value: Any) -> str:
  if pd.isna(value):  # day N cannot tell: it has no label, or one class
    return "none"
  return f"{value:.4f}" if isinstance(value, float) else str(value)
