"""A log of one's own: read as described, named where it is not, and trained on as documented."""

import dataclasses
import datetime
import json
import re
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from ranking.cli import main
from ranking.data import making, reading, records
from ranking.data.engine import Engine
from ranking.data.prepare import prepare
from ranking.data.schema import DataError, Log
from ranking.data.sources.table import Table
from tests.declared import worked_out

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


def read(path: Path, **changes: Any) -> tuple[pd.DataFrame, Log]:
  return worked_out(dataclasses.replace(SHOP, raw=str(path), **changes))


def log_of(path: Path, text: str, **description: Any) -> tuple[pd.DataFrame, Log]:
  """A log of columns time, id and y, and whatever else is described."""
  path.write_text(text)
  source = Table(raw=str(path), **{"categorical": ["id"], "binary": ["y"], **description})
  return worked_out(source)


def test_rows_are_read_as_they_are_described(shop: Path) -> None:
  rows, log = read(shop)
  assert rows.day.tolist() == ["2026-03-01"] * 3 + ["2026-03-02"] * 4 + ["2026-03-03"] * 3
  assert rows.time[0] == pd.Timestamp("2026-03-01T07:10:00Z").value // 1_000_000
  assert list(log.categorical) == ["customer", "article", "country"]
  assert [list(tags) for tags in rows.tags[:2]] == [["food", "green"], ["home"]]
  np.testing.assert_allclose(rows.price[:2], np.log1p([3.5, 12.0]))
  assert np.isnan(rows.price.iloc[-1])
  assert [(task.name, task.kind) for task in log.tasks] == [
    ("bought", "binary"),
    ("stars", "regression"),
  ]
  np.testing.assert_array_equal(rows.stars, [5, np.nan, 4, np.nan, 3, np.nan, 2, 5, np.nan, 4])
  assert log.rated_tasks == ("bought",)
  assert log.cleaning == {"rows read": 10}
  assert log.notes == ("read shop.csv: text, commas",)


def test_tasks_of_any_kind_are_named_with_their_kind(shop: Path) -> None:
  named, log = read(
    shop, binary=(), regression=(), tasks={"bought": "binary", "stars": "regression"}
  )
  pd.testing.assert_frame_equal(named, read(shop)[0])
  assert log.tasks == read(shop)[1].tasks


def test_parquet_with_numbers_for_times_and_lists_for_bags_is_the_same_log(
  shop: Path, tmp_path: Path
) -> None:
  frame = pd.read_csv(shop)
  when = pd.to_datetime(frame["when"], utc=True)
  frame["when"] = (when - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
  frame["tags"] = [tags.split(",") for tags in frame["tags"]]
  frame["country"] = frame["country"].astype("category")
  frame.to_parquet(tmp_path / "shop.parquet")
  one, other = read(shop)[0], read(tmp_path / "shop.parquet", time_unit="s")[0]
  pd.testing.assert_frame_equal(one.drop(columns="tags"), other.drop(columns="tags"))
  assert [*map(list, one.tags)] == [*map(list, other.tags)]


def test_json_lines_with_inner_objects_and_lists_are_the_same_log(
  shop: Path, tmp_path: Path
) -> None:
  frame = pd.read_csv(shop).rename(columns={"country": "where"})
  frame["tags"] = [tags.split(",") for tags in frame["tags"]]
  lines = []
  for row in frame.to_dict("records"):
    known = {
      name: value for name, value in row.items() if isinstance(value, list) or value == value
    }
    lines.append(json.dumps({**known, "from": {"country": known.pop("where")}}))
  path = tmp_path / "shop.jsonl"
  path.write_text("\n".join(lines))
  one, _ = read(shop)
  other, log = read(path, categorical=("customer", "article", "from.country"))
  pd.testing.assert_frame_equal(
    one.drop(columns="tags"), other.rename(columns={"from.country": "country"}).drop(columns="tags")
  )
  assert [*map(list, one.tags)] == [*map(list, other.tags)]
  assert log.notes == ("read shop.jsonl: JSON Lines",)
  path.write_text("\n".join([lines[0], "{broken", *lines[1:]]))
  message = r"shop\.jsonl line 2 is no JSON object \(.*\), and JSON Lines have one a line; mend"
  with pytest.raises(DataError, match=message):
    read(path, entities=(), categorical=("customer",))
  _, log = read(path, entities=(), categorical=("customer",), on_bad_row="drop")
  assert log.cleaning["dropped: lines that are no JSON object, or of one value each"] == 1
  for written, cure in ((json.dumps([{}]), "jq -c '.[]' makes l"), ('{\n"when": 1}', "jq -c . wr")):
    path.write_text(written)
    with pytest.raises(
      DataError, match=rf"line 1 is no JSON object .* one a line; {re.escape(cure)}"
    ):
      read(path)
  path.write_text("\n".join([lines[0], lines[1].replace('"ben"', '["ben"]'), *lines[2:]]))
  message = r"line 2 holds '\[\"ben\"\]' in customer, where a single value belongs; name lists in"
  with pytest.raises(DataError, match=message):
    read(path, entities=(), categorical=("customer",))


def test_a_column_of_json_lines_is_one_of_some_line_and_not_a_text_that_is_its_name(
  tmp_path: Path,
) -> None:
  rows = [{"time": f"2026-03-0{1 + k // 800}", "id": "a", "y": 1, "x": "age"} for k in range(1600)]
  (tmp_path / "log").mkdir()
  path = tmp_path / "log" / "a.jsonl"
  source = Table(
    raw=str(path.parent), categorical=["id"], dense=["gr\xf6\xdfe", "age"], binary=["y"]
  )

  def write() -> None:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))

  rows[1200]["gr\xf6\xdfe"] = 7
  write()
  with pytest.raises(DataError, match=r"a\.jsonl lacks column age; it has time, id, y, x, gr"):
    worked_out(source)
  # Of several files one is enough, and what the log has is not looked up in a table.
  (path.parent / "b.jsonl").write_text(json.dumps({**rows[0], "age": 5}))
  (path.parent / "ids.csv").write_text("id,age\na,9\n")
  frame, _ = worked_out(dataclasses.replace(source, tables={"ids.csv": "id"}))
  assert frame["gr\xf6\xdfe"].dropna().tolist() == [7]
  assert frame["age"].dropna().tolist() == [5]


