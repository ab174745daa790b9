"""Methods against a reference: which runs are compared, by which test, and what is said of it."""

import dataclasses
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.array import Array
from ranking.data.prepare import prepare
from ranking.data.store import DayStore
from ranking.evaluation.predictions import FILE, Predictions
from ranking.measures.differences import paired_difference
from ranking.measures.significance import detectable_difference, holm
from ranking.sweeps import paired, results
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Method, Sweep, SweepError, Trial
from ranking.sweeps.tables import rendering
from ranking.sweeps.tables.comparison import comparison
from ranking.sweeps.tables.contrasts import COLUMNS, contrasts, methods, named
from ranking.sweeps.tables.document import Document, Table
from ranking.tasks import evaluate
from tests.conftest import TinySource, make_log
from tests.test_sweep_results import finished, hold

STATUS = ("outcome", "whose", "stage", "finished", "diverged", "runs")
METHODS: list[str | Method] = ["clippy", "gc", "lamb", "agc"]
SKILLS = {"clippy": 1.0, "gc": 1.1, "lamb": 4.0, "agc": -2.0, "naive": 1.0}
SEEDS = [0, 1, 2]
SWEEP = Sweep("mine", ["small"], METHODS, seeds=SEEDS)
DAYS = dataclasses.replace(SWEEP, seeds=[0, 1], days_left_out=[0, 1, 2])


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[DayStore]:
  """By how many days are left out at the log's end."""
  folder, source = tmp_path_factory.mktemp("stores"), TinySource(make_log())
  return [prepare(source, folder, without_last_days=left_out) for left_out in range(3)]


def outputs(trial: Trial, store: DayStore) -> Array:
  """float32 [n, T], of a run that knows as much as its method does; click before all else."""
  skill = SKILLS[trial.coordinates["method"]]
  labels = np.nan_to_num(store.eval_day.labels)
  random = np.random.default_rng(zlib.crc32(trial.name.encode()))
  return (skill * labels + random.normal(size=labels.shape)).astype(np.float32)


def judged(root: Path, trial: Trial, store: DayStore, status: str = "ok", **more: Any) -> Path:
  """What a finished run of the tiny log leaves."""
  made = outputs(trial, store)
  changes = {
    **{"store": str(store.directory), "eval_day": store.eval_day.name},
    "metrics": evaluate(
      store.schema.tasks, store.schema.label_statistics, store.eval_day.labels, made
    ),
    **more,
  }
  directory = hold(root, trial, result=finished(trial, status=status, **changes))
  Predictions.of(made, store).save(directory)
  return directory


def run_all(
  root: Path,
  stores: Sequence[DayStore],
  sweep: Sweep = SWEEP,
  status: Mapping[str, str] | None = None,
  missing: str = "nothing",
) -> pd.DataFrame:
  """Results of a sweep in which runs end as `status` says, by a part of the name."""
  for trial in sweep.trials():
    if missing in trial.name:
      hold(root, trial)
      continue
    ends = [end for part, end in (status or {}).items() if part in trial.name]
    judged(root, trial, stores[trial.coordinates["days_left_out"]], ends[0] if ends else "ok")
  return results.read([root])


def of(figures: pd.DataFrame, method: str, measure: str = "auc", **more: Any) -> dict[Any, Any]:
  """The one row of a method."""
  for name, value in {"method": method, "measure": measure, **more}.items():
    figures = figures[figures[name] == value]
  (row,) = figures.to_dict("records")
  return row


def found_by(sweep: Sweep, reference: str, table: pd.DataFrame) -> pd.DataFrame:
  return contrasts(methods(sweep, table), reference, table)


def texts(table: Table) -> list[list[str]]:
  return [[entry.text for entry in row] for row in table.rows]


def pairs(root: Path, method: str, rest: str, seeds: Sequence[int]) -> list[tuple[Path, Path]]:
  return [
    (root / f"small-{method}-{rest}seed={seed}", root / f"small-clippy-{rest}seed={seed}")
    for seed in seeds
  ]


