"""Makes a day store of a raw log, with no more than a block of rows per process in memory.

    read      each part of the raw log, its rows sorted into days           rows/<part>/<day>.pickle
    draft     each day: in order, without repeats, described, as codes      draft/<day>/
    merge     all days: vocabularies, and what was known when each began    merged/
    look back each day: as-of features and histories of its rows            seen/<day>/
    pack      each day: the arrays of the store                             store/<day name>/

Each stage has a version, VERSION in its module or `log_version` of the source, which is raised by
hand when it writes something else for the same log; tests/test_stored_features.py notices when.

All of these lie in a folder beside the store to be, each under its name only when it is complete:
a killed run is continued by the next one, which makes the same store byte for byte. Parts and days
are shared out to processes where that is worth their start.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pickle
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ranking.array import Array
from ranking.checks import Checks
from ranking.data import card, draft, merge, pack, seen, shared, store
from ranking.data.draft import Block
from ranking.data.features import Moments
from ranking.data.lookback import Lookback
from ranking.data.rows import columns_of, in_order
from ranking.data.schema import DataError, Schema, Source
from ranking.data.store import DayStore
from ranking.data.work_folder import draft_folder, dump, load, load_all, seen_folder, whole

ROWS_PER_PROCESS = 500_000  # a log of fewer rows a process is not worth its start
BYTES_PER_PROCESS = 50_000_000  # nor are parts of fewer bytes


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
  processes: int | None = None,
) -> DayStore:
  """Opens the source's store below `root`, making it first if it is not there.

  Args:
    source: where the log comes from.
    root: folder of all stores.
    console: is told what takes long.
    lookback: what a row sees of the past; None = strictly earlier counts and rates alone.
    without_last_days: so many days are left out at the log's end, so that day N is an earlier one.
      Of their rows nothing is kept but what `cleaning` counts while the log is read.
    processes: at most so many work at once; None = one per core.

  Raises:
    DataError: bad input; nothing is left behind then, and neither on an OSError.
  """
  console, lookback = console or Silence(), Lookback() if lookback is None else lookback
  check = Checks("", DataError)
  if isinstance(source, type) or not isinstance(source, Source):
    check.refuse("source", source, "make it an object, such as @Synthetic()")
  if not isinstance(lookback, Lookback):
    check.refuse("lookback", lookback, "make it @Lookback() or None")
  check.whole("without_last_days", without_last_days, least=0)
  if processes is not None:
    check.whole("processes", processes, least=1)
  if not isinstance(root, Path):
    root = Path(check.text("store_directory", root, "the path of a folder"))
  identity = identity_of(source, lookback, without_last_days)
  fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
  directory = root / source.name / fingerprint
  work = directory.with_name(f"{fingerprint}.partial")
  if directory.is_dir() and not (directory / "schema.json").is_file():
    raise DataError(f"{directory} has no schema.json; remove {directory} and prepare it again")
  if directory.is_dir() and not work.is_dir():
    return DayStore(directory)
  with _alone(work, console):
    if not directory.is_dir():  # else this one waited for it, or a killed run had only to tidy up
      try:
        processes = processes or len(os.sched_getaffinity(0))
        preparation = _Preparation(source, lookback, without_last_days, work, console, processes)
        preparation.run(identity)
        (work / "store").rename(directory)
      except (DataError, OSError):
        shutil.rmtree(work, ignore_errors=True)
        raise
      except (pickle.UnpicklingError, EOFError, zipfile.BadZipFile) as error:
        shutil.rmtree(work, ignore_errors=True)
        raise DataError(
          f"{work}, left by a killed run, is damaged and was removed; prepare it again"
        ) from error
      except TerminatedWorkerError as error:
        raise DataError(
          f"a process that prepared {source.name} was killed, most likely for lack of memory; free "
          f"some and prepare it again: it goes on where it stopped ({work})"
        ) from error
    shutil.rmtree(work)
  return DayStore(directory)


def identity_of(source: Source, lookback: Lookback, without_last_days: int) -> dict[str, Any]:
  """Everything a store depends on: files, options, and the versions of the stages.

  Two preparations with the same identity make the same store byte for byte, and whatever else is
  edited in the code, a killed one is continued and a finished one is opened.
  """
  identity: dict[str, Any] = {
    "source": source.identity(),
    "lookback": dataclasses.asdict(lookback),
    "versions": {
      "read": source.log_version,
      "draft": draft.VERSION,
      "merge": merge.VERSION,
      "look back": seen.VERSION,
      "pack": pack.VERSION,
      "store": store.VERSION,
    },
  }
  if without_last_days:  # else the fingerprint is the whole log's
    identity["without_last_days"] = without_last_days
  return identity


@contextlib.contextmanager
def _alone(work: Path, console: Console) -> Iterator[None]:
  """Makes the folder while it holds the lock beside it; waits for the process that does."""
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
        work.mkdir(exist_ok=True)
        yield
      finally:
        path.unlink()
      return


class _Preparation:
  """The stages, each of which does what a killed run has not."""

  def __init__(
    self,
    source: Source,
    lookback: Lookback,
    without_last_days: int,
    work: Path,
    console: Console,
    processes: int,
  ):
    self._source, self._lookback, self._work, self._console = source, lookback, work, console
    self._without_last_days, self._processes = without_last_days, processes

  def run(self, identity: dict[str, Any]) -> None:
    """Leaves the finished store in work/store."""
    name = self._source.name
    parts = self._source.parts()
    cleaning, rows_of_day = self._read(parts)
    left_out = self._without_last_days
    days = sorted(rows_of_day)[: max(0, len(rows_of_day) - left_out)]
    count = sum(rows_of_day[day] for day in days)
    if len(days) < 2:
      unit = "day" if len(days) == 1 else "days"
      without = f" without the last {left_out}" if left_out else ""
      raise DataError(
        f"{name} has {count:,} rows of {len(days)} {unit}{without} "
        f"in {', '.join(parts)}; training and day N need at least two days"
      )
    processes = max(1, min(self._processes, count // ROWS_PER_PROCESS, len(days)))
    self._console.say(f"preparing {name}: {count:,} rows of {len(days)} days")
    with whole(self._work / "tables", self._work) as folder:
      if folder:
        shared.save(self._source.tables(), folder)
    sizes = [rows_of_day[day] for day in days]

    def each_day(what: str, work: Callable[[int], int]) -> None:
      with self._console.track(what, "rows", count) as advance:
        for done in _shared_out(processes, work, range(len(days))):
          advance(sizes[done])

    files = [sorted((self._work / "rows").glob(f"*/{day}.pickle")) for day in days]
    each_day("sorting", functools.partial(_draft, self._work, self._source, files, self._lookback))
    drafts = [draft_folder(self._work, place) for place in range(len(days))]
    with whole(self._work / "merged", self._work) as folder:
      if folder:
        merged = merge.merge(drafts, self._lookback, folder)
        dump(merged, folder / "merged.pickle")
    merged = load(self._work / "merged" / "merged.pickle")
    each_day("looking back", functools.partial(seen.look_back, self._work, self._lookback))
    moments = self._moments(merged, len(days))
    each_day("packing", functools.partial(pack.pack_day, self._work, merged, moments))
    self._complete(merged, drafts, cleaning, identity)

  def _read(self, parts: Sequence[str]) -> tuple[Counter[str], Counter[int]]:
    """Reads all parts. Returns what was cleaned, and the rows as read per day."""
    sizes = [os.path.getsize(part) if os.path.isfile(part) else 0 for part in parts]
    processes = max(1, min(self._processes, sum(sizes) // BYTES_PER_PROCESS, len(parts)))
    cleaning, rows_of_day = Counter[str](), Counter[int]()
    with self._console.track(f"reading {self._source.name}", "rows", None) as advance:
      work = functools.partial(
        _read_part, self._work, self._source, parts, advance if processes == 1 else None
      )
      for place in _shared_out(processes, work, range(len(parts))):
        counts, of_day = load(self._work / "rows" / f"{place:05d}" / "counts.pickle")
        cleaning.update(counts)
        rows_of_day.update(of_day)
        if processes > 1:
          advance(sum(of_day.values()))
    return cleaning, rows_of_day

  def _moments(self, merged: merge.Merged, days: int) -> Moments:
    """The moments of the log's dense columns and the as-of ones in the training days."""
    seen: list[Moments] = [
      load(seen_folder(self._work, place) / "moments.pickle") for place in range(days - 1)
    ]
    total = functools.reduce(Moments.__add__, seen)
    return Moments(
      *(
        np.concatenate([getattr(merged.dense, field), getattr(total, field)])
        for field in ("rows", "mean", "squares")
      )
    )

  def _complete(
    self,
    merged: merge.Merged,
    folders: Sequence[Path],
    cleaning: Counter[str],
    identity: dict[str, Any],
  ) -> None:
    """Writes what the store says of itself."""
    drafts = [draft.load(folder) for folder in folders]
    made = Schema(
      dataset=self._source.name,
      features=pack.features_of(merged),
      tasks=merged.layout.tasks,
      day_names=tuple(day.name for day in drafts),
      label_statistics=merged.label_statistics,
      entities=merged.layout.entities,
      report_by=merged.layout.report_by,
      report_values=merged.report_values,
    )
    last_ids = np.load(self._work / "store" / drafts[-1].name / "ids.npy", mmap_mode="r")
    described = card.describe(
      made, drafts, last_ids, _truth_of(folders[-1], drafts[-1]), cleaning, identity
    )
    store.write_schema(self._work / "store", described, card.to_markdown(described))