def test_columns_within_structures_of_parquet_are_named_by_their_path(tmp_path: Path) -> None:
  frame = pd.DataFrame({"time": ["2026-03-01", "2026-03-02"], "id": ["a", "b"], "y": [1, 0]})
  frame["seen"] = [{"place": 3, "who": {"age": 1.5}}, {"place": 4, "who": {"age": None}}]
  frame.to_parquet(tmp_path / "log.parquet")
  source = Table(
    raw=str(tmp_path / "log.parquet"),
    categorical=["id", "seen.place"],
    dense=["seen.who.age"],
    binary=["y"],
  )
  rows, _ = worked_out(source)
  assert rows["seen.place"].tolist() == ["3", "4"]
  np.testing.assert_array_equal(rows["seen.who.age"], [1.5, np.nan])


def test_files_of_a_folder_are_one_log_in_order_of_time_whatever_the_order_of_rows(
  shop: Path, tmp_path: Path
) -> None:
  frame = pd.read_csv(shop)
  folder = tmp_path / "parts"
  (folder / "country=DE").mkdir(parents=True)
  frame[::2].iloc[::-1].to_csv(folder / "b.tsv.gz", index=False, sep="\t")
  frame[1::2].to_csv(folder / "country=DE" / "a.CSV", index=False)
  (folder / "notes.md").write_text("not a log")
  (folder / "empty.csv").write_text("")
  description = {"categorical": ("customer", "article")}
  whole, parts = read(shop, **description)[0], read(folder, **description)
  pd.testing.assert_frame_equal(whole.drop(columns="tags"), parts[0].drop(columns="tags"))
  assert parts[1].notes == (
    "not read: notes.md",
    "empty: empty.csv",
    "read b.tsv.gz: text, tabs, .gz",
    "read country=DE/a.CSV: text, commas",
  )
  with pytest.raises(DataError, match="has column country, and so have its folders; rename one"):
    read(folder)


def test_a_log_may_lie_on_object_storage(shop: Path) -> None:
  files = fsspec.filesystem("memory")
  frame = pd.read_csv(shop)
  for name, rows in (("log/a.csv", frame[:5]), ("log/deep/b.csv", frame[5:])):
    files.pipe(f"/bucket/{name}", rows.to_csv(index=False).encode())
  one, _ = read(shop)
  source = dataclasses.replace(SHOP, raw="memory://bucket/log")
  other, log = worked_out(source)
  pd.testing.assert_frame_equal(one.drop(columns="tags"), other.drop(columns="tags"))
  assert log.notes == ("read 2 files (a.csv, deep/b.csv): text, commas",)
  assert list(source.identity()["files"]) == ["a.csv", "deep/b.csv"]
  single, _ = worked_out(dataclasses.replace(SHOP, raw="memory://bucket/log/a.csv"))
  assert len(single) == 5
  with pytest.raises(DataError, match="memory://bucket/nothing is not there; give the address of"):
    dataclasses.replace(SHOP, raw="memory://bucket/nothing").identity()