@pytest.mark.parametrize(("task", "measure"), [("click", "auc"), ("stars", "rmse")])
def test_a_difference_is_that_of_the_runs_of_each_seed_on_the_same_rows(
  tmp_path: Path, stores: list[DayStore], task: str, measure: str
):
  table = run_all(tmp_path, stores)
  figures = found_by(SWEEP, "clippy", table)
  assert list(figures.columns) == list(COLUMNS)
  assert len(figures) == 3 * 2  # the first task of each measure, not like
  values = table[table.task == task].set_index(["method", "seed"]).value
  for method in ("gc", "lamb", "agc"):
    expected = paired.over_seeds(pairs(tmp_path, method, "times=1-", SEEDS), task)
    row = of(figures, method, measure)
    assert row["difference"] == expected.value
    by_hand = np.mean([values[method, seed] - values["clippy", seed] for seed in SEEDS])
    assert row["difference"] == pytest.approx(by_hand, rel=1e-12)
    assert row["standard_error"] == expected.standard_error
    assert (row["ci95_low"], row["ci95_high"]) == expected.ci95
    assert row["p"] == expected.p
    assert (row["units"], row["unit_name"], row["seeds"]) == (expected.units, "users and seeds", 3)
    assert (row["task"], row["reference"], row["eval_day"]) == (task, "clippy", "2024-03-04")


def test_holm_corrects_over_the_methods_of_one_figure(tmp_path: Path, stores: list[DayStore]):
  figures = found_by(SWEEP, "clippy", run_all(tmp_path, stores))
  for measure in ("auc", "rmse"):
    rows = figures[figures.measure == measure]
    assert rows.p_holm.tolist() == holm(rows.p.tolist())
    assert rows.p_holm.min() == 3 * rows.p.min()


def test_models_and_rates_are_families_of_their_own(tmp_path: Path, stores: list[DayStore]):
  sweep = dataclasses.replace(
    SWEEP, models=["small", "large"], learning_rates=[0.1, 0.2], learning_rate_multipliers=[1, 2]
  )
  figures = found_by(sweep, "clippy", run_all(tmp_path, stores, sweep))
  groups = figures[figures.measure == "auc"].groupby(["model", "setting"], sort=False)
  settings = ["rate 0.1, 1x", "rate 0.1, 2x", "rate 0.2, 1x", "rate 0.2, 2x"]
  assert [name for name, _ in groups] == [
    (m, setting) for m in ("small", "large") for setting in settings
  ]
  for _, rows in groups:
    assert rows.p_holm.tolist() == holm(rows.p.tolist())


def test_the_verdict_is_in_words_and_a_smaller_rmse_is_better(
  tmp_path: Path, stores: list[DayStore]
):
  figures = found_by(SWEEP, "clippy", run_all(tmp_path, stores))
  assert of(figures, "lamb")["difference"] > 0
  assert of(figures, "agc", "rmse")["difference"] > 0
  assert [of(figures, method)["outcome"] for method in ("gc", "lamb", "agc")] == [
    *("no difference seen", "better", "worse")
  ]
  assert of(figures, "agc", "rmse")["outcome"] == "worse"
  again = found_by(SWEEP, "agc", run_all(tmp_path / "again", stores))
  assert of(again, "clippy", "rmse")["difference"] < 0
  assert of(again, "clippy", "rmse")["outcome"] == "better"


def test_a_p_of_more_than_5_percent_after_the_correction_is_no_verdict(
  tmp_path: Path, stores: list[DayStore], monkeypatch: pytest.MonkeyPatch
):
  table, exact = run_all(tmp_path, stores), paired.over_seeds
  for p, outcome in ((0.05 / 3, "better"), (0.051 / 3, "no difference seen")):

    def with_p(pairs: Any, task: str, p: float = p) -> Any:
      lamb = "lamb" in str(pairs)
      return dataclasses.replace(exact(pairs, task), p=p if lamb else 0.9)

    monkeypatch.setattr(paired, "over_seeds", with_p)
    assert of(found_by(SWEEP, "clippy", table), "lamb")["outcome"] == outcome


