"""What is published of experiments: all that is finished as a whole, and nothing else."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from experiments import pages
from experiments.__main__ import main
from experiments.tests.project import RESULTS, draw, run

FILES = ["comparison.csv", "comparison.md", "table.parquet", "table2.csv", "table2.md"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
  """A finished experiment in runs/ of the current folder."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(pages, "write", lambda: print("pages written"))
  folder = tmp_path / "runs" / "table2_kuairand"
  folder.mkdir(parents=True)
  run(folder / "small-gc-seed=1", "ok")
  for name in FILES:
    shutil.copy(RESULTS / "table2_kuairand" / name, folder)
  return folder


def publish(*folders: Path) -> int:
  return main(["publish", *map(str, folders)])


def test_what_is_published_is_all_that_is_worth_keeping_and_nothing_else(
  folder: Path, capsys: pytest.CaptureFixture[str]
):
  draw(folder / "map.svg")
  (folder / "map.png").touch()
  old = Path("experiments/results") / "table2_kuairand" / "old.md"
  old.parent.mkdir(parents=True)
  old.touch()
  assert publish(folder) == 0
  assert sorted(path.name for path in old.parent.iterdir()) == sorted(["map.svg", *FILES])
  assert [path.name for path in old.parent.parent.iterdir()] == ["table2_kuairand"]
  assert capsys.readouterr().out.endswith("pages written\n")


@pytest.mark.parametrize("name", ["table2.csv", "comparison.csv"])
def test_a_table_that_waits_for_runs_is_not_published_nor_is_anything_with_it(
  name: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
  half = folder.with_name("half")
  shutil.copytree(folder, half)
  table = pd.read_csv(half / name)
  table.loc[3, ["finished", "outcome"]] = [table.finished[3] - 1, "waiting"]
  table.to_csv(half / name, index=False)
  assert publish(folder, half) == 2
  assert "half is not finished; run its sweep again" in capsys.readouterr().err
  assert not (Path("experiments/results")).exists()


def test_a_run_that_is_not_finished_is_not_published(
  folder: Path, capsys: pytest.CaptureFixture[str]
):
  runs = pd.read_parquet(folder / "table.parquet")
  runs.loc[0, "status"] = "unfinished"
  runs.to_parquet(folder / "table.parquet")
  assert publish(folder) == 2
  assert "is not finished" in capsys.readouterr().err
  (folder / "table.parquet").write_text("a")
  assert publish(folder) == 2
  assert publish(folder.with_name("nowhere")) == 2
  assert "nowhere has no table of an experiment" in capsys.readouterr().err


def test_what_is_older_than_its_runs_is_not_published_nor_are_two_of_one_name(
  folder: Path, capsys: pytest.CaptureFixture[str]
):
  later = max(path.stat().st_mtime for path in folder.iterdir()) + 1
  os.utime(next(folder.glob("*/result.json")), (later, later))
  assert publish(folder) == 2
  assert "is older than its runs" in capsys.readouterr().err
  assert publish(folder, folder / ".." / folder.name) == 2
  assert "two folders are called table2_kuairand" in capsys.readouterr().err
  assert not (Path("experiments/results")).exists()


@pytest.mark.parametrize(
  ("content", "message"),
  [("", "cannot be read (EmptyDataError)"), ("a\n1\n", "has no column 'finished'")],
)
def test_a_damaged_table_is_one_line(
  content: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
  (folder / "table2.csv").write_text(content)
  assert publish(folder) == 2
  assert capsys.readouterr().err == f"error: {folder / 'table2.csv'} {message}; make it again\n"
