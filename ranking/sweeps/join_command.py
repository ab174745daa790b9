"""The table of sweeps: python -m ranking.sweeps.join_command runs/lr_multipliers … --out=table

Takes folders of one sweep or of several, such as the shards of two machines side by side, finished
or not, and writes <out>.csv and <out>.parquet; ranking/sweeps/results.py says what is in them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ranking.sweeps import results
from ranking.sweeps.sweep import SweepError


def main(arguments: Sequence[str]) -> int:
  """Writes the table; exit code 2 if a folder holds no run of a sweep."""
  parser = argparse.ArgumentParser(prog="ranking.sweeps.join_command", allow_abbrev=False)
  parser.add_argument("folders", nargs="+", type=Path, help="such as runs/lr_multipliers")
  parser.add_argument("--out", type=Path, required=True, help="the table's path without .csv")
  given = parser.parse_args(arguments)
  try:
    table = results.read(given.folders)
    paths = results.write(table, given.out)
  except (SweepError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print(f"{results.summary(table)}; {' '.join(map(str, paths))}")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
