"""What a source declares, worked out: the rows of a log as a frame."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from ranking.data.engine import Engine
from ranking.data.schema import Log, Source


def worked_out(source: Source) -> tuple[pd.DataFrame, Log]:
  """The rows of a log in order of time, and what declares it.

  Columns: time, day (by its name), and the features and labels by their names.
  """
  with tempfile.TemporaryDirectory() as work, Engine(Path(work), threads=2) as engine:
    log = source.log(engine)
    numbers = {**log.dense, **log.labels}
    values = {
      **log.categorical,
      **log.bags,
      **{name: number.value.cast("float64") for name, number in numbers.items()},
    }
    columns = {f"x{k}": value for k, value in enumerate(values.values())}
    sequence = log.time if log.sequence is None else log.sequence
    table = log.rows.select(time=log.time, day=log.day, sequence=sequence, **columns)
    frame = engine.frame(table.order_by(["time", "sequence"])).drop(columns="sequence")
    frame = frame.rename(columns=dict(zip(columns, values, strict=True)))
    frame["day"] = frame["day"].map(log.day_name)
    for name, number in numbers.items():
      if number.scale is not None:
        frame[name] = number.scale(frame[name].to_numpy(np.float64))
    return frame, log
