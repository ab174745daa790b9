"""What a Table 2 shows, as figures; templates/verdict.html has the words.

A method leads another only where the gap between their means is more than the standard deviations
of both together and, if they were compared in pairs, the interval of their difference is above zero
and p is below 5 % after Holm's correction. All else is a tie, or undecided where a single run each
says nothing of chance.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from ranking.measures.significance import LEVEL
from ranking.sweeps.results import FINISHED

REFERENCE = "Clippy"
Cell = Mapping[str, Any]  # a row of table2.csv
State = Literal["leads", "tied", "undecided"]


class Pair(NamedTuple):
  """A paired difference of two methods, with its 95 % interval, as fractions of AUC."""

  value: float
  low: float
  high: float
  p_holm: float


class Rival(NamedTuple):
  """Another method than the leader of a model.

  Attributes:
    column: its name in the table.
    gap: how far the leader's mean is above it, a fraction of AUC.
    state: whether the leader leads it.
    overlap: whether the gap is within both standard deviations; None where one of them is unknown.
    pair: leader minus this one; None if they were not compared.
  """

  column: str
  gap: float
  state: State
  overlap: bool | None
  pair: Pair | None


@dataclasses.dataclass(frozen=True)
class OfModel:
  """What became of all methods on one model.

  Attributes:
    model: its name in the table.
    leader: the cell with the highest mean; None if no method has one.
    rivals: the others that have a mean, best first.
    state: "undecided" while methods wait for runs.
    waiting: how many do.
    reference: the cell of Clippy.
  """

  model: str
  leader: Cell | None
  rivals: Sequence[Rival]
  state: State
  waiting: int
  reference: Cell | None

  @property
  def tied(self) -> list[Rival]:
    """The rivals that the leader does not lead."""
    return [rival for rival in self.rivals if rival.state == "tied"]

  @property
  def shown(self) -> list[Rival]:
    """The runner-up, and Clippy."""
    return [rival for rival in self.rivals if rival is self.rivals[0] or rival.column == REFERENCE]


@dataclasses.dataclass(frozen=True)
class Verdict:
  """The figures of the first screen, all by the first AUC of the table.

  Attributes:
    task: whose AUC.
    cells: of the table, of that task.
    models: what became of each.
    run: a row of the table of runs, of day N.
    runs: how many finished runs are of that day.
    searched: how many finished ones are of an earlier one.
    trained: rows that the longest run saw.
    evaluated: rows of day N.
    half_width: median of half the 95 % interval of one run's AUC; NaN if there is none.
    detectable: differences that the paired comparisons could have shown.
    pairs: these comparisons.
  """

  task: str
  cells: Sequence[Cell]
  models: Sequence[OfModel]
  run: Mapping[str, Any]
  runs: int
  searched: int
  trained: int
  evaluated: int
  half_width: float
  pairs: Sequence[Mapping[str, Any]]

  @property
  def columns(self) -> list[str]:
    """The methods, in the order of the table."""
    return list(dict.fromkeys(cell["column"] for cell in self.cells))

  @property
  def survivors(self) -> list[str]:
    """The methods that have a figure on every model."""
    lost = {cell["column"] for cell in self.cells if cell["outcome"] != "ok"}
    return [column for column in self.columns if column not in lost]

  def ended(self, outcome: str) -> dict[tuple[tuple[str, int, int], ...], list[str]]:
    """Methods by where they ended so: models with how many of how many runs diverged."""
    groups: dict[tuple[tuple[str, int, int], ...], list[str]] = {}
    for column in self.columns:
      where = tuple(
        (cell["model"], cell["diverged"], cell["runs"])
        for cell in self.cells
        if cell["column"] == column and cell["outcome"] == outcome
      )
      if where:
        groups.setdefault(where, []).append(column)
    return groups

  @property
  def leaders(self) -> dict[str, list[str]]:
    """Models by the method that has the highest mean on them."""
    found: dict[str, list[str]] = {}
    for each in self.models:
      if each.leader is not None:
        found.setdefault(each.leader["column"], []).append(each.model)
    return found

  def models_that(self, state: State) -> list[str]:
    """The models whose leader is in a state."""
    return [each.model for each in self.models if each.leader and each.state == state]

  @property
  def deviations(self) -> list[float]:
    """Standard deviations over seeds, of the cells that have one."""
    return [cell["deviation"] for cell in self.cells if not math.isnan(cell["deviation"])]

  @property
  def seeds(self) -> int:
    """How many runs a standard deviation is of, at most."""
    return max(cell["runs"] for cell in self.cells if not math.isnan(cell["deviation"]))

  @property
  def tested(self) -> list[Mapping[str, Any]]:
    """The comparisons that could have shown something."""
    return [pair for pair in self.pairs if math.isfinite(pair["detectable"])]


def verdict(
  figures: pd.DataFrame, runs: pd.DataFrame, comparison: pd.DataFrame | None = None
) -> Verdict | None:
  """The verdict by the first AUC of a Table 2; None before any of its cells has a run.

  Args:
    figures: of the table, a row per model, column and task (table2.csv).
    runs: behind it, a row per run and task (table.csv).
    comparison: paired differences, method minus reference (comparison.csv); AUC as a fraction.
  """
  each = runs.drop_duplicates("trial")
  finished = each[each.status.isin(FINISHED)]
  aucs = figures[figures.measure == "auc"]
  begun = (figures.stage == "repeats") & (figures.finished > 0)
  if finished.empty or aucs.empty or not begun.any():
    return None
  task = str(aucs.task.iloc[0])
  cells = aucs[aucs.task == task].to_dict("records")
  pairs = [] if comparison is None else comparison[comparison.task == task].to_dict("records")
  # The search may have had an earlier day N, which no figure is of.
  last = finished.eval_day.max()
  judged = runs[(runs.eval_day == last) & (runs.task == task)]
  ended = judged[judged.status.isin(FINISHED)]
  if ended.empty:
    return None
  return Verdict(
    task=task,
    cells=cells,
    models=[
      _of_model(model, [cell for cell in cells if cell["model"] == model], pairs)
      for model in dict.fromkeys(cell["model"] for cell in cells)
    ],
    run=judged.iloc[0].to_dict(),
    runs=int((finished.eval_day == last).sum()),
    searched=int((finished.eval_day < last).sum()),
    trained=int(judged.steps.max() * judged.batch_size.max()),
    evaluated=int(judged.rows.max()),
    half_width=float((ended.ci95_high - ended.ci95_low).median() / 2),
    pairs=pairs,
  )


def _of_model(model: str, cells: Sequence[Cell], pairs: Sequence[Mapping[str, Any]]) -> OfModel:
  # Columns may have chosen the same setting, whose runs are then the same: one competitor.
  settings: dict[tuple[Any, ...], Cell] = {}
  for cell in cells:
    if cell["outcome"] == "ok":
      key = (cell["method"], str(cell["thresholds"]), cell["learning_rate_multiplier"])
      settings.setdefault(key, cell)
  ranked = sorted(settings.values(), key=lambda cell: -cell["mean"])
  waiting = sum(cell["outcome"] == "waiting" for cell in cells)
  reference = next((cell for cell in cells if cell["column"] == REFERENCE), None)
  if not ranked:
    return OfModel(model, None, [], "undecided", waiting, reference)
  leader, *others = ranked
  rivals = [_rival(leader, other, pairs) for other in others]
  states = {rival.state for rival in rivals}
  state: State = "leads"
  if waiting or not rivals:
    state = "undecided"
  elif "tied" in states:  # one that is as good is enough, even if it is not the runner-up
    state = "tied"
  elif "undecided" in states:
    state = "undecided"
  return OfModel(model, leader, rivals, state, waiting, reference)


def _rival(leader: Cell, other: Cell, pairs: Sequence[Mapping[str, Any]]) -> Rival:
  """Whether the leader's gap to another method is a lead, and by what."""
  gap = leader["mean"] - other["mean"]
  deviations = leader["deviation"] + other["deviation"]
  overlap = None if math.isnan(deviations) else gap <= deviations
  pair = _pair(leader, other, pairs)
  state: State = "leads"
  if pair is None and overlap is None:
    state = "undecided"
  elif overlap or (pair is not None and (pair.low <= 0 or pair.p_holm > LEVEL)):
    state = "tied"
  return Rival(other["column"], gap, state, overlap, pair)


def _pair(leader: Cell, other: Cell, pairs: Sequence[Mapping[str, Any]]) -> Pair | None:
  """The least favourable comparison of two methods that has an interval, as leader minus other."""

  def says(text: str, cell: Cell) -> bool:
    return text.lower() in (str(cell["column"]).lower(), str(cell["method"]).lower())

  found = []
  for pair in pairs:
    forwards = says(pair["method"], leader) and says(pair["reference"], other)
    backwards = says(pair["method"], other) and says(pair["reference"], leader)
    if pair["model"] != leader["model"] or not (forwards or backwards):
      continue
    sign = 1 if forwards else -1
    low, high = sorted((sign * pair["ci95_low"], sign * pair["ci95_high"]))
    if math.isfinite(low) and math.isfinite(high):
      found.append(Pair(sign * pair["difference"], low, high, pair["p_holm"]))
  if not found:
    return None
  worst = min(found, key=lambda pair: pair.low)
  return worst._replace(p_holm=max(pair.p_holm for pair in found))
