"""All rows of a source's log in memory, as the engine declares them, for tests to look at."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ranking.data.engine import Engine
from ranking.data.facts import Facts, as_number, coded_features, looked_up
from ranking.data.schema import Number, Source
from tests.frames import Bag, FrameLog


def read_whole(source: Source, engine: str = "duckdb") -> FrameLog:
  """The log of a source, in order, before values are codes."""
  with tempfile.TemporaryDirectory() as folder, Engine(Path(folder), engine) as running:
    log = source.log(running)
    facts = Facts(log)
    table = facts.table
    columns: dict[str, str] = {}
    numbers = {f"dense_{k}": number.value for k, number in enumerate(log.dense.values())}
    numbers |= {f"label_{k}": number.value for k, number in enumerate(log.labels.values())}
    features = {column: value for column, _, value in coded_features(log)}
    for place, side in enumerate(log.sides):
      own = {k: v for k, v in features.items() if facts.home(v) == place}
      own |= {k: as_number(v) for k, v in numbers.items() if facts.home(v) == place}
      keys = {f"key_{k}": name for k, name in enumerate(side.keys)}
      of_side = side.table.select(**{k: side.table[name] for k, name in keys.items()}, **own)
      of_rows = {f"key_{k}": facts.column(v) for k, v in enumerate(side.keys.values())}
      table = looked_up(table, of_side, of_rows, {name: name for name in own})
      columns |= {name: name for name in own}
    columns |= {k: facts.column(v) for k, v in features.items() if k not in columns}
    columns |= {k: facts.number(v) for k, v in numbers.items() if k not in columns}
    columns |= {f"truth_{k}": facts.number(v) for k, v in enumerate(log.truth.values())}
    order = [name for name in facts.order if name != "time"]
    made = table.select(
      time=table.time,
      day=table.day,
      **{f"order_{k}": table[name] for k, name in enumerate(order)},
      **{name: table[column] for name, column in columns.items()},
    )
    order = ["time", *(f"order_{k}" for k in range(len(order)))]
    batches = [b.to_pandas() for b in running.batches(made, ["time", "day", *columns], order)]
    cleaning = {
      what: count if isinstance(count, int) else running.number(count)
      for what, count in log.cleaning.items()
    }
  frame = pd.concat(batches, ignore_index=True)
  days, day = np.unique(frame.day, return_inverse=True)

  def numbers_of(kind: str, given: dict[str, Number], dtype: Any = np.float64) -> pd.DataFrame:
    made = {}
    for k, (name, number) in enumerate(given.items()):
      values = frame[f"{kind}_{k}"].to_numpy(np.float64)
      made[name] = (number.scale(values) if number.scale else values).astype(dtype)
    return pd.DataFrame(made)

  bags = {}
  for k, name in enumerate(log.bags):
    lists = [() if v is None else tuple(v) for v in frame[f"bag_{k}"]]
    index, distinct = pd.factorize(pd.Series(lists, dtype=object))
    bags[name] = Bag([list(entry) for entry in distinct], index)
  return FrameLog(
    time=frame.time.to_numpy(),
    day=day.astype(np.int32),
    day_names=[log.day_name(int(number)) for number in days],
    time_zone=log.time_zone,
    categorical=pd.DataFrame({n: frame[f"id_{k}"] for k, n in enumerate(log.categorical)}),
    bags=bags,
    dense=numbers_of("dense", dict(log.dense)),
    labels=numbers_of("label", dict(log.labels), np.float32),
    tasks=log.tasks,
    entities=log.entities,
    rated_tasks=log.rated_tasks,
    cleaning=cleaning,
    truth=pd.DataFrame({n: frame[f"truth_{k}"] for k, n in enumerate(log.truth)})
    if log.truth
    else None,
    report_by=log.report_by,
  )
