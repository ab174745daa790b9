"""What the first screen of the report says of a Table 2."""

import math
from collections.abc import Mapping, Sequence
from html import unescape
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments import templating
from experiments.report.verdict import OfModel, Verdict, verdict

Ends = Mapping[str, Sequence[float | str]]
LOST = ["diverged"] * 3
# Means 72.00 and 71.00 with standard deviations of 0.10 and 0.30.
ENDS: Ends = {"Naive": LOST, "GC": [71.9, 72, 72.1], "Clippy": [70.7, 71, 71.3]}


def row(model: str, column: str, ends: Sequence[float | str], wanted: int) -> dict[str, Any]:
  """A cell as table2.csv has it, of AUCs in percent."""
  aucs = [end / 100 for end in ends if not isinstance(end, str)]
  diverged = len(ends) - len(aucs)
  outcome = "waiting" if len(ends) < wanted else "diverged" if diverged else "ok"
  is_known = outcome == "ok"
  return {
    "model": model,
    "column": column,
    "method": column.partition(",")[0].lower(),
    "thresholds": column,
    "learning_rate_multiplier": 1.0,
    "task": "click",
    "measure": "auc",
    "stage": "repeats",
    "outcome": outcome,
    "finished": len(ends),
    "diverged": diverged,
    "runs": wanted,
    "mean": np.mean(aucs) if is_known else math.nan,
    "deviation": np.std(aucs, ddof=1) if is_known and len(aucs) > 1 else math.nan,
  }


def table(ends: Ends, models: Sequence[str] = ("small", "large_dcn"), wanted: int = 3):
  return pd.DataFrame(
    [row(model, column, of, wanted) for model in models for column, of in ends.items()]
  )


def runs(count: int = 18, eval_day: str = "2026-01-18", status: str = "ok", steps: int = 507):
  return pd.DataFrame(
    {
      "trial": [f"{eval_day}-{status}-{k}" for k in range(count)],
      "status": status,
      "task": "click",
      "dataset": "synthetic",
      "scale": "proxy",
      "eval_day": eval_day,
      "steps": steps,
      "batch_size": 512,
      "rows": 100,
      "ci95_low": 0.70,
      "ci95_high": 0.72,
    }
  )


def pair(method: str, reference: str, low: float, high: float, **more: Any) -> pd.DataFrame:
  """A row of comparison.csv for the small model; the interval in points."""
  figures = {
    "experiment": "table2_kuairand",
    "model": "small",
    "reference": reference,
    "method": method,
    "task": "click",
    "difference": (low + high) / 200,
    "ci95_low": low / 100,
    "ci95_high": high / 100,
    "p_holm": 0.01,
    "detectable": 0.0018,
    "units": 7123,
    "unit_name": "users and seeds",
    "seeds": 3,
  }
  return pd.DataFrame([{**figures, **more}])


def found(ends: Ends, comparison: pd.DataFrame | None = None, **more: Any) -> Verdict:
  said = verdict(table(ends, **more), runs(), comparison)
  assert said is not None
  return said


def words(said: Verdict) -> str:
  """The first screen as text, each element's on a line."""
  page = templating.render("verdict.html", verdict=said)
  for tag in ("dt", "dd", "h3", "p", "strong"):
    page = page.replace(f"</{tag}>", "\n")
  lines = (line.rpartition(">")[2].strip() for line in unescape(page).splitlines())
  return "\n".join(line.replace("\xa0", " ") for line in lines if line)


def small(said: Verdict) -> OfModel:
  return said.models[0]


