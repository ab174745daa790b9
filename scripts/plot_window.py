"""Draws what the window mixes: python -m scripts.plot_window --store=folder --out=docs/window.png

One panel per window length W: the share of each training day in each batch, along training. The
picture is a PNG or, by the suffix of --out, an SVG. Exit code 2 on bad input.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from ranking import quiet

with quiet.native_stderr():
  from ranking.array import Array
  from ranking.data.order import WindowOrder
  from ranking.data.schema import DataError
  from ranking.data.store import DayStore

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SEED = 0
WIDTH, PANEL_HEIGHT = 6.5, 1.25  # inches
# Its lightness rises all the way: read alike with any colour vision, and in print without colour.
COLOURS = "cividis"


def day_shares(rows_per_day: Sequence[int], order: Array, batch_size: int) -> Array:
  """float64 [batches, days]: the share of each day in each batch, the last one maybe shorter.

  Args:
    rows_per_day: rows of each day, in order.
    order: int64 [n], the order in which the days' concatenated rows are visited.
    batch_size: rows of a batch.
  """
  day = np.repeat(np.arange(len(rows_per_day)), rows_per_day)[order]
  batch = np.arange(len(order)) // batch_size
  counts = np.zeros((batch[-1] + 1, len(rows_per_day)))
  np.add.at(counts, (batch, day), 1)
  return counts / counts.sum(axis=1, keepdims=True)


def parse_windows(text: str) -> list[float]:
  """Hours, such as "0,6,inf". Raises DataError where one is not a number of 0 or more."""
  windows = []
  for part in text.split(","):
    try:
      hours = float(part)
    except ValueError:
      hours = math.nan
    if not hours >= 0:
      raise DataError(f"--windows={text} holds {part!r}; give hours of 0 or more, such as 0,24,inf")
    windows.append(hours)
  return windows


def title(hours: float) -> str:
  """What a panel is called."""
  if hours == 0:
    return "W = 0: time order"
  return "W = ∞: full shuffle" if math.isinf(hours) else f"W = {hours:g} h"


def draw(day_names: Sequence[str], shares: dict[float, Array], batch_size: int, out: Path) -> None:
  """Stacks the days' shares over the steps, a panel for each window, and writes the picture."""
  colours = plt.get_cmap(COLOURS, len(day_names))
  figure, panels = plt.subplots(
    len(shares),
    1,
    figsize=(WIDTH, 0.9 + PANEL_HEIGHT * len(shares)),
    sharex=True,
    squeeze=False,
    layout="constrained",
  )
  for panel, (hours, share) in zip(panels[:, 0], shares.items(), strict=True):
    edges = np.arange(len(share) + 1) + 0.5  # a step is as wide as 1
    tops = np.cumsum(share, axis=1)
    for k in range(len(day_names)):
      bottom = tops[:, k - 1] if k else np.zeros(len(share))
      panel.stairs(tops[:, k], edges, baseline=bottom, fill=True, color=colours(k))
    panel.set_title(title(hours), loc="left", fontsize=10)
    panel.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), yticks=(0, 0.5, 1))
  panels[-1, 0].set_xlabel(f"step (batch of {batch_size:,} rows)")
  figure.supylabel("share of the batch's rows", fontsize=10)
  scale = matplotlib.cm.ScalarMappable(
    matplotlib.colors.BoundaryNorm(np.arange(len(day_names) + 1) - 0.5, len(day_names)), colours
  )
  bar = figure.colorbar(scale, ax=panels, label="day of the row", pad=0.02, aspect=40)
  shown = np.unique(np.linspace(0, len(day_names) - 1, min(len(day_names), 7)).round().astype(int))
  bar.set_ticks(shown.tolist(), labels=[day_names[k] for k in shown])
  bar.ax.tick_params(labelsize=8)
  out.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(out, dpi=150)
  plt.close(figure)


def main(argv: Sequence[str]) -> int:
  """Draws; returns the exit code."""
  parser = argparse.ArgumentParser(prog="plot_window", description=__doc__.splitlines()[0])
  parser.add_argument("--store", required=True, type=Path, help="a day store; see make prepare")
  parser.add_argument("--windows", default="0,6,24,96,inf", help="hours, by commas")
  parser.add_argument("--batch_size", default=512, type=int)
  parser.add_argument("--out", default="window.png", type=Path, help="ends in .png or .svg")
  options = parser.parse_args(argv)
  try:
    windows = parse_windows(options.windows)
    if options.batch_size < 1:
      raise DataError(f"--batch_size is {options.batch_size}; make it 1 or more")
    if options.out.suffix not in (".png", ".svg"):
      raise DataError(f"--out={options.out} is no picture's name; end it in .png or .svg")
    days = DayStore(options.store).train_days
  except DataError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  rows_per_day = [len(day) for day in days]
  shares = {
    hours: day_shares(rows_per_day, WindowOrder(days, hours, SEED)[:], options.batch_size)
    for hours in windows
  }
  draw([day.name for day in days], shares, options.batch_size, options.out)
  print(options.out)
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