def test_what_could_have_been_seen_is_by_the_verdict_after_the_correction(
  tmp_path: Path, stores: list[DayStore]
):
  figures = found_by(SWEEP, "clippy", run_all(tmp_path, stores))
  found = paired.over_seeds(pairs(tmp_path, "gc", "times=1-", SEEDS), "click")
  expected = detectable_difference(found.standard_error, found.degrees, 0.05 / 3)
  assert of(figures, "gc")["detectable"] == expected
  assert expected > detectable_difference(found.standard_error, found.degrees)


@pytest.mark.parametrize("comparisons", [1, 4])
def test_the_detectable_difference_is_found_80_times_in_100(comparisons: int):
  random, level = np.random.default_rng(0), 0.05 / comparisons
  true = detectable_difference(1 / math.sqrt(12), 11, level)
  found = [paired_difference(random.normal(true, 1, 12), np.zeros(12)).p for _ in range(4000)]
  assert np.mean(np.array(found) <= level) == pytest.approx(0.8, abs=0.025)


def test_a_diverged_run_takes_its_method_out_of_the_tests(tmp_path: Path, stores: list[DayStore]):
  whole = found_by(SWEEP, "clippy", run_all(tmp_path / "whole", stores))
  table = run_all(tmp_path / "lost", stores, status={"-gc-times=1-seed=1": "diverged"})
  figures = found_by(SWEEP, "clippy", table)
  lost = of(figures, "gc")
  assert [lost[name] for name in STATUS] == ["diverged", "method", "repeats", 3, 1, 3]
  numbers = ("difference", "standard_error", "ci95_low", "ci95_high", "p", "p_holm", "detectable")
  assert all(math.isnan(lost[name]) for name in numbers)
  assert pd.isna(lost["units"])
  for method in ("lamb", "agc"):
    assert of(figures, method)["p"] == of(whole, method)["p"]
  left = figures[(figures.measure == "auc") & (figures.method != "gc")]
  assert left.p_holm.tolist() == holm(left.p.tolist())


def test_a_method_that_waits_for_runs_has_no_figure_and_counts_in_the_correction(
  tmp_path: Path, stores: list[DayStore]
):
  table = run_all(tmp_path, stores, missing="-gc-times=1-seed=2")
  figures = found_by(SWEEP, "clippy", table)
  gc = of(figures, "gc")
  assert [gc[name] for name in STATUS] == ["waiting", "method", "repeats", 2, 0, 3]
  left = figures[(figures.measure == "auc") & (figures.method != "gc")]
  assert left.p_holm.tolist() == holm([*left.p, 1.0])[:2]
  level = 0.05 / 3
  found = paired.over_seeds(pairs(tmp_path, "agc", "times=1-", SEEDS), "click")
  assert of(figures, "agc")["detectable"] == pytest.approx(
    detectable_difference(found.standard_error, found.degrees, level)
  )


@pytest.mark.parametrize(
  ("status", "missing", "expected", "text"),
  [
    (
      {"clippy-times=1-seed=0": "diverged"},
      "nothing",
      ("diverged", "reference", "repeats", 3, 1, 3),
      "clippy: diverged (1 of 3)",
    ),
    (
      {},
      "clippy-times=1-seed=0",
      ("waiting", "reference", "repeats", 2, 0, 3),
      "clippy: 2 of 3 runs",
    ),
  ],
)
def test_without_a_figure_of_the_reference_nothing_is_tested(
  status: dict[str, str],
  missing: str,
  expected: tuple[Any, ...],
  text: str,
  tmp_path: Path,
  stores: list[DayStore],
):
  table = run_all(tmp_path, stores, SWEEP, status, missing)
  document = page(SWEEP, table)
  figures = document.figures
  assert set(figures[list(STATUS)].itertuples(index=False, name=None)) == {expected}
  assert figures.difference.isna().all()
  assert {row[3].text for row in document.tables[0].rows} == {text}