def test_files_that_are_copies_or_parts_of_others_are_told(tmp_path: Path) -> None:
  random = np.random.default_rng(0)
  frame = pd.DataFrame(
    {
      "time": pd.Timestamp("2026-03-01") + pd.to_timedelta(np.arange(80) * 2000, "s"),
      "id": random.integers(0, 9, 80),
      "y": random.integers(0, 2, 80),
    }
  )

  def warnings(folder: str, **files: pd.DataFrame) -> list[str]:
    (tmp_path / folder).mkdir()
    for name, rows in files.items():
      if name == "parquet":
        rows.to_parquet(tmp_path / folder / "log.parquet")
      else:
        rows.to_csv(tmp_path / folder / f"{name}.csv", index=False)
    source = Table(raw=str(tmp_path / folder), categorical=["id"], binary=["y"])
    return [note for note in worked_out(source)[1].notes if note.startswith("warning")]

  def copies(names: str) -> list[str]:
    told = f"warning: another file has most of the rows of {names} too; if one is a copy of another"
    return [f"{told}, or of a part of it, move it away"]

  assert warnings("both", log=frame, parquet=frame) == copies("log.csv, log.parquet")
  assert warnings("part", ratings=frame, small=frame[::2]) == copies("small.csv")
  # Whose rows look alike within a file as often as between files.
  coarse = frame.assign(time=frame.time.dt.floor("D"), id=frame.id % 2)
  assert warnings("shards", a=coarse[::2], b=coarse[1::2]) == []
  assert warnings("days", a=frame[:40], b=frame[40:]) == []


def test_what_folders_say_is_a_column(tmp_path: Path) -> None:
  for day, user in (("2026-03-01", "a"), ("2026-03-02", "b")):
    folder = tmp_path / "log" / f"dt={day}" / "country=__HIVE_DEFAULT_PARTITION__"
    folder.mkdir(parents=True)
    pd.DataFrame({"id": [user], "y": [1]}).to_parquet(folder / "part-0.parquet")
  source = Table(raw=str(tmp_path / "log"), time="dt", categorical=["id", "country"], binary=["y"])
  rows, _ = worked_out(source)
  assert rows.day.tolist() == ["2026-03-01", "2026-03-02"]
  assert rows.country.tolist() == [None, None]


def test_a_whole_number_is_one_id_in_every_file(tmp_path: Path) -> None:
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
  source = Table(raw=str(tmp_path), time="when", categorical=["id"], bags=["tags"], binary=["y"])
  rows, _ = worked_out(source)
  expected = ["5"] * 4 + ["5", None, "u5", None] + [str(big), "7", None, str(big)]
  assert rows["id"].tolist() == expected
  lists = [[] if tags is None else list(tags) for tags in rows.tags]
  assert lists == [["5"]] * 4 + [["7", "5"], ["5", "x"], ["7", "5"], []] + [[]] * 4


def test_columns_may_have_any_name(tmp_path: Path) -> None:
  frame = pd.DataFrame(
    {"at": [0, 86_400, 90_000], "day": ["Thu", "Fri", "Fri"], "time": [1.5, 2.5, 3.5], "y": 1}
  )
  frame["sequence"] = frame["c0"] = frame["Day"] = frame["a b; (c)"] = ["p", "q", "r"]
  frame.to_csv(tmp_path / "log.csv", index=False)
  odd = ("sequence", "c0", "Day", "a b; (c)")
  source = Table(
    raw=str(tmp_path / "log.csv"),
    time="at",
    time_unit="s",
    categorical=("day", *odd),
    dense=("time",),
    binary=("y",),
  )
  store = prepare(source, tmp_path / "store")
  assert store.schema.day_names == ("1970-01-01", "1970-01-02")
  assert [feature.name for feature in store.schema.features] == ["day", *odd, "time"]


def test_days_begin_at_midnight_when_the_clocks_change_too(tmp_path: Path) -> None:
  # In Berlin the 29th of March 2026 has 23 hours, the 25th of October 25.
  times = ["2026-03-28T22:59Z", "2026-03-28T23:00Z", "2026-03-29T21:59Z", "2026-03-29T22:00Z"]
  times += ["2026-10-24T21:59Z", "2026-10-24T22:00Z", "2026-10-25T22:59Z", "2026-10-25T23:00Z"]
  text = "time,id,y\n" + "".join(f"{time},1,1\n" for time in times)
  rows, _ = log_of(tmp_path / "log.csv", text, time_zone="Europe/Berlin")
  days = [f"2026-03-{day}" for day in (28, 29, 29, 30)]
  days += [f"2026-10-{day}" for day in (24, 25, 25, 26)]
  assert rows.day.tolist() == days
  kept, log = log_of(
    tmp_path / "log.csv", text, time_zone="Europe/Berlin", since="2026-03-29", until="2026-10-24"
  )
  assert kept.day.tolist() == days[1:5]
  assert log.cleaning == {
    "rows read": 8,
    "dropped: rows before Table.since": 1,
    "dropped: rows after Table.until": 3,
  }


