"""Tables of the report: what an experiment's CSV has, in the order that its rows are shown in."""

from typing import Any

import pandas as pd

AXES = ("model", "method", "thresholds", "ablation", "learning_rate", "learning_rate_multiplier")
COLUMNS = {  # of a document's CSV, without which it is another file
  "table2": "model column thresholds learning_rate_multiplier task measure stage outcome finished "
  "diverged runs mean deviation best commands",
  "table3": "ablation diverged finished runs ratio ci95_low ci95_high p p_holm commands",
  "comparison": "experiment model reference method task measure eval_day difference ci95_low "
  "ci95_high p p_holm detectable unit_name outcome commands",
  "summary": "model method thresholds ablation learning_rate learning_rate_multiplier runs "
  "finished diverged micro_diverged task measure mean deviation commands",
}


def shaped(stem: str, table: pd.DataFrame) -> dict[str, Any]:
  """What the template of a document needs beside its rows."""
  rows = table.to_dict("records")
  if stem == "comparison":
    over_days = any(row["unit_name"] == "days" for row in rows)
    return {
      "main": [row for row in rows if not over_days or row["unit_name"] == "days"],
      "by_day": [row for row in rows if over_days and row["unit_name"] != "days"],
    }
  if stem == "table3":
    return {"main": rows}
  tasks = {row["task"]: row["measure"] for row in rows}
  first = table.dropna(subset=["task"]).drop_duplicates("measure").task.tolist()
  if stem == "table2":
    return {
      "tasks": tasks,
      "first": first,
      "models": list(dict.fromkeys(table.model)),
      "columns": list(dict.fromkeys(table.column)),
      "cells": {(row["model"], row["task"], row["column"]): row for row in rows},
    }
  axes = [axis for axis in AXES if table[axis].nunique(dropna=False) > 1]
  points: dict[tuple[Any, ...], dict[str, Any]] = {}
  for row in rows:
    points.setdefault(tuple(str(row[axis]) for axis in AXES), {})[row["task"]] = row
  return {"tasks": tasks, "first": first, "axes": axes, "points": list(points.values())}
