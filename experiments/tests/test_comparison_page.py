"""docs/comparison.md and the README's summary of it have the figures of the runs."""

import re
from pathlib import Path

import pandas as pd
import pytest

from experiments.findings.rules import RULES
from ranking.data.sources.synthetic import Synthetic
from ranking.measures.differences import paired_difference
from ranking.measures.significance import holm
from ranking.sweeps.figures import style
from ranking.sweeps.tables.document import p_text
from ranking.tasks import MEASURES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs" / "comparison.md").read_text()
WORDS = " ".join(PAGE.split())  # wherever its lines break
LOGS_WITH_TABLE_2 = [("kuairand", "is_click"), ("synthetic", "click")]  # in the order of the page


@pytest.mark.parametrize(("log", "task"), LOGS_WITH_TABLE_2)
def test_the_tables_of_the_page_have_the_figures_of_their_runs(log: str, task: str) -> None:
  figures = pd.read_csv(ROOT / "docs" / "results" / f"table2_{log}" / "table2.csv")
  figures = figures[figures.task == task]
  text = MEASURES["auc"].text
  tables = re.findall(r"^\| \| (Naive .*) \|\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
  assert len(tables) == len(LOGS_WITH_TABLE_2)
  header, rows = tables[[name for name, _ in LOGS_WITH_TABLE_2].index(log)]
  shown = {name: cells for name, *cells in (row[2:-2].split(" | ") for row in rows.splitlines())}
  assert list(shown) == list(style.MODELS.values())
  for model, name in style.MODELS.items():
    for column, cell in zip(header.split(" | "), shown[name], strict=True):
      (row,) = figures[(figures.model == model) & (figures.column == column)].to_dict("records")
      value = row["outcome"]
      if value == "ok":
        value = f"{text(row['mean'])} ± {text(row['deviation'])}"
        value = f"<u>{value}</u>" if row["best"] else value
      assert cell == value, (name, column)


def test_the_readme_sums_up_what_became_of_the_largest_model() -> None:
  found = re.search(r"^\| Large\+DCN \| (.*) \|\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
  assert found is not None
  columns = found.group(1).split(" | ")
  shown = {}
  for row in found.group(2).splitlines():
    name, *cells = row[2:-2].split(" | ")
    shown[name] = dict(zip(columns, cells, strict=True))
  text = MEASURES["auc"].text
  for log, task, name in (
    ("kuairand", "is_click", "kuairand"),
    ("synthetic", "click", "2 M generated rows"),
  ):
    figures = pd.read_csv(ROOT / "docs" / "results" / f"table2_{log}" / "table2.csv")
    figures = figures[(figures.task == task) & (figures.model == "large_dcn")].set_index("column")
    for column, cell in shown.pop(name).items():
      lost = figures.outcome[column].startswith("diverged")
      assert cell == ("diverged" if lost else text(figures["mean"][column])), (log, column)
  by_name = {name.lower(): method for method, name in style.NAMES.items()}
  by_name["clippy, searched"] = "clippy_tighter"
  paper = of_sweep("paper_scale_kuairand").set_index(["learning_rate_multiplier", "method"])
  for column, cell in shown.pop("kuairand, the paper's widths, 1x").items():
    if column != "Clippy, searched":  # not run there
      row = paper.loc[(1.0, by_name[column.lower()])]
      assert cell == ("diverged" if row.diverged else text(row["mean"])), column
  rates = of_sweep("survival_kuairand")
  edges = rates.groupby("method").edge.first()
  for column, cell in shown.pop("kuairand, highest rate survived").items():
    edge = edges[by_name[column.lower()]]
    assert cell == (f"≥ {edge:g}" if edge == rates.learning_rate.max() else f"{edge:g}"), column
  assert not shown


def test_the_readme_says_how_near_layer_clippy_is_to_the_best_of_every_row() -> None:
  rows = re.findall(r"^\| (?:kuairand|2 M)[^|]* \| diverged \| (.*) \|$", README, re.MULTILINE)
  assert len(rows) == 3
  for row in rows:
    *others, ours = (float(cell) for cell in row.split(" | ") if cell != "–")
    assert max(others) - ours <= 0.1 + 1e-9
  assert "it is within 0.1 points of the best in each row of AUC above" in " ".join(README.split())


def test_both_pages_say_that_agc_is_ahead_on_every_day() -> None:
  runs = pd.read_parquet(ROOT / "docs" / "results" / "days_kuairand" / "table.parquet")
  runs = runs[runs.task == "is_click"]
  by_day = runs.pivot_table(index=["eval_day"], columns=["method", "seed"], values="value")
  found = {
    method: paired_difference(by_day[method], by_day["layer_clippy"])
    for method in ("gc", "agc", "lamb", "clippy")
  }
  assert (by_day["agc"].mean(axis=1) > by_day["layer_clippy"].mean(axis=1)).all()
  agc, p = found["agc"], holm([each.p for each in found.values()])[1]
  low, high = (f"{100 * end:.2f}" for end in agc.ci95)
  said = f"by {100 * agc.value:.2f} ({low} to {high}; p = {p:.3f} with `REFERENCE=layer_clippy`)"
  assert said in WORDS
  over_clippy = paired_difference(by_day["agc"], by_day["clippy"]).value
  ahead = f"{100 * over_clippy:.2f} points over Clippy, {100 * agc.value:.2f} over LayerClippy"
  assert ahead in " ".join(README.split())


def test_the_page_says_which_naive_runs_of_smaller_models_are_lost() -> None:
  runs = pd.read_parquet(ROOT / "docs" / "results" / "methods_kuairand" / "table.parquet")
  runs = runs[(runs.method == "naive") & (runs.model != "large_dcn")].drop_duplicates("trial")
  lost = runs[runs.status == "diverged"]
  assert len(runs) == 12
  assert lost[["model", "learning_rate_multiplier"]].to_numpy().tolist() == [["large", 2.0]]
  assert "one run of twelve does, Large at 2x" in WORDS


def test_the_best_possible_auc_of_the_generated_rows_is_that_of_the_generator() -> None:
  *_, last = Synthetic(rows_per_day=142_858, daily_drift=0.4, tail=2.0).oracle_by_day()
  best = MEASURES["auc"].text(last["oracle"]["click"]["auc"])
  assert f"the best possible click AUC is known to be {best}" in WORDS


def test_the_page_has_the_counts_of_table_3() -> None:
  rows = pd.read_csv(ROOT / "docs" / "results" / "table3_kuairand" / "table3.csv")
  rows = rows.set_index("ablation")
  order = ["unchanged", "small_layers", "no_dcn", "one_task_less", "two_tasks_less"]
  counts = [f"{rows.diverged[name]} of {rows.runs[name]}" for name in [*order, "fewer_features"]]
  said = re.search(r"Diverged: (.*?) of its features", WORDS)
  assert said is not None
  assert re.findall(r"\d+ of 10", said.group(1)) == counts
  assert list(rows.index[rows.p_holm <= 0.05]) == ["small_layers", "no_dcn"]


def test_the_differences_that_the_page_names_are_those_of_the_comparison() -> None:
  rows = pd.read_csv(ROOT / "docs" / "results" / "table2_kuairand" / "comparison.csv")
  rows = rows[rows.task == "is_click"].set_index(["model", "method"])
  agc, ours = rows.loc[("large_dcn", "AGC")], rows.loc[("large_dcn", "LayerClippy")]
  said = re.search(
    r"ahead of it on Large\+DCN by (\S+) points \(95 % interval (\S+) to (\S+), .*?p = (\S+) after",
    WORDS,
  )
  assert said is not None
  numbers = [100 * ours.difference, 100 * ours.ci95_low, 100 * ours.ci95_high]
  assert list(said.groups()) == [*(f"{number:.2f}" for number in numbers), f"{ours.p_holm:.3f}"]
  here = f"Here AGC is ahead by {100 * agc.difference:.2f} with p = {agc.p_holm:.3f}"
  assert here in WORDS
  other = rows.loc[("large_dcn", "AdaGC")]
  numbers = [f"{100 * x:.2f}" for x in (other.difference, other.ci95_low, other.ci95_high)]
  there = f"AdaGC by {numbers[0]} ({numbers[1]} to {numbers[2]}; p {p_text(other.p_holm)})"
  assert there in WORDS
  sure = rows[rows.outcome.isin(["better", "worse"])]
  assert list(sure.index) == [("large_dcn", "LayerClippy"), ("large_dcn", "AdaGC")]
  smaller = rows.loc[["small", "large"]].detectable.median()
  half = f"half of the comparisons there could have shown {100 * smaller:.2f} points or less"
  assert half in WORDS


def test_the_page_says_what_became_of_the_survivors() -> None:
  runs = pd.read_parquet(ROOT / "docs" / "results" / "table2_kuairand" / "table.parquet")
  runs = runs[(runs.task == "is_click") & (runs.model == "large_dcn") & (runs.seed > 0)]
  ends = {
    method: [MEASURES["auc"].text(value)[:-1] for value in of.value]
    for method, of in runs[runs.status != "diverged"].groupby("method")
    if method in ("naive", "z_clip")
  }
  (naive,), (first, second) = ends["naive"], ends["z_clip"]
  assert f"is left ends at {naive}, and the two of ZClip at {first} and {second}" in WORDS


def test_the_page_says_what_separates_methods_on_the_generated_log() -> None:
  rows = pd.read_csv(ROOT / "docs" / "results" / "table2_synthetic" / "comparison.csv")
  rows = rows[rows.task == "click"].set_index(["model", "method"])
  for before, place in (
    ("and GC on Large by", ("large", "GC")),
    ("is ahead of it on Large by", ("large", "Clippy, searched")),
    ("and on Large+DCN by", ("large_dcn", "Clippy, searched")),
    ("LayerClippy, without a search, on Large+DCN by", ("large_dcn", "LayerClippy")),
  ):
    row = rows.loc[place]
    assert row.outcome == "better"
    assert f"{before} {100 * row.difference:.2f} (p = {row.p_holm:.3f})" in WORDS
  behind = rows.loc[[("small", name) for name in ("Naive", "GC", "AGC", "LayerClippy")]]
  assert set(behind.outcome) == {"worse"}
  least, most = (f"{100 * x:.2f}" for x in (-behind.difference.max(), -behind.difference.min()))
  assert f"by {least} to {most} points (p at most {behind.p_holm.max():.3f} after" in WORDS


def of_sweep(name: str) -> pd.DataFrame:
  """The AUC of is_click in a sweep's summary.csv."""
  rows = pd.read_csv(ROOT / "docs" / "results" / name / "summary.csv")
  return rows[rows.task == "is_click"]


def test_the_page_says_how_far_up_each_method_goes() -> None:
  rows = of_sweep("survival_kuairand").set_index(["method", "learning_rate"])
  assert set(rows.finished) == {2}
  found = re.search(r"^\| \| (0\.05 .*) \|\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
  assert found is not None
  rates = [float(rate) for rate in found.group(1).split(" | ")]
  by_name = {name.lower(): method for method, name in style.NAMES.items()}
  by_name |= {"clippy, the paper's 1e-2": "clippy", "clippy, 1e-3": "clippy_tighter"}
  shown = {}
  for line in found.group(2).splitlines():
    name, *cells = line[2:-2].split(" | ")
    method = shown[name] = by_name[name.lower()]
    for rate, cell in zip(rates, cells, strict=True):
      row = rows.loc[(method, rate)]
      lost = f"lost {row.diverged} of 2" if row.diverged else MEASURES["auc"].text(row["mean"])
      assert cell == lost, (method, rate)
  assert set(shown.values()) == set(rows.index.levels[0])
  edges = (rows.groupby("method").edge.first() / rows.edge["naive", 0.05]).round().to_dict()
  assert edges == {
    **{"naive": 1, "z_clip": 2, "rms_clip": 4, "clippy": 8, "gc": 16, "agc": 16, "ada_gc": 16},
    **{"lamb": 64, "clippy_tighter": 128, "layer_clippy": 128},
  }
  (target,) = set(rows.target_auc)
  slow, fast = rows.steps_to_target["naive", 0.05], rows.steps_to_target["layer_clippy", 1.6]
  said = f"{MEASURES['auc'].text(target)}, takes naive {slow:.0f} steps, LayerClippy at 1.6 takes"
  assert f"{said} {fast:.0f}" in WORDS
  ours = rows["mean"].loc[["clippy_tighter", "layer_clippy"], [0.4, 0.8, 1.6], :]
  others = rows["mean"].drop(["clippy_tighter", "layer_clippy"], level="method")
  assert others.idxmax() == ("agc", 0.2)
  least, most, best = (MEASURES["auc"].text(x) for x in (ours.min(), ours.max(), others.max()))
  assert f"learn {least} to {most}, and no other more than AGC's {best} at 0.2" in WORDS
  runs = pd.read_parquet(ROOT / "docs" / "results" / "survival_kuairand" / "table.parquet")
  runs = runs[(runs.task == "is_click") & (runs.method == "clippy") & (runs.learning_rate == 6.4)]
  first, second = map(MEASURES["auc"].text, runs.sort_values("seed").value)
  assert f"the click AUC still was {first} and {second}" in WORDS


def test_the_page_says_what_holds_on_other_days() -> None:
  rows = pd.read_csv(ROOT / "docs" / "results" / "days_kuairand" / "comparison.csv")
  rows = rows[(rows.task == "is_click") & (rows.unit_name == "days")].set_index("method")
  assert set(rows.units) == {7}
  assert rows.outcome.tolist() == ["no difference seen", "better", *["no difference seen"] * 2]
  points = {name: f"{100 * abs(value):.2f}" for name, value in rows.difference.items()}
  ends = {
    name: f"{100 * row.ci95_low:.2f} to {100 * row.ci95_high:.2f}" for name, row in rows.iterrows()
  }
  p = {name: f"p = {value:.3f}" for name, value in rows.p_holm.items()}
  least, most = (f"{100 * value:.2f}" for value in (rows.detectable.min(), rows.detectable.max()))
  said = (
    f"AGC is ahead of Clippy by {points['agc']} points of is_click AUC ({ends['agc']}, {p['agc']} "
    f"after Holm's correction), LayerClippy by {points['layer_clippy']} ({ends['layer_clippy']}, "
    f"{p['layer_clippy']}), GC by {points['gc']} ({p['gc']}), LAMB behind by {points['lamb']} "
    f"({p['lamb']}): {least} to {most} points could have been seen"
  )
  assert said in WORDS


def test_the_page_has_the_figures_at_the_papers_widths() -> None:
  rows = of_sweep("paper_scale_kuairand").set_index(["learning_rate_multiplier", "method"])
  found = re.search(r"^\| Large\+DCN \| (.*) \|\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
  assert found is not None
  by_name = {name.lower(): method for method, name in style.NAMES.items()}
  methods = [by_name[name.lower()] for name in found.group(1).split(" | ")]
  for line in found.group(2).splitlines():
    times, *cells = line[2:-2].split(" | ")
    for method, cell in zip(methods, cells, strict=True):
      row = rows.loc[(float(times[:-1]), method)]
      assert cell == ("diverged" if row.diverged else MEASURES["auc"].text(row["mean"])), method
  gaps = pd.read_csv(ROOT / "docs" / "results" / "paper_scale_kuairand" / "comparison.csv")
  gaps = gaps[(gaps.measure == "auc") & gaps.p.notna()]
  assert set(gaps.outcome) == {"better"}
  assert gaps.p_holm.max() < 0.001
  least, most = (f"{100 * gap:.1f}" for gap in (gaps.difference.min(), gaps.difference.max()))
  assert f"loses {least} to {most} points to everything else" in WORDS
  rivals = gaps[gaps.method.isin(["gc", "agc", "lamb"])].difference * 100
  (caveat,) = (rule.caveat for rule in RULES if rule.name == "F3")
  assert f"GC, AGC and LAMB are {rivals.min():.1f} to {rivals.max():.1f} points better" in caveat


def test_the_page_says_where_naive_is_lost() -> None:
  rows = of_sweep("naive_limits_kuairand")
  lost = {
    model: dict(zip(of_model.learning_rate, of_model.diverged, strict=True))
    for model, of_model in rows.groupby("model")
  }
  assert set(rows.finished) == {3}
  assert lost["large"] == {0.1: 0, 0.2: 1, 0.3: 3, 0.4: 3, 0.8: 3}
  assert lost["small"] == {0.1: 0, 0.2: 0, 0.3: 0, 0.4: 2, 0.8: 3}
  assert "Large at 0.2 (one of three; all at 0.3), Small at 0.4 (two of three; all at 0.8)" in WORDS
  edges = rows.groupby("model").edge.first()  # F13 is judged at 0.8, 0.3 and 0.12
  (caveat,) = (rule.caveat for rule in RULES if rule.name == "F13")
  last = of_sweep("edge_kuairand").edge.iloc[0]
  small, large, largest = 0.8 / edges["small"], 0.3 / edges["large"], 0.12 / last
  said = (
    f"{small:.1f} times it for Small, {large:.0f} times it for Large, {largest:.1f} times it for"
  )
  assert said in caveat


def test_the_page_says_where_the_edge_of_naive_is() -> None:
  edge = of_sweep("edge_kuairand").set_index("learning_rate")
  assert set(edge.finished) == {5}
  assert edge.diverged.to_dict() == {
    **{0.06: 0, 0.07: 0, 0.08: 0, 0.09: 2},
    **{0.1: 4, 0.12: 4, 0.15: 5},
  }
  said = "of five seeds none is lost up to 0.08, two at 0.09, four at 0.1 and at 0.12, all at 0.15"
  assert said in WORDS
  text = MEASURES["auc"].text
  least, most = text(edge["mean"][0.08]), text(edge["mean"][0.06])
  assert f"an AUC of {most} at 0.06, of {least} at 0.08" in WORDS
  of_three = of_sweep("calibration_kuairand").set_index("learning_rate").diverged
  assert of_three.to_dict() == {0.0125: 0, 0.025: 0, 0.05: 0, 0.1: 3, 0.2: 3}


def test_the_page_says_what_adam_does() -> None:
  rows = of_sweep("adam_kuairand").set_index(["method", "learning_rate"])
  assert set(rows.finished) == {5}
  assert rows.diverged["clippy"].tolist() == [0, 0, 0, 0]
  assert rows.diverged["naive"].tolist() == [0, 0, 3, 5]
  text = MEASURES["auc"].text
  for method in ("naive", "clippy"):
    best = rows.loc[(method, 0.001)]
    assert f"{text(best['mean'])} ± {text(best.deviation)}, with Clippy and without" in WORDS
  highest = pd.read_csv(ROOT / "docs" / "results" / "table2_kuairand" / "table2.csv")
  highest = highest[(highest.task == "is_click") & (highest.model == "large_dcn") & highest.best]
  (cell,) = highest.to_dict("records")
  assert f"AGC, has {text(cell['mean'])} ± {text(cell['deviation'])}: with each" in WORDS
  words = "At 0.05 Adam loses 3 of 5 runs and at 0.1 all 5, and with Clippy none"
  assert words in WORDS
  aucs = {}
  for experiment, method, more in (
    ("adam", "naive", {"learning_rate": 0.001}),
    (
      "table2",
      "agc",
      {"learning_rate_multiplier": 2.0, "AdaptiveGradientClipping.threshold": 0.01},
    ),
  ):
    runs = pd.read_parquet(ROOT / "docs" / "results" / f"{experiment}_kuairand" / "table.parquet")
    for column, value in {
      "task": "is_click",
      "method": method,
      "model": "large_dcn",
      **more,
    }.items():
      runs = runs[runs[column] == value]
    aucs[method] = runs.set_index("seed").value.reindex([1, 2, 3])
  ahead = paired_difference(aucs["naive"], aucs["agc"])
  least, middle, most = sorted(100 * (aucs["naive"] - aucs["agc"]))
  said = f"by {least:.2f}, {middle:.2f} and {most:.2f} points (p = {ahead.p:.3f}, paired by seeds)"
  assert said in WORDS


def test_the_table_of_adam_in_the_page_about_optimizers_is_that_of_its_runs() -> None:
  rows = of_sweep("adam_kuairand").set_index(["method", "learning_rate"])
  page = (ROOT / "docs" / "optimizers.md").read_text()
  table = re.findall(r"^\| (0\.\d+) \| (\d.*) \| (\d.*) \|$", page, re.MULTILINE)
  table = [row for row in table if "diverged" in row[2] or "bind" in row[2] or "±" in row[2]]
  text = MEASURES["auc"].text
  words = {1: "once", 4: "four times"}
  assert [float(rate) for rate, *_ in table] == [0.001, 0.01, 0.05, 0.1]
  for rate, plain, clipped in table:
    naive, clippy = rows.loc[("naive", float(rate))], rows.loc[("clippy", float(rate))]
    if naive.diverged:
      assert plain.startswith(f"{naive.diverged} of 5 diverged")
    else:
      assert plain == f"{text(naive['mean'])} ± {text(naive.deviation)}"
    assert clipped.startswith(f"{text(clippy['mean'])} ± {text(clippy.deviation)}")
    if clippy.micro_diverged:
      assert clipped.endswith(f"micro-diverged {words[clippy.micro_diverged]}")


def test_the_page_says_what_a_warm_up_and_a_window_save() -> None:
  rows = of_sweep("mitigations_large_dcn_kuairand").set_index("ablation")
  assert set(rows.finished) == {10}
  lost = rows.diverged[["day_constant", "warmup_50", "warmup_150", "window_96h", "window_336h"]]
  assert lost.tolist() == [8, 0, 0, 9, 10]
  text, mean = MEASURES["auc"].text, rows["mean"]
  left = f"{text(mean['day_constant'])} ± {text(rows.deviation['day_constant'])}"
  said = (
    f"where two of ten naive runs are left, at an AUC of {left}, a slower warm-up alone saves ten "
    f"of ten: {text(mean['warmup_50'])} and {text(mean['warmup_150'])} with `LinearWarmUp`"
  )
  assert said in WORDS
  assert f"one is left with 96 hours, at {text(mean['window_96h'])}, and none with 336" in WORDS


def test_both_pages_count_the_findings_as_their_page_does() -> None:
  (counts,) = re.findall(
    r"^On kuairand, of 15 findings .*\.$", (ROOT / "docs" / "findings.md").read_text(), re.MULTILINE
  )
  assert counts in WORDS
  short = counts.removeprefix("On kuairand, of 15 findings ").replace("not reproduced", "not")
  assert f"Of the paper's 15 findings, {short.removesuffix('.')}" in " ".join(README.split())
