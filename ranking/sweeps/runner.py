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
import fcntl
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ranking.errors import Stopped
from ranking.files import sealed, write_atomically
from ranking.run_directory import is_finished, read_result
from ranking.sweeps.progress import SweepProgress
from ranking.sweeps.sweep import SweepError, Trial
from ranking.sweeps.trial_file import TRIAL, describe, read_trial, write_trial
from ranking.training.interrupt import signals

ATTEMPTS = 2
LOOK_EVERY_SECONDS = 0.1
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
) -> dict[str, str]:
  """Runs every trial below `root` that is not finished; one that fails is tried once more.

  Args:
    trials: what to run, in this order.
    root: folder of the run directories.
    command: what runs a trial in a directory.
    prepare: commands that run one by one before the first trial, if any trial is to run.
    jobs: processes at once.
    threads: of each process; None = as many as it likes.

  Returns:
    Of each trial that failed for good, by name, how.

  Raises:
    Stopped: SIGTERM or SIGINT came; every process was asked to stop, and did.
    SweepError: preparing failed.
  """
  queue = collections.deque(
    _Attempt(trial, root / trial.name, command(trial, root / trial.name), threads)
    for trial in trials
    if not is_finished(root / trial.name)
  )
  failures: dict[str, str] = {}
  if not queue:
    return failures
  running: list[_Attempt] = []
  with signals() as asked_to_stop:
    for line in prepare:
      _prepare(line, root, asked_to_stop)
    done = len(trials) - len(queue)
    models = {attempt.trial.name: str(attempt.trial.coordinates["model"]) for attempt in queue}
    with SweepProgress(models, done, jobs) as progress:
      progress.say(
        f"{len(trials)} runs in {root}: {done} finished before, {len(queue)} to run, {jobs} at once"
      )
      try:
        while (queue or running) and not asked_to_stop():
          while queue and len(running) < jobs:
            attempt = queue.popleft()
            running.append(attempt)
            progress.began(attempt.trial.name)
            if not attempt.begin():
              progress.say(f"{attempt.trial.name}: waiting for a process that trains there already")
          for attempt in [each for each in running if each.has_ended()]:
            running.remove(attempt)
            failure = attempt.failure()
            again = failure is not None and attempt.number < ATTEMPTS
            if again:
              queue.append(attempt.another())
            elif failure is not None:
              failures[attempt.trial.name] = failure
            outcome = f"failed: {failure}" if failure else _status(attempt.directory)
            outcome += ", to be tried again" if again else ""
            progress.ended(attempt.trial.name, outcome, for_good=not again)
          progress.draw()
          time.sleep(LOOK_EVERY_SECONDS)
      finally:
        _stop([attempt.process for attempt in running if attempt.process is not None])
    if running or queue:
      raise Stopped("stopped by a signal; the same command goes on")
  return failures


class _Attempt:
  """One process that runs a trial, begun as soon as no other works in its directory."""

  def __init__(
    self,
    trial: Trial,
    directory: Path,
    command: Sequence[str],
    threads: int | None,
    number: int = 1,
  ):
    self.trial, self.directory, self.number = trial, directory, number
    self.process: subprocess.Popen[bytes] | None = None
    self._command, self._threads = command, threads
    self._output_from = 0

  def another(self) -> "_Attempt":
    """Makes the next attempt."""
    return _Attempt(self.trial, self.directory, self._command, self._threads, self.number + 1)

  def begin(self) -> bool:
    """Starts the process, unless another one has finished the run; False while one works on it."""
    self.directory.mkdir(parents=True, exist_ok=True)
    with open(self.directory / "output.txt", "ab") as output:
      try:
        # The lock belongs to the open file, so the process that prints to it holds it to its end.
        fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        return False
      if not is_finished(self.directory):
        self._output_from = output.tell()
        (self.directory / "failed.json").unlink(missing_ok=True)
        write_trial(self.directory, self.trial, shlex.join(self._command))
        self.process = _start(self._command, output, self._threads)
    return True

  def has_ended(self) -> bool:
    """Whether the process has ended, or that of somebody else who finished the run."""
    if self.process is None and not self.begin():
      return False
    return self.process is None or self.process.poll() is not None

  def failure(self) -> str | None:
    """None if the run is finished; else what went wrong, which failed.json keeps."""
    if is_finished(self.directory):
      return None
    assert self.process is not None
    with open(self.directory / "output.txt", "rb") as output:
      output.seek(self._output_from)
      printed = output.read().decode(errors="replace")
    text = f"{_exit(self.process.returncode)}: {_last_error(printed)}"
    failed = {"error": text, "exit_code": self.process.returncode}
    write_atomically(self.directory / "failed.json", sealed(failed))
    return text


def _start(command: Sequence[str], output: Any, threads: int | None) -> "subprocess.Popen[bytes]":
  environment: Mapping[str, str] = os.environ
  if threads is not None:
    environment = {
      **os.environ,
      "OMP_NUM_THREADS": str(threads),
      "TF_NUM_INTRAOP_THREADS": str(threads),
    }
  # A session of its own: Ctrl-C reaches the sweep alone, which then asks each process once. The
  # second signal would end a run without a checkpoint.
  return subprocess.Popen(
    command,
    stdin=subprocess.DEVNULL,
    stdout=output,
    stderr=subprocess.STDOUT,
    env=environment,
    start_new_session=True,
  )


def _prepare(command: Sequence[str], root: Path, asked_to_stop: Callable[[], bool]) -> None:
  """Runs one command to its end; what it prints goes to prepare.txt."""
  print(shlex.join(command), flush=True)
  root.mkdir(parents=True, exist_ok=True)
  with open(root / "prepare.txt", "wb") as output:
    process = _start(command, output, threads=None)
  while process.poll() is None:
    if asked_to_stop():
      _stop([process])
      raise Stopped("stopped by a signal while preparing the log; the same command goes on")
    time.sleep(LOOK_EVERY_SECONDS)
  if process.returncode:
    printed = (root / "prepare.txt").read_text(errors="replace")
    raise SweepError(_last_error(printed).removeprefix("error: "))


def _stop(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
  """Asks each to stop, once, and waits until all have."""
  for process in processes:
    process.send_signal(signal.SIGTERM)
  for process in processes:
    process.wait()


def _status(directory: Path) -> str:
  return str(read_result(directory)["status"])


def _exit(code: int) -> str:
  return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _last_error(printed: str) -> str:
  """The last line that says what is wrong, or else the last line."""
  lines = [line.strip() for line in printed.splitlines() if line.strip()]
  errors = [line for line in lines if line.startswith("error: ")]
  return (errors or lines or ["it printed nothing"])[-1]
