"""JSON Lines: an object a line, whose values become text as they are written."""

import contextlib
import functools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ranking.array import Array
from ranking.data.raw_files import RawFile
from ranking.data.schema import DataError

BLOCK = 1 << 22  # bytes that are parsed together
DROP = 'Table.on_bad_row = "drop"'
COUNTED = "dropped: lines that are no JSON object, or of one value each"


class _NoValueError(ValueError):
  """A value that is a list or an object."""


def pieces(file: RawFile) -> Iterator[tuple[Array, list[bytes]]]:
  """The lines of a file that are not empty, and their numbers, counted from 1."""
  rest, line = b"", 1
  with file.open() as stream:
    while block := stream.read(BLOCK):
      *lines, rest = (rest + block).split(b"\n")
      yield _numbered(lines, line)
      line += len(lines)
  yield _numbered([rest], line)


def _numbered(lines: Sequence[bytes], first: int) -> tuple[Array, list[bytes]]:
  kept = [(first + k, line) for k, line in enumerate(lines) if line.strip()]
  return np.array([number for number, _ in kept], np.int64), [line for _, line in kept]


def keys(file: RawFile, wanted: Sequence[str], most: int = 1000) -> dict[str, None]:
  """The names in the first objects of a file, those of inner objects after a point.

  A wanted name that is none of them is looked for in the whole file.
  """
  found: dict[str, None] = {}
  rare, read = set(wanted), 0
  for _, lines in pieces(file):
    for line in lines:
      # Of later lines those alone are parsed that may have a name: it may be within a text too.
      if read < most or b"\\u" in line or any(_last(name) in line for name in rare):
        with contextlib.suppress(ValueError, RecursionError):
          found.update(dict.fromkeys(_names(json.loads(line))))
          rare -= found.keys()
      read += 1
      if read >= most and not rare:
        return found
  return found


@functools.cache
def _last(name: str) -> bytes:
  """How a line has a name, or the innermost part of it."""
  return json.dumps(name.rpartition(".")[2], ensure_ascii=False).encode()


def _names(value: Any, prefix: str = "") -> Iterator[str]:
  if isinstance(value, dict):
    for name, inner in value.items():
      yield prefix + name
      yield from _names(inner, f"{prefix}{name}.")


def columns(
  file: RawFile,
  places: Array,
  lines: Sequence[bytes],
  wanted: Sequence[str],
  lists: Collection[str],
  drop: bool,
  cleaning: Counter[str],
) -> tuple[Array, pa.Table]:
  """Named values of some lines as text, null where a line has none; lists as JSON.

  Raises DataError that names the line where it is no object, or holds a list or an object where
  none of `lists` is asked for; or counts it, where `drop` says so.
  """
  kept, values = [], {name: list[str | None]() for name in wanted}
  for place, line in zip(places, lines, strict=True):
    try:
      row = json.loads(
        line, parse_float=str, parse_int=str, parse_constant=_constant, object_pairs_hook=_once
      )
      if not isinstance(row, dict):
        raise ValueError("it is something else")
      found = [(name, _found(row, name)) for name in wanted]
      for name, value in found:
        if isinstance(value, dict) or (isinstance(value, list) and name not in lists):
          raise _NoValueError(
            f"holds {json.dumps(value)[:60]!r} in {name}, where a single value belongs; name lists "
            "in Table.bags, and what is within an object with a point"
          )
    except (ValueError, RecursionError) as error:
      if drop:
        cleaning[COUNTED] += 1
        cleaning["rows read"] += 1
        continue
      what = str(error)
      if not isinstance(error, _NoValueError):
        way = "; jq -c . writes it so" if line.strip() == b"{" else ""
        if line.lstrip().startswith(b"["):
          way = "; jq -c '.[]' makes lines of a list"
        what = f"is no JSON object ({what}), and JSON Lines have one a line{way}; mend it, or set "
        what += DROP
      raise DataError(f"{file.path} line {place} {what}") from error
    kept.append(place)
    for name, value in found:
      values[name].append(_text(value))
  table = pa.table({name: pa.array(column, pa.string()) for name, column in values.items()})
  return np.array(kept, np.int64), table


def _constant(name: str) -> str | None:
  """What Python writes for numbers that JSON has not; NaN where there is none."""
  return None if name == "NaN" else name


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  row = dict(pairs)
  if len(row) != len(pairs):
    name = Counter(name for name, _ in pairs).most_common(1)[0][0]
    raise ValueError(f"it names {name} twice")
  return row


def _found(row: dict[str, Any], name: str) -> Any:
  """The value of a name, which may lead into inner objects; None where there is none."""
  if name in row:
    return row[name]
  outer, point, inner = name.partition(".")
  value = row.get(outer)
  return _found(value, inner) if point and isinstance(value, dict) else None


def _text(value: Any) -> str | None:
  if value is None or isinstance(value, str):
    return value
  return json.dumps(value) if isinstance(value, (list, dict)) else str(value)
