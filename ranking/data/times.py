"""Times of a raw column: dates in any format, or numbers since 1970 in the unit that is said.

What cannot be meant is an error that says what could: seconds that are read as ms are of 1970.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ranking.array import Array
from ranking.data.values import (
  Read,
  as_float,
  as_mask,
  as_text,
  is_nested,
  is_text,
  lost_digits,
  plain,
)

MS_PER = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
PER_MS = {"us": 1000, "ns": 1_000_000}
WHOLE = r"^[+]?(-?\d{1,18}|-?[1-8]\d{18})(\.0*)?$"  # that int64 holds
OWN = r"\d[T ]\d.*(?:[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)$"  # a date that says its zone
RUN = re.compile(r"(?=.*%\w%\w)(%[YymdHMSj]|[^%])*")  # a format with numbers side by side
NOW = ("now", "today")  # which pandas takes for dates
LATEST = 2**63 // 10**6 - 2 * 86_400_000  # ms since 1970, of 2262; pandas counts ns, in any zone
PLAUSIBLE = (631_152_000_000, 4_102_444_800_000)  # ms: the years 1990 to 2099
EXAMPLE = pd.Timestamp("2026-03-01", tz="UTC")
FORMATS = (  # of times, that are tried for a hint where none is given
  *("%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%Y.%m.%d %H:%M:%S"),
  *("%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y"),
  *("%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M"),
  *("%d.%m.%Y", "%d/%b/%Y:%H:%M:%S %z", "%d-%b-%Y %H:%M:%S", "%a %b %d %H:%M:%S %Y"),
  *("%m %d, %Y", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%a, %d %b %Y %H:%M:%S %z"),
  *("%a %b %d %H:%M:%S %z %Y", "%y%m%d%H", "%Y%m%d%H", "%Y%m%d", "%y%m%d", "%Y%m%d%H%M%S"),
)


@dataclasses.dataclass(frozen=True)
class Time:
  """int64, ms since 1970 in UTC.

  Attributes:
    unit: of numbers since 1970; None for dates.
    format: of dates as text, as strptime has it; None for ISO 8601.
    zone: of dates that do not say theirs.
    days: the zone in which days begin; that dates are not of it is counted.
  """

  unit: str | None = None
  format: str | None = None
  zone: str = "UTC"
  days: str = "UTC"
  type = pa.int64()

  def read(self, column: pa.Array, missing: Collection[str]) -> Read:
    """Nothing at all is something else too: each row needs a time."""
    column = plain(column)
    if is_nested(column.type):
      return Read(pa.nulls(len(column), self.type), as_mask(column.is_valid()), "a time")
    return self._numbers(column, missing) if self.unit else self._dates(column, missing)

  def _numbers(self, column: pa.Array, missing: Collection[str]) -> Read:
    assert self.unit is not None
    counts: Mapping[str, int] = {}
    if pa.types.is_temporal(column.type):
      wrong = np.ones(len(column), bool)
      cure = "leave out Table.time_unit, which is of numbers"
      return Read(pa.nulls(len(column), self.type), wrong, "a number", cure)
    if is_text(column.type):
      column, counts = as_text(column, missing)
    known = as_mask(column.is_valid())
    numbers = as_float(column)
    wrong = ~known | ~np.isfinite(numbers)
    belongs, cure = "a number since 1970", ""
    far = ~wrong & (np.abs(numbers * MS_PER[self.unit]) > LATEST)
    times = _in_ms(column, np.where(wrong | far, 0, numbers), self.unit)
    seen = numbers[~wrong]
    plausible = _plausible(seen * MS_PER[self.unit])
    if len(seen) and plausible.mean() < 0.5 and (unit := unit_that_fits(seen)):
      # Not some clocks that were wrong, but the unit.
      odd = np.flatnonzero(~wrong)[~plausible]
      wrong[odd] = True
      belongs = f"a time in {self.unit} since 1970"
      cure = f'it would be {_year(numbers[odd[0]], self.unit)}; Table.time_unit = "{unit}" makes '
      cure += f"it {_date(numbers[odd[0]], unit)}"
    elif (rounded := lost_digits(column) & ~wrong).any():
      wrong |= rounded
      belongs, cure = "a time to its last digit", "write times as whole numbers"
    elif far.any():
      wrong |= far
      belongs, cure = "a time that a calendar has", "mend Table.time_unit, or the row"
    return Read(pa.array(times, mask=wrong), wrong, belongs, cure, counts)

  def _dates(self, column: pa.Array, missing: Collection[str]) -> Read:
    counts: dict[str, int] = {}
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
      return self._typed(column)
    if not is_text(column.type) and self.format is None:
      return self._numbers_without_unit(column)
    column, changed = as_text(column, missing)
    counts.update(changed)
    if "%z" not in (self.format or ""):
      own = False if self.format else as_mask(pc.match_substring_regex(column, OWN))
      self._count_zoneless(as_mask(column.is_valid()) & ~np.asarray(own), counts)
    if self.format is None:
      times = _iso(column, self.zone)
      if times is None:
        column = pc.replace_substring_regex(column, r"(?: ?UTC| ?GMT|z)$", "Z")
        times = _iso(column, self.zone)
      if times is not None:
        return _within_reach(times, counts)
    text = column.to_pandas()
    numbers = _epochs(text) & (self.format is None)
    if numbers.sum() > 0.5 * text.notna().sum():
      return self._numbers_without_unit(column)
    when = self._parsed(text.where(~numbers), counts)
    cure = ""
    if self.format and RUN.fullmatch(self.format):
      short = when.notna() & (text.str.len() < len(EXAMPLE.strftime(self.format)))
      if short.any():
        when = when.mask(short)
        cure = "numbers side by side need leading zeros: 105 may be 1:05 or 10:5"
    wrong = when.isna().to_numpy()
    times = when.to_numpy("datetime64[ns]").astype(np.int64) // 1_000_000
    known = wrong & as_mask(column.is_valid())
    if known.any() and not cure:
      cure = _hint(column.filter(pa.array(known)), column)
    belongs = "a date" if self.format is None else f"a date like {self.format}"
    values = pa.array(np.where(wrong, 0, times), mask=wrong)
    return Read(values, wrong, belongs, cure, counts)

  def _count_zoneless(self, dates: Array, counts: dict[str, int]) -> None:
    """Counts dates, bool [n], that do not say their zone, where that makes a difference."""
    if self.days not in (self.zone, "UTC") and dates.any():
      what = "kept: dates of {column} that name no zone, taken as UTC; Table.time_is_local = True "
      counts[f"{what}takes them as of {self.days}"] = int(dates.sum())

  def _typed(self, column: pa.Array) -> Read:
    """Of timestamps and dates as Parquet has them."""
    counts: dict[str, int] = {}
    is_local = pa.types.is_date(column.type) or column.type.tz is None
    if pa.types.is_date(column.type):
      column = column.cast(pa.timestamp("ms"))
    found = _within_reach(_of_timestamps(column), counts)
    if is_local:
      self._count_zoneless(~found.wrong, counts)
    if not is_local or self.zone == "UTC":
      return found
    when = self._local(pd.Series(pd.to_datetime(found.values.to_pandas(), unit="ms")), counts)
    times = when.to_numpy("datetime64[ms]").astype(np.int64)
    return dataclasses.replace(found, values=pa.array(times, mask=found.wrong))

  def _parsed(self, text: "pd.Series[str]", counts: dict[str, int]) -> "pd.Series[Any]":
    """Timestamps in UTC; NaT where the text is no date."""
    form = self.format or "ISO8601"
    text = text.mask(text.str.lower().isin(NOW))
    if self.zone == "UTC" or "%z" in form:
      return pd.to_datetime(text, utc=True, errors="coerce", format=form)
    if self.format is not None:
      return self._local(pd.to_datetime(text, errors="coerce", format=form), counts)
    own = text.str.contains(OWN, regex=True, na=False)
    when = pd.to_datetime(text.where(own), utc=True, errors="coerce", format=form)
    others = pd.to_datetime(text.where(~own), errors="coerce", format=form)
    return when.where(own, self._local(others, counts))

  def _local(self, when: "pd.Series[Any]", counts: dict[str, int]) -> "pd.Series[Any]":
    """Timestamps in UTC of such that are the time on the wall of the zone."""
    if self.zone == "UTC":
      return when.dt.tz_localize("UTC")
    known = when.notna()
    first = when.dt.tz_localize(self.zone, ambiguous=np.ones(len(when), bool), nonexistent="NaT")
    second = when.dt.tz_localize(self.zone, ambiguous=np.zeros(len(when), bool), nonexistent="NaT")
    if twice := int((first != second)[known & first.notna()].sum()):
      counts["kept: times in an hour that the clocks repeat, taken as the earlier"] = twice
    if skipped := int((known & first.isna()).sum()):
      counts["kept: times in an hour that the clocks skip, taken an hour later"] = skipped
      shifted = when.dt.tz_localize(
        self.zone, ambiguous=np.ones(len(when), bool), nonexistent=pd.Timedelta(hours=1)
      )
      first = first.where(first.notna(), shifted)
    return first.dt.tz_convert("UTC")

  def _numbers_without_unit(self, column: pa.Array) -> Read:
    """All are wrong: what a number means has to be said."""
    numbers = as_float(column)
    seen = numbers[np.isfinite(numbers)]
    unit = unit_that_fits(seen)
    if unit:
      cure = f'Table.time_unit = "{unit}" makes it {_date(seen[0], unit)}'
    else:
      texts = pc.cast(column, pa.string())
      cure = _hint(texts, texts) or "give Table.time_unit or Table.time_format"
    return Read(pa.nulls(len(column), self.type), np.ones(len(column), bool), "a date", cure)


def _iso(texts: pa.Array, zone: str) -> pa.Array | None:
  """Times in ms of dates that are all written alike, which Arrow reads fast; else None."""
  for kind in (pa.timestamp("us", "UTC"), pa.timestamp("us")):
    if kind.tz is None and zone != "UTC":
      return None
    try:
      return _of_timestamps(texts.cast(kind))
    except pa.ArrowInvalid:
      continue
  return None


def _of_timestamps(column: pa.Array) -> pa.Array:
  """Whole ms since 1970 of timestamps of any unit; those that int64 does not hold come as null."""
  times = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
  if column.type.unit == "s":
    times = np.clip(times, -LATEST, LATEST) * 1000
  else:
    times = times // {"ms": 1, "us": 1000, "ns": 1_000_000}[column.type.unit]
  return pa.array(times, mask=as_mask(column.is_null()))


def _within_reach(times: pa.Array, counts: Mapping[str, int]) -> Read:
  """Times in ms, of which those are wrong that are null, or that pandas cannot count."""
  ms = times.fill_null(0).to_numpy(zero_copy_only=False)
  far = np.abs(ms) > LATEST
  wrong = as_mask(times.is_null()) | far
  belongs = "a date from 1677 to 2262" if far.any() else "a date"
  return Read(pa.array(np.where(far, 0, ms), mask=wrong), wrong, belongs, "", counts)


def _in_ms(column: pa.Array, numbers: Array, unit: str) -> Array:
  """int64 [n] of numbers since 1970, rounded down."""
  ms = np.floor(np.round(numbers * MS_PER[unit], 3)).astype(np.int64)  # so that .001 s is 1 ms
  if unit not in PER_MS:
    return ms
  # A float does not hold all digits of whole us and ns.
  if is_text(column.type):
    is_whole = as_mask(pc.match_substring_regex(column, WHOLE))
    digits = pc.replace_substring_regex(column, r"^[+]|\.0*$", "")
    whole = pc.if_else(pa.array(is_whole), digits, "0").cast(pa.int64())
  elif pa.types.is_integer(column.type):
    is_whole, whole = as_mask(column.is_valid()), column.cast(pa.int64(), safe=False)
  else:
    is_whole, whole = numbers == np.floor(numbers), pa.array(numbers.astype(np.int64))
  exact = whole.fill_null(0).to_numpy(zero_copy_only=False) // PER_MS[unit]
  return np.where(is_whole, exact, ms)


def unit_that_fits(numbers: Array) -> str | None:
  """The unit in which most of some numbers since 1970 lie between 1990 and 2099."""
  for unit, ms in MS_PER.items():
    if len(numbers) and _plausible(numbers * ms).mean() > 0.5:
      return unit
  return None


def _plausible(times: Array) -> Array:
  return (times >= PLAUSIBLE[0]) & (times < PLAUSIBLE[1])


def _date(number: float, unit: str) -> str:
  return str(pd.Timestamp(int(number * MS_PER[unit]), unit="ms").date())


def _year(number: float, unit: str) -> str:
  return f"in the year {1970 + int(number * MS_PER[unit] / 31_556_952_000):,}".replace(",", "")


def _epochs(text: "pd.Series[str]") -> "pd.Series[bool]":
  """Which texts are numbers and no dates: 8 digits may be a day."""
  return text.str.fullmatch(r"[+-]?(?:\d{9,}|\d{1,7})(?:\.\d*)?", na=False)


def _hint(wrong: pa.Array, column: pa.Array) -> str:
  """The format that all of some wrong dates have, if it is one of the common ones."""
  some = pc.drop_null(pc.unique(wrong))[:1000].to_pandas()
  is_digits = some.str.isdigit().any()
  fitting = [
    form
    for form in FORMATS
    if not (is_digits and (some.str.len() != len(EXAMPLE.strftime(form))).any())
    and pd.to_datetime(some, errors="coerce", format=form, utc=True)
    .between(pd.Timestamp("1990-01-01", tz="UTC"), pd.Timestamp("2099-12-31", tz="UTC"))
    .all()
  ]
  if not len(some) or not fitting or len(wrong) < 0.5 * len(column):
    return ""
  if len(fitting) > 1 and len(some) == 1:
    return "give Table.time_format"
  shown = " or ".join(f'"{form}"' for form in fitting[:2])
  return f"give Table.time_format = {shown}"
