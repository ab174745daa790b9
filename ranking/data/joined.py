"""A table of users or items, whose line is looked up for each row by a key, and maybe by time."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ranking.data.kept import Kept
from ranking.data.raw_files import RawFile
from ranking.data.reading import Column
from ranking.data.schema import DataError
from ranking.data.times import Time
from ranking.data.values import Id

if TYPE_CHECKING:  # slow to import, and only needed where a store is made
  import ibis.expr.types as ir


def joined(
  kept: Kept,
  rows: "ir.Table",
  table_name: str,
  path: str,
  by: str | Sequence[str],
  files: Sequence[RawFile],
  wanted: Sequence[Column],
  time: Time,
) -> "ir.Table":
  """Adds columns of a table: of the line with the row's key, the latest one that held by then.

  Args:
    kept: the log, and what is read of the table.
    rows: of the log.
    table_name: for columns that are made on the way.
    path: of the table, as its description names it.
    by: as of `parts`.
    files: of the table.
    wanted: the columns to add, as the log calls them.
    time: how the table's times are written.

  Raises DataError for a key that has several lines of which one could be meant.
  """
  import ibis

  ours, theirs, since = parts(by)
  key = Column(theirs, Id())
  inner = {column: Column(inner_name(path, column.name), column.kind) for column in wanted}
  when = Column(since, time) if since else None
  table = kept.read(files, [key, *inner.values()], when, of=path)
  lookup = kept.column(table, key, of=path)
  table = table.filter(lookup.notnull())
  lookup = kept.column(table, key, of=path)
  moment = table.time if since else ibis.literal(0, "int64")
  twice = table.group_by(theirs=lookup, moment=moment).agg(lines=table.count())
  twice = twice.filter(twice.lines > 1).order_by("theirs").limit(1)
  if len(found := kept.engine.frame(twice)):
    cure = f"and {since} " if since else ""
    raise DataError(
      f"{path} has {found.lines[0]} lines with {theirs} {found.theirs[0]!r} {cure}"
      "of which one could be meant; keep one, or say from when each holds: "
      f'Table.tables = {{"{path}": ["{ours}", "time column"]}}'
    )
  columns = {f"{table_name} key": lookup, f"{table_name} since": moment}
  if since:
    window = ibis.window(group_by=lookup, order_by=table.time)
    columns[f"{table_name} until"] = table.time.lead().over(window)
  for column, of_table in inner.items():
    columns[kept.name(column)] = kept.column(table, of_table, of=path)
  table = table.select(**columns)
  own = kept.column(rows, Column(ours, Id()))
  holds = [own == table[f"{table_name} key"]]
  if since:
    until = table[f"{table_name} until"]
    holds += [table[f"{table_name} since"] <= rows.time, until.isnull() | (until > rows.time)]
  joined = rows.left_join(table, holds)
  what = f"rows whose {ours} is not in {path}" + (" by then" if since else "")
  lost = joined[kept.name(Column(ours, Id()))].notnull() & joined[f"{table_name} key"].isnull()
  kept.cleaning[what] = kept.engine.number(lost.sum())
  return joined.drop(*(name for name in columns if name.startswith(f"{table_name} ")))


def parts(by: str | Sequence[str]) -> tuple[str, str, str | None]:
  """The log's column, the table's column that it is looked up in, and the table's time."""
  key, since = (by, None) if isinstance(by, str) else (by[0], by[1])
  ours, equals, theirs = key.partition("=")
  return ours.strip(), theirs.strip() if equals else ours.strip(), since


def stem(path: str) -> str:
  """What a table is called in the names of its columns."""
  return os.path.basename(path).partition(".")[0]


def inner_name(path: str, column: str) -> str:
  """The name of a column within its table."""
  return column.removeprefix(f"{stem(path)}.")
