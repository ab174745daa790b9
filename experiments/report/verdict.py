"""What a Table 2 says, in a few sentences for a person who has never seen the project.

Pure: every word follows from the figures. A method leads another only where the gap between their
means is more than the standard deviations of both together and, if they were compared in pairs, the
interval of their difference is above zero and p is below 5 % after Holm's correction. All else is a
tie, or undecided where a single run each says nothing of chance.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from ranking.measures.significance import LEVEL
from ranking.sweeps.figures.style import MODELS
from ranking.sweeps.search import FINISHED
from ranking.tasks import MEASURES

REFERENCE = "Clippy"
NAMED = 2  # of the methods that are tied beside the runner-up, so that a card stays short
SCALES = {
  "proxy": "proxy scale (1/8 of the paper's widths)",
  "paper": "the paper's widths",
}
Cell = Mapping[str, Any]  # a row of table2.csv
State = Literal["leads", "tied", "undecided"]


class Line(NamedTuple):
  """A figure, the AUC of the leader or how far another is behind, and what to think of it."""

  figure: str
  text: str


@dataclasses.dataclass(frozen=True)
class OfModel:
  """What won on one model: who, a heading of a few words, and the figures below it."""

  model: str
  leader: str | None
  state: State
  heading: str
  lines: Sequence[Line]


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What was compared, what survived, what won on each model, how sure that is, how to read it."""

  compared: str
  survived: str
  won: str
  sure: str
  reading: str
  models: Sequence[OfModel]


def verdict(
  figures: pd.DataFrame, runs: pd.DataFrame, comparison: pd.DataFrame | None = None
) -> Verdict | None:
  """The verdict by the first AUC of a Table 2; None before any of its runs is finished.

  Args:
    figures: of the table, a row per model, column and task (table2.csv).
    runs: behind it, a row per run and task (table.csv).
    comparison: paired differences, method minus reference (comparison.csv); AUC as a fraction.
  """
  each = runs.drop_duplicates("trial")
  finished = each[each.status.isin(FINISHED)]
  if figures.empty or finished.empty:
    return None
  if figures.outcome.astype(str).str.match(r"\d+ of \d+ runs of the search$|0 of \d+ runs$").all():
    return None  # no figure yet: what is finished is of the search alone
  # The search may have had an earlier day N, which no figure is of.
  judged = runs[runs.eval_day == finished.eval_day.max()]
  aucs = figures[figures.measure == "auc"]
  if aucs.empty:
    return None
  task = str(aucs.task.iloc[0])
  cells = aucs[aucs.task == task].to_dict("records")
  pairs = [] if comparison is None else comparison[comparison.task == task].to_dict("records")
  by_model = {
    model: [cell for cell in cells if cell["model"] == model]
    for model in dict.fromkeys(cell["model"] for cell in cells)
  }
  models = [_of_model(model, mine, pairs) for model, mine in by_model.items()]
  return Verdict(
    compared=_compared(cells, finished, judged[judged.task == task], task),
    survived=_survived(cells),
    won=_won(models, task),
    sure=_sure(cells, pairs, finished.eval_day.nunique() > 1),
    reading=_reading(judged[judged.task == task]),
    models=models,
  )


def title(model: str) -> str:
  """Of a model, as the paper calls it."""
  return MODELS.get(model, model)


def enumeration(names: Sequence[str]) -> str:
  """Such as "a", "a and b" or "a, b and c"."""
  return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _name(cell: Cell) -> str:
  """Of a column; without a comma, so that it can stand in an enumeration."""
  head, comma, rest = str(cell["column"]).partition(", ")
  return f"{head} ({rest})" if comma else head


def _points(difference: float) -> str:
  """An AUC's difference, in percent."""
  return f"{100 * abs(difference):.2f}"


def _signed(difference: float) -> str:
  text = _points(difference)
  return text if float(text) == 0 else f"{'−' if difference < 0 else '+'}{text}"


def _compared(
  cells: Sequence[Cell], finished: pd.DataFrame, of_task: pd.DataFrame, task: str
) -> str:
  columns = list(dict.fromkeys(map(_name, cells)))
  models = [title(model) for model in dict.fromkeys(cell["model"] for cell in cells)]
  run, earlier = of_task.iloc[0], finished[finished.eval_day < of_task.eval_day.iloc[0]]
  search = f", after a search of {_count(len(earlier), 'shorter run')}" if len(earlier) else ""
  rows = float(f"{of_task.steps.max() * of_task.batch_size.max():.3g}")
  return (
    f"{_count(len(columns), 'method')} on {_count(len(models), 'model')} ({', '.join(models)}): "
    f"{_count(len(finished) - len(earlier), 'run')} of about {rows:,.0f} rows of {run.dataset}"
    f"{search}, at "
    f"{SCALES.get(run.scale, f'{run.scale} scale')}. Judged by the AUC of {task} in percent (50 is "
    f"chance) on the {of_task.rows.max():,.0f} rows of day N, {run.eval_day}, the day after."
  )


