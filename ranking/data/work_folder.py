"""The folder of a preparation: what is finished in it, and how that is read again."""

import contextlib
import os
import pickle
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ranking.data import draft
from ranking.data.draft import Block


@contextlib.contextmanager
def whole(folder: Path, work: Path) -> Iterator[Path | None]:
  """Gives a folder whose content appears as `folder` once it is complete; None if that is there."""
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


def draft_folder(work: Path, place: int) -> Path:
  """The folder of a day's draft; days are counted from 0."""
  return work / "draft" / f"{place:05d}"


def seen_folder(work: Path, place: int) -> Path:
  """The folder of what the rows of a day saw of the past."""
  return work / "seen" / f"{place:05d}"


def blocks(work: Path, place: int, columns: Sequence[str] | None = None) -> Iterator[Block]:
  """Reads the blocks of a drafted day; `columns` as in Block.load."""
  folder = draft_folder(work, place)
  for number in range(len(draft.load(folder).rows)):
    yield Block.load(draft.block_path(folder, number), columns)


def dump(value: Any, path: Path) -> None:
  """Pickles a value."""
  with open(path, "wb") as file:
    pickle.dump(value, file)


def load(path: Path) -> Any:
  """Reads a pickled value."""
  with open(path, "rb") as file:
    return pickle.load(file)


def load_all(path: Path) -> Iterator[Any]:
  """Reads the pickled values of a file, one after the other."""
  with open(path, "rb") as file:
    while file.peek(1):
      yield pickle.load(file)
