"""Joins the runs of sweeps into one table: ranking join runs/lr_multipliers … --out=table

Takes folders of one sweep or of several, such as the shards of two machines side by side, finished
or not, and writes <out>.csv and <out>.parquet; ranking/sweeps/results.py says what is in them.
"""

import argparse
from pathlib import Path

from ranking.sweeps import results


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The folders, and the table's place."""
  parser.add_argument("folders", nargs="+", type=Path, help="such as runs/lr_multipliers")
  parser.add_argument("--out", type=Path, required=True, help="the table's path without .csv")


def run(given: argparse.Namespace) -> int:
  """Writes the table. Raises SweepError if a folder holds no run of a sweep."""
  table = results.read(given.folders)
  paths = results.write(table, given.out)
  print(f"{results.summary(table)}; {' '.join(map(str, paths))}")
  return 0
