"""Vocabularies: the id of each value of a categorical feature or bag, from the training days.

0 is for what is missing or unseen in the training days, 1 for what is rare in them; from FIRST_ID
on the frequent values have one each, the most frequent first and of equals the one that appeared
first, in an earlier row or at an earlier place of its list, then the smaller one.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

import ibis
import ibis.expr.types as ir

from ranking.data.engine import Engine
from ranking.data.features import FIRST_ID, MIN_COUNT
from ranking.data.hashing import hashed
from ranking.data.schema import DataError

RARE: Final = FIRST_ID - 1
LONGEST_LIST: Final = 4096  # values of a bag: 16 kB of every row


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """The ids of a feature.

  Attributes:
    table: what is coded, `value`: single values, or lists of them; and `id`, one or a list of them.
      Single values have also a `key`, from 1, by which each is told from all others.
    size: how many ids there are, those for missing and rare values included.
    length: of the longest list; 1 for single values.
    keys: how many single values there are.
  """

  table: ir.Table
  size: int
  length: int = 1
  keys: int = 0


def of_values(engine: Engine, met: ir.Table) -> Vocabulary:
  """Numbers single values.

  Args:
    engine: what works it out.
    met: columns `value`; `weight`, rows of the training days that have it; `first`, when the first
      of them was; and for values of lists `place` in the list. A value may be there several times.
  """
  table = engine.keep(_numbered(met))
  found = engine.rows(table.agg(largest=table.id.max(), keys=table.count())).to_pylist()[0]
  return Vocabulary(table, max(found["largest"] or 0, RARE) + 1, keys=found["keys"])


def of_hashes(engine: Engine, met: ir.Table, column: str, buckets: int) -> Vocabulary:
  """Numbers single values by their hash; `met` as for single values.

  The table has also `weight`, rows of the training days.
  """
  met = met.filter(met.value.notnull())
  counted = met.group_by("value").agg(weight=met.weight.sum())
  number = ibis.row_number().over(ibis.window(order_by="value"))
  table = engine.keep(
    counted.select(
      "value",
      "weight",
      id=(hashed(column, counted.value, buckets) + FIRST_ID).cast("int32"),
      key=(number + 1).cast("int32"),
    )
  )
  return Vocabulary(table, FIRST_ID + buckets, keys=engine.number(table.count()))


def sharing(engine: Engine, vocabularies: Sequence[Vocabulary]) -> tuple[int, int]:
  """How many hashed values the training days have, and how many of them share an id."""
  ids = ibis.union(
    *(each.table.filter(each.table.weight > 0).select("id") for each in vocabularies)
  )
  values = ids.group_by("id").agg(values=ids.count())
  total = values["values"].sum().fill_null(0).cast("int64")
  alone = values.filter(values["values"] == 1).count()
  number = engine.number(total)
  return number, number - engine.number(alone)


def of_lists(engine: Engine, met: ir.Table, name: str) -> Vocabulary:
  """Numbers the values of lists: `met` as for single values, but that each value is a list.

  Raises DataError for a list of the bag `name` that is longer than LONGEST_LIST.
  """
  lists = met.filter(met.value.notnull())
  longest = engine.number(lists.value.length().max().fill_null(0).cast("int64"))
  if longest > LONGEST_LIST:
    raise DataError(
      f"bag {name} has a list of {longest:,} values, and every row takes room for the longest; cut "
      f"lists in the log at {LONGEST_LIST:,} values or fewer"
    )
  lists = engine.keep(
    lists.group_by("value").agg(weight=lists.weight.sum(), first=lists["first"].min())
  )
  parts = lists.mutate(part=lists.value).unnest("part", offset="place")
  ids = of_values(engine, parts.select("weight", "first", "place", value="part"))
  coded = parts.left_join(ids.table, parts.part == ids.table.value)
  coded = coded.select(
    list=coded[parts.columns[0]], place=coded.place, id=coded.id.fill_null(0).cast("int32")
  )
  # Spark cannot sort what it collects, but within a window.
  up_to_place = ibis.window(group_by="list", order_by="place", preceding=None, following=0)
  last = coded.place.max().over(ibis.window(group_by="list"))
  grown = coded.mutate(ids=coded.id.collect().over(up_to_place), last=last)
  table = engine.keep(grown.filter(grown.place == grown["last"]).select(value="list", id="ids"))
  return Vocabulary(table, ids.size, max(longest, 1))


def names(engine: Engine, vocabulary: Vocabulary) -> tuple[str, ...]:
  """What each id stands for."""
  frequent = vocabulary.table.filter(vocabulary.table.id >= FIRST_ID)
  frame = engine.frame(frequent.order_by("id"))
  return ("missing or unseen", "rare", *map(str, frame["value"]))


def _numbered(met: ir.Table) -> ir.Table:
  met = met.filter(met.value.notnull())
  if "place" not in met.columns:
    met = met.mutate(place=ibis.literal(0))
  counted = met.group_by("value").agg(
    weight=met.weight.sum(), first=met["first"].min(), place=met.place.min()
  )
  order = [counted.weight.desc(), counted["first"], counted.place, counted.value]
  ordered = counted.mutate(place=ibis.row_number().over(ibis.window(order_by=order)))
  few = ibis.ifelse(ordered.weight > 0, RARE, 0).cast("int64")
  return ordered.select(
    "value",
    id=ibis.ifelse(ordered.weight >= MIN_COUNT, ordered.place + FIRST_ID, few).cast("int32"),
    key=(ordered.place + 1).cast("int32"),
  )
