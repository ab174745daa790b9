"""Keeps what experiments found.

Copies from each folder to experiments/results/: its documents as Markdown and CSV, its pictures as
SVG, and the figures of every run as table.parquet, in the place of what was there. `make report`
shows them on machines that have no runs of the experiment. What is not finished as a whole, or is
older than its runs, is refused, and with it all the others. The pages about what is published are
written again.
"""

import argparse
import shutil
from pathlib import Path

from experiments import pages
from experiments.published import RESULTS, read
from experiments.report import DOCUMENTS
from ranking.sweeps.results import FINISHED
from ranking.sweeps.sweep import SweepError


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `python -m experiments publish`."""
  parser.add_argument("folders", nargs="+", type=Path, help="such as runs/table2_kuairand")


def run(given: argparse.Namespace) -> int:
  """Publishes each folder, or none, and writes the pages. Raises InputError as `files` does."""
  names = [folder.resolve().name for folder in given.folders]
  if twice := sorted({name for name in names if names.count(name) > 1}):
    raise SweepError(f"two folders are called {twice[0]}; give one of them")
  found = {name: files(folder) for name, folder in zip(names, given.folders, strict=True)}
  for name, paths in found.items():
    target, partial = RESULTS / name, RESULTS / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in paths:
      shutil.copy(path, partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    print(target)
  pages.write()
  return 0


def files(folder: Path) -> list[Path]:
  """What is worth keeping of an experiment.

  Raises SweepError if it is not finished, or a document or picture is older than its last run, and
  InputError if a table cannot be read.
  """
  table = folder / "table.parquet"
  documents = [folder / f"{stem}.{ending}" for stem in DOCUMENTS for ending in ("md", "csv")]
  documents = [path for path in documents if path.is_file()]
  if not table.is_file() or not documents:
    raise SweepError(f"{folder} has no table of an experiment; run its sweep first")
  status = read(table, ["trial", "status"]).status
  tables = [read(path, ["finished", "runs"]) for path in documents if path.suffix == ".csv"]
  waits = any((figures.finished < figures.runs).any() for figures in tables)
  if not status.isin(FINISHED).all() or waits:
    raise SweepError(f"{folder} is not finished; run its sweep again")
  drawn = sorted(folder.glob("*.svg"))
  ended = [result.stat().st_mtime for result in folder.glob("*/result.json")]
  if old := [path for path in (*documents, *drawn) if path.stat().st_mtime < max(ended, default=0)]:
    raise SweepError(f"{old[0]} is older than its runs; run the command that makes it again")
  return [table, *documents, *drawn]
