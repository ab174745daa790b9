"""A log whose values are codes: what is left is to pack it."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from ranking.data import codes
from ranking.data.calendar import Calendar
from ranking.data.codes import Vocabulary
from ranking.data.engine import Engine
from ranking.data.facts import Facts, as_number
from ranking.data.schema import DataError, Log


@dataclasses.dataclass(frozen=True)
class Coded:
  """What the chunks of a log are made of.

  Attributes:
    engine: what works them out.
    facts: the log.
    vocabularies: of categorical features and bags, by name.
    rows: the log's rows, a folder per chunk.
    sides: the table of each side of the log, with codes for values.
  """

  engine: Engine
  facts: Facts
  vocabularies: Mapping[str, Vocabulary]
  rows: Path
  sides: Sequence[ir.Table]

  def chunk(self, number: int) -> Iterator[pa.RecordBatch]:
    """The rows of a chunk in order, some at a time.

    Columns, with k from 0 in the order of the log: time; numbers label_k, truth_k, weight and
    dense_k; id_k; bag_k, a list of ids; and entity_k, the key of an entity, 0 for none.
    """
    facts, log = self.facts, self.facts.log
    table = self._read(self.rows, number)
    numbers = {
      **{f"label_{k}": facts.number(each.value) for k, each in enumerate(log.labels.values())},
      **{f"truth_{k}": facts.number(value) for k, value in enumerate(log.truth.values())},
      **({} if log.weight is None else {"weight": facts.number(log.weight)}),
      **{
        f"dense_{k}": facts.number(each.value)
        for k, each in enumerate(log.dense.values())
        if facts.home(each.value) is None
      },
    }
    for side, of_side in zip(log.sides, self.sides, strict=True):
      keys = {f"key_{k}": facts.column(value) for k, value in enumerate(side.keys.values())}
      names = {name: name for name in of_side.columns if name not in keys}
      table = looked_up(table, of_side, keys, names)
    for column, name, value in coded_features(log):
      if facts.home(value) is None:
        ids, names = self.vocabularies[name].table, {column: "id"}
        if name in log.entities:
          names[f"entity_{log.entities.index(name)}"] = "key"
        table = looked_up(table, ids, {"value": facts.column(value)}, names)
    counted = [name for name in table.columns if name.startswith(("id_", "entity_"))]
    others = [name for name in table.columns if name.startswith(("bag_", "dense_"))]
    made = table.select(
      *others,
      *facts.order,
      **{name: table[column] for name, column in numbers.items()},
      **{name: table[name].fill_null(0) for name in counted},
    )
    columns = ["time", *numbers, *counted, *others]
    return self.engine.batches(made, columns, facts.order)

  def _read(self, folder: Path, number: int) -> ir.Table:
    return self.engine.read_parquet(folder / f"folder={number}" / "*.parquet")


def steps(log: Log) -> int:
  """How many times `code` tells that it got on."""
  return 1 + len(log.categorical) + len(log.bags)


def code(
  engine: Engine,
  facts: Facts,
  calendar: Calendar,
  advance: Callable[[int], None],
) -> Coded:
  """Works out what all days together need."""
  log = facts.log
  folder = engine.keep_by(_of_days(facts.table, engine.arrow(calendar.table())), "chunk")
  rows = engine.read_parquet(folder / "*" / "*.parquet")
  advance(1)
  met = [_met(engine, facts, rows, place) for place in range(len(log.sides))]
  vocabularies: dict[str, Vocabulary] = {}
  of_column: dict[str, Vocabulary] = {}  # one for features that are the same
  for column, name, value in coded_features(log):
    make = codes.of_lists if column.startswith("bag") else codes.of_values
    home = facts.home(value)
    if home is not None:
      vocabularies[name] = make(
        engine, met[home].select("weight", "first", value=met[home][column])
      )
    else:
      of_row = facts.column(value)
      if of_row not in of_column:
        of_column[of_row] = make(engine, _appearances(rows, {"value": of_row}))
      vocabularies[name] = of_column[of_row]
    advance(1)
  sides = []
  for place, lines in enumerate(met):
    for column, name, value in coded_features(log):
      if facts.home(value) == place:
        ids = vocabularies[name].table
        lines = lines.rename(value=column)
        lines = looked_up(lines, ids, {"value": "value"}, {column: "id"}).drop("value")
    sides.append(engine.keep(lines.drop("weight", "first")))
  return Coded(engine, facts, vocabularies, folder, sides)


def coded_features(log: Log) -> Iterator[tuple[str, str, ir.Value]]:
  """The column of ids, the name and the values of each categorical feature and bag."""
  for kind, features in (("id", log.categorical), ("bag", log.bags)):
    for k, (name, value) in enumerate(features.items()):
      yield f"{kind}_{k}", name, value


def looked_up(
  table: ir.Table, other: ir.Table, keys: Mapping[str, str], names: Mapping[str, str]
) -> ir.Table:
  """Adds columns of another table, null where it has no such line.

  Args:
    table: gets the columns.
    other: has at most one line per key.
    keys: columns of `other` → those of `table` that they equal.
    names: of the columns in the result → in `other`.
  """
  other = other.select(
    **{f"other_{k}": other[key] for k, key in enumerate(keys)},
    **{name: other[column] for name, column in names.items()},
  )
  on = [table[own] == other[f"other_{k}"] for k, own in enumerate(keys.values())]
  both = table.left_join(other, on)
  return both.select(*(both[name] for name in (*table.columns, *names)))


def _of_days(rows: ir.Table, days: ir.Table) -> ir.Table:
  """The rows of the days that are not left out, with chunk and is_training."""
  days = days.rename(number="day")
  both = rows.inner_join(days, rows.day == days.number)
  return both.select(*(both[name] for name in (*rows.columns, "chunk", "is_training")))


def _appearances(rows: ir.Table, keys: Mapping[str, str]) -> ir.Table:
  """Per distinct key: weight, how many training rows have it, and first, when the first had it.

  `keys` are columns of the result → of `rows`.
  """
  appeared = rows["sequence"] if "sequence" in rows.columns else rows["time"]
  each = rows.select(
    **{name: rows[column] for name, column in keys.items()},
    weight=rows.is_training.cast("int64"),
    first=ibis.ifelse(rows.is_training == 1, appeared, ibis.null("int64")),
  )
  sums = each.group_by(list(keys)).agg(weight=each.weight.sum(), first=each["first"].min())
  return sums.mutate(weight=sums.weight.cast("int64"))


def _met(engine: Engine, facts: Facts, rows: ir.Table, place: int) -> ir.Table:
  """The lines of a side that rows of the log have.

  Columns: key_k; id_k, bag_k and dense_k of the features that it has, values as they are; weight
  and first, of the rows. Raises DataError where a key has several lines.
  """
  log, side = facts.log, facts.log.sides[place]
  features = {
    column: value for column, _, value in coded_features(log) if facts.home(value) == place
  }
  for k, number in enumerate(log.dense.values()):
    if facts.home(number.value) == place:
      features[f"dense_{k}"] = as_number(number.value)
  keys = {f"key_{k}": name for k, name in enumerate(side.keys)}
  lines = side.table.select(**{key: side.table[name] for key, name in keys.items()}, **features)
  of_rows = {f"key_{k}": facts.column(value) for k, value in enumerate(side.keys.values())}
  met = _appearances(rows, of_rows).rename(**{f"of_rows_{key}": key for key in of_rows})
  both = lines.inner_join(met, [lines[key] == met[f"of_rows_{key}"] for key in keys])
  kept = engine.keep(both.select(*(both[name] for name in (*lines.columns, "weight", "first"))))
  count, distinct = engine.number(kept.count()), kept.select(*keys).distinct().count()
  if count > (once := engine.number(distinct)):
    raise DataError(
      f"a table beside the log has {count:,} lines of {once:,} {', '.join(side.keys)}; "
      "keep one line of each"
    )
  return kept
