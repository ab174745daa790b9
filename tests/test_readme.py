"""The README's commands run, and its first command ends as it says."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from absl import flags

from ranking import main
from ranking.experiments.figures import style
from ranking.experiments.tables.document import MEASURES, p_text

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = [block for block in re.findall(r"```\n(.*?)```", README, re.DOTALL) if "make " in block]
BLOCKS += [block for block in re.findall(r"```\n(.*?)```", README, re.DOTALL) if "-m sc" in block]
TINY_LOG = "Synthetic.days=3 Synthetic.rows_per_day=300 Synthetic.num_users=60"
TINY_RUN = "train_and_evaluate.max_steps=2 train_and_evaluate.batch_size=32"


def lines_that_run() -> list[list[str]]:
  """What the README's blocks would run, by asking bash and make, as words; each config once."""
  make = 'make() { command make --dry-run --silent "$@"; }\n'
  environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
  found: dict[tuple[str, ...], list[str]] = {}
  for block in BLOCKS:
    script = make + block.replace(".venv/bin/python", "printf '%q ' .venv/bin/python")
    printed = subprocess.run(
      ["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment, check=True
    ).stdout
    for part in printed.replace("\\\n", " ").split(".venv/bin/python")[1:]:
      words = shlex.split(part.split("\n.venv")[0])
      key = tuple(word for word in words if not word.startswith(("--run", "--set", "runs/")))
      found.setdefault(key, words)
  return list(found.values())


LINES = lines_that_run()
TRAINING = [line for line in LINES if line[1] in ("ranking.main", "scripts.bench_training")]
LOGS_WITH_TABLE_2 = [("kuairand", "is_click"), ("synthetic", "click")]  # in the order of the page
SCRIPTS = sorted({line[1] for line in LINES} - {"ranking.main", "pytest"})


def test_the_readme_shows_every_log() -> None:
  words = {word for line in TRAINING for word in line}
  assert {f"--data={log}" for log in ("synthetic", "kuairand", "kuairec", "movielens")} <= words


@pytest.mark.parametrize(("log", "task"), LOGS_WITH_TABLE_2)
def test_the_tables_of_the_readme_have_the_figures_of_their_runs(log: str, task: str) -> None:
  figures = pd.read_csv(ROOT / "docs" / "results" / f"table2_{log}" / "table2.csv")
  figures = figures[figures.task == task]
  text = MEASURES["auc"].text
  tables = re.findall(r"^\| \| (Naive .*) \|\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
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


def test_the_readme_has_the_counts_of_table_3() -> None:
  rows = pd.read_csv(ROOT / "docs" / "results" / "table3_kuairand" / "table3.csv")
  rows = rows.set_index("ablation")
  order = ["unchanged", "small_layers", "no_dcn", "one_task_less", "two_tasks_less"]
  counts = [f"{rows.diverged[name]} of {rows.runs[name]}" for name in [*order, "fewer_features"]]
  said = re.search(r"Diverged: (.*?) of its features", " ".join(README.split()))
  assert said is not None
  assert re.findall(r"\d+ of 10", said.group(1)) == counts
  assert list(rows.index[rows.p_holm <= 0.05]) == ["small_layers", "no_dcn"]


def test_the_differences_that_the_readme_names_are_those_of_the_comparison() -> None:
  rows = pd.read_csv(ROOT / "docs" / "results" / "table2_kuairand" / "comparison.csv")
  rows = rows[rows.task == "is_click"].set_index(["model", "method"])
  agc, ours = rows.loc[("large_dcn", "AGC")], rows.loc[("large_dcn", "LayerClippy")]
  said = re.search(
    r"ahead of it on Large\+DCN by (\S+) points \(95 % interval (\S+) to (\S+), .*?p = (\S+) after",
    " ".join(README.split()),
  )
  assert said is not None
  numbers = [100 * ours.difference, 100 * ours.ci95_low, 100 * ours.ci95_high]
  assert list(said.groups()) == [*(f"{number:.2f}" for number in numbers), f"{ours.p_holm:.3f}"]
  here = f"Here AGC is ahead by {100 * agc.difference:.2f} with p = {agc.p_holm:.3f}"
  assert here in " ".join(README.split())
  other = rows.loc[("large_dcn", "AdaGC")]
  numbers = [f"{100 * x:.2f}" for x in (other.difference, other.ci95_low, other.ci95_high)]
  there = f"AdaGC by {numbers[0]} ({numbers[1]} to {numbers[2]}; p {p_text(other.p_holm)})"
  assert there in " ".join(README.split())
  sure = rows[rows.outcome.isin(["better", "worse"])]
  assert list(sure.index) == [("large_dcn", "LayerClippy"), ("large_dcn", "AdaGC")]
  smaller = rows.loc[["small", "large"]].detectable.median()
  half = f"half of the comparisons there could have shown {100 * smaller:.2f} points or less"
  assert half in " ".join(README.split())


def test_the_readme_says_what_became_of_the_survivors() -> None:
  runs = pd.read_parquet(ROOT / "docs" / "results" / "table2_kuairand" / "table.parquet")
  runs = runs[(runs.task == "is_click") & (runs.model == "large_dcn") & (runs.seed > 0)]
  ends = {
    method: [MEASURES["auc"].text(value)[:-1] for value in of.value]
    for method, of in runs[runs.status != "diverged"].groupby("method")
    if method in ("naive", "z_clip")
  }
  words = " ".join(README.split())
  (naive,), (first, second) = ends["naive"], ends["z_clip"]
  assert f"is left ends at {naive}, and the two of ZClip at {first} and {second}" in words


def test_the_readme_says_what_separates_methods_on_the_generated_log() -> None:
  rows = pd.read_csv(ROOT / "docs" / "results" / "table2_synthetic" / "comparison.csv")
  rows = rows[rows.task == "click"].set_index(["model", "method"])
  words = " ".join(README.split())
  for before, place in (
    ("and GC on Large by", ("large", "GC")),
    ("is ahead of it on Large by", ("large", "Clippy, searched")),
    ("and on Large+DCN by", ("large_dcn", "Clippy, searched")),
    ("LayerClippy, without a search, on Large+DCN by", ("large_dcn", "LayerClippy")),
  ):
    row = rows.loc[place]
    assert row.outcome == "better"
    assert f"{before} {100 * row.difference:.2f} (p = {row.p_holm:.3f})" in words
  behind = rows.loc[[("small", name) for name in ("Naive", "GC", "AGC", "LayerClippy")]]
  assert set(behind.outcome) == {"worse"}
  least, most = (f"{100 * x:.2f}" for x in (-behind.difference.max(), -behind.difference.min()))
  assert f"by {least} to {most} points (p at most {behind.p_holm.max():.3f} after" in words


def of_sweep(name: str) -> pd.DataFrame:
  """The AUC of is_click in a sweep's summary.csv."""
  rows = pd.read_csv(ROOT / "docs" / "results" / name / "summary.csv")
  return rows[rows.task == "is_click"]


def test_the_readme_says_how_far_up_each_method_goes() -> None:
  rows = of_sweep("survival_kuairand").set_index(["method", "learning_rate"])
  assert set(rows.finished) == {2}
  found = re.search(r"^\| \| (0\.05 .*) \|\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
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
  assert [name for name, times in edges.items() if times == 128] == [
    *("clippy_tighter", "layer_clippy")
  ]
  assert (edges["lamb"], edges["rms_clip"], edges["z_clip"]) == (32, 2, 2)
  assert {edges[name] for name in ("gc", "agc", "ada_gc", "clippy")} == {8}
  (target,) = set(rows.target_auc)
  slow, fast = rows.steps_to_target["naive", 0.05], rows.steps_to_target["layer_clippy", 1.6]
  said = f"{MEASURES['auc'].text(target)}, takes naive {slow:.0f} steps, LayerClippy at 1.6 takes"
  assert f"{said} {fast:.0f}" in " ".join(README.split())
  ours = ["clippy_tighter", "layer_clippy"]
  best = rows["mean"][~rows.index.isin(ours, level="method")].max()
  assert rows["mean"].loc[[(name, rate) for name in ours for rate in (0.4, 1.6)]].min() >= best
  runs = pd.read_parquet(ROOT / "docs" / "results" / "survival_kuairand" / "table.parquet")
  runs = runs[(runs.task == "is_click") & (runs.method == "clippy") & (runs.learning_rate == 6.4)]
  first, second = map(MEASURES["auc"].text, runs.sort_values("seed").value)
  assert f"the click AUC still was {first} and {second}" in " ".join(README.split())


def test_the_readme_says_what_holds_on_other_days() -> None:
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
  assert said in " ".join(README.split())


def test_the_readme_has_the_figures_at_the_papers_widths() -> None:
  rows = of_sweep("paper_scale_kuairand").set_index(["learning_rate_multiplier", "method"])
  found = re.search(r"^\| Large\+DCN \| (.*) \|\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
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
  assert f"loses {least} to {most} points to everything else" in README


def test_the_readme_says_where_naive_is_lost() -> None:
  rows = of_sweep("naive_limits_kuairand")
  lost = {
    model: dict(zip(of_model.learning_rate, of_model.diverged, strict=True))
    for model, of_model in rows.groupby("model")
  }
  assert set(rows.finished) == {3}
  assert lost["large"] == {0.1: 0, 0.2: 0, 0.3: 3, 0.4: 3, 0.8: 3}
  assert lost["small"] == {0.1: 0, 0.2: 0, 0.3: 0, 0.4: 2, 0.8: 3}
  assert "Large at 0.3, Small at 0.4 (two of three; all at 0.8)" in README


def test_the_readme_says_what_adam_does() -> None:
  rows = of_sweep("adam_kuairand").set_index(["method", "learning_rate"])
  assert set(rows.finished) == {5}
  assert rows.diverged["clippy"].tolist() == [0, 0, 0, 0]
  assert rows.diverged["naive"].tolist() == [0, 0, 4, 5]
  text = MEASURES["auc"].text
  for method in ("naive", "clippy"):
    best = rows.loc[(method, 0.001)]
    assert f"{text(best['mean'])} ± {text(best.deviation)}, with Clippy and without" in README
  highest = pd.read_csv(ROOT / "docs" / "results" / "table2_kuairand" / "table2.csv")
  highest = highest[(highest.task == "is_click") & (highest.model == "large_dcn") & highest.best]
  (cell,) = highest.to_dict("records")
  assert f"has {text(cell['mean'])} ± {text(cell['deviation'])} with three other" in README
  words = " ".join(README.split())
  assert "At 0.05 Adam loses 4 of 5 runs and at 0.1 all 5, and with Clippy none" in words


def test_the_readme_says_what_a_warm_up_and_a_window_save() -> None:
  rows = of_sweep("mitigations_large_dcn_kuairand").set_index("ablation")
  assert set(rows.finished) == {5}
  lost = rows.diverged[["day_constant", "warmup_50", "warmup_150", "window_96h", "window_336h"]]
  assert lost.tolist() == [5, 0, 0, 4, 5]
  words = " ".join(README.split())
  assert "warm-up alone saves five of five naive runs" in words
  assert "leaves one of five alive (96 hours), at an AUC of 61.3, or none (336 hours" in words
  assert MEASURES["auc"].text(rows["mean"]["window_96h"])[:4] == "61.3"


def test_the_readme_counts_the_findings_as_their_page_does() -> None:
  (counts,) = re.findall(
    r"^On kuairand, of 15 findings .*\.$", (ROOT / "docs" / "findings.md").read_text(), re.MULTILINE
  )
  assert counts in README


@pytest.mark.parametrize("line", TRAINING, ids=lambda line: " ".join(line[1:5]))
def test_a_training_command_of_the_readme_runs(
  line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  given = dict(word.removeprefix("--").split("=", 1) for word in line if word.startswith("--"))
  if given.get("raw"):
    folder = Path(os.environ.get("RANKING_RAW_DATA", "nowhere")) / Path(given["raw"]).name
    if folder.name == "kuairec_sample":
      folder = tmp_path / folder.name
      made = [sys.executable, "-m", "scripts.make_kuairec_sample", f"--out={folder}", "--rows=2000"]
      subprocess.run(made, check=True, capture_output=True, cwd=ROOT)
    if not folder.is_dir():
      pytest.skip("no raw data: RANKING_RAW_DATA")
    given["raw"] = str(folder)
  given["run"] = str(tmp_path / "run")
  given["scale"] = "proxy"  # the paper's widths take minutes
  given["set"] = f"{given.get('set', '')} {TINY_LOG} {TINY_RUN}"
  monkeypatch.chdir(tmp_path)
  flags.FLAGS.unparse_flags()
  flags.FLAGS(["main", *(f"--{name}={value}" for name, value in given.items())])
  assert main.main(["main"]) == 0
  assert (tmp_path / "run" / "result.json").is_file()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_of_the_readme_is_there(script: str) -> None:
  assert (ROOT / f"{script.replace('.', '/')}.py").is_file()


def test_the_first_command_ends_as_the_readme_says(tmp_path: Path) -> None:
  """The figures are of one machine: another may differ, but not by the 95 % interval."""
  first = next(line for line in README.splitlines() if line.startswith("make train"))
  environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
  done = subprocess.run(
    [*shlex.split(first), f"RUN={tmp_path / 'run'}"],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=environment,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  result = json.loads((tmp_path / "run" / "result.json").read_text())
  assert result["status"] == "ok"
  for task, measure, value in re.findall(
    r"^  (\w+) +(AUC|RMSE) +(\d\.\d{4})", README, re.MULTILINE
  ):
    entry = result["metrics"][task]
    low, high = entry["ci95"]
    assert entry[measure.lower()] == pytest.approx(float(value), abs=(high - low) / 2), task


@pytest.mark.parametrize("path", re.findall(r"`((?:ranking|configs|docs|tests)/[\w./]+)`", README))
def test_a_path_of_the_readme_exists(path: str) -> None:
  assert (ROOT / path).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([\w-]+)", README))))
def test_a_make_target_of_the_readme_exists(target: str) -> None:
  assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
