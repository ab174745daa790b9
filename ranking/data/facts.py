"""The rows of a log as the engine has them: few columns, under names no user can have chosen."""

from typing import Any, Final

import ibis
import ibis.expr.types as ir
import numpy as np

from ranking.data.schema import DataError, Log

FINEST: Final = 2.0**-20  # rated labels that are no whole numbers are summed as multiples of it
WHOLE: Final = ("binary", "count")  # kinds of task whose labels are whole numbers


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
    if log.weight is not None:
      self._take_in(log.weight, is_number=True)
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

  def known(self, table: ir.Table, task: str) -> tuple[ir.Value, ir.Value]:
    """Whether a rated label is known, 0 or 1, and the label in its units, 0 if it is not."""
    label = table[self.number(self.log.labels[task].value)]
    # What is too large for a sum is refused when it is packed.
    fits = label.abs() < 2.0**62 * self.unit(task)
    fixed = in_units(ibis.ifelse(fits, label, 0.0), self.unit(task))
    return label.notnull().cast("int64"), fixed.cast("int64").fill_null(0)

  def is_binary(self, task: str) -> bool:
    """Whether the labels of a task are 0 and 1."""
    return next(each.kind for each in self.log.tasks if each.name == task) == "binary"

  def unit(self, task: str) -> float:
    """What 1 stands for in a sum of labels of a rated task."""
    kind = next(each.kind for each in self.log.tasks if each.name == task)
    return 1.0 if kind in WHOLE else FINEST

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


def in_units(label: Any, unit: float) -> Any:
  """A label as a whole number of units, of an engine's column or of an array."""
  halves = label * (1.0 / unit) + 0.5
  return np.floor(halves) if isinstance(halves, np.ndarray) else halves.floor()


def as_number(value: ir.Value) -> ir.Value:
  """float64; NaN becomes null."""
  number = value.cast("float64")
  return ibis.ifelse(number.isnan(), ibis.null("float64"), number) if _is_float(value) else number


def _is_float(value: ir.Value) -> bool:
  return bool(value.type().is_floating())
