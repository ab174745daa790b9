"""Runs a sweep: python -m ranking.sweeps.command --sweep=experiments/lr_multipliers.gin

Its runs go to runs/<name of the file>/; finished ones are skipped, so that the same command goes on
after a kill. Beside them it writes, of all runs there are:

table.csv, .parquet          every figure of every run
summary.md, .html, .csv      what became of every point of the grid
survival_map.png, .svg       with several learning rates: method × rate,
survival_curves.png, .svg    and the same as lines over the rate
map.png, .svg                else, with two other axes: threshold × threshold, ablation × threshold

Exit codes: 0 every run finished, diverged or not; 1 some failed twice; 2 bad configuration or
input; 143 stopped by a signal.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import gin
import pandas as pd
from absl import logging
from matplotlib.figure import Figure

from ranking import quiet
from ranking.nearest import nearest
from ranking.sweeps import results, runner
from ranking.sweeps.figures import curves, grid, style
from ranking.sweeps.sweep import Method, Sweep, SweepError, Trial, shard
from ranking.sweeps.tables import points, rendering, summary
from ranking.sweeps.tables.document import Document
from ranking.training import interrupt

with quiet.native_stderr():
  from ranking import configuration

Kind = TypeVar("Kind")
PYTHON = (sys.executable, "-m")
EXPERIMENTS = "ranking.sweeps."
DATA_MODULES = {
  module.__name__.rpartition(".")[2]
  for module in configuration.MODULES
  if module.__name__.startswith("ranking.data.")
}


def main(arguments: Sequence[str], python: Sequence[str] = PYTHON) -> int:
  """Checks every trial, runs those that are not finished, and writes what came of them.

  Args:
    arguments: of the command line.
    python: what runs a module, which is its next argument.
  """
  given = parser("ranking.sweeps.command", "--sweep").parse_args(arguments)

  def work() -> int:
    sweep = read(given.sweep, Sweep)
    root = Path("runs", sweep.name)
    failures = run(shard(sweep.trials(), given.shard), root, given, python)
    table = results.read([root])
    drawn = [
      path for name, figure in pictures(sweep, table) for path in style.save(figure, root / name)
    ]
    return conclude(root, "summary", summary.summary(sweep, table), table, failures, drawn)

  return exit_code(work)


def pictures(sweep: Sweep, table: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
  """The figures of a sweep, by name; none before a run is finished, or without a binary task."""
  rows = points.whole(sweep, table)
  if not (rows.kind == "binary").any():
    return
  if rows[["learning_rate", "learning_rate_multiplier"]].drop_duplicates().shape[0] > 1:
    yield "survival_map", grid.survival_map(rows)
    yield "survival_curves", curves.survival_curves(rows)
  elif axes := map_axes(sweep):
    yield "map", grid.grid_map(rows, *axes)


def map_axes(sweep: Sweep) -> tuple[str, str] | None:
  """Rows and columns of the map of a sweep with one learning rate; None if it searches no two."""
  values: dict[str, set[str]] = {}
  for trial in sweep.trials():
    for setting, value in trial.thresholds.items():
      values.setdefault(setting, set()).add(repr(value))
  searched = [setting for setting in values if len(values[setting]) > 1]
  ablations = ["ablation"] if len(sweep.ablations) > 1 else []
  for axes in (searched, [*ablations, *searched]):
    if len(axes) == 2:
      return axes[0], axes[1]
  return None


def parser(program: str, file: str) -> argparse.ArgumentParser:
  """Of a command that runs trials; `file` is the option that names what describes them."""
  parser = argparse.ArgumentParser(prog=program, allow_abbrev=False)
  parser.add_argument(file, required=True, help="a file such as experiments/….gin")
  parser.add_argument("--raw", help="folder of the unpacked raw log; downloaded if not given")
  parser.add_argument("--jobs", type=int, help="runs at once; as many as cores if not given")
  parser.add_argument("--shard", default="1/1", help="this machine's share of the trials, i/n")
  return parser


def exit_code(work: Callable[[], int]) -> int:
  """What `work` returns; or 2 with one line for bad input, 143 after a signal."""
  logging.set_verbosity(logging.FATAL)  # gin reports every place it looks for an include in
  try:
    return work()
  except runner.Stopped as stop:
    print(stop)
    return interrupt.EXIT_CODE
  except (configuration.ConfigError, SweepError, OSError) as error:
    print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
    return 2


def run(
  trials: Sequence[Trial], root: Path, given: argparse.Namespace, python: Sequence[str]
) -> dict[str, str]:
  """Checks the trials and runs those that are not finished; as `runner.run`.

  Args:
    trials: of this machine.
    root: folder of the run directories.
    given: the command line, of `parser`.
    python: what runs a module.
  """
  # One thread each, not all cores for one run after the other: more runs an hour, and the same
  # figures bit for bit.
  cores = len(os.sched_getaffinity(0))
  jobs = cores if given.jobs is None else given.jobs
  if jobs < 1:
    raise SweepError(f"--jobs is {jobs}; make it 1 or more")
  for trial in trials:
    check(trial, given.raw)
  runner.check_directories(trials, root)
  return runner.run(
    trials,
    root,
    lambda trial, run: [*python, "ranking.main", *training_flags(trial, run, given.raw)],
    [
      [*python, "ranking.commands.prepare", *flags]
      for flags in dict.fromkeys(preparing_flags(trial, given.raw) for trial in trials)
    ],
    jobs,
    threads=max(1, cores // jobs) if jobs > 1 else None,
  )


def conclude(
  root: Path,
  name: str,
  document: Document,
  table: pd.DataFrame,
  failures: Mapping[str, str],
  drawn: Sequence[Path] = (),
) -> int:
  """Writes a document and the table of all runs, says how it ended; returns 1 if runs failed.

  Args:
    root: folder of the runs.
    name: of the document's files there.
    document: its first table is printed.
    table: of `results.read`.
    failures: of `run`.
    drawn: pictures that are written already.
  """
  paths = [*rendering.write(document, root / name), *results.write(table, root / "table"), *drawn]
  print(rendering.markdown_table(document.tables[0]))
  print(f"{root}: {results.summary(table)}; {' '.join(map(str, paths))}")
  for trial, failure in failures.items():
    print(f"failed twice: {trial}: {failure}; see {root / trial / 'output.txt'}", file=sys.stderr)
  return 1 if failures else 0


def read(file: str, kind: type[Kind]) -> Kind:
  """What a file describes, such as a Sweep, named after it. Raises SweepError."""
  path = Path(file)
  if not path.is_file():
    known = sorted(str(each) for each in Path("experiments").glob("*.gin"))
    raise SweepError(f"no experiment {file!r}{nearest(file, known) if known else ''}")
  gin.clear_config()
  there = path.absolute()
  try:
    with configuration.inside(configuration.CONFIGS.resolve().parent):  # where includes are looked for
      gin.parse_config_file(str(there))
    for _, name in gin.config._CONFIG:
      if not name.startswith(EXPERIMENTS):
        raise SweepError(f"it binds {name}, which only runs read; use bindings of the experiment")
      if name not in {f"{each.__module__}.{each.__name__}" for each in (kind, Method)}:
        raise SweepError(f"it describes a {name.rpartition('.')[2]}, this needs a {kind.__name__}")
    described: Kind = gin.get_configurable(kind)(name=path.stem)
  except configuration.GIN_ERRORS as error:
    raise SweepError(f"{file}: {configuration.explain(error)}") from error
  return described


def check(trial: Trial, raw: str | None) -> None:
  """Raises ConfigError or SweepError if the training command would refuse the trial's settings."""
  try:
    configuration.configure(trial.config, trial.data, trial.scale, raw, trial.bindings)
  except configuration.ConfigError as error:
    raise configuration.ConfigError(f"{error} (trial {trial.name})") from error
  if configuration.split_bindings(" ".join(trial.bindings)) != list(trial.bindings):
    raise SweepError(f"a binding of trial {trial.name} is none or several: {trial.bindings}")


def training_flags(trial: Trial, run: Path, raw: str | None) -> tuple[str, ...]:
  """Of ranking.main, for a trial in a run directory."""
  return (
    f"--config={trial.config}",
    *_log_flags(trial, raw, trial.bindings),
    f"--scale={trial.scale}",
    f"--run={run}",
  )


def preparing_flags(trial: Trial, raw: str | None) -> tuple[str, ...]:
  """Of ranking.commands.prepare, for the log of a trial; the same for all trials that share it."""
  about_the_log = tuple(
    f"loop.train_and_evaluate.{name} "
    for name in ("source", "lookback", "without_last_days", "store_directory")
  )
  bindings = [
    binding
    for binding in map(configuration.qualify, trial.bindings)
    if binding.startswith(about_the_log) or binding.partition(".")[0] in DATA_MODULES
  ]
  return tuple(_log_flags(trial, raw, bindings))


def _log_flags(trial: Trial, raw: str | None, bindings: Sequence[str]) -> Iterator[str]:
  yield f"--data={trial.data}"
  if raw is not None:
    yield f"--raw={raw}"
  if bindings:
    yield f"--set={' '.join(bindings)}"


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
