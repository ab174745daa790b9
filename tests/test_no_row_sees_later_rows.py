"""Rows after a time are altered in the raw files of each source: no row up to then changes.

Spark is tried too by

    python -m tests.test_no_row_sees_later_rows local[2]
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.data.lookback import Lookback
from ranking.data.prepare import prepare
from ranking.data.schema import Source
from ranking.data.sources.kuairand import KuaiRand
from ranking.data.sources.kuairec import KuaiRec
from ranking.data.sources.movielens import MovieLens
from ranking.data.sources.table import Table
from ranking.data.sources.vk_lsvd import VkLsvd
from ranking.data.sources.yambda import Yambda
from tests import test_kuairand, test_kuairec, test_movielens, test_vk_lsvd, test_yambda
from tests.packing import Packed, read_back

ROWS, DAYS, DAY = 240, 4, 86_400
NOW = ROWS - ROWS // DAYS // 2  # rows from here on are altered: half of day N
LOOKBACKS = {"plain": Lookback(), "late": Lookback(feedback_delay_hours=5.0, history=3)}


def events(seed: int) -> pd.DataFrame:
  """Rows of four days: second, user, item and four numbers below 6; no two have the same time."""
  random = np.random.default_rng(seed)
  columns = {name: random.integers(0, 6, ROWS) for name in ("user", "item", "a", "b", "c", "d")}
  second = np.sort(np.random.default_rng(9).permutation(DAYS * DAY // 1000)[:ROWS]) * 1000
  return pd.DataFrame({"second": second, **columns})


def lines_of(log: pd.DataFrame) -> list[Any]:
  return [*log.itertuples()]


def kuairand(folder: Path, log: pd.DataFrame) -> Source:
  lines = [
    test_kuairand.impression(
      user_id=e.user,
      video_id=e.item,
      time_ms=test_kuairand.MAY_7 + 1000 * e.second,
      is_click=e.a % 2,
      is_like=e.b // 5,
      long_view=e.c % 2,
      play_time_ms=e.d * 977,
      duration_ms=e.c * 4000,
      tab=e.b,
    )
    for e in lines_of(log)
  ]
  videos = [test_kuairand.video(video_id=k, author_id=k % 2) for k in range(5)]
  return KuaiRand(raw=str(test_kuairand.write(folder, *lines, videos=tuple(videos))))


def kuairec(folder: Path, log: pd.DataFrame) -> Source:
  lines = [
    test_kuairec.view(
      test_kuairec.JULY_6 + e.second,
      user_id=e.user,
      video_id=e.item,
      play_duration=e.a * 4000,
      video_duration=e.b * 3000,
    )
    for e in lines_of(log)
  ]
  counted = log.assign(day=log.second // DAY).groupby(["item", "day"])  # what a day's end knows
  daily = [
    test_kuairec.totals(
      20200706 + day,
      video_id=item,
      author_id=int(of_day.c.iloc[0]),
      play_cnt=len(of_day),
      like_cnt=int(of_day.d.sum()),
    )
    for (item, day), of_day in counted
  ]
  return KuaiRec(raw=str(test_kuairec.write(folder, *lines, daily=tuple(daily))))


def movielens(folder: Path, log: pd.DataFrame) -> Source:
  lines = [(e.user, 1 + e.item % 5, max(e.a, 1), e.second) for e in lines_of(log)]
  ratings = test_movielens.table(*lines)
  tags = ratings[log.b.to_numpy() == 0].assign(tag="dark")[["user", "movie", "tag", "time"]]
  tables = test_movielens.Tables(ratings, tags)
  return MovieLens(raw=str(test_movielens.write_csv(folder, tables)), slices=DAYS)


def yambda(folder: Path, log: pd.DataFrame) -> Source:
  listens = {
    "uid": log.user,
    "timestamp": log.second,
    "item_id": log["item"],
    "is_organic": log.a % 2,
    "played_ratio_pct": log.b * 30,
    "track_length_seconds": 60 + log.c,
  }
  likes = {
    name: column[log.d == 0] for name, column in listens.items() if name in test_yambda.LIKES
  }
  return Yambda(test_yambda.folder(folder, listens, likes))


def vk_lsvd(folder: Path, log: pd.DataFrame) -> Source:
  columns = {
    "user_id": log.user,
    "item_id": 4 + log["item"],
    "place": log.a,
    "timespent": log.b * 5,
    "like": log.c % 2 == 0,
  }
  week = test_vk_lsvd.week(ROWS, **columns)  # its rows are spread over seven days
  return VkLsvd(str(test_vk_lsvd.folder(folder, {"train/week_00": week})))


def table(folder: Path, log: pd.DataFrame) -> Source:
  folder.mkdir()
  log.assign(likes=[" ".join("xyz"[: n % 4]) for n in log.d]).to_csv(
    folder / "log.csv", index=False
  )
  changed = log[log.a == 0]  # events that set a price
  prices = {"item": changed["item"], "since": changed.second, "price": changed.b}
  pd.DataFrame(prices)[::-1].to_csv(folder / "prices.csv", index=False)
  (folder / "users.csv").write_text("id,age\n" + "".join(f"{k},{20 + k}\n" for k in range(5)))
  return Table(
    raw=str(folder),
    tables={"users.csv": "user=id", "prices.csv": ["item", "since"]},
    dense=("age", "prices.price"),
    time="second",
    time_unit="s",
    since="1970-01-01",
    categorical=("user", "item", "a"),
    bags=("likes",),
    log_dense=("b",),
    binary={"high": "c >= 3", "cheap": "prices.price < 3"},
    regression=("d",),
    entities=("user", "item"),
    rated_tasks=("high", "d"),
  )


MAKERS: dict[str, Callable[[Path, pd.DataFrame], Source]] = {
  maker.__name__: maker for maker in (kuairand, kuairec, movielens, yambda, vk_lsvd, table)
}


def check(maker: Callable[[Path, pd.DataFrame], Source], engine: str, lookback: Lookback) -> None:
  log, other = events(0), events(1)
  with tempfile.TemporaryDirectory() as folder:

    def packed(name: str, rows: pd.DataFrame) -> Packed:
      source = maker(Path(folder, name), rows)
      return read_back(prepare(source, Path(folder, "store"), lookback=lookback, engine=engine))

    before, after = packed("raw", log), packed("altered", pd.concat([log[:NOW], other[NOW:]]))
  assert len(before.time) == len(after.time) == ROWS
  for name in ("time", "ids", "bags", "dense"):
    array, same = getattr(before, name), getattr(after, name)
    np.testing.assert_array_equal(array[:NOW], same[:NOW], err_msg=name)
  assert (before.ids[NOW:] != after.ids[NOW:]).any()
  assert (before.dense[NOW:] != after.dense[NOW:]).any()


@pytest.mark.parametrize("source", MAKERS)
def test_no_row_sees_what_comes_after_it(source: str) -> None:
  check(MAKERS[source], "duckdb", LOOKBACKS["late"])


def main(engine: str) -> None:
  """Checks all sources on an engine, with labels that are known at once and late ones."""
  for source, maker in MAKERS.items():
    for name, lookback in LOOKBACKS.items():
      check(maker, engine, lookback)
      print(f"{source}, {name}, on {engine}: no row sees a later one")


if __name__ == "__main__":
  main(sys.argv[1])
