"""Compares every method with one of them, by tests: ranking compare a.gin --reference=clippy

A sweep runs first, so far as it is not finished. Of a search, which `ranking sweep` runs, the
repeats of each column's best setting are compared, and nothing is run. Writes comparison.md, .html
and .csv beside the runs, in runs/<name of the file>/. Exit codes: as `ranking sweep`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ranking.commands import sweep as command
from ranking.sweeps import execution, files, results, runner
from ranking.sweeps.engines import LOCAL
from ranking.sweeps.places import Place
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import SweepError
from ranking.sweeps.tables import contrasts
from ranking.sweeps.tables.comparison import comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the file, the reference, and how the trials of a sweep are run."""
  command.add_arguments(parser)
  parser.add_argument("--reference", required=True, help="the method to compare the others with")


def run(given: argparse.Namespace) -> int:
  """Runs what is not finished of a sweep, and writes the comparison."""
  described = files.describe(given.file)
  root = Path("runs", described.name)
  if isinstance(described, Search):
    for name in ("raw", "jobs", "shard", "engine"):
      if getattr(given, name) not in (None, LOCAL):
        raise SweepError(
          f"--{name} is for runs, and those of a search are not run here; leave it out"
        )
    reference = contrasts.named(list(described.columns), given.reference)
    table, failures = results.read([root]), dict[str, str]()
    places = repeats(described, table, reference, given.file)
  else:
    titles = [place.title for place in contrasts.methods(described, results.NONE)]
    reference = contrasts.named(titles, given.reference)  # before any run
    table, failures = execution.complete(
      described, given.raw, given.jobs, given.shard, given.engine
    )
    places = contrasts.methods(described, table)
  document = comparison(described, places, reference, table)
  return execution.conclude(root, "comparison", document, table, failures)


def repeats(search: Search, table: pd.DataFrame, reference: str, file: str) -> Sequence[Place]:
  """The places of a search. Raises SweepError if the reference is finished on no model."""
  root = Path("runs", search.name)
  again = [trial for trial in search.repeats(table) if trial is not None]
  runner.check_directories([*search.trials(), *again], root)
  places = search.places(table)
  if not any(place.complete for place in places if place.title == reference):
    raise SweepError(f"{root} has {reference} finished on no model; run: ranking sweep {file}")
  return places
