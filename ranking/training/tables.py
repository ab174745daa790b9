"""What is printed of a run before step 1 and after the last: its variables, and its figures."""

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from ranking import one_device
from ranking.models.network import Network
from ranking.stability.monitor import DivergenceMonitor
from ranking.tasks import KINDS
from ranking.training.run import Run
from ranking.training.state import State

Metrics = Mapping[str, Mapping[str, Any]]  # of result.json, by task
ONE_FOR = {"layer": "each variable", "global": "all that are clipped"}
COLUMNS = (
  "task",
  "measure",
  "value",
  "95 % interval",
  "rows",
  "positives",
  "relative loss",
  "calibration",
)
BINARY_COLUMNS = (
  "task",
  "AUC within users",
  "95 % interval",
  "users",
  "normalised entropy",
  "calibration of tenths",
)
REQUEST_COLUMNS = ("task", "NDCG of requests", "95 % interval", "requests")


def show_variables(run: Run) -> None:
  """Prints the parameter table, and which variable gets which rule."""
  network, rule = run.network, run.optimizer

  def treated_by(variable: tf.Variable) -> str:
    treated = rule.treatment(variable)
    own = [str(treated.direction)] if treated.direction != rule.direction else []
    own += [f"rate × {treated.rate:g}"] if treated.rate != 1 else []
    clip = type(treated.clip).__name__ if treated.is_clipped else "direction alone"
    return ", ".join([clip, *own])

  counts = network.parameter_counts()
  rows: list[tuple[str, str, int, str]] = [
    (network.short_name(v), " × ".join(map(str, v.shape)), math.prod(v.shape), treated_by(v))
    for v in network.trainable_variables
    if not network.is_embedding(v)
  ]
  tables = [v for v in network.trainable_variables if network.is_embedding(v)]
  of_tables = ", ".join(dict.fromkeys(map(treated_by, tables)))
  rows.append((_said_of_tables(network, tables), "", counts["embedding"], of_tables))
  rows.append(("all but embeddings", "", counts["non_embedding"], ""))
  title = (
    f"Input width {network.input_width}. {rule.direction} of the {rule.accumulate} gradient, "
    f"times the clipping factor of {rule.clip}, one for {ONE_FOR[rule.scope]}"
  )
  run.console.table(title, ("variable", "shape", "parameters", "rule"), rows)
  _warn_of_no_split(run, tables)


def _warn_of_no_split(run: Run, tables: Sequence[tf.Variable]) -> None:
  """Says so where tables were to be split and none is large enough for it."""
  split = run.settings.training.model.inputs.split
  if split is not None and all(variable.name.endswith("embeddings:0") for variable in tables):
    run.console.say(
      "warning: Inputs.split is set, and no table is split: the largest has "
      f"{max(variable.shape[0] for variable in tables):,} rows, and Split.from_rows is "
      f"{split.from_rows:,}"
    )


def _said_of_tables(network: Network, variables: Sequence[tf.Variable]) -> str:
  """How many tables these variables are, and of how many features; which are split over devices."""
  parts = collections.Counter(network.short_name(v).rpartition("/")[0] for v in variables)
  joined = f" of {network.embedding_count} features" * (len(parts) < network.embedding_count)
  split = sum(count > 1 for count in parts.values())
  places = len({one_device.device_of(variable) for variable in variables} - {None}) or 1
  of_split = f", {split} split over {places} device{'s' * (places > 1)}" * bool(split)
  return f"{len(parts)} embedding tables{joined}{of_split}"


def show_figures(run: Run, state: State, figures: Mapping[str, Any]) -> None:
  """Prints the figures of day N, after those of each value of the log's `report_by` column."""
  day, schema = run.store.eval_day.name, run.store.schema
  for column, by_value in figures["metrics_by"].items():
    title = f"{schema.tasks[0].name} by {column}"
    rows = [[value, *evaluation_rows(of)[0][1:]] for value, of in by_value.items()]
    run.console.table(title, (column, *COLUMNS[1:]), rows)
  title = f"Day N = {day} after {state.step:,} steps: {state.monitor.status}"
  if schema.weighted:
    title += "; figures by the weights of rows, which are counted as they are"
  verdicts = state.monitor.verdicts()
  rows = [
    [*row, verdicts[row[0]]["status"] if row[0] in verdicts else ""]
    for row in evaluation_rows(figures["metrics"])
  ]
  run.console.table(title, (*COLUMNS, "verdict"), rows)
  if binary := binary_rows(figures["metrics"]):
    run.console.table("Of binary tasks", BINARY_COLUMNS, binary)
    if schema.requests:
      run.console.table("Of requests", REQUEST_COLUMNS, request_rows(figures["metrics"]))
  for line in [*verdict_lines(state.monitor), *worse_than_constant(figures["metrics"])]:
    run.console.say(line)


