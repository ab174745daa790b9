"""Files of a raw log: which there are, in what format, and their bytes without compression."""

import bz2
import contextlib
import dataclasses
import gzip
import lzma
import os
import re
import urllib.parse
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import fsspec
import pyarrow as pa

from ranking.data.schema import DataError, sha256

Format = Literal["text", "json", "parquet"]
FORMATS: dict[str, Format] = {
  **dict.fromkeys(
    (".csv", ".tsv", ".txt", ".dat", ".data", ".tab", ".psv", ".log", ".inter"), "text"
  ),
  **dict.fromkeys((".jsonl", ".ndjson", ".json"), "json"),
  **dict.fromkeys((".parquet", ".pq", ".parq"), "parquet"),
}
MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2", b"\xfd7zXZ": ".xz"}
PART = re.compile(r"(part|shard|chunk)?[-_]?\d[^.]*")  # what engines call files without a suffix
PROSE = re.compile(r"(readme|licen[cs]e|notice|changelog)\b", re.IGNORECASE)
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # what Hive and Spark call a missing partition value
REMOTE = "://"  # within the address of a file on object storage


@dataclasses.dataclass(frozen=True)
class RawFile:
  """A file of a log.

  Attributes:
    path: where it is, or its address.
    name: its path below the folder of the log, for errors and notes.
    format: text in lines and fields, JSON Lines, or Parquet.
    compression: ".gz", ".zst", ".bz2", ".xz", or "" for none.
    partition: values by column that its folders say, as `dt=2026-03-01` does; None = missing.
  """

  path: str
  name: str
  format: Format
  compression: str
  partition: dict[str, str | None]

  @contextlib.contextmanager
  def open(self) -> Iterator[IO[bytes]]:
    """Gives its bytes without compression. Raises DataError where they cannot be had."""
    try:
      with fsspec.open(self.path, "rb") if REMOTE in self.path else open(self.path, "rb") as raw:
        yield self._plain(raw)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
      reason = (str(error).strip() or type(error).__name__).splitlines()[0]
      raise DataError(f"{self.path} cannot be read ({reason}); get it again") from error

  def _plain(self, raw: Any) -> Any:
    """The bytes of an open file, without compression."""
    match self.compression:
      case ".gz":
        return gzip.GzipFile(fileobj=raw)
      case ".bz2":
        return bz2.BZ2File(raw)
      case ".xz":
        return lzma.LZMAFile(raw)
      case ".zst":
        return pa.CompressedInputStream(raw, "zstd")
    return raw

  def digest(self) -> str:
    """Hex digest of its content; on object storage, what the storage says of its version."""
    if REMOTE in self.path:
      files, path = fsspec.core.url_to_fs(self.path)
      return str(files.checksum(path))
    return sha256(Path(self.path))


def find(raw: str) -> tuple[list[RawFile], list[str]]:
  """The files of a log in order of their names, and the names of those that are not read.

  Args:
    raw: a file, a folder that is searched to the bottom, or an address such as s3://bucket/folder.

  Raises DataError where there is nothing to read.
  """
  paths, root = _paths(raw)
  if paths == [raw]:
    return [_described(raw, root)], []
  found, unread = [], []
  for path in paths:
    name = path[len(root) :].lstrip("/")
    hidden = any(part.startswith((".", "_")) for part in name.split("/"))
    suffix, _ = _suffixes(name)
    if (
      hidden
      or PROSE.match(os.path.basename(name))
      or (suffix not in FORMATS and not PART.fullmatch(os.path.basename(name)))
    ):
      unread.append(name)
    else:
      found.append(_described(path, root))
  if not found:
    seen = f"; it has {', '.join(unread[:5])}" if unread else ""
    raise DataError(
      f"RAW {raw} holds no file that can be read ({', '.join(FORMATS)}, plain or with .gz, .zst, "
      f".bz2 or .xz){seen}"
    )
  stems: dict[str, str] = {}
  for file in found:
    stem = file.name.removesuffix(file.compression) if file.compression else file.name
    if stem.lower() in stems:
      raise DataError(
        f"RAW {raw} holds {stems[stem.lower()]} and {file.name}, which look like one file twice; "
        "move one of them away"
      )
    stems[stem.lower()] = file.name
  return found, unread


def folder_of(raw: str) -> str:
  """The folder that a log lies in, or is."""
  paths, root = _paths(raw)
  return root if paths == [raw] else raw


def _paths(raw: str) -> tuple[list[str], str]:
  """The paths of all files below a folder in order, or of a file itself; and the folder."""
  if REMOTE in raw:
    files, root = fsspec.core.url_to_fs(raw)
    scheme = raw.split(REMOTE)[0] + REMOTE
    if files.isfile(root):
      return [raw], os.path.dirname(raw)
    below = sorted(files.find(root))
    if not below:
      raise DataError(f"RAW {raw} is not there; give the address of a file or of a folder of files")
    return [scheme + path for path in below], scheme + root
  if os.path.isfile(raw):
    return [raw], os.path.dirname(raw)
  if not os.path.isdir(raw):
    raise DataError(f"RAW {raw} is not there; give the path of a file or of a folder of files")
  below, met = [], set()
  for folder, inner, names in os.walk(raw, followlinks=True):
    if (real := os.path.realpath(folder)) in met:  # by way of a link
      inner.clear()
      continue
    met.add(real)
    below += [os.path.join(folder, name) for name in names]
  return sorted(below), raw


def _suffixes(name: str) -> tuple[str, str]:
  """The suffix of a file's format and that of its compression, in lower case."""
  stem, suffix = os.path.splitext(name.lower())
  if suffix in MAGIC.values():
    return os.path.splitext(stem)[1], suffix
  return suffix, ""


def _described(path: str, root: str) -> RawFile:
  """Describes a file by its suffixes, and where they say nothing by its first bytes."""
  name = path[len(root) :].lstrip("/")
  suffix, compression = _suffixes(name)
  form = FORMATS.get(suffix)
  if form is None:
    with RawFile(path, name, "text", "", {}).open() as file:
      start = file.read(8)
    if start.startswith(b"PK\x03\x04"):
      raise DataError(f"{path} is an archive or a spreadsheet; unpack it, or save it as CSV")
    compression = next((s for magic, s in MAGIC.items() if start.startswith(magic)), "")
    with RawFile(path, name, "text", compression, {}).open() as file:
      start = file.read(8)
    form = "parquet" if start.startswith(b"PAR1") else "json" if start[:1] == b"{" else "text"
  return RawFile(path, name, form, compression, _partition(name))


def _partition(name: str) -> dict[str, str | None]:
  values: dict[str, str | None] = {}
  for folder in name.split("/")[:-1]:
    column, equals, value = folder.partition("=")
    if column and equals:
      text = urllib.parse.unquote(value)
      values[urllib.parse.unquote(column)] = None if text == NO_VALUE else text
  return values


def listed(names: Sequence[str], most: int = 5) -> str:
  """A few names, and how many more there are."""
  more = f" and {len(names) - most:,} others" if len(names) > most else ""
  return ", ".join(names[:most]) + more
