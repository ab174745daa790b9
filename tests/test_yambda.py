"""Yambda's listens: read as its columns say, refused where they say something else, trained on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranking import configuration
from ranking.cli import main
from ranking.data.prepare import prepare
from ranking.data.schema import DataError
from ranking.data.sources import csv_file
from ranking.data.sources.yambda import Yambda
from tests.test_synthetic import assert_same_log
from tests.whole_log import read_whole

TYPES = {  # of the official files
  "uid": "uint32",
  "timestamp": "uint32",
  "item_id": "uint32",
  "is_organic": "uint8",
  "played_ratio_pct": "uint16",
  "track_length_seconds": "uint32",
}
FIRST = 86_395  # so that a day of the log is none of its clock
# In the official order: by user, then time.
FIVE = {
  "uid": [10, 10, 20, 20, 30],
  "timestamp": [FIRST, FIRST + 86_400, FIRST + 3_600, FIRST + 86_395, FIRST + 7_200],
  "item_id": [7, 8, 7, 9, 7],
  "is_organic": [1, 0, 0, 1, 1],
  "played_ratio_pct": [100, 9, 50, 310, 94],
  "track_length_seconds": [200, 100, 300, 180, 60],
}


def write(path: Path, columns: Mapping[str, Any], types: Mapping[str, str] = TYPES) -> Path:
  typed = {name: pa.array(values, types[name]) for name, values in columns.items()}
  pq.write_table(pa.table(typed), path)
  return path


def sample(days: int = 4, rows: int = 1200) -> dict[str, Any]:
  """Listens of 40 users, who finish what is organic more often."""
  random = np.random.default_rng(0)
  frame = pd.DataFrame({"uid": random.integers(1, 41, rows) * 10})
  frame["timestamp"] = random.integers(0, days * 86_400 // 5, rows) * 5
  frame["item_id"] = random.zipf(1.5, rows) % 60 + 1
  frame["is_organic"] = random.integers(0, 2, rows)
  finished = random.random(rows) < 0.3 + 0.4 * frame.is_organic
  frame["played_ratio_pct"] = np.where(finished, 100, random.integers(0, 101, rows))
  frame["track_length_seconds"] = 100 + 3 * frame.item_id
  ordered = frame.sort_values(["uid", "timestamp"], kind="stable")
  return {str(name): column.to_numpy() for name, column in ordered.items()}


def test_listens_are_described_in_order_of_time_as_days_of_24_hours(tmp_path: Path) -> None:
  log = read_whole(Yambda(str(write(tmp_path / "listens.parquet", FIVE))))
  assert log.time.tolist() == [0, 3_600_000, 7_200_000, 86_395_000, 86_400_000]
  assert log.day.tolist() == [0, 0, 0, 0, 1]
  assert log.day_names == ["day-001", "day-002"]
  assert log.categorical.to_dict("list") == {
    "user_id": [10, 20, 30, 20, 10],
    "item_id": [7, 7, 7, 9, 8],
    "is_organic": [1, 0, 1, 1, 0],
    "hour": [0, 1, 2, 23, 0],
  }
  assert (log.entities, log.rated_tasks) == (("user_id", "item_id"), ("listened",))
  lengths = [200, 300, 60, 180, 100]
  np.testing.assert_allclose(log.dense.log_track_seconds, np.log1p(lengths))


def test_labels_are_shares_of_the_track_and_seconds_of_it(tmp_path: Path) -> None:
  log = read_whole(Yambda(str(write(tmp_path / "listens.parquet", FIVE))))
  assert [(task.name, task.kind) for task in log.tasks] == [
    ("listened", "binary"),
    ("finished", "binary"),
    ("skipped", "binary"),
    ("log_seconds", "regression"),
    ("played_ratio", "regression"),
  ]
  assert list(log.labels) == [task.name for task in log.tasks]
  assert log.labels.listened.tolist() == [1, 1, 1, 1, 0]  # of 100, 50, 94, 310 and 9 %
  assert log.labels.finished.tolist() == [1, 0, 0, 1, 0]
  assert log.labels.skipped.tolist() == [0, 0, 0, 0, 1]
  np.testing.assert_allclose(log.labels.log_seconds, np.log1p([200, 150, 56.4, 558, 9]), rtol=1e-6)
  np.testing.assert_allclose(log.labels.played_ratio, [1, 0.5, 0.94, 2, 0.09], rtol=1e-6)


def test_files_and_pieces_are_one_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  columns = sample(rows=300)
  whole = read_whole(Yambda(str(write(tmp_path / "listens.parquet", columns))))
  (tmp_path / "two").mkdir()
  for k, half in enumerate((slice(0, 140), slice(140, None))):
    part = {name: values[half] for name, values in columns.items()}
    write(tmp_path / "two" / f"listens-{k}.parquet", part)
  write(tmp_path / "two" / "likes.parquet", {"uid": [1]})
  monkeypatch.setattr(csv_file, "CHUNK_ROWS", 37)
  assert_same_log(read_whole(Yambda(str(tmp_path / "two"))), whole)


def test_a_listen_that_is_there_twice_stays(tmp_path: Path) -> None:
  twice = {name: [*values, values[-1]] for name, values in FIVE.items()}
  log = read_whole(Yambda(str(write(tmp_path / "listens.parquet", twice))))
  assert len(log.time) == 6


@pytest.mark.parametrize(
  ("column", "values", "kind", "message"),
  [
    ("is_organic", [1, 0, 2, 1, 1], "uint8", r"row 3 column is_organic holds 2, not a .* 0 to 1;"),
    ("uid", [10, 10, 20, None, 30], "uint32", "row 4 column uid holds nan, not a whole number"),
    ("timestamp", [0, 1, 2, 3, -5], "int64", "row 5 column timestamp holds -5, not a whole number"),
    ("item_id", ["a"] * 5, "string", "row 1 column item_id holds 'a', not a whole number"),
    ("played_ratio_pct", [0.5] * 5, "float32", "column played_ratio_pct holds 0.5, not a whole"),
    ("uid", None, "", "lacks column uid; it has timestamp, item_id"),
  ],
)
def test_what_does_not_belong_in_a_column_is_named(
  tmp_path: Path, column: str, values: Any, kind: str, message: str
) -> None:
  columns = {name: each for name, each in (FIVE | {column: values}).items() if each is not None}
  path = write(tmp_path / "listens.parquet", columns, TYPES | {column: kind})
  with pytest.raises(DataError, match=message) as refused:
    read_whole(Yambda(str(path)))
  assert len(str(refused.value).splitlines()) == 1


def test_what_is_no_such_file_is_refused_with_the_cure(tmp_path: Path) -> None:
  (tmp_path / "listens.parquet").write_text("uid,timestamp\n")
  for raw, message in (
    (str(tmp_path), r"listens.parquet cannot be read as parquet \(.*\); download it again$"),
    (str(tmp_path / "none"), "none has no listens.parquet; it is in flat/50m"),
    (None, "Yambda has no files; give RAW=path of listens.parquet"),
    (3, "Yambda.raw is 3; make it the path of listens.parquet"),
  ):
    with pytest.raises(DataError, match=message):
      read_whole(Yambda(raw))  # type: ignore[arg-type]
  empty = write(tmp_path / "listens.parquet", {name: [] for name in FIVE})
  with pytest.raises(DataError, match="has no rows; download it again"):
    read_whole(Yambda(str(empty)))


def test_the_configuration_is_what_it_says() -> None:
  settings = configuration.read(config="small_clippy", data="yambda", raw="somewhere")
  assert settings.log.source == Yambda("somewhere")
  assert (settings.training.learning_rate, settings.training.batch_size) == (0.025, 4096)
  settings = configuration.read(config="small_clippy", data="yambda", scale="proxy")
  assert settings.training.learning_rate == 0.02


@pytest.mark.usefixtures("own_folder")
def test_the_command_prepares_it_and_trains_on_it() -> None:
  Path("flat").mkdir()
  raw = str(write(Path("flat") / "listens.parquet", sample()))
  few = "train_and_evaluate.batch_size=64 train_and_evaluate.max_steps=4"
  given = ["--data=yambda", f"--raw={raw}", "--run=run", f"--set={few}"]
  assert main(["train", "--config=small_clippy.gin", "--scale=proxy", *given]) == 0
  result = json.loads(Path("run", "result.json").read_text())
  assert list(result["metrics"]) == [task.name for task in read_whole(Yambda(raw)).tasks]
  store = prepare(Yambda(raw), "data/store")
  days = [*store.train_days, store.eval_day]
  assert [len(day) for day in days] == np.bincount(read_whole(Yambda(raw)).day).tolist()
  assert result["steps"] == 4
