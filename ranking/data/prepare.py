"""From a raw log to a day store, out of core: no more than a block of rows per process in memory.

    read      each part of the raw log, its rows sorted into days           rows/<part>/<day>.pickle
    draft     each day: in order, without repeats, described, as codes      draft/<day>/
    merge     all days: vocabularies, and what was known when each began    merged/
    look back each day: as-of features and histories of its rows            seen/<day>/
    pack      each day: the arrays of the store                             store/<day name>/

All of these lie in a folder beside the store to be, each under its name only when it is complete:
a killed run is continued by the next one, which makes the same store byte for byte. Parts and days
are shared out to processes where that is worth their start.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import inspect
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
from ranking.data import card, draft, features, merge, rows, schema, shared, sources, store
from ranking.data.draft import Block
from ranking.data.features import Moments
from ranking.data.lookback import Latest, Lookback, Rates, terms
from ranking.data.rows import columns_of, in_order
from ranking.data.schema import DataError, Feature, Schema, Source
from ranking.data.store import DayStore, DayWriter

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
  """Nobody follows."""

  def say(self, line: str) -> None:
    """Drops it."""

  @contextlib.contextmanager
  def track(self, what: str, unit: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Drops them."""
    yield lambda advance: None


def prepare(
  source: Source,
  root: Path,
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
  if type(without_last_days) is not int or without_last_days < 0:
    raise DataError(f"without_last_days is {without_last_days!r}; make it a whole number from 0 on")
  console, lookback = console or Silence(), lookback or Lookback()
  identity: dict[str, Any] = {
    "source": source.identity(),
    "lookback": dataclasses.asdict(lookback),
    "code": _code_digest(source),
  }
  if without_last_days:  # else the fingerprint is the whole log's
    identity["without_last_days"] = without_last_days
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
      without = f" without the last {left_out}" if left_out else ""
      raise DataError(
        f"{name} has {count:,} rows of {len(days)} day{'s'[: len(days) != 1]}{without} "
        f"in {', '.join(parts)}; training and day N need at least two days"
      )
    processes = max(1, min(self._processes, count // ROWS_PER_PROCESS, len(days)))
    self._console.say(f"preparing {name}: {count:,} rows of {len(days)} days")
    with _whole(self._work / "tables", self._work) as folder:
      if folder:
        shared.save(self._source.tables(), folder)
    sizes = [rows_of_day[day] for day in days]

    def each_day(what: str, work: Callable[[int], int]) -> None:
      with self._console.track(what, "rows", count) as advance:
        for done in _shared_out(processes, work, range(len(days))):
          advance(sizes[done])

    files = [sorted((self._work / "rows").glob(f"*/{day}.pickle")) for day in days]
    each_day("sorting", functools.partial(_draft, self._work, self._source, files, self._lookback))
    drafts = [_draft_folder(self._work, place) for place in range(len(days))]
    with _whole(self._work / "merged", self._work) as folder:
      if folder:
        merged = merge.merge(drafts, self._lookback, folder)
        _dump(merged, folder / "merged.pickle")
    merged = _load(self._work / "merged" / "merged.pickle")
    each_day("looking back", functools.partial(_look_back, self._work, self._lookback))
    moments = self._moments(merged, len(days))
    each_day("packing", functools.partial(_pack, self._work, merged, moments))
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
        counts, of_day = _load(self._work / "rows" / f"{place:05d}" / "counts.pickle")
        cleaning.update(counts)
        rows_of_day.update(of_day)
        if processes > 1:
          advance(sum(of_day.values()))
    return cleaning, rows_of_day

  def _moments(self, merged: merge.Merged, days: int) -> Moments:
    """Of the dense columns of the log and the as-of ones, in the training days."""
    seen: list[Moments] = [
      _load(_seen_folder(self._work, place) / "moments.pickle") for place in range(days - 1)
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
      features=_features(merged),
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
  with _whole(work / "rows" / f"{place:05d}", work) as folder:
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
      _dump((cleaning, rows_of_day), folder / "counts.pickle")
  return place


def _draft(
  work: Path, source: Source, files: Sequence[Sequence[Path]], lookback: Lookback, place: int
) -> int:
  """Drafts a day from its rows as read. Returns its place."""
  with _whole(_draft_folder(work, place), work) as folder:
    if folder:
      tables = shared.load(work / "tables")
      day = in_order([piece for path in files[place] for piece in _load_all(path)])
      draft.draft_day(source, tables, day, lookback.history, folder)
  return place


def _look_back(work: Path, lookback: Lookback, place: int) -> int:
  """What the rows of a day saw of the past: as-of features, histories, moments of the former."""
  with _whole(_seen_folder(work, place), work) as folder:
    if folder:
      context = merge.context_of(work / "merged", place)
      day = draft.load(_draft_folder(work, place))
      layout, entities = day.layout, day.layout.entities
      rates = Rates(
        [context.counts[entity] for entity in entities],
        [context.known[entity] for entity in entities],
        context.known_of_all,
        lookback.delay,
      )
      recent = None if context.latest is None else Latest(context.latest, lookback.delay)
      item_numbers = np.append(context.numbers[entities[1]], -1) if recent else np.zeros(0)

      for earlier in context.unknown:
        numbers = merge.context_of(work / "merged", earlier).numbers
        here = {e: _place_of(context.numbers[e], numbers[e]) for e in entities}
        for block in _blocks(work, earlier, entities):
          groups = [here[entity][block.codes[entity]] for entity in entities]
          rates.add(groups, block.time, terms(block.rated(layout)))
          if recent:
            user, time, item = block.positive(layout)
            recent.add(here[entities[0]][user], time, numbers[entities[1]][item])
      total = None
      for number, block in enumerate(_blocks(work, place, entities)):
        groups = [block.codes[entity] for entity in entities]
        arrays: dict[str, Any] = {
          "dense": rates.before(groups, block.time, terms(block.rated(layout)))
        }
        if recent:
          user, time, item = block.positive(layout)
          recent.add(user, time, item_numbers[item])
          arrays["recent"] = recent.before(groups[0], block.time)
        np.savez(draft.block_path(folder, number), **arrays)
        moments = Moments.of(arrays["dense"])
        total = moments if total is None else total + moments
      _dump(total, folder / "moments.pickle")
  return place


def _pack(work: Path, merged: merge.Merged, moments: Moments, place: int) -> int:
  """Writes a day of the store. Returns its place."""
  day = draft.load(_draft_folder(work, place))
  layout = day.layout
  widths = {
    "ids": len(layout.categorical),
    "bags": sum(feature.length for feature in merged.features if feature.kind == "bag"),
    "dense": len(moments.mean),
    "labels": len(layout.tasks),
  }
  with _whole(work / "store" / day.name, work) as folder:
    if folder:
      ids = merge.ids_of(work / "merged", place)
      lengths = {feature.name: feature.length for feature in merged.features}
      folder.rmdir()  # DayWriter makes its own
      with DayWriter(folder, sum(day.rows), widths) as writer:
        for number, block in enumerate(_blocks(work, place)):
          seen_path = draft.block_path(_seen_folder(work, place), number)
          with open(seen_path, "rb") as file, np.load(file) as seen:
            dense, recent = seen["dense"], seen.get("recent")
          bags = [
            _bag(ids[name][block.lists[name]], lengths[name])[block.list_of_row[name]]
            for name in layout.bags
          ]
          if recent is not None:
            assert merged.ids_of_items is not None
            bags.append(merged.ids_of_items[recent])
          writer.write(
            ids=np.stack([ids[name][block.codes[name]] for name in layout.categorical], axis=1),
            bags=np.concatenate([np.zeros((len(block.time), 0), np.int32), *bags], axis=1),
            dense=features.standardise(np.concatenate([block.dense, dense], axis=1), moments),
            labels=block.labels,
            time=block.time,
          )
  return place


def _features(merged: merge.Merged) -> tuple[Feature, ...]:
  """Of the schema, in the order of their columns."""
  layout = merged.layout
  as_of = [
    Feature(name, "dense")
    for entity in layout.entities
    for name in (f"{entity}_count", *(f"{entity}_{task}_rate" for task in layout.rated_tasks))
  ]
  return (*merged.features, *as_of)


def _bag(ids: Array, length: int) -> Array:
  """[l, length] of [l, up to that]: padded with 0."""
  return np.pad(ids, ((0, 0), (0, length - ids.shape[1])))


def _place_of(numbers: Array, others: Array) -> Array:
  """Where each of `others` is among `numbers`, [o + 1]; -1 if it is not, and at the end."""
  order = np.argsort(numbers)
  place = np.searchsorted(numbers[order], others)
  place = np.append(order, -1)[np.minimum(place, len(numbers))]
  found = (place >= 0) & (numbers[place] == others) if len(numbers) else np.zeros(len(others), bool)
  return np.append(np.where(found, place, -1), -1)


def _truth_of(folder: Path, day: draft.Draft) -> tuple[Array, Array] | None:
  """Labels and truth [n, T] of a day, for a source that knows them."""
  blocks = [Block.load(draft.block_path(folder, number)) for number in range(len(day.rows))]
  truths = [block.truth for block in blocks if block.truth is not None]
  if len(truths) < len(blocks):
    return None
  return np.concatenate([block.labels for block in blocks]), np.concatenate(truths)


def _blocks(work: Path, place: int, columns: Sequence[str] | None = None) -> Iterator[Block]:
  """Of a drafted day; see Block.load."""
  folder = _draft_folder(work, place)
  for number in range(len(draft.load(folder).rows)):
    yield Block.load(draft.block_path(folder, number), columns)


def _draft_folder(work: Path, place: int) -> Path:
  """Of a day; they are counted from 0."""
  return work / "draft" / f"{place:05d}"


def _seen_folder(work: Path, place: int) -> Path:
  return work / "seen" / f"{place:05d}"


@contextlib.contextmanager
def _whole(folder: Path, work: Path) -> Iterator[Path | None]:
  """Where to write what appears as `folder` once it is complete; None if it is there already."""
  if folder.is_dir():
    yield None
    return
  # A process that outlives a killed run may still write: each has a folder of its own.
  name = "-".join([*folder.relative_to(work).parts, str(os.getpid())])
  partial = work / "unfinished" / name
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  yield partial
  folder.parent.mkdir(exist_ok=True)
  try:
    partial.rename(folder)
  except OSError:
    if not folder.is_dir():  # else such a process has just made the same
      raise


def _shared_out(processes: int, work: Callable[[int], int], places: Sequence[int]) -> Iterator[int]:
  """Calls `work` with each place, by several processes or by this one."""
  if processes == 1:
    return map(work, places)
  run = joblib.Parallel(processes, return_as="generator_unordered", batch_size=1)
  done: Iterator[int] = run(joblib.delayed(work)(place) for place in places)
  return done


def _dump(value: Any, path: Path) -> None:
  with open(path, "wb") as file:
    pickle.dump(value, file)


def _load(path: Path) -> Any:
  with open(path, "rb") as file:
    return pickle.load(file)


def _load_all(path: Path) -> Iterator[Any]:
  """All pickles of a file."""
  with open(path, "rb") as file:
    while file.peek(1):
      yield pickle.load(file)


def _code_digest(source: Source) -> str:
  """Of the modules that decide what a store holds: the source's, what it takes from its neighbours,
  and this package's."""
  own = inspect.getmodule(type(source))
  used = map(inspect.getmodule, vars(own).values())
  neighbours = {m.__name__: m for m in used if m and m.__name__.startswith(sources.__name__ + ".")}
  digest = hashlib.sha256()
  for module in (own, *map(neighbours.get, sorted(neighbours)), *MAKERS):
    assert module is not None
    digest.update(inspect.getsource(module).encode())
  return digest.hexdigest()


MAKERS = (
  *(card, draft, features, merge, rows, schema, shared, store),
  *map(inspect.getmodule, (Lookback, prepare)),
)
