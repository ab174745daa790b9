"""Curves of real runs, small enough to keep: recorded.npz, made by

.venv/bin/python -m experiments.verdicts.recorded runs/calibration_kuairand_late runs/defaults_*

The truth is told from day N, which the verdict never sees: how much of what the median run of the
same log gains over knowing nothing a task has at the end, in AUC or in squared error. A run is lost
if that is less than HALF of its first task, and has lived if no task has less. Where another task
alone has, or what a task had learned does not hold on day N, the truth is not known.

Each step has of every task the loss over that of its best constant, which earlier series had not:
it is worked out from the labels of the very batch.
"""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.verdicts.simulation import Curve
from ranking.array import Array
from ranking.data.order import WindowOrder
from ranking.data.store import DayStore
from ranking.stability.divergence import Status

FILE = Path(__file__).with_name("recorded.npz")
HALF = 0.5  # of the median run's gain
LEARNT = 0.15  # a gain of the median run that says that a task is learnt
LONGEST = 1000  # steps of a run that is kept
LIVED: tuple[Status, ...] = ("ok", "micro_diverged", "learned_nothing")
LOST: tuple[Status, ...] = ("diverged",)
MOST = 60_000.0  # a relative loss that float16 still holds


def load() -> Iterator[Curve]:
  """The recorded curves."""
  with np.load(FILE) as file:
    names, truths = file["names"].tolist(), _truths(file["names"], file["gains"])
    ends = np.cumsum(file["steps"])
    for k, (name, end) in enumerate(zip(names, ends, strict=True)):
      mine = slice(end - file["steps"][k], end)
      constants = np.broadcast_to(file["constants"][k], file["relative"][mine].shape)
      alive = file["alive"][mine].astype(float)[:, None] * np.ones_like(constants)
      rarer = file["rarer"][mine].astype(float)
      losses = file["relative"][mine].astype(float) * constants
      labels = np.full_like(rarer, file["batch"][k])
      yield Curve(name, truths[k], None, None, losses, constants, labels, rarer, alive)


def record(directories: list[Path]) -> None:
  """Writes recorded.npz from the finished runs in some folders of sweeps."""
  kept: dict[str, list[Any]] = {
    name: []
    for name in ("names", "steps", "relative", "rarer", "alive", "constants", "gains", "batch")
  }
  for result in sorted(path for folder in directories for path in folder.glob("*/result.json")):
    run = _run(result.parent, json.loads(result.read_text()))
    if run is not None:
      for name, value in run.items():
        kept[name].append(value)
  joined: dict[str, Any] = {
    name: np.concatenate(values) if name in ("relative", "rarer", "alive") else np.array(values)
    for name, values in kept.items()
  }
  np.savez_compressed(FILE, **joined)
  print(f"{FILE}: {len(kept['names'])} runs, {FILE.stat().st_size / 1e3:.0f} kB")


def _run(directory: Path, result: dict[str, Any]) -> dict[str, Any] | None:
  """One run's columns; None of one that is too long, or of fewer tasks than its log has."""
  rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
  store_directory = directory.parents[2] / result["store"]
  if len(rows) > LONGEST or not store_directory.is_dir():
    return None
  store = DayStore(store_directory)
  tasks, known = store.schema.tasks, store.schema.label_statistics
  if f"{tasks[-1].name}/loss" not in rows[0] or len(tasks) != 6:
    return None
  window = math.inf if result["window_hours"] in ("all", "inf") else result["window_hours"]
  order = WindowOrder(store.train_days, window, result["seed"])
  labels = np.concatenate([np.asarray(day.labels, np.float64) for day in store.train_days])
  batch = result["batch_size"]
  losses = np.array([[float(row[f"{task.name}/loss"]) for task in tasks] for row in rows])
  constants, rarer = np.zeros_like(losses), np.zeros_like(losses)
  for step in range(len(rows)):
    of_batch = labels[order[step * batch : (step + 1) * batch]]
    for k, task in enumerate(tasks):
      y = of_batch[:, k][~np.isnan(of_batch[:, k])]
      constants[step, k] = _constant_losses(task.kind, y, known[k].mean).mean()
      above = np.count_nonzero(y > known[k].mean)
      rarer[step, k] = min(above, len(y) - above)
  skipped = np.array([bool(row["skipped"]) for row in rows])
  relative = np.where(skipped[:, None], np.nan, losses / constants)
  day = np.asarray(store.eval_day.labels, np.float64)
  return {
    "names": f"{result['dataset']}: {directory.name}",
    "steps": len(rows),
    "relative": np.clip(relative, 0, MOST).astype(np.float16),
    "rarer": np.minimum(rarer, 65_535).astype(np.uint16),
    "alive": np.array([row["output_spread"] != 0 for row in rows]),
    "constants": constants.mean(axis=0),
    "gains": [
      _gain(entry, day[:, k] - known[k].mean) for k, entry in enumerate(result["metrics"].values())
    ],
    "batch": batch,
  }


def _truths(names: Array, gains: Array) -> list[tuple[Status, ...]]:
  """Of each run, given its name and what each of its tasks gains [runs, T]."""
  logs = np.array([str(name).partition(":")[0] for name in names])
  truths: list[tuple[Status, ...]] = []
  for log, gained in zip(logs, gains, strict=True):
    usual = np.median(np.nan_to_num(gains[logs == log]), axis=0)
    kept = np.nan_to_num(gained)[usual >= LEARNT] / usual[usual >= LEARNT]
    truths.append(LOST if kept[0] < HALF else LIVED if kept.min() >= HALF else (*LIVED, *LOST))
  return truths


def _gain(entry: dict[str, Any], from_mean: Array) -> float:
  """What a task's figure of day N is above that of knowing nothing: 0, and 1 for knowing all."""
  if entry["kind"] == "binary":
    return math.nan if entry["auc"] is None else 2 * float(entry["auc"]) - 1
  if entry["rmse"] is None:
    return math.nan
  return 1 - float(entry["rmse"]) ** 2 / float(np.nanmean(np.square(from_mean)))


def _constant_losses(kind: str, labels: Array, mean: float) -> Array:
  if kind == "binary":
    return -labels * np.log(mean) - (1 - labels) * np.log1p(-mean)
  return np.square(labels - mean)


if __name__ == "__main__":
  record(list(map(Path, sys.argv[1:])))
