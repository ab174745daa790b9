"""What a raw column is read as: an id, a bag of ids, a number, a yes or no, or a time.

Each kind takes an Arrow column as it lies, text or typed, and gives one of its own type in which
null is a missing value; beside it which rows hold something else, and what was changed.
"""

import ast
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ranking.array import Array

MS_PER = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
LATEST = 2**63 // 10**6  # ms since 1970; pandas counts ns
PLAUSIBLE = (631_152_000_000, 4_102_444_800_000)  # ms: the years 1990 to 2099
LARGEST = float(np.finfo(np.float32).max)  # that a dense feature or a label can be
WHOLE = re.compile(r"-?\d+\.0*")  # a whole number written as a float
FORMATS = (  # of times, that are tried for a hint where none is given
  *("%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%Y.%m.%d %H:%M:%S"),
  *("%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y"),
  *("%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M"),
  *("%d.%m.%Y", "%d/%b/%Y:%H:%M:%S %z", "%d-%b-%Y %H:%M:%S", "%a %b %d %H:%M:%S %Y"),
  *("%a %b %d %H:%M:%S %z %Y", "%y%m%d%H", "%Y%m%d%H", "%Y%m%d", "%y%m%d", "%Y%m%d%H%M%S"),
)
LOGARITHM = 'its logarithm is taken: mend it, or set Table.on_bad_row = "drop"'
STYLES = (("0", "1"), ("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))  # of yes and no


@dataclasses.dataclass
class Read:
  """A column as its kind reads it.

  Attributes:
    values: of the kind's type; null where missing, or where a row holds something else.
    wrong: bool [n] of the rows that hold something else.
    belongs: what should stand there instead, such as "a number".
    cure: of it, for the end of an error; "" for the general one.
    counts: how many values were changed, by how.
  """

  values: pa.Array
  wrong: Array
  belongs: str
  cure: str = ""
  counts: Mapping[str, int] = dataclasses.field(default_factory=dict)


class Kind(Protocol):
  """What a column is read as."""

  @property
  def type(self) -> pa.DataType:
    """Of the values."""

  def read(self, column: pa.Array, missing: Collection[str]) -> Read:
    """Reads a column in which some texts mean a missing value."""


@dataclasses.dataclass(frozen=True)
class Id:
  """Text; 5, 5.0 and "5" are one id."""

  type = pa.string()

  def read(self, column: pa.Array, missing: Collection[str]) -> Read:
    """Lists are something else."""
    if _nested(column.type):
      wrong = _mask(column.is_valid())
      return Read(
        pa.nulls(len(column), pa.string()), wrong, "a single id", "name lists in Table.bags"
      )
    values, counts = _text(column, missing)
    return Read(_whole_as_such(values), np.zeros(len(column), bool), "an id", "", counts)


@dataclasses.dataclass(frozen=True)
class Bag:
  """A list of ids: a list as such, text of a JSON or Python list, or text cut at a separator.

  `separator` is what text is cut at; None = a comma, unless it is written as a list.
  """

  separator: str | None = None
  type = pa.list_(pa.string())

  def read(self, column: pa.Array, missing: Collection[str]) -> Read:
    """Text that begins as a list and is none is something else where no separator is given."""
    column = _plain(column)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
      column = column.cast(pa.list_(column.type.value_type))
      flat = Id().read(column.flatten(), missing)
      lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
      offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
      lists = pa.ListArray.from_arrays(offsets, flat.values)
      wrong = np.zeros(len(column), bool)
      if flat.wrong.any():
        wrong = np.add.reduceat(np.append(flat.wrong, False), offsets.to_numpy()[:-1]) > 0
        wrong &= lengths > 0
      return Read(_without_nulls(lists), wrong, "a list of single ids", "", flat.counts)
    texts, counts = _text(column, missing)
    coded = texts.dictionary_encode()
    lists, as_lists = [], 0
    codes = coded.indices
    seen = np.bincount(pc.drop_null(codes).to_numpy(), minlength=len(coded.dictionary))
    for text, rows in zip(coded.dictionary.to_pylist(), seen, strict=True):
      found = self._list(text)
      lists.append(found)
      if found is not None and self.separator is None and text.startswith("["):
        as_lists += int(rows)
    if as_lists:
      counts = {**counts, "read as lists: values of {column} such as ['a', 'b']": as_lists}
    known = pa.array([found if found is not None else [] for found in lists], self.type)
    bad = np.append([found is None for found in lists], False).astype(bool)
    places = codes.fill_null(len(lists)).to_numpy(zero_copy_only=False)
    values = pa.concat_arrays([known, pa.array([None], self.type)]).take(pa.array(places))
    return Read(values, bad[places], "a list of ids", "", counts)

  def _list(self, text: str) -> list[str] | None:
    """The ids of a value; None if it is no list."""
    if self.separator is not None or not (text.startswith("[") and text.endswith("]")):
      parts = text.split(self.separator or ",")
      return [_id(part.strip()) for part in parts if part.strip()]
    try:
      found = json.loads(text)
    except ValueError:
      try:
        found = ast.literal_eval(text)
      except (ValueError, SyntaxError):
        return None
    if any(isinstance(each, (list, tuple, dict, set)) for each in found):
      return None
    return [_id(str(each).strip()) for each in found if each is not None and str(each).strip()]


@dataclasses.dataclass(frozen=True)
class Number:
  """float64. With `logarithm`, 0 or more; else no larger than float32 holds.

  `decimal` stands before the fraction in text.
  """

  logarithm: bool = False
  decimal: str = "."
  type = pa.float64()

  def read(self, column: pa.Array, missing: Collection[str]) -> Read:
    """Text, infinity and what is too large are something else."""
    column = _plain(column)
    counts: Mapping[str, int] = {}
    if _nested(column.type):
      return Read(pa.nulls(len(column), self.type), _mask(column.is_valid()), "a number")
    if _is_text(column.type) or missing:
      column, counts = _text(column, missing)
    plain = column
    if self.decimal != "." and _is_text(column.type):
      plain = pc.replace_substring(pc.replace_substring(column, ".", "?"), self.decimal, ".")
    numbers = _float(plain)
    known = _mask(column.is_valid())
    if pa.types.is_floating(column.type):
      known &= ~np.isnan(numbers)  # so Parquet files say that there is none
    wrong = known & ~np.isfinite(numbers)
    belongs = "a number"
    cure = (
      "mend it, name it in Table.missing if it stands for a missing value, or set "
      'Table.on_bad_row = "drop"'
    )
    if wrong.any() and _is_text(column.type):
      others = column.filter(pa.array(wrong))
      if pc.all(pc.match_substring_regex(others, r"^[+-]?\d*,\d+$")).as_py():
        cure = f'if the comma is a decimal point, Table.decimal = ","; else {cure}'
    unfit = known & ~wrong & ((numbers < 0) if self.logarithm else (np.abs(numbers) > LARGEST))
    if unfit.any() and np.argmax(unfit) == np.argmax(wrong | unfit):  # what is said is of the first
      belongs = "a number of 0 or more" if self.logarithm else "a number that float32 holds"
      cure = LOGARITHM if self.logarithm else ""
    wrong |= unfit
    values = pa.array(np.where(wrong, np.nan, numbers), mask=~known | wrong)
    return Read(values, wrong, belongs, cure, counts)


@dataclasses.dataclass(frozen=True)
class Weight:
  """float64, 0 or more; `decimal` as of Number."""

  decimal: str = "."
  type = pa.float64()

  def read(self, column: pa.Array, missing: Collection[str]) -> Read:
    """Nothing at all is something else too: each row needs a weight."""
    found = Number(decimal=self.decimal).read(column, missing)
    wrong = found.wrong | _mask(found.values.is_null())
    wrong |= found.values.fill_null(0).to_numpy(zero_copy_only=False) < 0
    values = pc.if_else(pa.array(wrong), pa.scalar(None, self.type), found.values)
    return Read(values, wrong, "a weight of 0 or more", found.cure, found.counts)


@dataclasses.dataclass(frozen=True)
class Flag:
  """A yes or no as a code, int8: 2 times the place of its style in STYLES, plus 1 for yes."""

  type = pa.int8()

  def read(self, column: pa.Array, missing: Collection[str]) -> Read:
    """What is of none of the styles is something else."""
    texts, counts = (
      (pa.nulls(len(column), pa.string()), {}) if _nested(column.type) else _text(column, missing)
    )
    coded = texts.dictionary_encode()
    codes = [_flag(text) for text in coded.dictionary.to_pylist()]
    places = coded.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)
    of_row = np.array([*codes, -1])[places]
    wrong = _mask(column.is_valid()) if _nested(column.type) else (of_row == -2)
    values = pa.array(np.where(of_row < 0, 0, of_row).astype(np.int8), mask=of_row < 0)
    cure = (
      "mend it, say what counts by an expression such as {'click': 'clicks > 0'}, name it in "
      'Table.missing if it stands for no label, or set Table.on_bad_row = "drop"'
    )
    return Read(values, wrong, "0 or 1 (or true and false, yes and no)", cure, counts)


def _flag(text: str) -> int:
  """The code of a text; -2 if it is neither yes nor no."""
  small = text.lower()
  if re.fullmatch(r"[01]\.0*", small):
    small = small[0]
  for style, words in enumerate(STYLES):
    if small in words:
      return 2 * style + words.index(small)
  return -2


@dataclasses.dataclass(frozen=True)
class Time:
  """int64, ms since 1970 in UTC.

  Attributes:
    unit: of numbers since 1970; None for dates.
    format: of dates as text, as strptime has it; None for ISO 8601.
    zone: of dates that do not say theirs.
  """

  unit: str | None = None
  format: str | None = None
  zone: str = "UTC"
  type = pa.int64()

  def read(self, column: pa.Array, missing: Collection[str]) -> Read:
    """Nothing at all is something else too: each row needs a time."""
    column = _plain(column)
    if _nested(column.type):
      return Read(pa.nulls(len(column), self.type), _mask(column.is_valid()), "a time")
    return self._numbers(column, missing) if self.unit else self._dates(column, missing)

  def _numbers(self, column: pa.Array, missing: Collection[str]) -> Read:
    assert self.unit is not None
    counts: Mapping[str, int] = {}
    if pa.types.is_temporal(column.type):
      wrong = np.ones(len(column), bool)
      cure = "leave out Table.time_unit, which is of numbers"
      return Read(pa.nulls(len(column), self.type), wrong, "a number", cure)
    if _is_text(column.type):
      column, counts = _text(column, missing)
    known = _mask(column.is_valid())
    try:
      whole = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
      numbers = whole.astype(np.float64)
      per_ms = {"us": 1000, "ns": 1_000_000}.get(self.unit)
      times = whole // per_ms if per_ms else numbers * MS_PER[self.unit]
    except pa.ArrowInvalid:
      numbers = _float(column)
      times = np.floor(numbers * MS_PER[self.unit])
    wrong = ~known | ~np.isfinite(numbers)
    belongs, cure = "a number since 1970", ""
    far = ~wrong & (np.abs(numbers * MS_PER[self.unit]) > LATEST)
    seen = numbers[~wrong]
    plausible = _plausible(seen * MS_PER[self.unit])
    if len(seen) and plausible.mean() < 0.5 and (unit := unit_that_fits(seen)):
      # Not some clocks that were wrong, but the unit.
      odd = np.flatnonzero(~wrong)[~plausible]
      wrong = np.isin(np.arange(len(column)), odd)
      belongs = f"a time in {self.unit} since 1970"
      cure = f'it would be {_year(numbers[odd[0]], self.unit)}; Table.time_unit = "{unit}" makes '
      cure += f"it {_date(numbers[odd[0]], unit)}"
    elif far.any():
      wrong |= far
      belongs, cure = "a time that a calendar has", "mend Table.time_unit, or the row"
    values = pa.array(np.where(wrong, 0, times).astype(np.int64), mask=wrong)
    return Read(values, wrong, belongs, cure, counts)

  def _dates(self, column: pa.Array, missing: Collection[str]) -> Read:
    counts: dict[str, int] = {}
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
      when = pd.Series(column.to_pandas())
      if pa.types.is_date(column.type) or column.type.tz is None:
        when = self._local(pd.Series(pd.to_datetime(when, errors="coerce")), counts)
    elif not _is_text(column.type) and self.format is None:
      return self._numbers_without_unit(column)
    else:
      column, changed = _text(column, missing)
      counts.update(changed)
      if self.format is None and (times := _iso(column, self.zone)) is not None:
        return Read(times, _mask(times.is_null()), "a date", "", counts)
      text = column.to_pandas()
      numbers = _epochs(text) & (self.format is None)
      if numbers.sum() > 0.5 * text.notna().sum():
        return self._numbers_without_unit(column)
      when = self._parsed(text.where(~numbers), counts)
    wrong = when.isna().to_numpy()
    times = when.to_numpy("datetime64[ns]").astype(np.int64) // 1_000_000
    cure = ""
    known = wrong & _mask(column.is_valid())
    if known.any() and _is_text(column.type):
      cure = _hint(column.filter(pa.array(known)), column)
    belongs = "a date" if self.format is None else f"a date like {self.format}"
    values = pa.array(np.where(wrong, 0, times), mask=wrong)
    return Read(values, wrong, belongs, cure, counts)

  def _parsed(self, text: "pd.Series[str]", counts: dict[str, int]) -> "pd.Series[Any]":
    """Timestamps in UTC; NaT where the text is no date."""
    form = self.format or "ISO8601"
    if self.zone == "UTC" or "%z" in form:
      return pd.to_datetime(text, utc=True, errors="coerce", format=form)
    if self.format is not None:
      return self._local(pd.to_datetime(text, errors="coerce", format=form), counts)
    own = text.str.contains(r"(?:Z|[+-]\d\d(?::?\d\d)?)$", regex=True, na=False) & (
      text.str.contains(":", regex=False, na=False)
    )
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
    numbers = _float(column)
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
  for kind in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):
    if kind.tz is None and zone != "UTC":
      return None
    try:
      times = texts.cast(kind)
    except pa.ArrowInvalid:
      continue
    nanoseconds = times.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return pa.array(nanoseconds // 1_000_000, mask=_mask(times.is_null()))
  return None


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
  fitting = [
    form
    for form in FORMATS
    if pd.to_datetime(some, errors="coerce", format=form, utc=True)
    .between(pd.Timestamp("1990-01-01", tz="UTC"), pd.Timestamp("2099-12-31", tz="UTC"))
    .all()
  ]
  if not len(some) or not fitting or len(wrong) < 0.5 * len(column):
    return ""
  if len(fitting) > 1 and len(some) == 1:
    return "give Table.time_format"
  shown = " or ".join(f'"{form}"' for form in fitting[:2])
  return f"give Table.time_format = {shown}"


def decoded(column: pa.Array) -> tuple[pa.Array, Array]:
  """A column without bytes that are no text, and bool [n] of the rows that had them."""
  column = _plain(column)
  wrong = np.zeros(len(column), bool)
  if not _is_text(column.type):
    return column, wrong
  try:
    texts = column.cast(pa.string()) if pa.types.is_binary(column.type) else column
    texts.validate(full=True)
    return texts, wrong
  except pa.ArrowInvalid:
    values: list[str | None] = []
    for row, value in enumerate(column.cast(pa.binary()).to_pylist()):
      try:
        values.append(None if value is None else value.decode())
      except UnicodeDecodeError:
        values.append(None)
        wrong[row] = True
    return pa.array(values, pa.string()), wrong


def _plain(column: pa.Array) -> pa.Array:
  """A column that is no dictionary and no view."""
  if pa.types.is_dictionary(column.type):
    column = column.dictionary_decode()
  if isinstance(column, pa.ExtensionArray):
    column = column.storage
  if pa.types.is_string_view(column.type):
    column = column.cast(pa.string())
  return column


def _nested(kind: pa.DataType) -> bool:
  return pa.types.is_nested(kind)


def _is_text(kind: pa.DataType) -> bool:
  return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)


