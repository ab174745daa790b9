"""Files of published logs: named columns of CSV, whose numbers are what they should be."""

import csv
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ranking.data.schema import DataError

if TYPE_CHECKING:  # slow to import, and only needed where a store is made
  import ibis.expr.types as ir

  from ranking.data.engine import Engine

EXACT: Final = 2**53  # whole numbers below it are themselves as float64
MISSING: Final = ("", "nan", "NaN", "NA", "N/A", "null", "NULL", "None")


def read(
  engine: "Engine",
  paths: Sequence[Path],
  numbers: Mapping[str, int],
  texts: Sequence[str] = (),
  others: bool = False,
  separator: str = ",",
  quote: str = '"',
  names: Sequence[str] | None = None,
  encoding: str = "utf-8",
) -> "ir.Table":
  """Columns of some files, null where missing.

  Args:
    engine: what reads them.
    paths: of files with the same columns, in any order of them.
    numbers: columns of numbers, float64, and what their size must stay below.
    texts: columns of text; a whole number is the same text however it is written: 5.0 is "5".
    others: give all further columns as text too.
    separator: as those below, see Engine.read_csv.
    quote: around values.
    names: of the columns, where the files have no header.
    encoding: of the files.

  Raises DataError for a missing column, a file that is no CSV or has no rows, and a value that does
  not belong: its place is named.
  """
  import ibis

  tables = []
  for path in paths:
    header = list(names) if names is not None else _header(path, separator, quote, encoding)
    if missing := [name for name in (*numbers, *texts) if name not in header]:
      raise DataError(f"{path} lacks column {missing[0]}; it has {', '.join(header[:6])}, …")
    further = [name for name in header if name not in numbers and name not in texts]
    table = engine.read_csv(path, header, names is None, separator, quote, encoding)
    columns: dict[str, ir.Value] = {}
    wrong = ibis.null("string")
    for name, limit in numbers.items():
      number = table[name].try_cast("float64")
      fits = (number.abs() < limit).fill_null(False)
      is_missing = table[name].isnull() | table[name].isin(MISSING)
      columns[name] = ibis.ifelse(fits, number, ibis.null("float64"))
      wrong = ibis.ifelse(fits | is_missing, wrong, ibis.literal(name))
    for name in (*texts, *(further if others else ())):
      columns[name] = _text(table[name])
    tables.append(table.select(**columns, wrong=wrong))
  try:
    kept = engine.keep(ibis.union(*tables) if len(tables) > 1 else tables[0])
  except DataError as error:
    reason = re.sub(r"^.*?cannot work the log out \(|\)$", "", str(error))
    path = next((path for path in paths if str(path) in reason), paths[0])
    raise DataError(f"{path} is not a CSV with a header ({reason}); unpack it again") from error
  found = engine.frame(kept.agg(rows=kept.count(), wrong=kept.wrong.min()))
  if not found["rows"][0]:
    raise DataError(f"{paths[0]} has a header and no rows; unpack it again")
  if isinstance(name := found["wrong"][0], str):
    for limit, what in ((EXACT, "a number"), (numbers[name], f"a number below {numbers[name]:,}")):
      for path in paths:
        is_wrong = functools.partial(_is_wrong, limit=limit)
        say_where(path, name, is_wrong, what, names, separator, quote, encoding)
  return kept.drop("wrong")


def _text(value: "ir.StringValue") -> "ir.StringValue":
  """Null where missing; "5.0" as "5"."""
  import ibis

  whole = ibis.ifelse(value.endswith(".0"), value.left(value.length() - 2), value)
  return ibis.ifelse(value.isin(MISSING), ibis.null("string"), whole)


def _header(path: Path, separator: str, quote: str, encoding: str) -> list[str]:
  try:
    with open(path, encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as file:
      header = next(csv.reader(file, delimiter=separator, quotechar=quote), [])
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise DataError(f"{path} is not a CSV with a header ({error}); unpack it again") from error
  if not header:
    raise DataError(f"{path} is not a CSV with a header (it is empty); unpack it again")
  if twice := [name for name in header if header.count(name) > 1]:
    raise DataError(f"{path} has two columns {twice[0]}; unpack it again")
  return header


def say_where(
  path: Path,
  column: str,
  is_wrong: Callable[[str], bool],
  what: str,
  names: Sequence[str] | None = None,
  separator: str = ",",
  quote: str = '"',
  encoding: str = "utf-8",
) -> None:
  """Raises DataError for the first value of a column that is wrong, if one is.

  Args:
    path: of the file.
    column: which.
    is_wrong: of a value as it is written.
    what: belongs there, such as "a date such as 20200705".
    names: as the others, see `read`.
    separator: of values.
    quote: around values.
    encoding: of the file.
  """
  with open(path, encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="") as file:
    lines = (line.replace(separator, "\t") for line in file) if len(separator) > 1 else file
    delimiter = "\t" if len(separator) > 1 else separator
    reader = csv.reader(
      lines,
      delimiter=delimiter,
      quotechar=quote or None,
      quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
    )
    place = (list(names) if names is not None else next(reader)).index(column)
    for line in reader:
      if is_wrong(value := line[place]):
        raise DataError(
          f"{path} line {reader.line_num} column {column} holds {value!r} where {what} belongs; "
          "mend or remove the line"
        )


def _is_wrong(value: str, limit: int) -> bool:
  """Whether a value is neither missing nor a number whose size is below a limit."""
  try:
    return value not in MISSING and not abs(float(value)) < limit
  except ValueError:
    return True


def once(table: "ir.Table", keys: Sequence[str]) -> "ir.Table":
  """A line per key that is not missing: of several the smallest, by the columns in their order."""
  import ibis

  there = table.filter([table[key].notnull() for key in keys])
  others = [name for name in there.columns if name not in keys]
  place = ibis.row_number().over(ibis.window(group_by=list(keys), order_by=others))
  return there.mutate(place=place).filter(lambda line: line.place == 0).drop("place")
