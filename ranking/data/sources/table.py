"""A log of your own, as it lies on disk, and a description of its columns."""

import dataclasses
import datetime
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ranking.checks import Checks
from ranking.data import raw_files
from ranking.data.dialect import Dialect
from ranking.data.expression import Expression, Type
from ranking.data.joined import inner_name, joined, parts, stem
from ranking.data.kept import Kept
from ranking.data.lookback import Lookback
from ranking.data.raw_files import RawFile
from ranking.data.reading import Column, Options, held
from ranking.data.schema import DataError, Feature, Log, Number, date_of
from ranking.data.times import MS_PER, Time
from ranking.data.values import Bag, Flag, Id, Kind, Weight
from ranking.data.values import Number as NumberKind
from ranking.tasks import Task

if TYPE_CHECKING:  # slow to import, and only needed where a store is made
  import ibis.expr.types as ir

  from ranking.data.engine import Engine

MOST_SLICES = 1000
Labels = Sequence[str] | Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Table:
  """A log in files, one row per event. What is not asked for is not done.

  No row is dropped and no value replaced unless a setting says so; what is not as described is an
  error that names its file, line and column. Columns that are not named are not read. Ids are text,
  and a whole number is the same id as 5, 5.0 or "5".

  Attributes:
    raw: a file, a folder that is searched to the bottom, or an address such as s3://bucket/folder.
    name: of the log; its stores are below a folder of this name.
    time: column of event times; or columns that are one together, such as ["date", "clock"].
    time_unit: of numbers since 1970 (UTC): "s", "ms", "us" or "ns"; None if they are dates.
    time_format: of dates, such as "%y%m%d%H"; None = ISO 8601, or as Parquet has them.
    time_is_local: dates that do not say their zone are of time_zone; else they are UTC.
    time_zone: where a day begins at midnight.
    days: "calendar", or into how many slices of equally many rows the log is cut.
    since, until: the first and the last day, such as "2026-03-01"; rows outside are dropped.
    separator: between the fields of text files; None = told from the file.
    quote: around fields that hold separators, doubled inside; "" where quotes are plain text.
    escape: what stands before a quote or itself inside a field, such as "\\\\"; "" = nothing.
    decimal: what stands before a fraction in text, "." or ",".
    header: whether text files begin with names; None = unless `names` is given.
    names: of the fields of the log's text files, which have no header then; or a dict of files
      without a header and such names, such as {"ratings.dat": ["user", "film"]}.
    encoding: of text files, such as "latin-1"; None = UTF-8, or what the file's first bytes say.
    missing: texts that mean a missing value, such as ["NA"]; no text at all always does.
    on_bad_row: "error" to stop at a row that is not as described, "drop" to leave out and count it.
    unique_by: columns by which a row that repeats an earlier one is dropped; none is by default,
      and none that lacks a value of them.
    categorical: columns of ids, numbers or text.
    bags: columns of lists of ids: of Parquet or JSON lists, or of text cut at commas where it is
      not written as a list; or a dict of column and separator, such as {"tags": "|"}.
    dense: columns of numbers.
    log_dense: columns of numbers of 0 or more whose tail is long; log1p of them is used.
    binary: columns of labels of yes and no, each a task, empty where a row has no label; or a dict
      of task and expression, such as {"buy": "event == 'buy'"}.
    regression: columns of labels that are numbers, each a task; or such a dict.
    tasks: columns of labels of any kind, with the kind of each, such as {"bought": "binary"}; or
      tasks of the kind and the expression, such as {"stars": ["ordered", "points / 20"]}.
    weight: a column of numbers of 0 or more, how much each row counts in losses and figures.
    request: a column of ids, the same for rows that were ranked together, such as those of a page
      that was shown; empty for a row of no request. The NDCG of requests is measured.
    tables: files of users or items, by their path below the folder of `raw`, and the column that
      they are looked up by, such as {"users.csv": "user"}; or that and the column of the time from
      which a line holds, such as {"prices.csv": ["item", "since"]}. Their columns are named as
      those of the log, or "prices.amount" where several have one.
    entities: categorical columns (user, item) that get counts and rates of their past.
    rated_tasks: labels whose past mean each entity gets; the first of 0 and 1 if None.
    report_by: a categorical column whose values get figures of their own on day N.

  Raises DataError for a description that is wrong or contradicts itself.
  """

  log_version = 4

  raw: str | None = None
  name: str = "table"
  time: str | Sequence[str] = "time"
  time_unit: Literal["s", "ms", "us", "ns"] | None = None
  time_format: str | None = None
  time_is_local: bool = False
  time_zone: str = "UTC"
  days: Literal["calendar"] | int = "calendar"
  since: str | None = None
  until: str | None = None
  separator: str | None = None
  quote: str = '"'
  escape: str = ""
  decimal: Literal[".", ","] = "."
  header: bool | None = None
  names: Sequence[str] | Mapping[str, Sequence[str]] | None = None
  encoding: str | None = None
  missing: Sequence[str] = ()
  on_bad_row: Literal["error", "drop"] = "error"
  unique_by: Sequence[str] = ()
  categorical: Sequence[str] = ()
  bags: Labels = ()
  dense: Sequence[str] = ()
  log_dense: Sequence[str] = ()
  binary: Labels = ()
  regression: Labels = ()
  tasks: Mapping[str, str | Sequence[str]] = dataclasses.field(default_factory=dict)
  weight: str | None = None
  request: str | None = None
  tables: Mapping[str, str | Sequence[str]] = dataclasses.field(default_factory=dict)
  entities: Sequence[str] = ()
  rated_tasks: Sequence[str] | None = None
  report_by: str | None = None

  def __post_init__(self) -> None:
    check = Checks("Table", DataError)
    if self.raw is not None:
      check.text("raw", self.raw, "the path of a file or of a folder")
    if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w-]*", self.name):
      check.refuse("name", self.name, "make it a name of letters, digits, _ and -")
    if isinstance(self.time, str):
      check.text("time", self.time, "the name of the column of event times")
    elif not check.names("time", self.time, "columns"):
      check.refuse("time", self.time, "name the column of event times")
    self._check_times(check)
    self._check_files(check)
    for role in ("categorical", "dense", "log_dense", "entities", "unique_by"):
      check.names(role, getattr(self, role), "columns")
    for role in ("bags", "binary", "regression"):
      _check_labels(check, role, getattr(self, role))
    check.choice("on_bad_row", self.on_bad_row, ("error", "drop"))
    for path, by in _items(check, "tables", self.tables, '{"users.csv": "user"}'):
      if not _is_one_or_two(by):
        check.refuse("tables", {path: by}, "give each file a key, or a list of a key and a time")
    for task, by in _items(check, "tasks", self.tasks, '{"bought": "binary"}'):
      if not _is_one_or_two(by):
        check.refuse("tasks", {task: by}, "give each task a kind, or a list of kind and expression")
    if self.rated_tasks is not None:
      check.names("rated_tasks", self.rated_tasks, "columns")
    if self.weight is not None:
      check.text("weight", self.weight, "the name of a column of numbers")
    if self.request is not None:
      check.text("request", self.request, "the name of a column of ids")
    if self.report_by is not None:
      check.text("report_by", self.report_by, "the name of a categorical column")
    self._labels()  # refuses what is no expression
    labels = [task.name for task in self._tasks()]
    if not self.categorical or not labels:
      raise DataError(
        "Table needs at least one column in categorical and one in binary, regression or tasks"
      )
    used = [*self._times(), *self.categorical, *self.bags, *self.dense, *self.log_dense]
    used += labels
    if twice := sorted({column for column in used if used.count(column) > 1}):
      raise DataError(f"Table names column {twice[0]} twice; give it one role")
    for role, names, within in (
      ("entities", self.entities, self.categorical),
      ("report_by", [self.report_by] if self.report_by else [], self.categorical),
      ("rated_tasks", self.rated_tasks or [], labels),
    ):
      if wrong := [name for name in names if name not in within]:
        raise DataError(f"Table.{role} names {wrong[0]}, which is none of {', '.join(within)}")
    if self.rated_tasks and not self.entities:
      raise DataError(
        f"Table.rated_tasks names {self.rated_tasks[0]}, but entities names no column whose past "
        "it could tell; name one, or leave rated_tasks out"
      )

  def _check_times(self, check: Checks) -> None:
    check.choice("time_unit", self.time_unit, (*MS_PER, None))
    if self.time_format is not None:
      check.text("time_format", self.time_format, 'a format such as "%y%m%d%H"')
      if self.time_unit is not None:
        raise DataError("Table has a time_unit, of numbers, and a time_format, of dates; give one")
      if not re.search("%[YyGcxs]", self.time_format):
        check.refuse("time_format", self.time_format, "say where its year is, by %Y or %y")
    if check.flag("time_is_local", self.time_is_local) and self.time_unit is not None:
      raise DataError("Table.time_is_local is of dates; numbers since 1970 are UTC: leave it out")
    check.text("time_zone", self.time_zone, "a name such as Europe/Berlin")
    try:
      pd.Timestamp(0, tz="UTC").tz_convert(self.time_zone)
    except (KeyError, ValueError, TypeError):
      check.refuse("time_zone", self.time_zone, "make it a name such as Europe/Berlin")
    if self.days != "calendar" and type(self.days) is not int:
      check.refuse("days", self.days, 'make it "calendar", or a number of slices')
    if type(self.days) is int:
      check.whole("days", self.days, 2, MOST_SLICES)
    first, last = (_day(check, name, getattr(self, name)) for name in ("since", "until"))
    if first is not None and last is not None and first > last:
      check.refuse("until", self.until, f"make it {self.since} or later, as since is")

  def _check_files(self, check: Checks) -> None:
    if self.separator is not None and (
      not isinstance(self.separator, str)
      or not self.separator.isascii()
      or not self.separator
      or set(self.separator) & set('\r\n\0"')
    ):
      check.refuse("separator", self.separator, 'make it a character such as ";" or "\\t", or "::"')
    for name, value in (("quote", self.quote), ("escape", self.escape)):
      if not isinstance(value, str) or len(value) > 1 or not value.isascii():
        check.refuse(name, value, 'make it one character, or "" for none')
    check.choice("decimal", self.decimal, (".", ","))
    if self.escape and self.escape in (self.quote, self.separator):
      check.refuse("escape", self.escape, 'make it "": a doubled quote needs none')
    if self.quote and self.quote == self.separator:
      check.refuse("quote", self.quote, "make it another character than the separator")
    if self.header is not None:
      check.flag("header", self.header)
    if isinstance(self.names, Mapping):
      for file, names in self.names.items():
        check.names(f"names of {file}", names, "columns")
    elif self.names is not None:
      check.names("names", self.names, "columns")
    if self.encoding is not None:
      try:
        "".encode(check.text("encoding", self.encoding, 'a name such as "latin-1"'))
      except LookupError:
        check.refuse("encoding", self.encoding, 'make it a name such as "latin-1"')
    check.names("missing", self.missing, "texts")

  def identity(self) -> dict[str, Any]:
    """The raw files with their sha256, and the description."""
    description = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("raw", "name")}
    files, tables, _ = self._files()
    of_tables = {
      path: {file.name: file.digest() for file in found} for path, found in tables.items()
    }
    return {
      "files": {file.name: file.digest() for file in files},
      **({"files of tables": of_tables} if of_tables else {}),
      # Of dicts the order is lost where identities are compared, and the first may be the headline.
      "order": [task.name for task in self._tasks()],
      "rated": list(self._rated()),
      **description,
    }

  def features(self, lookback: Lookback) -> list[Feature]:
    """The features that its store will have, of sizes that are not known yet."""
    tasks = self._rated()
    past = [
      f"{entity}_{what}"
      for entity in self.entities
      for what in ("count", *(f"{task}_rate" for task in tasks))
    ]
    bags = [*self.bags, *(["history"] if lookback.history else [])]
    bags += ["history_age", "history_actions"] if lookback.history_details else []
    return [
      *(Feature(name, "categorical") for name in self.categorical),
      *(Feature(name, "bag") for name in bags),
      *(Feature(name, "dense") for name in (*self.dense, *self.log_dense, *past)),
    ]

  def log(self, engine: "Engine") -> Log:
    """Reads the files into the engine, and declares what they hold."""
    files, tables, unread = self._files()
    wanted = self._columns()
    homes = self._homes(files, tables, wanted)
    kept = Kept(engine, self._options())
    if self.weight:
      kept.notes.append(
        f"{self.weight} weighs rows in the losses and in the figures of day N; the log's counts of "
        "rows and positives are not weighted"
      )
    if unread:
      kept.notes.append(f"not read: {raw_files.listed(unread)}")
    keys = [Column(parts(by)[0], Id()) for by in self.tables.values()]
    keys += [Column(name, Id()) for name in self.unique_by]
    own = [column for column in wanted if homes[column.name] is None]
    first, *also = self._times()
    when = Column(first, self._time(), tuple(also))
    rows = kept.read(files, [*own, *keys], when)
    rows = self._unique(kept, rows)
    for number, (path, by) in enumerate(self.tables.items()):
      inner = [column for column in wanted if homes[column.name] == path]
      rows = joined(kept, rows, f"table{number}", path, by, tables[path], inner, self._time())
    if self.weight and (home := homes[self.weight]):
      weight = kept.column(rows, Column(self.weight, Weight(self.decimal)))
      if lost := kept.engine.number(weight.isnull().sum()):
        raise DataError(
          f"{lost:,} rows have no {self.weight}, as {home} has no line for them; each row needs a "
          "weight"
        )
    return self._declared(kept, rows)

  def _files(self) -> tuple[list[RawFile], dict[str, list[RawFile]], list[str]]:
    """The files of the log, those of each table, and the names of what is not read."""
    if self.raw is None:
      raise DataError("Table has no files; give RAW=path, of a file or of a folder")
    folder = raw_files.folder_of(self.raw) if self.tables else ""
    tables = {path: raw_files.find(os.path.join(folder, path))[0] for path in self.tables}
    of_tables = {os.path.normpath(file.path) for found in tables.values() for file in found}
    files, unread = raw_files.find(self.raw)
    files = [file for file in files if os.path.normpath(file.path) not in of_tables]
    if not files:
      raise DataError(f"RAW {self.raw} holds the files of Table.tables and no other; add the log")
    known = [file.name for found in (files, *tables.values()) for file in found]
    for name in self.names if isinstance(self.names, Mapping) else ():
      if name not in known:
        raise DataError(f"Table.names has {name}, which is none of {raw_files.listed(known)}")
    return files, tables, unread

  def _times(self) -> Sequence[str]:
    """The columns of event times."""
    return [self.time] if isinstance(self.time, str) else self.time

  def _time(self) -> Time:
    zone = self.time_zone if self.time_is_local else "UTC"
    return Time(self.time_unit, self.time_format, zone, self.time_zone)

  def _options(self) -> Options:
    check = Checks("Table", DataError)
    return Options(
      dialect=Dialect(
        self.separator,
        self.quote,
        self.escape,
        self.names if not isinstance(self.names, Mapping) else None,
        self.header,
        self.encoding,
      ),
      names=self.names if isinstance(self.names, Mapping) else {},
      missing=tuple(self.missing),
      drop=self.on_bad_row == "drop",
      zone=self.time_zone,
      since=_day(check, "since", self.since),
      until=_day(check, "until", self.until),
    )

  def _roles(self) -> dict[str, list[Column]]:
    """The columns of each role, as what they are read."""
    separators = self.bags if isinstance(self.bags, Mapping) else {}
    logarithm = NumberKind(logarithm=True, decimal=self.decimal)
    return {
      "categorical": [Column(name, Id()) for name in self.categorical],
      "bags": [Column(name, Bag(separators.get(name))) for name in self.bags],
      "dense": [Column(name, self._kind("number")) for name in self.dense],
      "log_dense": [Column(name, logarithm) for name in self.log_dense],
      "weight": [Column(self.weight, Weight(self.decimal))] if self.weight else [],
      "request": [Column(self.request, Id())] if self.request else [],
    }

  def _columns(self) -> list[Column]:
    """What is read, each column as each of the things that it is used as."""
    columns = [column for of_role in self._roles().values() for column in of_role]
    for expression in self._labels().values():
      columns += [Column(name, self._kind(kind)) for name, kind in expression.columns()]
    return list(dict.fromkeys(columns))

  def _kind(self, kind: Type) -> Kind:
    """What a column of an expression is read as."""
    if kind == "number":
      return NumberKind(decimal=self.decimal)
    return Id() if kind == "id" else Flag()

  def _described(self) -> list[tuple[str, str, str | None]]:
    """Name, kind and expression of each label; None for the column of its name."""
    found: list[tuple[str, str, str | None]] = []
    for kind, given in (("binary", self.binary), ("regression", self.regression)):
      texts = given if isinstance(given, Mapping) else {}
      found += [(name, kind, texts.get(name)) for name in given]
    for name, by in self.tasks.items():
      kind, text = (by, None) if isinstance(by, str) else by
      found.append((name, kind, text))
    return found

  def _tasks(self) -> tuple[Task, ...]:
    """The labels, in the order binary, regression, tasks."""
    try:
      return tuple(Task(name, kind) for name, kind, _ in self._described())
    except ValueError as error:
      raise DataError(f"Table.tasks: {error}") from None

  def _rated(self) -> Sequence[str]:
    """The tasks whose past each entity gets."""
    if self.rated_tasks is not None:
      return self.rated_tasks
    return [task.name for task in self._tasks() if task.rules.counts_positives][:1]

  def _labels(self) -> dict[str, Expression]:
    """What each task's label is made of: a column of its name, unless an expression is given."""
    return {
      name: Expression(text, kind == "binary")
      if text
      else Expression.of_column(name, kind == "binary")
      for name, kind, text in self._described()
    }

  def _homes(
    self,
    files: Sequence[RawFile],
    tables: Mapping[str, Sequence[RawFile]],
    wanted: Iterable[Column],
  ) -> dict[str, str | None]:
    """The table that each column is of; None for the log, which comes first."""
    if not tables:
      return {column.name: None for column in wanted}
    names = [column.name for column in wanted]
    of_log = held(files, self._options(), self._times(), names)
    of_table = {
      path: held(
        found,
        self._options().of_tables(),
        [parts(self.tables[path])[1]],
        [inner_name(path, name) for name in names],
      )
      for path, found in tables.items()
    }
    homes: dict[str, str | None] = {}
    for name in names:
      having = [path for path, has in of_table.items() if inner_name(path, name) in has]
      if name in of_log or not having:
        homes[name] = None
      elif len(having) > 1:
        raise DataError(
          f"column {name} is in {' and in '.join(having)}; name it {stem(having[0])}.{name} or "
          f"{stem(having[1])}.{name}"
        )
      else:
        homes[name] = having[0]
    return homes

  def _unique(self, kept: Kept, rows: "ir.Table") -> "ir.Table":
    """Leaves out rows that repeat an earlier one in the columns of `unique_by`."""
    import ibis

    if not self.unique_by:
      return rows
    keys = [kept.column(rows, Column(name, Id())) for name in self.unique_by]
    window = ibis.window(group_by=keys, order_by=[rows.time, rows.sequence])
    known = ibis.and_(*(key.notnull() for key in keys))
    marked = kept.engine.keep(rows.mutate(known=known, repeats=ibis.row_number().over(window) > 0))
    names = ", ".join(self.unique_by)
    for what, of_them in (
      (f"dropped: rows that repeat an earlier one in {names}", marked.known),
      (f"kept: rows that repeat an earlier one in {names}, but lack a value there", ~marked.known),
    ):
      if rows_of_them := kept.engine.number((marked.repeats & of_them).sum()):
        kept.cleaning[what] = rows_of_them
    return marked.filter(~(marked.repeats & marked.known)).drop("repeats", "known")

  def _declared(self, kept: Kept, rows: "ir.Table") -> Log:
    rows, day, day_name = self._days(kept, rows)
    if self.request:
      rows, day = self._with_requests(kept, rows, day)

    def resolve(name: str, kind: Type) -> "ir.Value":
      return kept.column(rows, Column(name, self._kind(kind)))

    labels = {task: expression.value(resolve) for task, expression in self._labels().items()}
    values = {
      role: {column.name: kept.column(rows, column) for column in columns}
      for role, columns in self._roles().items()
    }
    numbers = {name: Number(value) for name, value in values["dense"].items()}
    logarithms = {name: Number(value, np.log1p) for name, value in values["log_dense"].items()}
    return Log(
      rows=rows,
      time=rows.time,
      day=day,
      time_zone=self.time_zone,
      tasks=self._tasks(),
      labels={task: Number(value.cast("float64")) for task, value in labels.items()},
      categorical=values["categorical"],
      bags=values["bags"],
      dense={**numbers, **logarithms},
      entities=tuple(self.entities),
      rated_tasks=tuple(self._rated()),
      report_by=self.report_by,
      cleaning=kept.cleaning,
      sequence=rows.sequence,
      notes=tuple(kept.notes),
      weight=next(iter(values["weight"].values()), None),
      request=rows.request if self.request else None,
      day_name=day_name,
    )

  def _days(
    self, kept: Kept, rows: "ir.Table"
  ) -> "tuple[ir.Table, ir.Value, Callable[[int], str]]":
    """The rows, the day of each, and what it is called: of the calendar, or a slice of the log."""
    if self.days == "calendar":
      return rows, rows.day, date_of
    from ranking.data import calendar  # slow to import, and only needed where a store is made

    ends = calendar.slice_ends(kept.engine, rows.time, self.days)
    rows = calendar.sliced(kept.engine, rows, "time", ends)
    first = kept.engine.frame(rows.group_by("slice").agg(day=rows.day.min()))
    dates = dict(zip(first["slice"].tolist(), first["day"].tolist(), strict=True))
    digits = len(str(self.days))
    return rows, rows.slice, lambda day: f"slice-{day + 1:0{digits}d}_{date_of(dates[day])}"

  def _with_requests(
    self, kept: Kept, rows: "ir.Table", day: "ir.Value"
  ) -> "tuple[ir.Table, ir.Value]":
    """Numbers the requests of each day from 1, in the order of their ids; and the day again."""
    import ibis

    request = kept.column(rows, Column(str(self.request), Id()))
    window = ibis.window(group_by=[day, request.isnull()], order_by=request)
    number = ibis.ifelse(request.isnull(), 0, ibis.dense_rank().over(window) + 1)
    numbered = kept.engine.keep(rows.mutate(request=number.cast("int64")))
    day = numbered[day.get_name()]
    kept.cleaning["rows of no request"] = kept.engine.number((numbered.request == 0).sum())
    if self.entities:
      user = kept.column(numbered, Column(self.entities[0], Id()))
      several = numbered.filter(numbered.request > 0).group_by(day, numbered.request)
      several = several.agg(users=user.nunique()).filter(lambda of: of.users > 1)
      if found := kept.engine.number(several.count()):
        kept.notes.append(
          f"warning: {found:,} requests, as {self.request} has them, have rows of more "
          f"than one {self.entities[0]}; an id must be of one request, not used again for another"
        )
    return numbered, day


