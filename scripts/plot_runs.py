"""Draws runs over each other: python -m scripts.plot_runs runs/naive runs/clippy --out=curves.png

Three panels over the steps: the loss relative to the best constant predictor, the AUC of the first
binary task on day N, and the smallest clipping factor of any variable.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib
from absl import app, flags

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_OUT = flags.DEFINE_string("out", "curves.png", "Where the picture is written.")
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # colour-blind safe
SMOOTHED_OVER = 9  # steps


def main(argv: list[str]) -> int:
  """Draws; exit code 2 if a run directory cannot be read."""
  directories = [Path(argument) for argument in argv[1:]]
  if not directories:
    print("error: name at least one run directory", file=sys.stderr)
    return 2
  figure, panels = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
  for directory, colour in zip(directories, COLOURS * len(directories), strict=False):
    try:
      steps, evals = _series(directory, "metrics"), _series(directory, "evals")
    except (OSError, ValueError) as error:
      print(f"error: {directory} is not a run directory ({error})", file=sys.stderr)
      return 2
    _draw(panels, directory.name, colour, steps, evals)
  panels[0].axhline(1.0, color="black", linewidth=0.8, linestyle=":")
  panels[0].set(title="loss / best constant's loss", xlabel="step", yscale="log")
  panels[1].axhline(0.5, color="black", linewidth=0.8, linestyle=":")
  panels[1].set(xlabel="step")
  panels[2].set(title="smallest clipping factor", xlabel="step", yscale="log")
  panels[0].legend(frameon=False)
  Path(_OUT.value).parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(_OUT.value, dpi=150)
  print(_OUT.value)
  return 0


def _draw(
  panels: Any, name: str, colour: str, steps: list[dict[str, Any]], evals: list[dict[str, Any]]
) -> None:
  x = [row["step"] for row in steps]
  relative = [float(row["loss"]) / row["constant_loss"] for row in steps]
  panels[0].plot(x, relative, color=colour, alpha=0.25, linewidth=0.8)
  panels[0].plot(x, _running_median(relative), color=colour, label=name)
  task = next(task for task, entry in evals[-1]["metrics"].items() if entry["kind"] == "binary")
  measured = [(row["step"], row["metrics"][task]["auc"]) for row in evals]
  known = [(step, auc) for step, auc in measured if auc is not None]
  panels[1].plot(*zip(*known, strict=True), color=colour, marker="o", markersize=3)
  panels[1].set_title(f"{task} AUC on day N")
  panels[2].plot(x, [row["clipping_factor"] for row in steps], color=colour, linewidth=0.8)


def _series(directory: Path, name: str) -> list[dict[str, Any]]:
  return [json.loads(line) for line in (directory / f"{name}.jsonl").read_text().splitlines()]


def _running_median(values: list[float]) -> list[float]:
  half = SMOOTHED_OVER // 2
  windows = [sorted(values[max(0, k - half) : k + half + 1]) for k in range(len(values))]
  return [window[len(window) // 2] if window else math.nan for window in windows]


if __name__ == "__main__":
  app.run(main)
