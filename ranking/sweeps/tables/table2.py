"""The paper's Table 2 as a document; pure: the same runs give the same one."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from ranking.measures.differences import spread
from ranking.sweeps.search import SURVIVED, Candidate, Cell, Search, choose
from ranking.sweeps.sweep import settings
from ranking.sweeps.tables.document import NOTHING, Document, Entry, Table
from ranking.sweeps.tables.outcomes import Count, commands, cost, effort, runs_table
from ranking.tasks import MEASURES


def table2(search: Search, table: pd.DataFrame) -> Document:
  """Every method's best setting on every model: AUC and RMSE of the first task of each kind.

  A cell is *diverged* if any of its repeats is: the mean of the others would flatter the method
  that loses most runs. It has no figure before all its runs are finished.

  Args:
    search: whose runs these are.
    table: of `results.read`; what is no part of the search is left out.
  """
  tasks = table.dropna(subset=["task"]).drop_duplicates("task")
  headline = list(tasks.drop_duplicates("measure").task)
  outcomes = [_Outcome.of(cell, table) for cell in search.cells()]
  figures = _with_best(
    [
      outcome.figure(task, measure)
      for outcome in outcomes
      for task, measure in zip(tasks.task, tasks.measure, strict=True)
    ]
  )
  places: dict[tuple[str, str], list[Entry]] = {}  # by model and task, column by column
  for figure in figures:
    places.setdefault((figure["model"], figure["task"]), []).append(_entry(figure))
  names = {
    task: f"{task} {MEASURES[measure].heading}"
    for task, measure in zip(tasks.task, tasks.measure, strict=True)
  }

  def row(model: str, task: str) -> list[Entry]:
    return [Entry(model), Entry(names[task]), *places[model, task]]

  rows: list[list[Entry]] = []
  for model in search.models:
    mine = [outcome for outcome in outcomes if outcome.cell.model == model]
    rows += [row(model, task) for task in headline]
    rows.append([Entry(model), Entry("best threshold"), *(each.threshold() for each in mine)])
    rows.append([Entry(model), Entry("best learning rate"), *(each.rate() for each in mine)])
  header = ["model", "figure", *search.columns]
  all_tasks = [row(model, task) for model in search.models for task in names]
  repeats = [([each.cell.model, each.cell.column], each.runs) for each in outcomes if each.chosen]
  return Document(
    title="Table 2: the best of every method on every model",
    paragraphs=_about_table2(search, outcomes, table),
    tables=[
      Table("AUC and RMSE on day N", header, rows),
      Table("All tasks", header, all_tasks, folded=True),
      _search_table(search, outcomes, table),
      runs_table(["model", "column"], repeats),
    ],
    figures=pd.DataFrame(figures),
  )


@dataclasses.dataclass(frozen=True)
class _Outcome:
  """A cell of Table 2.

  Attributes:
    cell: which one.
    chosen: the setting that is repeated; None while the search is not finished.
    survived: whether that setting survived the search.
    wanted: how many runs the cell waits for: the repeats, or else those of the search.
    runs: their rows in the table of results.
  """

  cell: Cell
  chosen: Candidate | None
  survived: bool
  wanted: int
  runs: pd.DataFrame

  @classmethod
  def of(cls, cell: Cell, table: pd.DataFrame) -> "_Outcome":
    chosen = choose(cell.candidates, table)
    trials = chosen.repeats if chosen else [each.tried for each in cell.candidates]
    tried = table[table.trial == chosen.tried.name] if chosen else table[:0]
    runs = table[table.trial.isin([trial.name for trial in trials])]
    return cls(cell, chosen, bool(tried.status.isin(SURVIVED).any()), len(trials), runs)

  def figure(self, task: str, measure: str) -> dict[str, Any]:
    """Of a task, to the last digit, with what it is of."""
    values, count = self.runs[self.runs.task == task].value, Count.of(self.runs)
    mean = deviation = math.nan
    if self.chosen is None:
      outcome = f"{count.finished} of {self.wanted} runs of the search"
    elif count.finished < self.wanted:
      outcome = f"{count.finished} of {self.wanted} runs"
    elif count.diverged:
      outcome = f"diverged ({count.diverged} of {self.wanted})"
    elif values.empty:
      outcome = "no such task"
    elif not values.map(math.isfinite).all():
      outcome = "not finite"
    else:
      outcome = "ok"
      mean, deviation, _ = spread(values)
    trial = self.chosen.tried if self.chosen else None
    return {
      **{"model": self.cell.model, "column": self.cell.column},
      "method": trial.coordinates["method"] if trial else None,
      "thresholds": settings(trial.thresholds) if trial else None,
      "learning_rate_multiplier": (
        trial.coordinates["learning_rate_multiplier"] if trial else math.nan
      ),
      **{"task": task, "measure": measure, "outcome": outcome},
      **{"mean": mean, "deviation": deviation},
      **{"runs": self.wanted, "commands": commands(self.runs)},
    }

  def threshold(self) -> Entry:
    """Its values alone, as the paper says them; none if nothing survived the search."""
    values = self.chosen.tried.thresholds.values() if self.chosen and self.survived else ()
    return Entry(", ".join(map(str, values)) or NOTHING)

  def rate(self) -> Entry:
    """As a multiple of the base rate; none if nothing survived the search."""
    if self.chosen is None or not self.survived:
      return Entry(NOTHING)
    return Entry(f"{self.chosen.tried.coordinates['learning_rate_multiplier']:g}x")


def _with_best(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """Marks the best of each model and task; what is printed alike is equally good."""

  def score(figure: Mapping[str, Any]) -> float:
    measure = MEASURES[figure["measure"]]
    return measure.better * float(measure.text(figure["mean"]))

  best: dict[tuple[str, str], float] = {}
  for figure in figures:
    if figure["outcome"] == "ok":
      place = (figure["model"], figure["task"])
      best[place] = max(score(figure), best.get(place, -math.inf))
  return [
    {
      **figure,
      "best": figure["outcome"] == "ok" and score(figure) == best[figure["model"], figure["task"]],
    }
    for figure in figures
  ]


def _entry(figure: Mapping[str, Any]) -> Entry:
  """Mean ± standard deviation, or why there is none."""
  if figure["outcome"] != "ok":
    return Entry(figure["outcome"], "remark", figure["commands"])
  text = MEASURES[figure["measure"]].text
  several = "" if math.isnan(figure["deviation"]) else f" ± {text(figure['deviation'])}"
  style: Literal["best", "plain"] = "best" if figure["best"] else "plain"
  return Entry(text(figure["mean"]) + several, style, figure["commands"])


def _search_table(search: Search, outcomes: Sequence[_Outcome], table: pd.DataFrame) -> Table:
  """Every run of the search with the AUC that was chosen by, and by whom."""
  rows = []
  first = table[table.kind == "binary"].drop_duplicates("trial").set_index("trial")
  runs = table.drop_duplicates("trial").set_index("trial")
  for trial in search.trials():
    name, rate = trial.name, trial.coordinates["learning_rate_multiplier"]
    status = str(runs.status.get(name, "unfinished"))
    value = float(first.value.get(name, math.nan))
    shown = Entry(MEASURES["auc"].text(value)) if status in SURVIVED else Entry(status, "remark")
    takers = [each.cell.column for each in outcomes if each.chosen and each.chosen.tried == trial]
    rows.append(
      [
        *(Entry(trial.coordinates["model"]), Entry(trial.coordinates["method"])),
        *(Entry(settings(trial.thresholds)), Entry(f"{rate:g}x")),
        dataclasses.replace(shown, hint=str(runs.command.get(name, ""))),
        Entry(", ".join(takers)),
      ]
    )
  task = f" {first.task.iloc[0]}" if len(first) else ""
  header = ["model", "method", "thresholds", "rate", f"AUC{task} (%)", "repeated for"]
  return Table(f"The search, seed {search.search_seed}", header, rows, folded=True)


def _about_table2(search: Search, outcomes: Sequence[_Outcome], table: pd.DataFrame) -> list[str]:
  tried = table[table.trial.isin([trial.name for trial in search.trials()])]
  repeated = [name for each in outcomes if each.chosen for name in each.runs.trial]
  repeats = table[table.trial.isin(repeated)]
  sizes = ", ".join(
    f"{each.cell.column} {len(each.cell.candidates)}" for each in outcomes[: len(search.columns)]
  )
  seeds = ", ".join(map(str, search.seeds))
  if search.search_days_earlier:
    costs = f"{cost(repeats)} The search before them: {effort(tried)}."
    day = f"day N of the log without its last {search.search_days_earlier} days"
  else:
    costs, day = cost(pd.concat([tried, repeats])), "day N"
  return [
    costs,
    f"Every threshold of a column's grid ran at every learning rate with seed {search.search_seed} "
    f"(settings on each model: {sizes}). The one with the best AUC of the first binary task on "
    f"{day}, among those that did not diverge, was run again with "
    f"seed{'s' * (len(search.seeds) > 1)} {seeds}: these runs are the figures, mean ± standard "
    f"deviation over seeds. {search.choice}",
    "The best of a row is underlined, with all that print alike. Diverged (k of n): k of its n "
    "repeats did; one is enough: the mean of the others would flatter the method that loses most "
    f"runs. Where the best threshold and rate are {NOTHING}, no setting survived the search, "
    "and the first of the grid was repeated.",
  ]
