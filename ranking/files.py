"""Files that are whole or not there, and JSON that any reader takes."""

import contextlib
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomically(path: Path) -> Iterator[Path]:
  """Gives the path to write a file at, which gets its name once the body is done.

  Raises OSError that names the file, as when the disk is full; the file before it stays.
  """
  # Processes may write the same file, as the shards of a sweep that end together do.
  partial = path.with_name(f".{path.name}.partial-{platform.node()}-{os.getpid()}")
  try:
    with naming(path):
      yield partial
      partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
  """Writes a text file, whole or not at all. Raises OSError that names it."""
  with atomically(path) as partial:
    partial.write_text(text)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
  """Makes an OSError of the body name the file: that of a write does not, as on a full disk."""
  try:
    yield
  except OSError as error:
    if error.filename is None and error.errno is not None:
      raise OSError(error.errno, error.strerror, str(path)) from error
    raise


def plain(value: Any) -> Any:
  """Replaces numbers that JSON does not have, in dicts too, by text: "nan", "inf", "-inf"."""
  if isinstance(value, float) and not math.isfinite(value):
    return str(value)
  if isinstance(value, dict):
    return {key: plain(entry) for key, entry in value.items()}
  return value
