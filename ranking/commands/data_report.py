"""Reports what a day store holds, day by day: python -m ranking.commands.data_report --store=folder

Writes report.md and its pictures to --out (by default the folder "report" of the store), and prints
the warnings. Exit code 2 if the store cannot be read.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib
from absl import app, flags

from ranking import quiet
from ranking.tasks import KINDS

matplotlib.use("Agg")
import matplotlib.pyplot as plt

with quiet.native_stderr():
  from ranking.data import report
  from ranking.data.report import Report
  from ranking.data.schema import DataError
  from ranking.data.store import DayStore

_STORE = flags.DEFINE_string("store", None, "Folder of a day store; prepare_data prints it last.")
_OUT = flags.DEFINE_string("out", None, 'Where to write; by default "report" in the store.')
BLUE, ORANGE = "#0072B2", "#D55E00"  # colour-blind safe


def main(_argv: list[str]) -> int:
  """Measures, draws and writes."""
  if not _STORE.value:
    print(
      "error: name a day store: --store=folder; make prepare prints its folder", file=sys.stderr
    )
    return 2
  directory = Path(_STORE.value)
  out = Path(_OUT.value) if _OUT.value else directory / "report"
  try:
    opened = DayStore(directory)
    measured = report.measure(opened.schema, [*opened.train_days, opened.eval_day])
    out.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for caption, name, draw in PICTURES:
      figure = draw(measured)
      figure.savefig(out / name, dpi=110)
      plt.close(figure)
      pictures[caption] = name
    (out / "report.md").write_text(report.to_markdown(opened.card, measured, pictures))
  except DataError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except OSError as error:
    print(f"error: {error.filename}: {error.strerror}; give --out a folder", file=sys.stderr)
    return 2
  for line in report.warnings(measured):
    print(f"warning: {line}")
  print(out / "report.md")
  return 0


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


if __name__ == "__main__":
  app.run(main)
