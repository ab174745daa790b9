"""Draws runs over each other: python -m ranking.commands.plot runs/naive runs/clippy --out=a.png

Three panels over the steps: the loss relative to the best constant predictor, the headline
figure of day N, and the smallest clipping factor of any variable.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from absl import app, flags

from ranking.sweeps import series
from ranking.sweeps.figures import style
from ranking.tasks import KINDS, headline

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_OUT = flags.DEFINE_string("out", "curves.png", "Where the picture is written.")
COLOURS = tuple(line["color"] for line in style.LINES)


def main(argv: list[str]) -> int:
  """Draws; exit code 2 if a run directory cannot be read."""
  directories = [Path(argument) for argument in argv[1:]]
  if not directories:
    print("error: name at least one run directory", file=sys.stderr)
    return 2
  figure, panels = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
  for directory, colour in zip(directories, COLOURS * len(directories), strict=False):
    try:
      steps, evaluations = series.steps(directory), series.evaluations(directory)
    except series.SeriesError as error:
      print(f"error: {error}", file=sys.stderr)
      return 2
    _draw(panels, directory.name, colour, steps, evaluations)
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
  panels: Any, name: str, colour: str, steps: pd.DataFrame, evaluations: pd.DataFrame
) -> None:
  smoothed = series.running_median(steps.relative_loss)
  panels[0].plot(steps.step, steps.relative_loss, color=colour, alpha=0.25, linewidth=0.8)
  panels[0].plot(steps.step, smoothed, color=colour, label=name)
  task = headline(dict(zip(evaluations.task, evaluations.kind, strict=True)))
  known = evaluations[evaluations.task == task].dropna(subset="value")
  panels[1].plot(known.step, known.value, color=colour, marker="o", markersize=3)
  panels[1].set_title(f"{task} {KINDS[known.kind.iloc[0]].measure.title} on day N")
  panels[2].plot(steps.step, steps.clipping_factor, color=colour, linewidth=0.8)


if __name__ == "__main__":
  app.run(main)
