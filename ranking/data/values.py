"""What a raw column is read as: an id, a bag of ids, a number, or a yes or no.

Each kind takes an Arrow column as it lies, text or typed, and gives one of its own type in which
null is a missing value; beside it which rows hold something else, and what was changed.
"""

import ast
import contextlib
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ranking.array import Array

LARGEST = float(np.finfo(np.float32).max)  # that a dense feature or a label can be
WHOLE = re.compile(r"-?\d+\.0*")  # a whole number written as a float
LOST = r"^[+-]?\d\.\d+[eE]\+?\d+$"  # a number that a program rounded when it wrote it
EXACT = {"halffloat": 2**11, "float": 2**24, "double": 2**53}  # up to where whole numbers are
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
ENOUGH = 20  # values, of which chance does not make all look alike
LISTS = {"[": "]", "(": ")", "{": "}"}  # how JSON, Python, NumPy and SQL write them
MEANT = "missing: values of {column} that Table.missing names"
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
    """Lists, structures and infinite numbers are something else."""
    column = plain(column)
    if is_nested(column.type):
      wrong = as_mask(column.is_valid())
      cure = "name lists in Table.bags, and what is within a structure with a point"
      return Read(pa.nulls(len(column), pa.string()), wrong, "a single id", cure)
    wrong = np.zeros(len(column), bool)
    if pa.types.is_floating(column.type):
      wrong = as_mask(pc.is_inf(column.cast(pa.float64())))
    values, counts = as_text(column, missing)
    if rows := int((lost_digits(column) & ~wrong).sum()):
      counts["kept: ids of {column} that are rounded numbers, of which several may be one"] = rows
    if wrong.any():
      values = pc.if_else(pa.array(wrong), pa.scalar(None, pa.string()), values)
    return Read(_whole_as_such(values), wrong, "an id", "", counts)


@dataclasses.dataclass(frozen=True)
class Bag:
  """A list of ids: a list as such, text of a JSON or Python list, or text cut at a separator.

  `separator` is what text is cut at that is not written as a list; None = a comma.
  """

  separator: str | None = None
  type = pa.list_(pa.string())

  def read(self, column: pa.Array, missing: Collection[str]) -> Read:
    """Text that begins as a list and is none is something else where no separator is given."""
    column = plain(column)
    if is_nested(column.type):
      if not pa.types.is_list(column.type):
        return Read(pa.nulls(len(column), self.type), as_mask(column.is_valid()), "a list of ids")
      flat = Id().read(column.flatten(), missing)
      lists, wrong = _without_nulls(_lists(column, flat.values)), _rows_with(flat.wrong, column)
      return Read(lists, wrong, "a list of single ids", "", flat.counts)
    texts, counts = as_text(column, missing)
    coded = texts.dictionary_encode()
    meant = {id_of(each.strip()) for each in missing}
    lists, as_lists, gone = [], 0, 0
    codes = coded.indices
    seen = np.bincount(pc.drop_null(codes).to_numpy(), minlength=len(coded.dictionary))
    for text, rows in zip(coded.dictionary.to_pylist(), seen, strict=True):
      written = _written_list(text)
      as_lists += 0 if written is None else int(rows)
      ids = self._ids(text, written)
      if ids and meant:
        named = sum(each in meant for each in ids)
        ids, gone = [each for each in ids if each not in meant], gone + named * int(rows)
      lists.append(ids)
    if gone:
      counts = {**counts, MEANT: counts.get(MEANT, 0) + gone}
    if as_lists:
      counts = {**counts, "read as lists: values of {column} such as ['a', 'b']": as_lists}
    known = pa.array([found if found is not None else [] for found in lists], self.type)
    bad = np.append([found is None for found in lists], False).astype(bool)
    places = codes.fill_null(len(lists)).to_numpy(zero_copy_only=False)
    values = pa.concat_arrays([known, pa.array([None], self.type)]).take(pa.array(places))
    return Read(values, bad[places], "a list of ids", "", counts)

  def _ids(self, text: str, written: list[Any] | None) -> list[str] | None:
    """The ids of a value, which may be written as a list; None if it is a broken one."""
    if written is None and self.separator is None and _is_enclosed(text, "[{"):
      return None
    found = text.split(self.separator or ",") if written is None else written
    if any(isinstance(each, (list, tuple, dict, set)) for each in found):
      return None
    texts = [str(each).strip() for each in found if each is not None and each == each]
    return [id_of(each) for each in texts if each]


