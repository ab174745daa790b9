"""The report: what its first screen says of the figures, what it shows, and what is missing."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import make_report, table3
from experiments.report.verdict import Verdict, verdict
from ranking.sweeps import results
from ranking.sweeps.figures import style
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Method
from ranking.sweeps.tables import rendering, table2
from ranking.sweeps.tables.document import Document, Entry, Table
from tests.test_sweep_results import TRIALS, finished, hold
from tests.test_tables import COUNTS, LOST, SWEEP, End, ablated, table_of

GC = Method("gc", thresholds=[{"GradientClipping.threshold": [0.1, 0.01]}])
CLIPPY = Method("clippy", thresholds=[{"Clippy.absolute_threshold": [0.01]}])
COLUMNS: dict[str, list[str | Method]] = {
  **{"Naive": ["naive"], "GC": [GC], "Clippy": [CLIPPY]},
  "Clippy, searched": [
    CLIPPY,
    Method("tighter", "clippy", thresholds=[{"Clippy.absolute_threshold": [0.001]}]),
  ],
}
SEARCH = Search("table2_kuairand", ["small", "large_dcn"], COLUMNS, learning_rate=0.1)
FIGURES = ("1", "3", "4a", "8")
Ends = Mapping[str, Sequence[End]]


def runs_of(*aucs: Any) -> list[End]:
  """Repeats with these AUCs, in percent; "diverged" for one that did."""
  return [(0.5, 9.0, "diverged") if x == "diverged" else (x / 100, 1.5, "ok") for x in aucs]


# Means 72.00 and 71.00 with standard deviations of 0.10 and 0.30.
ENDS = {"Naive": LOST, "GC": runs_of(71.9, 72, 72.1), "Clippy": runs_of(70.7, 71, 71.3)}


def verdict_of(
  folder: Path, ends: Ends, comparison: pd.DataFrame | None = None, search: Search = SEARCH
) -> Verdict:
  table = table_of(folder, ends, search)
  found = verdict(table2.table2(search, table).figures, table, comparison)
  assert found is not None
  return found


def lines(found: Verdict, model: int = 0) -> list[str]:
  return [" ".join(line) for line in found.models[model].lines]


def pair(method: str, reference: str, low: float, high: float, **more: Any) -> pd.DataFrame:
  """A row of comparison.csv for the small model; the interval in points."""
  row = {
    **{"experiment": SEARCH.name, "model": "small", "reference": reference, "method": method},
    **{"task": "click", "measure": "auc", "difference": (low + high) / 200},
    **{"ci95_low": low / 100, "ci95_high": high / 100, "p_holm": 0.01, "detectable": 0.0018},
    **{"units": 7123, "unit_name": "users and seeds", "seeds": 3},
  }
  return pd.DataFrame([{**row, **more}])


def test_the_first_screen_says_what_was_compared_what_won_by_how_much_and_how_sure(tmp_path: Path):
  found = verdict_of(tmp_path, ENDS)
  assert found.compared == (
    "4 methods on 2 models (Small, Large+DCN): 38 runs of about 260,000 rows of synthetic, at "
    "proxy scale (1/8 of the paper's widths). Judged by the AUC of click in percent (50 is chance) "
    "on the 100 rows of day N, 2026-01-18, the day after."
  )
  assert found.survived == (
    "GC, Clippy and Clippy (searched) survived on every model. "
    "Naive diverged on Small (3 of 3 runs) and Large+DCN (3 of 3 runs)."
  )
  assert (
    found.won
    == "Highest AUC of click: GC on every model. It is a lead over all others on every model."
  )
  assert found.sure == (
    "Over 3 seeds, an AUC varies by 0.10 to 0.30 points (±). Methods were not compared in pairs: a "
    "lead is a gap wider than both ± and no more than that. Settings were chosen by these same "
    "rows, which flatters what was searched most."
  )
  assert [each.heading for each in found.models] == ["GC leads", "GC leads"]
  assert lines(found) == [
    "72.00 GC, ± 0.10 over seeds",
    "−1.00 runner-up Clippy: behind, ± apart",
  ]


def test_a_search_on_an_earlier_day_is_no_part_of_what_the_verdict_is_judged_by(tmp_path: Path):
  search = dataclasses.replace(SEARCH, search_days_earlier=3)
  for trial in search.trials():
    status = "diverged" if trial.coordinates["method"] == "naive" else "ok"
    early = {**finished(trial, 0.6, status=status), "eval_day": "2026-01-15", "steps": 9999}
    hold(tmp_path, trial, result=early)
  found = verdict_of(tmp_path, ENDS, search=search)
  trials = len(search.trials())
  runs = f"{38 - trials} runs of about 260,000 rows of synthetic"
  assert f"{runs}, after a search of {trials} shorter runs, at proxy scale" in found.compared
  assert "day N, 2026-01-18, the day after" in found.compared
  assert found.sure.endswith("Settings were chosen by an earlier day, not by these rows.")


def test_a_changed_figure_changes_the_sentence(tmp_path: Path):
  better = {**ENDS, "Clippy": runs_of(72.7, 73, 73.3)}
  found = verdict_of(tmp_path, better)
  assert found.models[0].heading == "Clippy leads"
  assert lines(found) == [
    "73.00 Clippy, ± 0.30 over seeds",
    "−1.00 runner-up GC: behind, ± apart",
  ]


@pytest.mark.parametrize(("gap", "state"), [(0.39, "tied"), (0.41, "leads")])
def test_a_gap_that_both_deviations_cover_is_a_tie(gap: float, state: str, tmp_path: Path):
  ends = {**ENDS, "Clippy": runs_of(*(72 - gap + x for x in (-0.3, 0, 0.3)))}
  found = verdict_of(tmp_path, ends)
  assert found.models[0].state == state
  if state == "tied":
    assert found.models[0].heading == "Tied: GC and Clippy"
    assert lines(found)[1] == "−0.39 runner-up Clippy: tied, ± overlap"
    assert found.won.endswith("It is a tie on every model: no method won.")


@pytest.mark.parametrize(
  ("comparison", "state", "line"),
  [
    (pair("GC", "Clippy", 0.6, 1.4), "leads", "behind, paired +0.60 … +1.40"),
    (pair("GC", "Clippy", -0.1, 2.1), "tied", "tied, paired −0.10 … +2.10"),
    (pair("gc", "clippy", 0.7, 1.5), "leads", "behind, paired +1.10, +0.70 … +1.50"),
    (pair("Clippy", "GC", -1.4, -0.6), "leads", "behind, paired +0.60 … +1.40"),
    (pair("Clippy", "GC", 0.1, 0.3), "tied", "tied, paired −0.20, −0.30 … −0.10"),
    (
      *(pair("GC", "Clippy", 0.6, 1.4, p_holm=0.08), "tied"),
      "tied, paired +0.60 … +1.40, but p = 0.08 after Holm's correction",
    ),
    (pair("GC", "Clippy", 0.6, 1.4, model="large"), "leads", "behind, ± apart"),
    (pair("GC", "Clippy", 0.6, 1.4, ci95_low=float("nan")), "leads", "behind, ± apart"),
  ],
)
def test_a_paired_difference_decides_by_its_interval(
  comparison: pd.DataFrame, state: str, line: str, tmp_path: Path
):
  found = verdict_of(tmp_path, ENDS, comparison)
  assert found.models[0].state == state
  assert lines(found)[1] == f"−1.00 runner-up Clippy: {line}"
  assert (
    "Paired differences (95 % intervals over 7,123 users and 3 seeds) would show 0.18 "
    "points 4 times in 5; smaller ones may be there unseen." in found.sure
  )


def test_a_significant_pair_is_a_tie_while_seeds_overlap(tmp_path: Path):
  ends = {**ENDS, "Clippy": runs_of(71.4, 71.7, 72)}
  found = verdict_of(tmp_path, ends, pair("GC", "Clippy", 0.1, 0.5))
  assert lines(found)[1] == "−0.30 runner-up Clippy: tied, paired +0.10 … +0.50, but ± overlap"


def test_a_tie_with_another_than_the_runner_up_is_a_tie(tmp_path: Path):
  columns: dict[str, list[str | Method]] = {**COLUMNS, "LAMB": ["lamb"]}
  search = Search("table2_kuairand", ["small"], columns, learning_rate=0.1)
  ends = {**ENDS, "Clippy": runs_of(71.7, 71.71, 71.72), "LAMB": runs_of(70.6, 71.6, 72.6)}
  found = verdict_of(tmp_path, ends, search=search)
  assert found.models[0].heading == "Tied: GC and LAMB"
  assert lines(found)[1].endswith("Clippy: behind, ± apart")


def test_what_prints_as_no_gap_has_no_sign(tmp_path: Path):
  found = verdict_of(tmp_path, {**ENDS, "Clippy": runs_of(71.699, 71.999, 72.299)})
  assert lines(found)[1] == "0.00 runner-up Clippy: tied, ± overlap"


def test_of_many_ties_some_are_named_and_the_rest_counted(tmp_path: Path):
  names = [f"M{k}" for k in range(6)]
  search = Search("t", ["small"], {**COLUMNS, **{name: [name] for name in names}}, 0.1)
  tied = {name: runs_of(71, 71.9 - k / 100, 72.8) for k, name in enumerate(names)}
  found = verdict_of(tmp_path, {**ENDS, **tied}, search=search)
  assert found.models[0].heading == "Tied: GC and 6 others"
  assert [line.partition(" ")[2] for line in lines(found)[1:]] == [
    "runner-up M0: tied, ± overlap",
    "Clippy: behind, ± apart",
    "Also tied: M1, M2 and 3 more",
  ]


def test_diverged_and_unfinished_methods_are_named(tmp_path: Path):
  ends = {**ENDS, "GC": runs_of(70, 71), "Clippy": runs_of(70, "diverged", "diverged")}
  found = verdict_of(tmp_path, ends)
  assert found.survived == (
    "No method survived on every model. "
    "Naive diverged on Small (3 of 3 runs) and Large+DCN (3 of 3 runs). "
    "Clippy and Clippy (searched) diverged on Small (2 of 3 runs) and Large+DCN (2 of 3 runs). "
    "Not finished: GC on Small and GC on Large+DCN."
  )
  assert found.models[0].heading == "Not finished"
  assert found.won == "No method has a figure of click yet."


def test_a_diverged_clippy_is_said_beside_the_leader(tmp_path: Path):
  found = verdict_of(tmp_path, {**ENDS, "Clippy": runs_of(70, "diverged", 70)})
  assert lines(found) == ["72.00 GC, ± 0.10 over seeds", "– Clippy: diverged (1 of 3)"]
  assert found.models[0].heading == "GC alone is left"


def test_nobody_leads_while_a_method_is_not_finished(tmp_path: Path):
  begun = verdict_of(tmp_path, {**ENDS, "GC": runs_of(75, 75.1)})
  assert begun.models[0].heading == "Clippy is highest so far, 1 not finished"
  assert "It is a lead" not in begun.won
  assert "Not finished: GC on Small" in begun.survived


def test_one_run_each_says_nothing_of_chance(tmp_path: Path):
  search = Search("table2_kuairand", ["small"], COLUMNS, learning_rate=0.1, seeds=[1])
  ends = {"Naive": LOST[:1], "GC": runs_of(72), "Clippy": runs_of(60)}
  found = verdict_of(tmp_path, ends, search=search)
  assert found.models[0].heading == "GC is highest, too few runs to tell"
  assert lines(found)[1] == "−12.00 runner-up Clippy: one run each says nothing of chance"
  assert found.won == "Highest AUC of click: GC on Small. There is too little to tell on Small."


def test_without_a_repeat_there_is_no_verdict(tmp_path: Path):
  table = table_of(tmp_path, {}, SEARCH)
  found = verdict(table2.table2(SEARCH, table).figures, table)
  assert found is None  # the runs of the search are no figures
  begun = table[table.trial != SEARCH.trials()[0].name]
  one = dataclasses.replace(SEARCH, models=["small"], columns={"Naive": ["naive"]})
  assert verdict(table2.table2(one, begun).figures, begun) is None


def test_without_a_finished_run_there_is_no_verdict(tmp_path: Path):
  for trial in SEARCH.trials():
    hold(tmp_path, trial)
  table = results.read([tmp_path])
  assert verdict(table2.table2(SEARCH, table).figures, table) is None


def draw(stem: Path, width: float = 3.3) -> None:
  figure = Figure(figsize=(width, 2))
  figure.subplots().plot([1, 3, 2])
  style.save(figure, stem)


def project(folder: Path, ends: Ends = ENDS, search: Search = SEARCH) -> list[str]:
  """A folder with one of everything; returns the arguments that name it."""
  runs, root = folder / "runs", folder / "runs" / search.name
  table = table_of(root, ends, search)
  rendering.write(table2.table2(search, table), root / "table2")
  results.write(table, root / "table")
  root = runs / "table3_kuairand"
  rendering.write(table3.table3(SWEEP, ablated(root, COUNTS)), root / "table3")
  for name, file in (
    *(("survival_kuairand", "summary"), ("adam_kuairand", "summary")),
    *(("days_kuairand", "comparison"),),
  ):
    rows = [[Entry("gc"), Entry("72.0", "best")]]
    of = Document(f"{name}: what survives", ["a"], [Table("c", ["m", "x"], rows)], pd.DataFrame())
    rendering.write(of, runs / name / file)
  pair("GC", "Clippy", 0.6, 1.4).to_csv(runs / "days_kuairand" / "comparison.csv")
  hold(runs / "odd=name, with 100%", TRIALS[0])
  hold(runs, TRIALS[1], result=finished(TRIALS[1], status="micro_diverged"))
  draw(runs / "survival_kuairand" / "survival_map", 6.6)
  for name in FIGURES:
    draw(folder / "docs" / "figures" / "kuairand" / f"figure_{name}")
  draw(folder / "docs" / "own")
  (folder / "docs" / "findings.md").write_text(
    "# Findings\n\n## Naive is lost\n\n[Table 2](../runs/table2_kuairand/table2.md#x), "
    "[paper](https://example.org).\n\n![own](own.png)\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n"
  )
  return arguments(folder)


def arguments(folder: Path) -> list[str]:
  places = {"runs": "runs", "out": "runs/report.html", "findings": "docs/findings.md"}
  places |= {"figures": "docs/figures", "experiments": "experiments", "published": "docs/results"}
  return [f"--{name}={folder / place}" for name, place in places.items()]


def made(folder: Path, *more: str) -> str:
  assert make_report.main([*arguments(folder), *more]) == 0
  return (folder / "runs" / "report.html").read_text()


class Page(HTMLParser):
  """Attributes of every element by tag, the tags that are open, ids, and all text."""

  def __init__(self, text: str):
    super().__init__()
    self.found: list[tuple[str, dict[str, str]]] = []
    self.open: list[str] = []
    self.text = ""
    self.feed(text)

  def handle_starttag(self, tag: str, attrs: Any) -> None:
    self.found.append((tag, dict(attrs)))
    if tag not in ("meta", "link", "img", "br", "hr"):
      self.open.append(tag)

  def handle_startendtag(self, tag: str, attrs: Any) -> None:
    self.found.append((tag, dict(attrs)))

  def handle_endtag(self, tag: str) -> None:
    assert self.open.pop() == tag

  def handle_data(self, data: str) -> None:
    self.text += data

  def all(self, tag: str, attribute: str) -> list[str]:
    return [attrs[attribute] for name, attrs in self.found if name == tag and attribute in attrs]


def test_the_page_has_everything_once_and_in_order(tmp_path: Path):
  project(tmp_path)
  page = Page(made(tmp_path))
  assert page.open == []
  sections = ["findings", "table2", "survival", "table3", "figures", "statistics", "beyond", "runs"]
  ids = page.all("section", "id")
  assert ids == sections
  assert page.all("a", "href")[: len(ids)] == [f"#{name}" for name in ids]
  pictures = page.all("img", "alt")
  assert pictures[0] == "own"
  assert pictures[1] == ("Survival map: which method survives which learning rate, and how well")
  assert [each.split(":")[0] for each in pictures[2:]] == [f"Figure {name}" for name in FIGURES]
  for sentence in ("GC leads", "behind, paired +0.60 … +1.40", "38 runs of about 260,000 rows"):
    assert sentence in page.text
  styles = re.findall(r"<style>.*?</style>", made(tmp_path), re.DOTALL)
  assert len(styles) == 1
  assert styles[0].count(rendering.CSS.splitlines()[0]) == 1


def test_a_map_stands_before_the_table_of_its_sweep(tmp_path: Path):
  project(tmp_path)
  survival = made(tmp_path).split('<section id="survival">')[1].split("</section>")[0]
  assert survival.index("what survives</h3>") < survival.index("<img") < survival.index("<table>")
  assert '<figure class="wide">' in survival


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path):
  project(tmp_path)
  text = made(tmp_path)
  page = Page(text)
  assert all(source.startswith("data:image/") for source in page.all("img", "src"))
  assert page.all("link", "href") == ["data:,"]
  assert not re.search(r"<script|<iframe|<object|<embed|url\(|@import|srcset| style=", text)
  outside = [link for link in page.all("a", "href") if re.match(r"\w+:|//", link)]
  assert outside == ["https://example.org"]


def test_links_are_relative_and_lead_somewhere(tmp_path: Path):
  project(tmp_path)
  page = Page(made(tmp_path))
  ids = {attrs["id"] for _, attrs in page.found if "id" in attrs}
  files = []
  for link in page.all("a", "href"):
    file, _, place = link.partition("#")
    if file and not file.startswith("https:"):
      assert not file.startswith("/")
      files.append(unquote(file))
      assert (tmp_path / "runs" / files[-1]).exists(), link
    elif not file:
      assert place in ids
  runs = {str(path.parent.relative_to(tmp_path / "runs")) for path in tmp_path.rglob("trial.json")}
  assert runs <= {file.rstrip("/") for file in files}
  assert len(runs) > 60


def test_every_link_within_the_page_leads_somewhere(tmp_path: Path):
  project(tmp_path)
  findings = tmp_path / "docs" / "findings.md"
  findings.write_text("# All\n\n| |\n|---|\n| [F1](#f1) |\n\n## F1\n\nA.\n")
  page = Page(made(tmp_path))
  ids = {attrs["id"] for _, attrs in page.found if "id" in attrs}
  inside = {link for link in page.all("a", "href") if link.startswith("#")}
  assert "#f1" in inside
  assert inside <= {f"#{name}" for name in ids}


def test_links_start_from_where_the_page_is(tmp_path: Path):
  project(tmp_path)
  out = tmp_path / "elsewhere" / "page.html"
  assert make_report.main([*arguments(tmp_path), f"--out={out}"]) == 0
  page = Page(out.read_text())
  assert f"../runs/{TRIALS[1].name}/" in [unquote(x) for x in page.all("a", "href")]


def test_runs_are_listed_by_experiment_with_how_they_ended(tmp_path: Path):
  project(tmp_path)
  text = made(tmp_path)
  assert "<summary>table2_kuairand: " in text
  assert "<summary>Single runs: 1 micro-diverged</summary>" in text
  assert "<summary>odd=name, with 100%: 1 unfinished</summary>" in text


def test_what_is_missing_is_named_with_its_command(tmp_path: Path):
  hold(tmp_path / "runs" / "adam", TRIALS[0])
  (tmp_path / "experiments").mkdir()
  for name in ("table2_movielens", "methods_synthetic", "adam"):
    (tmp_path / "experiments" / f"{name}.gin").touch()
  page = Page(made(tmp_path))
  assert "no verdict yet, because no Table 2 is finished: make table2 DATA=kuairand" in page.text
  for line in (
    "Table 2 of kuairand: make table2 DATA=kuairand",
    "Table 3 of kuairand: make table3 DATA=kuairand",
    "Survival map of kuairand: make sweep SWEEP=experiments/survival_kuairand.gin",
    "Figures of kuairand: make figures DATA=kuairand",
    "Table 2 of movielens: make table2 DATA=movielens",
    "Figures of synthetic: make figures DATA=synthetic",
    "adam: make sweep SWEEP=experiments/adam.gin",
    "make compare DATA=kuairand",
    "Findings: make findings",
  ):
    assert line in page.text
  assert page.all("section", "id") == ["missing", "runs"]


def test_what_is_there_is_not_missing(tmp_path: Path):
  project(tmp_path)
  text = made(tmp_path)
  for command in (
    "make table2",
    "make table3",
    "make figures",
    "survival_kuairand.gin",
    "make_findings",
  ):
    assert command not in text


def test_another_table_2_is_the_headline_where_the_wanted_one_is_not_finished(tmp_path: Path):
  project(tmp_path)
  page = Page(made(tmp_path, "--data=movielens"))
  assert "38 runs of about" in page.text
  assert "make table2 DATA=movielens" in page.text


def test_findings_are_shown_with_their_pictures_and_links(tmp_path: Path):
  project(tmp_path)
  findings = made(tmp_path).split('<section id="findings">')[1].split("</section>")[0]
  assert findings.count("Findings") == 1
  assert "<h3>Naive is lost</h3>" in findings
  assert '<div class="scroll"><table>' in findings
  assert 'href="table2_kuairand/table2.md#x"' in findings
  assert '<img alt="own" src="data:image/png;base64,' in findings


def test_the_same_files_give_the_same_page(tmp_path: Path):
  project(tmp_path)
  assert made(tmp_path) == made(tmp_path)


@pytest.mark.parametrize(
  ("file", "content", "message"),
  [
    ("runs/table2_kuairand/table2.csv", "a,b\n1,2\n", "has no column 'model'; make it again"),
    ("runs/table2_kuairand/table.parquet", "a", "cannot be read (ArrowInvalid); make it again"),
    (
      "runs/days_kuairand/comparison.csv",
      "experiment\n1\n",
      "has no column 'model'; make it again",
    ),
    ("docs/findings.md", "![x](gone.png)", "shows a picture that is not there: gone.png"),
  ],
)
def test_a_file_that_cannot_be_read_is_one_line_and_leaves_the_page_as_it_was(
  file: str, content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
  given = project(tmp_path)
  before = made(tmp_path)
  (tmp_path / file).write_text(content)
  capsys.readouterr()
  assert make_report.main(given) == 2
  assert capsys.readouterr().err == f"error: {tmp_path / file} {message}\n"
  assert (tmp_path / "runs" / "report.html").read_text() == before
  assert not list((tmp_path / "runs").glob(".*"))


def test_nothing_to_report_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
  assert make_report.main(arguments(tmp_path)) == 2
  assert capsys.readouterr().err == (
    f"error: nothing to report below {tmp_path / 'runs'}; run: make table2 DATA=kuairand\n"
  )
  assert not (tmp_path / "runs").exists()
