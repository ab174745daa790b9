"""Keeps what experiments found: python -m experiments.publish runs/table2_kuairand …

Copies from each folder to docs/results/: its documents as Markdown and CSV, its pictures as SVG,
and the figures of every run as table.parquet, in the place of what was there. `make report` shows
them on machines that have no runs of the experiment. What is not finished as a whole, or is
older than its runs, is refused, and with it all the others. Exit codes: 0, or 2 with one line.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.report.page import DOCUMENTS
from ranking.sweeps.search import FINISHED
from ranking.sweeps.sweep import SweepError


def main(arguments: Sequence[str]) -> int:
  """Publishes each folder, or none."""
  parser = argparse.ArgumentParser(prog="experiments.publish", allow_abbrev=False)
  parser.add_argument("folders", nargs="+", type=Path, help="such as runs/table2_kuairand")
  parser.add_argument("--out", type=Path, default=Path("docs", "results"), help="docs/results")
  given = parser.parse_args(arguments)
  try:
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
  except (SweepError, ValueError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
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
  status = pd.read_parquet(table).drop_duplicates("trial").status
  tables = [pd.read_csv(path) for path in documents if path.suffix == ".csv"]
  if not status.isin(FINISHED).all() or not all(map(_is_whole, tables)):
    raise SweepError(f"{folder} is not finished; run its sweep again")
  drawn = sorted(folder.glob("*.svg"))
  ended = [result.stat().st_mtime for result in folder.glob("*/result.json")]
  if old := [path for path in (*documents, *drawn) if path.stat().st_mtime < max(ended, default=0)]:
    raise SweepError(f"{old[0]} is older than its runs; run the command that makes it again")
  return [table, *documents, *drawn]


def _is_whole(figures: pd.DataFrame) -> bool:
  """Whether no row of a document waits for runs, of those that have not begun as well."""
  if "outcome" in figures and figures.outcome.dropna().str.contains(r"\d+ of \d+ runs").any():
    return False
  return not {"finished", "runs"} <= set(figures) or bool((figures.finished >= figures.runs).all())


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