def binary_rows(metrics: Metrics) -> list[list[Any]]:
  """Rows of the table of binary tasks, with BINARY_COLUMNS."""
  rows = []
  for task, entry in metrics.items():
    if entry.get("deciles"):
      entropy = entry["normalised_entropy"]
      ratios = [predicted / seen for _, predicted, seen in entry["deciles"] if seen]
      rows.append(
        [
          task,
          *_within(entry, "gauc", "users"),
          "n/a" if entropy is None else f"{entropy:.4f}",
          f"{min(ratios):.2f} … {max(ratios):.2f}" if ratios else "n/a",
        ]
      )
  return rows


def request_rows(metrics: Metrics) -> list[list[Any]]:
  """Rows of the table of binary tasks of a log that has requests, with REQUEST_COLUMNS."""
  binary = {task: entry for task, entry in metrics.items() if entry.get("deciles")}
  return [[task, *_within(entry, "ndcg", "requests")] for task, entry in binary.items()]


def _within(entry: Mapping[str, Any], measure: str, of: str) -> list[Any]:
  """Three cells: the mean over users or requests, its interval, and how many there are."""
  value, interval = entry[measure], entry[f"{measure}_ci95"]
  return [
    "n/a" if value is None else f"{value:.4f}",
    "" if interval is None else f"{interval[0]:.4f} … {interval[1]:.4f}",
    entry[f"{measure}_{of}"],
  ]


def verdict_lines(monitor: DivergenceMonitor) -> list[str]:
  """Why the run, and each task, is not ok: a line each."""
  lines = []
  if monitor.reason:
    where = f" at step {monitor.diverged_at_step}" if monitor.status == "diverged" else ""
    lines.append(f"{monitor.status}{where}: {monitor.reason}")
  for task, verdict in monitor.verdicts().items():
    if verdict["status"] != "ok":
      where = f" at step {verdict['step']}" if verdict["status"] == "diverged" else ""
      lines.append(f"  {task} {verdict['status']}{where}: {verdict['reason']}")
  return lines


def worse_than_constant(metrics: Metrics) -> list[str]:
  """A warning for each task that predicts day N surely worse than a constant would."""
  return [
    f"warning: task {task} predicts day N worse than a constant: its loss is "
    f"{entry['relative_loss']:.3g} times that of the best constant of the training days, 95 % "
    f"interval {low:.3g} … {high:.3g}; either training has hurt it, or its labels changed that day"
    for task, entry in metrics.items()
    for low, high in [entry["relative_loss_ci95"] or (0.0, 0.0)]
    if low > 1
  ]


def evaluation_line(step: int, day: str, metrics: Metrics) -> str:
  """One evaluation in one line."""
  parts = []
  for task, entry in metrics.items():
    measure = KINDS[entry["kind"]].measure
    value = entry[measure.name]
    parts.append(f"{task} {measure.title} {'n/a' if value is None else f'{value:.4f}'}")
  return f"step {step}, day N ({day}): " + ", ".join(parts)


def evaluation_rows(metrics: Metrics) -> list[list[Any]]:
  """Rows of the table of figures, a task each, with COLUMNS."""
  rows = []
  for task, entry in metrics.items():
    measure = KINDS[entry["kind"]].measure
    value, interval = entry[measure.name], entry["ci95"]
    none = f"{entry['nonfinite']:,} not finite" if entry["nonfinite"] else "n/a"
    rows.append(
      [
        task,
        measure.title,
        none if value is None else f"{value:.4f}",
        "" if interval is None else f"{interval[0]:.4f} … {interval[1]:.4f}",
        entry["rows"],
        f"{entry['positives']:,}" if entry.get("positives") is not None else "",
        "n/a" if entry["relative_loss"] is None else f"{entry['relative_loss']:.3f}",
        "n/a" if entry["calibration"] is None else f"{entry['calibration']:.3f}",
      ]
    )
  return rows
