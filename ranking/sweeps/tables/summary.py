"""What any sweep came to, as a document; pure but for the evaluations of runs, which it reads."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ranking.measures.differences import spread
from ranking.measures.ratios import divergence_ratio
from ranking.sweeps.sweep import Sweep
from ranking.sweeps.tables import edges, speed
from ranking.sweeps.tables.document import NOTHING, Document, Entry, Table
from ranking.sweeps.tables.edges import Edge
from ranking.sweeps.tables.outcomes import Count, commits, runs_table
from ranking.sweeps.tables.points import LINE, Point, points, whole
from ranking.sweeps.tables.speed import Speed
from ranking.tasks import MEASURES

AXES = (*LINE, "learning rate")


def summary(sweep: Sweep, table: pd.DataFrame) -> Document:
  """A row for every point of the grid but the seed: how its runs ended, how good, how fast.

  A point has no figure before all its runs are finished: one may not stop where it looks best.

  Args:
    sweep: whose runs these are.
    table: of `results.read`; what is no part of the sweep is left out.
  """
  rows = whole(sweep, table)
  grid = points(sweep, rows)
  names = [_names(point) for point in grid]
  shown = [axis for axis in AXES if len({each[axis] for each in names}) > 1]
  tasks = rows.dropna(subset=["task"]).drop_duplicates("task")
  measures = dict(zip(tasks.task, tasks.measure, strict=True))
  headline = list(tasks.drop_duplicates("measure").task)
  first = next((task for task in headline if measures[task] == "auc"), "")
  # Where runs are judged by other rows or labels, one AUC is no target for all of them.
  of_first = rows[rows.task == first]
  same_day = len(of_first[["eval_day", "rows", "positives"]].drop_duplicates()) == 1
  target = speed.target(grid, first) if same_day else None
  outcomes = [
    _Outcome(point, speed.speed(point.runs, first, target) if target is not None else None)
    for point in grid
  ]
  reached = edges.edges(grid)
  starts = [[Entry(each[axis]) for axis in shown] for each in names]

  def with_figures(of: Sequence[str]) -> list[list[Entry]]:
    return [
      [*start, *outcome.state(), *(outcome.entry(task, measures[task]) for task in of)]
      for start, outcome in zip(starts, outcomes, strict=True)
    ]

  def header(of: Sequence[str]) -> list[str]:
    titles = [f"{task} {MEASURES[measures[task]].heading}" for task in of]
    return [*shown, "runs", "diverged", "95 % interval", "micro-diverged", *titles]

  main, to_target = with_figures(headline), []
  if target is not None:
    to_target = [f"steps to {MEASURES['auc'].text(target)}", "seconds"]
    main = [[*row, *outcome.to_target()] for row, outcome in zip(main, outcomes, strict=True)]
  tables = [Table("Every point of the grid", [*header(headline), *to_target], main)]
  if reached:
    tables.append(edges.edges_table(reached))
  tables.append(Table("All tasks", header(list(measures)), with_figures(list(measures)), True))
  groups = [([e.text for e in s], point.runs) for s, point in zip(starts, grid, strict=True)]
  tables.append(runs_table(shown, groups))
  return Document(
    title=f"Sweep {sweep.name}",
    paragraphs=[
      _ended(sweep, rows),
      *_constants(sweep, {axis: names[0][axis] for axis in AXES if axis not in shown}),
      *_explained(list(tasks.task), target, bool(reached)),
    ],
    tables=tables,
    figures=pd.DataFrame(
      [
        outcome.figure(task, measure, target, reached.get(outcome.point.line))
        for outcome in outcomes
        for task, measure in (measures or {None: None}).items()
      ]
    ),
  )


@dataclasses.dataclass(frozen=True)
class _Outcome:
  """A point, and how fast its runs got to the target, if there is one."""

  point: Point
  speed: Speed | None

  def state(self) -> list[Entry]:
    """How its runs ended: runs, diverged, interval, micro-diverged."""
    point, hint = self.point, self.point.commands
    if not point.finished:
      return [Entry(point.progress, "remark", hint), *[Entry(NOTHING)] * 3]
    count = point.count
    low, high = divergence_ratio(count.diverged, count.finished).ci95
    return [
      *(
        Entry(f"{count.finished} of {point.wanted}", hint=hint),
        Entry(f"{count.diverged} of {count.finished}"),
      ),
      *(Entry(f"{low:.0%} … {high:.0%}"), Entry(str(self.micro_diverged))),
    ]

  @property
  def micro_diverged(self) -> int:
    """How many runs."""
    return int((self.point.runs.drop_duplicates("trial").status == "micro_diverged").sum())

  def spread(self, task: str | None) -> tuple[float, float, str]:
    """Mean and deviation over the survivors, or NaN and why there is none."""
    survivors = self.point.survivors
    values = survivors.value[survivors.task == task]
    if not self.point.finished:
      return math.nan, math.nan, NOTHING
    if survivors.empty:
      return math.nan, math.nan, "all diverged"
    if values.empty:  # an ablation has no such task
      return math.nan, math.nan, NOTHING
    if not values.map(math.isfinite).all():
      return math.nan, math.nan, "not finite"
    mean, deviation, _ = spread(values)
    return mean, deviation, ""

  def entry(self, task: str, measure: str) -> Entry:
    """Mean ± standard deviation, or why there is none."""
    mean, deviation, remark = self.spread(task)
    if remark:
      return Entry(remark, "plain" if remark == NOTHING else "remark")
    text = MEASURES[measure].text
    several = "" if math.isnan(deviation) else f" ± {text(deviation)}"
    of_whom = " of the survivors" if self.point.count.diverged else ""
    return Entry(text(mean) + several + of_whom)

  def to_target(self) -> list[Entry]:
    """Steps and seconds."""
    if not self.point.finished or self.speed is None:
      return [Entry(NOTHING)] * 2
    if math.isinf(self.speed.steps):
      return [Entry("never", "remark")] * 2
    return [
      Entry(NOTHING if math.isnan(value) else f"{value:.1f}".removesuffix(".0"))
      for value in self.speed
    ]

  def figure(
    self, task: str | None, measure: str | None, target: float | None, edge: Edge | None
  ) -> dict[str, Any]:
    """All of it, to the last digit."""
    point, count = self.point, self.point.count
    ratio = None
    if point.finished:
      ratio = divergence_ratio(count.diverged, count.finished)
    mean, deviation, _ = self.spread(task)
    fast = self.speed if self.speed is not None and point.finished else Speed(math.nan, math.nan)
    return {
      **dict(zip(LINE, point.line, strict=True)),
      **{"learning_rate": point.base, "learning_rate_multiplier": point.multiplier},
      "runs": point.wanted,
      **{"finished": count.finished, "diverged": count.diverged},
      "ratio": ratio.value if ratio else math.nan,
      "ci95_low": ratio.ci95[0] if ratio else math.nan,
      "ci95_high": ratio.ci95[1] if ratio else math.nan,
      **{"micro_diverged": self.micro_diverged, "task": task, "measure": measure},
      **{"mean": mean, "deviation": deviation},
      "survivors": count.finished - count.diverged,
      "target_auc": math.nan if target is None else target,
      **{"steps_to_target": fast.steps, "seconds_to_target": fast.seconds},
      "edge": edge.survived if edge and edge.survived is not None else math.nan,
      "commands": point.commands,
    }


def _names(point: Point) -> dict[str, str]:
  """What a row is called, by axis."""
  times = f"{point.multiplier:g}x"
  rate = times if math.isnan(point.rate) else f"{point.rate:g}"
  if point.multiplier != 1 and rate != times:
    rate += f" ({times})"
  return dict(zip(AXES, (*point.line, rate), strict=True))


def _ended(sweep: Sweep, rows: pd.DataFrame) -> str:
  each = rows.drop_duplicates("trial")
  days, minutes = ", ".join(dict.fromkeys(each.eval_day.dropna())), each.seconds.sum() / 60
  return (
    f"{Path(sweep.data).stem} at {sweep.scale} scale{f', day N = {days}' if days else ''}. "
    f"{Count.of(rows).finished} of {len(each)} runs finished, {minutes:.0f} minutes of training, "
    f"added up over runs{commits(rows)}."
  )


def _constants(sweep: Sweep, same: dict[str, str]) -> list[str]:
  said = [
    f"{axis} {text}"
    for axis, text in same.items()
    if (axis, text) not in (("thresholds", "default"), ("ablation", "none"))
  ]
  said += [f"seed{'s' * (len(sweep.seeds) > 1)} {', '.join(map(str, sweep.seeds))}"]
  said += [f"bindings {' '.join(sweep.bindings)}"] if sweep.bindings else []
  return [f"The same everywhere: {'; '.join(said)}."]


def _explained(tasks: list[str], target: float | None, edges: bool) -> list[str]:
  paragraphs = [
    "AUC and RMSE of day N are mean ± standard deviation over the seeds that survived; a diverged "
    'run is in no mean. "Of the survivors" says that some are missing, which flatters. The '
    "interval is Wilson's, of the share that diverges. A point has no figure before all its runs "
    "are finished."
  ]
  if target is not None:
    paragraphs.append(
      f"Steps to {MEASURES['auc'].text(target)}: how soon a run reaches this AUC (%) of the first "
      "binary task, the highest that at least half of naive's seeds reached at any evaluation, at "
      "naive's best setting. As exact as evaluations are frequent. Median over seeds; never: fewer "
      "than half got there, and a diverged run does not. Seconds are those steps at the run's own "
      "pace of training, evaluations left out."
    )
  if edges:
    paragraphs.append(
      "The highest rate survived is the last that all seeds survived before the first rate at "
      "which one was lost, among those tried. ≥ 0.2: none was lost, so the limit may be higher. "
      "Times naive's: of the same model and ablation; > 2x where naive was lost at every rate "
      "tried, so that its limit is below them."
    )
  return paragraphs
