"""Sources that still read in pieces of pandas; gone when Table and Yambda declare their logs."""

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ranking.data.schema import Log
from ranking.data.sources.frames import declare

if TYPE_CHECKING:
  from ranking.data.engine import Engine


def declare_pieces(engine: "Engine", source: Any) -> Log:
  """The log of a source with parts, read, tables and describe; all of it is in memory."""
  read = [piece for part in source.parts() for piece in source.read(part)]
  cleaning = Counter[str]()
  for _, counts in read:
    cleaning.update(counts)  # keeps zeros, unlike +
  rows = pd.concat([piece for piece, _ in read], ignore_index=True)
  rows = rows.iloc[np.argsort(rows.time.to_numpy(), kind="stable")].reset_index(drop=True)
  if source.keep_duplicates is not None:
    duplicate = rows.duplicated()
    what = "kept" if source.keep_duplicates else "dropped"
    cleaning[f"{what}: exact duplicates of an earlier row"] += int(duplicate.sum())
    rows = rows if source.keep_duplicates else rows[~duplicate].reset_index(drop=True)
  log = source.describe(rows, source.tables())
  cleaning.update(log.cleaning)
  return declare(engine, dataclasses.replace(log, cleaning=dict(cleaning)))
