"""The run directory: what a run writes down while it trains, and its one-row outcome.

config.gin       the operative configuration; parses back into the same run
metrics.jsonl    one line per training step: the health vector
evals.jsonl      one line per evaluation of day N
health.jsonl     one line per call: the clipping factor of every variable; with observe_every, also
                 what observation.py sees of it
checkpoints/     see checkpoint.py
tensorboard/     the same series for TensorBoard
predictions.npz  at the end: what the run says of each row of day N, see predictions.py
result.json      written last and atomically; a folder that has one is finished
"""

import contextlib
import fcntl
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from ranking.data.schema import DataError
from ranking.files import naming, plain
from ranking.settings import SettingError
from ranking.tasks import KINDS

SERIES = ("metrics", "evals", "health")


def open_run_log(directory: Path) -> "RunLog":
  """The log of a run directory. Raises SettingError if another process trains there."""
  try:
    return RunLog(directory)
  except BlockingIOError as error:
    raise SettingError(
      f"another process trains in {directory}; wait for it, or give RUN another folder"
    ) from error


class RunLog:
  """Appends to the series of a run directory; after `rewind(step)` it goes on from that step.

  A context manager: the files are closed at the end, however it comes.

  Raises BlockingIOError if another process writes there.
  """

  def __init__(self, directory: Path):
    self.directory = directory
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as opened:
      self._files = {  # line by line, for whoever follows the run
        name: opened.enter_context(open(directory / f"{name}.jsonl", "a+", buffering=1))
        for name in SERIES
      }
      # The lock goes with the file, however the process ends.
      fcntl.flock(self._files["metrics"], fcntl.LOCK_EX | fcntl.LOCK_NB)
      opened.pop_all()
    self._evaluated_at: float = 0  # step
    # Its plain writer: tf.summary makes a constant of every value, which the process never frees.
    self._tensorboard = EventFileWriter(str(directory / "tensorboard"))

  def rewind(self, step: int) -> None:
    """Forgets what was written after `step`, so that a resumed run repeats nothing.

    Only cuts, so that a kill loses nothing. TensorBoard's files, which cannot be cut, repeat it.

    Raises:
      DataError: a line is damaged.
    """
    for name, file in self._files.items():
      file.seek(0)
      kept = 0
      for line in iter(file.readline, ""):
        try:
          at = json.loads(line)["step"] if line.endswith("\n") else math.inf
          if at > step:
            break
        except (ValueError, KeyError, TypeError) as error:
          raise DataError(
            f"{self._path(name)} is damaged at byte {kept}; remove it to go on"
          ) from error
        kept += len(line.encode())
        self._evaluated_at = at if name == "evals" else self._evaluated_at
      file.truncate(kept)

  def steps(self, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes measured steps; the last of them also goes to TensorBoard."""
    for row in rows:
      self._append("metrics", row)
    last = {f"train/{name}": v for name, v in rows[-1].items() if isinstance(v, float)}
    self._draw(rows[-1]["step"], last)

  def health(
    self,
    step: int,
    clipping_factors: Mapping[str, float],
    observations: Mapping[str, Mapping[str, Any]],
  ) -> None:
    """Writes the clipping factor of each variable at one step, and what was observed of it."""
    observed = {"observations": observations} if observations else {}
    self._append("health", {"step": step, "clipping_factors": clipping_factors, **observed})
    self._draw(step, {f"clipping_factor/{name}": v for name, v in clipping_factors.items()})

  def evaluation(self, step: int, day: str, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes one evaluation of day N; of a step once, though a resumed run may make it again."""
    if step == self._evaluated_at:
      return
    self._evaluated_at = step
    self._append("evals", {"step": step, "day": day, "metrics": metrics})
    for task, entry in metrics.items():
      names = (KINDS[entry["kind"]].measure.name, "logloss", "calibration")
      known = {f"day_n/{task}/{n}": entry[n] for n in names if entry.get(n) is not None}
      self._draw(step, known)

  def flush(self) -> None:
    """Everything written so far reaches the disk, so that a checkpoint is never ahead of it."""
    for name, file in self._files.items():
      with naming(self._path(name)):
        file.flush()
        os.fsync(file.fileno())
    self._tensorboard.flush()

  def __enter__(self) -> "RunLog":
    return self

  def __exit__(self, *_: object) -> None:
    self.flush()
    for file in self._files.values():
      file.close()
    self._tensorboard.close()

  def _append(self, series: str, row: Mapping[str, Any]) -> None:
    with naming(self._path(series)):
      self._files[series].write(json.dumps(plain(row), allow_nan=False) + "\n")

  def _draw(self, step: int, values: Mapping[str, float]) -> None:
    """Scalars for TensorBoard."""
    scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    event = Event(step=step, wall_time=time.time(), summary=Summary(value=scalars))
    self._tensorboard.add_event(event)

  def _path(self, series: str) -> Path:
    return self.directory / f"{series}.jsonl"
