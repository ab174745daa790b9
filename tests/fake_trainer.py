"""Stands in for `ranking`, to run a sweep in no time: fake_trainer.py BEHAVIOUR COMMAND FLAGS…

Appends a line to calls.txt for each start of a run. What it does with a run is its BEHAVIOUR:

ok                   leaves a result
fails:PART[:TIMES]   as ok, but a run with PART in its name fails, the first TIMES times if given
waits[:PART]         as ok, but a run with PART in its name only once there is a file called go;
                     SIGTERM stops it as it does the trainer

Runs with naive in their names diverge; the AUC of the others is made of their names.
"""

import json
import os
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import Any


def result(auc: Any, status: str = "ok", **more: Any) -> dict[str, Any]:
  """A result.json as the trainer writes it, with one task of each kind."""
  within = {"normalised_entropy": 0.9, "gauc": 0.65, "gauc_ci95": [0.6, 0.7]}
  within |= {"ndcg": 0.85, "ndcg_ci95": [0.8, 0.9]}
  same = {"rows": 100, "logloss": 0.5, "relative_loss": 0.9, "calibration": 1.1, "nonfinite": 0}
  return {
    "status": status,
    "diverged_at_step": None,
    "micro_divergences": [],
    "skipped_steps": 0,
    "model": "large",
    "method": "gc",
    "learning_rate": 0.1,
    "learning_rate_multiplier": 1.0,
    "seed": 0,
    "dataset": "synthetic",
    "scale": "proxy",
    "eval_day": "2026-01-18",
    "window_hours": 24.0,
    "batch_size": 512,
    "steps": 507,
    "metrics": {
      "click": {
        "kind": "binary",
        "auc": auc,
        "ci95": [0.6, 0.8],
        "positives": 40,
        **within,
        **same,
      },
      "seconds": {"kind": "regression", "rmse": 1.5, "ci95": None, **same},
    },
    "examples_per_second": 1e4,
    "seconds": 42.5,
    "command": "python -m …",
    "git_commit": "abc",
    **more,
  }


def main(behaviour: str, command: str, *arguments: str) -> int:
  """Does what BEHAVIOUR says to `train`; `prepare` leaves its flags in prepared.txt."""
  if command == "prepare":
    with open("prepared.txt", "a") as prepared:
      prepared.write(" ".join(arguments) + "\n")
    return 0
  given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
  run = Path(given["run"])
  with open("calls.txt", "a") as calls:
    calls.write(f"{run.name} {os.environ.get('TF_NUM_INTRAOP_THREADS')}\n")
  kind, part, times = [*behaviour.split(":"), "", ""][:3]
  starts = Path("calls.txt").read_text().count(f"{run.name} ")
  if kind == "fails" and part in run.name and starts <= int(times or 1_000):
    print(f"error: {run.name} cannot, start {starts}")
    print("and this comes after it")
    return 1
  stopped: list[int] = []
  signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
  (run / "pid").write_text(str(os.getpid()))
  (run / "pid").rename(run / "began")
  deadline = time.monotonic() + 60  # nothing is left behind when a test fails
  waits = kind == "waits" and part in run.name
  while waits and not Path("go").exists() and time.monotonic() < deadline:
    if stopped:
      (run / "checkpoint").touch()
      return 143
    time.sleep(0.01)
  diverged = "naive" in run.name
  auc = 0.5 + zlib.crc32(run.name.encode()) % 4000 / 10_000
  (run / "result.json").write_text(json.dumps(result(auc, "diverged" if diverged else "ok")))
  return 3 if diverged else 0


if __name__ == "__main__":
  sys.exit(main(*sys.argv[1:]))