def test_the_first_screen_says_what_was_compared_what_won_by_how_much_and_how_sure():
  text = words(found(ENDS))
  for sentence in (
    "3 methods on 2 models (Small, Large+DCN): 18 runs of about 260,000 rows of synthetic, at "
    "proxy scale (1/8 of the paper's widths). Judged by the AUC of click in percent (50 is chance) "
    "on the 100 rows of day N, 2026-01-18, the day after.\n",
    "GC and Clippy survived on every model. "
    "Naive diverged on Small (3 of 3 runs) and Large+DCN (3 of 3 runs).\n",
    "Highest AUC of click: GC on every model. It is a lead over all others on every model.\n",
    "Over 3 seeds, an AUC varies by 0.10 to 0.30 points (±). Methods were not compared in pairs: a "
    "lead is a gap wider than both ± and no more than that. Settings were chosen by these same "
    "rows, which flatters what was searched most.\n",
    "Small\nGC leads\n72.00\nGC, ± 0.10 over seeds\n−1.00\nrunner-up Clippy: behind, ± apart\n",
    "One AUC by itself is uncertain by ± 1.00 points (95 %)",
  ):
    assert sentence in f"{text}\n"


def test_a_search_on_an_earlier_day_is_no_part_of_what_the_verdict_is_judged_by():
  both = pd.concat([runs(7, eval_day="2026-01-15", steps=9999), runs()])
  said = verdict(table(ENDS), both)
  assert said is not None
  assert (said.runs, said.searched, said.trained) == (18, 7, 507 * 512)
  assert ", after a search of 7 shorter runs, at proxy scale" in words(said)
  assert "Settings were chosen by an earlier day, not by these rows." in words(said)


@pytest.mark.parametrize(("gap", "state"), [(0.39, "tied"), (0.41, "leads")])
def test_a_gap_that_both_deviations_cover_is_a_tie(gap: float, state: str):
  said = found({**ENDS, "Clippy": [72 - gap + x for x in (-0.3, 0, 0.3)]})
  assert small(said).state == state
  if state == "tied":
    assert "Tied: GC and Clippy" in words(said)
    assert "runner-up Clippy: tied, ± overlap" in words(said)
    assert "It is a tie on every model: no method won." in words(said)


@pytest.mark.parametrize(
  ("comparison", "state", "line"),
  [
    (pair("GC", "Clippy", 0.6, 1.4), "leads", "behind, paired +0.60 … +1.40"),
    (pair("GC", "Clippy", -0.1, 2.1), "tied", "tied, paired −0.10 … +2.10"),
    (pair("gc", "clippy", 0.7, 1.5), "leads", "behind, paired +1.10, +0.70 … +1.50"),
    (pair("Clippy", "GC", -1.4, -0.6), "leads", "behind, paired +0.60 … +1.40"),
    (pair("Clippy", "GC", 0.1, 0.3), "tied", "tied, paired −0.20, −0.30 … −0.10"),
    (
      pair("GC", "Clippy", 0.6, 1.4, p_holm=0.08),
      "tied",
      "tied, paired +0.60 … +1.40, but p = 0.08 after Holm's correction",
    ),
    (pair("GC", "Clippy", 0.6, 1.4, model="large"), "leads", "behind, ± apart"),
    (pair("GC", "Clippy", 0.6, 1.4, ci95_low=math.nan), "leads", "behind, ± apart"),
  ],
)
def test_a_paired_difference_decides_by_its_interval(
  comparison: pd.DataFrame, state: str, line: str
):
  said = found(ENDS, comparison)
  assert small(said).state == state
  assert f"−1.00\nrunner-up Clippy: {line}\n" in words(said)
  assert (
    "Paired differences (95 % intervals over 7,123 users and 3 seeds) would show 0.18 points "
    "4 times in 5" in words(said)
  )


def test_a_significant_pair_is_a_tie_while_seeds_overlap():
  said = found({**ENDS, "Clippy": [71.4, 71.7, 72]}, pair("GC", "Clippy", 0.1, 0.5))
  assert "runner-up Clippy: tied, paired +0.10 … +0.50, but ± overlap" in words(said)