def _day(check: Checks, name: str, value: Any) -> int | None:
  """Days since 1970 of a date such as "2026-03-01"; None for None."""
  if value is None:
    return None
  try:
    return (datetime.date.fromisoformat(value) - datetime.date(1970, 1, 1)).days
  except (TypeError, ValueError):
    check.refuse(name, value, 'make it a date such as "2026-03-01"')


def _items(check: Checks, name: str, value: Any, example: str) -> list[tuple[str, Any]]:
  """What a dict says."""
  if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
    check.refuse(name, value, f"make it a dict such as {example}")
  return list(value.items())


def _is_one_or_two(value: Any) -> bool:
  """Whether it is a text, or a list of two of them."""
  several = isinstance(value, (list, tuple)) and len(value) == 2
  return all(isinstance(each, str) and each for each in (value if several else [value]))


def _check_labels(check: Checks, name: str, value: Any) -> None:
  """A list of columns, or a dict of texts."""
  if not isinstance(value, Mapping):
    check.names(name, value, "columns")
    return
  example = '{"tags": "|"}' if name == "bags" else '{"buy": "event == \'buy\'"}'
  for key, text in _items(check, name, value, example):
    if not isinstance(text, str) or not text:
      check.refuse(name, {key: text}, f"make it a dict such as {example}")
