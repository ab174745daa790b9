"""The day store: a packed log on disk, one folder of memory-mapped arrays per day.

    <root>/<dataset>/<fingerprint>/schema.json    features, tasks, days, and where it all came from
                                  /summary.md     the same for people
                                  /<day>/ids.npy, bags.npy, dense.npy, labels.npy, time.npy,
                                         and of logs that have them weights.npy, requests.npy
                                  /<day>/manifest.json    rows and CRC of each array, written last
                                  /crc32.txt      CRC of schema.json and of each manifest

A CRC covers each byte of these files but summary.md, which is for people: a changed, shortened
or missing file is named in a DataError when the store or its day is opened, or, for an array, when
it is first asked for: training reads no byte that was not checked, and no day before its time.

The fingerprint covers the source's files, all options, and the version of each stage that prepares
them, so a changed recipe never reads a stale store. A store appears under its name only when it is
complete.
"""

import contextlib
import dataclasses
import functools
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from ranking.array import Array
from ranking.data.schema import DataError, Schema
from ranking.files import crc32

DTYPES = {"ids": "<i4", "bags": "<i4", "dense": "<f4", "labels": "<f4", "time": "<i8"}
ARRAYS = tuple(DTYPES)  # that every store has
DTYPES["weights"] = "<f4"  # of a store whose rows do not count the same
DTYPES["requests"] = "<i8"  # of one that says which rows were ranked together
CHECKSUMS = "crc32.txt"
VERSION: Final = 1  # raised when files of a store, or the fields of its schema.json, change
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Day:
  """One day's rows in time order: arrays as in the module's table."""

  name: str
  ids: Array  # int32 [n, C]
  bags: Array  # int32 [n, sum of lengths]
  dense: Array  # float32 [n, D]
  labels: Array  # float32 [n, T]
  time: Array  # int64 [n], ms since epoch UTC
  weights: Array | None = None  # float32 [n, 1], how much a row counts; None = all the same
  requests: Array | None = None  # int64 [n, 1], what was ranked together; 0 = nothing

  def __len__(self) -> int:
    return len(self.time)


class StoredDay(Day):
  """A day whose arrays are memory-mapped, and checked against their CRC, when first asked for."""

  _rows: int
  _load: Callable[[str], Array | None]

  def __init__(self, name: str, rows: int, load: Callable[[str], Array | None]):
    for attribute, value in {"name": name, "_rows": rows, "_load": load}.items():
      object.__setattr__(self, attribute, value)

  @functools.cached_property
  def weights(self) -> Array | None:
    """float32 [n, 1], or None."""
    return self._load("weights")

  @functools.cached_property
  def requests(self) -> Array | None:
    """int64 [n, 1], or None."""
    return self._load("requests")

  def __len__(self) -> int:
    return self._rows

  def __getattr__(self, array: str) -> Array:
    """Asked for what is not there yet. Raises DataError when it is missing, short or changed."""
    if array not in ARRAYS:
      raise AttributeError(array)
    object.__setattr__(self, array, self._load(array))
    return self.__dict__[array]


class WrittenDay(StoredDay):
  """A day that was just written: an array is mapped anew whenever it is asked for, and let go.

  So what was looked at does not stay in memory. Nothing is compared with its CRC.
  """

  def __init__(self, folder: Path, rows: int):
    super().__init__(
      folder.name, rows, lambda array: np.load(folder / f"{array}.npy", mmap_mode="r")
    )

  def __getattr__(self, array: str) -> Array:
    """Asked for each time."""
    if array not in ARRAYS:
      raise AttributeError(array)
    return np.asarray(self._load(array))


