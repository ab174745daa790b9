"""Files of published logs: named columns of Parquet, whole numbers that are what they should be."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ranking.data.schema import DataError
from ranking.data.sources import published

if TYPE_CHECKING:  # slow to import, and only needed where a store is made
  import ibis.expr.types as ir

  from ranking.data.engine import Engine


def rows_of(path: Path, columns: Mapping[str, int]) -> int:
  """How many rows a file has. Raises DataError if none, or if one of its columns is missing."""
  import pyarrow
  import pyarrow.parquet

  try:
    with pyarrow.parquet.ParquetFile(path) as file:
      names, rows = file.schema_arrow.names, file.metadata.num_rows
  except (pyarrow.ArrowInvalid, OSError) as error:
    reason = str(error).strip().splitlines()[0]
    raise DataError(f"{path} cannot be read as parquet ({reason}); download it again") from error
  if missing := [name for name in columns if name not in names]:
    raise DataError(f"{path} lacks column {missing[0]}; it has {', '.join(names[:8])}")
  if not rows:
    raise DataError(f"{path} has no rows; download it again")
  return int(rows)


def checked(
  engine: "Engine", table: "ir.Table", path: Path, columns: Mapping[str, int], missing: bool = False
) -> "ir.Table":
  """Columns of a file as int64, the others as they are.

  Args:
    engine: what reads them.
    table: of the file.
    path: of the file, for errors.
    columns: whole numbers of at least 0, or booleans, and what they stay below.
    missing: whether a value may be.

  Raises DataError for a value that does not belong in its column.
  """
  import ibis

  wrong = {}
  for name, limit in columns.items():
    value = table[name].cast("int8") if table[name].type().is_boolean() else table[name]
    if not value.type().is_numeric():
      kind = str(value.type())
      raise DataError(f"{path} column {name} is {kind}, not whole numbers; download it again")
    fits = (value >= 0) & (value < limit)
    if value.type().is_floating():
      fits &= value == value.floor()
    wrong[name] = ~fits.fill_null(missing)
  # One pass over the file: a value that is wrong, and how often there is one, of each column.
  counted = table.agg(
    **{f"count_{k}": column.sum() for k, column in enumerate(wrong.values())},
    **{
      f"value_{k}": ibis.ifelse(
        column, table[name].cast("string").fill_null("no value"), None
      ).max()
      for k, (name, column) in enumerate(wrong.items())
    },
  )
  (found,) = engine.frame(counted).to_dict("records")
  for k, (name, limit) in enumerate(columns.items()):
    if count := int(found[f"count_{k}"] or 0):
      raise DataError(
        f"{path} column {name} holds {found[f'value_{k}']} ({count:,} such rows), not a whole "
        f"number from 0 to {limit - 1:,}; download it again"
      )
  return table.mutate(**{name: table[name].cast("int64") for name in columns})


def numbered(engine: "Engine", path: Path, columns: Mapping[str, int]) -> "tuple[ir.Table, int]":
  """Some columns of a file, `row`, which counts its rows from 0, and how many there are."""
  rows = rows_of(path, columns)
  table = engine.read_parquet(path, row_number="row").select("row", *columns)
  return checked(engine, table, path, columns), rows


def once(engine: "Engine", path: Path, columns: Mapping[str, int], key: str) -> "ir.Table":
  """A line per key; the others of its columns may be missing."""
  rows_of(path, columns)
  table = engine.read_parquet(path).select(*columns)
  return engine.keep(published.once(checked(engine, table, path, columns, missing=True), [key]))
