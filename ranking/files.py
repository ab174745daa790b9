"""Files that are whole or not there, and JSON that any reader takes and that notices a damage."""

import contextlib
import json
import math
import os
import platform
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SEAL = "crc32_of_the_rest"


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


def sealed(content: Mapping[str, Any]) -> str:
  """A dict as the text of a JSON file that `unsealed` reads, with a CRC of the rest at its end."""
  rest = json.loads(json.dumps(plain(dict(content)), allow_nan=False))
  return json.dumps({**rest, SEAL: _crc32_of(rest)}, indent=1) + "\n"


def unsealed(text: str) -> dict[str, Any]:
  """What `sealed` made a text of. Raises ValueError if a part of it was changed, or is missing."""
  rest = json.loads(text)
  if not isinstance(rest, dict) or SEAL not in rest:
    raise ValueError(f"it has no {SEAL}")
  if rest.pop(SEAL) != _crc32_of(rest):
    raise ValueError(f"it does not match its {SEAL}")
  return rest


def _crc32_of(content: dict[str, Any]) -> int:
  return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def crc32(path: Path) -> int:
  """CRC-32 of a file's content."""
  crc = 0
  with open(path, "rb") as file:
    while block := file.read(1 << 22):
      crc = zlib.crc32(block, crc)
  return crc
