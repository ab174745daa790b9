"""Checkpoints that a killed run can go on from: keyed by variable name, complete or not there.

    checkpoints/step-00000400/variables.index, variables.data-…    written by TensorFlow
                             /manifest.json    step, day, state of the run, CRC of each file, itself

What is written is a copy, made at once; a thread writes it while training goes on. A checkpoint is
written beside its place and renamed, its manifest last, so a half-written one is never found.
Restoring walks back from the newest until one is whole.
"""

import copy
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from ranking.data.schema import DataError
from ranking.files import crc32, naming, sealed, unsealed


class Keeping(NamedTuple):
  """Which checkpoints stay: the newest so many, and the last one of each of the newest days."""

  checkpoints: int = 2
  days: int = 0


NEWEST = Keeping()


def begin(
  directory: Path,
  step: int,
  variables: Sequence[tf.Variable],
  state: dict[str, Any],
  day: str | None = None,
  keeping: Keeping = NEWEST,
) -> "Future[None]":
  """Copies `variables` and the JSON `state`, and begins to write them as the checkpoint of `step`.

  A checkpoint of a later step was passed over when the run went on from before it, and goes.

  Args:
    directory: of the checkpoints; no other may be under way in it.
    step, variables, state: what is written.
    day: of the log, that the step is of.
    keeping: which of the earlier ones stay.

  Returns:
    What to wait for. It raises OSError, as when the disk is full; the older checkpoints stay then.
  """
  values = {}
  with tf.device("CPU:0"):
    for key, variable in _named(variables).items():
      # A copy that is one: a value that was only read would be copied by the step that changes it.
      values[key] = tf.raw_ops.DeepCopy(x=variable.read_value())
  writer = ThreadPoolExecutor(1)
  writing = writer.submit(_write, directory, step, values, copy.deepcopy(state), day, keeping)
  writer.shutdown(wait=False)  # the process waits for it, should it end before
  return writing


def save(
  directory: Path, step: int, variables: Sequence[tf.Variable], state: dict[str, Any], **more: Any
) -> None:
  """Does as `begin`, and waits until it is written."""
  begin(directory, step, variables, state, **more).result()


def _write(
  directory: Path,
  step: int,
  values: Mapping[str, tf.Tensor],
  state: dict[str, Any],
  day: str | None,
  keeping: Keeping,
) -> None:
  """Writes a checkpoint, and removes those that are not kept. Raises OSError."""
  target = directory / f"step-{step:08d}"
  partial = directory / f".partial-{os.getpid()}"
  for left in directory.glob(".partial-*"):  # by a process that was killed: only one writes here
    shutil.rmtree(left, ignore_errors=True)
  try:
    partial.mkdir(parents=True)
    tf.raw_ops.SaveV2(
      prefix=str(partial / "variables"),
      tensor_names=[_stored(key) for key in values],
      shape_and_slices=[""] * len(values),
      tensors=list(values.values()),
    )
    manifest = {
      "step": step,
      "day": day,
      "crc32": {path.name: crc32(path) for path in sorted(partial.iterdir())},
      "state": state,
    }
    with naming(target):
      (partial / "manifest.json").write_text(sealed(manifest))
    for path in partial.iterdir():
      _reach_the_disk(path)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
  except tf.errors.OpError as error:  # TensorFlow's own word for a disk that does not take it
    said = error.message.splitlines()[0].rpartition("; ")[2].partition(" [Op:")[0]
    raise OSError(f"{target}: {said}") from error
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  _reach_the_disk(directory)
  _remove_others(directory, target, keeping)


def _remove_others(directory: Path, written: Path, keeping: Keeping) -> None:
  """Removes the checkpoints after the one just written, and those before it that are not kept."""
  found = _checkpoints(directory)
  place = found.index(written)
  last_of_day = {day: path for path in found[: place + 1] if (day := _day(path)) is not None}
  days = sorted(last_of_day)[len(last_of_day) - keeping.days :] if keeping.days else []
  kept = {*found[max(0, place + 1 - keeping.checkpoints) : place + 1]}
  kept |= {last_of_day[day] for day in days}
  for path in found:
    if path not in kept:
      shutil.rmtree(path)


