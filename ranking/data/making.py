"""The stages in which a day store is made.

read     the source has its files read, cleaned and joined        kept/
days     the rows of each day are counted, and day N is found
code     values become ids                                        kept/, sides/
pack     the arrays of the store, in order of time, and what      store/<day name>/, past/
         was known of each row's past
"""

import functools
from typing import Any, Final

from ranking.data import calendar, card, coded, codes, features, pack, store
from ranking.data.engine import Engine
from ranking.data.facts import Facts
from ranking.data.hashing import Hashing
from ranking.data.lookback import Lookback
from ranking.data.prepare import Console
from ranking.data.raw_files import listed
from ranking.data.remark import Remark
from ranking.data.remarks import remarks
from ranking.data.schema import Schema, Source

WARNING: Final = "warning: "  # such a note of a source is about what a person should look at


def make(
  source: Source,
  lookback: Lookback,
  without_last_days: int,
  fair_share: float,
  identity: dict[str, Any],
  engine: Engine,
  console: Console,
  hashing: Hashing | None = None,
) -> None:
  """Leaves the finished store in the folder `store` of the engine's; see `prepare`."""
  name, folder = source.name, engine.work / "store"
  with console.track(f"reading {name}", "rows", None) as engine.advance:
    log = source.log(engine)
  with console.track(f"counting {name}", "steps", 1) as advance:
    facts = Facts(log)
    lookback.check(log)
    if hashing:
      hashing.check(log)
    days = calendar.read(engine, facts, name, without_last_days, fair_share)
    cleaning = {
      what: count if isinstance(count, int) else engine.number(count)
      for what, count in log.cleaning.items()
    }
    advance(1)
  if days.thin:
    days_after = "1 day" if len(days.thin) == 1 else f"{len(days.thin)} days"
    cleaning[f"dropped: rows of {days_after} after day N, {calendar.RULE}"] = sum(days.thin)
  rows = sum(days.rows)
  for line in log.notes:
    if not line.startswith(WARNING):  # else it is among those that are said in the end
      console.say(line)
  for what, count in cleaning.items():
    if count:
      console.say(f"{what}: {count:,}")
  console.say(f"preparing {name}: {rows:,} rows of {len(days.rows)} days")
  with console.track("coding", "steps", coded.steps(log)) as advance:
    made = coded.code(engine, facts, days, advance, hashing)
  if hashing:
    vocabularies = [made.vocabularies[name] for name in hashing.columns]
    values, shared = codes.sharing(engine, vocabularies)
    what = f"hashed values that share one of {hashing.buckets:,} ids with another"
    cleaning[what] = shared
    console.say(f"{what}: {shared:,} of the {values:,} of the training days")
  with console.track("sorting", "percent", 100) as advance, engine.watched(advance):
    batches = made.batches()
  with console.track("packing", "rows", 2 * rows) as advance:
    packed = pack.pack(made, batches, days, lookback, folder, advance)
  for what, counts in (
    ("filled with the mean of the training days", packed.filled),
    (f"clipped at {features.DENSE_LIMIT:g} standard deviations", packed.clipped),
  ):
    changed = [
      f"{column} {count:,}" for column, count in zip(log.dense, counts, strict=False) if count
    ]
    if changed:
      console.say(f"{what}: values of {listed(changed)}")
  train = packed.labels[:-1]
  schema = Schema(
    dataset=name,
    features=pack.features_of(made, lookback),
    tasks=tuple(log.tasks),
    day_names=days.names,
    label_statistics=features.label_statistics(
      log.tasks,
      functools.reduce(features.Moments.__add__, train),
      features.joined_levels(packed.levels[:-1]),
    ),
    entities=tuple(log.entities),
    report_by=log.report_by,
    weighted=log.weight is not None,
    requests=log.request is not None,
    recent=pack.recent_bags(log) if lookback.history_details else (),
    report_values=codes.names(engine, made.vocabularies[log.report_by]) if log.report_by else (),
  )
  told = [Remark(line.removeprefix(WARNING)) for line in log.notes if line.startswith(WARNING)]
  written = [
    store.WrittenDay(folder / name, of_day)
    for name, of_day in zip(days.names, days.rows, strict=True)
  ]
  found = remarks(log, schema, days, packed, written)
  described = card.describe(
    schema, log, days, packed, written[-1].labels, cleaning, [*found, *told], identity
  )
  store.write_schema(folder, described, card.to_markdown(described))
