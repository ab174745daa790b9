"""Keeps what experiments found.

Copies from each folder to experiments/results/: its documents as Markdown and CSV, its pictures as
SVG, and the figures of every run as table.parquet, in the place of what was there. `make report`
shows them on machines that have no runs of the experiment. What is not finished as a whole, or is
older than its runs, is refused, and with it all the others.
"""

import argparse
import shutil
from pathlib import Path

import pandas as pd

from experiments.report import DOCUMENTS
from ranking.sweeps.results import FINISHED
from ranking.sweeps.sweep import SweepError


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `python -m experiments publish`."""
  parser.add_argument("folders", nargs="+", type=Path, help="such as runs/table2_kuairand")
  parser.add_argument("--out", type=Path, default=Path("experiments/results"), help="where to")


def run(given: argparse.Namespace) -> int:
  """Publishes each folder, or none. Raises SweepError as `files` does."""
  names = [folder.resolve().name for folder in given.folders]
  if twice := sorted({name for name in names if names.count(name) > 1}):
    raise SweepError(f"two folders are called {twice[0]}; give one of them")
  found = {name: files(folder) for name, folder in zip(names, given.folders, strict=True)}
  for name, paths in found.items():
    target, partial = given.out / name, given.out / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in paths:
      shutil.copy(path, partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    print(target)
  return 0


def files(folder: Path) -> list[Path]:
  """What is worth keeping of an experiment.

  Raises SweepError if it is not finished, or a document or picture is older than its last run.
  """
  table = folder / "table.parquet"
  documents = [folder / f"{stem}.{ending}" for stem in DOCUMENTS for ending in ("md", "csv")]
  documents = [path for path in documents if path.is_file()]
  if not table.is_file() or not documents:
    raise SweepError(f"{folder} has no table of an experiment; run its sweep first")
  try:
    status = pd.read_parquet(table).drop_duplicates("trial").status
  except ValueError as error:
    raise SweepError(f"{table} cannot be read; run the sweep again") from error
  tables = [pd.read_csv(path) for path in documents if path.suffix == ".csv"]
  waits = any((figures.finished < figures.runs).any() for figures in tables)
  if not status.isin(FINISHED).all() or waits:
    raise SweepError(f"{folder} is not finished; run its sweep again")
  drawn = sorted(folder.glob("*.svg"))
  ended = [result.stat().st_mtime for result in folder.glob("*/result.json")]
  if old := [path for path in (*documents, *drawn) if path.stat().st_mtime < max(ended, default=0)]:
    raise SweepError(f"{old[0]} is older than its runs; run the command that makes it again")
  return [table, *documents, *drawn]
