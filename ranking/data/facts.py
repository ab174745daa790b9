"""The rows of a log as the engine has them: few columns, under names no user can have chosen."""

from collections.abc import Iterator, Mapping
from typing import Any

import ibis
import ibis.expr.types as ir

from ranking.data.schema import DataError, Log


class Facts:
  """Each distinct expression over a log's rows is a column: x0, x1, …, beside time and day.

  Attributes:
    log: what it is made of.
    table: the columns.
    order: of rows; what is equal in all of these columns is equal.

  Raises DataError for a declaration that contradicts itself.
  """

  def __init__(self, log: Log):
    self.log = log
    self._name_of: dict[Any, str] = {}
    self._homes = {side.table.op(): place for place, side in enumerate(log.sides)}
    self._columns: dict[str, ir.Value] = {
      "time": log.time.cast("int64"),
      "day": log.day.cast("int32"),
    }
    if log.sequence is not None:
      self._columns["sequence"] = log.sequence.cast("int64")
    for value in (*log.categorical.values(), *log.bags.values()):
      if self.home(value) is None:
        self._take_in(value)
    for number in log.labels.values():
      self._take_in(number.value, is_number=True)
    for number in log.dense.values():
      if self.home(number.value) is None:
        self._take_in(number.value, is_number=True)
    for value in log.truth.values():
      self._take_in(value, is_number=True)
    for value in log.extras.values():
      self._take_in(value, is_number=True)
    for side in log.sides:
      for value in side.keys.values():
        self._take_in(value)
    self.table: ir.Table = log.rows.select(**self._columns)
    others = ["sequence"] if log.sequence is not None else list(self._name_of.values())
    self.order: list[str] = ["time", *others]
    self._check()

  def home(self, value: ir.Value) -> int | None:
    """Which side's table an expression is over; None for the log's rows."""
    return next((self._homes[op] for op in value.op().relations if op in self._homes), None)

  def column(self, value: ir.Value) -> str:
    """The name of an expression over the log's rows."""
    return self._name_of[value.op()]

  def number(self, value: ir.Value) -> str:
    """The name of an expression over the log's rows that is a number."""
    return self._name_of["number", value.op()]

  def appearances(self, rows: ir.Table, keys: Mapping[str, str]) -> ir.Table:
    """Per distinct key: weight, how many training rows have it, and first, when the first had it.

    Args:
      rows: some of the table's, with is_training.
      keys: columns of the result → of `rows`.
    """
    appeared = rows["sequence"] if "sequence" in rows.columns else rows["time"]
    each = rows.select(
      **{name: rows[column] for name, column in keys.items()},
      weight=rows.is_training.cast("int64"),
      first=ibis.ifelse(rows.is_training, appeared, ibis.null("int64")),
    )
    sums = each.group_by(list(keys)).agg(weight=each.weight.sum(), first=each["first"].min())
    return sums.mutate(weight=sums.weight.cast("int64"))

  def _take_in(self, value: ir.Value, is_number: bool = False) -> None:
    key = ("number", value.op()) if is_number else value.op()
    if key in self._name_of:
      return
    name = self._name_of[key] = f"x{len(self._name_of)}"
    self._columns[name] = as_number(value) if is_number else value

  def _check(self) -> None:
    log = self.log
    if list(log.labels) != [task.name for task in log.tasks]:
      raise DataError(f"labels {list(log.labels)} are not those of the tasks, in their order")
    if any(self.home(log.categorical[entity]) is not None for entity in log.entities):
      raise DataError("the entities of a log must be columns of its rows")
    if scaled := [task for task in log.rated_tasks if log.labels[task].scale is not None]:
      raise DataError(f"rated task {scaled[0]} is a logarithm, which an engine cannot sum")


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


def as_number(value: ir.Value) -> ir.Value:
  """float64; NaN becomes null."""
  number = value.cast("float64")
  return ibis.ifelse(number.isnan(), ibis.null("float64"), number) if _is_float(value) else number


def _is_float(value: ir.Value) -> bool:
  return bool(value.type().is_floating())
