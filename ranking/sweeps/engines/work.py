"""A run of a sweep as work that any machine can do which sees the same folder."""

import dataclasses
import fcntl
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ranking.run_directory import is_finished, read_result
from ranking.sweeps.sweep import SweepError, Trial
from ranking.sweeps.trial_file import write_trial

LOOK_EVERY_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Work:
  """What makes one run.

  Attributes:
    trial: which it is.
    directory: of the run, relative to `folder`.
    command: what trains there.
    threads: of its process; None = as many as it likes.
    folder: where the command is given, absolute.
  """

  trial: Trial
  directory: Path
  command: tuple[str, ...]
  threads: int | None
  folder: Path

  @property
  def place(self) -> Path:
    """The run directory, absolute."""
    return self.folder / self.directory

  def describe(self) -> None:
    """Writes trial.json."""
    write_trial(self.place, self.trial, shlex.join(self.command))


class Ended(NamedTuple):
  """How a process ended, as its own machine saw it.

  Attributes:
    status: that of result.json, of a run that is finished; else None.
    code: the exit code; None if nobody knows, as its machine is gone.
    said: its last line that says what is wrong, or else its last one.
  """

  status: str | None
  code: int | None
  said: str

  @property
  def failure(self) -> str | None:
    """What went wrong, in words; None if the run is finished."""
    if self.status is not None:
      return None
    if self.code is None:
      return self.said
    if self.code < 0:
      return f"killed by {signal.Signals(-self.code).name}: {self.said}"
    return f"exit code {self.code}: {self.said}"


class Process(Protocol):
  """A work under way, in this machine or another one.

  Attributes:
    remark: what a person should know of its start, if anything.
  """

  remark: str | None

  def poll(self) -> Ended | None:
    """How it ended, once it has."""

  def stop(self) -> None:
    """Asks it to stop; `poll` tells when it has."""


class Alone:
  """A Process of this machine, begun as soon as no other one works in its directory."""

  remark: str | None = None

  def __init__(self, work: Work):
    self._work = work
    self._process: subprocess.Popen[bytes] | None = None
    self._output_from = 0
    self._is_given_up = False
    if not self._begin():
      self.remark = "waiting for a process that trains there already"

  def poll(self) -> Ended | None:
    """See Process; it begins here what had to wait."""
    if self._process is None and not self._is_given_up and not self._begin():
      return None
    if self._process is None:  # somebody else has finished the run, or it was asked to stop
      return Ended(_status(self._work.place), None, "stopped before it began")
    if self._process.poll() is None:
      return None
    with open(self._work.place / "output.txt", "rb") as output:
      output.seek(self._output_from)
      printed = output.read().decode(errors="replace")
    return Ended(_status(self._work.place), self._process.returncode, last_error(printed))

  def wait(self) -> Ended:
    """How it ended; KeyboardInterrupt, by which clusters cancel, is a wish to stop."""
    while True:
      try:
        while (ended := self.poll()) is None:
          time.sleep(LOOK_EVERY_SECONDS)
        return ended
      except KeyboardInterrupt:
        self.stop()

  def stop(self) -> None:
    """See Process."""
    self._is_given_up = True
    if self._process is not None:
      self._process.send_signal(signal.SIGTERM)

  def _begin(self) -> bool:
    """Starts the process, unless the run is finished; False while another one works on it."""
    place = self._work.place
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "output.txt", "ab") as output:
      try:
        # The lock belongs to the open file, so the process that prints to it holds it to its end.
        fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        return False
      if not is_finished(place):
        self._output_from = output.tell()
        (place / "failed.json").unlink(missing_ok=True)
        self._work.describe()
        self._process = start(self._work.command, output, self._work.threads, self._work.folder)
    return True


def cores_of_a_run() -> int:
  """How many cores a run takes of a cluster: OMP_NUM_THREADS, or one."""
  text = os.environ.get("OMP_NUM_THREADS", "1")
  if not text.isdecimal() or int(text) < 1:
    raise SweepError(f"OMP_NUM_THREADS is {text!r}; make it the number of cores that a run takes")
  return int(text)


def start(
  command: Sequence[str], output: Any, threads: int | None, folder: Path | None = None
) -> "subprocess.Popen[bytes]":
  """Starts a command that prints to an open file, in this folder if not in another one."""
  environment = dict(os.environ)
  if threads is not None:
    environment |= {"OMP_NUM_THREADS": str(threads), "TF_NUM_INTRAOP_THREADS": str(threads)}
  # A session of its own: Ctrl-C reaches the sweep alone, which then asks each process once. The
  # second signal would end a run without a checkpoint.
  return subprocess.Popen(
    command,
    stdin=subprocess.DEVNULL,
    stdout=output,
    stderr=subprocess.STDOUT,
    env=environment,
    cwd=folder,
    start_new_session=True,
  )


def last_error(printed: str) -> str:
  """The last line that says what is wrong, or else the last line."""
  lines = [line.strip() for line in printed.splitlines() if line.strip()]
  errors = [line for line in lines if line.startswith("error: ")]
  return (errors or lines or ["it printed nothing"])[-1]


def _status(place: Path) -> str | None:
  return str(read_result(place)["status"]) if is_finished(place) else None
