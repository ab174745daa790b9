"""What became of every point of a sweep: maps of two of its axes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ranking.sweeps.figures import style
from ranking.sweeps.search import FINISHED, SURVIVED

RATE = "learning rate"  # the base rate times the multiplier
METHOD = "method, thresholds"  # the latter where a method has several
KEPT_APART = ("model", "ablation", RATE, "method", "thresholds")  # no place mixes these
COLOURS = matplotlib.colormaps["viridis"]
SHOWN = 5.0  # AUC in percent below the best that can be told apart; what is worse is drawn as that
ROOM = 46  # letters below a panel
ROW, PANEL, FIGURE, TURNED = 0.19, 0.25, 0.9, 0.25  # inches of height that each takes


class Place(NamedTuple):
  """What became of the runs of one place of a grid.

  Attributes:
    auc: in percent, the mean of the survivors; NaN if there is none, or one has no AUC.
    diverged, runs: how many did, of how many.
    finished: whether all runs are.
  """

  auc: float
  diverged: int
  runs: int
  finished: bool

  @classmethod
  def of(cls, runs: pd.DataFrame) -> "Place":
    """Of rows of `per_run`."""
    survivors = runs[runs.status.isin(SURVIVED)]
    auc = 100 * float(survivors.auc.mean(skipna=False)) if len(survivors) else math.nan
    diverged = int((runs.status == "diverged").sum())
    return cls(auc, diverged, len(runs), bool(runs.status.isin(FINISHED).all()))


def survival_map(table: pd.DataFrame) -> Figure:
  """Method × learning rate; see `grid_map`. A method with several thresholds has a row for each."""
  return grid_map(table, METHOD, RATE)


@style.styled
def grid_map(table: pd.DataFrame, rows: str, columns: str) -> Figure:
  """The mean AUC of survivors by two columns, a panel for each combination of what else differs.

  A cross stands where all seeds diverged, k/n where k of n did, nothing where a run is missing.

  Args:
    table: of `points.whole`.
    rows, columns: such as METHOD, RATE, "ablation" or "Clippy.absolute_threshold"; a run without a
      value there is placed under the name of its method.
  """
  runs = per_run(table)
  for axis in (rows, columns):
    runs[axis] = runs[axis].astype(object).where(runs[axis].notna(), runs.method.map(_name))
  across, grids = _in_order(runs[columns]), {}
  for title, of_panel in panels(runs, [rows, columns]):
    down = _in_order(of_panel[rows])
    # Numbers grow upwards; of names the first is on top.
    down = down[::-1] if all(map(_is_number, down)) else down
    grids[title] = (
      down,
      {
        (down.index(row), across.index(column)): Place.of(here)
        for (row, column), here in of_panel.groupby([rows, columns], sort=False)
      },
    )
  lengths = [len(down) for down, _ in grids.values()]
  names = [_called(columns, value) for value in across]
  height = FIGURE + sum(PANEL + ROW * length for length in lengths)
  height += TURNED if turned(names) else 0
  figure, axes = style.stacked(
    len(grids), height / len(grids), gridspec_kw={"height_ratios": lengths}, sharex=True
  )
  drawn = [place for _, places in grids.values() for place in places.values() if place.finished]
  limits, meshes = shown([place.auc for place in drawn]), []
  for panel, (title, (down, places)) in zip(axes[:, 0], grids.items(), strict=True):
    meshes.append(_draw(panel, places, (len(down), len(across)), limits))
    panel.set_yticks(np.arange(len(down)) + 0.5, [_called(rows, value) for value in down])
    panel.invert_yaxis()
    panel.set(title=title, ylabel=_title(rows) if rows != METHOD else "")
  axes[-1, 0].set_xticks(np.arange(len(across)) + 0.5, names, rotation=turned(names))
  axes[-1, 0].set_xlabel(_title(columns))
  if limits is not None:
    worse = any(place.auc < limits[0] for place in drawn)
    bar = figure.colorbar(
      meshes[0], ax=axes, location="top", aspect=35, extend="min" if worse else "neither"
    )
    bar.set_label("mean AUC (%) of the survivors")
  figure.supxlabel("×: all seeds diverged; k/n: k of n seeds did", fontsize=7)
  return figure


def per_run(table: pd.DataFrame) -> pd.DataFrame:
  """A row for each run, with the columns RATE, METHOD, and auc, which is of the first binary task.

  Args:
    table: of `points.whole`.
  """
  runs = table.drop_duplicates("trial").copy()
  tasks = table.task[table.kind == "binary"]
  of_task = table[table.task == tasks.iloc[0]] if len(tasks) else table[:0]
  runs["auc"] = runs.trial.map(dict(zip(of_task.trial, of_task.value, strict=True))).astype(float)
  rates = runs.learning_rate * runs.learning_rate_multiplier
  runs[RATE] = rates.map(lambda rate: float(f"{rate:.12g}"))  # 0.1 × 2 is 0.2 × 1
  several = runs.groupby("method").thresholds.transform("nunique") > 1
  values = runs.thresholds.str.replace(r"\w+=", "", regex=True)
  runs[METHOD] = runs.method.map(_name).where(~several, runs.method.map(_name) + " " + values)
  return runs


def panels(runs: pd.DataFrame, axes: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
  """(title, runs) of each panel: as many as it takes that no place mixes what is KEPT_APART.

  Args:
    runs: of `per_run`.
    axes: columns that make a place in a panel.
  """
  by: list[str] = []
  for name in KEPT_APART:
    places = runs.groupby([*by, *axes], dropna=False)
    if name not in axes and (places[name].nunique(dropna=False) > 1).any():
      by.append(name)
  if not by:
    yield "", runs
    return
  for values, of_panel in runs.groupby(by, sort=False, dropna=False):
    titles = [
      f"{name} {value:g}" if _is_number(value) else _called(name, value)
      for name, value in zip(by, values, strict=True)
    ]
    yield ", ".join(titles), of_panel


def shown(aucs: Sequence[float]) -> tuple[float, float] | None:
  """The lowest and highest AUC that can be told apart, in percent; None where there is none."""
  known = [auc for auc in aucs if math.isfinite(auc)]
  if not known:
    return None
  best = max(known)
  worst = max(min(known), best - SHOWN)
  return (worst, best) if worst < best else (best - 1, best)


def turned(names: Sequence[str]) -> int:
  """By how many degrees names have to be turned to have room under a panel beside each other."""
  return 45 if len(names) * max(map(len, names)) > ROOM else 0


def _draw(
  panel: Axes,
  places: Mapping[tuple[int, int], Place],
  shape: tuple[int, int],
  limits: tuple[float, float] | None,
) -> QuadMesh:
  """Colours, crosses and counts of the finished places, by (row, column)."""
  aucs = np.full(shape, math.nan)
  crosses = []
  finished = {at: place for at, place in places.items() if place.finished}
  scale = Normalize(*(limits or (0.0, 1.0)))
  for (row, column), place in finished.items():
    aucs[row, column] = place.auc
    if place.diverged == place.runs:
      crosses.append((column + 0.5, row + 0.5))
    elif place.diverged:
      dark = sum(COLOURS(scale(place.auc))[:3]) < 1.5
      panel.annotate(
        f"{place.diverged}/{place.runs}",
        (column + 0.5, row + 0.5),
        ha="center",
        va="center_baseline",
        fontsize=6,
        color="white" if dark else "black",
      )
  mesh = panel.pcolormesh(
    np.ma.masked_invalid(aucs), cmap=COLOURS, norm=scale, edgecolors="white", linewidth=0.8
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
  return isinstance(value, (int, float))


def _name(method: str) -> str:
  return style.NAMES.get(method, method)


def _called(column: str, value: object) -> str:
  """What people call the value of a column."""
  if _is_number(value):
    return f"{value:g}"
  names = {"model": style.MODELS, "method": style.NAMES}.get(column, {})
  return names.get(str(value), str(value).replace("_", " "))


def _title(column: str) -> str:
  """Of an axis: a setting without the name of what it belongs to."""
  return column.rpartition(".")[2].replace("_", " ")
