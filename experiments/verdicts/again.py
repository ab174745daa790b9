"""Judges finished runs again by the rule of today, from their series:

.venv/bin/python -m experiments.verdicts.again runs/edge_kuairand runs/x

Says of each run whose verdict changed what it was, is, and why. A series of an earlier version has
no best constants of tasks and is judged as a whole alone. The last step is left out: at a log's end
its batch is not whole, and the trainer does not judge by it. What the trainer measures after the
last step is in no series: a run that only then was seen to have blown up is not here.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from ranking.stability.divergence import DivergenceRule
from ranking.stability.monitor import DivergenceMonitor, measured


def judged(directory: Path, result: dict[str, Any]) -> DivergenceMonitor:
  """The monitor at the end of a run. Raises OSError or ValueError if its series cannot be read."""
  monitor, tasks = DivergenceMonitor(DivergenceRule()), list(result["metrics"])
  for line in (directory / "metrics.jsonl").read_text().splitlines()[:-1]:
    row = {
      name: value if name in ("day", "verdict") else float(value)
      for name, value in json.loads(line).items()
    }
    if row["skipped"]:
      monitor.skip(int(row["step"]))
    else:
      monitor.update(int(row["step"]), *measured(row, tasks))
  monitor.finish()
  return monitor


def main(folders: list[Path]) -> None:
  """Prints a line for each change, and how many there are."""
  changes: Counter[tuple[str, str]] = Counter()
  found = [path for folder in folders for path in (folder, *sorted(folder.glob("*")))]
  for directory in found:
    if (directory / "result.json").is_file():
      result = json.loads((directory / "result.json").read_text())
      monitor = judged(directory, result)
      changes[result["status"], monitor.status] += 1
      if monitor.status != result["status"]:
        print(f"{directory}: {result['status']}, now {monitor.status}: {monitor.reason}")
  for (was, now), count in sorted(changes.items()):
    print(f"{count} {was}" + ("" if was == now else f", now {now}"))


if __name__ == "__main__":
  main(list(map(Path, sys.argv[1:])))