def _is_enclosed(text: str, by: str) -> bool:
  return len(text) > 1 and text[0] in by and LISTS[text[0]] == text[-1]


def _written_list(text: str) -> list[Any] | None:
  """What text says that is a whole JSON or Python list, tuple or set; None if it is none."""
  if not _is_enclosed(text, "[({"):
    return None
  with contextlib.suppress(ValueError, RecursionError):
    found = json.loads(text)
    return found if isinstance(found, list) else [found]
  if re.search(r"""['"]\s+['"]""", text):  # NumPy's ['a' 'b'], which Python takes for 'ab'
    return None
  with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
    tree = ast.parse(text, mode="eval").body
    if isinstance(tree, (ast.List, ast.Tuple, ast.Set)):
      # In their order, which a set that is made would lose.
      return [ast.literal_eval(each) for each in tree.elts]
  return None


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
    is_written = is_text(column.type)
    if is_written or missing:
      column, counts = as_text(column, missing)
    points = column
    if self.decimal != "." and is_written:
      points = pc.replace_substring(pc.replace_substring(column, ".", "?"), self.decimal, ".")
    if is_written and (rows := _like_thousands(points)):
      what = "kept: fractions of {column} that all have three digits, as if they were thousands"
      counts = {**counts, what: rows}
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
        cure = (
          f'if the comma is a decimal point, not one of thousands, Table.decimal = ","; else {cure}'
        )
    unfit = known & ~wrong & ((numbers < 0) if self.logarithm else (np.abs(numbers) > LARGEST))
    if unfit.any() and np.argmax(unfit) == np.argmax(wrong | unfit):  # what is said is of the first
      belongs = "a number of 0 or more" if self.logarithm else "a number that float32 holds"
      cure = LOGARITHM if self.logarithm else ""
    wrong |= unfit
    known &= ~wrong
    if missing:  # as numbers too: -999.90 is -999.9
      meant = known & np.isin(numbers, as_float(pa.array(sorted(missing), pa.string())))
      known &= ~meant
      if rows := int(meant.sum()):
        counts = {**counts, MEANT: counts.get(MEANT, 0) + rows}
    values = pa.array(np.where(known, numbers, np.nan), mask=~known)
    return Read(values, wrong, belongs, cure, counts)


def _like_thousands(texts: pa.Array) -> int:
  """How many texts have a point, if they look like 1.234 beside 900; else 0."""
  texts = texts.drop_null()
  pointed = pc.match_substring(texts, ".")
  rows = int(as_mask(pointed).sum())
  if not ENOUGH <= rows < len(texts):
    return 0
  fit = pc.match_substring_regex(texts, r"^[+-]?([1-9]\d{0,2}\.\d{3}|\d{1,3})$")
  return rows if pc.all(fit).as_py() else 0


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
  if pa.types.is_list(column.type):
    inner, bad = decoded(column.flatten())
    return _lists(column, inner), _rows_with(bad, column)
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
  texts = [Id().read(column, ()).values for column in columns]
  return pc.binary_join_element_wise(*texts, " ")


