"""result.json: the one-row outcome of a run, with what is needed to make it again."""

import contextlib
import math
import os
import platform
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("tensorflow", "tf-keras", "tensorflow-recommenders", "numpy")


def surroundings() -> dict[str, Any]:
  """Where a result was made: peak memory of this process, versions, command, commit."""
  return {
    "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    "command": shlex.join(["python", "-m", "ranking.main", *sys.argv[1:]]),
    "git_commit": _git_commit(),
  }


def plain(value: Any) -> Any:
  """For JSON, which has no NaN: a non-finite number becomes text ("nan", "inf")."""
  if isinstance(value, float) and not math.isfinite(value):
    return str(value)
  if isinstance(value, dict):
    return {key: plain(entry) for key, entry in value.items()}
  return value


@contextlib.contextmanager
def atomically(path: Path) -> Iterator[Path]:
  """Where to write a file that is then either whole or not there."""
  # Processes may write the same file, as the shards of a sweep that end together do.
  partial = path.with_name(f".{path.name}.partial-{platform.node()}-{os.getpid()}")
  try:
    yield partial
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
  """Writes a file that is either whole or not there."""
  with atomically(path) as partial:
    partial.write_text(text)


def _git_commit() -> str | None:
  """The checked-out commit, with "-dirty" if tracked files differ from it; None outside a clone."""
  command = [
    "git",
    "-C",
    str(Path(__file__).parent),
    "describe",
    "--always",
    "--dirty",
    "--abbrev=40",
  ]
  try:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return None
