"""Kills a run at random moments, gives the same command again, and compares how it ends.

  python -m scripts.check_killed_runs --times=50

A tiny run writes a checkpoint after every second step, so that many kills (SIGKILL) meet one that
is being written. Right is an end with the very weights, slots, series and figures of a run that
nobody killed. Each attempt is a process of its own, forked from one that has imported TensorFlow
and made nothing with it yet. Prints what the kills met; exits with 1 if any run ended otherwise.
"""

import argparse
import collections
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from ranking.run_directory import is_finished, read_result
from scripts.check_damaged_runs import outcome, train

OFTEN = (
  "train_and_evaluate.checkpoint_every=2 train_and_evaluate.eval_every=5 "
  "train_and_evaluate.keep_days=1"
)


def begin(run: Path, stores: Path) -> int:
  """Starts the command in a process of its own; returns its number."""
  process = os.fork()
  if process:
    return process
  code, printed = train(run, stores, OFTEN)
  if code != 0:
    print(printed, file=sys.stderr)
  os._exit(0 if code == 0 else 1)


def ended(process: int) -> int | None:
  """The exit code of a process, or minus its signal, once it has ended."""
  found, status = os.waitpid(process, os.WNOHANG)
  return os.waitstatus_to_exitcode(status) if found else None


def killed(run: Path, stores: Path, step: int, after: float) -> str:
  """Kills a run some seconds after a step; says what was there then, "" if the run was over."""
  process, series, reached = begin(run, stores), run / "metrics.jsonl", 0.0
  while ended(process) is None:
    now = time.monotonic()
    if not reached and series.is_file() and series.read_bytes().count(b"\n") >= step:
      reached = now
    if reached and now - reached >= after:
      os.kill(process, signal.SIGKILL)
      os.waitpid(process, 0)
      if is_finished(run):
        return ""
      found = [path.name for path in run.glob("checkpoints/*")]
      if any(name.startswith(".partial") for name in found):
        return "while a checkpoint was written"
      return "between checkpoints" if found else "before the first checkpoint"
    time.sleep(0.002)
  return ""


def finished(run: Path, stores: Path) -> int:
  """Runs the command to its end; returns the steps it has."""
  process = begin(run, stores)
  while (code := ended(process)) is None:
    time.sleep(0.002)
  if code:
    sys.exit(f"the run ended with {code}")
  return int(read_result(run)["steps"])


def main() -> int:
  """Kills as often as asked; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--times", type=int, default=50, help="how many kills (%(default)s)")
  parser.add_argument("--seed", type=int, default=0, help="of the moments")
  given = parser.parse_args()
  chance, met = random.Random(given.seed), collections.Counter[str]()
  with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    stores = root / "stores"
    steps = finished(root / "straight", stores)
    expected, same = outcome(root / "straight"), 0
    while met.total() < given.times:
      run = root / str(met.total())
      shutil.rmtree(run, ignore_errors=True)
      what = killed(run, stores, chance.randint(1, steps), chance.uniform(0, 0.1))
      if not what:  # too late: once more
        continue
      finished(run, stores)
      met[what] += 1
      same += outcome(run) == expected
      print(f"{met.total()} killed {what}, {same} ended bit-equal", flush=True)
  for what, count in sorted(met.items()):
    print(f"killed {what:32s} {count}")
  return int(same < given.times)


if __name__ == "__main__":
  sys.exit(main())
