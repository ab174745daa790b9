"""Pictures of runs that are lost late, taken apart: experiments/why/ measures what they show."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ranking.sweeps.figures import style

LIMIT = 2.0  # of η·λ, and of the curvature along a step over its slope
SHOWN = (0.01, 1e4)  # of either
CALM = 1.2  # a relative loss that no step of a run that was saved has reached
OUTCOMES: Mapping[str, Mapping[str, Any]] = {
  "saved": {"marker": "o", "color": style.BLUE},
  "came back": {"marker": "^", "color": style.ORANGE},
  "lost": {"marker": "x", "color": style.VERMILLION},
}
Tables = Mapping[str, pd.DataFrame]


@style.styled
def sharpness(cases: Mapping[str, Tables]) -> Figure:
  """η·λ and the training loss from the first step to the loss of the run, a panel for each case.

  Args:
    cases: the tables "trend" and "moments" of each, by what it is called.
  """
  figure, axes = style.stacked(len(cases), 1.3)
  for panel, (name, tables) in zip(axes[:, 0], cases.items(), strict=True):
    trend = tables["trend"]
    panel.plot(trend.step, trend.sharpness.clip(*SHOWN), **style.LINES[0], label="sharpness η·λ")
    panel.axhline(LIMIT, color="grey", linewidth=0.6, linestyle=":")
    panel.set(yscale="log", title=name, ylabel="η·λ")
    loss = panel.twinx()
    loss.plot(trend.step, trend.relative_loss, **style.LINES[1], label="loss")
    loss.set(ylim=(0.8, 1.2), ylabel="loss")
    _mark_loss(panel, tables)
  axes[-1, 0].set_xlabel("step")
  return _with_legend(figure, axes[0, 0], loss)


@style.styled
def steps(cases: Mapping[str, Tables]) -> Figure:
  """What each step around b does to the loss of its own batch: naive, and Clippy's in its place.

  Args:
    cases: the tables "steps" and "moments" of each, by what it is called.
  """
  figure, axes = style.stacked(len(cases), 1.3, 2)
  for (left, right), (name, tables) in zip(axes, cases.items(), strict=True):
    found, c = tables["steps"], int(tables["moments"].c.iloc[0])
    found = found[found.step <= c]
    left.plot(found.step, found.along.clip(*SHOWN), **style.LINES[0])
    left.axhline(LIMIT, color="grey", linewidth=0.6, linestyle=":")
    left.set(yscale="log", title=name, ylabel="curvature")
    for method, column in (("naive", "own_change"), ("clippy", "clippy_own_change")):
      after = (1 + found[column]).clip(*SHOWN)
      right.plot(found.step, after, **style.line(method), label=style.NAMES[method])
    right.axhline(1, color="grey", linewidth=0.6, linestyle=":")
    right.set(yscale="log", ylabel="loss after / before")
  for panel in axes[-1]:
    panel.set_xlabel("step")
  style.legend_above(figure, {line.get_label(): line for line in axes[0, 1].get_lines()[:2]})
  return figure


@style.styled
def layers(cases: Mapping[str, Tables], steps_of: Mapping[str, int]) -> Figure:
  """What the step that lost the run does to the loss of its batch, by layers.

  Args:
    cases: the tables "layers" and "steps" of each, by what it is called.
    steps_of: the step shown of each.
  """
  figure, axes = style.stacked(len(cases), 1.2, sharex=True)
  figure.set_figheight(figure.get_figheight() + 0.8)  # of the names below and above
  for panel, (name, tables) in zip(axes[:, 0], cases.items(), strict=True):
    found = tables["layers"][tables["layers"].step == steps_of[name]]
    whole = tables["steps"].set_index("step").own_change[steps_of[name]]
    at = np.arange(len(found))
    bars = {"bottom": 1.0, "width": 0.4}  # up or down from an unchanged loss
    panel.bar(at - 0.2, found.alone, **bars, color=style.BLUE, label="it moves alone")
    panel.bar(at + 0.2, found.others, **bars, color=style.ORANGE, label="all others move")
    panel.axhline(1 + whole, color=style.VERMILLION, linewidth=0.8, label="all move")
    panel.axhline(1, color="grey", linewidth=0.6)
    panel.set(yscale="log", title=f"{name}, step {steps_of[name]}", ylabel="loss after / before")
    panel.set_xticks(at, found.layer.str.replace("_", " "), rotation=60, ha="right")
  handles, names = axes[0, 0].get_legend_handles_labels()
  style.legend_above(figure, dict(zip(names, handles, strict=True)))
  return figure


@style.styled
def remedies(cases: Mapping[str, Tables]) -> Figure:
  """How each run ends with one thing changed, a row for each remedy and a column for each case.

  Args:
    cases: the table "remedies" of each, by what it is called.
  """
  names = list(next(iter(cases.values()))["remedies"].remedy)
  figure, ((panel,),) = style.stacked(1, 0.19 * len(names) + 1.2)
  drawn = {}
  for column, tables in enumerate(cases.values()):
    found = tables["remedies"]
    ends = map(outcome, found.highest, found.end, found.lost)
    for name, end in zip(found.remedy, ends, strict=True):
      drawn[end] = panel.scatter(column, names.index(name), s=18, **OUTCOMES[end])
  panel.set_yticks(range(len(names)), names)
  panel.set_xticks(range(len(cases)), list(cases), rotation=30, ha="right")
  panel.set(xlim=(-0.5, len(cases) - 0.5))
  panel.invert_yaxis()
  style.legend_above(figure, {end: drawn[end] for end in OUTCOMES if end in drawn})
  return figure


def outcome(highest: float, end: float, lost: bool) -> str:
  """One of OUTCOMES.

  Args:
    highest, end: relative losses, of all steps and in the median of the last.
    lost: whether the end is that of a constant.
  """
  if lost:
    return "lost"
  return "saved" if highest < CALM else "came back"


def _mark_loss(panel: Axes, tables: Tables) -> None:
  panel.axvline(int(tables["moments"].c.iloc[0]), color="black", linewidth=0.6)


def _with_legend(figure: Figure, *panels: Axes) -> Figure:
  """Names the first line of each."""
  lines = [panel.get_lines()[0] for panel in panels]
  style.legend_above(figure, {str(line.get_label()): line for line in lines})
  return figure
