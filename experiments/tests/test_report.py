"""The report: what it shows, where its links lead, and what it says is missing."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

from experiments import report
from experiments.__main__ import main
from experiments.tests.project import FIGURES, Page, made, project
from ranking.sweeps.tables import rendering
from ranking.sweeps.tables.document import Document, Entry, Table


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
  """The current folder, a project."""
  project(tmp_path)
  monkeypatch.chdir(tmp_path)
  return tmp_path


def section(text: str, name: str) -> str:
  return text.split(f'<section id="{name}">')[1].split("</section>")[0]


def header(text: str) -> str:
  return text.split("<header>")[1].split("</header>")[0]


def test_the_page_has_everything_once_and_in_order():
  text = made()
  page = Page(text)
  assert page.open == []
  sections = ["table2", "survival", "table3", "figures", "findings", "beyond"]
  assert page.all("section", "id") == sections
  assert page.all("a", "href")[: len(sections)] == [f"#{name}" for name in sections]
  pictures = page.all("img", "alt")
  assert pictures[0] == "Survival map: which method survives which learning rate, and how well"
  assert [each.split(":")[0] for each in pictures[1:]] == [f"Figure {name}" for name in FIGURES]
  assert text == made()  # the same files give the same page


def test_the_first_screen_has_table_2_and_the_differences_that_tests_found():
  first = header(made())
  assert "10 methods on 3 models, each at its best setting. kuairand at proxy scale" in first
  assert "<u>74.01 ± 0.06</u>" in first
  assert "<em>diverged (2 of 3)</em>" in first
  said = Page(first).text
  assert "2 of 48 that were tested" in said
  assert "Large+DCNis_click AUC (%) ↑LayerClippyClippy+0.16+0.06 … +0.260.035better" in said
  assert "no difference seen" not in said
  Path("runs/table2_kuairand/comparison.csv").unlink()
  assert "not compared in pairs yet: make compare DATA=kuairand" in Page(header(made())).text


def test_the_page_opens_with_what_a_warm_up_shows_where_that_is_published():
  assert "With a warm-up" not in header(made())
  Path("docs").mkdir()
  Path("docs/with_a_warm_up.png").write_bytes(b"a picture")
  Path("experiments/lost.png").write_bytes(b"another picture")
  Path("experiments/comparison.md").write_text(
    "# All\n\n## With a warm-up\n\nHow models are trained.\n\n"
    "| | AUC |\n|---|---|\n| Clippy | 78 |\n\n"
    "```\nmake sweep\n```\n\n- Lost [late](why.md#when), not [soon](why.md).\n\n"
    "![A loss](lost.png)\n\n"
    "## Without\n\nNever here.\n"
  )
  first = header(made())
  pictures = [each.partition(" ")[0] for each in Page(first).all("img", "alt")]
  assert pictures == ["With", "Survival", "A"]
  said = Page(first).text
  assert said.index("How models are trained.") < said.index("make sweep") < said.index("10 methods")
  assert "<td>78</td>" in first
  assert "Never here" not in said
  assert '<a href="../experiments/why.md#when">late</a>' in first
  assert '<a href="../experiments/why.md">soon</a>' in first
  assert all(each.startswith("data:image/") for each in Page(first).all("img", "src"))


def test_every_document_is_there_with_all_its_tables():
  text = made()
  assert "<td>80%</td>\n<td>49% … 94%</td>" in section(text, "table3")
  assert "is_click AUC (%) ↑\nagc\n+0.16\n+0.09 … +0.24" in Page(section(text, "beyond")).text
  assert "73.99 ± " in section(text, "survival")
  assert section(text, "table2").count("<h3>") == 2  # the table and its comparison


def test_the_page_loads_nothing_from_elsewhere():
  text = made()
  page = Page(text)
  assert all(source.startswith("data:image/") for source in page.all("img", "src"))
  assert page.all("link", "href") == ["data:,"]
  assert not re.search(r"<script|<iframe|<object|<embed|url\(|@import|srcset", text)
  assert not [link for link in page.all("a", "href") if re.match(r"\w+:|//", link)]


def test_links_are_relative_to_the_page_and_lead_somewhere(folder: Path):
  out = folder / "elsewhere" / "page.html"
  assert main(["report", f"--out={out}"]) == 0
  page = Page(out.read_text())
  for link in page.all("a", "href"):
    if link.startswith("#"):
      assert link[1:] in page.ids
    else:
      assert (out.parent / unquote(link)).exists(), link
  assert "../runs/table2_kuairand/table2.md" in page.all("a", "href")


def test_what_is_missing_is_named():
  for name in ("table2_movielens", "dynamics_kuairand", "dynamics_synthetic", "adam_kuairand"):
    Path("experiments", f"{name}.gin").touch()
  named = re.findall("<li>(.*)</li>", section(made(), "missing"))
  assert named == ["dynamics_synthetic", "table2_movielens"]


def test_another_table_2_comes_first_where_the_wanted_one_is_not_there():
  assert "10 methods on 3 models" in header(made("--data=movielens"))
  shutil.rmtree("runs/table2_kuairand")
  assert "make table2 DATA=movielens" in header(made("--data=movielens"))


def test_a_tag_in_a_title_or_a_cell_is_no_tag_on_the_page():
  tag = "<script>x"
  table = Table(tag, [tag], [[Entry(tag)], [Entry(tag, "code")]])
  document = Document(tag, [tag], [table], pd.DataFrame({"model": [tag], "column": [tag]}))
  rendering.write(document, Path("runs/table2_kuairand/table2"))
  pairs = Path("runs/table2_kuairand/comparison.csv")
  pd.read_csv(pairs).assign(outcome="better", method=tag, task=tag).to_csv(pairs, index=False)
  findings = {tag: {"F1": dict.fromkeys(("rule", "verdict", "evidence"), tag)}}
  Path("experiments/findings.json").write_text(json.dumps(findings))
  text = made()
  assert "<script" not in text
  assert text.count("&lt;script") > 50
  assert Page(text).open == []


@pytest.mark.parametrize(
  ("file", "content", "message"),
  [
    ("runs/table2_kuairand/table2.csv", "a,b\n1,2\n", "has no column 'model'; make it again"),
    ("runs/table2_kuairand/comparison.csv", "", "cannot be read (EmptyDataError); make it again"),
    ("experiments/findings.json", "{", "is no archive of findings; restore or remove it"),
  ],
)
def test_a_file_that_cannot_be_read_is_one_line_and_leaves_the_page_as_it_was(
  file: str, content: str, message: str, capsys: pytest.CaptureFixture[str]
):
  before = made()
  Path(file).write_text(content)
  capsys.readouterr()
  assert main(["report"]) == 2
  assert capsys.readouterr().err == f"error: {file} {message}\n"
  assert Path("runs", "report.html").read_text() == before


def test_nothing_to_report_is_one_line(capsys: pytest.CaptureFixture[str]):
  shutil.rmtree("runs")
  assert main(["report"]) == 2
  assert capsys.readouterr().err.startswith("error: nothing to report below runs or experiments/r")
  assert not Path("runs").exists()


def test_what_is_published_is_shown_where_there_are_no_runs_of_it():
  before = header(made())
  shutil.move("runs/table2_kuairand", "experiments/results")
  text = made()
  assert header(text) == before
  assert "../experiments/results/table2_kuairand/table2.md" in Page(text).all("a", "href")


def test_a_fresh_clone_shows_what_the_repository_publishes(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  monkeypatch.chdir(Path(__file__).parents[2])
  out = tmp_path / "report.html"
  assert main(["report", f"--out={out}"]) == 0
  page = Page(out.read_text())
  assert page.open == []
  assert {"findings", "table2", "table3", "figures", "beyond", "missing"} <= page.ids


def test_html_in_a_document_of_whoever_wrote_it_is_text_but_for_underlining() -> None:
  cell = "| a |\n|---|\n| <u>1</u> <script>alert(1)</script> &lt;b |\n"
  said = report._html(f"{cell}\n<script>x</script>\n\n<img src=x onerror=y>\n")
  assert "<td><u>1</u> &lt;script&gt;alert(1)&lt;/script&gt; &lt;b</td>" in said
  assert "<script" not in said
  assert "<img" not in said