def _read_part(
  work: Path,
  source: Source,
  parts: Sequence[str],
  advance: Callable[[int], None] | None,
  place: int,
) -> int:
  """Sorts the rows of a part into files of one day each, a frame per piece. Returns its place."""
  with whole(work / "rows" / f"{place:05d}", work) as folder:
    if folder:
      cleaning, rows_of_day = Counter[str](), Counter[int]()
      for piece, counts in source.read(parts[place]):
        cleaning.update(counts)
        for day, some in piece.groupby(piece.day.to_numpy()):
          rows_of_day[int(str(day))] += len(some)
          with open(folder / f"{day}.pickle", "ab") as file:
            pickle.dump(columns_of(some), file)
        if advance:
          advance(len(piece))
      dump((cleaning, rows_of_day), folder / "counts.pickle")
  return place


def _draft(
  work: Path, source: Source, files: Sequence[Sequence[Path]], lookback: Lookback, place: int
) -> int:
  """Drafts a day from its rows as read. Returns its place."""
  with whole(draft_folder(work, place), work) as folder:
    if folder:
      tables = shared.load(work / "tables")
      day = in_order([piece for path in files[place] for piece in load_all(path)])
      draft.draft_day(source, tables, day, lookback, folder)
  return place


def _truth_of(folder: Path, day: draft.Draft) -> tuple[Array, Array] | None:
  """Labels and truth [n, T] of a day, for a source that knows them."""
  blocks = [Block.load(draft.block_path(folder, number)) for number in range(len(day.rows))]
  truths = [block.truth for block in blocks if block.truth is not None]
  if len(truths) < len(blocks):
    return None
  return np.concatenate([block.labels for block in blocks]), np.concatenate(truths)


def _shared_out(processes: int, work: Callable[[int], int], places: Sequence[int]) -> Iterator[int]:
  """Calls `work` with each place, by several processes or by this one."""
  if processes == 1:
    return map(work, places)
  run = joblib.Parallel(processes, return_as="generator_unordered", batch_size=1)
  done: Iterator[int] = run(joblib.delayed(work)(place) for place in places)
  return done
