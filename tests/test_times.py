"""Times are what they are said to be, or the error says what they may be."""

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ranking.data.times import Time
from tests.test_values import read

MARCH = 1_772_323_200_000  # 2026-03-01, UTC
FAR = datetime.datetime(9999, 12, 31)


@pytest.mark.parametrize(
  ("kind", "column", "expected"),
  [
    (Time(), ["2026-03-01", "2026-03-01T01:00+01:00", "2026-03-01 00:00:00.000Z"], [MARCH] * 3),
    (Time(), ["2026-03-01T00:00:00.0019", "20260301"], [MARCH + 1, MARCH]),
    (Time(), ["2026-03-01", "", None, "soon", "17"], [MARCH, *["wrong"] * 4]),
    (Time(format="%y%m%d%H"), ["26030100", "26033100x"], [MARCH, "wrong"]),
    (Time(format="%y%m%d%H"), [26030100], [MARCH]),
    (Time(format="%Y%m%d %H%M"), ["20260301 0105", "20260301 105"], [MARCH + 3_900_000, "wrong"]),
    (Time(format="%m/%d/%Y %H:%M"), ["3/1/2026 0:00", "03/01/2026 0:0"], [MARCH, MARCH]),
    (Time(format="%m/%d/%Y %I:%M %p"), ["03/01/2026 12:00 AM"], [MARCH]),
    (Time("s"), [MARCH // 1000, None], [MARCH, "wrong"]),
    (Time("s"), [str(MARCH // 1000), f"{MARCH // 1000}.5", "x"], [MARCH, MARCH + 500, "wrong"]),
    (Time("ns"), [f"{MARCH}999999"], [MARCH]),
    (Time("us"), [MARCH * 1000 + 1999], [MARCH + 1]),
    (Time("ns"), [f"{MARCH}999999", "x"], [MARCH, "wrong"]),  # as if there were no x
    (Time("ns"), [f"+{MARCH}999999", f"{MARCH}999999.0"], [MARCH, MARCH]),
    (Time("s"), [f"{MARCH // 1000}.{k:03d}" for k in range(40)], [MARCH + k for k in range(40)]),
    (Time("s"), ["-1", "-0.001", "1e3"], [-1000, -1, 1_000_000]),
    (Time("s"), ["1.772323e+09", f"{MARCH // 1000}"], ["wrong", MARCH]),
    (Time("s"), np.array([MARCH // 1000, 5], np.float32), ["wrong", 5000]),
    (Time("s"), [MARCH // 1000] * 2 + [10**16], [MARCH, MARCH, "wrong"]),
    (Time("s"), [0, 86_400, 100_000], [0, 86_400_000, 100_000_000]),  # of an unknown start
    (Time("s"), [MARCH // 1000, MARCH // 1000, 5], [MARCH, MARCH, 5000]),  # a clock that was wrong
    (Time(), pa.array([MARCH * 1000], pa.timestamp("us")), [MARCH]),
    (Time(), pa.array([MARCH], pa.timestamp("ms", "Asia/Tokyo")), [MARCH]),
    (Time(), pa.array([-1, MARCH * 1000], pa.timestamp("us")), [-1, MARCH]),
    *(
      (kind, pa.array([datetime.datetime(2026, 3, 1), FAR], pa.timestamp(unit)), [MARCH, "wrong"])
      for unit in ("s", "ms", "us")
      for kind in (Time(), Time(zone="Africa/Abidjan"))
    ),
    (Time(), [datetime.date(2026, 3, 1), FAR.date()], [MARCH, "wrong"]),
    (Time(), ["2026-03-01", "9999-12-31"], [MARCH, "wrong"]),
    (Time(), ["2026-03-01 00:00:00 UTC", "2026-03-01T00:00:00z"], [MARCH] * 2),
    (Time(), ["2026-03-01", "now", "today"], [MARCH, "wrong", "wrong"]),
    (Time(zone="Asia/Tokyo"), ["20260301T000000Z", "2026-03-01T09:00"], [MARCH, MARCH]),
    (Time(), [datetime.date(2026, 3, 1), None], [MARCH, "wrong"]),
    (Time(), [1.5], ["wrong"]),
    (Time(), pa.nulls(1), ["wrong"]),
  ],
)
def test_times_are_ms_since_1970_in_utc(kind: Time, column: Any, expected: list[Any]) -> None:
  assert read(kind, column) == expected


def test_local_times_are_those_on_the_wall_of_their_zone() -> None:
  texts = ["2026-03-29T01:59", "2026-03-29T02:30", "2026-10-25T02:30", "2026-10-25T02:30:00Z"]
  kind = Time(zone="Europe/Berlin")
  expected = pd.to_datetime(
    ["2026-03-29T00:59", "2026-03-29T01:30", "2026-10-25T00:30", "2026-10-25T02:30"]
  )
  for column in (texts, texts[:3], pa.array(pd.to_datetime(texts[:3]))):
    ms = expected[: len(column)].astype("datetime64[ms]").astype(np.int64)
    assert read(kind, column) == ms.tolist()
  assert kind.read(pa.array(texts), ()).counts == {
    "kept: times in an hour that the clocks repeat, taken as the earlier": 1,
    "kept: times in an hour that the clocks skip, taken an hour later": 1,
  }
  stated = Time(format="%d.%m.%Y %H:%M", zone="Europe/Berlin")
  assert read(stated, ["01.03.2026 01:00"]) == [MARCH]


@pytest.mark.parametrize(
  ("form", "column", "zoneless"),
  [
    (None, ["2026-03-01 00:00", "2026-03-01"], 2),
    (None, ["2026-03-01T00:00Z", "2026-03-01 00:00 UTC", "2026-03-01T00:00+01", "2026-03-01"], 1),
    (None, pa.array([MARCH], pa.timestamp("ms")), 1),
    (None, pa.array([MARCH], pa.timestamp("ms", "UTC")), 0),
    ("%d.%m.%Y", ["01.03.2026", ""], 1),
    ("%d.%m.%Y %z", ["01.03.2026 +0100"], 0),
  ],
)
def test_dates_without_a_zone_that_are_not_those_of_the_days_are_counted(
  form: str | None, column: Any, zoneless: int
) -> None:
  for kind, count in (
    (Time(format=form, days="Asia/Tokyo"), zoneless),
    (Time(format=form, zone="Asia/Tokyo", days="Asia/Tokyo"), 0),
    (Time(format=form), 0),
  ):
    assert sum(kind.read(pa.array(column), ()).counts.values()) == count


@pytest.mark.parametrize(
  ("kind", "column", "cure"),
  [
    (
      Time("ms"),
      [MARCH // 1000],
      'be in the year 1970; Table.time_unit = "s" makes it 2026-',
    ),
    (Time("s"), [MARCH], 'in the year 58132; Table.time_unit = "ms" makes it 2026-03-01'),
    (Time("us"), [MARCH * 10**6], 'Table.time_unit = "ns" makes it 2026-03-01'),
    (Time(), [MARCH], 'Table.time_unit = "ms" makes it 2026-03-01'),
    (Time(), [str(MARCH // 1000)], 'Table.time_unit = "s" makes it 2026-03-01'),
    (Time(), ["26030100", "26030123"], 'give Table.time_format = "%y%m%d%H"'),
    (Time(), ["03/13/2026 12:04 AM"] * 2 + ["03/14/2026 1:04 PM"], '"%m/%d/%Y %I:%M %p"'),
    (Time(), ["01/02/2026", "03/02/2026"], 'time_format = "%m/%d/%Y" or "%d/%m/%Y"'),
    (Time(), ["Mar 1, 2026", "May 12, 2026"], 'time_format = "%b %d, %Y"'),
  ],
)
def test_times_in_another_unit_or_format_than_was_said_come_with_the_one_that_fits(
  kind: Time, column: list[Any], cure: str
) -> None:
  found = kind.read(pa.array(column), ())
  assert found.wrong.all()
  assert cure in found.cure
