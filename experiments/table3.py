"""Makes Table 3: runs a sweep of ablations, and says how often training diverges with each.

Writes table3.md, .html and .csv beside the runs, in runs/<name of the file>/; finished runs are
skipped.
"""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.templating import TEMPLATES
from ranking.commands import sweep as command
from ranking.measures.ratios import Ratio, divergence_ratio, fisher_test
from ranking.measures.significance import LEVEL, holm
from ranking.sweeps import execution, files
from ranking.sweeps.sweep import Sweep, SweepError
from ranking.sweeps.tables import outcomes, rendering
from ranking.sweeps.tables.document import NOTHING, Document, Entry, Table, p_text
from ranking.sweeps.tables.summary import summary

COLUMNS = "ablation bindings finished diverged runs ratio ci95_low ci95_high p p_holm commands"
HEADER = ("change", "diverged", "runs", "ratio", "95 % interval", "p", "p after Holm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `python -m experiments table3`."""
  command.add_arguments(parser)


def run(given: argparse.Namespace) -> int:
  """Runs what is not finished and writes the table; returns 1 if runs failed."""
  ablations = files.read(given.file, Sweep)
  unchanged(ablations)  # refuses what is no Table 3 before any run
  table, failures = execution.complete(ablations, given.raw, given.jobs, given.shard, given.engine)
  root = Path("runs", ablations.name)
  return execution.conclude(root, "table3", table3(ablations, table), table, failures)


def table3(sweep: Sweep, table: pd.DataFrame) -> Document:
  """How often training diverges with each ablation, compared with none.

  A row has no figure before all its runs are finished: one may not stop where it looks best.

  Args:
    sweep: ablations, one of them without bindings, of one model with one method at one rate.
    table: of `results.read`; what is no part of the sweep is left out.

  Raises:
    SweepError: as `unchanged`.
  """
  clean = unchanged(sweep)
  figures = summary(sweep, table).figures.drop_duplicates("ablation")
  figures = figures.sort_values("ablation", key=lambda name: name != clean, kind="stable")
  ratios = {
    row["ablation"]: divergence_ratio(row["diverged"], row["finished"])
    for row in figures[figures.finished == figures.runs].to_dict("records")
  }
  baseline = ratios.pop(clean, None)
  p = {name: fisher_test(baseline, ratio) for name, ratio in ratios.items()} if baseline else {}
  # An ablation that is not finished is still one of the comparisons.
  waiting = [1.0] * (len(sweep.ablations) - 1 - len(p))
  adjusted = dict(zip(p, holm([*p.values(), *waiting]), strict=False))
  figures = figures.assign(
    bindings=figures.ablation.map(sweep.ablations).str.join(" "),
    p=figures.ablation.map(p).astype(float),
    p_holm=figures.ablation.map(adjusted).astype(float),
  )[COLUMNS.split()]
  runs = table[table.trial.isin([trial.name for trial in sweep.trials()])]
  about = rendering.paragraphs(
    "table3.txt", TEMPLATES, sweep=sweep, baseline=baseline, told=_told(sweep, baseline)
  )
  return Document(
    title="Table 3: what makes training diverge less often",
    paragraphs=[outcomes.cost(runs), *about],
    tables=[
      Table("Divergence ratio", HEADER, [_row(figure) for figure in figures.to_dict("records")]),
      outcomes.runs_table(
        ["change"], [([name], runs[runs.ablation == name]) for name in figures.ablation]
      ),
    ],
    figures=figures,
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


def _row(figure: Mapping[str, Any]) -> list[Entry]:
  name, hint = Entry(figure["ablation"].replace("_", " ")), figure["commands"]
  if math.isnan(figure["ratio"]):
    state = Entry(f"{figure['finished']} of {figure['runs']} runs", "remark", hint)
    return [name, state, *[Entry(NOTHING)] * 5]
  return [
    name,
    Entry(str(figure["diverged"]), hint=hint),
    Entry(str(figure["runs"])),
    Entry(f"{figure['ratio']:.0%}"),
    Entry(f"{figure['ci95_low']:.0%} … {figure['ci95_high']:.0%}"),
    Entry(p_text(figure["p"])),
    Entry(p_text(figure["p_holm"])),
  ]


def _told(sweep: Sweep, baseline: Ratio | None) -> int | None:
  """The most runs that may diverge for a change to be told apart from none; None if no number."""
  if baseline is None:
    return None
  comparisons, runs = len(sweep.ablations) - 1, len(sweep.seeds)
  told = [
    diverged
    for diverged in range(baseline.diverged)
    if comparisons * fisher_test(baseline, divergence_ratio(diverged, runs)) <= LEVEL
  ]
  return max(told, default=None)
