"""A text file as its dialect and its records are read."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ranking.data import records
from ranking.data.dialect import Dialect, settle
from ranking.data.raw_files import RawFile


def file_of(path: Path, content: str | bytes) -> RawFile:
  """A text file of some content."""
  path.write_bytes(content.encode() if isinstance(content, str) else content)
  return RawFile(str(path), path.name, "text", "", {})


def read(
  path: Path, content: str | bytes, columns: list[str], drop: bool = False, **dialect: Any
) -> tuple[list[tuple[int, list[str]]], Counter[str]]:
  """The lines and fields of the records of a file, and what was left out."""
  file, cleaning = file_of(path, content), Counter[str]()
  layout = settle(file, Dialect(**dialect), columns)
  assert layout is not None
  rows: list[tuple[int, list[str]]] = []
  pieces = list(records.read(file, layout, drop, cleaning))
  for quoted in (False, True):  # all that are parsed alike at once, which is quicker
    alike = [piece for piece in pieces if piece.quoted == quoted]
    if alike:
      data = b"".join(piece.data for piece in alike)
      lines = np.concatenate([piece.lines for piece in alike])
      table = records.fields(records.Records(data, lines, quoted), layout, columns)
      values = [column.to_pylist() for column in table.columns]
      rows += zip(lines.tolist(), map(list, zip(*values, strict=True)), strict=True)
  return sorted(rows, key=lambda row: row[0]), cleaning
