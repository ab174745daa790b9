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
survival_limits.png, .svg    with several models or ablations too: what each survives
map.png, .svg                else, with two other axes: threshold × threshold, ablation × threshold
table2.md, .html, .csv       of a search: every method at its best setting on every model

Exit codes: 0 every run finished, diverged or not; 1 some failed twice; 2 bad configuration or
input; 143 stopped by a signal.
"""

import argparse
from pathlib import Path

from ranking.sweeps import execution, files
from ranking.sweeps.engines import LOCAL
from ranking.sweeps.figures import style
from ranking.sweeps.figures.pictures import pictures
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Sweep
from ranking.sweeps.tables import summary, table2


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the file, and how its trials are run."""
  parser.add_argument("file", help="a file such as experiments/….gin")
  parser.add_argument("--raw", help="folder of the unpacked raw log; downloaded if not given")
  parser.add_argument("--jobs", type=int, help="runs at once; if not given, one a core")
  parser.add_argument(
    "--engine", default=LOCAL, help="where: local (the default), slurm or ray, a cluster's queue"
  )
  parser.add_argument("--shard", help="this machine's share of the trials, i/n; all if not given")


def run(given: argparse.Namespace) -> int:
  """Checks every trial, runs those that are not finished, and writes what came of them."""
  return make(files.describe(given.file), given.raw, given.jobs, given.shard, given.engine)


def make(
  described: Sweep | Search,
  raw: str | None = None,
  jobs: int | None = None,
  share: str | None = None,
  engine: str = LOCAL,
) -> int:
  """Does what `run` does with an experiment that is read; see `execution.complete`."""
  table, failures = execution.complete(described, raw, jobs, share, engine)
  root = Path("runs", described.name)
  if isinstance(described, Search):
    return execution.conclude(root, "table2", table2.table2(described, table), table, failures)
  drawn = [
    path for name, figure in pictures(described, table) for path in style.save(figure, root / name)
  ]
  document = summary.summary(described, table)
  return execution.conclude(root, "summary", document, table, failures, drawn)
