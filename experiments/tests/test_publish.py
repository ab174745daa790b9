"""What is published of experiments, and that the report shows it without their runs."""

import os
import shutil
from pathlib import Path

import pytest

from experiments import make_report, publish
from experiments.report.page import ELSEWHERE
from experiments.tests.test_report import Page, draw, made, pair, project
from ranking.sweeps import results
from ranking.sweeps.tables import rendering, table2
from ranking.sweeps.tables.document import Document, Entry, Table
from tests.test_sweep_results import hold
from tests.test_tables import SEARCH, table_of


def made_up(title: str) -> Document:
  rows = [[Entry("gc"), Entry("72.0")]]
  figures = pair("GC", "Clippy", 0.6, 1.4)
  return Document(title, ["a"], [Table("c", ["m", "x"], rows)], figures)


def published(folder: Path, *names: str) -> int:
  given = [str(folder / "runs" / name) for name in names]
  return publish.main([*given, f"--out={folder / 'docs' / 'results'}"])


def test_the_report_of_what_is_published_says_what_that_of_the_runs_said(tmp_path: Path):
  project(tmp_path)
  before = Page(made(tmp_path))
  assert published(tmp_path, "table2_kuairand") == 0
  shutil.rmtree(tmp_path / "runs" / "table2_kuairand")
  text = made(tmp_path)
  page = Page(text)
  assert page.open == []
  screens = [each.text.partition("How to read this")[0] for each in (before, page)]
  assert screens[0] == screens[1]
  assert "GC leads" in screens[1]
  section = text.split('<section id="table2">')[1].split("</section>")[0]
  assert section.count("<caption>") == 1
  assert section.count("<details>") == 3  # all tasks, the search, the runs
  assert "<u>72.00 ± 0.10</u>" in section
  assert '<em class="lost">diverged (3 of 3)</em>' in section
  assert "../docs/results/table2_kuairand/table2.csv" in page.all("a", "href")


def test_what_is_published_is_all_that_is_worth_keeping_and_nothing_else(tmp_path: Path):
  project(tmp_path)
  draw(tmp_path / "runs" / "table2_kuairand" / "map")
  old = tmp_path / "docs" / "results" / "table2_kuairand" / "old.md"
  old.parent.mkdir(parents=True)
  old.touch()
  assert published(tmp_path, "table2_kuairand") == 0
  assert sorted(path.name for path in old.parent.iterdir()) == [
    *("map.svg", "table.parquet", "table2.csv", "table2.md")
  ]
  assert [path.name for path in old.parent.parent.iterdir()] == ["table2_kuairand"]


def test_runs_on_this_machine_are_shown_rather_than_published_ones(tmp_path: Path):
  project(tmp_path)
  assert published(tmp_path, "table2_kuairand") == 0
  assert "docs/results" not in made(tmp_path)


def test_a_document_that_runs_on_this_machine_lack_is_shown_as_published(tmp_path: Path):
  project(tmp_path)
  folder = tmp_path / "runs" / "table2_kuairand"
  rendering.write(made_up("in pairs"), folder / "comparison")
  assert published(tmp_path, "table2_kuairand") == 0
  before = Page(made(tmp_path))
  for path in folder.glob("comparison.*"):
    path.unlink()
  text = made(tmp_path)
  assert "../docs/results/table2_kuairand/comparison.md" in Page(text).all("a", "href")
  assert "table2_kuairand/table2.md" in Page(text).all("a", "href")
  assert text.count(ELSEWHERE) == 1
  assert ELSEWHERE not in before.text


def test_what_is_not_finished_is_not_published_nor_is_anything_with_it(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
  project(tmp_path)
  root = tmp_path / "runs" / "half"
  table_of(root, {}, SEARCH)
  hold(root, SEARCH.cells()[0].candidates[0].repeats[0])
  table = results.read([root])
  rendering.write(table2.table2(SEARCH, table), root / "table2")
  results.write(table, root / "table")
  assert published(tmp_path, "table2_kuairand", "half") == 2
  assert "half is not finished" in capsys.readouterr().err
  assert not (tmp_path / "docs" / "results").exists()
  shutil.rmtree(root)
  table = table_of(root, {}, SEARCH)  # whose repeats have not begun
  rendering.write(table2.table2(SEARCH, table), root / "table2")
  results.write(table, root / "table")
  assert published(tmp_path, "half") == 2
  (tmp_path / "runs" / "table2_kuairand" / "table.parquet").write_text("a")
  assert published(tmp_path, "table2_kuairand") == 2
  assert published(tmp_path, "nowhere") == 2
  assert "nowhere has no table of an experiment" in capsys.readouterr().err


def test_what_is_older_than_its_runs_is_not_published_nor_are_two_of_one_name(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
  project(tmp_path)
  folder = tmp_path / "runs" / "table2_kuairand"
  run = next(folder.glob("*/result.json"))
  later = (folder / "table2.md").stat().st_mtime + 1
  os.utime(run, (later, later))
  assert published(tmp_path, "table2_kuairand") == 2
  assert "table2.md is older than its runs" in capsys.readouterr().err
  assert published(tmp_path, "table2_kuairand", "../runs/table2_kuairand") == 2
  assert "two folders are called table2_kuairand" in capsys.readouterr().err
  assert not (tmp_path / "docs" / "results").exists()


def test_a_fresh_clone_shows_what_the_repository_publishes(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
  monkeypatch.chdir(Path(__file__).parents[1])
  out = tmp_path / "report.html"
  assert make_report.main([f"--runs={tmp_path / 'runs'}", f"--out={out}"]) == 0
  page = Page(out.read_text())
  assert page.open == []
  assert "10 methods on 3 models (Small, Large, Large+DCN): 201 runs" in page.text
  assert "Naive diverged on Large+DCN (2 of 3 runs)." in page.text
  ids = {attrs["id"] for _, attrs in page.found if "id" in attrs}
  assert {"findings", "table2", "table3", "figures", "statistics", "beyond", "f15"} <= ids
