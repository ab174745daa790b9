"""The edge of a method: the highest learning rate that all its seeds survive."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ranking.sweeps.places import LINE, Place
from ranking.sweeps.tables import rendering
from ranking.sweeps.tables.document import NOTHING, Entry, Table

Line = tuple[Any, ...]


class Edge(NamedTuple):
  """How far up the learning rates a method goes.

  Attributes:
    survived: the highest rate that all seeds survived before the first loss; None if there is none.
    lost: the rate of the first loss; None if there is none.
    waiting: the place whose runs must finish before more can be said, if any.
  """

  survived: float | None
  lost: float | None
  waiting: Place | None = None

  @classmethod
  def of(cls, places: Sequence[Place]) -> "Edge":
    """Finds it among places that differ in their rates alone; those of one rate count together."""
    survived = None
    for rate in sorted({place.rate for place in places}):
      here = [place for place in places if place.rate == rate]
      if any(place.count.diverged for place in here):
        return cls(survived, rate)
      if unfinished := [place for place in here if not place.complete]:
        return cls(survived, None, unfinished[0])
      survived = rate
    return cls(survived, None)

  @property
  def text(self) -> str:
    """The edge in words: "0.4", "≥ 6.4" where the highest rate tried was survived, "< 0.05"."""
    if self.waiting is not None:
      finished, runs = self.waiting.count.finished, self.waiting.wanted
      return rendering.words("waiting", finished=finished, runs=runs, rate=self.waiting.rate)
    if self.survived is None:
      return f"< {self.lost:g}"
    return f"{self.survived:g}" if self.lost is not None else f"≥ {self.survived:g}"

  def times(self, naive: "Edge | None") -> str:
    """The multiple of naive's edge, such as "8x", "≥ 128x"; NOTHING where none follows.

    What was survived is at least the edge, what was lost is above it: a ratio with one end open is
    a bound, and one with both open says nothing.
    """
    if naive is None or self.waiting is not None or naive.waiting is not None:
      return NOTHING
    mine, its = self.survived or self.lost, naive.survived or naive.lost
    assert mine is not None
    assert its is not None
    at_most = self.survived is None  # below `mine`
    at_least = self.lost is None  # from `mine` upwards
    if naive.survived is None:  # naive's is below `its`, so the ratio is above
      sign = None if at_most else "> "
    elif naive.lost is None:  # naive's is from `its` upwards
      sign = None if at_least else "< " if at_most else "≤ "
    else:
      sign = "< " if at_most else "≥ " if at_least else ""
    return NOTHING if sign is None else f"{sign}{mine / its:.3g}x"


def edges(grid: Sequence[Place]) -> dict[Line, Edge]:
  """By `Place.line`; none without naive, with one rate in every line, or while one is unknown."""
  lines: dict[Line, list[Place]] = {}
  for place in grid:
    lines.setdefault(place.line, []).append(place)
  most = max((len({place.rate for place in line}) for line in lines.values()), default=0)
  unknown = any(math.isnan(place.rate) for place in grid)
  if most < 2 or unknown or "naive" not in {place.at("method") for place in grid}:
    return {}
  return {name: Edge.of(line) for name, line in lines.items()}


def edges_table(reached: Mapping[Line, Edge]) -> Table:
  """A row for each line of `edges`, compared with naive of the same model, ablation and day."""
  shown = [place for place in range(len(LINE)) if len({line[place] for line in reached}) > 1]
  naive = {_rest(line): edge for line, edge in reached.items() if _method(line) == "naive"}
  rows = [
    [
      *(Entry(str(line[place])) for place in shown),
      Entry(edge.text, "plain" if edge.waiting is None else "remark"),
      Entry(edge.times(naive.get(_rest(line)))),
    ]
    for line, edge in reached.items()
  ]
  names = [LINE[place].replace("_", " ") for place in shown]
  header = [*names, "highest rate survived", "times naive's"]
  return Table("How many times naive's limit each survives", header, rows)


def _method(line: Line) -> Any:
  return line[LINE.index("method")]


def _rest(line: Line) -> Line:
  """A line without its method and thresholds."""
  named = zip(LINE, line, strict=True)
  return tuple(value for name, value in named if name not in ("method", "thresholds"))
