"""The records of a text file of lines and fields, each of them whole.

Every byte is looked at before a parser sees it, because parsers differ in what they take: each
record has as many fields as the header, quotes are closed and stand around whole fields, and there
is no NUL and nothing that is not UTF-8. What is not so is named by its line, or left out and
counted.
"""

import codecs
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ranking.array import Array
from ranking.data.dialect import Layout
from ranking.data.raw_files import RawFile
from ranking.data.schema import DataError

BLOCK = 1 << 23  # bytes that are looked at together
LONGEST = 1 << 24  # bytes of a record; a longer one has an open quote
UNIT = b"\x1f"  # stands for a separator of several characters; no text has it
DROP = 'mend it, or set Table.on_bad_row = "drop"'
NO_TEXT = "no text"  # how what cannot be decoded becomes a character that UTF-8 has not
codecs.register_error(NO_TEXT, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]  # of decoding
# What a record can be, and the cleaning count of such lines.
SOUND, BLANK, FIELDS, QUOTE, NUL, BYTES, RETURN = range(7)
COUNTED = {
  BLANK: "skipped: empty lines",
  FIELDS: "dropped: lines with too few or too many fields",
  QUOTE: "dropped: lines with an open or stray quote",
  NUL: "dropped: lines with a NUL character",
  BYTES: "dropped: lines with bytes that are no text",
  RETURN: "dropped: lines with a carriage return inside",
}


@dataclasses.dataclass(frozen=True)
class Records:
  """Whole records of a file, one after the other.

  Attributes:
    data: their bytes, UTF-8, each with its line end.
    lines: int64 [n], the line on which each begins, counted from 1.
    quoted: whether a quote is among them.
  """

  data: bytes
  lines: Array
  quoted: bool


def read(file: RawFile, layout: Layout, drop: bool, cleaning: Counter[str]) -> Iterator[Records]:
  """The records of a file below its header, in pieces.

  Args:
    file: to be read.
    layout: how it is written.
    drop: leave out what is damaged, and count it in `cleaning`; else it is an error.
    cleaning: counts by what they are of.

  Raises DataError that names the first damaged line.
  """
  splitter = _Splitter(file, layout, drop, cleaning)
  with file.open() as stream:
    for block in _utf8(stream, layout):
      yield from splitter.split(block)
  yield from splitter.split(b"", last=True)


def _utf8(stream: IO[bytes], layout: Layout) -> Iterator[bytes]:
  """A file's text as UTF-8; what is no text becomes bytes that are no UTF-8."""
  transcoded = layout.encoding.lower().replace("_", "-") not in ("utf-8", "utf8")
  decoder = codecs.getincrementaldecoder(layout.encoding)(NO_TEXT)
  first = True
  while block := stream.read(BLOCK):
    if transcoded:
      block = decoder.decode(block).encode("utf-8", "surrogatepass")
    if first:
      block = block.removeprefix(codecs.BOM_UTF8)
      first = False
    yield block.replace(b"\r", b"\n") if layout.old_line_ends else block
  if transcoded:  # a character at the end may be cut off
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


