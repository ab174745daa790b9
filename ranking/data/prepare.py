"""Makes a day store of a raw log: a source declares it, an engine works it out, rows are packed.

`making.py` has the stages. All that they write lies in a folder beside the store to be, and the
store appears under its name by one rename. What a killed run left there is removed, never read.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from ranking.checks import Checks
from ranking.data import store
from ranking.data.hashing import Hashing
from ranking.data.lookback import Lookback
from ranking.data.schema import DataError, Source
from ranking.data.shared_store import LOCAL, SharedStore
from ranking.data.store import DayStore

# Raised by hand when a store holds something else for the same log, as `log_version` of a source
# is; tests/test_stored_features.py notices when.
VERSION: Final = 3
FAIR_SHARE: Final = 0.1
ENGINES: Final = re.compile(r"duckdb|local(\[(\d+|\*)\])?|spark://.+|k8s://.+|yarn")


class Console(Protocol):
  """Who follows a preparation."""

  def say(self, line: str) -> None:
    """A line."""

  def track(
    self, what: str, unit: str, total: int | None
  ) -> contextlib.AbstractContextManager[Callable[[int], None]]:
    """Progress towards a total; what it gives is told each advance."""


class Silence:
  """A console that shows nothing."""

  def say(self, line: str) -> None:
    """Shows nothing."""

  @contextlib.contextmanager
  def track(self, what: str, unit: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Shows nothing."""
    yield lambda advance: None


def prepare(
  source: Source,
  root: Path | str,
  console: Console | None = None,
  lookback: Lookback | None = None,
  without_last_days: int = 0,
  fair_share: float = FAIR_SHARE,
  engine: str = "duckdb",
  hashing: Hashing | None = None,
) -> DayStore:
  """Opens the source's store below `root`, making it first if it is not there.

  Args:
    source: where the log comes from.
    root: folder of all stores; or an address such as s3://bucket/stores, from where a store is
      fetched into data/store, and to where one that had to be made there is sent.
    console: is told what takes long.
    lookback: what a row sees of the past; None = strictly earlier counts and rates alone.
    without_last_days: so many days that may be day N are left out at the log's end, with all days
      after them. Of their rows nothing is kept but what `cleaning` counts while the log is read.
    fair_share: day N is the last day that has at least this share of the median rows of such days
      up to it; the rows of later days are dropped and counted. 0 = the last day, whatever it has.
    engine: what works the log out, see `engine.py`. The store is the same on each.
    hashing: which columns have ids made by a hash, if any.

  Raises:
    DataError: bad input; nothing is left behind then, and neither on an OSError.
  """
  console, look = console or Silence(), Lookback() if lookback is None else lookback
  check = Checks("", DataError)
  if isinstance(source, type) or not isinstance(source, Source):
    check.refuse("source", source, "make it an object, such as @Synthetic()")
  if not isinstance(hashing, Hashing | None):
    check.refuse("hashing", hashing, "make it @Hashing() or None")
  if not isinstance(look, Lookback):
    check.refuse("lookback", look, "make it @Lookback() or None")
  check.whole("without_last_days", without_last_days, least=0)
  check.share("fair_share", fair_share)
  check_engine(engine)
  if not isinstance(root, Path):
    check.text("store_directory", root, "the path of a folder")
  identity = identity_of(source, look, without_last_days, fair_share, hashing)
  fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
  shared = None
  if "://" in str(root):
    shared = SharedStore(f"{root}/{source.name}/{fingerprint}")
    root = LOCAL
  directory = Path(root) / source.name / fingerprint
  work = directory.with_name(f"{fingerprint}.partial")
  if directory.is_dir() and not (directory / "schema.json").is_file():
    raise DataError(f"{directory} has no schema.json; remove {directory} and prepare it again")
  if work.is_dir() or not directory.is_dir():
    with _alone(work, console):
      if not directory.is_dir():  # else it was waited for, or a killed run had only to tidy up
        try:
          if shared and shared.is_there():
            console.say(f"fetching {shared.address}")
            shared.fetch(work / "store")
          else:
            from ranking.data.engine import Engine  # slow to import, and only needed here
            from ranking.data.making import make

            with Engine(work, engine) as running:
              make(source, look, without_last_days, fair_share, identity, running, console, hashing)
            if identity_of(source, look, without_last_days, fair_share, hashing) != identity:
              raise DataError(
                f"the files of {source.name} changed while they were read; prepare it again"
              )
          (work / "store").rename(directory)
        except (DataError, OSError):
          shutil.rmtree(work, ignore_errors=True)
          raise
      shutil.rmtree(work)
  if shared and not shared.is_there():
    console.say(f"sending {directory} to {shared.address}")
    shared.send(directory)
  return DayStore(directory)


def check_engine(name: str) -> None:
  """Raises DataError for a name that is none of an engine."""
  if not isinstance(name, str) or not ENGINES.fullmatch(name):
    raise DataError(
      f"ENGINE is {name!r}; make it duckdb, local[2] for Spark in this machine, or the "
      "spark://host:port of a cluster"
    )


def identity_of(
  source: Source,
  look: Lookback,
  without_last_days: int,
  fair_share: float,
  hashing: Hashing | None = None,
) -> dict[str, Any]:
  """Everything a store depends on: files, options, and the versions of the stages.

  Two preparations with the same identity make the same store byte for byte, and whatever else is
  edited in the code, a finished one is opened.
  """
  identity: dict[str, Any] = {
    "source": source.identity(),
    "lookback": look.identity(),
    "versions": {
      "read": source.log_version,
      "prepare": VERSION,
      "store": store.VERSION,
    },
  }
  if without_last_days:  # else the fingerprint is the whole log's
    identity["without_last_days"] = without_last_days
  if fair_share != FAIR_SHARE:
    identity["fair_share"] = fair_share
  if hashing:
    identity["hashing"] = hashing.identity()
  return identity


@contextlib.contextmanager
def _alone(work: Path, console: Console) -> Iterator[None]:
  """Makes the folder, empty, and the lock beside it; waits for the process that holds that."""
  path = work.with_suffix(".lock")
  path.parent.mkdir(parents=True, exist_ok=True)
  while True:
    with open(path, "w") as lock:
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        console.say(f"another process prepares {work}; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
      if not os.fstat(lock.fileno()).st_nlink:  # removed by the process that was waited for
        continue
      try:
        shutil.rmtree(work, ignore_errors=True)  # of a killed run
        work.mkdir()
        yield
      finally:
        path.unlink()
      return
