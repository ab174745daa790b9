"""Checkpoints that a killed run can go on from: keyed by variable name, complete or not there.

    checkpoints/step-00000400/variables.index, variables.data-…    written by TensorFlow
                             /manifest.json    step, monitor state, configuration, CRC of each file

A checkpoint is written beside its place and renamed, so a half-written one is never found.
Restoring walks back from the newest until one is whole.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ranking.data.schema import DataError
from ranking.data.store import crc32

KEPT = 2


def save(
  directory: Path, step: int, variables: Sequence[tf.Variable], state: dict[str, Any]
) -> None:
  """Writes `variables` and the JSON `state` as the checkpoint of `step`, and removes old ones.

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
    (partial / "manifest.json").write_text(json.dumps({"step": step, "crc32": crc, "state": state}))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
  except tf.errors.OpError as error:  # TensorFlow's own word for a disk that does not take it
    said = error.message.splitlines()[0].rpartition("; ")[2].partition(" [Op:")[0]
    raise OSError(f"{target}: {said}") from error
  finally:
    shutil.rmtree(partial, ignore_errors=True)
  for old in sorted(directory.glob("step-*"))[:-KEPT]:
    shutil.rmtree(old)


def restore(
  directory: Path, variables: Sequence[tf.Variable], say: Callable[[str], None]
) -> tuple[int, dict[str, Any]] | None:
  """Restores the newest whole checkpoint into `variables`; returns its step and state, or None.

  Tells `say` which checkpoints it passed over and why. Raises DataError if there are checkpoints
  but none is whole, or if the names or shapes in it are not those of `variables`.
  """
  found = sorted(directory.glob("step-*"), reverse=True)
  for path in found:
    if damage := _damage(path):
      say(f"passing over checkpoint {path}: {damage}")
      continue
    manifest = json.loads((path / "manifest.json").read_text())
    _check_names(path, variables)
    _checkpoint(variables).read(str(path / "variables")).assert_existing_objects_matched()
    return manifest["step"], manifest["state"]
  if found:
    raise DataError(f"no checkpoint in {directory} is whole; remove the folder to start again")
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


def _damage(path: Path) -> str | None:
  """What is wrong with a checkpoint's files, in a few words."""
  try:
    manifest = json.loads((path / "manifest.json").read_text())
    for name, crc in manifest["crc32"].items():
      if crc32(path / name) != crc:
        return f"{name} does not match its CRC"
  except (OSError, ValueError, KeyError) as error:
    return f"{type(error).__name__}: {error}"
  return None
