"""The paper's Tables 2 and 3 as documents: from the table of all runs to entries to be printed.

Pure: the same runs give the same document. rendering.py writes it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from ranking.experiments import statistics
from ranking.experiments.search import FINISHED, SURVIVED, Candidate, Cell, Search, choose
from ranking.experiments.statistics import Ratio
from ranking.experiments.sweep import Sweep, SweepError

LEVEL = 0.05  # of the tests
NOTHING = "–"


class Measure(NamedTuple):
  """How a figure is printed, and what is best."""

  title: str
  unit: float
  digits: int
  sign: int  # of better

  def text(self, value: float) -> str:
    """Without its unit."""
    return f"{value / self.unit:.{self.digits}f}"


MEASURES = {"auc": Measure("AUC (%) ↑", 0.01, 2, 1), "rmse": Measure("RMSE ↓", 1.0, 3, -1)}


@dataclasses.dataclass(frozen=True)
class Entry:
  """What one place of a table says.

  Attributes:
    text: one line.
    style: "best" is underlined, a "remark" stands where there is no figure, "code" is a command.
    hint: the commands that made it, a line each, for a format that can show them.
  """

  text: str
  style: Literal["plain", "best", "remark", "code"] = "plain"
  hint: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
  """A caption, the names of the columns, and rows of as many entries; a long one is folded."""

  caption: str
  header: Sequence[str]
  rows: Sequence[Sequence[Entry]]
  folded: bool = False


@dataclasses.dataclass(frozen=True)
class Document:
  """A page.

  Attributes:
    title: of the page.
    paragraphs: what was done.
    tables: the one that it is about first, then its appendix.
    figures: those of the tables to the last digit, for a CSV file.
  """

  title: str
  paragraphs: Sequence[str]
  tables: Sequence[Table]
  figures: pd.DataFrame


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
    task: f"{task} {MEASURES[measure].title}"
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
      _runs_table(["model", "column"], repeats),
    ],
    figures=pd.DataFrame(figures),
  )


def table3(sweep: Sweep, table: pd.DataFrame) -> Document:
  """How often training diverges with each ablation, compared with none.

  A row has no figure before all its runs are finished: one may not stop where it looks best.

  Args:
    sweep: ablations, one of them without bindings, of one model with one method at one rate.
    table: of `results.read`; what is no part of the sweep is left out.

  Raises:
    SweepError: as `unchanged`.
  """
  trials, clean = sweep.trials(), unchanged(sweep)
  runs = {
    name: table[table.trial.isin([t.name for t in trials if t.coordinates["ablation"] == name])]
    for name in sorted(sweep.ablations, key=lambda name: name != clean)
  }
  ratios = {
    name: statistics.divergence_ratio(count.diverged, count.finished)
    for name, count in ((name, _Count.of(each)) for name, each in runs.items())
    if count.finished == len(sweep.seeds)
  }
  baseline = ratios.get(clean)
  p = {
    name: statistics.fisher_test(baseline, ratio).p
    for name, ratio in ratios.items()
    if baseline and name != clean
  }
  # An ablation that is not finished is still one of the comparisons.
  waiting = [1.0] * (len(runs) - 1 - len(p))
  holm = dict(zip(p, statistics.holm([*p.values(), *waiting]), strict=False))
  figures = [
    {
      "ablation": name,
      "bindings": " ".join(sweep.ablations[name]),
      **_Count.of(each)._asdict(),
      "runs": len(sweep.seeds),
      "ratio": ratios[name].value if name in ratios else math.nan,
      "ci95_low": ratios[name].ci95[0] if name in ratios else math.nan,
      "ci95_high": ratios[name].ci95[1] if name in ratios else math.nan,
      "p": p.get(name, math.nan),
      "p_holm": holm.get(name, math.nan),
      "commands": _commands(each),
    }
    for name, each in runs.items()
  ]
  header = ["change", "diverged", "runs", "ratio", "95 % interval", "p", "p after Holm"]
  return Document(
    title="Table 3: what makes training diverge less often",
    paragraphs=_about_table3(sweep, baseline, table[table.trial.isin([t.name for t in trials])]),
    tables=[
      Table("Divergence ratio", header, [_row_of_table3(figure) for figure in figures]),
      _runs_table(["change"], [([name], each) for name, each in runs.items()]),
    ],
    figures=pd.DataFrame(figures),
  )


def unchanged(sweep: Sweep) -> str:
  """The ablation that the others are compared with. Raises SweepError if this is no Table 3."""
  trials = sweep.trials()
  clean = [name for name, bindings in sweep.ablations.items() if not bindings]
  if len(clean) != 1 or len(trials) != len(sweep.ablations) * len(sweep.seeds):
    raise SweepError(
      f"{sweep.name}: Table 3 needs ablations, one of them without bindings, of one model with one "
      f"method at one rate; got {len(trials) // len(sweep.seeds)} settings, {len(clean)} of the "
      f"{len(sweep.ablations)} ablations without bindings"
    )
  return clean[0]


class _Count(NamedTuple):
  """How many of some runs have come to an end, and to which."""

  finished: int
  diverged: int

  @classmethod
  def of(cls, runs: pd.DataFrame) -> "_Count":
    status = runs.drop_duplicates("trial").status
    return cls(int(status.isin(FINISHED).sum()), int((status == "diverged").sum()))


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
    values, count = self.runs[self.runs.task == task].value, _Count.of(self.runs)
    mean = deviation = math.nan
    if self.chosen is None:
      outcome = f"{count.finished} of {self.wanted} runs of the search"
    elif count.finished < self.wanted:
      outcome = f"{count.finished} of {self.wanted} runs"
    elif count.diverged:
      outcome = f"diverged ({count.diverged} of {self.wanted})"
    elif not values.map(math.isfinite).all():
      outcome = "not finite"
    else:
      outcome = "ok"
      mean, deviation, _ = statistics.spread(values)
    trial = self.chosen.tried if self.chosen else None
    return {
      **{"model": self.cell.model, "column": self.cell.column},
      "method": trial.coordinates["method"] if trial else None,
      "thresholds": _settings(trial.thresholds) if trial else None,
      "learning_rate_multiplier": (
        trial.coordinates["learning_rate_multiplier"] if trial else math.nan
      ),
      **{"task": task, "measure": measure, "outcome": outcome},
      **{"mean": mean, "deviation": deviation},
      **{"runs": self.wanted, "commands": _commands(self.runs)},
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
    return measure.sign * float(measure.text(figure["mean"]))

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
        *(Entry(_settings(trial.thresholds)), Entry(f"{rate:g}x")),
        dataclasses.replace(shown, hint=str(runs.command.get(name, ""))),
        Entry(", ".join(takers)),
      ]
    )
  task = f" {first.task.iloc[0]}" if len(first) else ""
  header = ["model", "method", "thresholds", "rate", f"AUC{task} (%)", "repeated for"]
  return Table(f"The search, seed {search.search_seed}", header, rows, folded=True)


def _runs_table(about: list[str], groups: list[tuple[list[str], pd.DataFrame]]) -> Table:
  """The command of every run that a figure is of."""
  rows = [
    [
      *map(Entry, names),
      *(Entry(str(run["seed"])), Entry(run["status"]), Entry(run["command"], "code")),
    ]
    for names, runs in groups
    for run in runs.drop_duplicates("trial").to_dict("records")
  ]
  return Table("The runs", [*about, "seed", "status", "command"], rows, folded=True)


def _row_of_table3(figure: Mapping[str, Any]) -> list[Entry]:
  name, hint = Entry(figure["ablation"].replace("_", " ")), figure["commands"]
  if math.isnan(figure["ratio"]):
    state = Entry(f"{figure['finished']} of {figure['runs']} runs", "remark", hint)
    return [name, state, *[Entry(NOTHING)] * 5]
  low, high = figure["ci95_low"], figure["ci95_high"]
  return [
    *(name, Entry(str(figure["diverged"]), hint=hint), Entry(str(figure["runs"]))),
    *(Entry(f"{figure['ratio']:.0%}"), Entry(f"{low:.0%} … {high:.0%}")),
    *(Entry(NOTHING if math.isnan(p) else f"{p:.3f}") for p in (figure["p"], figure["p_holm"])),
  ]


def _about_table2(search: Search, outcomes: Sequence[_Outcome], table: pd.DataFrame) -> list[str]:
  tried = [trial.name for trial in search.trials()]
  repeated = [name for each in outcomes if each.chosen for name in each.runs.trial]
  sizes = ", ".join(
    f"{each.cell.column} {len(each.cell.candidates)}" for each in outcomes[: len(search.columns)]
  )
  seeds = ", ".join(map(str, search.seeds))
  return [
    _log(table[table.trial.isin([*tried, *repeated])]),
    f"Every threshold of a column's grid ran at every learning rate with seed {search.search_seed} "
    f"(settings on each model: {sizes}). The one with the best AUC of the first binary task on day "
    "N, among those that did not diverge, was run again with "
    f"seed{'s' * (len(search.seeds) > 1)} {seeds}: these runs are the figures, mean ± standard "
    "deviation over seeds. The choice is by day N itself, as in the paper, which flatters a column "
    "the more the larger its search.",
    "The best of a row is underlined, with all that print alike. Diverged (k of n): k of its n "
    "repeats did; one is enough: the mean of the others would flatter the method that loses most "
    f"runs. Where the best threshold and rate are {NOTHING}, no setting survived the search, "
    "and the first of the grid was repeated.",
  ]


def _about_table3(sweep: Sweep, baseline: Ratio | None, table: pd.DataFrame) -> list[str]:
  paragraphs = [
    _log(table),
    f"{sweep.models[0]} at {sweep.scale} scale, {len(sweep.seeds)} seeds for each change. The "
    "interval is Wilson's. p: Fisher's exact test against the unchanged model, two-sided; after "
    "Holm's correction, values up to 0.05 are differences to believe.",
  ]
  if baseline is not None:
    comparisons, runs = len(sweep.ablations) - 1, len(sweep.seeds)
    told = [
      diverged
      for diverged in range(baseline.diverged)
      if comparisons
      * statistics.fisher_test(baseline, statistics.divergence_ratio(diverged, runs)).p
      <= LEVEL
    ]
    paragraphs.append(
      f"What this design can see: with {baseline.diverged} of {baseline.runs} diverged unchanged, "
      + (
        f"the clearest of the {comparisons} is told apart from {max(told)} of {runs} downwards."
        if told
        else "no change that diverges less often can be told apart, however seldom it does."
      )
    )
  return paragraphs


def _log(runs: pd.DataFrame) -> str:
  """Where the figures come from, and what they cost."""
  each = runs.drop_duplicates("trial")
  finished = each[each.status.isin(FINISHED)]
  if finished.empty:
    return "No run is finished."
  one = finished.iloc[0]
  return (
    f"{one.dataset} at {one.scale} scale, day N = {one.eval_day}, 1x = {one.learning_rate:g}. "
    f"{len(finished)} runs, {finished.seconds.sum() / 60:.0f} minutes of training in all."
  )


def _settings(thresholds: Mapping[str, Any]) -> str:
  parts = [f"{name.rpartition('.')[2]}={value}" for name, value in thresholds.items()]
  return " ".join(parts) or "default"


def _commands(runs: pd.DataFrame) -> str:
  return "\n".join(runs.drop_duplicates("trial").command)
