"""Named columns of a CSV in chunks: each value is what it should be, or its line is named."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ranking.data.schema import DataError

CHUNK_ROWS = 250_000
EXACT = 2**53  # whole numbers below it are themselves as float64, as they are beside missing ones
_WHOLE = re.compile(r"^(-?\d+)\.0*$")  # written as a float


def raw_chunks(
  path: Path, columns: Sequence[str], texts: Collection[str] = (), others: bool = False
) -> Iterator[pd.DataFrame]:
  """Columns of a CSV, CHUNK_ROWS at a time, numbered through from 0; NaN where missing.

  Args:
    path: of the file.
    columns: that there must be.
    texts: those of them that are read as they stand; the rest is what pandas takes it for.
    others: give all further columns too.

  Raises DataError for a missing column, and what pandas raises where the file is no CSV.
  """
  header = pd.read_csv(path, nrows=0).columns.to_list()
  require(path, columns, header)
  further = [name for name in header if name not in columns]
  # With usecols pandas would take a line of too many values, and shift them in silence. So what is
  # not needed is read too, but only its first byte, which is fast.
  types = dict.fromkeys(texts, "str") | ({} if others else dict.fromkeys(further, "S1"))
  with pd.read_csv(path, dtype=types, chunksize=CHUNK_ROWS, low_memory=False) as reader:
    for chunk in reader:
      if not isinstance(chunk.index, pd.RangeIndex):  # as it is where all lines have too many
        raise pd.errors.ParserError("lines have more values than the header has names")
      yield chunk[[*columns, *(further if others else ())]]


def require(path: Path, columns: Iterable[str], header: Sequence[str]) -> None:
  """Raises DataError for the first of some columns that a file lacks."""
  if missing := [name for name in columns if name not in header]:
    raise DataError(f"{path} lacks column {missing[0]}; it has {', '.join(header[:6])}, …")


def chunks(
  path: Path,
  numbers: Mapping[str, int | None],
  texts: Sequence[str] = (),
  ids: Sequence[str] | None = (),
) -> Iterator[pd.DataFrame]:
  """Named columns of a CSV, CHUNK_ROWS at a time, numbered through from 0; NaN where missing.

  Args:
    path: of the file.
    numbers: columns of numbers, and what their size must stay below; None = EXACT, unsaid.
    texts: columns that are read as they stand, each as a category.
    ids: columns of numbers or text, each as a category; None = all that are not named above.

  Raises DataError that names the place where the file is not so.
  """
  rows = 0
  try:
    for chunk in raw_chunks(path, [*numbers, *texts, *(ids or ())], texts, others=ids is None):
      rows += len(chunk)
      values = {str(name): chunk[name] for name in chunk if name not in numbers}
      for name, column in values.items():
        if name not in texts and column.dtype == object:
          values[name] = text(column)
      values = {name: column.astype("category") for name, column in values.items()}
      yield checked(path, chunk.assign(**values), numbers)
  except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
    reason = str(error).strip()
    raise DataError(f"{path} is not a CSV with a header ({reason}); unpack it again") from error
  if not rows:
    raise DataError(f"{path} has a header and no rows; unpack it again")


def checked(path: Path, chunk: pd.DataFrame, numbers: Mapping[str, int | None]) -> pd.DataFrame:
  """A chunk whose columns of `numbers`, as in `chunks`, are numbers below their limits."""
  parsed = {}
  for name, limit in numbers.items():
    parsed[name] = pd.to_numeric(chunk[name], errors="coerce")
    wrong = (chunk[name].notna() & ~(parsed[name].abs() < (limit or EXACT))).to_numpy()
    if wrong.any():
      row = int(np.flatnonzero(wrong)[0])
      below = f" below {limit:,}" if limit else ""
      raise DataError(
        f"{path} line {chunk.index[row] + 2} column {name} holds {chunk[name].tolist()[row]!r} "
        f"where a number{below} belongs; mend or remove the line"
      )
  return chunk.assign(**parsed)


def whole(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
  """Chunks as one frame, numbered as they are: numbers as they come, all else as categories."""
  frames = list(parts)
  index = np.concatenate([frame.index for frame in frames])
  return pd.DataFrame(
    {
      name: _union([frame[name] for frame in frames])
      if isinstance(column.dtype, pd.CategoricalDtype)
      else np.concatenate([frame[name] for frame in frames])
      for name, column in frames[0].items()
    },
    index=index,
  )


def _union(columns: "Sequence[pd.Series[Any]]") -> pd.Categorical:
  """Categories as one; as text where some are numbers and others are not."""
  parts = [pd.Series(column.cat.categories) for column in columns]
  values = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
  if values.dtype == object and len({part.dtype for part in parts if len(part)}) > 1:
    values = text(values)
  place, distinct = pd.factorize(values)
  ends = np.cumsum([len(part) for part in parts])
  codes = [
    # Code −1, a missing value, reads what is appended.
    np.append(place[end - len(part) : end], -1).astype(np.int32)[column.cat.codes]
    for column, part, end in zip(columns, parts, ends, strict=True)
  ]
  return pd.Categorical.from_codes(np.concatenate(codes), distinct)


def text(column: "pd.Series[Any]") -> "pd.Series[Any]":
  """Ids as text, None where missing: 5, 5.0, "5" and "5.0" are all "5"."""
  codes, distinct = pd.factorize(column)
  names = np.array([*map(_name, distinct), None], object)  # code −1 reads None
  return pd.Series(names[codes], column.index, object, column.name)


def _name(value: Any) -> str:
  name = str(value)
  return _WHOLE.sub(r"\1", name) if "." in name else name
