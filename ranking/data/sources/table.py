"""A log of your own: CSV or Parquet files, and a description of their columns."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ranking.checks import Checks
from ranking.data.schema import DataError, Log, sha256
from ranking.data.sources import csv_file
from ranking.data.sources.frames import Bag, FrameLog
from ranking.data.sources.pieces import declare_pieces
from ranking.tasks import Task

if TYPE_CHECKING:
  from ranking.data.engine import Engine

MS_PER = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
LATEST = 2**63 // 10**6  # ms since 1970; pandas counts ns
SEPARATOR = ","  # of a bag's ids where they are text


@dataclasses.dataclass(frozen=True)
class Table:
  """A log in files that all have the same columns, one row per event.

  Rows without a time are dropped, and so are exact duplicates; both are counted. Columns that are
  not named here are not read, and may differ from file to file. Ids are text, and a whole number is
  the same id as 5, 5.0 or "5"; one that the training days do not have is a missing one on day N.

  Attributes:
    raw: a .csv or .parquet file, or a folder of them, read in the order of their names.
    name: of the log; its stores are below a folder of this name.
    time: column of event times.
    time_unit: of numbers since 1970 (UTC): "s", "ms", "us" or "ns"; None if they are dates, as text
      or as Parquet has them, which are UTC where they do not say otherwise.
    time_zone: where a day begins at midnight.
    categorical: columns of ids, numbers or text.
    bags: columns of lists of ids: lists in Parquet, text such as "9,27" in CSV.
    dense: columns of numbers.
    log_dense: columns of numbers of 0 or more whose tail is long; log1p of them is used.
    binary: columns of labels 0 and 1, each a task; empty where a row has no label.
    regression: columns of labels that are numbers, each a task.
    tasks: columns of labels of any kind, with the kind of each, such as {"bought": "binary"}.
    entities: categorical columns (user, item) that get counts and rates of their past.
    rated_tasks: labels whose past mean each entity gets; the first of 0 and 1 if None.
    report_by: a categorical column whose values get figures of their own on day N.
    keep_duplicates: keep rows that repeat an earlier row in every named column.

  Raises DataError for a description that is wrong or contradicts itself.
  """

  log_version = 1

  raw: str | None = None
  name: str = "table"
  time: str = "time"
  time_unit: Literal["s", "ms", "us", "ns"] | None = None
  time_zone: str = "UTC"
  categorical: Sequence[str] = ()
  bags: Sequence[str] = ()
  dense: Sequence[str] = ()
  log_dense: Sequence[str] = ()
  binary: Sequence[str] = ()
  regression: Sequence[str] = ()
  tasks: Mapping[str, str] = dataclasses.field(default_factory=dict)
  entities: Sequence[str] = ()
  rated_tasks: Sequence[str] | None = None
  report_by: str | None = None
  keep_duplicates: bool = False

  def __post_init__(self) -> None:
    check = Checks("Table", DataError)
    if self.raw is not None:
      check.text("raw", self.raw, "the path of a file or of a folder")
    if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w-]*", self.name):
      check.refuse("name", self.name, "make it a name of letters, digits, _ and -")
    check.text("time", self.time, "the name of the column of event times")
    check.choice("time_unit", self.time_unit, (*MS_PER, None))
    check.text("time_zone", self.time_zone, "a name such as Europe/Berlin")
    try:
      pd.Timestamp(0, tz="UTC").tz_convert(self.time_zone)
    except (KeyError, ValueError, TypeError):
      check.refuse("time_zone", self.time_zone, "make it a name such as Europe/Berlin")
    for role in ("categorical", "bags", "dense", "log_dense", "binary", "regression", "entities"):
      check.names(role, getattr(self, role), "columns")
    if self.rated_tasks is not None:
      check.names("rated_tasks", self.rated_tasks, "columns")
    if self.report_by is not None:
      check.text("report_by", self.report_by, "the name of a categorical column")
    check.flag("keep_duplicates", self.keep_duplicates)
    labels = [task.name for task in self._tasks()]
    if not self.categorical or not labels:
      raise DataError(
        "Table needs at least one column in categorical and one in binary, regression or tasks"
      )
    used = [self.time, *self.categorical, *self.bags, *self.dense, *self.log_dense]
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

  def identity(self) -> dict[str, Any]:
    """The raw files with their sha256, and the description."""
    description = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("raw", "name")}
    return {"files": {path.name: sha256(path) for path in self._files()}, **description}

  def log(self, engine: "Engine") -> Log:
    """The log of all pieces."""
    return declare_pieces(engine, self)

  def parts(self) -> list[str]:
    """The paths of the files, in order of their names."""
    return [str(path) for path in self._files()]

  def read(self, part: str) -> Iterator[tuple[pd.DataFrame, dict[str, int]]]:
    """Rows with a time, in the order of the file.

    Columns: time; day, int32, days since 1970 in time_zone; and what is named, as `_own` calls it:
    ids as text or None, bags as tuples of text, numbers as float64, binary labels as float32.
    """
    path = Path(part)
    ids = [*self.categorical, *self.bags]
    numbers = [*self.dense, *self.log_dense, *self.regression, *self.tasks]
    for frame in _frames(path, [self.time, *ids, *numbers, *self.binary], ids):
      time = self._milliseconds(path, frame[self.time])
      columns = {
        **{name: _ids(path, frame[name]) for name in self.categorical},
        **{name: _lists(path, frame[name]) for name in self.bags},
        **{name: _numbers(path, frame[name]) for name in numbers},
        **{name: _numbers(path, frame[name]).astype(np.float32) for name in self.binary},
      }
      piece = pd.DataFrame({_own(name): column for name, column in columns.items()})
      piece = piece.assign(time=time)[time.notna()].astype({"time": np.int64})
      local = pd.to_datetime(piece.time, unit="ms", utc=True).dt.tz_convert(self.time_zone)
      day = (local.dt.tz_localize(None) - pd.Timestamp(0)).dt.days
      piece["day"] = day.astype(np.int32)
      yield piece, {"dropped: rows without a time": len(frame) - len(piece)}

  def tables(self) -> None:
    """Nothing: all is in the rows."""

  def describe(self, rows: pd.DataFrame, tables: None) -> FrameLog:
    """The log of some rows."""
    dates, day = np.unique(rows.day, return_inverse=True)
    dense = _named(rows, (*self.dense, *self.log_dense))
    for name in self.log_dense:
      dense[name] = np.log1p(dense[name].clip(lower=0))
    tasks = self._tasks()
    rated = [task.name for task in tasks if task.rules.counts_positives][:1]
    return FrameLog(
      time=rows.time.to_numpy(),
      day=day.astype(np.int32),
      day_names=[str(date) for date in dates.astype("datetime64[D]")],
      time_zone=self.time_zone,
      categorical=_named(rows, self.categorical),
      bags={name: _bag(rows[_own(name)]) for name in self.bags},
      dense=dense,
      labels=_named(rows, [task.name for task in tasks]).astype(np.float32),
      tasks=tasks,
      entities=tuple(self.entities),
      rated_tasks=tuple(rated if self.rated_tasks is None else self.rated_tasks),
      cleaning={},
      report_by=self.report_by,
    )

  def _tasks(self) -> tuple[Task, ...]:
    """The labels, in the order binary, regression, tasks."""
    if not isinstance(self.tasks, Mapping):
      raise DataError(
        f"Table.tasks is {self.tasks!r}; make it a dict such as {{'bought': 'binary'}}"
      )
    labels = [(name, "binary") for name in self.binary]
    labels += [(name, "regression") for name in self.regression]
    labels += self.tasks.items()
    try:
      return tuple(Task(str(name), str(kind)) for name, kind in labels)
    except ValueError as error:
      raise DataError(f"Table.tasks: {error}") from None

  def _files(self) -> list[Path]:
    if self.raw is None:
      raise DataError("Table has no files; give RAW=path, of a .csv or .parquet file or a folder")
    path = Path(self.raw)
    if not path.exists():
      raise DataError(f"RAW {path} is not there; give the path of a file or of a folder of files")
    found = [path] if path.is_file() else sorted(path.iterdir())
    files = [file for file in found if file.suffix in (".csv", ".parquet")]
    if not files:
      raise DataError(f"RAW {path} holds no .csv or .parquet file")
    return files

  def _milliseconds(self, path: Path, column: "pd.Series[Any]") -> "pd.Series[float]":
    """Event times as float64 ms since epoch UTC; NaN where there is none."""
    if self.time_unit is not None:
      time = (_numbers(path, column) * MS_PER[self.time_unit]).round()
      wrong = time.abs() > LATEST
      if wrong.any():
        raise DataError(f"{_place(path, column, wrong)}, a time too far off; mend Table.time_unit")
      return time
    when = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    wrong = column.notna() & when.isna()
    if wrong.any():
      raise DataError(
        f"{_place(path, column, wrong)} where a date belongs; for numbers give Table.time_unit"
      )
    return (when - pd.Timestamp(0, tz="UTC")).dt.total_seconds().mul(1000).round()


def _own(name: str) -> str:
  """What pieces call a named column: it may be named `day` itself."""
  return f"column {name}"


def _named(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
  """Columns of pieces under the names they were given."""
  return pd.DataFrame({name: rows[_own(name)] for name in names}, index=rows.index)


def _frames(path: Path, columns: list[str], ids: list[str]) -> Iterator[pd.DataFrame]:
  """Columns of a file in pieces, numbered through from 0; `ids` of a CSV as they stand."""
  try:
    if path.suffix == ".csv":
      yield from csv_file.raw_chunks(path, columns, ids)
      return
    import pyarrow.parquet  # slow to import, and only needed here

    with pyarrow.parquet.ParquetFile(path) as file:
      csv_file.require(path, columns, file.schema_arrow.names)
      rows = 0
      for batch in file.iter_batches(csv_file.CHUNK_ROWS, columns=columns):
        # Whole numbers stay so beside missing ones; pandas' own index is a column as any other.
        frame = batch.to_pandas(integer_object_nulls=True, ignore_metadata=True)[columns]
        yield frame.set_axis(pd.RangeIndex(rows, rows + len(frame)))
        rows += len(frame)
  except DataError:
    raise
  except (ValueError, OSError) as error:  # pandas' and pyarrow's own are of these
    reason = str(error).strip().splitlines()[0]
    raise DataError(f"{path} cannot be read as {path.suffix[1:]} ({reason})") from error


def _ids(path: Path, column: "pd.Series[Any]") -> "pd.Series[Any]":
  """Text, None where there is nothing. Raises DataError for what is no single value."""
  try:
    return csv_file.text(column)
  except TypeError as error:
    raise DataError(
      f"{path} column {column.name} holds lists where single ids belong; name it in Table.bags"
    ) from error


def _lists(path: Path, column: "pd.Series[Any]") -> "pd.Series[Any]":
  """Tuples of text: lists as they are, text as its parts; nothing as an empty one."""
  lists = (list, tuple, np.ndarray)
  if any(isinstance(value, lists) for value in column):
    entries = [value if isinstance(value, lists) else () for value in column]
    index = np.arange(len(column))
  else:
    index, distinct = pd.factorize(csv_file.text(column))
    entries = [
      [part.strip() for part in value.split(SEPARATOR) if part.strip()] for value in distinct
    ]
    entries.append([])  # of a missing value, whose index is −1
  parts = pd.Series([*itertools.chain.from_iterable(entries)], dtype=object, name=column.name)
  ids = iter(_ids(path, parts))
  tuples = pd.Series([tuple(itertools.islice(ids, len(entry))) for entry in entries], dtype=object)
  return pd.Series(tuples.to_numpy()[index], column.index)


def _numbers(path: Path, column: "pd.Series[Any]") -> "pd.Series[float]":
  """float64; NaN where there is nothing. Raises DataError for text and infinity."""
  values = pd.to_numeric(column, errors="coerce").astype(np.float64)
  wrong = column.notna() & ~np.isfinite(values)
  if wrong.any():
    raise DataError(f"{_place(path, column, wrong)} where a number belongs; mend or remove the row")
  return values


def _place(path: Path, column: "pd.Series[Any]", wrong: "pd.Series[bool]") -> str:
  """The first wrong value and where it is; rows are counted from 1."""
  row = int(np.flatnonzero(wrong)[0])
  return f"{path} row {column.index[row] + 1} column {column.name} holds {str(column.iloc[row])!r}"


def _bag(column: "pd.Series[Any]") -> Bag:
  index, lists = pd.factorize(column.to_numpy())
  return Bag([list(entry) for entry in lists], index)
