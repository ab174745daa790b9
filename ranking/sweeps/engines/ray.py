"""Runs on a Ray cluster: that of RAY_ADDRESS, or else the one that this machine is part of.

Every machine must see this folder, and this Python, at the same paths. A run takes OMP_NUM_THREADS
cores, one if that is not set, and a GPU if the cluster has any. When a machine is lost, Ray starts
its runs again on another one, where they go on from their checkpoints.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping

import ray

from ranking.sweeps.engines.work import Alone, Ended, Work, cores_of_a_run
from ranking.sweeps.sweep import SweepError

CONNECTING_SECONDS = 10.0
LOST_MACHINES = 3  # so many may be lost under one run


@contextlib.contextmanager
def cluster() -> Iterator[Callable[[Work], "_Task"]]:
  """Gives what starts a process on the cluster. Raises SweepError if it cannot be reached."""
  where = os.environ.get("RAY_ADDRESS", "")
  try:
    if where:  # Ray itself would wait for minutes
      host, _, port = where.rpartition("://")[2].rpartition(":")
      socket.create_connection((host, int(port)), CONNECTING_SECONDS).close()
    ray.init(address="auto", log_to_driver=False, logging_level="error")
  except (OSError, RuntimeError, ValueError) as error:
    where = where or "this machine"
    said = str(error).partition(". ")[0].partition("\n")[0]
    raise SweepError(
      f"no Ray cluster at {where} ({said}); start one with: ray start --head, or set RAY_ADDRESS"
    ) from error
  try:
    remote = ray.remote(
      num_cpus=cores_of_a_run(),
      num_gpus=min(1, ray.cluster_resources().get("GPU", 0)),
      max_retries=LOST_MACHINES,
    )(_there)
    environment = dict(os.environ)
    yield lambda work: _Task(remote.remote(work, environment))
  finally:
    ray.shutdown()


class _Task:
  """A Process that Ray started."""

  remark: str | None = None

  def __init__(self, reference: "ray.ObjectRef[Ended]"):
    self._reference = reference

  def poll(self) -> Ended | None:
    """See Process."""
    if not ray.wait([self._reference], timeout=0)[0]:
      return None
    try:
      ended: Ended = ray.get(self._reference)
      return ended
    except ray.exceptions.RayError as error:
      lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
      # Of a function that raised what it raised stands last, of a lost machine what happened first.
      why = lines[-1 if isinstance(error, ray.exceptions.RayTaskError) else 0]
      return Ended(None, None, f"Ray gave it up: {why.strip()}")

  def stop(self) -> None:
    """See Process."""
    ray.cancel(self._reference)


def _there(work: Work, environment: Mapping[str, str]) -> Ended:
  """Does a work where this function is called, with the variables that Ray has not set there."""
  for name, value in environment.items():
    os.environ.setdefault(name, value)
  return Alone(work).wait()
