"""Keeps what experiments found: python -m scripts.publish runs/table2_kuairand runs/adam_kuairand

Copies from each folder to docs/results/: its documents as Markdown and CSV, its pictures as SVG,
and the figures of every run as table.parquet, in the place of what was there. `make report` shows
them on machines that have no runs of the experiment. Only what is finished is published. Exit
codes: 0, or 2 with one line, and nothing changed.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ranking.experiments.report.page import DOCUMENTS
from ranking.experiments.search import FINISHED
from ranking.experiments.sweep import SweepError


def main(arguments: Sequence[str]) -> int:
  """Publishes each folder, or none."""
  parser = argparse.ArgumentParser(prog="scripts.publish", allow_abbrev=False)
  parser.add_argument("folders", nargs="+", type=Path, help="such as runs/table2_kuairand")
  parser.add_argument("--out", type=Path, default=Path("docs", "results"), help="docs/results")
  given = parser.parse_args(arguments)
  try:
    found = {folder: files(folder) for folder in given.folders}
    for folder, paths in found.items():
      target, partial = given.out / folder.name, given.out / f".{folder.name}.partial"
      shutil.rmtree(partial, ignore_errors=True)
      partial.mkdir(parents=True)
      for path in paths:
        shutil.copy(path, partial)
      shutil.rmtree(target, ignore_errors=True)
      partial.rename(target)
      print(target)
  except (SweepError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


def files(folder: Path) -> list[Path]:
  """What is worth keeping of an experiment. Raises SweepError if it is not finished."""
  table = folder / "table.parquet"
  documents = [folder / f"{stem}.{ending}" for stem in DOCUMENTS for ending in ("md", "csv")]
  documents = [path for path in documents if path.is_file()]
  if not table.is_file() or not documents:
    raise SweepError(f"{folder} has no table of an experiment; run its sweep first")
  status = pd.read_parquet(table).drop_duplicates("trial").status
  if waiting := int((~status.isin(FINISHED)).sum()):
    raise SweepError(f"{folder} has {waiting} runs that are not finished; run its sweep again")
  return [table, *documents, *sorted(folder.glob("*.svg"))]


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
