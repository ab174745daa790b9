"""Makes Table 3: python -m experiments.table3_command --experiment=…gin

Runs a sweep of ablations and writes table3.md, .html and .csv beside its runs, in
runs/<name of the file>/; finished runs are skipped. Exit codes: as scripts/sweep.py.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments import table3
from ranking.sweeps import command as sweep
from ranking.sweeps import results
from ranking.sweeps.sweep import Sweep, shard


def main(arguments: Sequence[str], python: Sequence[str] = sweep.PYTHON) -> int:
  """Runs what is not finished and writes the table; arguments as of `sweep.main`."""
  given = sweep.parser("experiments.table3_command", "--experiment").parse_args(arguments)

  def work() -> int:
    ablations = sweep.read(given.experiment, Sweep)
    table3.unchanged(ablations)  # refuses what is no Table 3 before any run
    root = Path("runs", ablations.name)
    failures = sweep.run(shard(ablations.trials(), given.shard), root, given, python)
    table = results.read([root])
    return sweep.conclude(root, "table3", table3.table3(ablations, table), table, failures)

  return sweep.exit_code(work)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
