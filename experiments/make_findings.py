"""Writes docs/findings.md from finished runs: python -m experiments.make_findings

Says of every finding of the paper whether each log reproduces it, by the rules of
experiments/findings/. A finding whose runs are not on this machine is judged by what was
published of them in results/ beside the page, or else keeps what was said of it before, in
findings.json there, unless its rule was changed since; what was never run is undecided.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.findings.archive import Archive
from experiments.findings.log import Log
from experiments.findings.page import markdown
from ranking import quiet
from ranking.files import write_atomically
from ranking.sweeps import command as sweep
from ranking.sweeps.search import Search
from ranking.sweeps.series import SeriesError
from ranking.sweeps.sweep import Sweep, SweepError

with quiet.native_stderr():
  from experiments.findings.rules import RULES


def main(arguments: Sequence[str]) -> int:
  """Writes the page; exit code 2 if a run cannot be read."""
  parser = argparse.ArgumentParser(prog="experiments.make_findings", allow_abbrev=False)
  parser.add_argument("--logs", nargs="+", default=["kuairand"], help="their names")
  parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
  parser.add_argument("--out", type=Path, default=Path("docs", "findings.md"), help="the page")
  given = parser.parse_args(arguments)
  try:
    archive = Archive(given.out.with_suffix(".json"))
    published = given.out.parent / "results"
    logs = [Log(name, given.runs, trials, published) for name in given.logs]
    judged = {rule: [archive.judge(rule, log) for log in logs] for rule in RULES}
    page = markdown(given.logs, {rule: [each for each, _ in of] for rule, of in judged.items()})
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(given.out, page)
    archive.save()
  except (SweepError, SeriesError, ValueError, OSError) as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  kept = [rule.name for rule, of in judged.items() if any(is_kept for _, is_kept in of)]
  if kept:
    print(f"kept as judged before, what is here does not judge them: {', '.join(kept)}")
  print(given.out)
  return 0


def trials(experiment: str) -> list[str]:
  """The names of the trials of experiments/<experiment>.gin; of a search, of those alone."""
  file = f"experiments/{experiment}.gin"
  is_search = experiment.startswith("table2_")
  found = sweep.read(file, Search).trials() if is_search else sweep.read(file, Sweep).trials()
  return [trial.name for trial in found]


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
