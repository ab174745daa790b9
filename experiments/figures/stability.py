"""Where gradient descent is no longer stable, and what Adagrad and Clippy do there: Figure 3."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import quadratic
from ranking.array import Array
from ranking.sweeps.figures import style

AREA = (2.2, 2.2)  # half the width and height of what is shown of the plane
LOSSES = (1e-8, 1e4)
METHODS = {"Adagrad": "naive", "Clippy": "clippy"}


@style.styled
def on_the_quadratic(descents: Mapping[str, Mapping[str, Array]]) -> Figure:
  """Figure 3: paths over the contours of the loss above, the loss over the steps below.

  Args:
    descents: positions [1 + steps, 2] by the optimizer's name, for each column of the figure.
  """
  figure, axes = style.stacked(2, 1.6, len(descents), sharex="row", sharey="row")
  x, y = (np.linspace(-side, side, 101) for side in AREA)
  plane = quadratic.loss(np.stack(np.meshgrid(x, y), axis=-1))
  for (above, below), (title, of_column) in zip(axes.T, descents.items(), strict=True):
    above.contour(x, y, plane, levels=np.geomspace(0.5, 50, 7), colors="lightgrey", linewidths=0.5)
    for rate_line, (name, positions) in zip(style.LINES, of_column.items(), strict=False):
      line = style.line(METHODS[name]) if name in METHODS else rate_line
      above.plot(*positions.T, **{**line, "linewidth": 0.9}, marker="o", markersize=1.5)
      below.plot(quadratic.loss(positions), **line, label=name)
    above.set(title=title, xlim=(-AREA[0], AREA[0]), ylim=(-AREA[1], AREA[1]))
    above.set_xlabel(f"$x_1$ (λ = {quadratic.EIGENVALUES[0]:g})")
    below.set(xlabel="step", yscale="log", ylim=LOSSES)
    below.legend(loc="lower right")
  axes[0, 0].set_ylabel(f"$x_2$ (λ = {quadratic.EIGENVALUES[1]:g})")
  axes[1, 0].set_ylabel("loss")
  return figure
