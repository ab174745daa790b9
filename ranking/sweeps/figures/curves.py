"""What survives which learning rate, and how well: a line for each method."""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ranking.sweeps.figures import style
from ranking.sweeps.figures.grid import METHOD, RATE, Headline, frame, panels, turned
from ranking.sweeps.places import Place

MARKERS = "osD^vP"  # of the thresholds of a method
APART = 0.035  # how far the shares of two lines are, so that none hides the other
ROOM = 0.19  # for all of them above a share, and below it


@style.styled
def survival_curves(places: Sequence[Place]) -> Figure:
  """The headline figure of the survivors over the learning rate, and the share that survived.

  A point is hollow where some seeds diverged; a cross at the bottom is the lowest rate at which all
  did. What is not finished is left out. Lines of the share are moved apart a little.

  Args:
    places: all places of a sweep, of which some run is finished.
  """
  headline, grid = Headline(places), frame(places)
  of_panels = list(panels(grid, [METHOD, RATE]))
  figure, axes = style.stacked(
    2 * len(of_panels),
    1.4,
    gridspec_kw={"height_ratios": [1.6, 1.0] * len(of_panels)},
    sharex=True,
  )
  looks = _looks(grid)
  drawn: dict[str, Artist] = {}
  for k, (title, of_panel) in enumerate(of_panels):
    quality, share = axes[2 * k : 2 * k + 2, 0]
    curves = {
      name: _curve(of_panel[of_panel[METHOD] == name]) for name in of_panel[METHOD].unique()
    }
    for name, curve in curves.items():
      drawn[name] = _draw_quality(quality, name, curve, headline, looks[name])
    _draw_losses(quality, curves, looks)
    apart = min(APART, 2 * ROOM / max(1, len(looks) - 1))
    for name, curve in curves.items():
      lane = apart * ((len(looks) - 1) / 2 - list(looks).index(name))
      shares = [1 - place.count.diverged / place.wanted + lane for place in curve.values()]
      share.plot(list(curve), shares, **looks[name], markersize=2)
    quality.set(title=title, ylabel=f"{headline.label}\nof survivors")
    means = [headline.mean(place) for curve in curves.values() for place in curve.values()]
    if limits := headline.shown(means):
      room = limits[1] - limits[0]
      quality.set_ylim(limits[0] - 0.3 * room, limits[1] + 0.06 * room)
    else:
      quality.set_yticks([])
    share.set(ylabel="survived", ylim=(-0.22, 1.22), yticks=[0, 1], yticklabels=["none", "all"])
  bottom = axes[-1, 0]
  bottom.set(xlabel="learning rate", xscale="log")
  rates = sorted(grid[RATE].dropna().unique())
  bottom.xaxis.set(major_locator=FixedLocator(rates), minor_locator=NullLocator())
  names = [f"{rate:g}" for rate in rates]
  bottom.set_xticklabels(names, rotation=turned(names))
  style.legend_above(figure, drawn)
  return figure


def _curve(grid: pd.DataFrame) -> dict[float, Place]:
  """What is finished, by rate."""
  curve = {
    rate: Place.together(list(grid.place[grid[RATE] == rate]))
    for rate in sorted(grid[RATE].dropna().unique())
  }
  return {rate: place for rate, place in curve.items() if place.complete}


def _looks(grid: pd.DataFrame) -> dict[str, Mapping[str, Any]]:
  """By METHOD: the line of the method, and a marker for its thresholds, or its lack of a line."""
  looks: dict[str, Mapping[str, Any]] = {}
  seen: collections.Counter[str] = collections.Counter()
  for name, method in grid.drop_duplicates(METHOD)[[METHOD, "method"]].itertuples(index=False):
    of_line = method if method in style.NAMES else ""  # the others share one
    looks[name] = {**style.line(method), "marker": MARKERS[seen[of_line] % len(MARKERS)]}
    seen[of_line] += 1
  return looks


def _draw_quality(
  panel: Axes,
  name: str,
  curve: Mapping[float, Place],
  headline: Headline,
  look: Mapping[str, Any],
) -> Artist:
  means = {rate: headline.mean(place) for rate, place in curve.items()}
  means = {rate: mean for rate, mean in means.items() if math.isfinite(mean)}
  (line,) = panel.plot(list(means), list(means.values()), **look, markersize=3, label=name)
  hollow = {rate: mean for rate, mean in means.items() if curve[rate].count.diverged}
  panel.plot(
    list(hollow),
    list(hollow.values()),
    **{**look, "linestyle": "none"},
    markersize=3,
    markerfacecolor="white",
  )
  return line


def _draw_losses(
  panel: Axes, curves: Mapping[str, Mapping[float, Place]], looks: Mapping[str, Mapping[str, Any]]
) -> None:
  """A cross for each method, above each other where several are lost at one rate."""
  crosses: collections.Counter[float] = collections.Counter()
  for name, curve in curves.items():
    lost = [rate for rate, place in curve.items() if place.count.diverged == place.wanted]
    if lost:
      panel.plot(
        lost[:1],
        [0.05 + 0.07 * crosses[lost[0]]],
        "x",
        color=looks[name]["color"],
        markersize=4.5,
        markeredgewidth=1.3,
        transform=panel.get_xaxis_transform(),
      )
      crosses[lost[0]] += 1