class DayStore:
  """A complete store. Days are opened when first asked for."""

  def __init__(self, directory: Path):
    self.directory = directory
    self.card: dict[str, Any]
    self.schema: Schema
    self._label_columns: list[int] | None = None  # all of them
    if not any((directory / name).is_file() for name in ("schema.json", CHECKSUMS)):
      raise DataError(f"{directory} is no day store; give the folder that ranking prepare prints")
    self.card, self.schema = self._load(
      directory / "schema.json", lambda card: (card, Schema.from_json(card))
    )

  def without_tasks(self, names: Sequence[str]) -> "DayStore":
    """Leaves out tasks; the labels that are left are in memory, not mapped.

    Raises ValueError as the schema's method of this name.
    """
    schema, view = self.schema.without_tasks(names), DayStore(self.directory)
    view._label_columns = [view.schema.tasks.index(task) for task in schema.tasks]
    view.schema = schema
    return view

  @functools.cached_property
  def train_days(self) -> list[Day]:
    """Days 1..N-1, in order."""
    return [self._open(name) for name in self.schema.day_names[:-1]]

  @functools.cached_property
  def eval_day(self) -> Day:
    """Day N."""
    return self._open(self.schema.day_names[-1])

  def _open(self, name: str) -> Day:
    """Raises DataError when the manifest is missing or changed, or an array is not there."""
    folder = self.directory / name
    has = {"weights": self.schema.weighted, "requests": self.schema.requests}
    arrays = [*ARRAYS, *(name for name, is_there in has.items() if is_there)]
    rows, crcs = self._load(
      folder / "manifest.json",
      lambda manifest: (manifest["rows"], {array: manifest["crc32"][array] for array in arrays}),
    )
    for array in arrays:
      if not (folder / f"{array}.npy").is_file():
        raise DataError(f"{folder / array}.npy is missing; {_cure(self.directory)}")

    def load(array: str) -> Array | None:
      if array not in arrays:
        return None
      path = folder / f"{array}.npy"
      try:
        crc = crc32(path)
      except OSError as error:
        raise DataError(
          f"{path} cannot be read ({error.strerror}); {_cure(self.directory)}"
        ) from error
      if crc != crcs[array]:
        raise DataError(
          f"{path} is damaged: CRC {crc:#010x}, expected {crcs[array]:#010x}; "
          f"{_cure(self.directory)}"
        )
      mapped = np.load(path, mmap_mode="r")
      if array == "labels" and self._label_columns is not None:
        return np.take(mapped, self._label_columns, axis=1)
      return mapped

    return StoredDay(name, rows, load)

  def _load(self, path: Path, parse: Callable[[Any], T]) -> T:
    """What `parse` makes of a JSON file. Raises DataError when it is not what was written."""
    checksums = self.directory / CHECKSUMS
    reading = path
    try:
      content = path.read_bytes()
      parsed = parse(json.loads(content))
      reading = checksums
      lines = checksums.read_bytes().splitlines(keepends=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise DataError(
        f"{reading} cannot be read ({type(error).__name__}); {_cure(self.directory)}"
      ) from error
    crc = zlib.crc32(content)
    if _checksum(crc, path.relative_to(self.directory)).encode() not in lines:
      raise DataError(
        f"{path} is damaged, or {checksums} is: CRC {crc:#010x} is not listed there; "
        f"{_cure(self.directory)}"
      )
    return parsed


class ArrayWriter:
  """A context manager that writes an array of a day's folder, some rows after the other.

  Args:
    folder: of the day.
    name: one of ARRAYS.
    shape: of the whole array.
  """

  def __init__(self, folder: Path, name: str, shape: tuple[int, ...]):
    self._name, self._shape, self._crc = name, shape, 0
    self._path = folder / f"{name}.npy"

  def __enter__(self) -> "ArrayWriter":
    with contextlib.ExitStack() as stack:
      self._file = stack.enter_context(open(self._path, "wb"))
      self._write(self._header())
      self._open = stack.pop_all()
    return self

  def __exit__(self, *_: object) -> None:
    self._open.close()

  @property
  def crc(self) -> int:
    """Of what is written so far."""
    return self._crc

  def _header(self) -> bytes:
    header = io.BytesIO()
    kind = np.lib.format.dtype_to_descr(np.dtype(DTYPES[self._name]))
    np.lib.format.write_array_header_1_0(
      header, {"descr": kind, "fortran_order": False, "shape": self._shape}
    )
    return header.getvalue()

  def write(self, rows: Array) -> None:
    """The next rows."""
    assert rows.shape[1:] == self._shape[1:], (self._name, rows.shape)
    if rows.size:
      self._write(np.ascontiguousarray(rows, DTYPES[self._name]).data.cast("B"))

  def _write(self, content: bytes | memoryview) -> None:
    self._file.write(content)
    self._crc = zlib.crc32(content, self._crc)


def write_manifest(folder: Path, rows: int, crcs: Mapping[str, int]) -> None:
  """Completes a day whose arrays are written: how many rows it has, and the CRC of each array."""
  manifest = {"rows": rows, "crc32": {name: crcs[name] for name in DTYPES if name in crcs}}
  (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def write_schema(folder: Path, card: Mapping[str, Any], summary: str) -> None:
  """Completes a store whose days are written: summary.md, schema.json and crc32.txt."""
  (folder / "summary.md").write_text(summary)
  (folder / "schema.json").write_text(json.dumps(card, indent=1))
  covered = [Path("schema.json"), *(Path(day, "manifest.json") for day in card["day_names"])]
  lines = [_checksum(crc32(folder / name), name) for name in covered]
  (folder / CHECKSUMS).write_text("".join(lines))


def _checksum(crc: int, name: Path) -> str:
  """A line of crc32.txt."""
  return f"{crc:08x}  {name.as_posix()}\n"


def _cure(directory: Path) -> str:
  """What to do about a damaged store, for the end of an error."""
  return f"remove {directory} and prepare it again"
