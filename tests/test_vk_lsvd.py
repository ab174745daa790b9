"""VK-LSVD: rows in the order of the files, spread over their week; samples are called ones."""

import json
import math
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
from ranking.data.sources.vk_lsvd import TASKS, VkLsvd
from scripts import make_vk_lsvd_sample as maker

TYPES = {
  **dict.fromkeys(("user_id", "item_id", "author_id", "train_interactions_rank"), "uint32"),
  **dict.fromkeys(("place", "platform", "agent", "timespent", "duration"), "uint8"),
  **dict.fromkeys(("age", "gender", "geo"), "uint8"),
  **dict.fromkeys(("like", "dislike", "share", "bookmark"), "bool"),
  **dict.fromkeys(("click_on_author", "open_comments"), "bool"),
}
FEEDBACK = [name for name, kind in TYPES.items() if kind == "bool"]
USERS = {"user_id": [1, 2], "age": [20, 40], "gender": [1, 2], "geo": [7, 8]}
ITEMS = {"item_id": [5, 6, 7], "author_id": [9, 9, 8], "duration": [10, 20, 0]}


def week(rows: int, **columns: Any) -> dict[str, Any]:
  """Rows that nobody liked: users 1, 2, 1, … meet video 5 for 3 seconds."""
  made: dict[str, Any] = {
    "user_id": [1 + k % 2 for k in range(rows)],
    "item_id": [5] * rows,
    **{"place": [1] * rows, "platform": [0] * rows, "agent": [2] * rows},
    "timespent": [3] * rows,
    **{name: [False] * rows for name in FEEDBACK},
  }
  return made | columns


def write(path: Path, columns: Mapping[str, Any], **types: str) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  arrays = {name: pa.array(v, (TYPES | types)[name]) for name, v in columns.items()}
  pq.write_table(pa.table(arrays), path)


def folder(root: Path, weeks: Mapping[str, Mapping[str, Any]], cut: str = "interactions") -> Path:
  for name, columns in weeks.items():
    write(root / cut / f"{name}.parquet", columns)
  for name, table in (("users", USERS), ("items", ITEMS)):
    rank = {"train_interactions_rank": range(len(next(iter(table.values()))))}
    write(root / "metadata" / f"{name}_metadata.parquet", {**table, **rank})
  return root


def declared(source: VkLsvd, work: Path) -> tuple[Log, pd.DataFrame]:
  """The log and its rows in order."""
  with Engine(work) as engine:
    log = source.log(engine)
    columns = {**log.categorical, **{name: label.value for name, label in log.labels.items()}}
    mine = {name: c for name, c in columns.items() if name not in ("gender", "geo")}
    table = log.rows.select(at=log.time, number=log.day, sequence=log.sequence, **mine)
    return log, engine.frame(table).sort_values("sequence", ignore_index=True)


