"""Makes Table 3: python -m scripts.table3 --experiment=experiments/table3_kuairand.gin --raw=…

Runs a sweep of ablations and writes table3.md, .html and .csv beside its runs, in
runs/<name of the file>/; finished runs are skipped. Exit codes: as scripts/sweep.py.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ranking.experiments import results
from ranking.experiments.sweep import Sweep, shard
from ranking.experiments.tables import table3
from scripts import sweep


def main(arguments: Sequence[str], python: Sequence[str] = sweep.PYTHON) -> int:
  """Runs what is not finished and writes the table; arguments as of `sweep.main`."""
  given = sweep.parser("scripts.table3", "--experiment").parse_args(arguments)

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
