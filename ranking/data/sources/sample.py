"""Samples in the format of a published log, made up where the log itself cannot be had.

No figure of one says anything about the log. So its Parquet files are marked, and it bears another
name wherever it goes: in stores, results and tables.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
  import pyarrow

MARK: Final = b"made up, in the format of"  # a key of the metadata of a Parquet file


def marked(table: "pyarrow.Table", log: str) -> "pyarrow.Table":
  """The table, which says in a Parquet file that it is made up."""
  return table.replace_schema_metadata({MARK: log.encode()})


def name_of(log: str, paths: Sequence[Path]) -> str:
  """The name of a log, or of a sample of it where a file of it is marked as one."""
  import pyarrow  # slow to import, and only needed here
  import pyarrow.parquet

  for path in paths:
    try:
      metadata = pyarrow.parquet.read_schema(path).metadata
    except (pyarrow.ArrowInvalid, OSError):  # said by who reads the file
      continue
    if metadata and MARK in metadata:
      return f"{log}_sample"
  return log
