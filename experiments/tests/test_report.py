"""The report: what it shows, where its links lead, and what it says is missing."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

from experiments.tests.project import FIGURES, Page, made, project, report, run


def section(text: str, name: str) -> str:
  return text.split(f'<section id="{name}">')[1].split("</section>")[0]


def test_the_page_has_everything_once_and_in_order(tmp_path: Path):
  project(tmp_path)
  text = made(tmp_path)
  page = Page(text)
  assert page.open == []
  sections = ["findings", "table2", "survival", "table3", "figures", "statistics", "beyond", "runs"]
  assert page.all("section", "id") == sections
  assert page.all("a", "href")[: len(sections)] == [f"#{name}" for name in sections]
  pictures = page.all("img", "alt")
  assert pictures[0] == "Survival map: which method survives which learning rate, and how well"
  assert [each.split(":")[0] for each in pictures[1:]] == [f"Figure {name}" for name in FIGURES]
  assert text == made(tmp_path)  # the same files give the same page


def test_tables_have_the_figures_of_their_files(tmp_path: Path):
  project(tmp_path)
  text = made(tmp_path)
  assert "<u>74.01 ± 0.06</u>" in section(text, "table2")
  assert '<em class="lost">diverged (2 of 3)</em>' in section(text, "table2")
  assert "<td>unchanged</td><td" in section(text, "table3")
  assert "<td>80%</td><td>49% … 94%</td>" in section(text, "table3")
  days = Page(section(text, "statistics")).text
  assert "Large+DCN2022-05-02 … 2022-05-08is_click AUC (%) ↑agc+0.16+0.09 … +0.24" in days
  assert "Every method minus clippy." in days
  assert "Day by day" in days
  survival = Page(section(text, "survival")).text
  assert "73.99 ± " in survival
  assert "learning rate" in survival


def test_a_map_stands_before_the_table_of_its_sweep(tmp_path: Path):
  project(tmp_path)
  survival = section(made(tmp_path), "survival")
  assert survival.index("</h3>") < survival.index("<img") < survival.index("<table>")
  assert '<figure class="wide">' in survival


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path):
  project(tmp_path)
  text = made(tmp_path)
  page = Page(text)
  assert all(source.startswith("data:image/") for source in page.all("img", "src"))
  assert page.all("link", "href") == ["data:,"]
  assert not re.search(r"<script|<iframe|<object|<embed|url\(|@import|srcset| style=", text)
  assert not [link for link in page.all("a", "href") if re.match(r"\w+:|//", link)]


def test_links_are_relative_and_lead_somewhere(tmp_path: Path):
  project(tmp_path)
  page = Page(made(tmp_path))
  files = []
  for link in page.all("a", "href"):
    if link.startswith("#"):
      assert link[1:] in page.ids
    else:
      files.append(unquote(link))
      assert not link.startswith("/")
      assert (tmp_path / "runs" / files[-1]).exists(), link
  assert {"#f1", "#f15"} <= set(page.all("a", "href"))
  assert {"odd=name, with 100%/a/", "single/", "table2_kuairand/small-gc-seed=1/"} <= set(files)


def test_links_start_from_where_the_page_is(tmp_path: Path):
  project(tmp_path)
  out = tmp_path / "elsewhere" / "page.html"
  assert report(tmp_path, f"--out={out}") == 0
  assert "../runs/single/" in Page(out.read_text()).all("a", "href")


def test_runs_are_listed_by_experiment_with_how_they_ended(tmp_path: Path):
  project(tmp_path)
  run(tmp_path / "runs" / "odd=name, with 100%" / "b", "ok")
  (tmp_path / "runs" / "single" / "result.json").write_text("{")
  text = made(tmp_path)
  assert "<summary>table2_kuairand: 1 ok</summary>" in text
  assert "<summary>Single runs: 1 unreadable</summary>" in text
  assert "<summary>odd=name, with 100%: 1 ok and 1 unfinished</summary>" in text


def test_what_is_missing_is_named_with_its_command(tmp_path: Path):
  run(tmp_path / "runs" / "adam" / "a", "ok")
  (tmp_path / "experiments").mkdir()
  for name in ("table2_movielens", "methods_synthetic", "adam", "days_synthetic"):
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
    "days_synthetic: make compare SWEEP=experiments/days_synthetic.gin",
    "make compare DATA=kuairand",
    "Findings: make findings",
  ):
    assert line in page.text
  assert page.all("section", "id") == ["missing", "runs"]


def test_another_table_2_is_the_headline_where_the_wanted_one_is_not_finished(tmp_path: Path):
  project(tmp_path)
  page = Page(made(tmp_path, "--data=movielens"))
  assert "10 methods on 3 models" in page.text
  assert "make table2 DATA=movielens" in page.text
  assert "make table2 DATA=kuairand" not in page.text


def test_a_tag_in_a_name_a_title_or_a_cell_is_no_tag_on_the_page(tmp_path: Path):
  project(tmp_path)
  tag, runs = "<script>x", tmp_path / "runs"
  (runs / "table2_kuairand").rename(runs / f"table2_{tag}")
  for name, columns in (
    (f"table2_{tag}/table2", ["column", "task", "model", "thresholds"]),
    (f"table2_{tag}/comparison", ["method", "task", "model", "outcome", "reference"]),
    ("table3_kuairand/table3", ["ablation", "commands"]),
    ("survival_kuairand/summary", ["method", "task", "model", "thresholds", "commands"]),
  ):
    path = runs / f"{name}.csv"
    table = pd.read_csv(path)
    for column in columns:
      table[column] = tag + table[column].astype(str)
    table.to_csv(path, index=False)
  path = runs / f"table2_{tag}" / "table.parquet"
  table = pd.read_parquet(path)
  table.assign(task=tag + table.task, dataset=tag, scale=tag, eval_day=tag).to_parquet(path)
  run(runs / f"sweep{tag}" / f"run{tag}", f"ok{tag}")
  findings = {tag: {"F1": dict.fromkeys(("rule", "verdict", "evidence"), tag)}}
  (tmp_path / "findings.json").write_text(json.dumps(findings))
  text = made(tmp_path)
  assert "<script" not in text
  assert text.count("&lt;script&gt;x") > 100
  assert "Judged by the AUC of &lt;script&gt;x" in text
  assert Page(text).open == []


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
    ("findings.json", "{", "is no archive of findings; restore or remove it"),
  ],
)
def test_a_file_that_cannot_be_read_is_one_line_and_leaves_the_page_as_it_was(
  file: str, content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
  project(tmp_path)
  before = made(tmp_path)
  (tmp_path / file).write_text(content)
  capsys.readouterr()
  assert report(tmp_path) == 2
  assert capsys.readouterr().err == f"error: {tmp_path / file} {message}\n"
  assert (tmp_path / "runs" / "report.html").read_text() == before
  assert not list((tmp_path / "runs").glob(".*"))


def test_nothing_to_report_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
  assert report(tmp_path) == 2
  assert capsys.readouterr().err == (
    f"error: nothing to report below {tmp_path / 'runs'}; run: make table2 DATA=kuairand\n"
  )
  assert not (tmp_path / "runs").exists()


def test_what_is_published_is_shown_where_there_are_no_runs_of_it(tmp_path: Path):
  project(tmp_path)
  before = Page(made(tmp_path)).text.partition("How to read this")[0]
  (tmp_path / "results").mkdir(exist_ok=True)
  shutil.move(tmp_path / "runs" / "table2_kuairand", tmp_path / "results")
  text = made(tmp_path)
  page = Page(text)
  assert page.text.partition("How to read this")[0] == before
  assert "../results/table2_kuairand/table2.csv" in page.all("a", "href")
  assert "as published" not in page.text


def test_a_document_that_runs_on_this_machine_lack_is_shown_as_published(tmp_path: Path):
  project(tmp_path)
  published = tmp_path / "results" / "table2_kuairand"
  shutil.copytree(tmp_path / "runs" / "table2_kuairand", published)
  assert "../results/table2" not in made(tmp_path)  # what is here is shown, not what is published
  for name in ("comparison.csv", "comparison.md"):
    (tmp_path / "runs" / "table2_kuairand" / name).unlink()
  text = made(tmp_path)
  links = Page(text).all("a", "href")
  assert {"../results/table2_kuairand/comparison.md", "table2_kuairand/table2.md"} <= set(links)
  assert text.count("as published, of other runs than those of this machine") == 1


def test_a_fresh_clone_shows_what_the_repository_publishes(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  monkeypatch.chdir(Path(__file__).parents[2])
  out = tmp_path / "report.html"
  places = [f"--runs={tmp_path / 'runs'}", f"--out={out}", "--published=experiments/results"]
  places += ["--findings=experiments/findings.json", "--figures=experiments/results/figures"]
  assert report(tmp_path, *places) == 0
  page = Page(out.read_text())
  assert page.open == []
  assert "10 methods on 3 models (Small, Large, Large+DCN): 201 runs" in page.text
  assert "Naive diverged on Large+DCN (2 of 3 runs)." in page.text
  assert {"findings", "table2", "table3", "figures", "statistics", "beyond", "f15"} <= page.ids