class _Splitter:
  """Cuts the text of a file into records, block after block."""

  def __init__(self, file: RawFile, layout: Layout, drop: bool, cleaning: Counter[str]):
    self._file, self._layout, self._drop, self._cleaning = file, layout, drop, cleaning
    self._stand_ins = _stand_ins(layout)
    self._rest = b""
    self._line = 1  # on which the rest begins
    self._header = layout.header  # is still to come
    self._between = UNIT if len(layout.separator) > 1 else layout.separator.encode()
    self._quote = layout.quote.encode()
    between, quote = re.escape(self._between), re.escape(self._quote)
    inside = rb"%b[^%b]*(?:%b%b[^%b]*)*" % ((quote,) * 5)  # up to its last quote
    self._quoted = re.compile(inside + quote if quote else rb"(?!)")
    text = rb"(?:%b|[^%b%b\r\n]*)" % (self._quoted.pattern, between, quote)
    loose = text.replace(rb"\r", b"")  # and with a carriage return
    self._sound = re.compile(rb"%b(?:%b%b){%d}\r?\n" % (text, between, text, len(layout.names) - 1))
    self._any = re.compile(rb"%b(?:%b%b)*\r?\n" % (text, between, text))  # of any fields
    self._loose = re.compile(rb"%b(?:%b%b)*\r?\n" % (loose, between, loose))
    self._open = re.compile(rb"(?:%b%b)*%b\Z" % (loose, between, inside) if quote else rb"(?!)")

  def split(self, block: bytes, last: bool = False) -> Iterator[Records]:
    """The records that are complete with this block."""
    data = self._rest + block
    if last and data and not data.endswith(b"\n"):
      data += b"\n"
    cut = data.rfind(b"\n") + 1
    body, tail = data[:cut], data[cut:]
    for written, stand_in, _ in self._stand_ins:
      if stand_in in block:
        raise DataError(
          f"{self._file.path} holds the character 0x{stand_in.hex()}; write it with a separator of "
          "one character, and with doubled quotes"
        )
      body = body.replace(written, stand_in)
    while self._header and (found := self._next(body, 0, last)):
      end, kind = found
      if kind == BLANK:
        self._cleaning[COUNTED[BLANK]] += 1
      else:
        self._header = False
      self._line += body.count(b"\n", 0, end)
      body = body[end:]
    self._rest = body + tail
    if not self._header and body:
      yield from self._records(body, tail, last)

  def _records(self, body: bytes, tail: bytes, last: bool) -> Iterator[Records]:
    """The records of whole lines below the header, up to one that is not complete."""
    line_ends = np.flatnonzero(np.frombuffer(body, np.uint8) == 10)
    if self._is_plain(body, line_ends):
      starts, kept, place = np.append(0, line_ends[:-1] + 1), body, len(body)
    else:
      starts, kept, place = self._looked_through(body, line_ends, last)
    lines = self._line + np.searchsorted(line_ends, starts)
    self._line += int(np.searchsorted(line_ends, place))
    self._rest = body[place:] + tail
    if len(lines):
      yield Records(kept, lines, self._quote in kept if self._quote else False)

  def _is_plain(self, body: bytes, line_ends: Array) -> bool:
    """Whether each line is a record, by a quick look."""
    if (self._quote and self._quote in body) or b"\0" in body or not _is_text(body):
      return False
    if body.count(b"\r") != body.count(b"\r\n"):
      return False
    separators = np.flatnonzero(np.frombuffer(body, np.uint8) == self._between[0])
    in_lines = np.diff(np.searchsorted(separators, line_ends), prepend=0)
    return bool((in_lines == len(self._layout.names) - 1).all())

  def _looked_through(self, body: bytes, line_ends: Array, last: bool) -> tuple[Array, bytes, int]:
    """Where the sound records begin, their bytes, and where the rest begins."""
    is_clean = b"\0" not in body and _is_text(body)
    starts, kept, first, place = list[int](), list[bytes](), 0, 0
    while place < len(body):
      # Asked first, as `finditer` looks far ahead where no record begins.
      for record in self._sound.finditer(body, place) if self._sound.match(body, place) else ():
        if record.start() != place or not (is_clean or _is_clean(record[0])):
          break
        starts.append(place)
        place = record.end()
      if (found := self._next(body, place, last)) is None:
        break
      kept.append(body[first:place])
      first, kind = found
      line = self._line + int(np.searchsorted(line_ends, place))
      self._leave_out(kind, line, body[place:first])
      place = first
    kept.append(body[first:place])
    return np.array(starts, np.int64), b"".join(kept), place

  def _next(self, body: bytes, place: int, last: bool) -> tuple[int, int] | None:
    """Where the record at a place ends, and what it is; None where more of the file is needed."""
    if place == len(body):
      return None
    line_end = body.index(b"\n", place) + 1
    if len(self._layout.names) > 1 and body[place:line_end] in (b"\n", b"\r\n"):
      return line_end, BLANK
    for kind, pattern in ((SOUND, self._sound), (FIELDS, self._any), (RETURN, self._loose)):
      if record := pattern.match(body, place):
        if not _is_clean(record[0]):
          return record.end(), BYTES if not _is_text(record[0]) else NUL
        # An open quote takes lines that are sound: its own is left out, and the next one read.
        is_torn = kind == FIELDS and record.end() > line_end
        return (line_end, QUOTE) if is_torn else (record.end(), kind)
    if not last and len(body) - place <= LONGEST and self._open.match(body, place):
      return None
    return line_end, QUOTE

  def _leave_out(self, kind: int, line: int, record: bytes) -> None:
    """Counts what is not read, or raises DataError for it."""
    if self._drop or kind == BLANK:
      self._cleaning[COUNTED[kind]] += 1
      return
    where = f"{self._file.path} line {line}"
    if kind == FIELDS:
      count = self._quoted.sub(b"", record).count(self._between) + 1
      needed = len(self._layout.names)
      raise DataError(f"{where} has {count} fields where there must be {needed}; {DROP}")
    if kind == QUOTE:
      quote = self._layout.quote
      has = f"opens a quote ({quote}) that is not closed, or has one inside a field"
      raise DataError(
        f'{where} {has}; {DROP}, or Table.quote = "" where quotes are plain text, or Table.escape '
        "where something else than a quote stands before them"
      )
    if kind == NUL:
      raise DataError(f"{where} holds a NUL character; {DROP}")
    if kind == RETURN:
      raise DataError(f"{where} holds a carriage return that ends no line; {DROP}")
    shown = record.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
    raise DataError(
      f"{where} is no text in {self._layout.encoding}: {shown[:60]!r}; give Table.encoding, such "
      f'as "latin-1", or {DROP}'
    )