def restore(
  directory: Path,
  variables: Sequence[tf.Variable],
  say: Callable[[str], None],
  misfit: Callable[[dict[str, Any]], str | None] = lambda state: None,
) -> tuple[int, dict[str, Any]] | None:
  """Restores the newest whole checkpoint into `variables`; returns its step and state, or None.

  Args:
    directory: of the checkpoints.
    variables: what to restore; their names and shapes must be those in it.
    say: is told which checkpoints are passed over and why.
    misfit: why a run cannot go on from a state for what lies beside its checkpoints, if so.

  Raises:
    DataError: there are checkpoints but none will do, or one is of other variables.
  """
  found = _checkpoints(directory)
  for path in reversed(found):
    try:
      state = _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
      reason: str | None = f"{type(error).__name__}: {error}"
    else:
      reason = misfit(state)
    if reason is not None:
      say(f"passing over checkpoint {path}: {reason}")
      continue
    _check_names(path, variables)
    for key, variable in _named(variables).items():
      (value,) = tf.raw_ops.RestoreV2(
        prefix=str(path / "variables"),
        tensor_names=[_stored(key)],
        shape_and_slices=[""],
        dtypes=[variable.dtype],
      )
      variable.assign(value)
    return _step(path), state
  if found:
    raise DataError(
      f"no checkpoint in {directory} is whole; bring one back, or remove {directory.parent} to "
      "start again"
    )
  return None


def _named(variables: Sequence[tf.Variable]) -> dict[str, tf.Variable]:
  """By name: positions would restore wrong slots when variables are created in another order."""
  named = {variable.name.removesuffix(":0").replace("/", "|"): variable for variable in variables}
  if len(named) != len(variables):
    raise ValueError("two variables have the same name; give every layer a name of its own")
  return named


def _stored(key: str) -> str:
  """What tf.train.Checkpoint(variables=named) calls a variable, which earlier versions wrote."""
  return f"variables/{key}/.ATTRIBUTES/VARIABLE_VALUE"


def _check_names(path: Path, variables: Sequence[tf.Variable]) -> None:
  stored = {
    name.split("/")[1]: shape
    for name, shape in tf.train.list_variables(str(path / "variables"))
    if name.startswith("variables/")
  }
  wanted = {key: variable.shape.as_list() for key, variable in _named(variables).items()}
  for name in sorted(stored.keys() | wanted.keys()):
    if stored.get(name) != wanted.get(name):
      own, there = name.replace("|", "/"), stored.get(name)
      if there is None:
        raise DataError(
          f"checkpoint {path} has no {own}; resume with the configuration and version that wrote "
          "it, or give RUN another folder"
        )
      raise DataError(
        f"checkpoint {path} has {own} with shape {there}, the model {wanted.get(name)}; resume "
        "with the configuration that wrote it, or give RUN another folder"
      )


def _read(path: Path) -> dict[str, Any]:
  """The state in a checkpoint's manifest. Raises ValueError and others if a file is damaged."""
  manifest = unsealed((path / "manifest.json").read_text())
  if manifest["step"] != _step(path):
    raise ValueError(f"its manifest is of step {manifest['step']}")
  for name, crc in manifest["crc32"].items():
    if crc32(path / name) != crc:
      raise ValueError(f"{name} does not match its CRC")
  return dict(manifest["state"])


def _day(path: Path) -> str | None:
  """The day of the log that a checkpoint is of; None if it does not say."""
  try:
    day = json.loads((path / "manifest.json").read_bytes())["day"]
  except (OSError, ValueError, KeyError, TypeError):  # damaged, or of an earlier version
    return None
  return day if isinstance(day, str) else None


def _checkpoints(directory: Path) -> list[Path]:
  """The checkpoints of a run, the earliest first; a copy of one under another name is none."""
  return sorted((p for p in directory.glob("step-*") if p.name[5:].isdecimal()), key=_step)


def _step(path: Path) -> int:
  return int(path.name.removeprefix("step-"))


def _reach_the_disk(path: Path) -> None:
  """Waits until a file or folder is where a power cut does not take it away."""
  opened = os.open(path, os.O_RDONLY)
  try:
    os.fsync(opened)
  finally:
    os.close(opened)
