"""What any sweep came to, as a document; pure but for the evaluations of runs, which it reads."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from ranking.measures.ratios import divergence_ratio
from ranking.sweeps.places import LINE, Place, places
from ranking.sweeps.results import first_of_each_measure, tasks, within
from ranking.sweeps.sweep import Sweep
from ranking.sweeps.tables import edges, outcomes, rendering, speed
from ranking.sweeps.tables.document import NOTHING, Document, Entry, Table, spread_text
from ranking.sweeps.tables.edges import Edge
from ranking.sweeps.tables.speed import Speed
from ranking.tasks import MEASURES

UNSAID = {"thresholds": "default", "ablation": "none", "days left out": "0"}


def summary(sweep: Sweep, table: pd.DataFrame) -> Document:
  """A row for every place of the grid: how its runs ended, how good, how fast.

  A place has no figure before all its runs are finished: one may not stop where it looks best.

  Args:
    sweep: whose runs these are.
    table: of `results.read`; what is no part of the sweep is left out.
  """
  trials = sweep.trials()
  rows = table[table.trial.isin([trial.name for trial in trials])]
  grid = places(trials, rows)
  measures = tasks(rows)
  names = [_names(place) for place in grid]
  shown = [axis for axis in names[0] if len({each[axis] for each in names}) > 1]
  headline = next(iter(measures), "")
  target, speeds = None, [Speed()] * len(grid)
  if _judged_alike(rows, headline):
    target, speeds = speed.speeds(grid, headline, MEASURES[measures[headline]])
  goal = None if target is None else MEASURES[measures[headline]].text(target)
  reached = edges.edges(grid)
  starts = [[Entry(each[axis]) for axis in shown] for each in names]

  def with_figures(of: list[tuple[str, str]]) -> list[list[Entry]]:
    return [
      [*start, *_state(place), *(_entry(place, task, measure) for task, measure in of)]
      for start, place in zip(starts, grid, strict=True)
    ]

  def header(of: list[tuple[str, str]]) -> list[str]:
    titles = [f"{task} {MEASURES[measure].heading}" for task, measure in of]
    return [*shown, "runs", "diverged", "95 % interval", "micro-diverged", *titles]

  first = [(task, measures[task]) for task in first_of_each_measure(measures)]
  everything = [*measures.items(), *within(rows)]
  main, titles = with_figures(first), header(first)
  if goal is not None:
    titles += [f"steps to {goal}", "seconds"]
    main = [[*row, *_to_target(fast)] for row, fast in zip(main, speeds, strict=True)]
  tables = [Table("Every point of the grid", titles, main)]
  if reached:
    tables.append(edges.edges_table(reached))
  tables.append(Table("All tasks", header(everything), with_figures(everything), True))
  groups = [
    ([entry.text for entry in start], place.runs) for start, place in zip(starts, grid, strict=True)
  ]
  tables.append(outcomes.runs_table(shown, groups))
  judged: list[tuple[str | None, str | None]] = [*everything] or [(None, None)]
  same = {axis: names[0][axis] for axis in names[0] if axis not in shown}
  return Document(
    title=f"Sweep {sweep.name}",
    paragraphs=rendering.paragraphs(
      "summary.txt",
      **{**outcomes.effort(rows), "runs": len(trials)},
      sweep=sweep,
      data=Path(sweep.data).stem,
      same={axis: text for axis, text in same.items() if UNSAID.get(axis) != text},
      measures=[MEASURES[measure].title for _, measure in first] or ["Figures"],
      target=goal,
      headline=goal and f"{MEASURES[measures[headline]].title} of {headline}",
      edges=bool(reached),
    ),
    tables=tables,
    figures=pd.DataFrame(
      [
        _figure(place, task, measure, target, fast, reached.get(place.line))
        for place, fast in zip(grid, speeds, strict=True)
        for task, measure in judged
      ]
    ),
  )


def _names(place: Place) -> dict[str, str]:
  """What a row is called, by axis."""
  multiplier = place.at("learning_rate_multiplier")
  times = f"{multiplier:g}x"
  rate = times if math.isnan(place.rate) else f"{place.rate:g}"
  if multiplier != 1 and rate != times:
    rate += f" ({times})"
  texts = {**place.axes, "learning_rate": rate}
  return {name.replace("_", " "): str(text) for name, text in texts.items()}


def _judged_alike(rows: pd.DataFrame, task: str) -> bool:
  """Whether the same rows and labels judge all runs: else no figure is a target for all."""
  judged = rows[rows.task == task]
  return len(judged[["eval_day", "rows", "positives"]].drop_duplicates()) == 1


def _state(place: Place) -> list[Entry]:
  """How its runs ended: runs, diverged, interval, micro-diverged."""
  count, wanted = place.count, place.wanted
  if not place.complete:
    text = rendering.words("waiting", finished=count.finished, runs=wanted, failed=count.failed)
    return [Entry(text, "remark", place.commands), *[Entry(NOTHING)] * 3]
  low, high = divergence_ratio(count.diverged, count.finished).ci95
  return [
    Entry(f"{count.finished} of {wanted}", hint=place.commands),
    Entry(f"{count.diverged} of {count.finished}"),
    Entry(f"{low:.0%} … {high:.0%}"),
    Entry(str(count.micro_diverged)),
  ]


def _entry(place: Place, task: str, measure: str) -> Entry:
  """Mean ± standard deviation over the survivors, or why there is none."""
  outcome = place.outcome(task, True, measure)
  if outcome in ("waiting", "no such task"):
    return Entry(NOTHING)
  figure = spread_text(measure, *place.spread(task, True, measure))
  lost = place.count.diverged
  text = rendering.words("of_survivors", outcome=outcome, figure=figure, lost=lost)
  return Entry(text, "plain" if outcome == "ok" else "remark")


def _to_target(fast: Speed) -> list[Entry]:
  """Steps and seconds."""
  if math.isinf(fast.steps):
    return [Entry("never", "remark")] * 2
  return [
    Entry(NOTHING if math.isnan(value) else f"{value:.1f}".removesuffix(".0")) for value in fast
  ]


def _figure(
  place: Place,
  task: str | None,
  measure: str | None,
  target: float | None,
  fast: Speed,
  edge: Edge | None,
) -> dict[str, Any]:
  """A row of summary.csv, to the last digit."""
  count = place.count
  ratio = divergence_ratio(count.diverged, count.finished) if place.complete else None
  mean, deviation = place.spread(task, True, measure)
  return {
    **dict(zip(LINE, place.line, strict=True)),
    "learning_rate": place.learning_rate,
    "learning_rate_multiplier": float(place.at("learning_rate_multiplier")),
    "runs": place.wanted,
    "finished": count.finished,
    "diverged": count.diverged,
    "ratio": ratio.value if ratio else math.nan,
    "ci95_low": ratio.ci95[0] if ratio else math.nan,
    "ci95_high": ratio.ci95[1] if ratio else math.nan,
    "micro_diverged": count.micro_diverged,
    "task": task,
    "measure": measure,
    "mean": mean,
    "deviation": deviation,
    "survivors": count.finished - count.diverged,
    "target_auc": math.nan if target is None else target,  # whatever its measure
    "steps_to_target": fast.steps,
    "seconds_to_target": fast.seconds,
    "edge": edge.survived if edge and edge.survived is not None else math.nan,
    "commands": place.commands,
  }