def test_days_may_be_slices_of_equally_many_rows_that_end_where_time_changes(
  tmp_path: Path,
) -> None:
  seconds = [1, 2, 3, 4, 4, 4, 5, 6]
  text = "time,id,y\n" + "".join(f"{second},1,1\n" for second in seconds)
  rows, _ = log_of(tmp_path / "log.csv", text, time_unit="s", days=4)
  assert [int(day[6]) for day in rows.day] == [1, 1, 2, 2, 2, 2, 3, 3]  # none begins third
  assert rows.day[0] == "slice-1_1970-01-01"


def test_a_time_may_be_in_several_columns(tmp_path: Path) -> None:
  text = "id,y,day,clock\na,1,2026-03-01,10:00\na,0,2026-03-02,23:59\na,0,2026-03-03,\n"
  description = {"time": ["day", "clock"], "time_format": "%Y-%m-%d %H:%M"}
  with pytest.raises(DataError, match=r"line 4 column day is empty where a date like %Y-%m-%d %H:"):
    log_of(tmp_path / "log.csv", text, **description)
  rows, _ = log_of(tmp_path / "log.csv", text, on_bad_row="drop", **description)
  expected = pd.to_datetime(["2026-03-01 10:00", "2026-03-02 23:59"]).astype("datetime64[ms]")
  assert rows.time.tolist() == expected.astype(np.int64).tolist()


def test_rows_are_kept_unless_they_are_asked_to_be_unique(shop: Path) -> None:
  lines = LINES.splitlines()
  shop.write_text("\n".join([*lines, lines[1], lines[1].replace("DE", "FR"), ",".join(8 * "x")]))
  with pytest.raises(DataError, match=r"line 14 column when holds 'x' where a date belongs"):
    read(shop)
  shop.write_text("\n".join([*lines, lines[1], lines[1].replace("DE", "FR")]))
  assert len(read(shop)[0]) == 12
  for columns, left in ((["when", "customer", "country"], 11), (["when", "customer"], 10)):
    rows, log = read(shop, unique_by=columns)
    what = f"dropped: rows that repeat an earlier one in {', '.join(columns)}"
    assert (len(rows), log.cleaning[what]) == (left, 12 - left)
  assert "FR" not in read(shop, unique_by=["when", "customer"])[0].country[:2].tolist()


def test_rows_without_any_of_the_unique_columns_are_no_repeats(tmp_path: Path) -> None:
  text = "time,id,y,event\n2026-03-01,a,1,\n2026-03-02,a,1,\n2026-03-03,a,1,e\n2026-03-04,a,1,e\n"
  rows, _ = log_of(tmp_path / "log.csv", text, unique_by=["event"])
  assert rows.day.tolist() == ["2026-03-01", "2026-03-02", "2026-03-03"]
  text = "time,id,y,event\n2026-03-01,a,1,\n2026-03-01,a,0,\n2026-03-02,a,1,e\n2026-03-02,a,0,e\n"
  rows, log = log_of(tmp_path / "log.csv", text, unique_by=["id", "event"])
  assert rows.y.tolist() == [1, 0, 1]
  assert log.cleaning == {
    "rows read": 4,
    "dropped: rows that repeat an earlier one in id, event": 1,
    "kept: rows that repeat an earlier one in id, event, but lack a value there": 1,
  }


def test_a_row_with_several_odd_labels_is_one_row(tmp_path: Path) -> None:
  text = (
    "time,id,y,z\n" + "".join(f"2026-03-0{k},a,1,0\n" for k in (1, 2, 3)) + "2026-03-04,a,yes,no\n"
  )
  _, log = log_of(tmp_path / "log.csv", text, binary=["y", "z"], on_bad_row="drop")
  assert log.cleaning == {"rows read": 4, "dropped: rows whose y is not 0 or 1": 1}


def test_labels_of_every_kind_may_be_expressions(tmp_path: Path) -> None:
  text = "time,id,size,n\n2026-03-01,a,small,3\n2026-03-02,b,big,\n2026-03-03,c,,1\n"
  rows, log = log_of(
    tmp_path / "log.csv",
    text,
    binary=(),
    tasks={
      "size": ["ordered", "1 * (size == 'mid') + 2 * (size == 'big')"],
      "n": ["count", "n - 1"],
    },
  )
  np.testing.assert_array_equal(rows["size"], [0, 2, np.nan])
  np.testing.assert_array_equal(rows.n, [2, np.nan, 0])
  assert [task.kind for task in log.tasks] == ["ordered", "count"]


