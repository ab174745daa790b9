"""What was known of each row's user, item and author just before its event, as the engine sums it.

All rows of an entity at one time see the same past, so that it is worked out once per entity and
time, from sums of whole numbers: the engine may take them in any order.
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from ranking.data.facts import Facts
from ranking.data.lookback import Lookback
from ranking.data.schema import Log

HALF: Final = 32  # bits of a whole number that holds two counts of rows


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
    known, label = facts.known(rows, task)
    if facts.is_binary(task):  # two sums in one, as each costs the engine much
      sums[f"both_{place}"] = known * (1 << HALF) + label
    else:
      sums[f"known_{place}"], sums[f"sum_{place}"] = known, label
  if lookback.history and entity == facts.log.entities[0]:
    sums["positive"] = _is_positive(facts, rows).cast("int64")
  each = rows.select(key=key, time=rows.time, chunk=rows.chunk, **sums)
  moments = each.group_by("key", "time", "chunk").agg(
    **{name: each[name].sum().cast("int64") for name in sums}
  )
  before = ibis.window(group_by="key", order_by="time", preceding=(None, 1))  # a time is there once
  later = before
  if lookback.delay:
    later = ibis.range_window(group_by="key", order_by="time", preceding=(None, lookback.delay + 1))
  made = {}
  for name in sums:
    total = moments[name].sum().over(before if name == "count" else later)
    made[name] = total.fill_null(0).cast("int64")
  known = moments.select("key", "time", "chunk", **made)
  for name in [name for name in sums if name.startswith("both")]:
    task_place = name.removeprefix("both_")
    both = known[name]
    apart = {f"known_{task_place}": both >> HALF, f"sum_{task_place}": both & ((1 << HALF) - 1)}
    known = known.mutate(apart).drop(name)
  return known


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