def test_rows_are_spread_over_their_week_in_the_order_of_the_file(tmp_path: Path) -> None:
  users = [2, 1, 1, 2, 2, 2, 1, 1, 2, 1, 2, 1, 1, 2]
  raw = folder(
    tmp_path / "raw",
    {
      "train/week_03": week(14, user_id=users),
      "validation/week_04": week(7, item_id=[6, 5, 5, 5, 7, 5, 5]),
    },
  )
  log, rows = declared(VkLsvd(str(raw)), tmp_path / "work")
  seconds = [k * 604_800 // 14 for k in range(14)] + [604_800 + k * 604_800 // 7 for k in range(7)]
  assert (rows["at"] // 1000).tolist() == seconds
  assert rows.number.tolist() == [k // 2 for k in range(14)] + [7 + k for k in range(7)]
  assert rows.user_id.tolist()[:14] == users
  assert rows.item_id.tolist()[14:] == [6, 5, 5, 5, 7, 5, 5]
  assert [log.day_name(day) for day in (0, 6, 7, 13)] == [
    *("week-03-day-1", "week-03-day-7", "week-04-day-1", "week-04-day-7"),
  ]


def test_labels_are_the_feedback_and_what_the_time_spent_says(tmp_path: Path) -> None:
  liked = [True, *[False] * 6]
  raw = folder(
    tmp_path / "raw",
    {
      "train/week_00": week(
        7, timespent=[9, 10, 51, 255, 7, 0, 20], item_id=[5, 5, 5, 6, 7, 5, 6], like=liked
      )
    },
  )
  log, rows = declared(VkLsvd(str(raw)), tmp_path / "work")
  assert log.tasks == TASKS
  assert [task.name for task in TASKS] == [*log.labels]
  nan = math.nan
  np.testing.assert_array_equal(rows.complete.astype(float), [0, 1, 1, 1, nan, 0, 1])
  np.testing.assert_array_equal(rows.like, [1, 0, 0, 0, 0, 0, 0])
  np.testing.assert_allclose(rows.watch_ratio.astype(float), [0.9, 1, 5, 5, nan, 0, 1])
  assert rows.log_seconds.tolist() == [9, 10, 51, 255, 7, 0, 20]  # log1p comes while packing
  assert log.labels["log_seconds"].scale is np.log1p
  assert rows.author_id.tolist() == [9, 9, 9, 9, 8, 9, 9]


def test_what_counts_the_future_is_not_read(tmp_path: Path) -> None:
  raw = folder(tmp_path / "raw", {"train/week_00": week(14)})
  for name in ("users", "items"):  # not even if it is no number
    path = raw / "metadata" / f"{name}_metadata.parquet"
    table = pq.read_table(path).drop_columns("train_interactions_rank")
    pq.write_table(table, path)
  log, _ = declared(VkLsvd(str(raw)), tmp_path / "work")
  assert not any("rank" in name for name in (*log.categorical, *log.dense))


def test_a_subsample_is_taken_where_it_is_named_or_alone(tmp_path: Path) -> None:
  cut = "subsamples/up0.001_ip0.001"
  raw = folder(tmp_path / "raw", {"train/week_00": week(14)}, cut)
  assert [*VkLsvd(str(raw))._files()[0]] == [0]
  folder(tmp_path / "raw", {"train/week_01": week(14)}, "subsamples/ur0.01")
  assert [*VkLsvd(str(raw), "ur0.01")._files()[0]] == [1]
  with pytest.raises(DataError, match=r"has no interactions/; set VkLsvd.subsample to one of up0"):
    VkLsvd(str(raw))._files()
  with pytest.raises(DataError, match=r"no subsample ur1; it has up0.001_ip0.001, ur0.01$"):
    VkLsvd(str(raw), "ur1")._files()


@pytest.mark.parametrize(
  ("broken", "message"),
  [
    ({"timespent": None}, "week_00.parquet lacks column timespent; it has user_id, item_id"),
    (
      {"user_id": [1, None, None, *[1] * 11]},
      r"week_00.parquet column user_id holds no value \(2 such rows\), not a whole number from 0",
    ),
    ({"item_id": ["a"] * 14}, "column item_id is string, not whole numbers; download it again"),
    ({"like": [2] * 14}, r"column like holds 2 \(14 such rows\), not a whole number from 0 to 1;"),
    ({"timespent": [0.5] * 14}, r"column timespent holds 0.5 \(14 such rows\), not a whole"),
  ],
)
def test_what_does_not_belong_is_named(
  tmp_path: Path, broken: dict[str, Any], message: str
) -> None:
  raw = folder(tmp_path / "raw", {"train/week_00": week(14)})
  columns = {name: values for name, values in (week(14) | broken).items() if values is not None}
  types = {"item_id": "string"} if "item_id" in broken else {}
  types |= {"like": "int8"} if "like" in broken else {}
  types |= {"timespent": "float32"} if broken.get("timespent") else {}
  write(raw / "interactions" / "train" / "week_00.parquet", columns, **types)
  with pytest.raises(DataError, match=message) as refused:
    declared(VkLsvd(str(raw)), tmp_path / "work")
  assert "\n" not in str(refused.value)


def test_files_that_are_not_there_or_no_parquet_are_refused_with_the_cure(tmp_path: Path) -> None:
  raw = folder(tmp_path / "raw", {"train/week_00": week(14)})
  write(raw / "interactions" / "validation" / "week_00.parquet", week(14))
  with pytest.raises(DataError, match=r"week_00.parquet are of one week; remove one of them"):
    VkLsvd(str(raw)).log(None)  # type: ignore[arg-type]  # nothing is read
  (raw / "interactions" / "validation" / "week_00.parquet").unlink()
  (raw / "interactions" / "train" / "week_00.parquet").write_text("user_id\n")
  with pytest.raises(DataError, match=r"week_00.parquet cannot be read as parquet .*; download"):
    declared(VkLsvd(str(raw)), tmp_path / "work")
  (raw / "metadata" / "items_metadata.parquet").unlink()
  with pytest.raises(DataError, match=r"items_metadata.parquet is missing; download it from"):
    VkLsvd(str(raw))._files()
  for given, message in (
    (None, "VkLsvd has no files; give RAW=path of its folder"),
    (str(tmp_path), r"has no interactions/; give VK-LSVD's folder"),
  ):
    with pytest.raises(DataError, match=message):
      VkLsvd(given).identity()
  with pytest.raises(DataError, match=r"VkLsvd.raw is 3; make it the path"):
    VkLsvd(3)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
  out = tmp_path_factory.mktemp("sample") / "vk"
  maker.make_sample(out, rows=4_000, weeks=3)
  return out


def test_a_sample_has_the_official_layout_columns_and_shares(made: Path) -> None:
  found = sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file())
  assert found == [
    "README.txt",
    *(f"interactions/train/week_{k:02d}.parquet" for k in range(2)),
    "interactions/validation/week_02.parquet",
    *(f"metadata/{name}_metadata.parquet" for name in ("items", "users")),
  ]
  weeks = [pq.read_table(made / name) for name in found if "week" in name]
  assert sum(len(table) for table in weeks) == 4_000
  for table in (*weeks, *(pq.read_table(made / name) for name in found[4:])):
    assert {field.name: str(field.type) for field in table.schema} == {
      name: TYPES[name] for name in table.column_names
    }
  assert weeks[0].column_names == [
    *("user_id", "item_id", "place", "platform", "agent", "timespent"),
    *("like", "dislike", "share", "bookmark", "click_on_author", "open_comments"),
  ]
  frame = pa.concat_tables(weeks).to_pandas()
  assert frame.like.mean() == pytest.approx(0.0287, abs=0.008)
  assert frame.timespent.mean() == pytest.approx(maker.MEAN_SECONDS, rel=0.25)
  assert "sample, not VK-LSVD data" in (made / "README.txt").read_text()


def test_a_sample_is_the_same_every_time_and_another_with_another_seed(tmp_path: Path) -> None:
  for name, seed in (("one", 0), ("same", 0), ("other", 1)):
    maker.make_sample(tmp_path / name, 400, 2, seed)
  one, same, other = (
    pq.read_table(tmp_path / name / "interactions" / "train" / "week_00.parquet")
    for name in ("one", "same", "other")
  )
  assert one.equals(same)
  assert not one.equals(other)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--rows=100"], "--rows=100 is too few; give at least 2600"),
    (["--weeks=1"], "--weeks is 1; give 2 to 26"),
    (["--seed=-1"], "--seed=-1 is negative"),
  ],
)
def test_a_sample_that_cannot_be_made_is_refused_in_one_line(
  tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
  assert maker.main([f"--out={tmp_path / 'new'}", *arguments]) == 2
  assert capsys.readouterr().err.startswith(f"error: {message}")
  assert not (tmp_path / "new").exists()


def test_a_sample_is_called_one_wherever_its_files_go(made: Path, tmp_path: Path) -> None:
  assert VkLsvd(str(made)).name == "vk_lsvd_sample"
  moved = tmp_path / "elsewhere"
  for path in made.rglob("*.parquet"):
    (moved / path.relative_to(made)).parent.mkdir(parents=True, exist_ok=True)
    (moved / path.relative_to(made)).write_bytes(path.read_bytes())
  assert VkLsvd(str(moved)).name == "vk_lsvd_sample"
  assert VkLsvd(str(folder(tmp_path / "raw", {"train/week_00": week(14)}))).name == "vk_lsvd"
  assert VkLsvd().name == "vk_lsvd"


@pytest.mark.usefixtures("own_folder")
def test_the_command_trains_on_a_sample_and_says_so(made: Path) -> None:
  few = "train_and_evaluate.batch_size=64 train_and_evaluate.max_steps=3"
  given = ["--data=vk_lsvd", f"--raw={made}", "--run=run", f"--set={few}"]
  assert main(["train", "--config=small_clippy.gin", "--scale=proxy", *given]) == 0
  result = json.loads(Path("run", "result.json").read_text())
  assert result["dataset"] == "vk_lsvd_sample"
  assert list(result["metrics"]) == [task.name for task in TASKS]
  store = prepare(VkLsvd(str(made)), "data/store")
  assert len(store.schema.day_names) == 21
  assert store.directory.parent.name == "vk_lsvd_sample"


def test_the_configuration_is_what_it_says() -> None:
  settings = configuration.read(config="small_clippy", data="vk_lsvd", raw="somewhere")
  assert settings.log.source == VkLsvd("somewhere")
  assert settings.training.batch_size == 4096
