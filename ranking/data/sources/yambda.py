"""Yambda: listens of a music service as a log of five tasks, from its flat Parquet files.

Ploshkin et al., "Yambda-5B", arXiv 2505.22238; huggingface.co/datasets/yandex/yambda, Apache 2.0.
The official files were not at hand: names and types of the columns are those that the page of the
data set and its users' programs show.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ranking.checks import Checks
from ranking.data.schema import DataError, Log, sha256
from ranking.data.sources import csv_file
from ranking.data.sources.frames import FrameLog
from ranking.data.sources.pieces import declare_pieces
from ranking.tasks import Task

if TYPE_CHECKING:
  from ranking.data.engine import Engine

HOUR, DAY = 3600, 86400  # seconds
LISTENED, FINISHED, SKIPPED = 50, 95, 10  # percent of a track
MOST_OF_A_TRACK = 2.0  # a track heard again and again is cut off here
TASKS = (
  Task("listened", "binary"),
  Task("finished", "binary"),
  Task("skipped", "binary"),
  Task("log_seconds", "regression"),
  Task("played_ratio", "regression"),
)

_COLUMNS: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {  # what holds it, and the most
  "uid": (np.uint32, 2**32 - 1),
  "timestamp": (np.uint32, 2**32 - 1),
  "item_id": (np.uint32, 2**32 - 1),
  "is_organic": (np.uint8, 1),
  "played_ratio_pct": (np.uint16, 2**16 - 1),
  "track_length_seconds": (np.uint32, 2**32 - 1),
}


@dataclasses.dataclass(frozen=True)
class Yambda:
  """Yambda's listens as a source.

  Times count from a moment that the data set does not name, rounded to 5 s. So there is no
  calendar: a day is 24 h from the log's first listen, `hour` is the hour of such a day, and the
  last day, which is day N, may be short.

  Tasks: listened (50 % of the track or more), finished (95 %), skipped (less than 10 %),
  log_seconds (log1p of the seconds played) and played_ratio, at most 2.

  Attributes:
    raw: listens.parquet, or a folder with it; all its files called listens*.parquet are read.
  """

  raw: str | None = None

  name = "yambda"
  log_version = 1
  keep_duplicates = True  # within 5 s, a track can be skipped twice

  def __post_init__(self) -> None:
    if self.raw is not None:
      Checks("Yambda", DataError).text("raw", self.raw, "the path of listens.parquet")

  def identity(self) -> dict[str, Any]:
    """The files with their sha256."""
    return {"files": {path.name: sha256(path) for path in self._files()}}

  def log(self, engine: "Engine") -> Log:
    """The log of all pieces."""
    return declare_pieces(engine, self)

  def parts(self) -> list[str]:
    """The paths of the files, in order of their names."""
    return [str(path) for path in self._files()]

  def read(self, part: str) -> Iterator[tuple[pd.DataFrame, dict[str, int]]]:
    """Listens in the order of the file, with the columns of the file but timestamp, time and day.

    `time` counts from the log's first listen, and `day` too.
    """
    stamps = (frame.timestamp for path in self._files() for frame in _frames(path, ["timestamp"]))
    first = int(min(column.min() for column in stamps))
    for frame in _frames(Path(part), list(_COLUMNS)):
      seconds = frame.pop("timestamp").astype(np.int64) - first
      yield frame.assign(time=seconds * 1000, day=(seconds // DAY).astype(np.int32)), {}

  def tables(self) -> None:
    """Nothing: all is in the rows."""

  def describe(self, rows: pd.DataFrame, tables: None) -> FrameLog:
    """The log of some rows."""
    days, day = np.unique(rows.day, return_inverse=True)
    percent = rows.played_ratio_pct.astype(np.float64)
    labels = {
      "listened": percent >= LISTENED,
      "finished": percent >= FINISHED,
      "skipped": percent < SKIPPED,
      "log_seconds": np.log1p(percent / 100 * rows.track_length_seconds),
      "played_ratio": (percent / 100).clip(upper=MOST_OF_A_TRACK),
    }
    return FrameLog(
      time=rows.time.to_numpy(),
      day=day.astype(np.int32),
      day_names=[f"day-{number + 1:03d}" for number in days],
      time_zone="UTC",
      categorical=pd.DataFrame(
        {
          "user_id": rows.uid,
          "item_id": rows.item_id,
          "is_organic": rows.is_organic,
          "hour": rows.time // (1000 * HOUR) % 24,
        }
      ),
      bags={},
      dense=pd.DataFrame({"log_track_seconds": np.log1p(rows.track_length_seconds)}, dtype=float),
      labels=pd.DataFrame(labels, dtype=np.float32),
      tasks=TASKS,
      entities=("user_id", "item_id"),
      rated_tasks=("listened",),
      cleaning={},
    )

  def _files(self) -> list[Path]:
    if self.raw is None:
      raise DataError("Yambda has no files; give RAW=path of listens.parquet or of its folder")
    path = Path(self.raw)
    files = [path] if path.is_file() else sorted(path.glob("listens*.parquet"))
    if not files:
      raise DataError(f"RAW {path} has no listens.parquet; it is in flat/50m of the data set")
    return files


def _frames(path: Path, columns: list[str]) -> Iterator[pd.DataFrame]:
  """Columns of a file in pieces, as narrow as they can be.

  Raises DataError for a file without rows, and for a value that does not belong in its column.
  """
  import pyarrow.parquet  # slow to import, and only needed here

  rows = 0
  try:
    with pyarrow.parquet.ParquetFile(path) as file:
      csv_file.require(path, columns, file.schema_arrow.names)
      for batch in file.iter_batches(csv_file.CHUNK_ROWS, columns=columns):
        frame = batch.to_pandas()
        yield pd.DataFrame({name: _checked(path, rows, frame[name]) for name in columns})
        rows += len(frame)
  except pyarrow.ArrowInvalid as error:
    reason = str(error).strip().splitlines()[0]
    raise DataError(f"{path} cannot be read as parquet ({reason}); download it again") from error
  if not rows:
    raise DataError(f"{path} has no rows; download it again")


def _checked(path: Path, before: int, column: "pd.Series[Any]") -> "pd.Series[Any]":
  """Whole numbers in the column's type; `before` is how many rows of the file came before."""
  dtype, most = _COLUMNS[str(column.name)]
  values = pd.to_numeric(column, errors="coerce")
  wrong = ~values.between(0, most) | (values % 1 != 0)
  if wrong.any():
    row = int(wrong.to_numpy().argmax())
    raise DataError(
      f"{path} row {before + row + 1} column {column.name} holds {column.tolist()[row]!r}, not a "
      f"whole number from 0 to {most:,}; download it again"
    )
  return values.astype(dtype)
