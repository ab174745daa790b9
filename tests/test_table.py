"""A log of one's own: read as described, named where it is not, and trained on as documented."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.cli import main
from ranking.data.prepare import prepare
from ranking.data.schema import DataError
from ranking.data.sources import csv_file
from ranking.data.sources.frames import FrameLog
from ranking.data.sources.table import Table
from tests.test_synthetic import assert_same_log
from tests.whole_log import read_whole

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "your_log.md").read_text()
DESCRIPTION = (ROOT / "configs" / "data" / "table.gin").read_text()
LINES = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)[0]
SHOP = Table(
  name="shop",
  time="when",
  time_zone="Europe/Berlin",
  categorical=("customer", "article", "country"),
  bags=("tags",),
  log_dense=("price",),
  binary=("bought",),
  regression=("stars",),
  entities=("customer", "article"),
)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
  path = tmp_path / "shop.csv"
  path.write_text(LINES)
  return path


def read(path: Path, **changes: Any) -> FrameLog:
  return read_whole(dataclasses.replace(SHOP, raw=str(path), **changes))


def test_rows_are_read_as_they_are_described(shop: Path) -> None:
  log = read(shop)
  assert log.day_names == ["2026-03-01", "2026-03-02", "2026-03-03"]
  np.testing.assert_array_equal(log.day, [0] * 3 + [1] * 4 + [2] * 3)
  assert log.time[0] == pd.Timestamp("2026-03-01T07:10:00Z").value // 1_000_000
  assert list(log.categorical) == ["customer", "article", "country"]
  assert [log.bags["tags"].lists[k] for k in log.bags["tags"].index[:2]] == [
    ["food", "green"],
    ["home"],
  ]
  np.testing.assert_allclose(log.dense.price[:2], np.log1p([3.5, 12.0]))
  assert np.isnan(log.dense.price.iloc[-1])
  assert [(task.name, task.kind) for task in log.tasks] == [
    ("bought", "binary"),
    ("stars", "regression"),
  ]
  np.testing.assert_array_equal(
    log.labels.stars, [5, np.nan, 4, np.nan, 3, np.nan, 2, 5, np.nan, 4]
  )
  assert log.rated_tasks == ("bought",)


def test_tasks_of_any_kind_are_named_with_their_kind(shop: Path) -> None:
  named = read(shop, binary=(), regression=(), tasks={"bought": "binary", "stars": "regression"})
  pd.testing.assert_frame_equal(named.labels, read(shop).labels)
  assert (named.tasks, named.rated_tasks) == (read(shop).tasks, ("bought",))


def test_parquet_with_numbers_for_times_and_lists_for_bags_is_the_same_log(
  shop: Path, tmp_path: Path
) -> None:
  frame = pd.read_csv(shop)
  when = pd.to_datetime(frame["when"], utc=True)
  frame["when"] = (when - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
  frame["tags"] = [tags.split(",") for tags in frame["tags"]]
  frame.to_parquet(tmp_path / "shop.parquet")
  one, other = read(shop), read(tmp_path / "shop.parquet", time_unit="s")
  np.testing.assert_array_equal(one.time, other.time)
  pd.testing.assert_frame_equal(one.categorical, other.categorical)
  pd.testing.assert_frame_equal(one.labels, other.labels)
  assert one.bags["tags"].lists == other.bags["tags"].lists


def test_files_of_a_folder_are_one_log_in_order_of_time_whatever_the_order_of_rows(
  shop: Path, tmp_path: Path
) -> None:
  frame = pd.read_csv(shop)
  folder = tmp_path / "parts"
  folder.mkdir()
  frame[::2].iloc[::-1].to_csv(folder / "b.csv", index=False)
  frame[1::2].to_csv(folder / "a.csv", index=False)
  (folder / "notes.txt").write_text("not a log")
  whole, parts = read(shop), read(folder)
  np.testing.assert_array_equal(whole.time, parts.time)
  np.testing.assert_array_equal(whole.categorical.to_numpy(), parts.categorical.to_numpy())


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_log_is_the_same_in_chunks_and_described_in_blocks(
  shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
  frame = pd.read_csv(shop)
  frame = pd.concat([frame[::-1], frame[:3]], ignore_index=True)
  frame.loc[[1, 4], "when"] = None
  frame["tags"] = [tags.split(",") for tags in frame["tags"]]
  path = tmp_path / f"again.{suffix}"
  if suffix == "csv":
    frame.assign(tags=frame["tags"].str.join(", ")).to_csv(path, index=False)
  else:
    frame.to_parquet(path)
  source = dataclasses.replace(SHOP, raw=str(path))
  whole = read_whole(source)
  assert whole.cleaning == {
    "dropped: rows without a time": 2,
    "dropped: exact duplicates of an earlier row": 3,
  }
  for rows in (1, 4):
    monkeypatch.setattr(csv_file, "CHUNK_ROWS", rows)
    assert_same_log(read_whole(source), whole)


@pytest.mark.parametrize("rows", [1, 100])
def test_a_whole_number_is_one_id_in_every_file_and_chunk(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
  monkeypatch.setattr(csv_file, "CHUNK_ROWS", rows)
  days = ["2026-03-01", "2026-03-02", "2026-03-03"]
  common = {"when": days, "y": [0.0, 1.0, None]}
  big = 2**60 + 1  # which no float holds
  pd.DataFrame({**common, "id": [5, 5, big], "tags": ["5", "7,5", None]}).to_csv(
    tmp_path / "a.csv", index=False
  )
  pd.DataFrame({**common, "id": [5, None, 7], "tags": ["5", "5.0, x", ""], "new": 1}).to_csv(
    tmp_path / "b.csv", index=False
  )
  pd.DataFrame({**common, "id": ["5", "u5", None], "tags": [[5], [7, 5], None]}).to_parquet(
    tmp_path / "c.parquet"
  )
  ids = pd.array([5, None, big], "Int64")
  pd.DataFrame({"new": 2, **common, "id": ids, "tags": [[5.0], [None], []]}).to_parquet(
    tmp_path / "d.parquet"
  )
  log = read_whole(
    Table(raw=str(tmp_path), time="when", categorical=["id"], bags=["tags"], binary=["y"])
  )
  nothing = None
  expected = ["5", *["5", nothing, "u5", nothing], *[str(big), "7", nothing]]
  # The rows of the third file's first day, and two of the fourth's, repeat those of others.
  assert log.categorical.id.tolist() == expected
  bag = log.bags["tags"]
  lists = [bag.lists[k] for k in bag.index]
  assert lists[:4] == [["5"], ["7", "5"], ["5", "x"], ["7", "5"]]
  assert lists[5:] == [[], [], []]
  assert log.cleaning["dropped: exact duplicates of an earlier row"] == 4


def test_columns_may_be_called_time_and_day(tmp_path: Path) -> None:
  frame = pd.DataFrame(
    {"at": [0, 86_400, 90_000], "day": ["Thu", "Fri", "Fri"], "time": [1.5, 2.5, 3.5], "y": 1}
  )
  frame.to_csv(tmp_path / "log.csv", index=False)
  log = read_whole(
    Table(
      raw=str(tmp_path / "log.csv"),
      time="at",
      time_unit="s",
      categorical=("day",),
      dense=("time",),
      binary=("y",),
    )
  )
  np.testing.assert_array_equal(log.time, [0, 86_400_000, 90_000_000])
  np.testing.assert_array_equal(log.day, [0, 1, 1])
  assert log.categorical.day.tolist() == ["Thu", "Fri", "Fri"]
  assert log.dense.time.tolist() == [1.5, 2.5, 3.5]


def test_days_begin_at_midnight_when_the_clocks_change_too(tmp_path: Path) -> None:
  # In Berlin the 29th of March 2026 has 23 hours, the 25th of October 25.
  times = ["2026-03-28T22:59Z", "2026-03-28T23:00Z", "2026-03-29T21:59Z", "2026-03-29T22:00Z"]
  times += ["2026-10-24T21:59Z", "2026-10-24T22:00Z", "2026-10-25T22:59Z", "2026-10-25T23:00Z"]
  pd.DataFrame({"when": times, "id": 1, "y": 1}).to_csv(tmp_path / "log.csv", index=False)
  log = read_whole(
    Table(
      raw=str(tmp_path / "log.csv"),
      time="when",
      time_zone="Europe/Berlin",
      categorical=("id",),
      binary=("y",),
    )
  )
  days = [f"2026-03-{day}" for day in (28, 29, 29, 30)]
  days += [f"2026-10-{day}" for day in (24, 25, 25, 26)]
  assert [log.day_names[day] for day in log.day] == days


def test_rows_without_a_time_and_repeated_rows_are_dropped_and_counted(shop: Path) -> None:
  lines = LINES.splitlines()
  shop.write_text("\n".join([*lines, lines[1], ",ann,tea,DE,food,1.0,1,5"]))
  log = read(shop)
  assert len(log.time) == 10
  assert log.cleaning == {
    "dropped: rows without a time": 1,
    "dropped: exact duplicates of an earlier row": 1,
  }
  assert len(read(shop, keep_duplicates=True).time) == 11


def test_a_column_that_is_new_is_not_read_and_an_id_that_is_new_is_no_error(
  shop: Path, tmp_path: Path
) -> None:
  frame = pd.read_csv(shop).assign(new=1)
  frame.loc[9, "country"] = "XX"
  frame.to_csv(shop, index=False)
  store = prepare(dataclasses.replace(SHOP, raw=str(shop)), tmp_path / "store")
  names = [feature.name for feature in store.schema.of_kind("categorical")]
  assert names == ["customer", "article", "country"]
  assert store.eval_day.ids[2, 2] == 0
  assert store.card["unseen_rows_of_day_n"]["country"] == 1


@pytest.mark.parametrize(
  ("old", "new", "message"),
  [
    ("price", "prize", r"shop.csv lacks column price; it has when, customer"),
    ("3.5,1,5", "cheap,1,5", r"row 1 column price holds 'cheap' where a number belongs"),
    ("12.0,0,", "inf,0,", r"row 2 column price holds 'inf' where a number belongs"),
    (
      r"2026-03-02T07:05:00\+01:00",
      "yesterday",
      r"row 4 column when holds 'yesterday' where a date",
    ),
    (r"(?s).*", "", r"shop.csv cannot be read as csv \(No columns"),
  ],
)
def test_what_is_not_as_described_is_named(shop: Path, old: str, new: str, message: str) -> None:
  shop.write_text(re.sub(old, new, LINES, count=1))
  with pytest.raises(DataError, match=message):
    read(shop)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"country": [["DE"]] * 10}, r"column country holds lists where single ids belong; name it in"),
    ({"price": ["1.5"] * 8 + ["cheap", "2"]}, r"row 9 column price holds 'cheap' where a number"),
    (
      {"when": range(10)},
      r"row 1 column when holds '0' where a date belongs; for numbers give Tab",
    ),
  ],
)
def test_what_a_parquet_file_has_not_as_described_is_named(
  shop: Path,
  tmp_path: Path,
  monkeypatch: pytest.MonkeyPatch,
  changes: dict[str, Any],
  message: str,
) -> None:
  path = tmp_path / "shop.parquet"
  pd.read_csv(shop).assign(**changes).to_parquet(path)
  for rows in (100, 3):
    monkeypatch.setattr(csv_file, "CHUNK_ROWS", rows)
    with pytest.raises(DataError, match=f"{re.escape(str(path))} {message}"):
      read(path)
  path.write_bytes(b"PAR1, they say")
  with pytest.raises(DataError, match=r"shop\.parquet cannot be read as parquet \("):
    read(path)


def test_times_in_another_unit_than_was_said_are_refused(tmp_path: Path) -> None:
  path = tmp_path / "log.csv"
  path.write_text("time,id,y\n1,1,1\n1772349000000,1,1\n")
  message = r"row 2 column time holds '1772349000000', a time too far off; mend Table\.time_unit"
  with pytest.raises(DataError, match=message):
    read_whole(Table(raw=str(path), time_unit="s", categorical=("id",), binary=("y",)))


def test_a_label_that_is_neither_0_nor_1_is_refused_when_packed(shop: Path, tmp_path: Path) -> None:
  shop.write_text(LINES.replace("12.0,0,", "12.0,2,", 1))
  with pytest.raises(DataError, match="label bought is binary but holds 2"):
    prepare(dataclasses.replace(SHOP, raw=str(shop)), tmp_path / "store")
  assert not list((tmp_path / "store").rglob("*.npy"))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"categorical": ()}, "needs at least one column in categorical"),
    ({"binary": (), "regression": ()}, "and one in binary, regression or tasks"),
    ({"dense": ("price",)}, "names column price twice; give it one role"),
    ({"time_unit": "h"}, "time_unit is 'h'; make it 's', 'ms', 'us', 'ns' or None"),
    ({"time_zone": "Europe/Berln"}, "time_zone is 'Europe/Berln'; make it a name such as"),
    ({"entities": ("tags",)}, "Table.entities names tags, which is none of customer, article"),
    ({"rated_tasks": ("click",)}, "Table.rated_tasks names click, which is none of bought, stars"),
    ({"report_by": "price"}, "Table.report_by names price"),
    ({"name": "../up"}, r"^Table\.name is '../up'; make it a name of letters, digits, _ and -$"),
    ({"categorical": "user"}, r"^Table\.categorical is 'user'; make it a list of columns, each in"),
    ({"bags": ["tags", 5]}, r"^Table\.bags is \['tags', 5\]; make it a list of columns, each in"),
    ({"entities": ["customer"] * 2}, r"^Table\.entities is .*; name customer once$"),
    ({"time_zone": ""}, r"^Table\.time_zone is ''; make it a name such as Europe/Berlin$"),
    (
      {"entities": (), "rated_tasks": ("stars",)},
      "^Table.rated_tasks names stars, but entities names no column whose past it could tell",
    ),
    ({"tasks": {"bought": "binary"}}, "names column bought twice; give it one role"),
    ({"tasks": ["bought"]}, r"^Table.tasks is \['bought'\]; make it a dict such as"),
    (
      {"binary": (), "tasks": {"bought": "binery"}},
      "^Table.tasks: task bought is of kind 'binery', which there is not; the nearest is 'binary'$",
    ),
  ],
)
def test_a_description_that_contradicts_itself_is_refused(
  changes: dict[str, Any], message: str
) -> None:
  with pytest.raises(DataError, match=message):
    dataclasses.replace(SHOP, **changes)


@pytest.mark.parametrize(
  ("raw", "message"),
  [
    (None, "Table has no files; give RAW=path"),
    ("nowhere", "RAW nowhere is not there"),
    (".", r"RAW \. holds no .csv or .parquet file"),
  ],
)
def test_a_log_that_is_not_there_is_named(
  raw: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.chdir(tmp_path)
  with pytest.raises(DataError, match=message):
    read_whole(dataclasses.replace(SHOP, raw=raw))


def test_another_description_is_another_identity(shop: Path) -> None:
  one = dataclasses.replace(SHOP, raw=str(shop))
  others = [
    dataclasses.replace(one, time_zone="UTC"), dataclasses.replace(one, log_dense=())
  ]  # fmt: skip
  assert len({json.dumps(source.identity()) for source in (one, *others)}) == 3


def test_the_page_shows_the_description_that_is_shipped() -> None:
  assert f"```\n{DESCRIPTION}```" in PAGE


def test_the_documented_steps_train_on_the_ten_lines(
  shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mylog.gin").write_text(DESCRIPTION)
  line = next(line for line in PAGE.splitlines() if line.startswith("make train"))
  given = dict(word.split("=") for word in line.split()[2:])
  words = [f"--{name.lower()}={value}" for name, value in given.items()]
  assert main(["train", *words]) == 0
  result = json.loads((tmp_path / "runs/shop/result.json").read_text())
  assert (result["status"], result["dataset"], result["eval_day"]) == ("ok", "shop", "2026-03-03")
  assert result["metrics"]["bought"]["rows"] == 3
  assert result["metrics"]["stars"]["rows"] == 2
