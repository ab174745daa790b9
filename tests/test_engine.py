"""The engine: the same store whatever it runs on, and no wrong answer of what lies below it."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ranking.data import calendar
from ranking.data.engine import MEMORY, Engine
from ranking.data.facts import as_number
from ranking.data.lookback import Lookback
from ranking.data.prepare import prepare
from ranking.data.schema import DataError, Source
from ranking.data.sources.kuairand import KuaiRand
from ranking.data.sources.movielens import MovieLens
from ranking.data.sources.synthetic import Synthetic
from tests.test_stored_features import kuairand_folder, movielens_folder

LATE = Lookback(feedback_delay_hours=5.0, history=3)


def files_below(folder: Path) -> dict[str, bytes]:
  return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("cores", "memory"), [({0}, "300MB"), ({0, 1}, "1GB")])
def test_a_store_is_the_same_at_any_number_of_threads_and_limit_of_memory(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: set[int], memory: str
) -> None:
  source = Synthetic(days=3, rows_per_day=20_000, num_users=500, num_videos=900)
  expected = files_below(prepare(source, tmp_path / "plain", lookback=LATE).directory)
  monkeypatch.setattr("os.sched_getaffinity", lambda _: cores)
  monkeypatch.setenv(MEMORY, memory)
  assert files_below(prepare(source, tmp_path / "other", lookback=LATE).directory) == expected


def spark_sources(folder: Path) -> list[Source]:
  return [
    KuaiRand(raw=str(kuairand_folder(folder / "kuairand"))),
    MovieLens(raw=str(movielens_folder(folder / "movielens")), slices=4),
    Synthetic(days=3, rows_per_day=200, num_users=30, num_videos=50),
  ]


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
def test_spark_makes_the_store_that_duckdb_makes(tmp_path: Path) -> None:
  pytest.importorskip("pyspark")
  for source in spark_sources(tmp_path):
    made, expected = (
      files_below(prepare(source, tmp_path / engine, lookback=LATE, engine=engine).directory)
      for engine in ("local[2]", "duckdb")
    )
    assert made == expected, source.name


def test_a_number_that_is_none_is_null_whatever_the_statistics_of_a_file_say(
  tmp_path: Path,
) -> None:
  with Engine(tmp_path) as engine:
    for kind in (np.float32, np.float64):
      table = engine.arrow(pa.table({"x": np.array([1.0, np.nan] * 100, kind)}))
      assert engine.number(as_number(table.x).isnull().sum()) == 100


def test_a_limit_of_memory_that_means_nothing_is_refused(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setenv(MEMORY, "much")
  with pytest.raises(DataError, match=r"^RANKING_MEMORY is 'much'; make it a size such as 4GB$"):
    Engine(tmp_path)


@pytest.mark.parametrize(
  ("rows", "share", "fair"),
  [
    ([100, 100, 3], 0.1, [0, 1]),  # a cut day, or a few rows far from the others
    ([100, 100, 10], 0.1, [0, 1, 2]),
    ([100, 3, 100, 1, 1], 0.1, [0, 2]),
    ([1, 1, 1, 1], 0.1, [0, 1, 2, 3]),  # thin as all are
    ([100, 100, 3], 0.0, [0, 1, 2]),
    ([], 0.1, []),
  ],
)
def test_a_day_is_fit_to_be_day_n_by_the_days_up_to_it(
  rows: list[int], share: float, fair: list[int]
) -> None:
  assert calendar.fair_days(rows, share) == fair
