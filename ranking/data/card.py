"""A store's card: what the data is, how it was cleaned, how well it could be predicted at best."""

from typing import Any

import numpy as np
import pandas as pd

from ranking.data.features import Packed
from ranking.data.schema import Log
from ranking.evaluation import metrics


def describe(log: Log, packed: Packed, identity: dict[str, Any]) -> dict[str, Any]:
  """The content of schema.json, for a log and what it was packed into."""
  last = log.day == len(log.day_names) - 1
  categorical = packed.schema.of_kind("categorical")
  return {
    **packed.schema.to_json(),
    "time_zone": log.time_zone,
    "rows_per_day": np.bincount(log.day, minlength=len(log.day_names)).tolist(),
    "first_time_per_day": log.time[
      np.searchsorted(log.day, np.arange(len(log.day_names)))
    ].tolist(),
    "labelled_per_day": _per_day(log, ~np.isnan(packed.labels)),
    "positives_per_day": _per_day(log, np.nan_to_num(packed.labels) > 0, kind="binary"),
    "unseen_share_of_day_n": {
      feature.name: float(np.mean(packed.ids[last, k] == 0))
      for k, feature in enumerate(categorical)
    },
    "cleaning": dict(log.cleaning),
    "best_possible_on_day_n": _best_possible(log, last),
    "made_from": identity,
  }


def _per_day(log: Log, flags: Any, kind: str | None = None) -> dict[str, list[int]]:
  return {
    task.name: np.bincount(log.day, flags[:, k], minlength=len(log.day_names)).astype(int).tolist()
    for k, task in enumerate(log.tasks)
    if kind in (None, task.kind)
  }


def _best_possible(log: Log, last: Any) -> dict[str, Any] | None:
  """What the true probabilities and means score on day N, for a source that knows them."""
  if log.truth is None:
    return None
  truth = log.truth.to_numpy(np.float64)[last].copy()
  for k, task in enumerate(log.tasks):
    if task.kind == "binary":
      probability = np.clip(truth[:, k], 1e-12, 1 - 1e-12)
      truth[:, k] = np.log(probability) - np.log1p(-probability)
  return metrics.evaluate(log.tasks, log.labels.to_numpy(np.float32)[last], truth)


def to_markdown(card: dict[str, Any]) -> str:
  """The card for people."""
  days = pd.DataFrame({"day": card["day_names"], "rows": card["rows_per_day"]})
  for task, labelled in card["labelled_per_day"].items():
    if task in card["positives_per_day"]:
      days[f"{task} (positives)"] = card["positives_per_day"][task]
    else:
      days[f"{task} (labelled)"] = labelled
  features = pd.DataFrame(card["features"])
  features["unseen on day N"] = [
    f"{card['unseen_share_of_day_n'][name]:.2%}" if name in card["unseen_share_of_day_n"] else ""
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
    best = [
      (task, entry["kind"], entry.get("auc", entry.get("rmse")))
      for task, entry in card["best_possible_on_day_n"].items()
    ]
    parts += [
      "## What the true probabilities score on day N",
      _table(pd.DataFrame(best, columns=["task", "kind", "AUC or RMSE"])),
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