def test_labels_may_be_expressions_of_columns(tmp_path: Path) -> None:
  text = "time,id,event,rating,n\n2026-03-01,a,buy,5,0\n2026-03-02,b,view,,3\n2026-03-03,c,,2,1\n"
  rows, log = log_of(
    tmp_path / "log.csv",
    text,
    binary={"buy": "event == 'buy'", "good": "rating >= 4 and n < 2", "some": "n > 0"},
    regression={"half": "rating / 2"},
    dense=["rating"],
  )
  np.testing.assert_array_equal(rows.buy, [1, 0, np.nan])
  np.testing.assert_array_equal(rows.good, [1, 0, 0])  # n alone decides the second
  np.testing.assert_array_equal(rows.some, [0, 1, 1])
  np.testing.assert_array_equal(rows.half, [2.5, np.nan, 1])
  assert [task.kind for task in log.tasks] == ["binary"] * 3 + ["regression"]
  with pytest.raises(DataError, match=r"line 2 column event holds 'buy' where a number belongs"):
    log_of(tmp_path / "log.csv", text, binary={"buy": "event > 3"})


@pytest.mark.parametrize(
  ("values", "expected"),
  [("yes,no,", [1, 0, np.nan]), ("True,FALSE,true", [1, 0, 1]), ("1,0.0,1.0", [1, 0, 1])],
)
def test_labels_of_yes_and_no_may_be_written_in_several_ways(
  tmp_path: Path, values: str, expected: list[float]
) -> None:
  lines = [f"2026-03-0{k + 1},a,{value}" for k, value in enumerate(values.split(","))]
  rows, _ = log_of(tmp_path / "log.csv", "\n".join(["time,id,y", *lines]))
  np.testing.assert_array_equal(rows.y, expected)


def test_most_rows_cannot_be_dropped_in_silence(tmp_path: Path) -> None:
  text = "time,id,y\n2026-03-01,a,maybe\n2026-03-02,b,maybe\n2026-03-03,c,1\n"
  message = r"2 of 3 rows are not as described: .* line 2 column y holds 'maybe' where 0 or 1"
  with pytest.raises(DataError, match=message):
    log_of(tmp_path / "log.csv", text, on_bad_row="drop")


def test_most_lines_cannot_be_damaged_in_silence(tmp_path: Path) -> None:
  text = "time,id,y\n2026-03-01,a\n2026-03-02,b\n2026-03-03,c,1\n"
  message = r"2 of 3 rows are not as described: dropped: lines with too few or too many fields"
  with pytest.raises(DataError, match=message):
    log_of(tmp_path / "log.csv", text, on_bad_row="drop", separator=",")


@pytest.fixture
def joined(tmp_path: Path) -> Path:
  folder = tmp_path / "log"
  folder.mkdir()
  (folder / "log.csv").write_text(
    "time,user,item,y\n"
    "2026-03-01T10:00Z,1,a,1\n2026-03-02T10:00Z,2,a,0\n2026-03-03T10:00Z,3,b,1\n"
    "2026-03-04T10:00Z,,a,1\n"
  )
  (folder / "users.csv").write_text("id;age;vip\n1;31;yes\n2.0;;no\n")
  (folder / "prices.jsonl").write_text(
    '{"item": "a", "since": "2026-03-02T10:00Z", "amount": 2}\n'
    '{"item": "a", "since": "2026-03-03T00:00Z", "amount": 3}\n'
    '{"item": "b", "since": "2026-03-05T00:00Z", "amount": 9}\n'
  )
  return folder


def test_tables_are_looked_up_by_key_and_as_of_the_time_of_the_row(
  joined: Path, tmp_path: Path
) -> None:
  source = Table(
    raw=str(joined),
    categorical=["user", "item"],
    dense=["age", "prices.amount"],
    binary={"y": "y", "vip": "users.vip"},
    tables={"users.csv": "user=id", "prices.jsonl": ["item", "since"]},
  )
  rows, log = worked_out(source)
  np.testing.assert_array_equal(rows.age, [31, np.nan, np.nan, np.nan])
  np.testing.assert_array_equal(rows["prices.amount"], [np.nan, 2, np.nan, 3])
  np.testing.assert_array_equal(rows.vip, [1, 0, np.nan, np.nan])
  (joined / "users.csv").write_text("id,age,vip\n1,31,yes\n")
  with pytest.raises(DataError, match=r"3 rows have no age, as users\.csv has no line for them; e"):
    worked_out(dataclasses.replace(source, dense=["prices.amount"], weight="age"))
  assert log.cleaning == {
    "rows read": 4,
    "rows read (users.csv)": 2,
    "rows read (prices.jsonl)": 3,
    "rows whose user is not in users.csv": 1,
    "rows whose item is not in prices.jsonl by then": 2,
  }


