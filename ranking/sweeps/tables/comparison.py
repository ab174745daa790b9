"""Every method against one of them as a document; pure but for the predictions of the runs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ranking.sweeps.places import Place
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Sweep
from ranking.sweeps.tables import outcomes, rendering
from ranking.sweeps.tables.contrasts import DAYS, contrasts
from ranking.sweeps.tables.document import (
  NOTHING,
  Document,
  Entry,
  Table,
  p_text,
  signed,
)
from ranking.sweeps.tables.table2 import headline
from ranking.tasks import MEASURES

HEADER = (
  "figure",
  "method",
  "difference",
  "95 % interval",
  "p",
  "p after Holm",
  "could have seen",
  "verdict",
)


def comparison(
  experiment: Sweep | Search, places: Sequence[Place], reference: str, table: pd.DataFrame
) -> Document:
  """What `contrasts` finds, with what the interval is about and what the design could have seen.

  With several evaluation days, the verdict is over all of them, and each day is in an appendix.

  Args:
    experiment: whose runs these are.
    places, reference, table: as of `contrasts`.

  Raises:
    SweepError: as `contrasts` does.
  """
  figures = contrasts(places, reference, table)
  over_days = figures.unit_name == DAYS
  several = over_days.groupby([figures.model, figures.setting]).transform("any")
  main = figures[over_days == several]  # a setting may have one day where another has seven
  about = ["model", "setting"] if any(place.setting for place in places) else ["model"]
  tables = [_table("Over all days" if several.any() else "On day N", main, about)]
  if several.any():
    of_days = figures[several & ~over_days]
    tables.append(_table("Day by day", of_days, [*about, "eval_day"], folded=True))
  repeated = [place for place in places if place.stage == "repeats"]
  groups = []
  for place in repeated:
    names = [place.at("model"), place.title]
    if "setting" in about:
      names.insert(1, place.setting)
    groups.append((names, place.rows))
  tables.append(outcomes.runs_table([*about, "method"], groups))
  trials = [trial for place in repeated for trial in place.trials]
  return Document(
    title=f"{experiment.name}: every method against {reference}",
    paragraphs=[
      outcomes.cost(table[table.trial.isin([trial.name for trial in trials])]),
      *rendering.paragraphs(
        "comparison.txt",
        reference=reference,
        seeds=sorted({trial.coordinates["seed"] for trial in trials}),
        search=experiment if isinstance(experiment, Search) else None,
        headline=headline(table),
        **_found(main),
      ),
    ],
    tables=tables,
    figures=figures.assign(experiment=experiment.name)[["experiment", *figures.columns]],
  )


def _found(figures: pd.DataFrame) -> dict[str, Any]:
  """What the text says of the rows that were tested: measures, units, and what could be seen."""
  tested = figures.dropna(subset=["p"])
  seen = []
  for (task, name), rows in tested.groupby(["task", "measure"], sort=False):
    measure = MEASURES[name]
    low, high = (measure.text(each) for each in (rows.detectable.min(), rows.detectable.max()))
    seen.append({"task": task, "measure": measure, "low": low, "high": high})
  return {
    "measures": [MEASURES[name] for name in figures.measure.unique()],
    "units": {
      name: (f"{units.min():,}", f"{units.max():,}")
      for name, units in tested.groupby("unit_name", sort=False).units
    },
    "seen": seen,
  }


def _table(
  caption: str, figures: pd.DataFrame, about: Sequence[str], folded: bool = False
) -> Table:
  rows = [
    [*(Entry(figure[name]) for name in about), *_entries(figure)]
    for figure in figures.to_dict("records")
  ]
  names = [name.replace("eval_day", "day N") for name in about]
  return Table(caption, [*names, *HEADER], rows, folded)


def _entries(figure: Mapping[Any, Any]) -> list[Entry]:
  """A row of HEADER, of one figure."""
  measure = MEASURES[figure["measure"]]
  names = [Entry(f"{figure['task']} {measure.heading}"), Entry(figure["method"])]
  if math.isnan(figure["difference"]):
    return [*names, outcomes.remark(figure), *[Entry(NOTHING)] * 5]
  difference, low, high = (
    signed(figure[name], figure["measure"]) for name in ("difference", "ci95_low", "ci95_high")
  )
  tested = not math.isnan(figure["p"])
  return [
    *names,
    Entry(difference, hint=figure["commands"]),
    Entry(f"{low} … {high}" if tested else NOTHING),
    Entry(p_text(figure["p"])),
    Entry(p_text(figure["p_holm"])),
    Entry(measure.text(figure["detectable"]) if tested else NOTHING),
    Entry(figure["outcome"]),
  ]
