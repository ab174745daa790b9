"""A store's card: what the data is, how it was cleaned, how well it could be predicted at best."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ranking.array import Array
from ranking.data.calendar import Calendar
from ranking.data.pack import Packed
from ranking.data.remark import Remark, unanswered
from ranking.data.schema import Log, Schema
from ranking.tasks import KINDS, evaluate_truth


def describe(
  schema: Schema,
  log: Log,
  calendar: Calendar,
  packed: Packed,
  last_labels: Array,
  cleaning: Mapping[str, int],
  warnings: Sequence[Remark],
  identity: dict[str, Any],
) -> dict[str, Any]:
  """The content of schema.json.

  Args:
    schema: of the store.
    log: that it was made of.
    calendar: its days.
    packed: what they hold.
    last_labels: float32 [n, T] of day N.
    cleaning: what was dropped or repaired, and how many rows of it.
    warnings: what a person should look at, most serious first.
    identity: what the store was made from.
  """
  return {
    **schema.to_json(),
    "time_zone": log.time_zone,
    "rows_per_day": list(calendar.rows),
    "first_time_per_day": list(calendar.first_times),
    "labelled_per_day": {
      task.name: [int(labels.rows[k]) for labels in packed.labels]
      for k, task in enumerate(schema.tasks)
    },
    "positives_per_day": {
      task.name: [int(positives[k]) for positives in packed.positives]
      for k, task in enumerate(schema.tasks)
      if task.rules.counts_positives
    },
    "unseen_rows_of_day_n": {
      feature.name: int(packed.unseen[k]) for k, feature in enumerate(schema.of_kind("categorical"))
    },
    **{
      f"{what}_rows": {
        feature.name: int(count)
        for feature, count in zip(schema.of_kind("dense"), counts, strict=True)
      }
      for what, counts in (("filled", packed.filled), ("clipped", packed.clipped))
    },
    "cleaning": dict(cleaning),
    "notes": [line for line in log.notes if not line.startswith("warning: ")],
    "warnings": [remark._asdict() for remark in warnings],
    "best_possible_on_day_n": None
    if packed.last_truth is None
    else _best(schema, last_labels, packed.last_truth),
    "made_from": identity,
  }


def _best(schema: Schema, labels: Array, truth: Array) -> dict[str, Any]:
  """What the truth scores, one task after the other: a large day fits into memory then."""
  best: dict[str, Any] = {}
  for k, (task, known) in enumerate(zip(schema.tasks, schema.label_statistics, strict=True)):
    best |= evaluate_truth((task,), (known,), labels[:, [k]], truth[:, [k]])
  return best


def to_markdown(card: dict[str, Any]) -> str:
  """The card for people."""
  days = pd.DataFrame({"day": card["day_names"], "rows": card["rows_per_day"]})
  for task, labelled in card["labelled_per_day"].items():
    if task in card["positives_per_day"]:
      days[f"{task} (positives)"] = card["positives_per_day"][task]
    else:
      days[f"{task} (labelled)"] = labelled
  features, unseen = pd.DataFrame(card["features"]), card["unseen_rows_of_day_n"]
  rows = sum(card["rows_per_day"])
  for title, counts, of in (
    ("missing or unseen on day N", unseen, card["rows_per_day"][-1]),
    ("missing, filled with the mean", card["filled_rows"], rows),
    ("cut to 5 deviations", card["clipped_rows"], rows),
  ):
    features[title] = [
      f"{counts[name]:,} rows ({counts[name] / of:.2%})" if name in counts else ""
      for name in features["name"]
    ]
  parts = [
    f"# {card['dataset']}: {rows:,} rows, {len(days)} days",
    f"Days in {card['time_zone']}; trained on all but the last, evaluated on {days.day.iloc[-1]}.",
    f"## Warnings: {len(card['warnings'])}",
    "\n".join(f"- {line}" for line in unanswered(card)) or "- none",
    "## Rows and positives per day",
    _table(days),
    "## Cleaning",
    "\n".join(f"- {what}: {count:,}" for what, count in card["cleaning"].items()) or "- nothing",
  ]
  if card["notes"]:
    parts += ["## How it was read", "\n".join(f"- {line}" for line in card["notes"])]
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
