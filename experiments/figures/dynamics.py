"""What happens inside single runs: Figures 1, 4, 6 and 8."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from experiments.figures.moments import Moments
from ranking.models.layer_name import layer_name
from ranking.sweeps import series
from ranking.sweeps.figures import style

MEASUREMENTS = {  # by the method whose factor each decides
  "gc": ("‖g‖₂", lambda seen: seen.gradient_norm),
  "agc": ("‖g‖₂ / ‖w‖₂", lambda seen: seen.gradient_norm / seen.weight_norm),
  "clippy": ("‖r / w‖∞", lambda seen: seen.largest_ratio),
}


class Curve(NamedTuple):
  """A run as Figures 1 and 4a show it: `series.steps` and `series.headline`."""

  steps: pd.DataFrame
  auc: pd.DataFrame


@style.styled
def loss_and_auc(
  runs: Mapping[str, Curve],
  moments: Moments | None = None,
  shown: tuple[int, int] | None = None,
) -> Figure:
  """Figures 1 and 4a: training loss above, AUC of a binary task on day N below.

  Args:
    runs: by name.
    moments: steps to mark.
    shown: the first and last step; None = all.
  """
  figure, ((loss,), (auc,)) = style.stacked(2, 1.35, sharex=True)
  drawn = {}
  for line, (name, run) in zip(style.LINES, runs.items(), strict=False):
    relative = run.steps.relative_loss
    loss.plot(run.steps.step, relative, color=line["color"], alpha=0.3, linewidth=0.6)
    smoothed = series.running_median(relative)
    (drawn[name],) = loss.plot(run.steps.step, smoothed, **line, label=name)
    known = run.auc.dropna(subset="value")
    auc.plot(known.step, known.value, **line, marker="o", markersize=2, label=name)
  loss.set(ylabel="training loss\n(best constant = 1)")
  loss.set_ylim(*style.loss_limits([run.steps.relative_loss for run in runs.values()]))
  loss.axhline(1.0, color="grey", linewidth=0.6, linestyle=":")
  auc.axhline(0.5, color="grey", linewidth=0.6, linestyle=":")
  tasks = dict.fromkeys(run.auc.task.iloc[0] for run in runs.values())
  auc.set(xlabel="step", ylabel=f"{' and '.join(tasks)} AUC\non day N")
  if shown is not None:
    auc.set_xlim(*shown)
  if moments is not None:
    _mark(moments, (loss, auc))
  if len(runs) > 1:
    style.legend_above(figure, drawn)
  return figure


@style.styled
def measurements(
  observations: pd.DataFrame,
  layers: Mapping[str, str],
  moments: Moments,
  shown: tuple[int, int],
) -> Figure:
  """Figures 4b and 8: what GC, AGC and Clippy measure (left), and their clipping factors (right).

  Args:
    observations: from `series.observations`, with the shadows "gc", "agc" and "clippy".
    layers: variable of each row of the figure, by what the layer is called.
    moments: steps to mark.
    shown: the first and last step.
  """
  figure, axes = style.stacked(len(layers), 1.3, 2, sharex=True)
  drawn = {}
  for (left, right), (name, variable) in zip(axes, layers.items(), strict=True):
    seen = observations[observations.variable == variable]
    seen = seen[seen.step.between(*shown)]
    for method, (symbol, measure) in MEASUREMENTS.items():
      line, called = style.line(method), f"{style.NAMES[method]}: {symbol}"
      (drawn[called],) = left.plot(seen.step, measure(seen), **line, label=called)
      right.plot(seen.step, seen[method], **line, label=style.NAMES[method])
    left.set_title(name, pad=9)  # above the names of the steps
    left.set(yscale="log", ylabel="measurement", xlim=shown)
    right.set(yscale="log", ylabel="factor σ")
    _whole_decades(right, seen[list(MEASUREMENTS)].stack())
    _mark(moments, (left, right))
  for panel in axes[-1]:
    panel.set_xlabel("step")
  style.legend_above(figure, drawn)
  return figure


@style.styled
def factors_by_layer(factors: pd.DataFrame, layers: Mapping[str, str]) -> Figure:
  """Figure 6: the clipping factor of some layers over the steps of a run, a panel for each.

  Args:
    factors: from `series.clipping_factors`.
    layers: variables by what the layers are called.
  """
  figure, axes = style.stacked(len(layers), 0.7, sharex=True, sharey=True)
  for panel, (name, variable) in zip(axes[:, 0], layers.items(), strict=True):
    of_layer = factors[factors.variable == variable]
    clipped = (of_layer.factor < 1).mean()
    panel.plot(of_layer.step, of_layer.factor, **{**style.line("clippy"), "linewidth": 0.8})
    panel.set(yscale="log", title=f"{name}: clipped in {clipped:.0%} of steps")
  _whole_decades(axes[0, 0], factors.factor[factors.variable.isin(layers.values())])
  axes[-1, 0].set_xlabel("step")
  figure.supylabel("clipping factor σ")
  return figure


def representative_layers(variables: Iterable[str], tasks: pd.DataFrame) -> dict[str, str]:
  """Kernels of the layers that the paper shows; a model without such layers has none.

  Args:
    variables: names as in health.jsonl.
    tasks: with the columns task and kind, such as `series.evaluations`; the output layers are those
      of the first task of each kind.
  """
  names = list(dict.fromkeys(variables))
  cross, hidden = _kernels(names, "cross_"), _kernels(names, "hidden_")
  layers = {"DCN layer": cross[0]} if cross else {}
  layers |= {"bottom hidden layer": hidden[0], "top hidden layer": hidden[-1]} if hidden else {}
  for kind in ("binary", "regression"):
    task = tasks.task[tasks.kind == kind].iloc[0]
    (layers[f"{kind} task"],) = _kernels(names, f"{layer_name(task)}_logit/")
  return layers


def _kernels(names: Sequence[str], start: str) -> list[str]:
  """Of layers so called, also within an expert or a branch, such as "expert_1/hidden_1/kernel"."""
  return [name for name in names if f"/{start}" in f"/{name}" and name.endswith("/kernel")]


def _whole_decades(axes: Axes, factors: pd.Series) -> None:
  """Down from 1, so that the axis has more than one tick, and labels at these alone."""
  least = factors[factors > 0].min()
  axes.set_ylim(10.0 ** min(-1, math.floor(math.log10(least))), 1.3)
  axes.yaxis.set_minor_formatter(NullFormatter())


def _mark(moments: Moments, panels: Iterable[Axes]) -> None:
  """Vertical lines at the steps a, b and c, named at their upper ends."""
  named: dict[int, str] = {}
  for name, step in moments._asdict().items():
    named[step] = f"{named[step]}, {name}" if step in named else name
  for axes in panels:
    for step, name in named.items():
      axes.axvline(step, color="grey", linewidth=0.6, linestyle="--", zorder=0)
      side = "right" if step == moments.a else "left"  # for b may be the next step
      axes.annotate(name, (step, 1), xycoords=("data", "axes fraction"), ha=side, fontsize=7)