def _text(column: pa.Array, missing: Collection[str]) -> tuple[pa.Array, dict[str, int]]:
  """A column as text without blanks around it; null for nothing and for what means missing."""
  column, counts = _plain(column), {}
  if pa.types.is_boolean(column.type):
    column = pc.if_else(column, "True", "False")
  elif pa.types.is_floating(column.type):
    column = _floats_as_text(column)
  elif not pa.types.is_string(column.type):
    column = column.cast(pa.string())
  texts = pc.utf8_trim_whitespace(column)
  lengths = pc.subtract(pc.binary_length(column), pc.binary_length(texts))
  nothing = pc.equal(pc.binary_length(texts), 0)
  changed = pc.sum(pc.and_(pc.greater(lengths, 0), pc.invert(nothing))).as_py()
  if changed:
    counts["trimmed: blanks around values of {column}"] = changed
  gone = nothing
  if missing:
    named = pc.is_in(texts, value_set=pa.array(sorted(missing), pa.string()))
    if number := pc.sum(pc.and_(named, texts.is_valid())).as_py():
      counts["missing: values of {column} that Table.missing names"] = number
    gone = pc.or_(nothing, named)
  return pc.if_else(gone, pa.scalar(None, pa.string()), texts), counts


def _floats_as_text(column: pa.Array) -> pa.Array:
  """Whole numbers without a point; null for what is not finite."""
  numbers = column.to_numpy(zero_copy_only=False).astype(np.float64)
  whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**63)
  known = pc.if_else(pa.array(~np.isnan(numbers)), column, pa.scalar(None, column.type))
  texts = known.cast(pa.string())
  as_whole = pa.array(np.where(whole, numbers, 0).astype(np.int64)).cast(pa.string())
  return pc.if_else(pa.array(whole), as_whole, texts)


