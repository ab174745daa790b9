"""Checks late divergence without the trainer: Large+DCN in NumPy on the arrays of a day store.

  python -m scripts.check_late_divergence --store=data/store/synthetic/367a4e0e9a5e9854

Trains with plain Adagrad ("naive") and with Clippy (0.5, 1e-2) at the same rates and seeds, at an
eighth of the paper's widths, in a moving window of 24 hours, with a linear warm-up. Prints a JSON
line for every ten steps, and a verdict for each run. A finished run is a row of runs.csv and is not
run again; its lines are in series.csv. Exit code 2 on bad input.
"""

import argparse
import csv
import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from scripts.numpy_large_dcn import Adagrad, Array, Batch, LargeDcn, gradient_norm

WIDTH, HIDDEN = 206, (512,) * 4  # an eighth of 1,650 and of 4,096
CLIPPY = (0.5, 1e-2)  # relative and absolute, the paper's
WINDOW_MS = 24 * 3_600_000
EVERY = 10  # steps of a line
SHOWN_AFTER_LOSS = 100  # steps, in which a lost run could come back
WHO = ("method", "rate", "warmup_steps", "seed")  # what a run is known by


class Log(NamedTuple):
  """Rows in order of time."""

  rows: Batch
  time: Array  # int64 [n], ms


@dataclasses.dataclass
class Watch:
  """Says from which step a run is lost, by rules like those of the trainer, but fewer.

  A run that has learnt is lost when the median over 15 steps of its loss, over what the best
  constant loses on the same rows, is 0.98 or more for 50 steps. So is any whose loss is not finite.
  """

  relative: list[float] = dataclasses.field(default_factory=list)
  lowest: float = math.inf  # of the median
  lost_at: int | None = None
  _above_since: int | None = None

  def take(self, relative: float) -> None:
    """Takes the relative loss of the next step."""
    self.relative.append(relative)
    step = len(self.relative)
    if self.lost_at is not None:
      return
    if not math.isfinite(relative):
      self.lost_at = step
      return
    median = float(np.median(self.relative[-15:]))
    if median < 0.98:
      self.lowest, self._above_since = min(self.lowest, median), None
      return
    self._above_since = self._above_since or step
    if self.lowest < 0.98 and step - self._above_since + 1 >= 50:
      self.lost_at = self._above_since


