"""Rows between a raw log and its features: in pieces as read, then in order, each once."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ranking.data.schema import DataError, Log, Source


def in_order(pieces: Sequence[pd.DataFrame]) -> pd.DataFrame:
  """The rows of some pieces by time, those of one ms as they come.

  Raises DataError where a piece has other columns than the first.
  """
  for piece in pieces:
    if list(piece.columns) != list(pieces[0].columns):
      raise DataError(
        f"pieces of one log have columns {list(pieces[0].columns)} and {list(piece.columns)}"
      )
  order = np.argsort(np.concatenate([piece.time for piece in pieces]), kind="stable")
  # A column at a time, so that no more than one of them is there three times.
  columns = {
    name: pd.concat([piece[name] for piece in pieces], ignore_index=True).array.take(order)
    for name in pieces[0]
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
  rows = in_order([piece for piece, _ in read])
  rows, counts = without_duplicates(rows, source.keep_duplicates)
  cleaning.update(counts)
  log = source.describe(rows, source.tables())
  cleaning.update(log.cleaning)
  return dataclasses.replace(log, cleaning=dict(cleaning))
