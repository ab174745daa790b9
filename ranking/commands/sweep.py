"""Runs an experiment: ranking sweep experiments/lr_multipliers.gin

The file describes a sweep, a grid of runs, or a search for every method's best setting. Its runs go
to runs/<name of the file>/; finished ones are skipped, so that the same command goes on after a
kill. With --shard, the settings of a search are repeated once all their runs are finished: when
every machine has run, put their folders together and run the same commands again.

Beside the runs it writes, of all there are:

table.csv, .parquet          every figure of every run
summary.md, .html, .csv      of a sweep: what became of every point of the grid
survival_map.png, .svg       with several learning rates: method × rate,
survival_curves.png, .svg    and the same as lines over the rate
map.png, .svg                else, with two other axes: threshold × threshold, ablation × threshold
table2.md, .html, .csv       of a search: every method at its best setting on every model

Exit codes: 0 every run finished, diverged or not; 1 some failed twice; 2 bad configuration or
input; 143 stopped by a signal.
"""

import argparse
from pathlib import Path

from ranking.sweeps import execution, files, results, runner
from ranking.sweeps.figures import style
from ranking.sweeps.figures.pictures import pictures
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Sweep, SweepError, shard
from ranking.sweeps.tables import summary, table2
from ranking.training import interrupt


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """The file, and how its trials are run."""
  parser.add_argument("file", nargs="?", help="a file such as experiments/….gin")
  parser.add_argument("--sweep", help="the same")
  parser.add_argument("--raw", help="folder of the unpacked raw log; downloaded if not given")
  parser.add_argument("--jobs", type=int, help="runs at once; as many as cores if not given")
  parser.add_argument("--shard", default="1/1", help="this machine's share of the trials, i/n")


def run(given: argparse.Namespace) -> int:
  """Checks every trial, runs those that are not finished, and writes what came of them."""
  described = files.describe(file_of(given))
  try:
    return _sweep(described, given) if isinstance(described, Sweep) else _search(described, given)
  except runner.Stopped as stop:
    interrupt.say(str(stop))
    return interrupt.EXIT_CODE


def file_of(given: argparse.Namespace) -> str:
  """The one file that was named. Raises SweepError if none or two were."""
  named = [file for file in (given.file, given.sweep) if file]
  if len(named) != 1:
    raise SweepError("name one file that describes an experiment, such as experiments/….gin")
  return str(named[0])


def _sweep(sweep: Sweep, given: argparse.Namespace) -> int:
  root = Path("runs", sweep.name)
  failures = execution.run(sweep.trials(), root, given.raw, given.jobs, given.shard)
  table = results.read([root])
  drawn = [
    path for name, figure in pictures(sweep, table) for path in style.save(figure, root / name)
  ]
  document = summary.summary(sweep, table)
  return execution.conclude(root, "summary", document, table, failures, drawn)


def _search(search: Search, given: argparse.Namespace) -> int:
  root = Path("runs", search.name)
  failures = execution.run(search.trials(), root, given.raw, given.jobs, given.shard)
  repeats = shard(search.repeats(results.read([root])), given.shard)
  # By name: columns that share a method may have chosen the same setting.
  known = {trial.name: trial for trial in repeats if trial is not None}
  if known:
    failures |= execution.run(list(known.values()), root, given.raw, given.jobs)
  table = results.read([root])
  return execution.conclude(root, "table2", table2.table2(search, table), table, failures)
