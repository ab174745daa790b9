"""Writes a VK-LSVD-like sample: python -m scripts.make_vk_lsvd_sample --out=folder [--rows=200000]

The files have the layout, columns and types of VK-LSVD, and follow its published shares of likes,
shares and the other feedback, at any size. What is in them is made up: it is a *sample*, never
VK-LSVD data, README.txt beside it says so, and stores and results of it are named vk_lsvd_sample.

Taste is real to the sample: how long a video is watched depends on user, video, author and length,
and feedback on how long it is watched, so there is something to learn. A week is drawn at a time
from a generator of its own: the files depend on --rows, --weeks and --seed alone, and memory holds
one week.
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

LEAST_ROWS_A_WEEK = 100
ROWS_PER_USER, ROWS_PER_VIDEO = 100, 60
# Of 40,774,024,903 rows: the published counts.
FEEDBACK = {
  "like": 1_171_423_458,
  "dislike": 11_860_138,
  "share": 262_734_328,
  "bookmark": 40_124_463,
  "click_on_author": 84_632_666,
  "open_comments": 481_251_593,
}
OFFICIAL_ROWS = 40_774_024_903
MEAN_SECONDS = 858_160_100_084 / OFFICIAL_ROWS  # 21.0
LONGEST = 255  # the type of timespent and of a video's length
PLACES, PLATFORMS, AGENTS, REGIONS = 24, 11, 29, 80
TASTES = 8
README = """This is a sample, not VK-LSVD data.

All of it is made up: the files have the layout, columns and types of VK-LSVD (Poslavsky et al.,
2026, arXiv 2602.04567, Apache 2.0) and its shares of likes, shares and other feedback, for trying
software when the original cannot be had. Nobody watched these videos: no figure measured here says
anything about VK-LSVD, and none may be reported as a result on it.

Made by {made_by}

