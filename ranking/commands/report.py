"""Makes one page of what runs came to: ranking report runs/lr_multipliers runs/mine --out=page.html

Takes folders of experiments, run directories, or a folder of both, such as runs: their tables and
pictures, and a list of runs. It trains nothing, and the page needs no network.
"""

import argparse
from pathlib import Path

from ranking.files import write_atomically
from ranking.sweeps import report


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The folders, and the page's place."""
  parser.add_argument("folders", nargs="+", type=Path, help="such as runs/lr_multipliers")
  parser.add_argument("--out", type=Path, default=Path("runs", "page.html"), help="the page")


def run(given: argparse.Namespace) -> int:
  """Writes the page. Raises SweepError if a folder holds no run."""
  text = report.page(given.folders)
  given.out.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(given.out, text)
  print(given.out)
  return 0
