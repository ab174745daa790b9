"""predictions.npz: what a run says of each row of day N, to compare runs row by row."""

import dataclasses
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ranking.array import Array
from ranking.data.store import DayStore
from ranking.files import atomically
from ranking.run_directory import check_unchanged

FILE = "predictions.npz"


@dataclasses.dataclass(frozen=True)
class Predictions:
  """The predictions of one run; the file has an array for each of these.

  Attributes:
    outputs: float32 [n, T], of the model, a column per task, rows in the
      order of the store.
    tasks: [T], names.
    day: name of day N.
    time_crc32: of the rows' times. It tells with `labels_crc32` whether two runs have the same
      rows, whatever features and other tasks their stores have.
    labels_crc32: [T], of each task's labels.
    weights_crc32: of how often each row counts; 0 where all count the same.
    requests_crc32: of what was ranked together; 0 where the log does not say.
  """

  outputs: Array
  tasks: tuple[str, ...]
  day: str
  time_crc32: int
  labels_crc32: tuple[int, ...]
  weights_crc32: int = 0
  requests_crc32: int = 0

  @classmethod
  def of(cls, outputs: Array, store: DayStore) -> "Predictions":
    """Makes the predictions of a store's day N and its tasks."""
    day = store.eval_day
    return cls(
      outputs,
      tuple(task.name for task in store.schema.tasks),
      day.name,
      _crc32(day.time),
      tuple(map(_crc32, day.labels.T)),
      *(0 if column is None else _crc32(column) for column in (day.weights, day.requests)),
    )

  def save(self, run_directory: Path) -> None:
    """Writes the file, whole or not at all."""
    with atomically(run_directory / FILE) as partial, open(partial, "wb") as file:
      np.savez(file, **vars(self))  # logits do not compress


def load(run_directory: Path) -> Predictions:
  """The predictions of a run. Raises ValueError if it left none, or if they are damaged."""
  path = run_directory / FILE
  check_unchanged(path)
  try:
    with open(path, "rb") as opened, np.load(opened) as file:
      return Predictions(
        file["outputs"],
        tuple(file["tasks"].tolist()),
        str(file["day"]),
        int(file["time_crc32"]),
        tuple(file["labels_crc32"].tolist()),
        *(  # which earlier versions had not
          int(file[name]) if name in file else 0 for name in ("weights_crc32", "requests_crc32")
        ),
      )
  except FileNotFoundError as error:
    raise ValueError(f"{path} is not there; finish the run, or make it again") from error
  except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
    raise ValueError(
      f"{path} cannot be read ({error}); copy it again, or make the run again"
    ) from error


def _crc32(column: Array) -> int:
  return zlib.crc32(np.ascontiguousarray(column).data)
