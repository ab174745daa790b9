"""Tables beside a log, coded: a row knows its line in each, and is given the values when packed."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from ranking.array import Array
from ranking.data.codes import Vocabulary
from ranking.data.engine import Engine
from ranking.data.facts import Facts, as_number, coded_features, looked_up
from ranking.data.schema import DataError


@dataclasses.dataclass(frozen=True)
class CodedSide:
  """A side whose values are codes, in files that the system keeps in memory while there is room.

  Line 0 of each array is for rows that have no line: 0 for an id, NaN for a number.

  Attributes:
    lines: key_k, the keys; and line, from 1.
    ids: int32 [lines + 1, C], of the categorical features whose places in the log are `id_places`.
    bags: by place in the log, int32 [lines + 1, length], padded with 0.
    dense: float64 [lines + 1, D], on their scale; of the dense features at `dense_places`.
  """

  lines: ir.Table
  ids: Array
  id_places: list[int]
  bags: Mapping[int, Array]
  dense: Array
  dense_places: list[int]


def met(engine: Engine, facts: Facts, rows: ir.Table, place: int) -> ir.Table:
  """The lines of a side that rows of the log have.

  Columns: key_k; id_k, bag_k and dense_k of the features that it has, values as they are; weight
  and first, of the rows. Raises DataError where a key has several lines.
  """
  log, side = facts.log, facts.log.sides[place]
  features = {column: value for column, _, value in _coded(facts, place)}
  for k, number in enumerate(log.dense.values()):
    if facts.home(number.value) == place:
      features[f"dense_{k}"] = as_number(number.value)
  keys = {f"key_{k}": name for k, name in enumerate(side.keys)}
  lines = side.table.select(**{key: side.table[name] for key, name in keys.items()}, **features)
  of_rows = {f"key_{k}": facts.column(value) for k, value in enumerate(side.keys.values())}
  seen = facts.appearances(rows, of_rows).rename(**{f"of_rows_{key}": key for key in of_rows})
  both = lines.inner_join(seen, [lines[key] == seen[f"of_rows_{key}"] for key in keys])
  kept = engine.keep(both.select(*(both[name] for name in (*lines.columns, "weight", "first"))))
  count, distinct = engine.number(kept.count()), kept.select(*keys).distinct().count()
  if count > (once := engine.number(distinct)):
    raise DataError(
      f"a table beside the log has {count:,} lines of {once:,} {', '.join(side.keys)}; "
      "keep one line of each"
    )
  return kept


def code(
  engine: Engine,
  facts: Facts,
  place: int,
  lines: ir.Table,
  vocabularies: Mapping[str, Vocabulary],
  folder: Path,
) -> CodedSide:
  """Codes what `met` gives of a side; the arrays become files of a folder that is new."""
  dense = facts.log.dense.values()
  keys = [f"key_{k}" for k in range(len(facts.log.sides[place].keys))]
  for column, name, _ in _coded(facts, place):
    ids = vocabularies[name].table
    lines = lines.rename(value=column)
    lines = looked_up(lines, ids, {"value": "value"}, {column: "id"}).drop("value")
  number = ibis.row_number().over(ibis.window(order_by=keys)) + 1
  lines = engine.keep(lines.drop("weight", "first").mutate(line=number.cast("int32")))
  count = engine.number(lines.count())
  folder.mkdir(parents=True)

  def array(name: str, dtype: str, width: int) -> Array:
    shape = (count + 1, width)
    if not width:
      return np.zeros(shape, dtype)
    return np.asarray(np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape))

  id_columns = [column for column, _, _ in _coded(facts, place) if column.startswith("id")]
  dense_places = [k for k, each in enumerate(dense) if facts.home(each.value) == place]
  scales = [[*dense][k].scale for k in dense_places]
  made = CodedSide(
    lines=lines.select(*keys, "line"),
    ids=array("ids", "<i4", len(id_columns)),
    id_places=[int(column.removeprefix("id_")) for column in id_columns],
    bags={
      int(column.removeprefix("bag_")): array(column, "<i4", vocabularies[name].length)
      for column, name, _ in _coded(facts, place)
      if column.startswith("bag")
    },
    dense=array("dense", "<f8", len(dense_places)),
    dense_places=dense_places,
  )
  made.dense[0] = np.nan
  columns = [*id_columns, *(f"bag_{k}" for k in made.bags), *(f"dense_{k}" for k in dense_places)]
  first = 1
  for batch in engine.batches(lines, columns or ["line"], ["line"]):
    stop = first + batch.num_rows
    for k, column in enumerate(id_columns):
      made.ids[first:stop, k] = batch[column].fill_null(0).to_numpy(zero_copy_only=False)
    for k, bag in made.bags.items():
      fill(bag[first:stop], batch[f"bag_{k}"])
    for k, scale in enumerate(scales):
      made.dense[first:stop, k] = numbers(batch[f"dense_{dense_places[k]}"], scale)
    first = stop
  return made


def numbers(column: pa.Array | pa.ChunkedArray, scale: Callable[[Array], Array] | None) -> Array:
  """float64 [n] on their scale; NaN = missing."""
  values: Array = column.to_numpy(zero_copy_only=False).astype(np.float64)
  if scale is None:
    return values
  with np.errstate(divide="ignore", invalid="ignore"):
    return scale(values)


def fill(table: Array, lists: pa.Array) -> None:
  """Writes lists of ids into the rows of a table [n, length] that is 0."""
  lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
  flat = lists.flatten().fill_null(0).to_numpy(zero_copy_only=False)
  row = np.repeat(np.arange(len(lengths)), lengths)
  place = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
  table[row, place] = flat


def _coded(facts: Facts, place: int) -> Iterator[tuple[str, str, ir.Value]]:
  """Of `coded_features` those that a side has."""
  for column, name, value in coded_features(facts.log):
    if facts.home(value) == place:
      yield column, name, value
