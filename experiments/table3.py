"""The paper's Table 3 as a document; pure: the same runs give the same one."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ranking.measures.ratios import Ratio, divergence_ratio, fisher_test
from ranking.measures.significance import LEVEL, holm
from ranking.sweeps.sweep import Sweep, SweepError
from ranking.sweeps.tables.document import NOTHING, Document, Entry, Table, p_text
from ranking.sweeps.tables.outcomes import Count, commands, cost, runs_table


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
    name: divergence_ratio(count.diverged, count.finished)
    for name, count in ((name, Count.of(each)) for name, each in runs.items())
    if count.finished == len(sweep.seeds)
  }
  baseline = ratios.get(clean)
  p = {
    name: fisher_test(baseline, ratio)
    for name, ratio in ratios.items()
    if baseline and name != clean
  }
  # An ablation that is not finished is still one of the comparisons.
  waiting = [1.0] * (len(runs) - 1 - len(p))
  adjusted = dict(zip(p, holm([*p.values(), *waiting]), strict=False))
  figures = [
    {
      "ablation": name,
      "bindings": " ".join(sweep.ablations[name]),
      **Count.of(each)._asdict(),
      "runs": len(sweep.seeds),
      "ratio": ratios[name].value if name in ratios else math.nan,
      "ci95_low": ratios[name].ci95[0] if name in ratios else math.nan,
      "ci95_high": ratios[name].ci95[1] if name in ratios else math.nan,
      "p": p.get(name, math.nan),
      "p_holm": adjusted.get(name, math.nan),
      "commands": commands(each),
    }
    for name, each in runs.items()
  ]
  header = ["change", "diverged", "runs", "ratio", "95 % interval", "p", "p after Holm"]
  return Document(
    title="Table 3: what makes training diverge less often",
    paragraphs=_about_table3(sweep, baseline, table[table.trial.isin([t.name for t in trials])]),
    tables=[
      Table("Divergence ratio", header, [_row_of_table3(figure) for figure in figures]),
      runs_table(["change"], [([name], each) for name, each in runs.items()]),
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


def _row_of_table3(figure: Mapping[str, Any]) -> list[Entry]:
  name, hint = Entry(figure["ablation"].replace("_", " ")), figure["commands"]
  if math.isnan(figure["ratio"]):
    state = Entry(f"{figure['finished']} of {figure['runs']} runs", "remark", hint)
    return [name, state, *[Entry(NOTHING)] * 5]
  low, high = figure["ci95_low"], figure["ci95_high"]
  return [
    *(name, Entry(str(figure["diverged"]), hint=hint), Entry(str(figure["runs"]))),
    *(Entry(f"{figure['ratio']:.0%}"), Entry(f"{low:.0%} … {high:.0%}")),
    *(Entry(p_text(p)) for p in (figure["p"], figure["p_holm"])),
  ]


def _about_table3(sweep: Sweep, baseline: Ratio | None, table: pd.DataFrame) -> list[str]:
  paragraphs = [
    cost(table),
    f"{sweep.models[0]} at {sweep.scale} scale, {len(sweep.seeds)} seeds for each change. The "
    "interval is Wilson's. p: Fisher's exact test against the unchanged model, two-sided; after "
    "Holm's correction, values up to 0.05 are differences to believe.",
  ]
  if baseline is not None:
    comparisons, runs = len(sweep.ablations) - 1, len(sweep.seeds)
    told = [
      diverged
      for diverged in range(baseline.diverged)
      if comparisons * fisher_test(baseline, divergence_ratio(diverged, runs)) <= LEVEL
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
