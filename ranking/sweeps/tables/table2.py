"""The paper's Table 2 as a document; pure: the same runs give the same one."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ranking.sweeps.places import Place
from ranking.sweeps.results import SURVIVED, first_of_each_measure, tasks
from ranking.sweeps.search import Search, choose
from ranking.sweeps.sweep import settings
from ranking.sweeps.tables import outcomes, rendering
from ranking.sweeps.tables.document import NOTHING, Document, Entry, Table, spread_text
from ranking.tasks import MEASURES


def table2(search: Search, table: pd.DataFrame) -> Document:
  """Every method's best setting on every model: the first task of each measure.

  A place is *diverged* if any of its repeats is: the mean of the others would flatter the method
  that loses most runs. It has no figure before all its runs are finished.

  Args:
    search: whose runs these are.
    table: of `results.read`; what is no part of the search is left out.
  """
  measures, places = tasks(table), search.places(table)
  tried = [search.settings(place.at("model"), place.title) for place in places]
  chosen = [choose(settings, table) for settings in tried]
  figures = _with_best(
    [
      _figure(place, trial is not None, task, measure)
      for place, trial in zip(places, chosen, strict=True)
      for task, measure in measures.items()
    ]
  )
  cells: dict[tuple[str, str], list[Entry]] = {}  # by model and task, column by column
  for figure in figures:
    cells.setdefault((figure["model"], figure["task"]), []).append(_entry(figure))
  status = table.drop_duplicates("trial").set_index("trial").status
  best: dict[str, tuple[list[Entry], list[Entry]]] = {model: ([], []) for model in search.models}
  for place, trial in zip(places, chosen, strict=True):
    survived = trial is not None and status[trial.name] in SURVIVED
    thresholds, rates = best[place.at("model")]
    thresholds.append(Entry(_values(place) if survived else NOTHING))
    rates.append(Entry(_times(place.trials[0].coordinates) if survived else NOTHING))

  def row(model: str, task: str) -> list[Entry]:
    name = f"{task} {MEASURES[measures[task]].heading}"
    return [Entry(model), Entry(name), *cells[model, task]]

  first = first_of_each_measure(measures)
  rows: list[list[Entry]] = []
  for model, (thresholds, rates) in best.items():
    rows += [row(model, task) for task in first]
    rows.append([Entry(model), Entry("best threshold"), *thresholds])
    rows.append([Entry(model), Entry("best learning rate"), *rates])
  header = ["model", "figure", *search.columns]
  titles = " and ".join(MEASURES[measures[task]].title for task in first) or "Figures"
  repeated = [place for place in places if place.stage == "repeats"]
  takers: dict[str, list[str]] = {}
  for place, trial in zip(places, chosen, strict=True):
    if trial is not None:
      takers.setdefault(trial.name, []).append(place.title)
  return Document(
    title="Table 2: the best of every method on every model",
    paragraphs=_about(search, repeated, table),
    tables=[
      Table(f"{titles} on day N", header, rows),
      Table("All tasks", header, [row(m, task) for m in search.models for task in measures], True),
      _search_table(search, takers, table),
      outcomes.runs_table(
        ["model", "column"], [([place.at("model"), place.title], place.rows) for place in repeated]
      ),
    ],
    figures=pd.DataFrame(figures),
  )


def _figure(place: Place, chosen: bool, task: str, measure: str) -> dict[str, Any]:
  """A row of table2.csv, to the last digit."""
  mean, deviation = place.spread(task) if chosen else (math.nan, math.nan)
  return {
    "model": place.at("model"),
    "column": place.title,
    "method": place.at("method") if chosen else None,
    "thresholds": place.settings if chosen else None,
    "learning_rate_multiplier": place.at("learning_rate_multiplier") if chosen else math.nan,
    "task": task,
    "measure": measure,
    "stage": place.stage,
    "outcome": place.outcome(task) if chosen else "waiting",
    "finished": place.count.finished,
    "diverged": place.count.diverged,
    "runs": place.wanted,
    "mean": mean,
    "deviation": deviation,
    "commands": place.commands,
  }


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
  for figure in figures:
    is_best = figure["outcome"] == "ok" and score(figure) == best[figure["model"], figure["task"]]
    figure["best"] = is_best
  return figures


def _entry(figure: Mapping[str, Any]) -> Entry:
  """Mean ± standard deviation, or why there is none."""
  if figure["outcome"] != "ok":
    return outcomes.remark(figure)
  text = spread_text(figure["measure"], figure["mean"], figure["deviation"])
  return Entry(text, "best" if figure["best"] else "plain", figure["commands"])


def _values(place: Place) -> str:
  """The thresholds without their names, as the paper says them."""
  return ", ".join(map(str, place.thresholds.values())) or NOTHING


def _times(coordinates: Mapping[str, Any]) -> str:
  return f"{coordinates['learning_rate_multiplier']:g}x"


def _search_table(
  search: Search, takers: Mapping[str, Sequence[str]], table: pd.DataFrame
) -> Table:
  """Every run of the search with the figure that was chosen by, and by whom."""
  measures = tasks(table)
  headline = next(iter(measures), None)
  values = table[table.task == headline].set_index("trial").value
  runs = table.drop_duplicates("trial").set_index("trial")
  rows = []
  for trial in search.trials():
    status = str(runs.status.get(trial.name, "unfinished"))
    shown = Entry(status, "remark")
    if headline is not None and status in SURVIVED:
      measure = MEASURES[measures[headline]]
      shown = Entry(measure.text(float(values.get(trial.name, math.nan))))
    rows.append(
      [
        Entry(trial.coordinates["model"]),
        Entry(trial.coordinates["method"]),
        Entry(settings(trial.thresholds)),
        Entry(_times(trial.coordinates)),
        dataclasses.replace(shown, hint=str(runs.command.get(trial.name, ""))),
        Entry(", ".join(takers.get(trial.name, []))),
      ]
    )
  name = f"{headline} {MEASURES[measures[headline]].heading}" if headline else "figure"
  header = ["model", "method", "thresholds", "rate", name, "repeated for"]
  return Table(f"The search, seed {search.search_seed}", header, rows, folded=True)


def _about(search: Search, repeated: Sequence[Place], table: pd.DataFrame) -> list[str]:
  names = {trial.name for place in repeated for trial in place.trials}
  tried = table[table.trial.isin([trial.name for trial in search.trials()])]
  repeats = table[table.trial.isin(names)]
  if search.search_days_earlier:
    cost = outcomes.cost(repeats, tried)
  else:
    cost = outcomes.cost(pd.concat([tried, repeats]))
  sizes = {column: len(search.settings(search.models[0], column)) for column in search.columns}
  about = rendering.paragraphs("table2.txt", search=search, sizes=sizes, headline=headline(table))
  return [cost, *about]


def headline(table: pd.DataFrame) -> str:
  """The figure that a search chooses by, in words."""
  return next((f"{task} {MEASURES[name].title}" for task, name in tasks(table).items()), "figure")
