"""Writes the pages about what is published: experiments/comparison.md and results/README.md.

Their templates hold the words, and take every figure from experiments/results/.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

from experiments import templating
from experiments.published import RESULTS, Published, paired
from ranking.files import write_atomically
from ranking.measures.significance import holm
from ranking.sweeps.figures import style

EXPERIMENTS = Path(__file__).parent
DOCUMENTS = {  # of an experiment, in the order of the list → what a link to one says
  "table2.md": "table",
  "table3.md": "table",
  "comparison.md": "in pairs",
  "summary.md": "summary",
  "survival_map.svg": "map",
  "map.svg": "map",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds no option: the pages are those of this checkout."""
  del parser


def run(given: argparse.Namespace) -> int:
  """Writes the pages and prints where they are."""
  del given
  pages = {EXPERIMENTS / "comparison.md": comparison(), RESULTS / "README.md": list_of_results()}
  for path, text in pages.items():
    write_atomically(path, text)
    print(path)
  return 0


def comparison() -> str:
  """The page that says which method is best, as Markdown."""
  published = Published()
  judged = json.loads((EXPERIMENTS / "findings.json").read_text())["kuairand"]
  return templating.render(
    "comparison.md",
    rows=published.rows,
    row=published.row,
    paired=paired,
    holm=holm,
    models=list(style.MODELS),
    verdicts=Counter(judgement["verdict"] for judgement in judged.values()),
  )


def list_of_results(root: Path = RESULTS) -> str:
  """The list of all experiments with what they found and links to it, as Markdown."""
  published = Published(root)
  return templating.render(
    "results.md",
    rows=published.rows,
    row=published.row,
    documents={folder.name: _links(folder) for folder in sorted(root.iterdir()) if folder.is_dir()},
  )


def _links(folder: Path) -> dict[str, str]:
  """File name → what a link to it says, of the documents in a folder."""
  return {name: says for name, says in DOCUMENTS.items() if (folder / name).is_file()}
