"""The README's figures are those of published runs, and its first command ends as it says."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from ranking.measures.differences import paired_difference

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
README = (ROOT / "README.md").read_text()
WORDS = " ".join(README.split())  # wherever its lines break
METHODS = {
  "Naive": "naive",
  "GC": "gc",
  "AGC": "agc",
  "LAMB": "lamb",
  "Clippy": "clippy",
  "Clippy, searched": "clippy_tighter",
  "LayerClippy": "layer_clippy",
}
LOGS = {
  "AUC on KuaiRand": ("table2_kuairand", "is_click"),
  "AUC on 2 M generated rows": ("table2_synthetic", "click"),
}


def table() -> dict[str, dict[str, str]]:
  """The README's table: row → column → cell."""
  found = re.search(r"^\| Large\+DCN \| (.*) \|\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
  assert found is not None
  columns = found.group(1).split(" | ")
  rows = (line[2:-2].split(" | ") for line in found.group(2).splitlines())
  return {name: dict(zip(columns, cells, strict=True)) for name, *cells in rows}


def summary(experiment: str) -> pd.DataFrame:
  rows = pd.read_csv(RESULTS / experiment / "summary.csv")
  return rows[rows.task == "is_click"]


def searched(log: str) -> pd.DataFrame:
  """The rows of a published Table 2: one for each model and column, of the first task."""
  name, task = LOGS[log]
  rows = pd.read_csv(RESULTS / name / "table2.csv")
  return rows[rows.task == task].set_index(["model", "column"])


def percent(value: float) -> str:
  return f"{100 * value:.2f}"


def test_the_first_command_ends_as_the_readme_says(tmp_path: Path) -> None:
  """The figures are of one machine: another may differ, but not by the 95 % interval."""
  first = next(line for line in README.splitlines() if line.startswith("make train"))
  given = dict(word.split("=", 1) for word in shlex.split(first)[2:])
  words = [f"--{name.lower()}={value}" for name, value in given.items()]
  done = subprocess.run(
    [sys.executable, "-m", "ranking", "train", *words, f"--run={tmp_path / 'run'}"],
    capture_output=True,
    text=True,
    cwd=tmp_path,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert result["status"] == "ok"
  row = r"^  (\w+) +(AUC|RMSE) +(\d\.\d{4}) .* (\d\.\d{3}) +\d\.\d{3} +ok$"
  figures = re.findall(row, README, re.MULTILINE)
  assert {task for task, *_ in figures} == result["metrics"].keys()
  for task, measure, value, relative_loss in figures:
    entry = result["metrics"][task]
    low, high = entry["ci95"]
    assert entry[measure.lower()] == pytest.approx(float(value), abs=(high - low) / 2), task
    low, high = entry["relative_loss_ci95"]
    assert entry["relative_loss"] == pytest.approx(float(relative_loss), abs=(high - low) / 2), task


@pytest.mark.parametrize(("log", "place"), [("synthetic", 0), ("kuairand", 1)])
def test_what_a_warm_up_and_a_tighter_threshold_are_worth(log: str, place: int) -> None:
  found = re.search(
    r"0\.001 ends at ([\d.]+) on .* and at ([\d.]+) on .* 0\.01 at ([\d.]+) and ([\d.]+), "
    r"and naive at ([\d.]+) and ([\d.]+) \(three",
    WORDS,
  )
  assert found is not None
  tighter, papers, naive = (found.groups()[k + place] for k in (0, 2, 4))
  runs = pd.read_parquet(RESULTS / f"defaults_{log}" / "table.parquet")
  runs = runs[runs.task == runs.task.iloc[0]].fillna({"Clippy.absolute_threshold": 0.0})
  settings = runs.groupby(["method", "Clippy.absolute_threshold", "learning_rate"])
  calm = settings.filter(lambda seeds: (seeds.status == "ok").all()).groupby(settings.keys)
  auc = calm.value.mean()
  for method, threshold, said in (
    ("clippy", 1e-3, tighter),
    ("clippy", 1e-2, papers),
    ("naive", 0.0, naive),
  ):
    assert said == percent(auc.loc[method, threshold].max())
  highest = auc.reset_index().groupby(["method", "Clippy.absolute_threshold"]).learning_rate.max()
  assert highest["clippy", 1e-3] == 0.8
  assert {highest["clippy", 1e-2], highest["naive", 0.0]} <= {0.1, 0.2}


def test_the_table_of_a_warm_up_has_the_auc_and_the_losses_of_its_runs() -> None:
  lines = [
    line for line in README.splitlines() if re.match(r"\| (Click AUC after|[01]\.\d )", line)
  ]
  columns, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
  settings = {
    "Naive": ("warmups", "naive", "default"),
    "GC, 0.01": ("base_rate", "gc", "threshold=0.01"),
    "AGC, 0.001": ("base_rate", "agc", "threshold=0.001"),
    "Clippy, 0.01": ("base_rate", "clippy", "default"),
    "Clippy, 0.001": (
      "base_rate",
      "clippy_tighter",
      "relative_threshold=0.5 absolute_threshold=0.001",
    ),
    "LayerClippy": ("base_rate", "layer_clippy", "default"),
  }
  assert columns[1:] == [*settings]
  for rate, *cells in rows:
    for (sweep, method, thresholds), cell in zip(settings.values(), cells, strict=True):
      runs = pd.read_parquet(RESULTS / f"{sweep}_synthetic_late" / "table.parquet")
      runs = runs[(runs.task == "click") & (runs.method == method)]
      runs = runs[(runs.thresholds == thresholds) & (runs.learning_rate == float(rate))]
      runs = runs[runs.ablation != "warmup_600"]
      lost = (runs.status == "diverged").sum()
      if cell == "–":
        assert runs.empty
      elif lost:
        assert cell == f"lost, {lost} of {len(runs)}"
      else:
        assert cell == percent(runs.value.mean())


def test_a_rate_beyond_naives_is_worth_what_the_readme_says() -> None:
  said = re.search(
    r"best is ([\d.]+), at 0.1 and 0.2 .* worth ([\d.]+) to ([\d.]+) points here", WORDS
  )
  assert said is not None
  runs = pd.concat(
    pd.read_parquet(RESULTS / f"{sweep}_synthetic_late" / "table.parquet")
    for sweep in ("low_rates", "calibration", "warmups", "base_rate")
  )
  runs = runs[(runs.task == "click") & (runs.measure == "auc")]
  naive = runs[(runs.method == "naive") & (runs.status != "diverged")]
  naive = naive.groupby(["ablation", "learning_rate"]).value.mean()
  best = percent(naive.max())
  assert said[1] == percent(naive["none", 0.1]) == percent(naive["none", 0.2]) == best
  others = runs[runs.learning_rate == 1.2].groupby(["method", "thresholds"])
  gains = [
    100 * (others.get_group(key).value.mean() - naive.max())
    for key in (
      ("gc", "threshold=0.01"),
      ("agc", "threshold=0.001"),
      ("clippy_tighter", "relative_threshold=0.5 absolute_threshold=0.001"),
      ("layer_clippy", "default"),
    )
  ]
  assert (said[2], said[3]) == (f"{min(gains):.1f}", f"{max(gains):.1f}")


def test_on_a_real_log_naive_is_lost_and_a_low_rate_is_as_good_as_the_readme_says() -> None:
  said = re.search(
    r"lost with (\d) of (\d) seeds, and no other method is\. .* Naive ends at ([\d.]+) with a rate "
    r"of 0\.1, and the best of the others at 0\.6, LayerClippy, at ([\d.]+), which may be chance",
    WORDS,
  )
  assert said is not None
  runs = pd.concat(
    pd.read_parquet(RESULTS / f"{sweep}_kuairand_late" / "table.parquet")
    for sweep in ("low_rates", "ramp", "base_rate")
  )
  runs = runs[(runs.task == "is_click") & (runs.measure == "auc")]
  naive, others = runs[runs.method == "naive"], runs[runs.method != "naive"]
  at_base, treated = naive[naive.learning_rate == 0.6], others[others.learning_rate == 0.6]
  assert (said[1], said[2]) == (str((at_base.status == "diverged").sum()), str(len(at_base)))
  assert not (treated.status == "diverged").any()
  low = naive[naive.learning_rate == 0.1].value
  best = treated.groupby(["method", "thresholds"]).value.mean()
  assert best.idxmax()[0] == "layer_clippy"
  assert (said[3], said[4]) == (percent(low.mean()), percent(best.max()))
  layer = treated[treated.method == "layer_clippy"].value
  assert stats.ttest_ind(layer, low, equal_var=False).pvalue > 0.01  # of four methods


@pytest.mark.parametrize("log", LOGS)
def test_the_table_has_the_auc_of_every_searched_method(log: str) -> None:
  rows = searched(log).loc["large_dcn"]
  for column, cell in table()[log].items():
    value = percent(rows["mean"][column])
    assert cell == (value if rows.outcome[column] == "ok" else "diverged"), column


def test_the_table_has_the_auc_at_the_papers_widths() -> None:
  rows = summary("paper_scale_kuairand").set_index(["learning_rate_multiplier", "method"])
  for column, cell in table()["AUC on KuaiRand, the paper's widths"].items():
    if column == "Clippy, searched":
      assert cell == "–"
    else:
      row = rows.loc[(1.0, METHODS[column])]
      assert cell == ("diverged" if row.diverged else percent(row["mean"])), column


def test_the_table_has_the_highest_rate_that_each_method_survived() -> None:
  rows = summary("survival_kuairand")
  edges = rows.groupby("method").edge.first()
  for column, cell in table()["Highest learning rate survived, KuaiRand"].items():
    edge = edges[METHODS[column]]
    assert cell == (f"≥ {edge:g}" if edge == rows.learning_rate.max() else f"{edge:g}"), column


def test_layer_clippy_tolerates_rates_at_which_every_unsearched_rival_diverges() -> None:
  assert "tolerates learning rates at which every unsearched rival diverges" in WORDS
  rows = summary("survival_kuairand")
  highest = rows[rows.learning_rate == rows.learning_rate.max()].set_index("method").diverged
  assert highest.index[highest == 0].tolist() == ["clippy_tighter", "layer_clippy"]


def test_layer_clippy_is_as_near_to_the_best_as_the_readme_says() -> None:
  assert "within 0.1 points of the best in each row of AUC above" in WORDS
  for name, cells in table().items():
    if name.startswith("AUC"):
      *others, ours = (float(cell) for cell in cells.values() if cell not in ("diverged", "–"))
      assert max(others) - ours <= 0.1 + 1e-9, name
  assert "On the smallest model it is 0.1 points behind Clippy" in WORDS
  for log in LOGS:
    means = searched(log)["mean"].to_dict()
    behind = means["small", "Clippy"] - means["small", "LayerClippy"]
    assert f"{100 * behind:.1f}" == "0.1", log


def test_agc_leads_over_seven_days_by_what_the_readme_says() -> None:
  runs = pd.read_parquet(RESULTS / "days_kuairand" / "table.parquet")
  by_day = runs[runs.task == "is_click"].pivot_table("value", "eval_day", ["method", "seed"])
  over_clippy, over_layer_clippy = (
    100 * paired_difference(by_day["agc"], by_day[other]).value
    for other in ("clippy", "layer_clippy")
  )
  assert len(by_day) == 7
  said = f"{over_clippy:.2f} points over Clippy, {over_layer_clippy:.2f} over LayerClippy"
  assert said in WORDS


def test_the_papers_clippy_wins_only_on_the_smallest_model_of_the_generated_log() -> None:
  winners = []
  for log in LOGS:
    finished = searched(log)[lambda rows: rows.outcome == "ok"]
    best = finished["mean"].groupby("model").idxmax()
    winners += [(log, model) for model, column in best if column == "Clippy"]
  assert winners == [("AUC on 2 M generated rows", "small")]


def test_an_absolute_threshold_too_wide_costs_about_two_points_at_the_papers_widths() -> None:
  rows = summary("paper_scale_kuairand")
  means = rows[rows.learning_rate_multiplier == 1.0].set_index("method")["mean"].dropna()
  others = means.drop("clippy")
  assert 100 * (others.min() - means["clippy"]) > 1.5
  assert 100 * (others.max() - means["clippy"]) < 2.5
  assert "at the paper's widths it costs about 2 points" in WORDS


def test_what_saves_the_largest_model_is_lost_in_no_run() -> None:
  """Every method of the table at 1x and 2x; half the rate, a slower warm-up, Adam at 0.001."""
  rows = summary("methods_kuairand").query("model == 'large_dcn'")
  lost = rows.groupby("method")[["diverged", "finished"]].sum()
  assert lost.diverged["naive"] == lost.finished["naive"]
  others = {"naive", "clippy_tighter"}
  assert (lost.diverged[sorted(set(METHODS.values()) - others)] == 0).all()
  assert (summary("survival_kuairand").query("method == 'naive'").diverged.iloc[0]) == 0
  warmed = summary("mitigations_large_dcn_kuairand").set_index("ablation").diverged
  assert warmed[["warmup_50", "warmup_150"]].tolist() == [0, 0]
  adam = summary("adam_kuairand").query("method == 'naive' and learning_rate == 0.001")
  assert adam.diverged.item() == 0


def test_the_readme_counts_the_findings_as_their_page_does() -> None:
  page = (ROOT / "experiments" / "findings.md").read_text()
  row = r"^\| \[F\d+b?\].* \| ([\w ]+) \| ([\w ]+) \| [\w ]+ \|$"
  at_the_start, later = zip(*re.findall(row, page, re.MULTILINE), strict=True)
  assert len(later) == 16  # F9 is two questions
  assert "**Of the paper's 15 findings, asked as 16 questions**" in WORDS
  said = ("{} were reproduced, {} were not, and {} are undecided", "mid-training, {}, {} and {}.")
  for verdicts, words in zip((at_the_start, later), said, strict=True):
    counts = [verdicts.count(verdict) for verdict in ("reproduced", "not reproduced", "undecided")]
    assert words.format(*counts) in WORDS.replace("](experiments/findings.md)", "")


def test_the_page_of_logs_has_the_figures_of_its_command() -> None:
  runs = pd.read_parquet(RESULTS / "methods_kuairand" / "table.parquet")
  run = runs[runs.trial == "small-clippy-times=1-seed=0"].set_index("task")
  page = " ".join((ROOT / "docs" / "logs.md").read_text().split())
  click, view = run.loc["is_click"], run.loc["long_view"]
  interval = f"(95 % interval {click.ci95_low:.4f} to {click.ci95_high:.4f})"
  said = (
    f"an AUC of {click.value:.4f} for is_click {interval} and of {view.value:.4f} for long_view"
  )
  assert said in page
