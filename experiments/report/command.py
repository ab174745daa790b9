"""Makes the report, one page of all results: python -m experiments.make_report --data=kuairand

It trains nothing: it shows what other commands left below runs/ and in docs/figures/, what is
published in docs/results/ of experiments that this machine has not run, and names what is missing.
The page needs no network. Exit codes: 0, or 2 with one line if there is nothing to report.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.report import page as report
from experiments.report.fragments import ReportError
from experiments.report.page import Sources
from ranking.files import write_atomically


def main(arguments: Sequence[str]) -> int:
  """Writes the page and prints where it is.

  Args:
    arguments: of the command line.
  """
  parser = argparse.ArgumentParser(prog="experiments.make_report", allow_abbrev=False)
  for name, default, what in (
    ("runs", "runs", "folder of the experiments' folders"),
    ("published", "docs/results", "folder of the published experiments' folders"),
    ("out", "runs/report.html", "the page"),
    ("findings", "docs/findings.md", "Markdown file"),
    ("figures", "docs/figures", "folder of the folders that experiments.make_figures writes"),
    ("experiments", "experiments", "folder of the files that describe the experiments"),
  ):
    parser.add_argument(f"--{name}", type=Path, default=default, help=f"{what}; {default}")
  parser.add_argument("--data", default="kuairand", help="whose Table 2 comes first; kuairand")
  sources = Sources(**vars(parser.parse_args(arguments)))
  try:
    text = report.page(sources)
    sources.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(sources.out, text)
  except (ReportError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print(sources.out)
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
