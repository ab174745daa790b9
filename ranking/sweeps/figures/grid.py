"""What became of every place of a sweep: maps of two of its axes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from ranking.sweeps import results
from ranking.sweeps.figures import style
from ranking.sweeps.places import LINE, Place
from ranking.tasks import MEASURES, Measure

RATE = "learning_rate"  # the base rate times the multiplier
METHOD = "method, thresholds"  # the latter where a method has several
COLOURS = matplotlib.colormaps["viridis"]
SHOWN = 500  # last digits below the best that can be told apart; what is worse is drawn as that
ROOM = 46  # letters below a panel
ROW, PANEL, FIGURE, TURNED = 0.19, 0.25, 0.9, 0.25  # inches of height that each takes


class Headline:
  """The headline task of some places, and its figure of each, in the unit that tables print.

  Args:
    places: with a finished run that has a task.
  """

  measure: Measure
  task: str

  def __init__(self, places: Sequence[Place]):
    rows = pd.concat([place.rows for place in places if len(place.rows)])
    self.task, measure = next(iter(results.tasks(rows).items()))
    self.measure = MEASURES[measure]

  @property
  def label(self) -> str:
    """The label of the figure shown, such as "mean AUC (%)"."""
    return f"mean {self.measure.axis}"

  def mean(self, place: Place) -> float:
    """Over the survivors; NaN if there is none, or one has no figure."""
    return place.spread(self.task, of_survivors=True)[0] / self.measure.unit

  def shown(self, means: Sequence[float]) -> tuple[float, float] | None:
    """The lowest and highest mean that can be told apart; None where there is none.

    They reach from the worst to the best, but no further than 5 points of an AUC.
    """
    known = [self.measure.better * mean for mean in means if math.isfinite(mean)]
    if not known:
      return None
    digit = 10.0**-self.measure.digits
    best = max(known)
    worst = max(min(known), best - SHOWN * digit)
    if worst == best:
      worst = best - 100 * digit
    low, high = sorted((self.measure.better * worst, self.measure.better * best))
    return low, high


def survival_map(places: Sequence[Place]) -> Figure:
  """Method × learning rate; see `grid_map`. A method with several thresholds has a row for each."""
  return grid_map(places, METHOD, RATE)


@style.styled
def grid_map(places: Sequence[Place], rows: str, columns: str) -> Figure:
  """The mean headline figure of survivors by two axes, a panel for each combination of the others.

  A cross stands where all seeds diverged, k/n where k of n did, nothing where a run is missing.

  Args:
    places: all places of a sweep, of which some run is finished.
    rows, columns: such as METHOD, RATE, "ablation" or "Clippy.absolute_threshold"; a place without
      a value there is placed under the name of its method.
  """
  headline, grid = Headline(places), frame(places)
  for axis in (rows, columns):
    grid[axis] = grid[axis].astype(object).where(grid[axis].notna(), grid.method.map(_name))
  across, panes = _in_order(grid[columns]), {}
  for title, of_panel in panels(grid, [rows, columns]):
    down = _in_order(of_panel[rows])
    # Numbers grow upwards; of names the first is on top.
    down = down[::-1] if all(map(_is_number, down)) else down
    panes[title] = (
      down,
      {
        (down.index(row), across.index(column)): Place.together(list(here.place))
        for (row, column), here in of_panel.groupby([rows, columns], sort=False)
      },
    )
  lengths = [len(down) for down, _ in panes.values()]
  names = [_called(columns, value) for value in across]
  height = FIGURE + sum(PANEL + ROW * length for length in lengths)
  height += TURNED if turned(names) else 0
  figure, axes = style.stacked(
    len(panes), height / len(panes), gridspec_kw={"height_ratios": lengths}, sharex=True
  )
  means = [headline.mean(place) for _, drawn in panes.values() for place in drawn.values()]
  limits, meshes = headline.shown(means), []
  for panel, (title, (down, drawn)) in zip(axes[:, 0], panes.items(), strict=True):
    meshes.append(_draw(panel, drawn, headline, (len(down), len(across)), limits))
    panel.set_yticks(np.arange(len(down)) + 0.5, [_called(rows, value) for value in down])
    panel.invert_yaxis()
    panel.set(title=title, ylabel=_title(rows) if rows != METHOD else "")
  axes[-1, 0].set_xticks(np.arange(len(across)) + 0.5, names, rotation=turned(names))
  axes[-1, 0].set_xlabel(_title(columns))
  if limits is not None:
    below = any(mean < limits[0] for mean in means)
    above = any(mean > limits[1] for mean in means)
    extend = "min" if below else "max" if above else "neither"
    bar = figure.colorbar(meshes[0], ax=axes, location="top", aspect=35, extend=extend)
    bar.set_label(f"{headline.label} of the survivors")
  figure.supxlabel("×: all seeds diverged; k/n: k of n seeds did", fontsize=7)
  return figure


def frame(places: Sequence[Place]) -> pd.DataFrame:
  """A row for each place: it, its axes, METHOD, and each searched setting."""
  grid = pd.DataFrame([{"place": place, **place.axes, **place.thresholds} for place in places])
  several = grid.groupby("method").thresholds.transform("nunique") > 1
  values = pd.Series([" ".join(map(str, place.thresholds.values())) for place in places])
  names = grid.method.map(_name)
  grid[METHOD] = names.where(~several, names + " " + values.replace("", "default"))
  return grid


def panels(grid: pd.DataFrame, axes: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
  """(title, rows) of each panel: as many as it takes that no place mixes values of an axis.

  Args:
    grid: of `frame`.
    axes: columns that make a place in a panel.
  """
  by: list[str] = []
  for name in (*LINE, RATE):
    mixed = grid.groupby([*by, *axes], dropna=False)[name].nunique(dropna=False) > 1
    if name not in axes and mixed.any():
      by.append(name)
  if not by:
    yield "", grid
    return
  for values, of_panel in grid.groupby(by, sort=False, dropna=False):
    titles = [
      f"{_title(name)} {value:g}" if _is_number(value) else _called(name, value)
      for name, value in zip(by, values, strict=True)
    ]
    yield ", ".join(titles), of_panel


def turned(names: Sequence[str]) -> int:
  """By how many degrees names have to be turned to have room under a panel beside each other."""
  return 45 if len(names) * max(map(len, names)) > ROOM else 0


def _draw(
  panel: Axes,
  places: Mapping[tuple[int, int], Place],
  headline: Headline,
  shape: tuple[int, int],
  limits: tuple[float, float] | None,
) -> QuadMesh:
  """Colours, crosses and counts of the finished places, by (row, column)."""
  means = np.full(shape, math.nan)
  crosses = []
  scale = Normalize(*(limits or (0.0, 1.0)))
  colours: Colormap = COLOURS if headline.measure.better > 0 else COLOURS.reversed()
  for (row, column), place in places.items():
    if not place.complete:
      continue
    means[row, column] = headline.mean(place)
    if place.count.diverged == place.wanted:
      crosses.append((column + 0.5, row + 0.5))
    elif place.count.diverged:
      dark = sum(colours(scale(means[row, column]))[:3]) < 1.5
      panel.annotate(
        f"{place.count.diverged}/{place.wanted}",
        (column + 0.5, row + 0.5),
        ha="center",
        va="center_baseline",
        fontsize=6,
        color="white" if dark else "black",
      )
  mesh = panel.pcolormesh(
    np.ma.masked_invalid(means), cmap=colours, norm=scale, edgecolors="white", linewidth=0.8
  )
  if crosses:
    x, y = zip(*crosses, strict=True)
    panel.plot(x, y, "x", color="black", markersize=4.5, markeredgewidth=0.9)
  panel.set(xlim=(0, shape[1]), ylim=(0, shape[0]))
  panel.spines[:].set_visible(False)
  panel.tick_params(length=0)
  return mesh


def _in_order(values: pd.Series) -> list[Any]:
  """Each once: numbers ascending, then names as they come."""
  distinct = list(values.unique())
  numbers = sorted(value for value in distinct if _is_number(value))
  return numbers + [value for value in distinct if not _is_number(value)]


def _is_number(value: object) -> bool:
  return isinstance(value, (int, float, np.integer))


def _name(method: str) -> str:
  return style.NAMES.get(method, method)


def _called(column: str, value: object) -> str:
  """What people call the value of a column."""
  if _is_number(value):
    return f"{value:g}"
  names = {"model": style.MODELS, "method": style.NAMES}.get(column, {})
  return names.get(str(value), str(value).replace("_", " "))


def _title(column: str) -> str:
  """The title of an axis: a setting without the name of what it belongs to."""
  return column.rpartition(".")[2].replace("_", " ")