def test_a_run_without_a_finite_figure_or_without_the_task_has_none_to_compare(
  tmp_path: Path, stores: list[DayStore]
):
  table = run_all(tmp_path, stores)
  infinite = table.trial.str.contains("-gc-times=1-seed=1") & (table.measure == "auc")
  table.loc[infinite, "value"] = math.inf
  table = table[~(table.trial.str.contains("lamb") & (table.task == "stars"))]
  figures = found_by(SWEEP, "clippy", table)
  assert of(figures, "gc")["outcome"] == "not finite"
  assert of(figures, "lamb", "rmse")["outcome"] == "no such task"
  for rows in (figures[figures.measure == "auc"], figures[figures.measure == "rmse"]):
    assert rows.p.notna().sum() == 2
    assert rows.p_holm.dropna().tolist() == holm(rows.p.dropna().tolist())


def test_an_ablation_that_leaves_out_the_first_task_is_compared_by_its_own_first_one(
  tmp_path: Path, stores: list[DayStore]
):
  sweep = dataclasses.replace(
    SWEEP,
    ablations={"unchanged": [], "a_task_less": ["train_and_evaluate.without_tasks=['click']"]},
  )
  table = run_all(tmp_path, stores, sweep)
  table = table[~(table.trial.str.contains("a_task_less") & (table.task == "click"))]
  figures = found_by(sweep, "clippy", table)
  aucs = figures[figures.measure == "auc"]
  assert set(aucs[aucs.setting == "unchanged"].task) == {"click"}
  assert set(aucs[aucs.setting == "a_task_less"].task) == {"like"}


def test_days_are_the_unit_where_there_are_several(tmp_path: Path, stores: list[DayStore]):
  table = run_all(tmp_path, stores, DAYS)
  figures = found_by(DAYS, "clippy", table)
  values = table[table.task == "click"].set_index(["method", "days_left_out", "seed"]).value
  days = [2, 1, 0]

  def grid(method: str) -> list[list[float]]:
    return [[values[method, day, seed] for seed in (0, 1)] for day in days]

  for method in ("gc", "lamb", "agc"):
    expected = paired_difference(grid(method), grid("clippy"))
    row = of(figures, method, unit_name="days")
    assert (row["difference"], row["standard_error"]) == (expected.value, expected.standard_error)
    assert (row["ci95_low"], row["ci95_high"], row["p"]) == (*expected.ci95, expected.p)
    assert (row["units"], row["seeds"]) == (3, 2)
    assert row["eval_day"] == "2024-03-02 … 2024-03-04"
  over_days = figures[(figures.unit_name == "days") & (figures.measure == "auc")]
  assert over_days.p_holm.tolist() == holm(over_days.p.tolist())


def test_each_day_has_a_comparison_of_its_own_beside_that_over_days(
  tmp_path: Path, stores: list[DayStore]
):
  figures = found_by(DAYS, "clippy", run_all(tmp_path, stores, DAYS))
  for day, rest in (("2024-03-02", "day_2-"), ("2024-03-03", "day_1-"), ("2024-03-04", "")):
    rows = figures[(figures.eval_day == day) & (figures.measure == "rmse")]
    found = paired.over_seeds(pairs(tmp_path, "gc", f"times=1-{rest}", [0, 1]), "stars")
    assert of(rows, "gc", "rmse")["difference"] == found.value
    assert set(rows.unit_name) == {"users and seeds"}
    assert rows.p_holm.tolist() == holm(rows.p.tolist())


