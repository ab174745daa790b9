"""A log that is in memory as pandas frames, declared to the engine."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ranking.array import Array
from ranking.data.schema import Log, Number
from ranking.tasks import Task

if TYPE_CHECKING:
  from ranking.data.engine import Engine


@dataclasses.dataclass(frozen=True)
class Bag:
  """A variable-length list of ids per row (genres, tags), each distinct list held once.

  Attributes:
    lists: the distinct lists; an id is any hashable value, an empty list is allowed.
    index: integer [n], which of `lists` each row has.
  """

  lists: Sequence[Sequence[Hashable]]
  index: Array


@dataclasses.dataclass(frozen=True)
class FrameLog:
  """A cleaned, time-ordered log with raw feature values: no vocabulary or statistic is taken yet.

  Attributes:
    time: int64 [n], event time in ms since epoch UTC, never decreasing.
    day: int32 [n], position in `day_names`, never decreasing; the last day is day N.
    day_names: N names, such as "2022-05-08".
    categorical: [n, C]; a missing value is None or NaN.
    bags: id lists by feature name.
    dense: float [n, D]; NaN = missing.
    labels: float32 [n, T], one column per task in the order of `tasks`; NaN = label missing.
    truth: float64 [n, T] of true probabilities and means, for a source that knows its own.

  The others are those of `Log`.
  """

  time: Array
  day: Array
  day_names: Sequence[str]
  time_zone: str
  categorical: pd.DataFrame
  bags: Mapping[str, Bag]
  dense: pd.DataFrame
  labels: pd.DataFrame
  tasks: Sequence[Task]
  entities: Sequence[str]
  rated_tasks: Sequence[str]
  cleaning: Mapping[str, int]
  truth: pd.DataFrame | None = None
  report_by: str | None = None


def declare(engine: "Engine", log: FrameLog) -> Log:
  """The same log, whose rows keep their order."""
  columns: dict[str, Any] = {
    "time": np.asarray(log.time, np.int64),
    "day": np.asarray(log.day, np.int32),
    "sequence": np.arange(len(log.time)),
    **{f"c{k}": _ids(column) for k, (_, column) in enumerate(log.categorical.items())},
    **{f"b{k}": _lists(bag) for k, bag in enumerate(log.bags.values())},
  }
  for kind, frame in (("d", log.dense), ("l", log.labels), ("t", log.truth)):
    if frame is not None:
      columns |= {
        f"{kind}{k}": column.to_numpy(np.float64) for k, (_, column) in enumerate(frame.items())
      }
  rows = engine.arrow(pa.table(columns))
  return Log(
    rows=rows,
    time=rows.time,
    day=rows.day,
    day_name=lambda day: log.day_names[day],
    sequence=rows["sequence"],
    time_zone=log.time_zone,
    tasks=log.tasks,
    labels={str(name): Number(rows[f"l{k}"]) for k, name in enumerate(log.labels)},
    categorical={str(name): rows[f"c{k}"] for k, name in enumerate(log.categorical)},
    bags={name: rows[f"b{k}"] for k, name in enumerate(log.bags)},
    dense={str(name): Number(rows[f"d{k}"]) for k, name in enumerate(log.dense)},
    entities=log.entities,
    rated_tasks=log.rated_tasks,
    report_by=log.report_by,
    cleaning=log.cleaning,
    truth={}
    if log.truth is None
    else {str(name): rows[f"t{k}"] for k, name in enumerate(log.truth)},
  )


def _ids(column: "pd.Series[Any]") -> pa.Array:
  """Whole numbers where all are, else text; null where missing."""
  values = [None if pd.isna(value) else value for value in column.astype(object)]
  try:
    return pa.array([None if value is None else _whole(value) for value in values], pa.int64())
  except (ValueError, TypeError):
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _whole(value: Any) -> int:
  if isinstance(value, str) or value != int(value):
    raise ValueError(value)
  return int(value)


def _lists(bag: Bag) -> pa.Array:
  values = pd.Series([value for entry in bag.lists for value in entry], dtype=object)
  ids = _ids(values)
  parts, start = [], 0
  for entry in bag.lists:
    parts.append(ids[start : start + len(entry)].to_pylist())
    start += len(entry)
  return pa.array([parts[place] for place in bag.index], pa.list_(ids.type))