def _whole_as_such(texts: pa.Array) -> pa.Array:
  """5.0 as 5."""
  if not pc.any(pc.match_substring(texts, ".")).as_py():
    return texts
  whole = pc.match_substring_regex(texts, rf"^{WHOLE.pattern}$")
  return pc.if_else(whole, pc.replace_substring_regex(texts, r"\.0*$", ""), texts)


def _id(text: str) -> str:
  return text.partition(".")[0] if WHOLE.fullmatch(text) else text


def _without_nulls(lists: pa.ListArray) -> pa.Array:
  """Lists without their missing ids."""
  if not lists.values.null_count:
    return lists
  known = np.append(0, np.cumsum(_mask(lists.values.is_valid())))
  offsets = pa.array(known[lists.offsets.to_numpy()], pa.int32())
  return pa.ListArray.from_arrays(offsets, pc.drop_null(lists.values))


def _float(column: pa.Array) -> Array:
  """float64 [n]; NaN where there is nothing, and infinite for what is no number."""
  try:
    numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if _is_text(column.type):  # which may say nan
      numbers = np.where(np.isnan(numbers) & _mask(column.is_valid()), np.inf, numbers)
    return numbers
  except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
    text = column.cast(pa.string()).to_pandas()
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isnan(numbers) & text.notna().to_numpy(), np.inf, numbers)


def _mask(array: pa.Array) -> Array:
  """bool [n] of an Arrow array of them, null as False."""
  return pc.fill_null(array, False).to_numpy(zero_copy_only=False).astype(bool)


def looks_unsplit(values: Counter[str], separator: str | None) -> str | None:
  """What else may separate the ids of a bag, or "" if nearly all are unique; None if all is well.

  Args:
    values: a sample of its texts that are no lists.
    separator: at which they are cut.
  """
  total = sum(values.values())
  if total < 20:
    return None
  cut = separator or ","
  for other in ("|", ";", " ", "\t", "/", ":", ",", "#", "_"):
    if other == cut:
      continue
    holding = sum(rows for text, rows in values.items() if other in text and cut not in text)
    if holding > 0.5 * total:
      return other
  if len(values) > 0.9 * total and not any(cut in text for text in values):
    return ""
  return None
