"""Compares every method with one of them, by tests: ranking compare a.gin --reference=clippy

A sweep runs first, so far as it is not finished. Of a search, which `ranking sweep` runs, the
repeats of each column's best setting are compared, and nothing is run. Writes comparison.md, .html
and .csv beside the runs, in runs/<name of the file>/. Exit codes: as `ranking sweep`.
"""

import argparse
from pathlib import Path

from ranking.commands import sweep as command
from ranking.sweeps import execution, files, results, runner
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Sweep, SweepError
from ranking.sweeps.tables import contrasts
from ranking.sweeps.tables.comparison import comparison
from ranking.training import interrupt


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The file, the reference, and how trials are run."""
  command.add_arguments(parser)
  parser.add_argument("--reference", required=True, help="the method to compare the others with")


def run(given: argparse.Namespace) -> int:
  """Runs what is not finished of a sweep, and writes the comparison."""
  described = files.describe(command.file_of(given))
  try:
    return _sweep(described, given) if isinstance(described, Sweep) else _search(described, given)
  except runner.Stopped as stop:
    interrupt.say(str(stop))
    return interrupt.EXIT_CODE


def _sweep(sweep: Sweep, given: argparse.Namespace) -> int:
  titles = [place.title for place in contrasts.methods(sweep, results.NONE)]
  reference = contrasts.named(titles, given.reference)  # before any run
  root = Path("runs", sweep.name)
  failures = execution.run(sweep.trials(), root, given.raw, given.jobs, given.shard)
  table = results.read([root])
  document = comparison(sweep, contrasts.methods(sweep, table), reference, table)
  return execution.conclude(root, "comparison", document, table, failures)


def _search(search: Search, given: argparse.Namespace) -> int:
  reference = contrasts.named(list(search.columns), given.reference)
  root = Path("runs", search.name)
  table = results.read([root])
  repeats = [trial for trial in search.repeats(table) if trial is not None]
  runner.check_directories([*search.trials(), *repeats], root)
  places = search.places(table)
  if not any(place.complete for place in places if place.title == reference):
    raise SweepError(
      f"{root} has {reference} finished on no model; run: ranking sweep {command.file_of(given)}"
    )
  document = comparison(search, places, reference, table)
  return execution.conclude(root, "comparison", document, table, {})
