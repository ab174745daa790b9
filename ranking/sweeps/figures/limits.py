"""How far up the learning rate each method goes: a row for each model, a line for each method."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from ranking.sweeps.figures import style
from ranking.sweeps.figures.grid import METHOD, RATE, frame, panels, turned
from ranking.sweeps.places import Place
from ranking.sweeps.tables.edges import Edge

LANE = 0.09  # inches of height of a line
BETWEEN = 0.1  # and between two rows
AROUND = 1.0  # and for what is above and below them


@style.styled
def survival_limits(places: Sequence[Place]) -> Figure:
  """The highest rate that all seeds survive before the first loss, of each model and method.

  A line ends there in a dot; in an arrow where no rate that was tried lost a run. A cross alone is
  the lowest rate that was tried, where that lost one. What is not finished is left out.

  Args:
    places: all places of a sweep with several rates, of which some run is finished.
  """
  grid = frame(places)
  grid = grid[grid[RATE].notna()]  # a rate that is left to the log is not known before a run ends
  rates = sorted(grid[RATE].unique())
  methods = list(grid[METHOD].unique())
  rows = list(panels(grid, [METHOD, RATE]))
  row_height = LANE * len(methods) + BETWEEN
  figure, axes = style.stacked(1, AROUND + row_height * len(rows))
  panel = axes[0, 0]
  step = LANE / row_height
  drawn: dict[str, Line2D] = {}
  left = rates[0] / 1.5
  for row, (_, of_row) in enumerate(rows):
    for lane, name in enumerate(methods):
      here = of_row[of_row[METHOD] == name]
      edge = Edge.of(list(here.place)) if len(here) else None
      if edge is None or edge.waiting is not None:
        continue
      y = row + step * (lane - (len(methods) - 1) / 2)
      look = style.line(here.method.iloc[0])
      drawn[name] = Line2D([], [], **look)
      if edge.survived is None:
        panel.plot([edge.lost], [y], **look, marker="x", markersize=4, label=name)
        continue
      end = ">" if edge.lost is None else "o"
      panel.plot(
        [left, edge.survived], [y, y], **look, marker=end, markersize=3, markevery=[1], label=name
      )
  names = [f"{rate:g}" for rate in rates]
  panel.set(xscale="log", xlabel="learning rate", xlim=(left, rates[-1] * 1.5))
  panel.xaxis.set(major_locator=FixedLocator(rates), minor_locator=NullLocator())
  panel.set_xticklabels(names, rotation=turned(names))
  panel.set_yticks(range(len(rows)), [title for title, _ in rows])
  panel.set_ylim(len(rows) - 0.5, -0.5)
  panel.tick_params(axis="y", length=0)
  style.legend_above(figure, drawn)
  return figure