def _survived(cells: Sequence[Cell]) -> str:
  columns = list(dict.fromkeys(map(_name, cells)))
  worse = [x for x in columns if any(c["outcome"] != "ok" for c in cells if _name(c) == x)]
  well = [column for column in columns if column not in worse]
  sentences = [f"{enumeration(well) or 'No method'} survived on every model."]
  for start, verb in (("diverged", "diverged"), ("not finite", "ended without a finite AUC")):
    by_place: dict[str, list[str]] = {}
    for column in worse:
      lost = [c for c in cells if _name(c) == column and c["outcome"].startswith(start)]
      where = [
        f"{title(c['model'])}{c['outcome'].removeprefix(start).replace(')', ' runs)')}"
        for c in lost
      ]
      by_place.setdefault(enumeration(where), []).append(column)
    by_place.pop("", None)
    sentences += [f"{enumeration(x)} {verb} on {where}." for where, x in by_place.items()]
  waiting = [f"{_name(c)} on {title(c['model'])}" for c in cells if _waits(c)]
  if waiting:
    sentences.append(f"Not finished: {enumeration(waiting)}.")
  return " ".join(sentences)


def _waits(cell: Cell) -> bool:
  """Whether a cell has no outcome before more of its runs are finished."""
  return bool(re.match(r"\d+ of \d+ runs", cell["outcome"]))


def _of_model(model: str, cells: Sequence[Cell], pairs: Sequence[Cell]) -> OfModel:
  # Columns may have chosen the same setting, whose runs are then the same: one competitor.
  settings: dict[tuple[Any, ...], Cell] = {}
  for cell in cells:
    if cell["outcome"] == "ok":
      key = (cell["method"], str(cell["thresholds"]), cell["learning_rate_multiplier"])
      settings.setdefault(key, cell)
  ranked = sorted(settings.values(), key=lambda cell: -cell["mean"])
  if not ranked:
    heading = "Not finished" if any(map(_waits, cells)) else "Nothing survived"
    return OfModel(title(model), None, "undecided", heading, [])
  leader, *others = ranked
  name, judged = _name(leader), [(other, *_judge(leader, other, pairs)) for other in others]
  tied = [_name(other) for other, state, _ in judged if state == "tied"]
  # One that is as good as the leader is enough, even if it is not the runner-up.
  states = {state for _, state, _ in judged} or {"undecided"}
  state: State = "tied" if tied else "undecided" if "undecided" in states else "leads"
  unfinished = sum(map(_waits, cells))
  if unfinished:
    state = "undecided"
  too_few = f"{name} is highest, too few runs to tell" if others else f"{name} alone is left"
  headings = {
    "leads": f"{name} leads",
    "tied": f"Tied: {name} and {tied[0] if len(tied) == 1 else f'{len(tied)} others'}",
    "undecided": f"{name} is highest so far, {unfinished} not finished" if unfinished else too_few,
  }
  deviation = leader["deviation"]
  about = ", of one run" if math.isnan(deviation) else f", ± {_points(deviation)} over seeds"
  lines = [Line(MEASURES["auc"].text(leader["mean"]), f"{name}{about}")]
  for other, _, reason in judged:
    is_next, is_reference = other is others[0], other["column"] == REFERENCE
    if is_next or is_reference:
      behind = _signed(other["mean"] - leader["mean"])
      lines.append(Line(behind, f"{'runner-up ' * is_next}{_name(other)}: {reason}"))
  lines += [
    Line("–", f"{REFERENCE}: {cell['outcome']}")
    for cell in cells
    if cell["column"] == REFERENCE and cell["outcome"] != "ok"
  ]
  shown = {_name(other) for other in others if other is others[0] or other["column"] == REFERENCE}
  also = [other for other in tied if other not in shown]
  if also and len(tied) > 1:  # one alone is in the heading
    more = [f"{len(also) - NAMED} more"] if len(also) > NAMED else []
    others_tied = enumeration([*also[:NAMED], *more])
    lines.append(Line("≈", f"{'Tied' if shown.isdisjoint(tied) else 'Also tied'}: {others_tied}"))
  return OfModel(title(model), name, state, headings[state], lines)


