"""The engine that reads a log and works its expressions out: DuckDB in this process, or Spark.

    duckdb               embedded, on all cores, in bounded memory (RANKING_MEMORY, such as 4GB)
    local[2]             Spark in this machine, on two cores
    spark://host:7077    a Spark cluster, which must see the same files

The same Ibis expression gives the same rows on each, as long as it adds up whole numbers only and
takes no logarithm: so a store is the same byte for byte whatever made it.
"""

import contextlib
import itertools
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import ibis
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

from ranking.data.schema import DataError

DUCKDB: Final = "duckdb"
MEMORY: Final = "RANKING_MEMORY"  # environment variable
DEFAULT_MEMORY: Final = "800MB"  # of the engine; Python and the rows being packed come on top
BATCH_ROWS: Final = 1 << 16


class Engine:
  """A connection, and a folder for what it writes.

  Args:
    work: of the preparation; what is kept, and what does not fit into memory, lies below it.
    name: see the module's docstring.
    memory: at most so much is used, such as "4GB"; None = RANKING_MEMORY, or 800 MB.
    threads: of DuckDB; None = one per core.

  Raises DataError for a memory limit that means nothing, and without Spark where it is asked for.
  """

  def __init__(
    self,
    work: Path,
    name: str = DUCKDB,
    memory: str | None = None,
    threads: int | None = None,
  ):
    self.work, self.name = work, name
    self.advance: Callable[[int], None] = lambda rows: None
    self._kept = 0
    self._closing = contextlib.ExitStack()
    memory = memory or os.environ.get(MEMORY) or DEFAULT_MEMORY
    if not re.fullmatch(r"\d+(\.\d+)?\s?[KMGT]i?B", memory):
      raise DataError(f"{MEMORY} is {memory!r}; make it a size such as 4GB")
    self._spark: Any = None
    if name == DUCKDB:
      self.connection: Any = ibis.duckdb.connect(
        threads=threads or len(os.sched_getaffinity(0)),
        memory_limit=memory,
        temp_directory=str(work / "spilled"),
        preserve_insertion_order=False,
        # By statistics of Parquet, which do not tell of NaN, DuckDB 2.0 takes isnan for false.
        disabled_optimizers="statistics_propagation",
      )
      # Counted for `watched`, and not shown by DuckDB.
      self.connection.con.execute("SET enable_progress_bar = true")
      self.connection.con.execute("SET enable_progress_bar_print = false")
    else:
      self._spark = _spark_session(name, memory, work)
      self.connection = ibis.pyspark.connect(self._spark)

  def __enter__(self) -> "Engine":
    return self

  def __exit__(self, *_: object) -> None:
    if self._spark is not None:
      self._spark.stop()
    else:
      self.connection.disconnect()

  def read_parquet(
    self, paths: Path | str | Sequence[str], row_number: str | None = None
  ) -> ir.Table:
    """A table of Parquet files; the column `row_number` counts the rows of each file from 0.

    A `*` for a whole name, or before an ending, stands for all such names.
    """
    with self._errors():
      if self._spark is not None:
        frame = self._spark.read.parquet(*self._listed(paths))
        if row_number:
          frame = frame.select("*", frame["_metadata.row_index"].alias(row_number))
        return self._of_spark(frame)
      counted: dict[str, Any] = {"file_row_number": True} if row_number else {}
      table = self.connection.read_parquet(self._listed(paths), hive_partitioning=False, **counted)
      return table.rename({row_number: "file_row_number"}) if row_number else table

  def read_csv(
    self,
    paths: Path | str | Sequence[str],
    names: Sequence[str],
    header: bool = True,
    separator: str = ",",
    quote: str = '"',
    encoding: str = "utf-8",
  ) -> ir.Table:
    """A table of CSV files, each value as its text, null where there is none.

    Args:
      paths: of files that have the same columns.
      names: of the columns, in the order of the files.
      header: whether each file begins with a line of names, which is passed over.
      separator: of values.
      quote: around a value that holds the separator; "" for none.
      encoding: "utf-8" or "latin-1".
    """
    with self._errors():
      if self._spark is not None:
        frame = self._spark.read.csv(
          self._listed(paths),
          schema=", ".join(f"`{name.replace('`', '``')}` STRING" for name in names),
          header=header,
          enforceSchema=True,
          sep=separator,
          quote=quote,
          escape=quote,
          multiLine=bool(quote),
          mode="FAILFAST",
          encoding={"latin-1": "ISO-8859-1"}.get(encoding, encoding),
        )
        return self._of_spark(frame)
      return self.connection.read_csv(
        self._listed(paths),
        columns=dict.fromkeys(names, "VARCHAR"),
        header=header,
        delim=separator,
        quote=quote,
        escape=quote,
        encoding=encoding,
      )

  def arrow(self, tables: pa.Table | Iterable[pa.Table]) -> ir.Table:
    """A table of what is in memory, or of pieces that are made one after the other.

    `advance` is told the rows of each.
    """
    pieces = iter([tables] if isinstance(tables, pa.Table) else tables)
    first = next(pieces)
    folder = self._folder()
    with pyarrow.parquet.ParquetWriter(folder / "part.parquet", first.schema) as writer:
      writer.write_table(first)
      self.advance(len(first))
      for piece in pieces:
        writer.write_table(piece)
        self.advance(len(piece))
    return self.read_parquet(folder / "part.parquet")

  def keep(self, table: ir.Table) -> ir.Table:
    """Works a table out once: what is made of it reads the result."""
    folder = self._write(table)
    return self.read_parquet(folder / "*.parquet")

  def number(self, value: ir.Value) -> int:
    """Works a whole number out; 0 for null."""
    return int(self.rows(value.as_table()).column(0)[0].as_py() or 0)

  def frame(self, table: ir.Table) -> pd.DataFrame:
    """The rows of a small table."""
    return self.rows(table).to_pandas()

  def rows(self, table: ir.Table) -> pa.Table:
    """The rows of a small table, as Arrow has them."""
    query = self.connection.compile(table)
    with self._errors():
      if self._spark is not None:
        return self._spark.sql(query).toArrow()
      # Ibis itself asks for methods that DuckDB 2 has no more.
      return self.connection.con.sql(query).to_arrow_table()

  @contextlib.contextmanager
  def watched(self, advance: Callable[[int], None]) -> Iterator[None]:
    """Tells of each hundredth of the query that runs meanwhile. Spark does not say."""
    stopped, told = threading.Event(), 0

    def watch() -> None:
      nonlocal told
      while not stopped.wait(0.5):
        done = int(self.connection.con.query_progress())
        if done > told:
          advance(done - told)
          told = done

    thread = threading.Thread(target=watch, daemon=True)
    if self._spark is None:
      thread.start()
    try:
      yield
    finally:
      stopped.set()
      if self._spark is None:
        thread.join()

  def batches(
    self, table: ir.Table, columns: Sequence[str], order: Sequence[str]
  ) -> Iterator[pa.RecordBatch]:
    """Columns of the rows of a table, some rows at a time, in order of other columns of it.

    They are sorted before it returns.
    """
    made = self._batches(table, columns, order)
    return itertools.chain(list(itertools.islice(made, 1)), made)

  def _batches(
    self, table: ir.Table, columns: Sequence[str], order: Sequence[str]
  ) -> Iterator[pa.RecordBatch]:
    # The order of an inner query is lost, and Ibis cannot order by what it does not select.
    query = f"SELECT {', '.join(columns)} FROM ({self.connection.compile(table)}) AS t"
    query += f" ORDER BY {', '.join(f'{name} NULLS LAST' for name in order)}"
    with self._errors():
      if self._spark is None:
        yield from self.connection.con.sql(query).to_arrow_reader(BATCH_ROWS)
        return
      folder = self._folder()
      self._spark.sql(query).write.mode("overwrite").parquet(str(folder))
      for path in sorted(folder.glob("*.parquet")):  # Spark numbers them in order
        with pyarrow.parquet.ParquetFile(path) as file:
          yield from file.iter_batches(BATCH_ROWS)
      shutil.rmtree(folder)

  def _write(self, table: ir.Table) -> Path:
    folder = self._folder()
    with self._errors():
      if self._spark is not None:
        query = self.connection.compile(table)
        self._spark.sql(query).write.mode("overwrite").parquet(str(folder))
      else:
        self.connection.to_parquet(table, folder / "part.parquet")
    return folder

  def _folder(self) -> Path:
    self._kept += 1
    folder = self.work / "kept" / f"{self._kept:03d}"
    folder.mkdir(parents=True)
    return folder

  def _listed(self, paths: Path | str | Sequence[str]) -> list[str]:
    """Paths as the engine reads them: brackets and the like in a name mean themselves."""
    listed = [paths] if isinstance(paths, (Path, str)) else paths
    special, stands = (
      (r"[\[\]{}?\\]", r"\\\g<0>") if self._spark is not None else (r"[\[?]", r"[\g<0>]")
    )
    return [re.sub(special, stands, str(path)) for path in listed]

  def _of_spark(self, frame: Any) -> ir.Table:
    self._kept += 1
    name = f"kept_{self._kept}"
    frame.createOrReplaceTempView(name)
    return self.connection.table(name)

  @contextlib.contextmanager
  def _errors(self) -> Iterator[None]:
    """Turns what the engine raises into one line."""
    import duckdb

    kinds: tuple[type[Exception], ...] = (duckdb.Error,)
    if self._spark is not None:
      import pyspark.errors

      kinds = (pyspark.errors.PySparkException,)
    try:
      yield
    except kinds as error:
      reason = " ".join(str(error).split())[:400]
      cure = f"; set {MEMORY} higher" if "OutOfMemory" in type(error).__name__ else ""
      raise DataError(f"{self.name} cannot work the log out ({reason}){cure}") from error


def _spark_session(master: str, memory: str, work: Path) -> Any:
  try:
    from pyspark.sql import SparkSession
  except ImportError as error:
    raise DataError(f"ENGINE={master} needs Spark: pip install 'ranking[spark]'") from error
  if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
    raise DataError(f"ENGINE={master} needs Java 17 or later; install it, or set JAVA_HOME")
  digits, unit = re.fullmatch(r"([\d.]+)\s?([KMGT])i?B", memory).groups()  # type: ignore[union-attr]  # checked
  megabytes = int(float(digits) * {"K": 2**-10, "M": 1, "G": 2**10, "T": 2**20}[unit])
  settings: Mapping[str, str] = {
    "spark.driver.memory": f"{max(megabytes, 512)}m",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.caseSensitive": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.local.dir": str(work / "spilled"),
    **({"spark.sql.shuffle.partitions": "2"} if master.startswith("local") else {}),
  }
  builder = SparkSession.builder.master(master).appName("ranking prepare")
  for key, value in settings.items():
    builder = builder.config(key, value)
  session = builder.getOrCreate()
  session.sparkContext.setLogLevel("ERROR")
  return session
