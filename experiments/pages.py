"""Writes the pages about what is published: experiments/comparison.md and results/README.md.

Their templates hold the words, and take figures from experiments/results/. The commands publish and
findings write them anew at their end.
"""

import json
from collections import Counter
from pathlib import Path

from experiments import templating
from experiments.published import RESULTS, Published, paired
from ranking.files import write_atomically
from ranking.measures.significance import holm
from ranking.sweeps.figures import style

EXPERIMENTS = Path("experiments")
DOCUMENTS = {  # of an experiment, in the order of the list → what a link to one says
  "table2.md": "table",
  "table3.md": "table",
  "comparison.md": "in pairs",
  "summary.md": "summary",
  "survival_map.svg": "map",
  "map.svg": "map",
}


def write() -> None:
  """Writes the pages and prints where they are. Raises InputError if a figure is not there."""
  for path, text in (("comparison.md", comparison()), ("results/README.md", list_of_results())):
    write_atomically(EXPERIMENTS / path, text)
    print(EXPERIMENTS / path)


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


def list_of_results() -> str:
  """The list of all experiments with what they found and links to it, as Markdown."""
  published = Published()
  return templating.render(
    "results.md",
    rows=published.rows,
    row=published.row,
    documents={folder.name: _links(folder) for folder in sorted(RESULTS.glob("*/"))},
  )


def _links(folder: Path) -> dict[str, str]:
  """File name → what a link to it says, of the documents in a folder."""
  return {name: says for name, says in DOCUMENTS.items() if (folder / name).is_file()}
