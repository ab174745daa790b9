"""Runs as jobs of Slurm, one each, submitted by submitit. Not tried on a Slurm cluster yet.

Give the command where sbatch is, in a folder that all machines see. A run takes OMP_NUM_THREADS
cores, one if that is not set. sbatch reads what else is needed from the environment: for example
SBATCH_PARTITION, SBATCH_TIMELIMIT (a day if not set), SBATCH_MEM_PER_NODE and SBATCH_GRES=gpu:1.
At the limit of time, and when it is preempted, a run leaves a checkpoint and queues again.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Slurm gives the notice that a job must end to all of its processes. The trainer takes USR1 as a
# wish to stop; USR2, which submitit asks for otherwise, would end it without a checkpoint.
os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")

import submitit

from ranking.sweeps.engines.work import Alone, Ended, Work, cores_of_a_run
from ranking.sweeps.sweep import SweepError

MINUTES = 24 * 60
FOLDER = Path("runs", ".slurm")  # scripts and outputs of the jobs themselves


@contextlib.contextmanager
def cluster() -> Iterator[Callable[[Work], "_Job"]]:
  """Gives what submits a job. Raises SweepError where there is no Slurm."""
  try:
    executor = submitit.SlurmExecutor(FOLDER)
  except RuntimeError as error:
    raise SweepError(
      "no Slurm here (no srun); give the command where jobs are submitted"
    ) from error
  executor.update_parameters(cpus_per_task=cores_of_a_run(), time=MINUTES)
  yield submitting(executor)


def submitting(executor: Any) -> Callable[[Work], "_Job"]:
  """What submits a work to an executor of submitit's."""
  return lambda work: _Job(executor.submit(InJob(), work))


class InJob:
  """Does a work within a job; submitit calls `checkpoint` meanwhile if the job has to end."""

  def __call__(self, work: Work) -> Ended:
    """Does the work."""
    self._process = Alone(work)
    return self._process.wait()

  def checkpoint(self, work: Work) -> submitit.helpers.DelayedSubmission:
    """Stops the run, which leaves a checkpoint; returns what goes on when the job has its turn."""
    self._process.stop()
    self._process.wait()
    return submitit.helpers.DelayedSubmission(InJob(), work)


class _Job:
  """A Process that Slurm starts."""

  remark: str | None = None

  def __init__(self, job: "submitit.Job[Ended]"):
    self._job = job
    self._is_cancelled = False

  def poll(self) -> Ended | None:
    """See Process."""
    if not self._job.done(force_check=self._is_cancelled):
      return None
    try:
      return self._job.result()
    except Exception as error:  # of submitit: its job raised, or was lost
      lines = [line for line in str(error).splitlines() if line.strip()]
      raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
      return Ended(None, None, f"job {self._job.job_id} failed: {(raised[-1:] or lines)[0]}")

  def stop(self) -> None:
    """See Process."""
    self._is_cancelled = True
    self._job.cancel(check=False)
