"""Ids made by a hash, for columns whose values never end: users, items, search terms.

A value's id depends on its column and itself alone: not on the days that were read, nor on how
often it came. Nothing is unseen, and the table is as large as it is told to be, for all such
columns together; in exchange values may share an id.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import ibis
import ibis.expr.types as ir

from ranking.checks import Checks
from ranking.data.schema import DataError, Log
from ranking.nearest import nearest

TABLE: Final = "hashed"  # the name of what the columns share
DIGITS: Final = 7  # of a digest: what is left fits in 28 bits
MOST_BUCKETS: Final = 16**DIGITS


@dataclasses.dataclass(frozen=True)
class Hashing:
  """Which columns have ids made by a hash.

  Attributes:
    columns: categorical features of the log; they share one table of embeddings.
    buckets: how many ids there are for all of them. With as many as there are values, about 6 in 10
      values share theirs; with ten times as many, 1 in 10.
  """

  columns: Sequence[str]
  buckets: int

  def __post_init__(self) -> None:
    check = Checks("Hashing", DataError)
    if not check.names("columns", self.columns, "columns"):
      check.refuse("columns", self.columns, "name a column, or leave Hashing out")
    check.whole("buckets", self.buckets, 1, MOST_BUCKETS)

  def check(self, log: Log) -> None:
    """Raises DataError for a column that cannot be hashed."""
    known = list(log.categorical)
    for name in self.columns:
      if name not in known:
        raise DataError(
          f"Hashing.columns names {name!r}, which is no categorical feature{nearest(name, known)}"
        )
      if name == log.report_by:
        raise DataError(
          f"Hashing.columns names {name}, by whose values figures are reported; hash another"
        )
    if TABLE in known:
      raise DataError(f"a column is called {TABLE}, as the table of hashed ids is; rename it")

  def identity(self) -> dict[str, Any]:
    """What a store depends on."""
    return {"columns": list(self.columns), "buckets": self.buckets}


def hashed(column: str, value: ir.Value, buckets: int) -> ir.Value:
  """int64 from 0 to buckets − 1: the first 28 bits of MD5 of "column=value", modulo buckets.

  MD5 because all engines have it, and make the same of the same text.
  """
  digest = (ibis.literal(f"{column}=") + value.cast("string")).hexdigest("md5")
  number = ibis.literal(0, "int64")
  for place in range(DIGITS):
    digit = ibis.literal("0123456789abcdef").find(digest.substr(place, 1))
    number = number * 16 + digit.cast("int64")
  return number % buckets