def _is_text(data: bytes) -> bool:
  """Whether it is UTF-8."""
  try:
    str(data, "utf-8")
  except UnicodeDecodeError:
    return False
  return True


def _is_clean(data: bytes) -> bool:
  return b"\0" not in data and _is_text(data)


def _stand_ins(layout: Layout) -> list[tuple[bytes, bytes, bytes]]:
  """What is written in more than a character, the one that stands for it, and what it means."""
  found, escape, quote = [], layout.escape.encode(), layout.quote.encode()
  if escape and quote:
    found += [(2 * escape, b"\x1d", escape), (escape + quote, b"\x1e", quote)]
  if len(layout.separator) > 1:
    separator = layout.separator.encode()
    found.append((separator, UNIT, separator))
  return found


def fields(piece: Records, layout: Layout, columns: Sequence[str]) -> pa.Table:
  """Named columns of some records, as text."""
  several = len(layout.separator) > 1
  names = [str(place) for place in range(len(layout.names))]
  places = [names[layout.place(column)] for column in columns]
  table = pyarrow.csv.read_csv(
    pa.py_buffer(piece.data),
    pyarrow.csv.ReadOptions(column_names=names, block_size=len(piece.data) + 1, use_threads=False),
    pyarrow.csv.ParseOptions(
      delimiter=UNIT.decode() if several else layout.separator,
      quote_char=(layout.quote if piece.quoted else "") or False,
      newlines_in_values=piece.quoted,
      ignore_empty_lines=len(names) > 1,
    ),
    pyarrow.csv.ConvertOptions(
      column_types=dict.fromkeys(places, pa.string()),
      include_columns=list(dict.fromkeys(places)),
      strings_can_be_null=False,
      check_utf8=False,
    ),
  )
  assert len(table) == len(piece.lines), (len(table), len(piece.lines))
  values = [table[place].combine_chunks() for place in places]
  for _, stand_in, meant in _stand_ins(layout):
    if stand_in in piece.data:
      values = [pc.replace_substring(each, stand_in.decode(), meant.decode()) for each in values]
  return pa.table(values, names=list(columns))
