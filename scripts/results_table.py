"""A Markdown table of finished runs: python -m scripts.results_table runs/methods/*

One row per model, method and learning rate; figures of day N as mean ± standard deviation over
seeds, AUC in percent. The table is made of result.json files, never typed.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

METHODS = ("naive", "gc", "agc", "lamb", "clippy")
GROUP = ("dataset", "scale", "model", "method", "learning_rate", "learning_rate_multiplier")


def main(arguments: list[str]) -> int:
  """Prints the table; exit code 2 if a folder holds no result."""
  groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
  for argument in arguments:
    try:
      result = json.loads((Path(argument) / "result.json").read_text())
    except (OSError, ValueError) as error:
      print(f"error: {argument} is not a finished run ({type(error).__name__})", file=sys.stderr)
      return 2
    groups.setdefault(tuple(result[name] for name in GROUP), []).append(result)
  if not groups:
    print("error: name at least one run directory", file=sys.stderr)
    return 2
  tasks = list(next(iter(groups.values()))[0]["metrics"])
  print(_line(["model", "method", "rate", "runs", "diverged", *tasks]))
  print(_line(["---"] * (5 + len(tasks))))
  for key, results in sorted(groups.items(), key=lambda item: _order(item[0])):
    dataset, scale, model, method, rate, multiplier = key
    diverged = sum(result["status"] == "diverged" for result in results)
    cells = [f"{model} ({dataset}, {scale})", method, f"{rate:g} × {multiplier:g}"]
    cells += [str(len(results)), str(diverged)]
    print(_line([*cells, *(figure(results, task) for task in tasks)]))
  return 0


def figure(results: list[dict[str, Any]], task: str) -> str:
  """Mean ± standard deviation of a task over runs, as text; the deviation needs two runs."""
  entries = [result["metrics"][task] for result in results]
  percent = 100.0 if entries[0]["kind"] == "binary" else 1.0
  values = [entry["auc" if entry["kind"] == "binary" else "rmse"] for entry in entries]
  known = [percent * value for value in values if value is not None]
  if len(known) < len(values):
    return "not finite"
  digits = 2 if percent == 100.0 else 3
  text = f"{statistics.mean(known):.{digits}f}"
  return text if len(known) < 2 else f"{text} ± {statistics.stdev(known):.{digits}f}"


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
  """Methods in the paper's order, rates ascending."""
  *case, method, rate, multiplier = key
  return (*case, METHODS.index(method) if method in METHODS else 99, rate, multiplier)


def _line(cells: list[str]) -> str:
  return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