def _judge(leader: Cell, other: Cell, pairs: Sequence[Cell]) -> tuple[State, str]:
  """Whether the leader's gap to another method is a lead, and why."""
  gap = leader["mean"] - other["mean"]
  overlap = gap <= leader["deviation"] + other["deviation"]  # not if there is none
  of_pair = _intervals(leader, other, pairs)
  if not of_pair:
    if math.isnan(leader["deviation"] + other["deviation"]):
      return "undecided", "one run each says nothing of chance"
    if overlap:
      return "tied", "tied, ± overlap"
    return "leads", "behind, ± apart"
  worst = min(of_pair, key=lambda each: each["low"])
  value = "" if _points(worst["value"]) == _points(gap) else f" {_signed(worst['value'])},"
  interval = f"paired{value} {_signed(worst['low'])} … {_signed(worst['high'])}"
  adjusted = max(each["p_holm"] for each in of_pair)
  if worst["low"] <= 0:
    return "tied", f"tied, {interval}"
  if adjusted > LEVEL:
    return "tied", f"tied, {interval}, but p = {adjusted:.2f} after Holm's correction"
  if overlap:
    return "tied", f"tied, {interval}, but ± overlap"
  return "leads", f"behind, {interval}"


def _intervals(leader: Cell, other: Cell, pairs: Sequence[Cell]) -> list[dict[str, Any]]:
  """The comparisons of two methods that have an interval, turned to be leader minus other."""

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
      found.append({**pair, "value": sign * pair["difference"], "low": low, "high": high})
  return found


def _won(models: Sequence[OfModel], task: str) -> str:
  leaders = list(dict.fromkeys(each.leader for each in models if each.leader))
  if not leaders:
    return f"No method has a figure of {task} yet."

  def where(chosen: Sequence[OfModel]) -> str:
    return "on every model" if len(chosen) == len(models) > 1 else f"on {_models(chosen)}"

  highest = [f"{x} {where([each for each in models if each.leader == x])}" for x in leaders]
  sentences = [f"Highest AUC of {task}: {'; '.join(highest)}."]
  for state, text in (
    ("leads", "It is a lead over all others {}."),
    ("tied", "It is a tie {}: no method won."),
    ("undecided", "There is too little to tell {}."),
  ):
    if chosen := [each for each in models if each.leader and each.state == state]:
      sentences.append(text.format(where(chosen)))
  return " ".join(sentences)


def _models(chosen: Sequence[OfModel]) -> str:
  return enumeration([each.model for each in chosen])


def _sure(cells: Sequence[Cell], pairs: Sequence[Cell], chosen_before: bool) -> str:
  deviations = [c["deviation"] for c in cells if not math.isnan(c["deviation"])]
  if deviations:
    # A cell that is still searched counts runs of the search.
    seeds = f"{max(c['runs'] for c in cells if not math.isnan(c['deviation']))} seeds"
    sentences = [f"Over {seeds}, an AUC varies by {_range(deviations)} points (±)."]
  else:
    sentences = ["Each AUC is of one run: how much it varies over seeds is not known."]
  tested = [pair for pair in pairs if math.isfinite(pair["detectable"])]
  if tested:
    detectable = [pair["detectable"] for pair in tested]
    over = enumeration(list(dict.fromkeys(map(_units, tested))))
    sentences.append(
      f"Paired differences (95 % intervals over {over}) would show {_range(detectable)} "
      "points 4 times in 5; smaller ones may be there unseen."
    )
  elif not pairs:
    sentences.append(
      "Methods were not compared in pairs: a lead is a gap wider than both ± and no more than that."
    )
  sentences.append(
    "Settings were chosen by an earlier day, not by these rows."
    if chosen_before
    else "Settings were chosen by these same rows, which flatters what was searched most."
  )
  return " ".join(sentences)


def _reading(of_task: pd.DataFrame) -> str:
  widths = (of_task.ci95_high - of_task.ci95_low)[of_task.status.isin(FINISHED)].dropna() / 2
  alone = (
    f" One AUC by itself is uncertain by ± {_points(widths.median())} points (95 %), because day N "
    "has only so many rows; methods share them, so their differences are known better than that."
    if len(widths)
    else ""
  )
  return (
    "Differences are points of AUC in percent. A method leads if its gap to every other one is "
    "more than their two standard deviations over seeds together (±), and if, where a paired "
    "difference is given, its 95 % interval is above 0 and p is below 5 % after Holm's correction "
    "for many comparisons. Anything less is called a tie, which does not say that two methods are "
    f"equal.{alone} A method diverged on a model if any of its repeated runs did."
  )


def _range(differences: Sequence[float]) -> str:
  """Of the least to the most, in points."""
  least, most = _points(min(differences)), _points(max(differences))
  return least if least == most else f"{least} to {most}"


def _units(pair: Cell) -> str:
  # "users and seeds" are so many users; the seeds are counted beside them.
  name = str(pair["unit_name"]).replace("and seeds", f"and {pair.get('seeds', '')} seeds")
  return f"{pair['units']:,.0f} {name}"


def _count(number: int, noun: str) -> str:
  return f"{number:,} {noun}{'s' * (number != 1)}"
