"""The runs of sweeps as one tidy table, a row per run and task, for pandas to group and pivot.

    table = pd.read_parquet("runs/lr_multipliers/table.parquet")
    clicks = table[table.task == "click"]
    clicks.pivot_table("value", ["method", "thresholds"], "learning_rate_multiplier")
    table.drop_duplicates(["sweep", "trial"])  # a row per run

A run that failed, or is not finished, has one row without a task. The columns are COLUMNS, and one
for each setting that some method searches, such as "GradientClipping.threshold", empty elsewhere.
Figures are those of result.json, exactly; one that is not finite is NaN or ±inf.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ranking.files import atomically, unsealed, write_atomically
from ranking.run_directory import RESULT, read_result
from ranking.sweeps.sweep import SweepError, settings
from ranking.sweeps.trial_file import read_trial
from ranking.tasks import KINDS, WITHIN

COLUMNS = {
  "sweep": "string",
  "trial": "string",
  "model": "string",
  "method": "string",
  "thresholds": "string",  # the method's point in its grid as text; "default" if it has no grid
  "ablation": "string",
  "days_left_out": "Int64",  # at the log's end, so that an earlier day is evaluated
  "learning_rate": "float64",
  "learning_rate_multiplier": "float64",
  "seed": "Int64",
  "dataset": "string",
  "scale": "string",
  "eval_day": "string",
  "window_hours": "float64",
  "batch_size": "Int64",
  "status": "string",  # as in result.json, or "failed", or "unfinished"
  "reason": "string",  # of a status other than ok
  "diverged_at_step": "Int64",
  "recovered_at_step": "Int64",  # of a diverged run that learned again
  "micro_divergences": "Int64",  # how many
  "skipped_steps": "Int64",
  "steps": "Int64",
  "seconds": "float64",
  "examples_per_second": "float64",
  "task": "string",
  "verdict": "string",  # of the task: its status, at its step, and why
  "kind": "string",
  "measure": "string",  # one of MEASURES, which `value` and its interval are
  "value": "float64",
  "ci95_low": "float64",
  "ci95_high": "float64",
  "rows": "Int64",
  "positives": "Int64",
  "logloss": "float64",
  "relative_loss": "float64",
  "calibration": "float64",
  "normalised_entropy": "float64",  # of binary tasks, as are the next six
  "gauc": "float64",  # the AUC within users
  "gauc_low": "float64",
  "gauc_high": "float64",
  "ndcg": "float64",  # of requests, where the log has them
  "ndcg_low": "float64",
  "ndcg_high": "float64",
  "nonfinite": "Int64",
  "error": "string",  # of a failed run
  "run": "string",
  "git_commit": "string",
  "command": "string",
}
OF_TASK = ("kind", "rows", "positives", "logloss", "relative_loss", "calibration", "nonfinite")
OF_BINARY = ("normalised_entropy", *WITHIN)
SURVIVED = ("ok", "micro_diverged", "learned_nothing")
FINISHED = (*SURVIVED, "diverged")
NONE = pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)  # the table before any run


class Count(NamedTuple):
  """How many of some runs came to which end; a finished one may have diverged."""

  finished: int
  diverged: int
  micro_diverged: int
  failed: int

  @classmethod
  def of(cls, rows: pd.DataFrame) -> "Count":
    """Counts the runs of a table of `read`."""
    status = rows.drop_duplicates("trial").status
    return cls(
      finished=int(status.isin(FINISHED).sum()),
      diverged=int((status == "diverged").sum()),
      micro_diverged=int((status == "micro_diverged").sum()),
      failed=int((status == "failed").sum()),
    )


def read(roots: Sequence[Path]) -> pd.DataFrame:
  """The table of every run below some folders of sweeps, such as runs/lr_multipliers.

  A trial that several folders hold (its shards were copied) counts once: finished before failed
  before unfinished, then the folder named first.

  Raises SweepError if a folder has no run of a sweep, or a file in it cannot be read.
  """
  runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
  rank = {"failed": 1, "unfinished": 2}
  for root in roots:
    directories = sorted(path.parent for path in root.glob("*/trial.json"))
    if not directories:
      raise SweepError(f"{root} holds no run of a sweep (no */trial.json); run its sweep first")
    for directory in directories:
      try:
        rows = list(_rows(directory))
      except (OSError, ValueError, KeyError, TypeError) as error:
        raise SweepError(f"{directory} cannot be read ({type(error).__name__}: {error})") from error
      key = (rows[0]["sweep"], rows[0]["trial"])
      if key not in runs or rank.get(rows[0]["status"], 0) < rank.get(runs[key][0]["status"], 0):
        runs[key] = rows
  table = pd.DataFrame([row for key in sorted(runs) for row in runs[key]])
  searched = sorted(set(table.columns) - set(COLUMNS))
  # What is not finite is text in result.json, "nan" or "inf", which astype makes a float again.
  table = table.reindex(columns=[*COLUMNS, *searched]).astype(COLUMNS)
  for setting in searched:  # Parquet has one type per column
    values = table[setting].dropna()
    if not all(isinstance(value, (int, float)) for value in values):
      table[setting] = table[setting].map(str, na_action="ignore").astype("string")
  return table


def write(table: pd.DataFrame, stem: Path) -> list[Path]:
  """Writes <stem>.csv and <stem>.parquet, each whole or not at all; returns their paths."""
  stem.parent.mkdir(parents=True, exist_ok=True)
  csv, parquet = stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.parquet")
  write_atomically(csv, table.to_csv(index=False))
  with atomically(parquet) as partial:
    table.to_parquet(partial, index=False)
  return [csv, parquet]


def summary(table: pd.DataFrame) -> str:
  """How many runs have which status, in words."""
  counts = table.drop_duplicates(["sweep", "trial"]).status.value_counts(sort=False)
  return ", ".join(f"{count} {status}" for status, count in counts.items())


def tasks(rows: pd.DataFrame) -> dict[str, str]:
  """Measure of each task, in the order of the log; the first is the headline task.

  The order is that of the run with the most tasks, as an ablation may leave some out.
  """
  known = rows.dropna(subset=["task"])
  most = known.groupby("trial").task.transform("nunique")
  each = known.loc[most.sort_values(ascending=False, kind="stable").index].drop_duplicates("task")
  return dict(zip(each.task, each.measure, strict=True))


def within(rows: pd.DataFrame) -> list[tuple[str, str]]:
  """Task and measure of all that some runs have of WITHIN, in the order of the log."""
  return [
    (task, measure)
    for task in tasks(rows)
    for measure in WITHIN
    if measure in rows and rows[rows.task == task][measure].notna().any()
  ]


def column_of(measure: str | None) -> str:
  """The column that holds a measure."""
  return measure if measure in WITHIN else "value"


def first_of_each_measure(tasks: Mapping[str, str]) -> list[str]:
  """The tasks that stand for all, of `tasks`: the first of each measure."""
  first: dict[str, str] = {}
  for task, measure in tasks.items():
    first.setdefault(measure, task)
  return list(first.values())


def _rows(directory: Path) -> Iterator[dict[str, Any]]:
  """A row per task of one run, or one without a task."""
  trial = read_trial(directory)
  coordinates, thresholds = trial["coordinates"], trial["thresholds"]
  run = {
    **coordinates,
    "trial": trial["trial"],
    "thresholds": settings(thresholds),
    "dataset": Path(trial["data"]).stem,
    "scale": trial["scale"],
    "run": str(directory),
    "command": trial["command"],
    **thresholds,
  }
  if (directory / RESULT).is_file():
    result = read_result(directory)
    # The sweep says where a run is in the grid, but for a rate that it leaves open.
    own = [name for name in COLUMNS if name in result and name not in coordinates]
    run |= {name: result[name] for name in (*own, "status", "learning_rate")}
    run["micro_divergences"] = len(result["micro_divergences"])
    verdicts = result.get("verdicts", {})  # earlier versions judged the whole alone
    figures = [
      {"task": task, "verdict": _verdict(verdicts.get(task)), **_figures(entry)}
      for task, entry in result["metrics"].items()
    ]
    yield from ({**run, **each} for each in figures or [{}])
  elif (directory / "failed.json").is_file():
    yield {**run, "status": "failed", "error": _failure(directory)}
  else:
    yield {**run, "status": "unfinished"}


def _verdict(verdict: Mapping[str, Any] | None) -> str | None:
  """A task's verdict in a line."""
  if verdict is None:
    return None
  if verdict["reason"] is None:
    return str(verdict["status"])
  step = "" if verdict["step"] is None else f" at step {verdict['step']}"
  return f"{verdict['status']}{step}: {verdict['reason']}"


def _figures(entry: Mapping[str, Any]) -> dict[str, Any]:
  measure = KINDS[entry["kind"]].measure.name
  low, high = entry["ci95"] or (None, None)
  within = {}
  for name in WITHIN:
    within[f"{name}_low"], within[f"{name}_high"] = entry.get(f"{name}_ci95") or (None, None)
  return {
    **{name: entry.get(name) for name in (*OF_TASK, *OF_BINARY)},
    "measure": measure,
    "value": entry[measure],
    "ci95_low": low,
    "ci95_high": high,
    **within,
  }


def _failure(directory: Path) -> str:
  """How a run failed; a file of an earlier version has no CRC of itself."""
  text = (directory / "failed.json").read_text()
  failed = json.loads(text)
  return str((failed if set(failed) == {"error", "exit_code"} else unsealed(text))["error"])
