"""Runs a sweep: python -m scripts.sweep --sweep=experiments/lr_multipliers.gin

Its runs go to runs/<name of the file>/, with table.csv and table.parquet of them; finished ones are
skipped, so that the same command goes on after a kill. Exit codes: 0 every run finished, diverged
or not; 1 some failed twice; 2 bad configuration or input; 143 stopped by a signal.
"""

import argparse
import difflib
import os
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

import gin
from absl import logging

from ranking import quiet
from ranking.experiments import results, runner
from ranking.experiments.sweep import Sweep, SweepError, Trial, shard
from ranking.training import interrupt

with quiet.native_stderr():
  from ranking import configuration

GIN_ERRORS = (ValueError, TypeError, NameError, AttributeError, SyntaxError, ImportError)
DATA_MODULES = {
  module.__name__.rpartition(".")[2]
  for module in configuration.MODULES
  if module.__name__.startswith("ranking.data.")
}


def main(arguments: Sequence[str], python: Sequence[str] = (sys.executable, "-m")) -> int:
  """Checks every trial, runs those that are not finished, and writes the table.

  Args:
    arguments: of the command line.
    python: what runs a module, which is its next argument.
  """
  given = _parser().parse_args(arguments)
  logging.set_verbosity(logging.FATAL)  # gin reports every place it looks for an include in
  # One thread each, not all cores for one run after the other: more runs an hour, and the same
  # figures bit for bit.
  cores = len(os.sched_getaffinity(0))
  jobs = cores if given.jobs is None else given.jobs
  try:
    if jobs < 1:
      raise SweepError(f"--jobs is {jobs}; make it 1 or more")
    sweep = read(given.sweep)
    root = Path("runs", sweep.name)
    trials = shard(sweep.trials(), given.shard)
    for trial in trials:
      check(trial, given.raw)
    runner.check_directories(trials, root)
    failures = runner.run(
      trials,
      root,
      lambda trial, run: [*python, "ranking.main", *training_flags(trial, run, given.raw)],
      [
        [*python, "scripts.prepare_data", *flags]
        for flags in dict.fromkeys(preparing_flags(trial, given.raw) for trial in trials)
      ],
      jobs,
      threads=max(1, cores // jobs) if jobs > 1 else None,
    )
    table = results.read([root])
    paths = results.write(table, root / "table")
  except runner.Stopped as stop:
    print(stop)
    return interrupt.EXIT_CODE
  except (configuration.ConfigError, SweepError, OSError) as error:
    print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
    return 2
  print(f"{root}: {results.summary(table)}; {' '.join(map(str, paths))}")
  for name, failure in failures.items():
    print(f"failed twice: {name}: {failure}; see {root / name / 'output.txt'}", file=sys.stderr)
  return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog="scripts.sweep", allow_abbrev=False)
  parser.add_argument("--sweep", required=True, help="a file such as experiments/….gin")
  parser.add_argument("--raw", help="folder of the unpacked raw log; downloaded if not given")
  parser.add_argument("--jobs", type=int, help="runs at once; as many as cores if not given")
  parser.add_argument("--shard", default="1/1", help="this machine's share of the trials, i/n")
  return parser


def read(file: str) -> Sweep:
  """The sweep that a file describes, named after it. Raises SweepError."""
  path = Path(file)
  if not path.is_file():
    known = sorted(str(each) for each in Path("experiments").glob("*.gin"))
    close = difflib.get_close_matches(file, known, n=1)
    nearest = f"; the nearest is {close[0]!r}" if close else f"; there are {', '.join(known)}"
    raise SweepError(f"no SWEEP {file!r}{nearest if known else ''}")
  gin.clear_config()
  try:
    gin.parse_config_file(file)
    for _, name in gin.config._CONFIG:
      if not name.startswith(Sweep.__module__):
        raise SweepError(f"it binds {name}, which only runs read; use sweep.Sweep.bindings")
    sweep: Sweep = gin.get_configurable(Sweep)(name=path.stem)
  except (*GIN_ERRORS, tokenize.TokenError) as error:  # the last for a bracket left open
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    place = [line for line in lines[1:] if line.startswith("In file")][:1]
    raise SweepError(" ".join([f"{file}:", *lines[:1], *place])) from error
  return sweep


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
  """Of scripts.prepare_data, for the log of a trial; the same for all trials that share it."""
  about_the_log = ("loop.train_and_evaluate.source", "loop.train_and_evaluate.lookback")
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
