"""Reads the files of a log, each column as what it is described to be, piece after piece.

Whatever a file holds that is not so is an error that names file, line and column, or is left out
and counted where that is asked for. What is done to values is counted.
"""

import collections
import concurrent.futures
import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from ranking.array import Array
from ranking.data import json_lines, records, values
from ranking.data.dialect import Dialect, Layout, lacks, settle
from ranking.data.raw_files import RawFile, listed
from ranking.data.schema import DataError
from ranking.data.times import Time
from ranking.data.values import Bag, Kind, Read

BATCH_ROWS = 1 << 17  # of a Parquet file that are read together
PLACES = 1 << 40  # more than a file has lines
CURE = 'mend it, or set Table.on_bad_row = "drop"'
ELSEWHERE = "; if it is no part of the log, take it out of RAW"
WRONG = "dropped: rows whose"  # how a count of rows begins that are not as described
DAMAGED = "dropped: lines"  # and one of lines that are no records
SAMPLED = 10_000  # texts of a bag that are looked at for another separator


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of the files, and what it is read as; text of `also` follows it after a blank."""

  name: str
  kind: Kind
  also: tuple[str, ...] = ()

  @property
  def names(self) -> tuple[str, ...]:
    """All the columns of the files that it takes."""
    return (self.name, *self.also)


@dataclasses.dataclass(frozen=True)
class Options:
  """How files are read.

  Attributes:
    dialect: of text files.
    names: of the fields of text files that have no header, by the names of the files.
    missing: texts that mean a missing value, beside no text at all.
    drop: leave out rows that are not as described, and count them; else they are errors.
    zone: in which a day begins at midnight.
    since, until: days outside of which rows are left out, as numbers of days since 1970.
  """

  dialect: Dialect = dataclasses.field(default_factory=Dialect)
  missing: tuple[str, ...] = ()
  drop: bool = False
  zone: str = "UTC"
  since: int | None = None
  until: int | None = None
  names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

  def dialect_of(self, file: RawFile) -> Dialect:
    """The dialect of a file."""
    if file.name not in self.names:
      return self.dialect
    return dataclasses.replace(self.dialect, names=self.names[file.name], header=None)

  def of_tables(self) -> "Options":
    """Those of files that are joined to the log, which have another separator and header."""
    dialect = dataclasses.replace(self.dialect, separator=None, names=None, header=None)
    return dataclasses.replace(self, dialect=dialect, since=None, until=None)


@dataclasses.dataclass(frozen=True)
class _Opened:
  """A file whose columns are known, before its rows are read.

  Attributes:
    file: that it is.
    names: of its columns, those within structures after a point.
    layout: of a text file.
  """

  file: RawFile
  names: Sequence[str]
  layout: Layout | None = None
  is_empty: bool = False

  @property
  def is_json(self) -> bool:
    """Whether its lines are objects."""
    return self.file.format == "json"

  @property
  def unit(self) -> str:
    """What its rows are counted in, for errors."""
    return "row" if self.file.format == "parquet" else "line"

  def has(self, column: str) -> bool:
    """Whether it has a column of a name."""
    if self.layout is not None:
      return self.layout.place(column) >= 0
    return column in self.names


@dataclasses.dataclass
class _Piece:
  """Rows that were read, and what was found in them."""

  table: pa.Table
  cleaning: Counter[str]
  texts: dict[str, Counter[str]]
  first_wrong: str | None = None


class Reading:
  """Reads files once; what it found is known when all pieces were taken.

  Args:
    files: in the order in which their rows come.
    columns: by the names that the pieces give them.
    options: how.
    timed: the column of event times, by its name in `columns`; pieces then have `day` too.

  Attributes:
    cleaning: what was dropped or changed, and how many.
    notes: what was told from the files, a line each.
  """

  def __init__(
    self,
    files: Sequence[RawFile],
    columns: Mapping[str, Column],
    options: Options,
    timed: str | None = None,
  ):
    self._columns, self._options, self._timed = columns, options, timed
    self.cleaning, self.notes = Counter[str](), list[str]()
    self._texts: dict[str, Counter[str]] = {}
    self._first_wrong: str | None = None
    self._wanted = list(dict.fromkeys(name for each in columns.values() for name in each.names))
    self._files = [
      opened for file in files if not (opened := _open(file, options, self._wanted)).is_empty
    ]
    if empty := [file.name for file in files if file.name not in self.names]:
      self.notes.append(f"empty: {listed(empty)}")
    if not self._files:
      raise DataError(f"{files[0].path} is empty; give a file that has rows")
    self._require_columns()
    self._note_dialects()

  def pieces(self) -> Iterator[pa.Table]:
    """The rows in order, with `sequence`, int64, which says where each stood.

    Raises DataError for a row that is not as described, or where most are not that may be dropped.
    """
    workers = len(os.sched_getaffinity(0))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
      for piece in _ahead(pool, workers, self._work()):
        self.cleaning.update(piece.cleaning)
        self._first_wrong = self._first_wrong or piece.first_wrong
        for key, texts in piece.texts.items():
          self._texts.setdefault(key, Counter()).update(texts)
        if len(piece.table):
          yield piece.table
      self._check_dropped()
      yield self._schema().empty_table()

  def _check_dropped(self) -> None:
    """Raises DataError where most rows were left out: it is the description that is wrong then."""
    counts = {
      what: rows for what, rows in self.cleaning.items() if what.startswith((WRONG, DAMAGED))
    }
    dropped, rows = sum(counts.values()), self.cleaning["rows read"]
    if dropped > 0.5 * rows:
      most = max(counts, key=lambda what: counts[what])
      first = self._first_wrong if most.startswith(WRONG) else None
      raise DataError(f"{dropped:,} of {rows:,} rows are not as described: {first or most}")

  @property
  def names(self) -> list[str]:
    """Of the files that have rows."""
    return [opened.file.name for opened in self._files]

  def where(self, sequence: int) -> str:
    """The file and the place of a row."""
    number, place = divmod(sequence, PLACES)
    return f"{self._files[number].file.path} {self._files[number].unit} {place}"

  def warnings(self) -> list[str]:
    """What a person should look at: bags that seem to be cut at the wrong place."""
    found = []
    for key, texts in self._texts.items():
      name, kind = self._columns[key].name, self._columns[key].kind
      assert isinstance(kind, Bag)
      other = values.looks_unsplit(texts, kind.separator)
      example = texts.most_common(1)[0][0] if texts else ""
      if other == "":
        found.append(
          f"bag {name}: nearly every value is another one, such as {example!r}; is it a list, and "
          f'of what separator? Table.bags = {{"{name}": "|"}} says it'
        )
      elif other is not None:
        found.append(
          f"bag {name}: its values hold {other!r} and no {kind.separator or ','!r}, such as "
          f"{example!r}, so each is one id; if they are lists, Table.bags = "
          f'{{"{name}": {json.dumps(other)}}}'
        )
    return found

  def _require_columns(self) -> None:
    """Raises DataError for a file that lacks a column, or has one that its folders say too."""
    # A line of JSON may lack what has no value; where there is no object, the first line tells why.
    in_json = {name for opened in self._files if opened.is_json for name in opened.names}
    for opened in self._files:
      for name in self._wanted:
        has, said = opened.has(name), name in opened.file.partition
        if has and said:
          raise DataError(
            f"{opened.file.path} has column {name}, and so have its folders; rename one of them"
          )
        if not (has or said or (opened.is_json and (name in in_json or not opened.names))):
          raise lacks(opened.file, name, opened.names, ELSEWHERE)

  def _note_dialects(self) -> None:
    by_note: dict[str, list[str]] = {}
    for opened in self._files:
      what = opened.file.format if opened.layout is None else f"text, {opened.layout}"
      what = {"json": "JSON Lines", "parquet": "Parquet"}.get(what, what)
      if opened.layout is not None:
        typed = [opened.layout.names[opened.layout.place(c)] for c in self._wanted if opened.has(c)]
        typed = [name for name in typed if ":" in name and name not in self._wanted]
        what += f", types in the header left out ({', '.join(typed)})" if typed else ""
        if "" in opened.layout.names:
          what += ", a column without a name not read"
      if opened.file.compression:
        what += f", {opened.file.compression}"
      by_note.setdefault(what, []).append(opened.file.name)
    for what, names in by_note.items():
      files = names[0] if len(names) == 1 else f"{len(names):,} files ({listed(names)})"
      self.notes.append(f"read {files}: {what}")

  def _work(self) -> Iterator[Callable[[], _Piece]]:
    """A task a piece: to be done in any order, but taken in this one."""
    for number, opened in enumerate(self._files):
      yield from self._work_of(opened, number)

  def _work_of(self, opened: _Opened, number: int) -> Iterator[Callable[[], _Piece]]:
    file, layout = opened.file, opened.layout
    names = [name for name in self._wanted if name not in file.partition]
    if file.format == "json":
      lists = {column.name for column in self._columns.values() if isinstance(column.kind, Bag)}
      for places, lines in json_lines.pieces(file):

        def of_json(places: Array = places, lines: list[bytes] = lines) -> _Piece:
          cleaning = Counter[str]()
          drop = self._options.drop
          kept, table = json_lines.columns(file, places, lines, names, lists, drop, cleaning)
          return self._piece(opened, number, table, kept, cleaning)

        yield of_json
    elif layout is not None:
      counted = Counter[str]()
      for some in records.read(file, layout, self._options.drop, counted):

        def of_text(some: records.Records = some) -> _Piece:
          table = records.fields(some, layout, names)
          return self._piece(opened, number, table, some.lines, Counter())

        yield of_text
      self.cleaning.update(counted)
      self.cleaning["rows read"] += sum(n for what, n in counted.items() if what[:4] == "drop")
    else:
      for first, batch in _parquet_batches(file, names):

        def of_parquet(first: int = first, batch: pa.Table = batch) -> _Piece:
          rows = np.arange(first, first + len(batch))
          return self._piece(opened, number, batch, rows, Counter())

        yield of_parquet

  def _piece(
    self, opened: _Opened, number: int, table: pa.Table, places: Array, cleaning: Counter[str]
  ) -> _Piece:
    """Reads the columns of some rows. Raises DataError for the first that is not as described."""
    cleaning["rows read"] += len(places)
    read: dict[str, Read] = {}
    raw: dict[str, pa.Array] = {}
    for key, column in self._columns.items():
      parts = [_values(opened.file, table, name, len(places)) for name in column.names]
      raw[key] = parts[0] if len(parts) == 1 else values.side_by_side(parts)
      missing = () if isinstance(column.kind, Time) else self._options.missing
      readable, no_text = raw[key], None
      if opened.file.format == "parquet":  # whose texts nobody has looked at
        readable, no_text = values.decoded(raw[key])
      read[key] = column.kind.read(readable, missing)
      if no_text is not None and no_text.any():
        is_list = values.is_nested(raw[key].type)
        raw[key] = values.plain(raw[key]).cast(pa.list_(pa.binary()) if is_list else pa.binary())
        wrong = no_text | read[key].wrong
        read[key] = Read(read[key].values, wrong, "text in UTF-8", "", read[key].counts)
      for what, rows in read[key].counts.items():
        cleaning[what.replace("{column}", column.name)] += rows
    wrong = np.zeros(len(places), bool)
    for key, found in read.items():
      if (new := found.wrong & ~wrong).any():
        if self._options.drop:
          what = f"{WRONG} {self._columns[key].name} is not {found.belongs}"
          cleaning[what] += int(new.sum())
        wrong |= found.wrong
    first_wrong = None
    if wrong.any():
      row = int(np.argmax(wrong))
      key = next(key for key, found in read.items() if found.wrong[row])
      where = f"{opened.file.path} {opened.unit} {places[row]} column {self._columns[key].name}"
      first_wrong = _sentence(where, raw[key][row].as_py(), read[key])
      if not self._options.drop:
        raise DataError(first_wrong)
    keep = ~wrong
    columns = {key: found.values for key, found in read.items()}
    columns["sequence"] = pa.array(places + number * PLACES)
    if self._timed is not None:
      times = columns[self._timed].fill_null(0).to_numpy(zero_copy_only=False)
      day = _days(times, self._options.zone)
      keep &= self._within(day, keep, cleaning)
      columns["day"] = pa.array(day)
    made = pa.table(columns, schema=self._schema())
    if not keep.all():
      made = made.filter(pa.array(keep))
    return _Piece(
      made,
      cleaning,
      texts={
        key: Counter(text.strip() for text in raw[key][:SAMPLED].to_pylist() if text)
        for key, column in self._columns.items()
        if isinstance(column.kind, Bag) and pa.types.is_string(raw[key].type) and places[0] < 1e6
      }
      if len(places)
      else {},
      first_wrong=first_wrong,
    )

  def _within(self, day: Array, keep: Array, cleaning: Counter[str]) -> Array:
    """Which rows are neither before since nor after until."""
    since, until = self._options.since, self._options.until
    early = np.zeros(len(day), bool) if since is None else day < since
    late = np.zeros(len(day), bool) if until is None else day > until
    for outside, what in ((early, "before Table.since"), (late, "after Table.until")):
      if rows := int((outside & keep).sum()):
        cleaning[f"dropped: rows {what}"] += rows
    return ~early & ~late

  def _schema(self) -> pa.Schema:
    kinds = {key: column.kind.type for key, column in self._columns.items()}
    day = {} if self._timed is None else {"day": pa.int32()}
    return pa.schema({**kinds, "sequence": pa.int64(), **day})


def held(
  files: Sequence[RawFile], options: Options, wanted: Sequence[str], asked: Collection[str]
) -> set[str]:
  """Which columns are in files that have the wanted ones: in the first, or in any of JSON."""
  found = set()
  for file in [files[0], *(file for file in files[1:] if file.format == "json")]:
    opened = _open(file, options, wanted, asked)
    found |= {name for name in asked if opened.has(name) or name in file.partition}
  return found


def _open(
  file: RawFile, options: Options, wanted: Sequence[str], asked: Collection[str] = ()
) -> _Opened:
  """Finds out how a file is written and what columns it has; of JSON, those that are asked for."""
  if file.format == "text":
    others = [name for name in wanted if name not in file.partition]
    layout = settle(file, options.dialect_of(file), others)
    return _Opened(file, () if layout is None else layout.names, layout, layout is None)
  if file.format == "json":
    return _Opened(file, list(json_lines.keys(file, [*wanted, *asked])))
  return _Opened(file, list(_paths_of(_parquet_schema(file), file)))


def _ahead(
  pool: concurrent.futures.Executor, workers: int, tasks: Iterable[Callable[[], _Piece]]
) -> Iterator[_Piece]:
  """The results of tasks in their order; a few are done ahead of the one that is asked for."""
  running: collections.deque[concurrent.futures.Future[_Piece]] = collections.deque()
  for task in tasks:
    running.append(pool.submit(task))
    if len(running) > workers:
      yield running.popleft().result()
  while running:
    yield running.popleft().result()


def _values(file: RawFile, table: pa.Table, name: str, rows: int) -> pa.Array:
  """A column of some rows, which the folders of the file may say."""
  if name not in file.partition:
    return _one(table[name])
  return pa.array([file.partition[name]], pa.string()).take(pa.array(np.zeros(rows, int)))


def _sentence(where: str, value: object, read: Read) -> str:
  cure = read.cure or CURE
  if value is None or (isinstance(value, str) and not value.strip()):
    return f"{where} is empty where {read.belongs} belongs; {cure}"
  shown = repr(str(value))
  shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
  return f"{where} holds {shown} where {read.belongs} belongs; {cure}"


def _days(times: Array, zone: str) -> Array:
  """int32 [n], days since 1970 on the calendar of a zone, of times in ms."""
  if zone == "UTC":
    return (times // 86_400_000).astype(np.int32)
  local = pd.to_datetime(pd.Series(times), unit="ms", utc=True).dt.tz_convert(zone)
  midnight = local.dt.tz_localize(None).to_numpy("datetime64[D]")
  return midnight.astype(np.int64).astype(np.int32)


def _one(column: Any) -> pa.Array:
  """A column in one piece."""
  whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
  if isinstance(whole, pa.ChunkedArray):  # as large columns of dictionaries stay
    whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
  return whole


def _parquet_schema(file: RawFile) -> pa.Schema:
  with file.open() as raw:
    try:
      return pyarrow.parquet.ParquetFile(raw).schema_arrow
    except (pa.ArrowException, OSError) as error:
      raise _no_parquet(file, error) from error


def _no_parquet(file: RawFile, error: Exception) -> DataError:
  reason = (str(error).strip() or type(error).__name__).splitlines()[0]
  return DataError(f"{file.path} cannot be read as parquet ({reason}); get it again")


def _paths_of(schema: pa.Schema, file: RawFile) -> Iterator[str]:
  """The names of a file's columns, those within structures after a point."""
  if twice := [name for name, times in Counter(schema.names).items() if times > 1]:
    raise DataError(f"{file.path} has two columns {twice[0]}; rename one of them")

  def below(fields: Iterable[pa.Field], prefix: str) -> Iterator[str]:
    for field in fields:
      yield prefix + field.name
      if pa.types.is_struct(field.type):
        yield from below(
          (field.type.field(k) for k in range(field.type.num_fields)), f"{prefix}{field.name}."
        )

  yield from below(schema, "")


def _parquet_batches(file: RawFile, names: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
  """Named columns of a file in pieces, and the number of the first row of each, from 1."""
  with file.open() as raw:
    try:
      # Whose oldest kind of times else wraps around beyond the year 2262.
      parquet = pyarrow.parquet.ParquetFile(raw, coerce_int96_timestamp_unit="us")
      top = [_top(name, parquet.schema_arrow) for name in names]
      first = 1
      for batch in parquet.iter_batches(BATCH_ROWS, columns=list(dict.fromkeys(top))):
        yield first, pa.table({name: _within(batch, name) for name in names})
        first += len(batch)
    except (pa.ArrowException, OSError) as error:
      raise _no_parquet(file, error) from error


def _top(name: str, schema: pa.Schema) -> str:
  """The column of a file that a name leads into."""
  return name if name in schema.names else name.partition(".")[0]


def _within(batch: pa.RecordBatch, name: str) -> pa.Array:
  if name in batch.schema.names:
    return batch[name]
  outer, *inner = name.split(".")
  return pc.struct_field(batch[outer], inner)
