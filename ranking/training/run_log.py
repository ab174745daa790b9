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
import io
import json
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from ranking.files import naming, plain
from ranking.settings import SettingError
from ranking.tasks import KINDS

SERIES = ("metrics", "evals", "health")


class Mark(NamedTuple):
  """How far a series had been written: its bytes, and their CRC-32."""

  size: int = 0
  crc32: int = 0

  def after(self, more: bytes) -> "Mark":
    """The mark once more was written."""
    return Mark(self.size + len(more), zlib.crc32(more, self.crc32))


def open_run_log(directory: Path) -> "RunLog":
  """The log of a run directory. Raises SettingError if another process trains there."""
  try:
    return RunLog(directory)
  except BlockingIOError as error:
    raise SettingError(
      f"another process trains in {directory}; wait for it, or give RUN another folder"
    ) from error


class RunLog:
  """Appends to the series of a run directory; after `rewind(marks)` it goes on from there.

  A context manager: the files are closed at the end, however it comes.

  Raises BlockingIOError if another process writes there.
  """

  def __init__(self, directory: Path):
    self.directory = directory
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as opened:
      self._files = {  # no buffer: whoever follows the run sees whole lines at once
        name: opened.enter_context(open(directory / f"{name}.jsonl", "a+b", buffering=0))
        for name in SERIES
      }
      # The lock goes with the file, however the process ends.
      fcntl.flock(self._files["metrics"], fcntl.LOCK_EX | fcntl.LOCK_NB)
      opened.pop_all()
    self._marks = dict.fromkeys(SERIES, Mark())
    self._evaluated_at = 0  # step
    # Its plain writer: tf.summary makes a constant of every value, which the process never frees.
    self._tensorboard = EventFileWriter(str(directory / "tensorboard"))

  @property
  def marks(self) -> dict[str, Mark]:
    """How far each series is written."""
    return dict(self._marks)

  def misfit(self, marks: Mapping[str, Sequence[int]]) -> str | None:
    """What is wrong with the series, if they do not begin with what was written up to marks."""
    for name in SERIES:
      mark = Mark(*marks[name])
      if Mark().after(self._read(name, mark.size)) != mark:
        return f"{self._path(name)} was changed since, or does not reach it"
    return None

  def rewind(self, marks: Mapping[str, Sequence[int]]) -> None:
    """Forgets what was written after some marks that fit, so that a resumed run repeats nothing.

    Only cuts, so that a kill loses nothing. TensorBoard's files, which cannot be cut, repeat it.
    """
    for name, file in self._files.items():
      self._marks[name] = Mark(*marks[name])
      file.truncate(self._marks[name].size)
    evaluations = self._read("evals", self._marks["evals"].size).splitlines()
    self._evaluated_at = json.loads(evaluations[-1])["step"] if evaluations else 0

  def steps_before_divergence(self) -> int:
    """How many steps the series has that were not judged to be lost; what follows a damage not."""
    steps = 0
    for line in io.BytesIO(self._read("metrics", -1)):
      try:
        if json.loads(line)["verdict"] == "diverged":
          break
      except (ValueError, KeyError, TypeError):
        break
      steps += 1
    return steps

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
    task_weights: Mapping[str, float] | None = None,
  ) -> None:
    """Writes the clipping factor of each variable at one step, and what was observed of it.

    Weights of tasks are written where they are learnt.
    """
    row: dict[str, Any] = {"step": step, "clipping_factors": clipping_factors}
    if observations:
      row["observations"] = observations
    if task_weights:
      row["task_weights"] = task_weights
    self._append("health", row)
    self._draw(step, {f"clipping_factor/{name}": v for name, v in clipping_factors.items()})
    self._draw(step, {f"task_weight/{name}": v for name, v in (task_weights or {}).items()})

  def evaluation(self, step: int, day: str, metrics: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes one evaluation of day N; of a step once, though a resumed run may make it again."""
    if step == self._evaluated_at:
      return
    self._evaluated_at = step
    self._append("evals", {"step": step, "day": day, "metrics": metrics})
    for task, entry in metrics.items():
      names = (KINDS[entry["kind"]].measure.name, "logloss", "relative_loss", "calibration")
      known = {f"day_n/{task}/{n}": entry[n] for n in names if entry.get(n) is not None}
      self._draw(step, known)

  def flush(self) -> None:
    """Everything written so far reaches the disk, so that a checkpoint is never ahead of it."""
    for name, file in self._files.items():
      with naming(self._path(name)):
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
    line = (json.dumps(plain(row), allow_nan=False) + "\n").encode()
    with naming(self._path(series)):
      written = 0
      while written < len(line):  # a disk that is nearly full takes a part, and says so by the next
        written += self._files[series].write(line[written:])
    self._marks[series] = self._marks[series].after(line)

  def _draw(self, step: int, values: Mapping[str, float]) -> None:
    """Scalars for TensorBoard."""
    scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    event = Event(step=step, wall_time=time.time(), summary=Summary(value=scalars))
    self._tensorboard.add_event(event)

  def _read(self, series: str, size: int) -> bytes:
    """The first bytes of a series, all for -1."""
    with open(self._path(series), "rb") as file:
      return file.read(size)

  def _path(self, series: str) -> Path:
    return self.directory / f"{series}.jsonl"


class NoLog(RunLog):
  """The log of a worker that is not the chief: writes nothing, and has nothing to go on from."""

  def __init__(self) -> None:
    self._evaluated_at = 0

  def flush(self) -> None:
    """Nothing was written."""

  def __exit__(self, *_: object) -> None:
    pass

  def _append(self, series: str, row: Mapping[str, Any]) -> None:
    pass

  def _draw(self, step: int, values: Mapping[str, float]) -> None:
    pass