def plain(column: pa.Array) -> pa.Array:
  """A column that is no dictionary, view or list of another kind."""
  if isinstance(column.type, pa.UuidType):
    return pa.array([None if value is None else str(value) for value in column.to_pylist()])
  if isinstance(column, pa.ExtensionArray):
    column = column.storage
  if pa.types.is_dictionary(column.type):
    column = column.dictionary_decode()
  kind, types = column.type, pa.types
  if types.is_list_view(kind) or types.is_large_list_view(kind):  # which casts leave unsound
    return pa.array(column.to_pylist(), pa.list_(kind.value_type))
  if types.is_large_list(kind) or types.is_fixed_size_list(kind):
    return column.cast(pa.list_(kind.value_type))
  if types.is_string_view(kind) or types.is_large_string(kind):
    return column.cast(pa.string())
  if types.is_binary_view(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
    return column.cast(pa.binary())
  return column


def is_nested(kind: pa.DataType) -> bool:
  """Whether values are lists or structures."""
  return pa.types.is_nested(kind)


def is_text(kind: pa.DataType) -> bool:
  """Whether values are texts, or bytes of them."""
  return pa.types.is_string(kind) or pa.types.is_binary(kind)


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
    meant = sorted({id_of(text.strip()) for text in missing})
    named = pc.is_in(_whole_as_such(texts), value_set=pa.array(meant, pa.string()))
    if number := pc.sum(pc.and_(named, texts.is_valid())).as_py():
      counts[MEANT] = number
    gone = pc.or_(nothing, named)
  return pc.if_else(gone, pa.scalar(None, pa.string()), texts), counts


def lost_digits(column: pa.Array) -> Array:
  """bool [n] of the numbers whose last digits are lost, such as 1.23E+17 and 2⁵³ as a float."""
  if is_text(column.type):
    return as_mask(pc.match_substring_regex(column, LOST))
  if not pa.types.is_floating(column.type):
    return np.zeros(len(column), bool)
  numbers = np.abs(column.to_numpy(zero_copy_only=False).astype(np.float64))
  return np.asarray((numbers >= EXACT[str(column.type)]) & np.isfinite(numbers))


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


def _lists(like: pa.ListArray, values: pa.Array) -> pa.ListArray:
  """Lists of the lengths of others, of values that stand in the place of theirs."""
  return pa.ListArray.from_arrays(
    pa.array(np.append(0, np.cumsum(_lengths(like))), pa.int32()), values
  )


def _lengths(lists: pa.ListArray) -> Array:
  return pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)


def _rows_with(marked: Array, lists: pa.ListArray) -> Array:
  """bool [n] of the lists that have a marked value."""
  lengths = _lengths(lists)
  found = np.zeros(len(lengths), bool)
  found[np.repeat(np.arange(len(lengths)), lengths)[marked]] = True
  return found


def _without_nulls(lists: pa.ListArray) -> pa.Array:
  """Lists without their missing ids."""
  if not lists.values.null_count:
    return lists
  known = np.append(0, np.cumsum(as_mask(lists.values.is_valid())))
  offsets = pa.array(known[lists.offsets.to_numpy()], pa.int32())
  return pa.ListArray.from_arrays(offsets, pc.drop_null(lists.values))


def as_float(column: pa.Array) -> Array:
  """float64 [n]; NaN where there is nothing, and infinite for what is no number."""
  if pa.types.is_temporal(column.type):
    return np.where(as_mask(column.is_valid()), np.inf, np.nan)
  if not is_text(column.type):
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
  try:
    numbers = column.cast(pa.float64())
  except pa.ArrowInvalid:
    # What is no number must not change how the others are read.
    texts = column.cast(pa.string())
    is_number = pc.match_substring_regex(texts, NUMBER)
    numbers = pc.if_else(is_number, texts, pa.scalar(None, pa.string())).cast(pa.float64())
  found = numbers.to_numpy(zero_copy_only=False)
  return np.where(np.isnan(found) & as_mask(column.is_valid()), np.inf, found)  # it may say nan


def as_mask(array: pa.Array) -> Array:
  """bool [n] of an Arrow array of them, null as False."""
  return pc.fill_null(array, False).to_numpy(zero_copy_only=False).astype(bool)


def looks_unsplit(values: Counter[str], separator: str | None) -> str | None:
  """What else may separate the ids of a bag, or "" if nearly all are unique; None if all is well.

  Args:
    values: a sample of its texts; those that are lists tell nothing.
    separator: at which they are cut.
  """
  values = Counter({t: rows for t, rows in values.items() if _written_list(t) is None})
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
