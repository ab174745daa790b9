"""Draws runs over each other, while they train or afterwards.

  ranking plot runs/naive runs/clippy --out=curves.png

Three panels over the steps: the loss relative to the best constant predictor, up to 1.5, the
headline figure of day N, and the smallest clipping factor of any variable. A fourth if a run is
finished: how often the first binary task's label is 1 in each tenth of the rows of day N, over the
mean prediction.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.figure
import pandas as pd

from ranking.errors import InputError
from ranking.sweeps import series
from ranking.sweeps.figures import style
from ranking.tasks import KINDS, headline

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = tuple(line["color"] for line in style.LINES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of this command."""
  parser.add_argument("runs", nargs="+", type=Path, help="run directories")
  parser.add_argument(
    "--out", type=Path, default=Path("curves.png"), help="the picture's path (%(default)s)"
  )


def run(given: argparse.Namespace) -> int:
  """Draws."""
  ending = given.out.suffix.removeprefix(".")
  if ending not in matplotlib.figure.Figure().canvas.get_supported_filetypes():
    raise InputError(f"--out is {str(given.out)!r}; make it a picture, such as curves.png or .svg")
  tenths_of = {directory: series.deciles(directory) for directory in given.runs}
  count = 4 if any(tenths_of.values()) else 3
  figure, panels = plt.subplots(1, count, figsize=(4 * count, 3.4), layout="constrained")
  losses = []
  for directory, colour in zip(given.runs, COLOURS * len(given.runs), strict=False):
    steps, evaluations = series.steps(directory), series.evaluations(directory)
    losses.append(steps.relative_loss)
    _draw(panels, directory.name, colour, steps, evaluations)
    if tenths := tenths_of[directory]:
      task, (_, predicted, observed) = tenths[0], zip(*tenths[1], strict=True)
      panels[3].plot(predicted, observed, color=colour, marker="o", markersize=3)
      panels[3].set_title(f"{task}: calibration by tenths")
  panels[0].axhline(1.0, color="black", linewidth=0.8, linestyle=":")
  panels[0].set(title="loss / best constant's loss", xlabel="step")
  panels[0].set_ylim(*style.loss_limits(losses))
  panels[1].set(xlabel="step")
  panels[2].set(title="smallest clipping factor", xlabel="step", yscale="log")
  for calibration in panels[3:]:
    calibration.axline((0, 0), slope=1, color="black", linewidth=0.8, linestyle=":")
    calibration.set(xlabel="mean prediction", ylabel="mean label")
  panels[0].legend(frameon=False)
  given.out.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(given.out, dpi=150)
  print(given.out)
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
