"""The edge of a method: the highest learning rate that all its seeds survive."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ranking.sweeps.tables.document import NOTHING, Entry, Table
from ranking.sweeps.tables.points import LINE, Point


class Edge(NamedTuple):
  """How far up the learning rates a method goes.

  Attributes:
    survived: the highest rate that all seeds survived before the first loss; None if there is none.
    lost: the rate of the first loss; None if there is none.
    waiting: how many runs of the rate are finished that must be before more can be said, if any.
  """

  survived: float | None
  lost: float | None
  waiting: str | None = None

  @classmethod
  def of(cls, points: Sequence[Point]) -> "Edge":
    """Of points that differ in their rates alone; those of one rate count together."""
    survived = None
    rates = sorted({point.rate for point in points})
    for rate in rates:
      here = [point for point in points if point.rate == rate]
      if any(point.count.diverged for point in here):
        return cls(survived, rate)
      if unfinished := [point for point in here if not point.finished]:
        return cls(survived, None, f"{unfinished[0].progress} at {rate:g}")
      survived = rate
    return cls(survived, None)

  @property
  def text(self) -> str:
    """Such as "0.4", "≥ 6.4" where the highest rate tried was survived, "< 0.05"."""
    if self.waiting is not None:
      return self.waiting
    if self.survived is None:
      return f"< {self.lost:g}"
    return f"{self.survived:g}" if self.lost is not None else f"≥ {self.survived:g}"

  def times(self, naive: "Edge | None") -> str:
    """As a multiple of naive's edge, such as "8x", "≥ 128x"; NOTHING where none follows."""
    if naive is None or self.waiting is not None or naive.waiting is not None:
      return NOTHING
    # What was survived is at least the edge, what was lost is above it: a ratio with one end open
    # is a bound, and one with both open says nothing.
    if naive.survived is None:
      open_below = self.survived is None or naive.lost is None
      return NOTHING if open_below else f"> {_ratio(self.survived, naive.lost)}"
    if naive.lost is None:
      if self.lost is None:
        return NOTHING
      known = self.survived is not None
      top = self.survived if known else self.lost
      return f"{'≤' if known else '<'} {_ratio(top, naive.survived)}"
    if self.survived is None:
      return f"< {_ratio(self.lost, naive.survived)}"
    return ("" if self.lost is not None else "≥ ") + _ratio(self.survived, naive.survived)


def edges(grid: Sequence[Point]) -> dict[tuple[str, ...], Edge]:
  """By `Point.line`; none without naive, with one rate in every line, or while one is unknown."""
  lines: dict[tuple[str, ...], list[Point]] = {}
  for point in grid:
    lines.setdefault(point.line, []).append(point)
  most = max((len({point.rate for point in line}) for line in lines.values()), default=0)
  unknown = any(math.isnan(point.rate) for point in grid)
  if most < 2 or unknown or "naive" not in {point.method for point in grid}:
    return {}
  return {name: Edge.of(line) for name, line in lines.items()}


def edges_table(reached: Mapping[tuple[str, ...], Edge]) -> Table:
  """A row for each line of `edges`, compared with naive of the same model and ablation."""
  shown = [place for place in range(len(LINE)) if len({line[place] for line in reached}) > 1]
  naive = {
    (model, ablation): edge
    for (model, method, _, ablation), edge in reached.items()
    if method == "naive"
  }
  rows = [
    [
      *(Entry(line[place]) for place in shown),
      Entry(edge.text, "plain" if edge.waiting is None else "remark"),
      Entry(edge.times(naive.get((line[0], line[-1])))),
    ]
    for line, edge in reached.items()
  ]
  header = [*(LINE[place] for place in shown), "highest rate survived", "times naive's"]
  return Table("How many times naive's limit each survives", header, rows)


def _ratio(over: float | None, under: float | None) -> str:
  assert over is not None
  assert under is not None
  return f"{over / under:.3g}x"
