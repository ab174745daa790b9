"""Where the runs of a sweep take place: in this machine, on a Slurm cluster, or on a Ray cluster.

An engine is a context manager that gives a function: it starts a Work and returns its Process. The
runner does the rest, on each of them alike: what is skipped, what is tried again, how it is told.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Final

from ranking.data.prepare import ENGINES as OF_PREPARING
from ranking.nearest import nearest
from ranking.sweeps.engines.work import Alone, Process, Work
from ranking.sweeps.sweep import SweepError

LOCAL: Final = "local"
PACKAGES: Final = {"slurm": "submitit", "ray": "ray"}  # the package that each cluster needs

Start = Callable[[Work], Process]
Engine = Callable[[], contextlib.AbstractContextManager[Start]]


def engine(name: str) -> Engine:
  """The engine of a name. Raises SweepError if there is none, or its package is not installed."""
  if name == LOCAL:
    return local
  if name not in PACKAGES:
    if OF_PREPARING.fullmatch(name):
      raise SweepError(
        f"ENGINE is {name!r}, which prepares logs; a sweep runs on local, slurm or ray, and its "
        "file may bind train_and_evaluate.engine"
      )
    raise SweepError(f"no ENGINE {name!r}{nearest(name, [LOCAL, *PACKAGES])}")
  try:
    module = importlib.import_module(f"ranking.sweeps.engines.{name}")
  except ModuleNotFoundError as error:
    if error.name != PACKAGES[name]:
      raise
    raise SweepError(
      f"ENGINE={name} needs {error.name}, which is not installed; "
      f"run: pip install 'ranking[{name}]'"
    ) from error
  found: Engine = module.cluster
  return found


@contextlib.contextmanager
def local() -> Iterator[Start]:
  """Gives what starts a process in this machine."""
  yield Alone
