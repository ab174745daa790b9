"""Writes a Yambda-like sample: python -m scripts.make_yambda_sample --out=folder [--rows=200000]

The files have the layout, columns and types of Yambda-5B's flat format, and follow its published
shares of likes and other events, at any size. What is in them is made up: it is a *sample*, never
Yambda data, README.txt beside it says so, and stores and results of it are named yambda_sample.

How much of a track is played depends on user, track and whether the user chose it, and who likes a
track has played most of it, so there is something to learn. The files depend on --rows, --days and
--seed alone; memory holds all rows, about 60 bytes each.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from ranking.array import Array
from ranking.data.schema import DataError
from ranking.data.sources import sample

LEAST_ROWS = 1000
LISTENS_PER_USER, LISTENS_PER_TRACK = 150, 50
LIKE_RATE, DISLIKE_RATE, UNDONE = 89.3e6 / 4.65e9, 11.6e6 / 4.65e9, 0.25
DAY, STEP = 86_400, 5  # seconds; times are rounded down to STEP
ORGANIC = 0.55
TYPES = {
  "uid": pa.uint32(),
  "timestamp": pa.uint32(),
  "item_id": pa.uint32(),
  "is_organic": pa.uint8(),
  "event_type": pa.dictionary(pa.int32(), pa.string()),
  "played_ratio_pct": pa.uint16(),
  "track_length_seconds": pa.uint32(),
}
KINDS = ("listen", "like", "dislike", "unlike", "undislike")
README = """This is a sample, not Yambda data.

All of it is made up: the files have the layout, columns and types of Yambda-5B's flat format
(Ploshkin et al., 2025, arXiv 2505.22238, Apache 2.0) and its shares of likes and dislikes, for
trying software when the original cannot be had. Nobody heard these tracks: no figure measured here
says anything about Yambda, and none may be reported as a result on it.

Made by {made_by}

