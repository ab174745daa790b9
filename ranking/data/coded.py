"""A log whose values are codes: what is left is to pack it."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa

from ranking.data import codes, sides
from ranking.data.calendar import Calendar
from ranking.data.codes import Vocabulary
from ranking.data.engine import Engine
from ranking.data.facts import Facts, coded_features, looked_up
from ranking.data.hashing import Hashing
from ranking.data.schema import Log
from ranking.data.sides import CodedSide


@dataclasses.dataclass(frozen=True)
class Coded:
  """What the rows of a log are packed from.

  Attributes:
    engine: what works them out.
    facts: the log.
    vocabularies: of categorical features and bags, by name.
    rows: of the days up to day N, as `facts` has them.
    sides: of the log.
    hashing: how ids of some features are made.
  """

  engine: Engine
  facts: Facts
  vocabularies: Mapping[str, Vocabulary]
  rows: ir.Table
  sides: Sequence[CodedSide]
  hashing: Hashing | None = None

  def batches(self) -> Iterator[pa.RecordBatch]:
    """The rows in order, some at a time.

    Columns, with k from 0 in the order of the log: time; numbers label_k, truth_k, dense_k, weights
    and requests; id_k; bag_k, a list of ids; entity_k, the key of an entity, 0 for none; and
    line_k, in the arrays of a side. What a side has is left to be looked up there: so little
    is sorted.
    """
    facts, log = self.facts, self.facts.log
    table = self.rows
    numbers = {
      **{f"label_{k}": facts.number(each.value) for k, each in enumerate(log.labels.values())},
      **{f"truth_{k}": facts.number(value) for k, value in enumerate(log.truth.values())},
      **{name: facts.number(value) for name, value in log.extras.items()},
      **{
        f"dense_{k}": facts.number(each.value)
        for k, each in enumerate(log.dense.values())
        if facts.home(each.value) is None
      },
    }
    for place, (side, of_side) in enumerate(zip(log.sides, self.sides, strict=True)):
      keys = {f"key_{k}": facts.column(value) for k, value in enumerate(side.keys.values())}
      table = looked_up(table, of_side.lines, keys, {f"line_{place}": "line"})
    for column, name, value in coded_features(log):
      if facts.home(value) is None:
        ids, names = self.vocabularies[name].table, {column: "id"}
        if name in log.entities:
          names[f"entity_{log.entities.index(name)}"] = "key"
        table = looked_up(table, ids, {"value": facts.column(value)}, names)
    counted = [name for name in table.columns if name.startswith(("id_", "entity_", "line_"))]
    bags = [name for name in table.columns if name.startswith("bag_")]
    made = table.select(
      *bags,
      *facts.order,
      **{name: table[column] for name, column in numbers.items()},
      **{name: table[name].fill_null(0) for name in counted},
    )
    return self.engine.batches(made, ["time", *numbers, *counted, *bags], facts.order)


def steps(log: Log) -> int:
  """How many times `code` tells that it got on."""
  return 1 + len(log.categorical) + len(log.bags)


def code(
  engine: Engine,
  facts: Facts,
  calendar: Calendar,
  advance: Callable[[int], None],
  hashing: Hashing | None = None,
) -> Coded:
  """Works out what all days together need."""
  log, last = facts.log, calendar.days[-1]
  rows = facts.table.filter(facts.table.day <= last)
  if not isinstance(log.rows.op(), ops.PhysicalTable):  # else they are read as fast again
    rows = engine.keep(rows)
  rows = rows.mutate(is_training=rows.day < last)
  advance(1)
  met = [sides.met(engine, facts, rows, place) for place in range(len(log.sides))]
  vocabularies: dict[str, Vocabulary] = {}
  of_column: dict[tuple[str, str], Vocabulary] = {}  # one for features that are the same
  for column, name, value in coded_features(log):
    make = (
      functools.partial(codes.of_lists, name=name) if column.startswith("bag") else codes.of_values
    )
    by = ""
    if hashing is not None and name in hashing.columns:
      make = functools.partial(codes.of_hashes, column=name, buckets=hashing.buckets)
      by = name
    home = facts.home(value)
    if home is not None:
      lines = met[home].select("weight", "first", value=met[home][column])
      vocabularies[name] = make(engine, lines)
    else:
      of_row = facts.column(value)
      if (of_row, by) not in of_column:
        of_column[of_row, by] = make(engine, facts.appearances(rows, {"value": of_row}))
      vocabularies[name] = of_column[of_row, by]
    advance(1)
  folder = engine.work / "sides"
  coded = [
    sides.code(engine, facts, place, lines, vocabularies, folder / str(place))
    for place, lines in enumerate(met)
  ]
  return Coded(engine, facts, vocabularies, rows, coded, hashing)
