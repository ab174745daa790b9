"""Makes Table 2: python -m ranking.sweeps.table2_command --experiment=….gin

Runs the search, then the repeats of what it found, and writes table2.md, .html and .csv beside the
runs, in runs/<name of the file>/; finished runs are skipped, so that the same command goes on after
a kill. With --shard, a cell is repeated once its search is finished: when every machine has run,
put their folders together and run the same commands again. Exit codes: as scripts/sweep.py.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ranking.sweeps import command as sweep
from ranking.sweeps import results
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import shard
from ranking.sweeps.tables import table2


def main(arguments: Sequence[str], python: Sequence[str] = sweep.PYTHON) -> int:
  """Runs what is not finished and writes the table; arguments as of `sweep.main`."""
  given = sweep.parser("ranking.sweeps.table2_command", "--experiment").parse_args(arguments)

  def work() -> int:
    search = sweep.read(given.experiment, Search)
    root = Path("runs", search.name)
    failures = sweep.run(shard(search.trials(), given.shard), root, given, python)
    repeats = shard(search.repeats(results.read([root])), given.shard)
    # By name: columns that share a method may have chosen the same setting.
    known = {trial.name: trial for trial in repeats if trial is not None}
    failures |= sweep.run(list(known.values()), root, given, python)
    table = results.read([root])
    return sweep.conclude(root, "table2", table2.table2(search, table), table, failures)

  return sweep.exit_code(work)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