Known to differ from the original: there are no embeddings, albums and artists, and a track may be
liked twice.
"""


def listens_of(random: np.random.Generator, rows: int, days: int) -> dict[str, Array]:
  """Listens in no order, with `taste`, how much the user likes the track."""
  users, tracks = max(rows // LISTENS_PER_USER, 20), max(rows // LISTENS_PER_TRACK, 40)
  uid = np.sort(random.choice(10_000_000, users, replace=False))
  item_id = np.sort(random.choice(10_000_000, tracks, replace=False))
  length = np.clip(random.normal(200, 60, tracks), 30, 900).astype(int)
  user_share, track_share = random.pareto(1.5, users) + 0.2, random.pareto(1.0, tracks) + 0.1
  user = random.choice(users, rows, p=user_share / user_share.sum())
  track = random.choice(tracks, rows, p=track_share / track_share.sum())
  factors = random.normal(size=(users, 6)) / 6**0.5, random.normal(size=(tracks, 6))
  organic = random.random(rows) < ORGANIC
  taste = (factors[0][user] * factors[1][track]).sum(axis=1) + random.normal(0, 0.4, users)[user]
  score = taste + 0.5 * organic + random.normal(size=rows)
  played = np.where(score > 0, 100, np.clip(100 * np.exp(1.6 * score), 0, 100))
  again = random.random(rows) < 0.01  # wound back: more than the whole track
  hour = np.clip(random.normal(15, 5, rows), 0, 23.99) / 24
  return {
    "uid": uid[user],
    "timestamp": ((random.integers(0, days, rows) + hour) * DAY).astype(int) // STEP * STEP,
    "item_id": item_id[track],
    "is_organic": organic.astype(int),
    "played_ratio_pct": np.where(again, played + random.integers(1, 300, rows), played).astype(int),
    "track_length_seconds": length[track],
    "taste": score,
  }


def events_of(
  listens: dict[str, Array], random: np.random.Generator
) -> dict[str, dict[str, Array]]:
  """The events of each kind, as columns; a like comes while its track is played."""
  events = {"listen": {name: values for name, values in listens.items() if name != "taste"}}
  odds = np.exp(1.5 * listens["taste"])
  dislike_odds = np.exp(-1.5 * listens["taste"])
  for kind, weight, rate in (("like", odds, LIKE_RATE), ("dislike", dislike_odds, DISLIKE_RATE)):
    chosen = np.flatnonzero(random.random(len(weight)) < weight * (rate / weight.mean()))
    later = random.integers(0, listens["track_length_seconds"][chosen] + 1) // STEP * STEP
    columns = {
      name: listens[name][chosen] for name in ("uid", "timestamp", "item_id", "is_organic")
    }
    columns["timestamp"] = columns["timestamp"] + later
    events[kind] = columns
    undone = random.random(len(chosen)) < UNDONE
    events[f"un{kind}"] = {name: values[undone] for name, values in columns.items()}
    events[f"un{kind}"]["timestamp"] = events[f"un{kind}"]["timestamp"] + DAY
  return events


def table_of(columns: dict[str, Array], names: Sequence[str]) -> pa.Table:
  """In the official order, by user and then time."""
  order = np.lexsort((columns["timestamp"], columns["uid"]))
  return pa.table({name: pa.array(columns[name][order], TYPES[name]) for name in names})


def all_events(events: dict[str, dict[str, Array]]) -> pa.Table:
  """One table, null where a kind of event has no value."""
  tables = []
  for kind, columns in events.items():
    rows = len(columns["uid"])
    arrays = {}
    for name, dtype in TYPES.items():
      if name == "event_type":
        arrays[name] = pa.array([kind] * rows).dictionary_encode()
      elif name in columns:
        arrays[name] = pa.array(columns[name], dtype)
      else:
        arrays[name] = pa.nulls(rows, dtype)
    tables.append(pa.table(arrays))
  return (
    pa.concat_tables(tables)
    .unify_dictionaries()
    .sort_by([("uid", "ascending"), ("timestamp", "ascending")])
  )


def make_sample(out: Path, rows: int, days: int, seed: int = 0) -> None:
  """Writes the sample. Raises DataError before anything is written where that cannot be done."""
  if rows < LEAST_ROWS:
    raise DataError(f"--rows={rows} is too few; give at least {LEAST_ROWS}")
  if not 2 <= days <= 300:
    raise DataError(f"--days is {days}; give 2 to 300")
  if seed < 0:
    raise DataError(f"--seed={seed} is negative; give 0 or more")
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise DataError(f"--out={out} is there already; give a new folder")
  random = np.random.default_rng(seed)
  events = events_of(listens_of(random, rows, days), random)
  folder = out / "flat" / "50m"
  folder.mkdir(parents=True)
  made_by = f"scripts/make_yambda_sample.py with --rows={rows} --days={days} --seed={seed}"
  (out / "README.txt").write_text(README.format(made_by=made_by))
  for kind, columns in events.items():
    names = [name for name in TYPES if name in columns]
    write(table_of(columns, names), folder / f"{kind}s.parquet")
  write(all_events(events), folder / "multi_event.parquet")


def write(table: pa.Table, path: Path) -> None:
  """A file that is marked as made up."""
  pyarrow.parquet.write_table(sample.marked(table, "Yambda"), path)


def main(argv: Sequence[str]) -> int:
  """Makes the sample and says what it made; returns the exit code, 2 on bad input."""
  parser = argparse.ArgumentParser(prog="make_yambda_sample", description=__doc__.splitlines()[0])
  parser.add_argument("--out", required=True, type=Path, help="a new folder")
  parser.add_argument("--rows", default=200_000, type=int, help="listens")
  parser.add_argument("--days", default=30, type=int)
  parser.add_argument("--seed", default=0, type=int, help="another seed is another sample")
  given = parser.parse_args(argv)
  try:
    make_sample(given.out, given.rows, given.days, given.seed)
  except DataError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print(f"{given.out}/flat/50m: a sample of {given.rows:,} listens of {given.days} days")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