def main(arguments: Sequence[str]) -> int:
  """Runs what is not in runs.csv yet; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=(__doc__ or "").partition("\n")[0],
    formatter_class=argparse.ArgumentDefaultsHelpFormatter,
  )
  add = parser.add_argument
  add("--store", type=Path, required=True, help="the folder that ranking prepare prints")
  add("--methods", nargs="+", choices=["naive", "clippy"], default=["naive", "clippy"])
  add("--rates", nargs="+", type=float, default=[0.4, 0.6], help="after the warm-up")
  add("--seeds", nargs="+", type=int, default=[0, 1, 2])
  add("--batch_size", type=int, default=1024)
  add("--warmup_steps", type=int, default=300)
  add("--out", type=Path, default=Path("runs/late_independent"))
  given = parser.parse_args(arguments)
  if not (given.store / "schema.json").is_file():
    print(f"error: {given.store} is no day store; give the folder of one", file=sys.stderr)
    return 2
  schema = json.loads((given.store / "schema.json").read_text())
  train_days, day_n = schema["day_names"][:-1], schema["day_names"][-1:]
  logs = read(given.store, train_days), read(given.store, day_n)
  model = LargeDcn(schema, WIDTH, HIDDEN)
  finished = {tuple(row[name] for name in WHO) for row in _rows(given.out)}
  for seed in given.seeds:
    for rate in given.rates:
      for method in given.methods:
        who = dict(zip(WHO, (method, rate, given.warmup_steps, seed), strict=True))
        if tuple(map(str, who.values())) in finished:
          continue
        lines, verdict = run(model, *logs, given.batch_size, who)
        _append(given.out / "series.csv", [who | line for line in lines])
        _append(given.out / "runs.csv", [who | verdict])
  return 0


def read(store: Path, days: Sequence[str]) -> Log:
  """All rows of some days, end to end."""

  def joined(name: str) -> Array:
    return np.concatenate([np.load(store / day / f"{name}.npy", mmap_mode="r") for day in days])

  return Log(Batch(*(joined(name) for name in Batch._fields)), joined("time"))


def run(
  model: LargeDcn,
  train: Log,
  day_n: Log,
  batch_size: int,
  who: Mapping[str, Any],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
  """One pass over the training days, or up to SHOWN_AFTER_LOSS steps beyond a loss.

  Args:
    model: of this log.
    train, day_n: the rows of days 1..N-1, and those of day N.
    batch_size: rows of a step.
    who: a value of each of WHO.

  Returns:
    A line for each EVERY steps, and the verdict with the figures of day N.
  """
  began = time.monotonic()
  random, warmup_steps = np.random.default_rng(who["seed"]), who["warmup_steps"]
  weights = model.initial_weights(random)
  adagrad = Adagrad(weights, CLIPPY if who["method"] == "clippy" else None)
  watch, lines, latest = Watch(), [], []
  for batch in batches(train, batch_size, random):
    step = model.step(weights, batch)
    watch.take(float(step.task_losses.sum() / model.constant_losses(batch.labels).sum()))
    number = len(watch.relative)
    if not math.isfinite(watch.relative[-1]):
      break
    factors = adagrad.step(step.gradients, who["rate"] * min(1.0, number / warmup_steps))
    latest.append((step.outputs[:, 0], batch.labels[:, 0], gradient_norm(step.gradients), factors))
    if number % EVERY == 0:
      outputs, labels, norms, smallest = zip(*latest, strict=True)
      lines.append(
        {
          "step": number,
          "relative_loss": round(float(np.mean(watch.relative[-EVERY:])), 4),
          "highest_relative_loss": round(max(watch.relative[-EVERY:]), 4),
          "highest_gradient_norm": round(max(norms), 4),
          "smallest_factor": round(min(min(each.values()) for each in smallest), 5),
          "auc_before_training": round(auc(np.concatenate(outputs), np.concatenate(labels)), 4),
        }
      )
      latest.clear()
      print(json.dumps(dict(who) | lines[-1]), flush=True)
    if watch.lost_at is not None and number >= watch.lost_at + SHOWN_AFTER_LOSS:
      break
  verdict = {
    "verdict": _verdict(watch.lost_at, warmup_steps),
    "lost_at": watch.lost_at,
    "steps": len(watch.relative),
    "lowest_median_loss": round(watch.lowest, 4),
    "highest_loss_after_warmup": round(max(watch.relative[warmup_steps:], default=math.nan), 4),
    **evaluate(model, weights, day_n.rows),
    "seconds": round(time.monotonic() - began),
  }
  print(json.dumps(dict(who) | verdict), flush=True)
  return lines, verdict


def batches(log: Log, batch_size: int, random: np.random.Generator) -> Iterator[Batch]:
  """Each row once, in the order of its time plus a random share of the window."""
  order = np.argsort(log.time + WINDOW_MS * random.random(len(log.time)), kind="stable")
  for start in range(0, len(order), batch_size):
    picked = order[start : start + batch_size]
    yield Batch(*(array[picked] for array in log.rows))


def evaluate(model: LargeDcn, weights: Mapping[str, Array], rows: Batch) -> dict[str, float]:
  """The AUC or RMSE of each task on some rows."""
  parts = range(0, len(rows.ids), 4096)
  blocks = [Batch(*(array[start : start + 4096] for array in rows)) for start in parts]
  outputs = np.concatenate([model.outputs(weights, block) for block in blocks])
  figures = {}
  for k, task in enumerate(model.schema["tasks"]):
    known = ~np.isnan(rows.labels[:, k])
    found, labels = outputs[known, k].astype(np.float64), rows.labels[known, k]
    if task["kind"] == "binary":
      figures[f"{task['name']}_auc"] = round(auc(found, labels), 4)
    else:
      figures[f"{task['name']}_rmse"] = round(float(np.sqrt(np.mean((found - labels) ** 2))), 4)
  return figures


def auc(outputs: Array, labels: Array) -> float:
  """The share of pairs of a 1 and a 0 in the right order, ties counted as halves."""
  if not np.isfinite(outputs).all():
    return math.nan
  positive = labels == 1
  ones, zeros = int(positive.sum()), int((~positive).sum())
  ranks = rankdata(outputs)[positive].sum()
  return float((ranks - ones * (ones + 1) / 2) / (ones * zeros)) if ones and zeros else math.nan


def _verdict(lost_at: int | None, warmup_steps: int) -> str:
  if lost_at is None:
    return "not lost"
  return "lost late" if lost_at > warmup_steps else "lost on the way up"


def _rows(folder: Path) -> list[dict[str, str]]:
  """Of runs.csv, if there is one."""
  path = folder / "runs.csv"
  return list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []


def _append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Adds rows to a CSV, which gets its header with the first."""
  path.parent.mkdir(parents=True, exist_ok=True)
  is_new = not path.is_file()
  with path.open("a", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
    if is_new:
      writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
