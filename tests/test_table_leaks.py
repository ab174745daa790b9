"""Nothing that comes after a row changes what is stored of it: a log of one's own, with tables."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.data.lookback import Lookback
from ranking.data.prepare import prepare
from ranking.data.sources.table import Table
from ranking.data.store import ARRAYS, DayStore

DELAY_HOURS = 5.0
NOW = pd.Timestamp("2026-03-04T12:00Z")  # in day N, whose rows no statistic is of


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
  """A log of four days, 40 rows each, and prices that change at any time."""
  random = np.random.default_rng(0)
  times = pd.date_range("2026-03-01", periods=160, freq="36min", tz="UTC")
  log = pd.DataFrame(
    {
      "time": times,
      "user": random.integers(0, 6, 160),
      "item": random.integers(0, 4, 160),
      "tags": random.choice(["a", "a,b", "c"], 160),
      "seconds": random.integers(0, 90, 160),
      "click": random.integers(0, 2, 160),
    }
  )
  since = pd.date_range("2026-02-28", periods=40, freq="3h", tz="UTC")
  prices = pd.DataFrame(
    {"item": np.arange(40) % 4, "since": since, "price": random.integers(1, 99, 40)}
  )
  return log, prices


def store_of(folder: Path, log: pd.DataFrame, prices: pd.DataFrame, engine: str) -> DayStore:
  folder.mkdir(parents=True)
  log.to_csv(folder / "log.csv", index=False)
  prices.to_csv(folder / "prices.csv", index=False)
  (folder / "users.csv").write_text("id,age\n" + "".join(f"{k},{20 + k}\n" for k in range(5)))
  source = Table(
    raw=str(folder),
    categorical=["user", "item"],
    bags=["tags"],
    dense=["age", "prices.price"],
    log_dense=["seconds"],
    binary={"click": "click == 1", "cheap": "prices.price < 50"},
    tables={"users.csv": "user=id", "prices.csv": ["item", "since"]},
    entities=["user", "item"],
  )
  lookback = Lookback(feedback_delay_hours=DELAY_HOURS, history=2)
  return prepare(source, folder.with_name(f"{folder.name} store"), None, lookback, engine=engine)


def rows_of(store: DayStore) -> dict[str, Any]:
  days = [*store.train_days, store.eval_day]
  return {name: np.concatenate([getattr(day, name) for day in days]) for name in ARRAYS}


@pytest.mark.parametrize(
  "engine",
  [
    "duckdb",
    pytest.param(
      "local[2]", marks=pytest.mark.skipif(shutil.which("java") is None, reason="needs Java")
    ),
  ],
)
def test_what_comes_after_a_row_changes_nothing_of_it(tmp_path: Path, engine: str) -> None:
  if engine != "duckdb":
    pytest.importorskip("pyspark")
  log, prices = frames()
  before = rows_of(store_of(tmp_path / "before", log, prices, "duckdb"))
  later = log.time > NOW
  log.loc[later, "user"] = 5 - log.user
  log.loc[later, "item"] = 7
  log.loc[later, "tags"] = "z"
  log.loc[later, "seconds"] += 1000
  unknown = log.time >= NOW - pd.Timedelta(hours=DELAY_HOURS)
  log.loc[unknown, "click"] = 1 - log.click
  prices.loc[prices.since > NOW, "price"] = 1
  # Lines of a table may come in any order, as those of the log.
  after = rows_of(store_of(tmp_path / "after", log[::-1], prices[::-1], engine))
  rows = int((~later).sum())
  assert len(before["time"]) == 160
  for name, array in before.items():
    known = int((~unknown).sum()) if name == "labels" else rows
    np.testing.assert_array_equal(after[name][:known], array[:known], err_msg=name)
    assert name == "time" or (after[name][rows:] != array[rows:]).any()
