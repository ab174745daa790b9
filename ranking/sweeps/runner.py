"""Runs the trials of a sweep, each in a process and a run directory of its own.

Beside what a run writes, its directory gets

trial.json    which trial this is, and its command
output.txt    what the run's process printed, of all attempts; locked while one is under way
failed.json   how the last attempt failed, if it did

Nothing else remembers how far a sweep is, so a killed one goes on by starting it again, and shards
may share a folder. A process that outlives a killed sweep keeps its lock: the next sweep waits for
it rather than training in the same directory.
"""

import collections
import shlex
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ranking.errors import Stopped
from ranking.files import sealed, write_atomically
from ranking.run_directory import is_finished
from ranking.sweeps import engines
from ranking.sweeps.engines.work import LOOK_EVERY_SECONDS, Ended, Process, Work, last_error, start
from ranking.sweeps.progress import SweepProgress
from ranking.sweeps.sweep import SweepError, Trial
from ranking.sweeps.trial_file import TRIAL, describe, read_trial
from ranking.training.interrupt import signals

ATTEMPTS = 2
SAME_TRIAL = ("model", "method", "data", "scale", "bindings")  # what makes two trials the same run

Command = Callable[[Trial, Path], Sequence[str]]


def check_directories(trials: Sequence[Trial], root: Path) -> None:
  """Raises SweepError if a trial's run directory holds another one, or a damaged trial.json."""
  for trial in trials:
    path = root / trial.name / TRIAL
    if not path.is_file():
      continue
    wanted = describe(trial)
    try:
      held = read_trial(path.parent)
    except ValueError as error:
      raise SweepError(f"{path} is damaged ({error}); remove its folder") from error
    for name in SAME_TRIAL:
      if held.get(name, wanted[name]) != wanted[name]:
        raise SweepError(
          f"{path.parent} holds a run with {name} {held[name]}, this sweep has {wanted[name]}; "
          "give the sweep another file name, or remove the folder"
        )


def run(
  trials: Sequence[Trial],
  root: Path,
  command: Command,
  prepare: Sequence[Sequence[str]],
  jobs: int,
  threads: int | None,
  engine: engines.Engine = engines.local,
) -> dict[str, str]:
  """Runs every trial below `root` that is not finished; one that fails is tried once more.

  Args:
    trials: what to run, in this order.
    root: folder of the run directories.
    command: what runs a trial in a directory.
    prepare: commands that run one by one before the first trial, if any trial is to run.
    jobs: processes at once.
    threads: of each process; None = as many as it likes.
    engine: where the processes are.

  Returns:
    Of each trial that failed for good, by name, how.

  Raises:
    Stopped: SIGTERM or SIGINT came; every process was asked to stop, and did.
    SweepError: preparing failed.
  """
  queue = collections.deque(
    _Attempt(Work(trial, run, tuple(command(trial, run)), threads, Path.cwd()))
    for trial, run in ((trial, root / trial.name) for trial in trials)
    if not is_finished(run)
  )
  failures: dict[str, str] = {}
  if not queue:
    return failures
  running: list[tuple[_Attempt, Process]] = []
  with engine() as begin, signals() as asked_to_stop:
    for line in prepare:
      _prepare(line, root, asked_to_stop)
    done = len(trials) - len(queue)
    models = {attempt.name: str(attempt.work.trial.coordinates["model"]) for attempt in queue}
    with SweepProgress(models, done, jobs) as progress:
      progress.say(
        f"{len(trials)} runs in {root}: {done} finished before, {len(queue)} to run, {jobs} at once"
      )
      try:
        while (queue or running) and not asked_to_stop():
          while queue and len(running) < jobs:
            attempt = queue.popleft()
            process = begin(attempt.work)
            running.append((attempt, process))
            progress.began(attempt.name)
            if process.remark:
              progress.say(f"{attempt.name}: {process.remark}")
          for attempt, process in list(running):
            if (ended := process.poll()) is None:
              continue
            running.remove((attempt, process))
            again = ended.failure is not None and attempt.number < ATTEMPTS
            if again:
              queue.append(attempt._replace(number=attempt.number + 1))
            elif ended.failure is not None:
              failures[attempt.name] = ended.failure
            _keep(attempt.work, ended)
            outcome = f"failed: {ended.failure}" if ended.failure else str(ended.status)
            outcome += ", to be tried again" if again else ""
            progress.ended(attempt.name, outcome, for_good=not again)
          progress.draw()
          time.sleep(LOOK_EVERY_SECONDS)
      finally:
        _stop([process for _, process in running])
    if running or queue:
      raise Stopped("stopped by a signal; the same command goes on")
  return failures


class _Attempt(NamedTuple):
  """A work that is tried for the n-th time, counted from 1."""

  work: Work
  number: int = 1

  @property
  def name(self) -> str:
    """Of its trial."""
    return self.work.trial.name


def _keep(work: Work, ended: Ended) -> None:
  """Writes down how a run failed, if it did, also where its machine was lost before it began."""
  if ended.failure is not None:
    work.place.mkdir(parents=True, exist_ok=True)
    if not (work.place / TRIAL).is_file():
      work.describe()
    failed = {"error": ended.failure, "exit_code": ended.code}
    write_atomically(work.place / "failed.json", sealed(failed))


def _prepare(command: Sequence[str], root: Path, asked_to_stop: Callable[[], bool]) -> None:
  """Runs one command to its end; what it prints goes to prepare.txt."""
  print(shlex.join(command), flush=True)
  root.mkdir(parents=True, exist_ok=True)
  with open(root / "prepare.txt", "wb") as output:
    process = start(command, output, threads=None)
  while process.poll() is None:
    if asked_to_stop():
      process.send_signal(signal.SIGTERM)
      process.wait()
      raise Stopped("stopped by a signal while preparing the log; the same command goes on")
    time.sleep(LOOK_EVERY_SECONDS)
  if process.returncode:
    printed = (root / "prepare.txt").read_text(errors="replace")
    raise SweepError(last_error(printed).removeprefix("error: "))


def _stop(processes: Sequence[Process]) -> None:
  """Asks each to stop, once, and waits until all have."""
  for process in processes:
    process.stop()
  while any(process.poll() is None for process in processes):
    time.sleep(LOOK_EVERY_SECONDS)
