"""Makes the report, one page of all results.

It trains nothing: it shows what other commands left below runs/, and what is published in
experiments/results/ of experiments that this machine has not run, and names what is missing. The
page needs no network.
"""

import argparse
from pathlib import Path

from experiments.report import page as report
from experiments.report.page import Sources
from ranking.files import write_atomically

PLACES = {
  "runs": ("runs", "folder of the experiments' folders"),
  "published": ("experiments/results", "folder of the published experiments' folders"),
  "out": ("runs/report.html", "the page"),
  "findings": ("experiments/findings.json", "what the findings command judged"),
  "figures": ("experiments/results/figures", "folder of the folders of the figures command"),
  "experiments": ("experiments", "folder of the files that describe the experiments"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `python -m experiments report`."""
  for name, (default, what) in PLACES.items():
    parser.add_argument(f"--{name}", type=Path, default=Path(default), help=f"{what}; {default}")
  parser.add_argument("--data", default="kuairand", help="whose Table 2 comes first; kuairand")


def run(given: argparse.Namespace) -> int:
  """Writes the page and prints where it is. Raises ReportError if there is nothing to report."""
  sources = Sources(**{name: getattr(given, name) for name in (*PLACES, "data")})
  text = report.page(sources)
  sources.out.parent.mkdir(parents=True, exist_ok=True)
  write_atomically(sources.out, text)
  print(sources.out)
  return 0
