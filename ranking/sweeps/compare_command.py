"""Compares every method with one of them, by tests:

    python -m ranking.sweeps.compare_command --sweep=….gin --reference=clippy
    python -m ranking.sweeps.compare_command --experiment=….gin --reference=Clippy

A sweep runs first, so far as it is not finished. Of a Table 2, which scripts/table2.py makes, the
repeats of each column's best setting are compared, and nothing is run. Writes comparison.md, .html
and .csv beside the runs, in runs/<name of the file>/. Exit codes: as scripts/sweep.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ranking.sweeps import command as sweep
from ranking.sweeps import results, runner
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Sweep, SweepError, shard
from ranking.sweeps.tables import arms
from ranking.sweeps.tables.comparison import comparison


def main(arguments: Sequence[str], python: Sequence[str] = sweep.PYTHON) -> int:
  """Runs what is not finished and writes the comparison; arguments as of `sweep.main`."""
  given = parser().parse_args(arguments)
  return sweep.exit_code(lambda: of_sweep(given, python) if given.sweep else of_search(given))


def parser() -> argparse.ArgumentParser:
  """Of the command line."""
  parser = argparse.ArgumentParser(prog="ranking.sweeps.compare_command", allow_abbrev=False)
  which = parser.add_mutually_exclusive_group(required=True)
  which.add_argument("--sweep", help="a file such as experiments/days_kuairand.gin, run if need be")
  which.add_argument("--experiment", help="of a finished Table 2: experiments/table2_….gin")
  parser.add_argument("--reference", required=True, help="the method to compare the others with")
  parser.add_argument("--raw", help="folder of the unpacked raw log; downloaded if not given")
  parser.add_argument("--jobs", type=int, help="runs at once; as many as cores if not given")
  parser.add_argument("--shard", default="1/1", help="this machine's share of the trials, i/n")
  return parser


def of_sweep(given: argparse.Namespace, python: Sequence[str]) -> int:
  """Runs what is not finished of a sweep, and compares its methods at each of their settings."""
  described = sweep.read(given.sweep, Sweep)
  of_methods = arms.of_sweep(described)
  reference = arms.named(arms.methods(of_methods), given.reference)  # before any run
  root = Path("runs", described.name)
  failures = sweep.run(shard(described.trials(), given.shard), root, given, python)
  table = results.read([root])
  document = comparison(described.name, of_methods, reference, table)
  return sweep.conclude(root, "comparison", document, table, failures)


def of_search(given: argparse.Namespace) -> int:
  """Compares the columns of a Table 2 by the runs that it has."""
  search = sweep.read(given.experiment, Search)
  reference = arms.named(list(search.columns), given.reference)
  root = Path("runs", search.name)
  table = results.read([root])
  repeats = [trial for trial in search.repeats(table) if trial is not None]
  runner.check_directories([*search.trials(), *repeats], root)
  of_columns = arms.of_search(search, table)
  obstacles = [arms.obstacle(arm, table) for arm in of_columns if arm.method == reference]
  if all(obstacle and obstacle.waits for obstacle in obstacles):
    raise SweepError(
      f"{root} has {reference} finished on no model; run: "
      f"python -m ranking.sweeps.table2_command --experiment={given.experiment}"
    )
  remark = f"{search.choice} No test here corrects for the choice among settings."
  document = comparison(search.name, of_columns, reference, table, [remark])
  return sweep.conclude(root, "comparison", document, table, {})


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
