"""How a text file of lines and fields is written: told from it where it leaves no doubt."""

import codecs
import csv
import dataclasses
import difflib
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Literal

from ranking.data import raw_files
from ranking.data.raw_files import RawFile
from ranking.data.schema import DataError

HEAD = 1 << 18  # bytes by which a file's dialect is told
HEAD_RECORDS = 200
LONGEST_HEAD = 100_000  # characters of a line that are looked at then
SEPARATORS = (",", "\t", ";", "|", "::", " ")
MAGIC = {**raw_files.MAGIC, b"PAR1": "Parquet", b"PK\x03\x04": "an archive or a spreadsheet"}
BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclasses.dataclass(frozen=True)
class Dialect:
  """How a text file is written; None = told from its first records, where they leave no doubt.

  Attributes:
    separator: between fields.
    quote: around fields that hold separators or line ends, doubled inside; "" = none.
    escape: before a quote within a field where quotes are not doubled, such as a backslash.
    names: of the fields of a file without a header.
    header: whether the first line names the fields; None = unless `names` does.
    encoding: of the text, as Python names it.
  """

  separator: str | None = None
  quote: str = '"'
  escape: str = ""
  names: Sequence[str] | None = None
  header: bool | None = None
  encoding: str | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
  """The dialect of one file, settled.

  Attributes:
    separator, quote, escape, header, encoding: as of Dialect.
    names: of each field of a record; "" for one without a name.
    old_line_ends: lines end with a carriage return alone.
  """

  separator: str
  quote: str
  escape: str
  header: bool
  encoding: str
  names: tuple[str, ...]
  old_line_ends: bool = False

  def place(self, column: str) -> int:
    """Which field a column is: the one of that name, or of that name with a type after a colon."""
    if column in self.names:
      return self.names.index(column)
    typed = [k for k, name in enumerate(self.names) if name.rpartition(":")[0] == column]
    return typed[0] if len(typed) == 1 else -1

  def __str__(self) -> str:
    shown = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "blanks"}
    between = shown.get(self.separator, repr(self.separator))
    more = "" if self.header else ", no header"
    return f"{between}{more}" + ("" if self.encoding == "utf-8" else f", {self.encoding}")


def settle(file: RawFile, dialect: Dialect, wanted: Collection[str]) -> Layout | None:
  """Tells how a file is written, by what it must hold; None for a file of no bytes.

  Args:
    file: to be read.
    dialect: what is known.
    wanted: columns that it has.

  Raises DataError that names what is missing or in doubt.
  """
  with file.open() as stream:
    head = stream.read(HEAD)
  if not head.strip():
    return None
  if kind := next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None):
    raise DataError(f"{file.path} holds {kind}, of which its name says nothing; rename it")
  encoding = dialect.encoding or next(
    (name for bom, name in BOMS.items() if head.startswith(bom)), "utf-8"
  )
  text = codecs.getincrementaldecoder(encoding)("replace").decode(head).removeprefix("\ufeff")
  old = "\n" not in text and "\r" in text
  lines = text.replace("\r\n", "\n").replace("\r", "\n" if old else "\r").split("\n")
  # What is damaged in a line is for `records` to say.
  lines = [line.replace("\r", " ")[:LONGEST_HEAD] for line in lines[: HEAD_RECORDS + 1] if line]
  header = dialect.names is None if dialect.header is None else dialect.header
  candidates = [dialect.separator] if dialect.separator else list(SEPARATORS)
  splits = {each: _split(lines, each, dialect) for each in candidates}
  if dialect.names is not None:
    return _with_names(file, dialect, splits, header, encoding, old)
  if not header:
    raise DataError("Table.header is False, and Table.names is not given; name the columns there")
  fitting = []
  for separator, records in splits.items():
    names = tuple(name.strip() for name in records[0])
    layout = Layout(separator, dialect.quote, dialect.escape, True, encoding, names, old)
    if all(layout.place(column) >= 0 for column in wanted):
      fitting.append(layout)
  if len(fitting) > 1:  # such as "t , u": commas make lines of two fields, blanks do not
    fitting = [each for each in fitting if _mostly(splits[each.separator], len(each.names))]
  if len(fitting) != 1:
    shown = max(splits.values(), key=lambda records: len(records[0]))[0]
    layout = Layout("", "", "", True, encoding, tuple(name.strip() for name in shown))
    lacking = next((c for c in wanted if layout.place(c) < 0), None)
    if lacking is None:
      raise DataError(f"{file.path} may have several separators; give Table.separator")
    if "\0" in text:
      raise DataError(
        f"{file.path} is no text in {encoding}, as it has NUL characters; give Table.encoding, "
        'such as "utf-16-le", or save it as CSV or Parquet'
      )
    cure = (
      "; if that is no header, give Table.names; if it is no part of the log, take it out of RAW"
    )
    raise lacks(file, lacking, layout.names, cure)
  _require_once(file, fitting[0], wanted)
  return _with_unnamed(file, fitting[0], splits[fitting[0].separator])


