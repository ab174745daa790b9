"""What a raw column is read as: an id, a bag of ids, a number, or a yes or no.

Each kind takes an Arrow column as it lies, text or typed, and gives one of its own type in which
null is a missing value; beside it which rows hold something else, and what was changed.
"""

import ast
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ranking.array import Array

LARGEST = float(np.finfo(np.float32).max)  # that a dense feature or a label can be
WHOLE = re.compile(r"-?\d+\.0*")  # a whole number written as a float
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
    if is_nested(column.type):
      wrong = as_mask(column.is_valid())
      return Read(
        pa.nulls(len(column), pa.string()), wrong, "a single id", "name lists in Table.bags"
      )
    values, counts = as_text(column, missing)
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
    column = plain(column)
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
    texts, counts = as_text(column, missing)
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
      return [id_of(part.strip()) for part in parts if part.strip()]
    try:
      found = json.loads(text)
    except ValueError:
      try:
        found = ast.literal_eval(text)
      except (ValueError, SyntaxError):
        return None
    if any(isinstance(each, (list, tuple, dict, set)) for each in found):
      return None
    return [id_of(str(each).strip()) for each in found if each is not None and str(each).strip()]


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
    column = plain(column)
    counts: Mapping[str, int] = {}
    if is_nested(column.type):
      return Read(pa.nulls(len(column), self.type), as_mask(column.is_valid()), "a number")
    if is_text(column.type) or missing:
      column, counts = as_text(column, missing)
    points = column
    if self.decimal != "." and is_text(column.type):
      points = pc.replace_substring(pc.replace_substring(column, ".", "?"), self.decimal, ".")
    numbers = as_float(points)
    known = as_mask(column.is_valid())
    if pa.types.is_floating(column.type):
      known &= ~np.isnan(numbers)  # so Parquet files say that there is none
    wrong = known & ~np.isfinite(numbers)
    belongs = "a number"
    cure = (
      "mend it, name it in Table.missing if it stands for a missing value, or set "
      'Table.on_bad_row = "drop"'
    )
    if wrong.any() and is_text(column.type):
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
    wrong = found.wrong | as_mask(found.values.is_null())
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
      (pa.nulls(len(column), pa.string()), {})
      if is_nested(column.type)
      else as_text(column, missing)
    )
    coded = texts.dictionary_encode()
    codes = [_flag(text) for text in coded.dictionary.to_pylist()]
    places = coded.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)
    of_row = np.array([*codes, -1])[places]
    wrong = as_mask(column.is_valid()) if is_nested(column.type) else (of_row == -2)
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


def decoded(column: pa.Array) -> tuple[pa.Array, Array]:
  """A column without bytes that are no text, and bool [n] of the rows that had them."""
  column = plain(column)
  wrong = np.zeros(len(column), bool)
  if not is_text(column.type):
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


def side_by_side(columns: Sequence[pa.Array]) -> pa.Array:
  """The texts of columns, a blank between them; null where one is."""
  texts = [as_text(column, ())[0] for column in columns]
  return pc.binary_join_element_wise(*texts, " ")


def plain(column: pa.Array) -> pa.Array:
  """A column that is no dictionary and no view."""
  if pa.types.is_dictionary(column.type):
    column = column.dictionary_decode()
  if isinstance(column, pa.ExtensionArray):
    column = column.storage
  if pa.types.is_string_view(column.type):
    column = column.cast(pa.string())
  return column


def is_nested(kind: pa.DataType) -> bool:
  """Whether values are lists or structures."""
  return pa.types.is_nested(kind)


def is_text(kind: pa.DataType) -> bool:
  """Whether values are texts, or bytes of them."""
  return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)


def as_text(column: pa.Array, missing: Collection[str]) -> tuple[pa.Array, dict[str, int]]:
  """A column as text without blanks around it; null for nothing and for what means missing."""
  column, counts = plain(column), {}
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


def id_of(text: str) -> str:
  """An id as it is kept: a whole number without its point, such as 5 for 5.0."""
  return text.partition(".")[0] if WHOLE.fullmatch(text) else text


def _without_nulls(lists: pa.ListArray) -> pa.Array:
  """Lists without their missing ids."""
  if not lists.values.null_count:
    return lists
  known = np.append(0, np.cumsum(as_mask(lists.values.is_valid())))
  offsets = pa.array(known[lists.offsets.to_numpy()], pa.int32())
  return pa.ListArray.from_arrays(offsets, pc.drop_null(lists.values))


def as_float(column: pa.Array) -> Array:
  """float64 [n]; NaN where there is nothing, and infinite for what is no number."""
  try:
    numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if is_text(column.type):  # which may say nan
      numbers = np.where(np.isnan(numbers) & as_mask(column.is_valid()), np.inf, numbers)
    return numbers
  except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
    text = column.cast(pa.string()).to_pandas()
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.isnan(numbers) & text.notna().to_numpy(), np.inf, numbers)


def as_mask(array: pa.Array) -> Array:
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