Known to differ from the original: a user may meet a video twice, and there are no embeddings.
"""


def weights(random: np.random.Generator, count: int, skew: float) -> Array:
  """Shares of `count` things, a few of which have most."""
  drawn = random.pareto(skew, count) + 0.1
  return drawn / drawn.sum()


class World:
  """Users and videos: ids, features, tastes and how often each is met."""

  def __init__(self, rows: int, seed: int):
    random = np.random.default_rng((seed, 0))
    users, items = max(rows // ROWS_PER_USER, 20), max(rows // ROWS_PER_VIDEO, 40)
    authors = max(items // 20, 5)
    self.user_id = np.sort(random.choice(2**29, users, replace=False)).astype(np.uint32)
    self.item_id = np.sort(random.choice(2**30, items, replace=False)).astype(np.uint32)
    self.author_id = random.choice(2**28, authors, replace=False).astype(np.uint32)[
      random.integers(0, authors, items)
    ]
    self.duration = np.clip(random.lognormal(3.2, 0.8, items), 3, LONGEST).astype(np.uint8)
    self.age = random.integers(14, 80, users).astype(np.uint8)
    self.gender = random.integers(0, 3, users).astype(np.uint8)
    self.geo = random.integers(0, REGIONS, users).astype(np.uint8)
    self.agent = (random.pareto(1.5, users) * 2).astype(int) % AGENTS
    self.user_taste = random.normal(size=(users, TASTES)) / TASTES**0.5
    self.item_taste = random.normal(size=(items, TASTES))
    self.user_bias, self.item_bias = random.normal(0, 0.5, users), random.normal(0, 0.4, items)
    self.user_share, self.item_share = weights(random, users, 1.5), weights(random, items, 1.2)
    self.born = np.sort(random.random(items) ** 2)  # share of the weeks before a video's first


def week_table(world: World, random: np.random.Generator, rows: int, passed: float) -> pa.Table:
  """The rows of a week, in order of time; `passed` is the share of the weeks before its end."""
  there = int(np.searchsorted(world.born, passed, side="right"))
  share = world.item_share[: max(there, 10)]
  user = random.choice(len(world.user_id), rows, p=world.user_share)
  item = random.choice(len(share), rows, p=share / share.sum())
  liked = (world.user_taste[user] * world.item_taste[item]).sum(axis=1)
  score = liked + world.user_bias[user] + world.item_bias[item] + random.normal(size=rows)
  duration = world.duration[item].astype(float)
  watched = np.minimum(np.exp(0.6 * score - 0.35), 4) * duration + random.exponential(1.5, rows)
  watched *= MEAN_SECONDS / np.minimum(watched, LONGEST).mean()
  seconds = np.minimum(watched, LONGEST).astype(np.uint8)
  columns: dict[str, Array] = {
    "user_id": world.user_id[user],
    "item_id": world.item_id[item],
    "place": ((random.pareto(1.2, rows) * 1.5).astype(int) % PLACES).astype(np.uint8),
    "platform": (world.agent[user] % PLATFORMS).astype(np.uint8),
    "agent": world.agent[user].astype(np.uint8),
    "timespent": seconds,
  }
  for k, (name, count) in enumerate(FEEDBACK.items()):
    strength = (-1.0 if name == "dislike" else 1.2) * score + 0.5 * world.user_bias[user] * (k + 1)
    odds = np.exp(strength - strength.max())
    rate = np.minimum(odds * (count / OFFICIAL_ROWS / odds.mean()), 1.0)
    columns[name] = random.random(rows) < rate
  return pa.table(columns)


def make_sample(out: Path, rows: int, weeks: int, seed: int = 0) -> None:
  """Writes the sample. Raises DataError before anything is written where that cannot be done."""
  if not 2 <= weeks <= 26:
    raise DataError(f"--weeks is {weeks}; give 2 to 26: the last is for validation")
  if rows < weeks * LEAST_ROWS_A_WEEK:
    raise DataError(f"--rows={rows} is too few; give at least {weeks * LEAST_ROWS_A_WEEK}")
  if seed < 0:
    raise DataError(f"--seed={seed} is negative; give 0 or more")
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise DataError(f"--out={out} is there already; give a new folder")
  world = World(rows, seed)
  for folder in ("interactions/train", "interactions/validation", "metadata"):
    (out / folder).mkdir(parents=True)
  made_by = f"scripts/make_vk_lsvd_sample.py with --rows={rows} --weeks={weeks} --seed={seed}"
  (out / "README.txt").write_text(README.format(made_by=made_by))
  users = {
    "user_id": world.user_id,
    **{"age": world.age, "gender": world.gender, "geo": world.geo},
    "train_interactions_rank": rank(world.user_share),
  }
  items = {
    "item_id": world.item_id,
    **{"author_id": world.author_id, "duration": world.duration},
    "train_interactions_rank": rank(world.item_share),
  }
  for name, table in (("users", users), ("items", items)):
    write(pa.table(table), out / "metadata" / f"{name}_metadata.parquet")
  counts = np.diff(np.linspace(0, rows, weeks + 1).astype(int))
  for week, count in enumerate(counts.tolist()):
    split = "validation" if week == weeks - 1 else "train"
    random = np.random.default_rng((seed, 1, week))
    table = week_table(world, random, count, (week + 1) / weeks)
    write(table, out / "interactions" / split / f"week_{week:02d}.parquet")


def write(table: pa.Table, path: Path) -> None:
  """A file that is marked as made up."""
  pyarrow.parquet.write_table(sample.marked(table, "VK-LSVD"), path)


def rank(share: Array) -> Array:
  """1 for the largest."""
  ranks = np.empty(len(share), np.uint32)
  ranks[np.argsort(-share)] = np.arange(1, len(share) + 1)
  return ranks


def main(argv: Sequence[str]) -> int:
  """Makes the sample and says what it made; returns the exit code, 2 on bad input."""
  parser = argparse.ArgumentParser(prog="make_vk_lsvd_sample", description=__doc__.splitlines()[0])
  parser.add_argument("--out", required=True, type=Path, help="a new folder")
  parser.add_argument("--rows", default=200_000, type=int)
  parser.add_argument("--weeks", default=26, type=int, help="the last is for validation")
  parser.add_argument("--seed", default=0, type=int, help="another seed is another sample")
  given = parser.parse_args(argv)
  try:
    make_sample(given.out, given.rows, given.weeks, given.seed)
  except DataError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print(f"{given.out}: a sample of {given.rows:,} rows of {given.weeks} weeks")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
