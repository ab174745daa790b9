"""Checks the trials of an experiment, runs what is not finished, writes what came of it."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ranking import configuration
from ranking.settings import LogSettings
from ranking.sweeps import engines, results, runner
from ranking.sweeps.engines import LOCAL
from ranking.sweeps.engines.work import cores_of_a_run
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Sweep, SweepError, Trial, shard
from ranking.sweeps.tables import rendering
from ranking.sweeps.tables.document import Document

RANKING = (sys.executable, "-m", "ranking")  # what takes `train` and `prepare`


def complete(
  described: Sweep | Search,
  raw: str | None = None,
  jobs: int | None = None,
  share: str | None = None,
  engine: str = LOCAL,
) -> tuple[pd.DataFrame, dict[str, str]]:
  """Runs what is not finished of an experiment, of a search its repeats as well.

  Args:
    described: whose runs are below runs/<its name>.
    raw, jobs, share, engine: as of `run`.

  Returns:
    The table of `results.read`, and what `runner.run` says of the trials that failed.
  """
  root = Path("runs", described.name)
  failures = run(described.trials(), root, raw, jobs, share, engine)
  if isinstance(described, Search):
    repeats = described.repeats(results.read([root]))
    repeats = repeats if share is None else shard(repeats, share)
    # By name: columns that share a method may have chosen the same setting.
    known = {trial.name: trial for trial in repeats if trial is not None}
    failures |= run(list(known.values()), root, raw, jobs, engine=engine)
  return results.read([root]), failures


def run(
  trials: Sequence[Trial],
  root: Path,
  raw: str | None = None,
  jobs: int | None = None,
  share: str | None = None,
  engine: str = LOCAL,
) -> dict[str, str]:
  """Checks the trials and runs those of this machine that are not finished; see `runner.run`.

  Args:
    trials: of all machines.
    root: folder of the run directories.
    raw: folder of the unpacked raw log; None = downloaded.
    jobs: runs at once; None = as many as cores, and of a cluster all, which has a queue itself.
    share: this machine's part of the trials, such as "1/2"; None = all.
    engine: where they run: "local" for this machine, "slurm" or "ray".
  """
  place = engines.engine(engine)
  mine = trials if share is None else shard(trials, share)
  # One thread each, not all cores for one run after the other: more runs an hour, and the same
  # figures bit for bit.
  cores = len(os.sched_getaffinity(0))
  if jobs is None:
    jobs = cores if engine == LOCAL else max(1, len(mine))
  if jobs < 1:
    raise SweepError(f"--jobs is {jobs}; make it 1 or more")
  threads = max(1, cores // jobs) if jobs > 1 else None
  to_prepare = of_each_log(mine, raw)
  runner.check_directories(mine, root)
  return runner.run(
    mine,
    root,
    lambda trial, run: [*RANKING, "train", *flags(trial, raw), f"--run={run}"],
    [[*RANKING, "prepare", *flags(trial, raw)] for trial in to_prepare],
    jobs,
    threads if engine == LOCAL else cores_of_a_run(),
    place,
  )


def of_each_log(trials: Sequence[Trial], raw: str | None) -> list[Trial]:
  """The first trial of each log, so that no log is prepared twice. Raises as `log_of`."""
  logs: list[LogSettings] = []
  first = []
  for trial in trials:
    log = log_of(trial, raw)
    if log not in logs:
      logs.append(log)
      first.append(trial)
  return first


def log_of(trial: Trial, raw: str | None) -> LogSettings:
  """The log that a trial reads, equal for trials that share a day store.

  Raises ConfigError or SweepError if the training command would refuse the trial's settings.
  """
  try:
    settings = configuration.read(
      model=trial.model,
      method=trial.method,
      data=trial.data,
      scale=trial.scale,
      raw=raw,
      bindings=trial.bindings,
    )
  except configuration.ConfigError as error:
    raise configuration.ConfigError(f"{error} (trial {trial.name})") from error
  if configuration.split_bindings(" ".join(trial.bindings)) != list(trial.bindings):
    raise SweepError(f"a binding of trial {trial.name} is none or several: {trial.bindings}")
  return dataclasses.replace(settings.log, without_tasks=())


def flags(trial: Trial, raw: str | None) -> list[str]:
  """What `ranking train` and `ranking prepare` need to know of a trial."""
  given = [f"--model={trial.model}", f"--method={trial.method}", f"--data={trial.data}"]
  given.append(f"--scale={trial.scale}")
  if raw is not None:
    given.append(f"--raw={raw}")
  if trial.bindings:
    given.append(f"--set={' '.join(trial.bindings)}")
  return given


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
