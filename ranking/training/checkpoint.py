"""Checkpoints that a killed run can go on from: keyed by variable name, complete or not there.

    checkpoints/step-00000400/variables.index, variables.data-…    written by TensorFlow
                             /manifest.json    step, state of the run, CRC of each file and itself

A checkpoint is written beside its place and renamed, so a half-written one is never found.
Restoring walks back from the newest until one is whole.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ranking.data.schema import DataError
from ranking.files import crc32, sealed, unsealed

KEPT = 2


def save(
  directory: Path, step: int, variables: Sequence[tf.Variable], state: dict[str, Any]
) -> None:
  """Writes `variables` and the JSON `state` as the checkpoint of `step`, and removes others.

  The newest KEPT stay. One of a later step was passed over when the run went on from before it.

  Raises OSError, as when the disk is full; the older checkpoints stay.
  """
  target = directory / f"step-{step:08d}"
  partial = directory / f".partial-{os.getpid()}"
  for left in directory.glob(".partial-*"):  # by a process that was killed: only one writes here
    shutil.rmtree(left, ignore_errors=True)
  try:
    partial.mkdir(parents=True)
    _checkpoint(variables).write(str(partial / "variables"))
    crc = {path.name: crc32(path) for path in sorted(partial.iterdir())}
    (partial / "manifest.json").write_text(sealed({"step": step, "crc32": crc, "state": state}))
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
  found = sorted(directory.glob("step-*"))
  here = found.index(target)
  for other in (*found[: max(0, here + 1 - KEPT)], *found[here + 1 :]):
    shutil.rmtree(other)


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
  found = sorted(directory.glob("step-*"), reverse=True)
  for path in found:
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
    _checkpoint(variables).read(str(path / "variables")).assert_existing_objects_matched()
    return _step(path), state
  if found:
    raise DataError(
      f"no checkpoint in {directory} is whole; bring one back, or remove {directory.parent} to "
      "start again"
    )
  return None


def _checkpoint(variables: Sequence[tf.Variable]) -> tf.train.Checkpoint:
  """By name: positions would restore wrong slots when variables are created in another order."""
  named = {_key(variable): variable for variable in variables}
  if len(named) != len(variables):
    raise ValueError("two variables have the same name; give every layer a name of its own")
  return tf.train.Checkpoint(variables=named)


def _key(variable: tf.Variable) -> str:
  return variable.name.removesuffix(":0").replace("/", "|")


def _check_names(path: Path, variables: Sequence[tf.Variable]) -> None:
  stored = {
    name.split("/")[1]: shape
    for name, shape in tf.train.list_variables(str(path / "variables"))
    if name.startswith("variables/")
  }
  wanted = {_key(variable): variable.shape.as_list() for variable in variables}
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


def _step(path: Path) -> int:
  return int(path.name.removeprefix("step-"))


def _reach_the_disk(path: Path) -> None:
  """Waits until a file or folder is where a power cut does not take it away."""
  opened = os.open(path, os.O_RDONLY)
  try:
    os.fsync(opened)
  finally:
    os.close(opened)