def test_a_tie_with_another_than_the_runner_up_is_a_tie():
  said = found({**ENDS, "Clippy": [71.7, 71.71, 71.72], "LAMB": [70.6, 71.6, 72.6]})
  assert (small(said).state, [rival.column for rival in small(said).tied]) == ("tied", ["LAMB"])
  assert "Tied: GC and LAMB" in words(said)


def test_what_prints_as_no_gap_has_no_sign():
  said = found({**ENDS, "Clippy": [71.699, 71.999, 72.299]})
  assert "\n0.00\nrunner-up Clippy: tied, ± overlap" in words(said)


def test_of_many_ties_some_are_named_and_the_rest_counted():
  said = found({**ENDS, **{f"M{k}": [71, 71.9 - k / 100, 72.8] for k in range(6)}})
  text = words(said)
  assert "Tied: GC and 6 others" in text
  assert "runner-up M0: tied, ± overlap\n−1.00\nClippy: behind, ± apart\n" in text
  assert "≈\nAlso tied: M1, M2 and 3 more" in text


def test_columns_that_chose_the_same_setting_are_one_competitor():
  figures = table({**ENDS, "Clippy, searched": [70.7, 71, 71.3]})
  figures.loc[figures.column == "Clippy, searched", "thresholds"] = "Clippy"
  said = verdict(figures, runs())
  assert said is not None
  assert [rival.column for rival in small(said).rivals] == ["Clippy"]
  assert "GC, Clippy and Clippy (searched) survived on every model." in words(said)


def test_diverged_and_unfinished_methods_are_named():
  said = found({**ENDS, "GC": [70, 71], "Clippy": [70, "diverged", "diverged"]})
  text = words(said)
  assert "No method survived on every model. Naive diverged on Small (3 of 3 runs)" in text
  assert "Clippy diverged on Small (2 of 3 runs) and Large+DCN (2 of 3 runs)." in text
  assert "Not finished: GC on Small and GC on Large+DCN." in text
  assert "Small\nNot finished\n" in text
  assert "No method has a figure of click yet." in text


def test_a_diverged_clippy_is_said_beside_the_leader():
  text = words(found({**ENDS, "Clippy": [70, "diverged", 70]}))
  assert "GC alone is left\n72.00\nGC, ± 0.10 over seeds\n–\nClippy: diverged (1 of 3)" in text


def test_nobody_leads_while_a_method_is_not_finished():
  text = words(found({**ENDS, "GC": [75, 75.1]}))
  assert "Clippy is highest so far, 1 not finished" in text
  assert "It is a lead" not in text


def test_one_run_each_says_nothing_of_chance():
  said = found({"Naive": LOST[:1], "GC": [72], "Clippy": [60]}, models=["small"], wanted=1)
  assert small(said).state == "undecided"
  text = words(said)
  assert "GC is highest, too few runs to tell\n72.00\nGC, of one run\n" in text
  assert "−12.00\nrunner-up Clippy: one run each says nothing of chance" in text
  assert "Highest AUC of click: GC on Small. There is too little to tell on Small." in text
  assert "Each AUC is of one run: how much it varies over seeds is not known." in text


def test_without_a_repeat_or_a_finished_run_there_is_no_verdict():
  searched = table(ENDS).assign(stage="search")
  assert verdict(searched, runs()) is None  # the runs of the search are no figures
  assert verdict(table(ENDS).assign(finished=0), runs()) is None
  assert verdict(table(ENDS), runs(status="unfinished")) is None


def test_a_tag_in_the_name_of_a_method_or_task_is_no_tag_on_the_page():
  figures = table({"<script>a": [72, 72, 73], "<script>b, c": [70, 71, 70], "N": LOST})
  figures["task"] = "<script>t"
  said = verdict(figures, runs().assign(task="<script>t", dataset="<script>d"))
  assert said is not None
  page = templating.render("verdict.html", verdict=said)
  assert "<script" not in page
  assert page.count("&lt;script&gt;t") == 2
