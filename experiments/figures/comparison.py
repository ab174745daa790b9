"""Methods over time, in one setting after the other: Figures 5a and 5b."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ranking.sweeps.figures import style


@style.styled
def auc_over_time(settings: Mapping[str, Mapping[str, Sequence[pd.DataFrame]]]) -> Figure:
  """Figures 5a and 5b: AUC on day N over the steps, a panel for each setting.

  A line is the mean over seeds, and ends where one of them has no AUC: that of the others would
  flatter. Its band reaches from the lowest to the highest. What is lost
  leaves a panel through its bottom, which is where the worst that learned was after a quarter of
  the steps.

  Args:
    settings: by title; of each, by method, `series.headline` of every seed.
  """
  figure, axes = style.stacked(len(settings), 1.35, sharex=True)
  drawn = {}
  for panel, (title, methods) in zip(axes[:, 0], settings.items(), strict=True):
    curves = {method: _over_seeds(seeds) for method, seeds in methods.items()}
    for method, curve in curves.items():
      line = style.line(method)
      name = style.NAMES.get(method, method)
      (drawn[name],) = panel.plot(curve.index, curve["mean"], **line, label=name)
      panel.fill_between(curve.index, curve["min"], curve["max"], color=line["color"], alpha=0.15)
    task = next(seed.task.iloc[0] for seeds in methods.values() for seed in seeds)
    panel.set(title=title, ylabel=f"{task} AUC")
    _start_where_learning_was(panel, curves)
  axes[-1, 0].set_xlabel("step")
  style.legend_above(figure, drawn)
  return figure


def _over_seeds(seeds: Sequence[pd.DataFrame]) -> pd.DataFrame:
  """Columns mean, min and max by step; NaN where a seed has no figure."""
  values = pd.concat([seed.set_index("step").value for seed in seeds], axis=1)
  spread = {name: values.agg(name, axis=1, skipna=False) for name in ("mean", "min", "max")}
  return pd.DataFrame(spread)


def _start_where_learning_was(panel: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
  """Sets the bottom of a panel, and says which methods are below it all the time.

  A method has learned if it ends at least half as far above chance as the best one.
  """
  means = {method: curve["mean"].dropna() for method, curve in curves.items()}
  last = {method: mean.iloc[-1] if len(mean) else 0.5 for method, mean in means.items()}
  learned = [
    means[method] for method in means if last[method] - 0.5 > (max(last.values()) - 0.5) / 2
  ]
  if not learned:
    return
  bottom = min(mean[mean.index >= mean.index[-1] / 4].iloc[0] for mean in learned)
  top = max(curve["max"].max() for curve in curves.values())
  panel.set_ylim(bottom, top + 0.05 * (top - bottom))
  if lost := [style.NAMES.get(m, m) for m, mean in means.items() if not mean.max() > bottom]:
    text = f"{', '.join(lost)}: lost, below"
    panel.annotate(text, (0.98, 0.04), xycoords="axes fraction", ha="right", fontsize=7)
