"""Every method against one of them as a document; pure but for the predictions of the runs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ranking.sweeps.tables.arms import Arm
from ranking.sweeps.tables.contrasts import DAYS, USERS, contrasts
from ranking.sweeps.tables.document import NOTHING, Document, Entry, Table, p_text
from ranking.sweeps.tables.outcomes import cost, runs_table
from ranking.tasks import MEASURES

HEADER = ("figure", "method", "difference", "95 % interval", "p", "p after Holm")


def comparison(
  experiment: str,
  arms: Sequence[Arm],
  reference: str,
  table: pd.DataFrame,
  remarks: Sequence[str] = (),
) -> Document:
  """What `contrasts` finds, with what the interval is about and what the design could have seen.

  With several evaluation days, the verdict is over all of them, and each day is in an appendix.

  Args:
    experiment: its name.
    arms, reference, table: as of `contrasts`.
    remarks: paragraphs more.

  Raises:
    SweepError: as `contrasts` does.
  """
  figures = contrasts(arms, reference, table)
  over_days = figures.unit_name == DAYS
  several = over_days.groupby([figures.model, figures.setting]).transform("any")
  main = figures[over_days == several]  # a setting may have one day where another has seven
  about = ["model", *(["setting"] if any(arm.setting for arm in arms) else [])]
  tables = [_table("Over all days" if several.any() else "On day N", main, about)]
  if several.any():
    of_days = figures[several & ~over_days]
    tables.append(_table("Day by day", of_days, [*about, "eval_day"], folded=True))
  groups = [
    ([getattr(arm, name) for name in [*about, "method"]], table[table.trial.isin(names)])
    for arm in arms
    for names in [arm.runs.values()]
  ]
  of_arms = table[table.trial.isin([name for arm in arms for name in arm.runs.values()])]
  seeds = sorted({seed for arm in arms for _, seed in arm.runs})
  return Document(
    title=f"{experiment}: every method against {reference}",
    paragraphs=[cost(of_arms), *_about(reference, main, seeds), *remarks],
    tables=[*tables, runs_table([*about, "method"], groups)],
    figures=figures.assign(experiment=experiment)[["experiment", *figures.columns]],
  )


def _table(
  caption: str, figures: pd.DataFrame, about: Sequence[str], folded: bool = False
) -> Table:
  rows = [
    [*(Entry(figure[name]) for name in about), *_entries(figure)]
    for figure in figures.to_dict("records")
  ]
  names = [name.replace("eval_day", "day N") for name in about]
  return Table(caption, [*names, *HEADER, "could have seen", "verdict"], rows, folded)


def _entries(figure: Mapping[Any, Any]) -> list[Entry]:
  """A row of HEADER, of one figure."""
  measure, hint = MEASURES[figure["measure"]], figure["commands"]
  names = [Entry(f"{figure['task']} {measure.heading}"), Entry(figure["method"])]
  if math.isnan(figure["difference"]):
    return [*names, Entry(figure["outcome"], "remark", hint), *[Entry(NOTHING)] * 5]
  low, high = (_signed(figure["measure"], figure[name]) for name in ("ci95_low", "ci95_high"))
  return [
    *names,
    Entry(_signed(figure["measure"], figure["difference"]), hint=hint),
    Entry(NOTHING if math.isnan(figure["p"]) else f"{low} … {high}"),
    *(Entry(p_text(p)) for p in (figure["p"], figure["p_holm"])),
    Entry(NOTHING if math.isnan(figure["p"]) else measure.text(figure["detectable"])),
    Entry(figure["outcome"]),
  ]


def _signed(measure: str, difference: float) -> str:
  text = MEASURES[measure].text(abs(difference))
  sign = "−" if difference < 0 else "+"
  return f"{sign}{text}" if float(text) else text


def _about(reference: str, figures: pd.DataFrame, seeds: Sequence[int]) -> list[str]:
  """What the differences are, what chance their intervals are about, and what they could show."""
  tested = figures.dropna(subset=["p"])
  paragraphs = [
    f"Each difference is a method minus {reference}, runs of the same seed on the same rows: a "
    "better method has a positive one of AUC and a negative one of RMSE. Better and worse are said "
    "where p is at most 0.05 after Holm's correction over the methods of a model and figure. No "
    "difference seen does not say that there is none: what could have been seen is the true "
    "difference that this verdict finds 80 times in 100 (some 70 where it rests on two or three "
    "seeds), even if no other method differs.",
    "A method with a diverged run has no difference and is not tested: the mean of its other runs "
    "would flatter the method that loses most runs. One that waits for runs counts in the "
    "correction.",
  ]
  if tested.empty:
    return paragraphs
  of_seeds = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
  firsts = tested.drop_duplicates("unit_name")
  chances = [
    _chance(name, f"{units:,.0f}", of_seeds)
    for name, units in zip(firsts.unit_name, firsts.units, strict=True)
  ]
  seen = [
    f"{_range(measure, rows.detectable)}{_plural(measure)} of {task} {MEASURES[measure].title}"
    for (task, measure), rows in tested.groupby(["task", "measure"], sort=False)
  ]
  could = f"This design could have seen differences of {' and '.join(seen)}."
  return [*paragraphs, *chances, could]


def _chance(unit: str, units: str, of_seeds: str) -> str:
  """What a difference's interval is about, where this is what counts as independent."""
  if unit == DAYS:
    return (
      f"The unit is the evaluation day: {units} in turn, each the day after its training days, "
      f"with {of_seeds} averaged on each. The interval is about the chance of days, by Student's "
      "paired t. What all days of this log have in common is not in it, and days count as "
      "independent although they share training days."
    )
  if unit == USERS:
    return (
      f"The unit is the user: {units} on day N. The interval is about the chance of users, by "
      "DeLong's test summed by user for AUC and a bootstrap of users for RMSE. With one seed it "
      "says nothing of the chance of seeds, nor of other days."
    )
  return (
    f"The units are users, {units} on day N, and {of_seeds}, over which the difference is "
    "averaged. The interval is about the chance of both, by the test of Obuchowski and Rockette "
    "(1995) for several readers of the same cases: the variance of the seeds, and what users do "
    "to all of them alike, by DeLong's components summed by user for AUC and a bootstrap of "
    "users for RMSE. It says nothing of other days."
  )


def _range(measure: str, values: pd.Series) -> str:
  low, high = (MEASURES[measure].text(value) for value in (values.min(), values.max()))
  return low if low == high else f"{low} to {high}"


def _plural(measure: str) -> str:
  name = MEASURES[measure].plural
  return f" {name}" if name else ""