def test_a_run_that_diverged_on_one_day_takes_its_method_out_on_all(
  tmp_path: Path, stores: list[DayStore]
):
  table = run_all(tmp_path, stores, DAYS, {"-gc-times=1-day_1-seed=0": "diverged"})
  figures = found_by(DAYS, "clippy", table)
  rows = figures.loc[figures.method == "gc", list(STATUS)]
  assert set(rows.itertuples(index=False, name=None)) == {
    ("diverged", "method", "repeats", 6, 1, 6)
  }
  assert set(figures[figures.method == "agc"].unit_name) == {"days", "users and seeds"}


def test_an_ablation_is_a_setting_where_there_are_several():
  deep = dataclasses.replace(SWEEP, ablations={"none": [], "deep": ["SharedBottom.x=1"]})
  found = methods(deep, results.NONE)
  assert list(dict.fromkeys(place.setting for place in found)) == ["none", "deep"]
  assert {place.setting for place in methods(SWEEP, results.NONE)} == {""}


def test_a_method_with_several_thresholds_is_called_by_them():
  gc = Method("gc", thresholds=[{"GradientClipping.threshold": [0.1, 0.01]}])
  sweep = dataclasses.replace(SWEEP, methods=["clippy", gc])
  titles = [place.title for place in methods(sweep, results.NONE)]
  assert titles == ["clippy", "gc threshold=0.1", "gc threshold=0.01"]


def test_one_seed_is_compared_by_users_alone(tmp_path: Path, stores: list[DayStore]):
  sweep = dataclasses.replace(SWEEP, seeds=[0])
  figures = found_by(sweep, "clippy", run_all(tmp_path, stores, sweep))
  (pair,) = pairs(tmp_path, "gc", "times=1-", [0])
  assert of(figures, "gc", "rmse")["p"] == paired.over_seeds([pair], "stars").p
  assert set(figures.unit_name) == {"users"}


SEARCH = Search(
  *("mine", ["small"], {"Clippy": ["clippy"], "GC": ["gc"], "Any": ["clippy", "gc"]}),
  learning_rate_multipliers=[1.0],
)


def searched(root: Path, store: DayStore, missing: str = "nothing") -> pd.DataFrame:
  """Results of a search whose first candidates win, and of their repeats."""
  for tried in SEARCH.trials():
    for trial in (tried, *SEARCH.repeats_of(tried)):
      if missing in trial.name:
        hold(root, trial)
      else:
        judged(root, trial, store)
  return results.read([root])


def test_columns_of_a_search_are_compared_by_the_repeats_of_what_they_chose(
  tmp_path: Path, stores: list[DayStore]
):
  table = searched(tmp_path, stores[0])
  of_columns = SEARCH.places(table)
  figures = contrasts(of_columns, "Clippy", table)
  expected = paired.over_seeds(pairs(tmp_path, "gc", "times=1-", [1, 2, 3]), "click")
  assert of(figures, "GC")["difference"] == expected.value
  chosen = {place.title: place.names() for place in of_columns}
  same = "Clippy" if chosen["Any"] == chosen["Clippy"] else "GC"
  assert chosen["Any"] == chosen[same]
  others = contrasts(of_columns, same, table)
  assert of(others, "Any")["outcome"] == "same runs"
  shown = comparison(SEARCH, of_columns, same, table).tables[0].rows
  assert f"same runs as {same}" in {row[3].text for row in shown}
  assert of(others, {"Clippy": "GC", "GC": "Clippy"}[same])["p_holm"] == pytest.approx(expected.p)


