"""Rows between a raw log and its features: in pieces as read, then in order, each once."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ranking.data.schema import DataError, Log, Source

Columns = dict[str, "pd.Series[Any]"]


def columns_of(piece: pd.DataFrame) -> Columns:
  """Splits a piece into its columns, so that each can be dropped alone."""
  return {str(name): column.reset_index(drop=True) for name, column in piece.items()}


def in_order(pieces: Sequence[Columns]) -> pd.DataFrame:
  """The rows of some pieces by time, those of one ms as they come; the pieces are emptied.

  Raises DataError where a piece has other columns than the first.
  """
  names = list(pieces[0])
  for piece in pieces:
    if list(piece) != names:
      raise DataError(f"pieces of one log have columns {names} and {list(piece)}")
  order = np.argsort(np.concatenate([piece["time"] for piece in pieces]), kind="stable")
  # A column at a time, so that all rows are there once and one column three times.
  columns = {
    name: pd.concat([piece.pop(name) for piece in pieces], ignore_index=True).array.take(order)
    for name in names
  }
  return pd.DataFrame(columns, copy=False)


def without_duplicates(
  rows: pd.DataFrame, keep_duplicates: bool | None
) -> tuple[pd.DataFrame, dict[str, int]]:
  """Rows numbered from 0 without those to be dropped, and how many there were.

  Duplicates share their time: rows may be looked at together, or in parts that are cut where time
  changes.
  """
  if keep_duplicates is None:
    return rows, {}
  duplicate = rows.duplicated()
  what = "kept" if keep_duplicates else "dropped"
  counts = {f"{what}: exact duplicates of an earlier row": int(duplicate.sum())}
  return rows if keep_duplicates else rows[~duplicate].reset_index(drop=True), counts


def read_whole(source: Source) -> Log:
  """A log that fits into memory, as one. Raises DataError on bad input."""
  read = [piece for part in source.parts() for piece in source.read(part)]
  cleaning = Counter[str]()
  for _, counts in read:
    cleaning.update(counts)  # keeps zeros, unlike +
  rows = in_order([columns_of(piece) for piece, _ in read])
  rows, counts = without_duplicates(rows, source.keep_duplicates)
  cleaning.update(counts)
  log = source.describe(rows, source.tables())
  cleaning.update(log.cleaning)
  return dataclasses.replace(log, cleaning=dict(cleaning))
