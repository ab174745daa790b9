"""AdamW, Adagrad and Clippy on a transformer: Figure 7. experiments/transformer/ trains them."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ranking.sweeps.figures import style

NAMES = {
  "adamw": "AdamW",
  "adagrad": "Adagrad",
  "clippy_tight": "Adagrad, Clippy tight",
  "clippy_wide": "Adagrad, Clippy wide",
}
LINES = {
  "adamw": style.LINES[2],
  "adagrad": style.line("naive"),
  "clippy_wide": style.line("clippy"),
  "clippy_tight": style.line("layer_clippy"),
}


@style.styled
def error_by_rate(
  runs: pd.DataFrame, panels: Mapping[str, str], unavoidable: float | None
) -> Figure:
  """The error rate at the end over the highest learning rate, a panel for each warm-up.

  A line is the mean over seeds, its band reaches from the lowest to the highest. A cross marks
  rates at which a run was lost.

  Args:
    runs: a row for each, with method, warm_up, rate, error_rate, and whether it is lost.
    panels: titles by warm-up.
    unavoidable: the error rate of the best translator, if it is known.
  """
  figure, axes = style.stacked(len(panels), 1.7, sharex=True, sharey=True)
  drawn = {}
  for panel, (warm_up, title) in zip(axes[:, 0], panels.items(), strict=True):
    for method, name in NAMES.items():
      own = runs[(runs.warm_up == warm_up) & (runs.method == method)]
      by_rate = own.groupby("rate").agg({"error_rate": ["mean", "min", "max"], "lost": "any"})
      errors, lost = by_rate["error_rate"], by_rate["lost"]["any"]
      line = LINES[method]
      (drawn[name],) = panel.plot(errors.index, errors["mean"], **line, marker="o", markersize=2)
      panel.fill_between(
        errors.index, errors["min"], errors["max"], color=line["color"], alpha=0.15
      )
      crosses = errors["mean"][lost]
      panel.plot(crosses.index, crosses, linestyle="", marker="x", color=line["color"])
    _finish(panel, unavoidable)
    panel.set(title=title, xscale="log")
  axes[-1, 0].set_xlabel("highest learning rate")
  figure.legend(drawn.values(), drawn.keys(), loc="outside upper center", ncols=2)
  return figure


@style.styled
def error_by_step(curves: Mapping[str, pd.Series], unavoidable: float | None) -> Figure:
  """The error rate while training, of each method at its best rate; the paper's own Figure 7.

  Args:
    curves: by method, error rates by step.
    unavoidable: the error rate of the best translator, if it is known.
  """
  figure, axes = style.stacked(1, 1.9)
  (panel,) = axes[:, 0]
  for method, curve in curves.items():
    panel.plot(curve.index, curve, **LINES[method], label=NAMES[method])
  _finish(panel, unavoidable)
  panel.set(xlabel="step")
  panel.legend()
  return figure


def _finish(panel: Axes, unavoidable: float | None) -> None:
  if unavoidable is not None:
    panel.axhline(unavoidable, color="grey", linewidth=0.6, linestyle=":")
  panel.set(ylabel="wrong words", ylim=(0, 1))
  panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