def test_a_column_whose_search_is_not_finished_says_so_and_counts(
  tmp_path: Path, stores: list[DayStore]
):
  table = searched(tmp_path, stores[0], "gc-times=1-seed=0")
  document = comparison(SEARCH, SEARCH.places(table), "Clippy", table)
  figures = document.figures
  for name, finished_runs, runs in (("GC", 0, 1), ("Any", 1, 2)):
    row = of(figures, name)
    assert [row[each] for each in STATUS] == ["waiting", "method", "search", finished_runs, 0, runs]
  shown = [row[3].text for row in document.tables[0].rows]
  assert shown[::2] == ["0 of 1 runs of the search"] * 2
  assert shown[1::2] == ["1 of 2 runs of the search"] * 2
  assert set(figures.seeds) == {3}


@pytest.mark.parametrize(
  ("reference", "message"),
  [
    ("clipy", "^no method 'clipy' to compare with; the nearest is 'clippy'$"),
    ("x", "^no method 'x' to compare with; valid are clippy, gc, lamb, agc$"),
  ],
)
def test_an_unknown_reference_is_refused_with_the_nearest(
  reference: str, message: str, tmp_path: Path, stores: list[DayStore]
):
  with pytest.raises(SweepError, match=message):
    found_by(SWEEP, reference, run_all(tmp_path, stores))


def test_a_method_alone_has_nothing_to_be_compared_with():
  with pytest.raises(SweepError, match=r"^clippy is the only method; give the experiment one"):
    named(["clippy"], "clippy")


def lose_predictions(root: Path, stores: list[DayStore]) -> None:
  (root / SWEEP.trials()[1].name / FILE).unlink()


def take_another_day(root: Path, stores: list[DayStore]) -> None:
  trial = SWEEP.trials()[1]
  Predictions.of(outputs(trial, stores[1]), stores[1]).save(root / trial.name)


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (lose_predictions, r"gc-times=1-seed=0/predictions.npz is not there; finish the run, or make"),
    (take_another_day, r"was evaluated on 2024-03-03.* compare runs of one day$"),
  ],
)
def test_runs_that_cannot_be_compared_row_by_row_are_named(
  damage: Callable[[Path, list[DayStore]], None],
  message: str,
  tmp_path: Path,
  stores: list[DayStore],
):
  table = run_all(tmp_path, stores)
  damage(tmp_path, stores)
  with pytest.raises(SweepError, match=message) as raised:
    found_by(SWEEP, "clippy", table)
  assert "\n" not in str(raised.value)


def page(sweep: Sweep, table: pd.DataFrame) -> Document:
  return comparison(sweep, methods(sweep, table), "clippy", table)


def test_the_page_has_a_row_for_each_comparison_that_says_what_the_csv_does(
  tmp_path: Path, stores: list[DayStore]
):
  table = run_all(tmp_path, stores, status={"-gc-times=1-seed=1": "diverged"})
  document = page(SWEEP, table)
  assert list(document.figures.columns) == ["experiment", *COLUMNS]
  main, runs = document.tables
  assert main.header == [
    *("model", "figure", "method", "difference", "95 % interval", "p", "p after Holm"),
    *("could have seen", "verdict"),
  ]
  lamb, agc = of(document.figures, "lamb"), of(document.figures, "agc", "rmse")
  rows = texts(main)
  assert rows[0] == [
    *("small", "click AUC (%) ↑", "gc", "diverged (1 of 3)", *["–"] * 5),
  ]
  low, high = (f"{100 * lamb[name]:+.2f}".replace("-", "−") for name in ("ci95_low", "ci95_high"))
  assert rows[1] == [
    *("small", "click AUC (%) ↑", "lamb", f"{100 * lamb['difference']:+.2f}", f"{low} … {high}"),
    *(f"{lamb['p']:.3f}", f"{lamb['p_holm']:.3f}", f"{100 * lamb['detectable']:.2f}", "better"),
  ]
  assert rows[-1][:4] == ["small", "stars RMSE ↓", "agc", f"+{agc['difference']:.3f}"]
  assert len(runs.rows) == 4 * 3
  hint = main.rows[1][3].hint
  assert hint.splitlines() == [row[-1].text for row in runs.rows if row[1].text == "lamb"]