def test_a_log_of_several_files_without_headers_is_named_file_by_file(tmp_path: Path) -> None:
  days = [1_772_323_200 + 86_400 * k for k in range(3)]
  (tmp_path / "ratings.dat").write_text(
    f"1::7::5::{days[0]}\n2::7::3::{days[1]}\n1::8::4::{days[2]}\n"
  )
  (tmp_path / "users.dat").write_text("1::F::25\n2::M::18\n")
  (tmp_path / "films.dat").write_bytes(
    "7::L\xe9on (1994)::Crime|Drama\n8::Big::Comedy\n".encode("latin-1")
  )
  (tmp_path / "README").write_text("about it")
  source = Table(
    raw=str(tmp_path),
    names={
      "ratings.dat": ["user", "film", "rating", "at"],
      "users.dat": ["user", "sex", "age"],
      "films.dat": ["film", "title", "genres"],
    },
    encoding="latin-1",
    time="at",
    time_unit="s",
    categorical=["user", "film", "sex", "title"],
    bags={"genres": "|"},
    dense=["age"],
    binary={"liked": "rating >= 4"},
    regression=["rating"],
    tables={"users.dat": "user", "films.dat": "film"},
  )
  rows, log = worked_out(source)
  assert rows.title.tolist() == ["L\xe9on (1994)", "L\xe9on (1994)", "Big"]
  assert [list(genres) for genres in rows.genres] == [["Crime", "Drama"]] * 2 + [["Comedy"]]
  assert rows.age.tolist() == [25, 18, 25]
  assert rows.liked.tolist() == [1, 0, 1]
  assert log.notes[0] == "not read: README"
  with pytest.raises(
    DataError, match=r"^Table\.names has rating\.dat, which is none of ratings\.d"
  ):
    worked_out(dataclasses.replace(source, names={"rating.dat": ["user"]}))


