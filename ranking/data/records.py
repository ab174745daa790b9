"""The records of a text file of lines and fields, each of them whole.

Every byte is looked at before a parser sees it, because parsers differ in what they take: each
record has as many fields as the header, quotes are closed and stand around whole fields, and there
is no NUL and nothing that is not UTF-8. What is not so is named by its line, or left out and
counted.
"""

import codecs
import dataclasses
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
FIELDS, QUOTE, NUL, BYTES, RETURN = 1, 2, 3, 4, 5
COUNTED = {
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
    self._separator = layout.separator.encode()
    self._between = (UNIT if len(self._separator) > 1 else self._separator)[0]
    self._quote = layout.quote.encode()
    self._stand_ins = _stand_ins(layout)
    self._rest = b""
    self._line = 1  # on which the rest begins
    self._header = layout.header  # is still to come

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
    start = 0
    while start < len(body):
      made, used = self._take(body[start:] if start else body, last)
      if made is not None:
        yield made
      if not used:
        break
      start += used
    self._rest = body[start:] + tail

  def _take(self, body: bytes, last: bool) -> tuple[Records | None, int]:
    """The records up to the end, or up to one whose quotes are wrong; and how many bytes."""
    found = self._found(body, last)
    if not len(found.ends):
      return None, 0
    used = int(found.ends[-1]) + 1
    several = found.next_line > found.line + 1
    torn = np.flatnonzero(several & np.isin(found.wrong, (QUOTE, FIELDS)))
    if torn.size:
      # An open quote takes lines that are sound: only its own is left out, and the next one read.
      found = found.until(int(torn[0]) + 1)
      found.wrong[-1] = QUOTE
      used = body.index(b"\n", int(found.starts[-1])) + 1
      found.next_line[-1] = found.line[-1] + 1
    lines = self._line + found.line
    self._line += int(found.next_line[-1])
    size = found.ends - found.starts
    blank = (size == 0) | ((size == 1) & (found.bytes[found.starts] == 13))
    if len(self._layout.names) == 1:
      blank[:] = False  # its only field is empty
    found.wrong[blank] = 0
    keep = ~blank
    if self._header and keep.any():
      header = int(np.argmax(keep))
      found.wrong[header], keep[header] = 0, False
      self._header = False
    if blank.any():
      self._cleaning["skipped: empty lines"] += int(blank.sum())
    if found.wrong.any():
      self._report(found, lines, body)
      keep &= found.wrong == 0
    if not keep.any():
      return None, used
    kept = body[:used] if keep.all() else _joined(body, found, keep)
    return Records(kept, lines[keep], found.quoted), used

  def _found(self, body: bytes, last: bool) -> "_Found":
    """Where the records of some lines are, and what is wrong with each."""
    bytes_ = np.frombuffer(body, np.uint8)
    line_ends = np.flatnonzero(bytes_ == 10)
    separators = np.flatnonzero(bytes_ == self._between)
    returns = np.zeros(0, np.int64)
    if b"\r" in body:
      returns = np.flatnonzero(bytes_ == 13)
      returns = returns[bytes_[returns + 1] != 10]
    quoted = bool(self._quote) and self._quote in body
    ends, stray = line_ends, np.zeros(0, np.int64)
    if quoted:
      quotes = np.flatnonzero(bytes_ == self._quote[0])
      stray = self._stray_quotes(bytes_, quotes)
      # Within quotes an odd number of them stands before.
      ends, separators, returns = (
        places[np.searchsorted(quotes, places) % 2 == 0]
        for places in (line_ends, separators, returns)
      )
    complete = int(ends[-1]) + 1 if len(ends) else 0
    wrong = np.zeros(len(ends), np.int8)
    fields_of = np.diff(np.searchsorted(separators, ends), prepend=0) + 1
    wrong[fields_of != len(self._layout.names)] = FIELDS
    for kind, places in (
      (RETURN, returns),
      (NUL, np.flatnonzero(bytes_ == 0) if b"\0" in body else ()),
      (BYTES, _no_text(body)),
      (QUOTE, stray),
    ):
      at = np.asarray(places, np.int64)
      wrong[np.searchsorted(ends, at[at < complete])] = kind
    if complete < len(body) and (last or len(body) - complete > LONGEST):  # an open quote
      ends, wrong = np.append(ends, len(body) - 1), np.append(wrong, np.int8(QUOTE))
    starts = np.append(0, ends + 1)[: len(ends)]
    line = np.searchsorted(line_ends, starts)
    next_line = np.searchsorted(line_ends, ends) + 1
    return _Found(bytes_, separators, starts, ends, line, next_line, wrong, quoted)

  def _stray_quotes(self, bytes_: Array, quotes: Array) -> Array:
    """Where quotes stand that neither begin or end a field nor are doubled within one."""
    border = np.zeros(256, bool)
    border[[10, self._quote[0], self._between]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    before = bytes_[np.maximum(opening - 1, 0)]
    after_border = border.copy()
    after_border[13] = True
    after = bytes_[np.minimum(closing + 1, len(bytes_) - 1)]
    return np.concatenate([opening[~border[before] & (opening > 0)], closing[~after_border[after]]])

  def _report(self, found: "_Found", lines: Array, body: bytes) -> None:
    """Counts what is left out, or raises DataError for the first."""
    if self._drop:
      for kind, what in COUNTED.items():
        if count := int((found.wrong == kind).sum()):
          self._cleaning[what] += count
      return
    first = int(np.flatnonzero(found.wrong)[0])
    kind, start, end = found.wrong[first], found.starts[first], found.ends[first]
    where = f"{self._file.path} line {lines[first]}"
    if kind == FIELDS:
      within = np.searchsorted(found.separators, [start, end])
      count = int(within[1] - within[0]) + 1
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
    shown = body[start:end].decode("utf-8", "backslashreplace")
    raise DataError(
      f"{where} is no text in {self._layout.encoding}: {shown[:60]!r}; give Table.encoding, such "
      f'as "latin-1", or {DROP}'
    )


@dataclasses.dataclass(frozen=True)
class _Found:
  """Records among some bytes: per record its first byte, its line end, its line and the next one's
  (counted from 0), and what is wrong with it, 0 = nothing."""

  bytes: Array
  separators: Array
  starts: Array
  ends: Array
  line: Array
  next_line: Array
  wrong: Array
  quoted: bool

  def until(self, count: int) -> "_Found":
    """The first so many."""
    names = ("starts", "ends", "line", "next_line", "wrong")
    return dataclasses.replace(self, **{name: getattr(self, name)[:count] for name in names})


def _joined(body: bytes, found: _Found, keep: Array) -> bytes:
  """The bytes of the records that are kept."""
  edges = np.flatnonzero(np.diff(np.concatenate([[False], keep, [False]]).astype(np.int8)))
  view = memoryview(body)
  return b"".join(
    view[int(found.starts[first]) : int(found.ends[last - 1]) + 1]
    for first, last in zip(edges[::2], edges[1::2], strict=True)
  )


def _no_text(body: bytes) -> list[int]:
  """Where bytes stand that are no UTF-8, one place for each piece of them."""
  places: list[int] = []
  start = 0
  while True:
    try:
      str(memoryview(body)[start:], "utf-8")
    except UnicodeDecodeError as error:
      places.append(start + error.start)
      start += error.end
    else:
      return places


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