def lacks(file: RawFile, column: str, names: Sequence[str], cure: str = "") -> DataError:
  """The error of a file that has no such column."""
  has = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
  alike = difflib.get_close_matches(column, names, n=1)
  meant = f"; {alike[0]} is the nearest" if alike else ""
  return DataError(f"{file.path} lacks column {column}; it has {has}{meant}{cure}")


def _split(lines: Sequence[str], separator: str, dialect: Dialect) -> list[list[str]]:
  if len(separator) > 1:
    return [line.split(separator) for line in lines]
  quote, escape = dialect.quote or None, dialect.escape or None
  quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
  # One line at a time: an open quote takes no more than its own.
  return [
    next(
      csv.reader([line], delimiter=separator, quotechar=quote, quoting=quoting, escapechar=escape),
      [],
    )
    for line in lines
  ]


def _mostly(records: Sequence[Sequence[str]], size: int) -> bool:
  """Whether most records have so many fields."""
  return sum(len(record) == size for record in records) > 0.5 * len(records)


def _with_names(
  file: RawFile,
  dialect: Dialect,
  splits: dict[str, list[list[str]]],
  header: bool,
  encoding: str,
  old: bool,
) -> Layout:
  """The layout of a file whose fields are named in the description."""
  names = tuple(dialect.names or ())
  fitting = [each for each, records in splits.items() if _mostly(records, len(names))]
  if len(fitting) != 1:
    counts = ", ".join(f"{len(records[0])} by {sep!r}" for sep, records in splits.items())
    doubt = "more than one separator fits" if fitting else "no separator gives so many fields"
    raise DataError(
      f"{file.path}: Table.names has {len(names)} names, and {doubt} (line 1 has {counts}); "
      "mend Table.names or give Table.separator"
    )
  first = tuple(name.strip() for name in splits[fitting[0]][0])
  if not header and first == names:
    raise DataError(f"{file.path} line 1 repeats Table.names; leave them out, it has a header")
  return Layout(fitting[0], dialect.quote, dialect.escape, header, encoding, names, old)


def _require_once(file: RawFile, layout: Layout, wanted: Collection[str]) -> None:
  for column in wanted:
    same = [n for n in layout.names if n == column or n.rpartition(":")[0] == column]
    if len(same) > 1:
      raise DataError(
        f"{file.path} has {len(same)} columns for {column} ({', '.join(same)}); rename one of them"
      )


def _with_unnamed(file: RawFile, layout: Layout, records: Sequence[Sequence[str]]) -> Layout:
  """Adds the field without a name that some programs write, before or after the others."""
  ((size, times),) = Counter(len(record) for record in records[1:] or records).most_common(1)
  if size != len(layout.names) + 1 or times < 0.9 * (len(records) - 1):
    return layout
  longer = [record for record in records[1:] if len(record) == size]
  if all(not record[-1] for record in longer):  # each line ends with a separator
    return dataclasses.replace(layout, names=(*layout.names, ""))
  if len({record[0] for record in longer}) == len(longer) and all(r[0] for r in longer):
    return dataclasses.replace(layout, names=("", *layout.names))
  raise DataError(
    f"{file.path} has {len(layout.names)} names and {size} fields a line; name all in Table.names, "
    "with Table.header = True"
  )
