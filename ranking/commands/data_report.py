"""Says what a prepared log holds, day by day: positives, missing and unseen values, drift.

  ranking data-report --data=kuairand --raw=KuaiRand-Pure
  ranking data-report --store=data/store/kuairand/…

Takes what prepare takes, and prepares the log if need be; or the folder of a store. Writes
report.md and its pictures to --out, and prints the warnings.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib

from ranking.commands.run_arguments import add_run_arguments, read_log
from ranking.data import report
from ranking.data.prepare import prepare
from ranking.data.remark import unanswered
from ranking.data.report import Report
from ranking.data.store import DayStore
from ranking.errors import InputError
from ranking.tasks import KINDS
from ranking.training.console import Console

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BLUE, ORANGE = "#0072B2", "#D55E00"  # colour-blind safe


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of this command."""
  add_run_arguments(parser)
  parser.add_argument("--store", type=Path, help="folder of a day store, in place of a log")
  parser.add_argument("--out", type=Path, help='where to write; "report" in the store if not given')


def run(given: argparse.Namespace) -> int:
  """Measures, draws and writes."""
  if given.store and (given.config or given.model or given.method or given.raw or given.set):
    raise InputError("--store is a log that is prepared; leave out what says how to prepare one")
  opened = DayStore(given.store) if given.store else prepare_log(given)
  out = given.out or opened.directory / "report"
  measured = report.measure(opened.schema, [*opened.train_days, opened.eval_day])
  out.mkdir(parents=True, exist_ok=True)
  pictures = {}
  for caption, name, draw in PICTURES:
    figure = draw(measured)
    figure.savefig(out / name, dpi=110)
    plt.close(figure)
    pictures[caption] = name
  (out / "report.md").write_text(report.to_markdown(opened.card, measured, pictures))
  for line in unanswered(opened.card):
    print(f"warning: {line}")
  print(out / "report.md")
  return 0


def prepare_log(given: argparse.Namespace) -> DayStore:
  """The store of the log that the arguments say."""
  log = read_log(given)
  return prepare(
    log.source,
    log.store_directory,
    Console(),
    log.lookback,
    log.without_last_days,
    log.fair_share,
    log.engine,
    log.hashing,
  )


def _rows_and_labels(measured: Report) -> Any:
  """A panel of rows and one per task, over the days."""
  means = measured.labels["mean"].unstack("task")[measured.labels.index.unique("task")]
  panels_needed = 1 + means.shape[1]
  figure, panels = plt.subplots(
    panels_needed, 1, figsize=(8, 1.3 * panels_needed), sharex=True, layout="constrained"
  )
  names = list(measured.days.index)
  positions = range(len(names))
  panels[0].bar(positions, measured.days.rows, color=BLUE)
  panels[0].set_ylabel("rows")
  kinds = measured.labels.kind.groupby(level="task").first()
  for panel, (task, by_day) in zip(panels[1:], means.items(), strict=True):
    panel.plot(positions, by_day.loc[names], color=ORANGE, marker="o", markersize=3)
    panel.set_ylabel(
      f"{task}\n({'positives' if KINDS[kinds[task]].counts_positives else 'mean'})", fontsize=8
    )
    panel.axhline(0.0, color="black", linewidth=0.8)  # and so 0 is in sight
  panels[-1].set_xticks(positions, names, rotation=90)
  return figure


def _drift(measured: Report) -> Any:
  return _maps(
    measured,
    {
      "psi_reference": "against the first training days",
      "psi_day_before": "against the day before",
    },
    "PSI",
    2 * report.NOTABLE_PSI,
  )


def _shares(measured: Report) -> Any:
  return _maps(
    measured, {name: name for name in ("missing", "rare", "unseen")}, "share of rows", 1.0
  )


def _maps(measured: Report, columns: dict[str, str], what: str, darkest: float) -> Any:
  """A colour per feature and day, a panel per figure; grey where there is none."""
  tables = [report.by_day(measured, column) for column in columns]
  height = 1.5 + 0.17 * len(tables[0])
  figure, panels = plt.subplots(
    1, len(tables), figsize=(4 + 2.4 * len(tables), height), sharey=True, layout="constrained"
  )
  colours = matplotlib.colormaps["Blues"].with_extremes(bad="0.85")
  for panel, table, title in zip(panels, tables, columns.values(), strict=True):
    image = panel.imshow(
      table.to_numpy(float), cmap=colours, vmin=0, vmax=darkest, aspect="auto", interpolation="none"
    )
    panel.set_title(title, fontsize=9)
    panel.set_xticks(range(table.shape[1]), table.columns, rotation=90, fontsize=7)
    panel.set_yticks(range(len(table)), table.index, fontsize=7)
  extend = "max" if darkest < 1 else "neither"
  figure.colorbar(image, ax=panels, label=what, extend=extend, shrink=0.6)
  return figure


PICTURES = (
  (
    "Rows of each day, and the share of positives or mean of each label",
    "labels.png",
    _rows_and_labels,
  ),
  ("Drift of each feature, day by day", "drift.png", _drift),
  ("Missing, rare and unseen values, day by day", "shares.png", _shares),
)
