"""What was known of each row's user, item and author just before its event, as the engine sums it.

All rows of an entity at one time see the same past, so that it is worked out once per entity and
time, from sums of whole numbers: the engine may take them in any order.
"""

import ibis
import ibis.expr.types as ir

from ranking.data.facts import Facts
from ranking.data.lookback import Lookback
from ranking.data.schema import Log


def columns_of(log: Log) -> list[str]:
  """The columns of `past` that as-of features are made of."""
  names = [(f"known_{k}", f"sum_{k}") for k in range(len(log.rated_tasks))]
  return ["count", *(name for pair in names for name in pair)]


def past(facts: Facts, rows: ir.Table, entity: str, lookback: Lookback) -> ir.Table:
  """What was known of an entity at each time at which it has a row.

  Columns: key, time and chunk; count, its earlier rows; and for rated task r, r from 0, known_r and
  sum_r: how many labels of earlier rows were known, and their sum. With a history, also `positive`:
  how many rows of it were.
  """
  key = rows[facts.column(facts.log.categorical[entity])]
  sums = {"count": ibis.literal(1, "int64")}
  for place, task in enumerate(facts.log.rated_tasks):
    sums[f"known_{place}"], sums[f"sum_{place}"] = facts.known(rows, task)
  if lookback.history and entity == facts.log.entities[0]:
    sums["positive"] = _is_positive(facts, rows).cast("int64")
  each = rows.select(key=key, time=rows.time, chunk=rows.chunk, **sums)
  moments = each.group_by("key", "time", "chunk").agg(
    **{name: each[name].sum().cast("int64") for name in sums}
  )
  before = ibis.window(group_by="key", order_by="time", preceding=(None, 1))  # a time is there once
  known = before
  if lookback.delay:
    known = ibis.range_window(group_by="key", order_by="time", preceding=(None, lookback.delay + 1))
  return moments.select(
    "key",
    "time",
    "chunk",
    **{
      name: moments[name]
      .sum()
      .over(before if name == "count" else known)
      .fill_null(0)
      .cast("int64")
      for name in sums
    },
  )


def history(facts: Facts, rows: ir.Table, items: ir.Table, size: int) -> ir.Table:
  """The latest items of each user after so many rows of positive feedback.

  Args:
    facts: of the log.
    rows: of the log.
    items: the vocabulary of items, value and id.
    size: how many items.

  Returns:
    Columns user; rank, from 1; and recent, ids of `size` items or fewer, the latest last.
  """
  user, item = (facts.column(facts.log.categorical[name]) for name in facts.log.entities[:2])
  positive = rows.filter(_is_positive(facts, rows))
  coded = positive.left_join(items, positive[item] == items.value)
  order = [name for name in ("time", "sequence") if name in rows.columns]
  coded = coded.select(
    user=coded[user],
    item=coded[item],
    id=coded.id.fill_null(0),
    **{name: coded[name] for name in order},
  )
  ordered = ibis.window(group_by="user", order_by=[*order, "item"])
  latest = ibis.window(group_by="user", order_by=[*order, "item"], preceding=size - 1, following=0)
  return coded.select(
    user=coded.user,
    rank=(ibis.row_number().over(ordered) + 1).cast("int64"),
    recent=coded.id.collect().over(latest),
  )


def _is_positive(facts: Facts, rows: ir.Table) -> ir.BooleanValue:
  """Positive feedback of a known user to a known item."""
  log = facts.log
  user, item = (facts.column(log.categorical[name]) for name in log.entities[:2])
  label = rows[facts.number(log.labels[log.rated_tasks[0]].value)]
  return (label > 0).fill_null(False) & rows[user].notnull() & rows[item].notnull()
