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
from ranking.data.engine import Engine
from ranking.data.prepare import prepare
from ranking.data.schema import DataError, Log
from ranking.data.sources.yambda import TASKS, Yambda
from scripts import make_yambda_sample as maker

TYPES = {
  **dict.fromkeys(("uid", "timestamp", "item_id", "track_length_seconds"), "uint32"),
  "is_organic": "uint8",
  "played_ratio_pct": "uint16",
  "event_type": "string",
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
LIKES: dict[str, Any] = {
  "uid": [10, 10, 20, 20, 30, 30, 40],
  # At once, a day later, before the listen, just within the hour, an hour later, of another track.
  "timestamp": [
    *(FIRST, FIRST + 86_000, FIRST + 3_595, FIRST + 86_395 + 3_595),
    *(FIRST + 7_200 + 3_600, FIRST + 7_300, FIRST),
  ],
  "item_id": [7, 7, 7, 9, 7, 8, 7],
  "is_organic": [1] * 7,
}


def write(path: Path, columns: Mapping[str, Any], **types: str) -> Path:
  path.parent.mkdir(parents=True, exist_ok=True)
  arrays = {name: pa.array(v, (TYPES | types)[name]) for name, v in columns.items()}
  pq.write_table(pa.table(arrays), path)
  return path


def folder(path: Path, listens: Mapping[str, Any] = FIVE, likes: Mapping[str, Any] = LIKES) -> str:
  """A folder with a file for each kind of event that is read, and one that is not."""
  write(path / "listens.parquet", listens)
  write(path / "likes.parquet", likes)
  (path / "dislikes.parquet").write_text("is not read")
  return str(path)


def declared(raw: str, work: Path) -> tuple[Log, pd.DataFrame]:
  """The log and its rows, in order of time."""
  with Engine(work) as engine:
    log = Yambda(raw).log(engine)
    columns = {**log.categorical, **{name: label.value for name, label in log.labels.items()}}
    columns["length"] = log.dense["log_track_seconds"].value
    table = log.rows.select(at=log.time, number=log.day, **columns)
    return log, engine.frame(table).sort_values("at", ignore_index=True)


def test_listens_lie_in_days_of_24_hours_from_the_first(tmp_path: Path) -> None:
  log, rows = declared(folder(tmp_path / "raw"), tmp_path / "work")
  assert rows["at"].tolist() == [0, 3_600_000, 7_200_000, 86_395_000, 86_400_000]
  assert rows.number.tolist() == [0, 0, 0, 0, 1]
  assert [log.day_name(day) for day in (0, 1)] == ["day-001", "day-002"]
  assert rows[["user_id", "item_id", "is_organic", "hour"]].to_dict("list") == {
    "user_id": [10, 20, 30, 20, 10],
    "item_id": [7, 7, 7, 9, 8],
    "is_organic": [1, 0, 1, 1, 0],
    "hour": [0, 1, 2, 23, 0],
  }
  assert (log.entities, log.rated_tasks) == (("user_id", "item_id"), ("listened",))
  assert rows.length.tolist() == [200, 300, 60, 180, 100]
  assert log.dense["log_track_seconds"].scale is np.log1p


def test_labels_are_shares_of_the_track_seconds_of_it_and_likes_within_an_hour(
  tmp_path: Path,
) -> None:
  log, rows = declared(folder(tmp_path / "raw"), tmp_path / "work")
  assert log.tasks == TASKS
  assert [task.name for task in TASKS] == [*log.labels]
  assert rows.listened.tolist() == [1, 1, 1, 1, 0]  # of 100, 50, 94, 310 and 9 %
  assert rows.finished.tolist() == [1, 0, 0, 1, 0]
  assert rows.skipped.tolist() == [0, 0, 0, 0, 1]
  assert rows.liked.tolist() == [1, 0, 0, 1, 0]
  assert log.labels["log_seconds"].scale is np.log1p
  np.testing.assert_allclose(rows.log_seconds, [200, 150, 56.4, 558, 9])
  np.testing.assert_allclose(rows.played_ratio, [1, 0.5, 0.94, 2, 0.09])


def test_a_track_that_is_liked_twice_in_the_hour_is_one_row(tmp_path: Path) -> None:
  twice = {name: [*values, values[0]] for name, values in LIKES.items()}
  _, rows = declared(folder(tmp_path / "raw", likes=twice), tmp_path / "work")
  assert rows.liked.tolist() == [1, 0, 0, 1, 0]


def test_a_listen_that_is_there_twice_stays(tmp_path: Path) -> None:
  twice = {name: [*values, values[-1]] for name, values in FIVE.items()}
  _, rows = declared(folder(tmp_path / "raw", twice), tmp_path / "work")
  assert len(rows) == 6


def test_one_file_of_all_events_is_the_same_log(tmp_path: Path) -> None:
  _, expected = declared(folder(tmp_path / "raw"), tmp_path / "one")
  of_likes = {name: [*LIKES[name], *LIKES[name]] if name in LIKES else [None] * 14 for name in FIVE}
  events = {name: [*FIVE[name], *of_likes[name]] for name in FIVE}
  events["event_type"] = ["listen"] * 5 + ["like"] * 7 + ["dislike"] * 7
  write(tmp_path / "all" / "multi_event.parquet", events)
  for given in ("all", "all/multi_event.parquet"):
    _, rows = declared(str(tmp_path / given), tmp_path / "work" / given.replace("/", "-"))
    pd.testing.assert_frame_equal(rows, expected)


@pytest.mark.parametrize(
  ("column", "values", "kind", "message"),
  [
    ("is_organic", [1, 0, 2, 1, 1], "uint8", r"is_organic holds 2 \(1 such rows\), not a .* to 1;"),
    ("uid", [10, 10, 20, None, 30], "uint32", r"column uid holds no value \(1 such rows\)"),
    ("timestamp", [0, 1, 2, 3, -5], "int64", r"column timestamp holds -5 \(1 such rows\)"),
    ("item_id", ["a"] * 5, "string", "column item_id is string, not whole numbers; download it"),
    ("played_ratio_pct", [0.5] * 5, "float32", "column played_ratio_pct holds 0.5 "),
    ("uid", None, "", "lacks column uid; it has timestamp, item_id"),
  ],
)
def test_what_does_not_belong_in_a_column_is_named(
  tmp_path: Path, column: str, values: Any, kind: str, message: str
) -> None:
  raw = folder(tmp_path / "raw")
  columns = {name: each for name, each in (FIVE | {column: values}).items() if each is not None}
  path = write(tmp_path / "raw" / "listens.parquet", columns, **{column: kind})
  with pytest.raises(DataError, match=message) as refused:
    declared(raw, tmp_path / "work")
  assert str(refused.value).startswith(str(path))
  assert "\n" not in str(refused.value)


def test_what_is_no_such_file_is_refused_with_the_cure(tmp_path: Path) -> None:
  raw = folder(tmp_path / "raw")
  (tmp_path / "raw" / "listens.parquet").write_text("uid,timestamp\n")
  with pytest.raises(DataError, match=r"listens.parquet cannot be read as parquet \(.*\); downloa"):
    declared(raw, tmp_path / "work")
  write(tmp_path / "raw" / "listens.parquet", {name: [] for name in FIVE})
  with pytest.raises(DataError, match=r"has no rows; download it again"):
    declared(raw, tmp_path / "work")
  (tmp_path / "raw" / "likes.parquet").unlink()
  for given, message in (
    (raw, r"has neither multi_event.parquet nor likes.parquet; both are in flat/50m"),
    (str(tmp_path / "none"), r"none has neither multi_event.parquet nor listens.parquet"),
    (None, "Yambda has no files; give RAW=path of a folder such as flat/50m"),
  ):
    with pytest.raises(DataError, match=message):
      Yambda(given).identity()
  with pytest.raises(DataError, match=r"Yambda.raw is 3; make it the path of a folder"):
    Yambda(3)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
  out = tmp_path_factory.mktemp("sample") / "yambda"
  maker.make_sample(out, rows=6_000, days=4)
  return out / "flat" / "50m"


def test_a_sample_has_the_official_files_columns_and_order(made: Path) -> None:
  kinds = ("dislikes", "likes", "listens", "multi_event", "undislikes", "unlikes")
  assert sorted(path.stem for path in made.iterdir()) == [*kinds]
  tables = {kind: pq.read_table(made / f"{kind}.parquet") for kind in kinds}
  assert tables["listens"].column_names == [
    *("uid", "timestamp", "item_id", "is_organic", "played_ratio_pct", "track_length_seconds")
  ]
  for kind, table in tables.items():
    for field in table.schema:
      if field.name != "event_type":
        assert str(field.type) == TYPES[field.name]
    order = list(zip(table["uid"].to_pylist(), table["timestamp"].to_pylist(), strict=True))
    assert order == sorted(order), kind
    assert all(second % 5 == 0 for _, second in order)
  events = tables["multi_event"].to_pandas()
  assert events.event_type.value_counts().to_dict() == {
    kind.removesuffix("s"): len(tables[kind]) for kind in kinds if kind != "multi_event"
  }
  assert events.played_ratio_pct.isna().sum() == (events.event_type != "listen").sum()
  assert len(tables["likes"]) / 6_000 == pytest.approx(maker.LIKE_RATE, rel=0.5)
  assert "sample, not Yambda data" in (made.parent.parent / "README.txt").read_text()


def test_a_sample_is_called_one_wherever_its_files_go(made: Path, tmp_path: Path) -> None:
  assert Yambda(str(made)).name == "yambda_sample"
  for name in ("listens", "likes"):
    (tmp_path / f"{name}.parquet").write_bytes((made / f"{name}.parquet").read_bytes())
  assert Yambda(str(tmp_path)).name == "yambda_sample"
  assert Yambda(folder(tmp_path / "raw")).name == "yambda"
  assert Yambda().name == "yambda"


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--rows=100"], "--rows=100 is too few; give at least 1000"),
    (["--days=1"], "--days is 1; give 2 to 300"),
    (["--seed=-1"], "--seed=-1 is negative"),
  ],
)
def test_a_sample_that_cannot_be_made_is_refused_in_one_line(
  tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
  assert maker.main([f"--out={tmp_path / 'new'}", *arguments]) == 2
  assert capsys.readouterr().err.startswith(f"error: {message}")
  assert not (tmp_path / "new").exists()


def test_the_configuration_is_what_it_says() -> None:
  settings = configuration.read(config="small_clippy", data="yambda", raw="somewhere")
  assert settings.log.source == Yambda("somewhere")
  assert (settings.training.learning_rate, settings.training.batch_size) == (0.025, 4096)
  settings = configuration.read(config="small_clippy", data="yambda", scale="proxy")
  assert settings.training.learning_rate == 0.02


@pytest.mark.usefixtures("own_folder")
def test_the_command_trains_on_a_sample_and_says_so(made: Path) -> None:
  few = "train_and_evaluate.batch_size=64 train_and_evaluate.max_steps=4"
  given = ["--data=yambda", f"--raw={made}", "--run=run", f"--set={few}"]
  assert main(["train", "--config=small_clippy.gin", "--scale=proxy", *given]) == 0
  result = json.loads(Path("run", "result.json").read_text())
  assert (result["dataset"], result["steps"]) == ("yambda_sample", 4)
  assert list(result["metrics"]) == [task.name for task in TASKS]
  store = prepare(Yambda(str(made)), "data/store")
  assert sum(len(day) for day in store.train_days) + len(store.eval_day) == 6_000
