"""What all figures share: a column's width, colours and dashes that anyone can tell apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure

WIDTH = 3.3  # inches, a column of the paper
LOSS_SHOWN = 1.5  # times the best constant's; what is worse leaves through the top
# Okabe & Ito (2008) without its yellow, which is too light for a line; a dash of its own for each.
VERMILLION, BLUE, GREEN, PURPLE = "#D55E00", "#0072B2", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
# The four that stay farthest from these and each other, simulated for the three kinds of colour
# blindness (Machado et al. 2009).
BROWN, INDIGO, WINE, GREY = "#7F4F24", "#332288", "#882255", "#BBBBBB"
LINES: tuple[Mapping[str, Any], ...] = (
  {"color": VERMILLION, "linestyle": "-"},
  {"color": BLUE, "linestyle": (0, (5, 1.5))},
  {"color": GREEN, "linestyle": (0, (1, 1))},
  {"color": ORANGE, "linestyle": (0, (5, 1.5, 1, 1.5))},
  {"color": PURPLE, "linestyle": (0, (3, 1, 1, 1, 1, 1))},
  {"color": SKY, "linestyle": (0, (8, 2))},
  {"color": BROWN, "linestyle": (0, (2, 1))},
  {"color": INDIGO, "linestyle": (0, (6, 1, 1, 1, 1, 1))},
  {"color": WINE, "linestyle": (0, (4, 1, 4, 1, 1, 1))},
  {"color": GREY, "linestyle": (0, (3, 3))},
  {"color": BLACK, "linestyle": (0, (1, 2.5))},
)
# The paper's names, then ours; a method keeps its line in every figure.
NAMES = {
  "clippy": "Clippy",
  "gc": "GC",
  "lamb": "LAMB",
  "agc": "AGC",
  "naive": "naive",
  "layer_clippy": "LayerClippy",
  "rms_clip": "RmsClip",
  "ada_gc": "AdaGC",
  "z_clip": "ZClip",
  "clippy_tighter": "Clippy, tighter",
}
MODELS = {
  "small": "Small",
  "large": "Large",
  "large_dcn": "Large+DCN",
  "small_2048": "Small, 2048",
  "mmoe": "MMoE",
  "ple": "PLE",
  "din": "DIN",
}

styled = matplotlib.rc_context(
  {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.0,
    "legend.handletextpad": 0.5,
    "svg.hashsalt": "ranking",
    "savefig.dpi": 300,
  }
)


def line(method: str) -> Mapping[str, Any]:
  """How a method is drawn; one without a name is black."""
  names = list(NAMES)
  return LINES[names.index(method)] if method in names else LINES[-1]


def stacked(rows: int, row_height: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
  """A figure of a column's width, and its axes [rows, columns]."""
  figure = Figure(figsize=(WIDTH, row_height * rows), layout="constrained")
  return figure, figure.subplots(rows, columns, squeeze=False, **options)


def legend_above(figure: Figure, lines: Mapping[str, Artist]) -> None:
  """Names lines above all axes, three beside each other."""
  figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=min(3, len(lines)))


def loss_limits(losses: Sequence[pd.Series]) -> tuple[float, float]:
  """Limits of an axis of relative losses: one step of a lost run can be 1e14, and hide all else.

  Args:
    losses: of each run, relative to the best constant's.
  """
  every = pd.concat(losses)
  every = every[np.isfinite(every)]
  low, high = float(every.min()), max(1.0, float(every.max()))
  if not low < LOSS_SHOWN:  # no loss, or none that would be seen
    return 0.0, max(LOSS_SHOWN, high)
  high = min(high, LOSS_SHOWN)
  return low - 0.05 * (high - low), high


@styled
def save(figure: Figure, stem: Path) -> list[Path]:
  """Writes <stem>.png and <stem>.svg, the same bytes every time; returns their paths."""
  stem.parent.mkdir(parents=True, exist_ok=True)
  png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
  figure.savefig(png, metadata={"Software": None})  # which would be matplotlib's version
  figure.savefig(svg, metadata={"Date": None, "Creator": None})
  return [png, svg]
