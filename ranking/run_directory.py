"""result.json, the last file of a run directory, and what it says of the files beside it.

A folder that has a whole one is finished. It holds a CRC of itself and of each file beside it that
is read later on, so that whoever compares runs notices what was changed or cut since. Results of
earlier versions, which have neither, are taken as they are.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranking.files import SEAL, crc32, sealed, unsealed, write_atomically

RESULT = "result.json"
COVERED = ("config.gin", "metrics.jsonl", "evals.jsonl", "health.jsonl", "predictions.npz")


def write_result(directory: Path, result: Mapping[str, Any]) -> None:
  """Writes result.json, whole or not at all, when all other files are written."""
  files = {name: crc32(directory / name) for name in COVERED if (directory / name).is_file()}
  write_atomically(directory / RESULT, sealed({**result, "files": files}))


def is_finished(directory: Path) -> bool:
  """Whether a run directory has a whole result.json, of a run that diverged or not."""
  try:
    read_result(directory)
  except (FileNotFoundError, ValueError):
    return False
  return True


def read_result(directory: Path) -> dict[str, Any]:
  """What result.json holds.

  Raises:
    FileNotFoundError: it is not there.
    ValueError: it is damaged, which the same training command mends.
  """
  path = directory / RESULT
  text = path.read_bytes()
  try:
    result = json.loads(text)
    if SEAL in result or "files" in result or "status" not in result:
      result = unsealed(text.decode())
  except (ValueError, TypeError) as error:
    raise ValueError(f"{path} is damaged ({error}); give its command again") from error
  return dict(result)


def check_unchanged(path: Path) -> None:
  """Raises ValueError if a file beside a result.json is not as it was when the run ended."""
  try:
    files = read_result(path.parent).get("files", {})
  except FileNotFoundError:  # the run goes on
    return
  if path.name in files and crc32(path) != files[path.name]:
    raise ValueError(f"{path} was changed since its run ended; copy it again, or run it again")
