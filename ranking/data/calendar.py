"""The days of a log: their rows, and which of them counts as the last."""

import bisect
import dataclasses
from collections.abc import Sequence

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from ranking.data.engine import Engine
from ranking.data.facts import Facts
from ranking.data.schema import DataError

RULE = "too few to be day N: it has at least fair_share of the median rows of such days up to it"


@dataclasses.dataclass(frozen=True)
class Calendar:
  """The days of a log, in order.

  Attributes:
    days: their numbers, as the log has them; the last is day N.
    names: of the days.
    rows: of each day.
    first_times: of each day, in ms since epoch UTC.
    thin: rows of each day after day N, which are left out because they are too few.
  """

  days: tuple[int, ...]
  names: tuple[str, ...]
  rows: tuple[int, ...]
  first_times: tuple[int, ...]
  thin: tuple[int, ...] = ()


def read(
  engine: Engine, facts: Facts, name: str, without_last_days: int, fair_share: float
) -> Calendar:
  """Counts the rows of each day and finds day N. Raises DataError where there are not two days."""
  rows: ir.Table = facts.table
  frame = engine.frame(
    rows.group_by("day")
    .agg(
      rows=rows.count(),
      first=rows.time.min(),
      last=rows.time.max(),
      timeless=rows.time.isnull().cast("int64").sum(),
    )
    .order_by("day")
  )
  days = frame.astype({"rows": int}).to_dict("list")
  if len(frame) and (sum(days["timeless"]) or frame["day"].isna().any()):
    raise DataError(f"{name} has rows without a time or day; a source must drop and count them")
  for place in range(1, len(frame)):
    if days["first"][place] <= days["last"][place - 1]:
      day = facts.log.day_name(days["day"][place])
      raise DataError(f"day {day} begins before the day before it ends; mend the day boundary")
  fair = fair_days(days["rows"], fair_share)
  stop = fair[-1 - without_last_days] + 1 if len(fair) > without_last_days else 0
  kept, thin = days["rows"][:stop], days["rows"][fair[-1] + 1 :] if fair else []
  if len(kept) < 2:
    unit = "day" if len(kept) == 1 else "days"
    without = f" without the last {without_last_days}" if without_last_days else ""
    after = f", and {sum(thin):,} rows after it, {RULE}" if thin else ""
    raise DataError(
      f"{name} has {sum(kept):,} rows of {len(kept)} {unit}{without}{after}; training and day N "
      "need at least two days"
    )
  return Calendar(
    days=tuple(days["day"][:stop]),
    names=tuple(facts.log.day_name(day) for day in days["day"][:stop]),
    rows=tuple(kept),
    first_times=tuple(days["first"][:stop]),
    thin=tuple(thin) if not without_last_days else (),
  )


def slice_ends(engine: Engine, time: ir.Value, slices: int) -> list[int]:
  """Cuts a log into slices of equal count, each cut moved on to the next change of time.

  Args:
    engine: what sorts the times.
    time: of all rows, a whole number, over one table.
    slices: how many.

  Returns:
    The last time of each slice, in order; fewer than `slices` where there are too few times.
  """
  times = time.name("time").as_table()
  counted = times.group_by("time").agg(rows=times.count())
  total = engine.number(times.count())
  cuts = [total * k // slices for k in range(1, slices + 1)]
  ends: list[int] = []
  seen = 0
  for batch in engine.batches(counted, ["time", "rows"], ["time"]):
    rows = seen + np.cumsum(batch["rows"].to_numpy())
    while cuts and cuts[0] <= rows[-1]:
      ends.append(batch["time"][int(np.searchsorted(rows, cuts.pop(0)))].as_py())
    seen = rows[-1]
  return sorted(set(ends))


def sliced(engine: Engine, rows: ir.Table, time: str, ends: Sequence[int]) -> ir.Table:
  """Adds the column slice, from 0, to rows; `time` names that of times, `ends` as above."""
  after = [-(2**62), *ends[:-1]]
  slices = engine.arrow(
    pa.table(
      {
        "slice": pa.array(range(len(ends)), pa.int32()),
        "after": pa.array(after, pa.int64()),
        "until": pa.array(ends, pa.int64()),
      }
    )
  )
  both = rows.inner_join(slices, [rows[time] > slices.after, rows[time] <= slices.until])
  return both.select(*rows.columns, "slice")


def fair_days(rows: Sequence[int], share: float) -> list[int]:
  """The places of days that may be day N: with a share of the median of those before and itself.

  No day after one of them has a say in it, and nor have days that are too small themselves.
  """
  fair, ordered = [], list[int]()
  for place, of_day in enumerate(rows):
    bisect.insort(ordered, of_day)
    middle = len(ordered) - 1
    median = (ordered[middle // 2] + ordered[(middle + 1) // 2]) / 2
    if of_day >= share * median:
      fair.append(place)
    else:
      ordered.remove(of_day)
  return fair