def test_what_prints_as_zero_has_no_sign(
  tmp_path: Path, stores: list[DayStore], monkeypatch: pytest.MonkeyPatch
):
  table, exact = run_all(tmp_path, stores), paired.over_seeds

  def tiny(pairs: Any, task: str) -> Any:
    return dataclasses.replace(exact(pairs, task), value=-4e-5, ci95=(-5e-4, 4e-5))

  monkeypatch.setattr(paired, "over_seeds", tiny)
  assert texts(page(SWEEP, table).tables[0])[0][3:5] == ["0.00", "−0.05 … 0.00"]


def test_the_page_says_what_chance_it_is_about_and_what_it_could_have_seen(
  tmp_path: Path, stores: list[DayStore]
):
  document = page(SWEEP, run_all(tmp_path, stores))
  *_, chance, seen = document.paragraphs
  fewest, most = sorted(of(document.figures, "gc", measure)["units"] for measure in ("auc", "rmse"))
  assert fewest < most  # as each task has labels of its own
  users = f"users, {fewest} to {most} on day N, and seeds 0, 1, 2, over which"
  assert chance.startswith(f"The units are {users}")
  sizes = [
    sorted(f"{unit * value:.{digits}f}" for value in rows.detectable)
    for measure, unit, digits in (("auc", 100, 2), ("rmse", 1, 3))
    for rows in [document.figures[document.figures.measure == measure]]
  ]
  assert seen == (
    f"This design could have seen differences of {sizes[0][0]} to {sizes[0][-1]} points of click "
    f"AUC and {sizes[1][0]} to {sizes[1][-1]} of stars RMSE."
  )
  sweep = dataclasses.replace(SWEEP, seeds=[0])
  alone = page(sweep, run_all(tmp_path / "alone", stores, sweep))
  assert "one seed it says nothing of the chance of seeds" in alone.paragraphs[-2]


def test_the_page_over_days_leads_with_days_and_has_each_in_an_appendix(
  tmp_path: Path, stores: list[DayStore]
):
  document = page(DAYS, run_all(tmp_path, stores, DAYS))
  over_days, by_day, runs = document.tables
  assert "day N = 3 days from 2024-03-02 to 2024-03-04 in turn" in document.paragraphs[0]
  assert "The unit is the evaluation day: 3 in turn" in document.paragraphs[-2]
  assert (len(over_days.rows), len(by_day.rows), len(runs.rows)) == (3 * 2, 3 * 3 * 2, 4 * 3 * 2)
  assert (over_days.folded, by_day.folded) == (False, True)
  assert by_day.header[:3] == ["model", "day N", "figure"]
  assert {row[1] for row in texts(by_day)} == {"2024-03-02", "2024-03-03", "2024-03-04"}
  assert len(document.figures) == 4 * 3 * 2


def test_nothing_to_test_is_still_a_page(tmp_path: Path, stores: list[DayStore]):
  table = run_all(tmp_path, stores, status={"clippy": "diverged"})
  document = page(SWEEP, table)
  assert not re.search("could have seen differences", " ".join(document.paragraphs))
  for path in rendering.write(document, tmp_path / "out" / "comparison"):
    assert path.is_file()


def test_every_format_has_every_row(tmp_path: Path, stores: list[DayStore]):
  document = page(DAYS, run_all(tmp_path, stores, DAYS))
  md, page_file, csv = rendering.write(document, tmp_path / "out" / "comparison")
  rows = sum(len(table.rows) for table in document.tables)
  assert len(re.findall(r"^\| (?!model|---)", md.read_text(), re.MULTILINE)) == rows
  assert page_file.read_text().count("<tr><td") == rows
  read = pd.read_csv(csv, float_precision="round_trip")
  assert read.difference.tolist() == document.figures.difference.tolist()
  assert read.units.tolist() == document.figures.units.tolist()