@pytest.mark.parametrize(
  ("name", "text", "tables", "message"),
  [
    (
      *("users.csv", "id,age\n1,2\n1,3\n", {"users.csv": "user=id"}),
      r"users\.csv has 2 lines with id '1' of which one could be meant; keep one, or say from when",
    ),
    ("users.csv", "id,old\n1,2\n", {"users.csv": "user=id"}, r"log\.csv lacks column age; it"),
    (
      "users.csv",
      "who,age\n1,2\n",
      {"users.csv": "user=id"},
      r"users\.csv lacks column id; it",
    ),
    (
      "users.csv",
      "id,age\n1,x\n",
      {"users.csv": "user=id"},
      r"users\.csv line 2 column age h",
    ),
    (
      *("more.csv", "id,age\n1,2\n", {"users.csv": "user=id", "more.csv": "user=id"}),
      r"column age is in users\.csv and in more\.csv; name it users\.age or more\.age",
    ),
    ("users.csv", "id,age\n", {"nowhere.csv": "user"}, r"nowhere\.csv is not there"),
  ],
)
def test_a_table_that_does_not_fit_is_named(
  joined: Path, tmp_path: Path, name: str, text: str, tables: dict[str, str], message: str
) -> None:
  (joined / "prices.jsonl").unlink()
  (joined / name).write_text(text)
  source = Table(raw=str(joined), categorical=["user"], dense=["age"], binary=["y"], tables=tables)
  with pytest.raises(DataError, match=message):
    worked_out(source)


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
    ("3.5,1,5", "cheap,1,5", r"line 2 column price holds 'cheap' where a number belongs"),
    ("12.0,0,", "inf,0,", r"line 3 column price holds 'inf' where a number belongs"),
    (
      r"2026-03-02T07:05:00\+01:00",
      "yesterday",
      r"line 5 column when holds 'yesterday' where a date",
    ),
    (r"(?s).*", "", r"shop.csv is empty; give a file that has rows"),
  ],
)
def test_what_is_not_as_described_is_named(shop: Path, old: str, new: str, message: str) -> None:
  shop.write_text(re.sub(old, new, LINES, count=1))
  with pytest.raises(DataError, match=message):
    read(shop)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"country": [["DE"]] * 10},
      r"row 1 column country holds \"\['DE'\]\" where a single id belongs; name lists in Table\.ba",
    ),
    ({"price": ["1.5"] * 8 + ["cheap", "2"]}, r"row 9 column price holds 'cheap' where a number"),
    (
      {"when": range(10)},
      r"row 1 column when holds '0' where a date belongs; give Table\.time_unit or",
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
    monkeypatch.setattr(reading, "BATCH_ROWS", rows)
    with pytest.raises(DataError, match=f"{re.escape(str(path))} {message}"):
      read(path)
  path.write_bytes(b"PAR1, they say")
  with pytest.raises(DataError, match=r"shop\.parquet cannot be read as parquet \("):
    read(path)


def test_bytes_of_parquet_that_are_no_text_are_named_or_dropped(tmp_path: Path) -> None:
  days = ["2026-03-01", "2026-03-02", "2026-03-03"]
  for names in ([b"a", b"M\xfcller", b"c"], pa.array([b"a", b"M\xfcller", b"c"]).view(pa.string())):
    tags = pa.ListArray.from_arrays([0, 1, 3, 3], names)
    table = pa.table({"time": days, "id": names, "no": range(3), "tags": tags, "y": [1, 0, 1]})
    pyarrow.parquet.write_table(table, tmp_path / "log.parquet")
    whole = Table(raw=str(tmp_path / "log.parquet"), categorical=["no"], binary=["y"])
    for name, source in (
      ("id", dataclasses.replace(whole, categorical=["no", "id"])),
      ("tags", dataclasses.replace(whole, bags=["tags"])),
    ):
      message = rf"row 2 column {name} holds .*M.* where text in UTF-8 belongs"
      with pytest.raises(DataError, match=message):
        worked_out(source)
      rows, log = worked_out(dataclasses.replace(source, on_bad_row="drop"))
      assert rows["no"].tolist() == ["0", "2"]
      assert log.cleaning[f"dropped: rows whose {name} is not text in UTF-8"] == 1


def test_times_of_the_oldest_parquet_do_not_wrap_around(tmp_path: Path) -> None:
  when = [datetime.datetime(2026, 3, 1), datetime.datetime(9999, 12, 31)]
  table = pa.table({"time": pa.array(when, pa.timestamp("us")), "id": ["a", "b"], "y": [1, 0]})
  path = tmp_path / "log.parquet"
  pyarrow.parquet.write_table(table, path, use_deprecated_int96_timestamps=True)
  source = Table(raw=str(path), categorical=["id"], binary=["y"])
  with pytest.raises(DataError, match=r"row 2 column time holds '9999.* where a date from 1677 to"):
    worked_out(source)


def test_times_in_another_unit_than_was_said_are_refused(tmp_path: Path) -> None:
  path = tmp_path / "log.csv"
  path.write_text("time,id,y\n1,1,1\n1772349000000,1,1\n")
  message = r"line 3 column time holds '1772349000000' where a time that a calendar has belongs; m"
  with pytest.raises(DataError, match=message):
    log_of(path, path.read_text(), time_unit="s")
  path.write_text("time,id,y\n1772349000,1,1\n1772349001,1,1\n")
  message = (
    r"line 2 column time holds '1772349000' where a time in ms since 1970 belongs; it would be in "
    r'the year 1970; Table\.time_unit = "s" makes it 2026-03-01'
  )
  with pytest.raises(DataError, match=message):
    log_of(path, path.read_text(), time_unit="ms")


def test_a_label_that_is_neither_yes_nor_no_is_refused(shop: Path, tmp_path: Path) -> None:
  shop.write_text(LINES.replace("12.0,0,", "12.0,2,", 1))
  with pytest.raises(DataError, match=r"line 3 column bought holds '2' where 0 or 1 \("):
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
    (
      {"bags": {"tags": 5}},
      r"^Table\.bags is {'tags': 5}; make it a dict such as {\"tags\": \"\|",
    ),
    ({"binary": {"buy": "event ="}}, r"^'event =' is no expression; write it like event == 'buy'"),
    (
      {"tables": {"users.csv": ["a", "b", "c"]}},
      r"Table\.tables is .*; give each file a key",
    ),
    (
      {"tables": ["users.csv"]},
      r"Table\.tables is \['users.csv'\]; make it a dict such",
    ),
    ({"days": 1}, r"^Table\.days is 1; make it a whole number from 2 to 1,000$"),
    ({"days": "weekly"}, r"^Table\.days is 'weekly'; make it \"calendar\", or a number of slices$"),
    ({"since": "March"}, r"^Table\.since is 'March'; make it a date such as \"2026-03-01\"$"),
    (
      {"since": "2026-03-02", "until": "2026-03-01"},
      r"^Table\.until is '2026-03-01'; make it 2026-03-02 or later, as since is$",
    ),
    ({"separator": ""}, r"^Table\.separator is ''; make it a character such as \";\""),
    ({"quote": "''"}, r"^Table\.quote is \"''\"; make it one character, or \"\" for none$"),
    ({"encoding": "latin-11"}, r"^Table\.encoding is 'latin-11'; make it a name such as \"latin-1"),
    ({"missing": "NA"}, r"^Table\.missing is 'NA'; make it a list of texts, each in quotes$"),
    ({"on_bad_row": "skip"}, r"^Table\.on_bad_row is 'skip'; make it 'error' or 'drop'$"),
    (
      {"time_unit": "s", "time_format": "%Y"},
      r"has a time_unit, of numbers, and a time_format",
    ),
    (
      {"time_unit": "s", "time_is_local": True},
      r"time_is_local is of dates; numbers since",
    ),
    ({"tasks": {"n": ["count"]}}, r"^Table\.tasks is .*; give each task a kind, or a list of kind"),
    ({"time_format": "%H:%M"}, r"^Table\.time_format is '%H:%M'; say where its year is, by %Y or"),
    ({"escape": '"'}, r"^Table\.escape is '\"'; make it \"\": a doubled quote needs none$"),
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
    (".", r"RAW \. holds no file that can be read"),
  ],
)
def test_a_log_that_is_not_there_is_named(
  raw: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.chdir(tmp_path)
  with pytest.raises(DataError, match=message):
    dataclasses.replace(SHOP, raw=raw).identity()


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


def test_tables_with_files_of_one_name_have_a_digest_each_and_the_order_of_labels_counts(
  tmp_path: Path,
) -> None:
  log = tmp_path / "log.csv"
  log.write_text("t,u,i,a,b\n2026-03-01,x,y,1,0\n2026-03-02,x,y,0,1\n")
  for name in ("users", "items"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "part-0.csv").write_text(f"id,{name}_kind\nx,1\n")
  source = Table(
    raw=str(log),
    time="t",
    categorical=["u", "i", "users_kind"],
    binary={"a": "a == 1", "b": "b == 1"},
    entities=["u"],
    tables={"users": "u=id", "items": "i=id"},
  )
  before = source.identity()
  (tmp_path / "users" / "part-0.csv").write_text("id,users_kind\nx,2\n")
  assert source.identity() != before
  turned = dataclasses.replace(source, binary={"b": "b == 1", "a": "a == 1"})
  assert json.dumps(turned.identity(), sort_keys=True) != json.dumps(
    source.identity(), sort_keys=True
  )


def test_a_text_in_an_expression_is_an_id_as_those_of_its_column_are(tmp_path: Path) -> None:
  log = tmp_path / "log.csv"
  lines = [f"2026-03-0{1 + k % 3},x,{1 + k % 2}.0" for k in range(12)]
  log.write_text("t,u,event\n" + "\n".join(lines) + "\n")
  for label in ("event == '1.0'", "event in [' 1', '7']"):
    source = Table(raw=str(log), time="t", categorical=["u"], binary={"bought": label})
    rows, _ = worked_out(source)
    assert rows.bought.tolist().count(1.0) == 6


def small_log(folder: Path) -> Table:
  """A log of three days in a folder that is made."""
  folder.mkdir()
  lines = [f"2026-03-0{day}T0{hour}:00:00,x,{hour % 2}" for day in (1, 2, 3) for hour in range(9)]
  (folder / "log.csv").write_text("t,u,y\n" + "\n".join(lines) + "\n")
  return Table(raw=str(folder), time="t", categorical=["u"], binary=["y"], entities=["u"])


def test_files_that_change_while_they_are_read_make_no_store(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  source, make = small_log(tmp_path / "log"), making.make

  def make_and_change(*given: Any) -> None:
    make(*given)
    with open(tmp_path / "log" / "log.csv", "a") as file:
      file.write("2026-03-03T10:00:00,x,1\n")

  monkeypatch.setattr(making, "make", make_and_change)
  message = "^the files of table changed while they were read; prepare it again$"
  with pytest.raises(DataError, match=message):
    prepare(source, tmp_path / "stores")
  assert not list((tmp_path / "stores" / "table").iterdir())


def test_rows_are_shown_while_they_are_read(
  shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(records, "BLOCK", 100)
  with Engine(tmp_path / "work") as engine:
    shown: list[int] = []
    engine.advance = shown.append
    dataclasses.replace(SHOP, raw=str(shop)).log(engine)
  assert sum(shown) == 10
  assert max(shown) < 5


def test_brackets_in_the_name_of_a_folder_are_no_pattern(tmp_path: Path) -> None:
  store = prepare(small_log(tmp_path / "log [2]?"), tmp_path / "stores [ab]?")
  assert [len(day) for day in (*store.train_days, store.eval_day)] == [9, 9, 9]
