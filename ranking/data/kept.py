"""What was read of a log into an engine: its columns by name, and what was done on the way."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ranking.data import raw_files
from ranking.data.raw_files import RawFile
from ranking.data.reading import CURE, PLACES, Column, Options, Reading
from ranking.data.schema import DataError
from ranking.data.values import ENOUGH, STYLES, Flag

if TYPE_CHECKING:  # slow to import, and only needed where a store is made
  import ibis.expr.types as ir

  from ranking.data.engine import Engine

SAMPLED_ROWS = 300_000  # at most about so many are looked at for files that are copies
SHARES = (1, 101, 10_007, 1_000_003, 100_000_007)  # one of so many; primes, for whole seconds


class Kept:
  """What was read into an engine: the name of each column there, and what was done.

  Attributes:
    cleaning: what was dropped or changed, and how many.
    notes: what was told from the files, or should be looked at.
  """

  def __init__(self, engine: "Engine", options: Options):
    self.engine, self._options = engine, options
    self._names: dict[tuple[str, Column], str] = {}
    self.cleaning, self.notes = Counter[str](), list[str]()

  def name(self, column: Column, of: str = "") -> str:
    """What the engine calls a column, of the log and what is joined to it or of a table."""
    return self._names.setdefault((of, column), f"c{len(self._names)}")

  def column(self, rows: "ir.Table", column: Column, of: str = "") -> "ir.Value":
    """A column; a yes or no is a truth."""
    return rows[self.name(column, of)]

  def read(
    self, files: Sequence[RawFile], columns: Sequence[Column], when: Column | None, of: str = ""
  ) -> "ir.Table":
    """The rows of some files, of the log or of a table; `when` is their time."""
    named = {} if when is None else {"time": when}
    named |= {self.name(column, of): column for column in columns}
    options = self._options.of_tables() if of else self._options
    reading = Reading(files, named, options, timed="time" if when else None)
    rows = self.engine.arrow(reading.pieces())
    for what, count in reading.cleaning.items():
      self.cleaning[f"{what} ({of})" if of else what] += count
    self.notes += [*reading.notes, *(f"warning: {line}" for line in reading.warnings())]
    if len(reading.names) > 1 and not of:
      self.notes += self._copies(rows, reading.names)
    for name, column in named.items():
      if isinstance(column.kind, Flag):
        rows = self._with_truth(rows, name, column.name, reading)
    return rows

  def _copies(self, rows: "ir.Table", names: Sequence[str]) -> Iterator[str]:
    """Warnings of files most of whose rows, at a sample of moments, another file has as often."""
    import ibis

    count = self.engine.number(rows.count())
    share = next(prime for prime in SHARES if count <= prime * SAMPLED_ROWS)
    some = rows.filter(rows.time % share == 0)
    some = some.mutate(file=some.sequence // PLACES)
    alike = [name for name in rows.columns if name not in ("sequence", "day")]
    counted = some.group_by(*alike, "file").agg(rows=some.count())
    window = ibis.window(group_by=alike)
    several, least, most = (
      of_file.over(window)
      for of_file in (counted.count(), counted["rows"].min(), counted["rows"].max())
    )
    marked = counted.mutate(is_copy=(several > 1) & (least == most))
    copied = ibis.ifelse(marked.is_copy, marked["rows"], 0).sum()
    of_files = marked.group_by("file").agg(rows=marked["rows"].sum(), copied=copied)
    found = self.engine.frame(of_files.order_by("file")).astype(int)
    copies = found[(found["rows"] >= ENOUGH) & (found.copied > 0.5 * found["rows"])]
    if len(copies):
      which = raw_files.listed([names[number] for number in copies["file"]])
      yield (
        f"warning: another file has most of the rows of {which} too; if one is a copy of another, "
        "or of a part of it, move it away"
      )

  def _with_truth(self, rows: "ir.Table", name: str, called: str, reading: Reading) -> "ir.Table":
    """Reads a column of Flag as most rows are written; the others are left out, or a DataError."""
    by_code = rows.group_by(code=rows[name]).agg(rows=rows.count(), first=rows.sequence.min())
    found = self.engine.frame(by_code).dropna().astype(int)
    by_style = Counter(dict(found.groupby(found.code // 2)["rows"].sum()))
    most = by_style.most_common(1)[0][0] if by_style else 0
    odd = found[found.code // 2 != most]
    if len(odd) and not self._options.drop:
      first = odd.loc[odd["first"].idxmin()]
      raise DataError(
        f"{reading.where(int(first['first']))} column {called} holds "
        f"{STYLES[first.code // 2][first.code % 2]!r} where the other rows have "
        f"{' and '.join(STYLES[most])}; {CURE}"
      )
    if len(odd):
      what = f"dropped: rows whose {called} is not {' or '.join(STYLES[most])}"
      self.cleaning[what] += int(odd["rows"].sum())
      rows = rows.filter(rows[name].isnull() | rows[name].isin([2 * most, 2 * most + 1]))
    return rows.mutate(**{name: rows[name] == 2 * most + 1})
