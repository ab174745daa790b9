"""KuaiRand: the traps of its files one by one in made-up rows, the download, and the real log."""

import os
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds

from ranking.data.prepare import prepare
from ranking.data.schema import DataError, sha256
from ranking.data.sources import kuairand
from ranking.data.sources.kuairand import KuaiRand
from tests.frames import FrameLog
from tests.packing import pack
from tests.whole_log import read_whole

MAY_7 = int(pd.Timestamp("2022-05-07 12:00", tz="Asia/Shanghai").timestamp() * 1000)
HOUR = 3_600_000
MS_PER_DAY = 24 * HOUR
LOG = "log_standard_4_22_to_5_08_pure.csv"
USERS = "user_features_pure.csv"
VIDEOS = "video_features_basic_pure.csv"


def impression(**changes: Any) -> dict[str, Any]:
  """A line of the log in the official order of columns."""
  line = {
    "user_id": 1,
    "video_id": 10,
    "date": 20220507,
    "hourmin": 1200,
    "time_ms": MAY_7,
    **dict.fromkeys(("is_click", "is_like", "is_follow", "is_comment", "is_forward"), 0),
    "is_hate": 0,
    "long_view": 0,
    "play_time_ms": 4000,
    "duration_ms": 8000,
    "profile_stay_time": 0,
    "comment_stay_time": 0,
    "is_profile_enter": 0,
    "is_rand": 0,
    "tab": 1,
  }
  assert set(changes) <= set(line)
  return line | changes


def user(**changes: Any) -> dict[str, Any]:
  line = {
    "user_id": 1,
    "user_active_degree": "full_active",
    "is_lowactive_period": 0,
    "is_live_streamer": 0,
    "is_video_author": 1,
    "follow_user_num": 9,
    "follow_user_num_range": "(0,10]",
    "fans_user_num": 99,
    "fans_user_num_range": "[10,100)",
    "friend_user_num": 0,
    "friend_user_num_range": "0",
    "register_days": 999,
    "register_days_range": "730+",
    **{f"onehot_feat{k}": k for k in range(18)},
  }
  assert set(changes) <= set(line)
  return line | changes


def video(**changes: Any) -> dict[str, Any]:
  line = {
    "video_id": 10,
    "author_id": 100,
    "video_type": "NORMAL",
    "upload_dt": "2022-05-06",
    "upload_type": "ShortImport",
    "visible_status": 0.0,
    "video_duration": 8000.0,
    "server_width": 720.0,
    "server_height": 1440.0,
    "music_id": 1000,
    "music_type": 9.0,
    "tag": "39",
  }
  assert set(changes) <= set(line)
  return line | changes


def day_n(**changes: Any) -> dict[str, Any]:
  """An impression of the day after, so that there are two days."""
  return impression(time_ms=MAY_7 + MS_PER_DAY, date=20220508, **changes)


def write(
  folder: Path,
  *impressions: dict[str, Any],
  users: tuple[dict[str, Any], ...] = (user(),),
  videos: tuple[dict[str, Any], ...] = (video(),),
) -> Path:
  """A KuaiRand folder as it is unpacked: three files below data/."""
  data = folder / "data"
  data.mkdir(parents=True)
  for name, lines in ((LOG, impressions), (USERS, users), (VIDEOS, videos)):
    pd.DataFrame(list(lines)).to_csv(data / name, index=False)
  return folder


def read(folder: Path, *impressions: dict[str, Any], **features: Any) -> FrameLog:
  """The log of impressions a ms apart, so that they keep their order, and of one a day later."""
  impressions = tuple(
    line if line["time_ms"] is None else line | {"time_ms": line["time_ms"] + k}
    for k, line in enumerate(impressions)
  )
  return read_whole(KuaiRand(raw=str(write(folder, *impressions, day_n(), **features))))


def two_days(folder: Path) -> Path:
  return write(folder, impression(), day_n())


def edit(path: Path, change: Callable[[str], str]) -> None:
  path.write_text(change(path.read_text()))


def test_the_log_keeps_the_contract_of_a_source(tmp_path: Path) -> None:
  log = read(tmp_path, impression())
  assert log.time.dtype == np.int64
  assert log.day.dtype == np.int32
  assert log.time_zone == "Asia/Shanghai"
  assert list(log.labels) == [task.name for task in log.tasks]
  assert [task.kind for task in log.tasks] == ["binary"] * 4 + ["regression"] * 2
  assert set(log.labels.dtypes) == {np.dtype(np.float32)}
  assert len(log.categorical) == len(log.dense) == len(log.labels) == 2
  assert set(log.entities) <= set(log.categorical)
  assert set(log.rated_tasks) <= set(log.labels)


def test_rows_are_ordered_by_time_ms_and_split_at_midnight_in_shanghai(tmp_path: Path) -> None:
  midnight = MAY_7 + 12 * HOUR
  # `date` and `hourmin` lag: on both sides of midnight they name the other day, and mislead.
  late = impression(time_ms=midnight, date=20220507, hourmin=2200, video_id=11)
  early = impression(time_ms=midnight - 1, date=20220508, hourmin=100, video_id=12)
  noon = impression(time_ms=MAY_7, date=20220508, hourmin=2300, video_id=13)
  log = read_whole(KuaiRand(raw=str(write(tmp_path, late, noon, early))))
  np.testing.assert_array_equal(log.time, [MAY_7, midnight - 1, midnight])
  np.testing.assert_array_equal(log.categorical.video_id, [13, 12, 11])
  np.testing.assert_array_equal(log.day, [0, 0, 1])
  assert log.day_names == ["2022-05-07", "2022-05-08"]
  np.testing.assert_array_equal(log.categorical.hour, [12, 23, 0])
  np.testing.assert_array_equal(log.categorical.day_of_week, [5, 5, 6])  # Saturday, Sunday


def test_rows_of_one_millisecond_are_in_an_order_of_their_own(tmp_path: Path) -> None:
  lines = [impression(video_id=number) for number in (5, 3, 9, 1)]
  log = read_whole(KuaiRand(raw=str(write(tmp_path, *lines, day_n()))))
  np.testing.assert_array_equal(log.categorical.video_id, [1, 3, 5, 9, 10])


def test_exact_duplicates_are_dropped_or_kept_and_counted(tmp_path: Path) -> None:
  twice = [impression(), impression(), impression()]
  almost = impression(profile_stay_time=1)  # a column that is not used otherwise
  folder = str(write(tmp_path, *twice, almost, day_n()))
  dropped, kept = KuaiRand(raw=folder), KuaiRand(raw=folder, keep_duplicates=True)
  assert len(read_whole(dropped).time) == 3
  assert read_whole(dropped).cleaning["dropped: exact duplicates of an earlier row"] == 2
  assert len(read_whole(kept).time) == 5
  assert read_whole(kept).cleaning["kept: exact duplicates of an earlier row"] == 2
  assert dropped.identity() != kept.identity()


def test_duplicates_are_told_by_values_not_by_how_a_file_writes_them(tmp_path: Path) -> None:
  # In the columns that are not used otherwise: a missing value makes floats of the whole numbers.
  rest: list[dict[str, Any]] = [
    {"is_hate": 1},
    {"is_hate": None},
    {"comment_stay_time": 1},
    {"is_hate": 1},
  ]
  path = write(tmp_path, *[impression(**some) for some in rest], day_n()) / "data" / LOG
  assert ",1.0,0,4000," in path.read_text()
  text = path.read_text()
  for changed in (text, text[::-1].replace("0.1,", "1,", 1)[::-1]):
    path.write_text(changed)
    log = read_whole(KuaiRand(raw=str(tmp_path)))
    assert log.cleaning["dropped: exact duplicates of an earlier row"] == 1
    assert len(log.time) == 4


@pytest.mark.parametrize(
  ("column", "value", "limit"),
  [("video_id", 2**31, 2**31), ("is_like", 300, 128), ("tab", -40_000, 32_768)],
)
def test_a_number_that_does_not_fit_is_named_and_never_wraps_around(
  tmp_path: Path, column: str, value: int, limit: int
) -> None:
  write(tmp_path, impression(), day_n(**{column: value}))
  message = (
    f"line 3 column {column} holds '{value}' where a number below {limit:,} belongs; mend or"
  )
  with pytest.raises(DataError, match=message):
    read_whole(KuaiRand(raw=str(tmp_path)))


def test_play_time_becomes_log_seconds_and_a_watch_ratio(tmp_path: Path) -> None:
  played = [(4000, 8000), (0, 8000), (8000, 0), (0, 0), (40_001, 8000), (40_000, 8000), (-1, 8000)]
  lines = [impression(play_time_ms=play, duration_ms=duration) for play, duration in played]
  log = read(tmp_path, *lines)
  seconds = [4, 0, 8, 0, 40.001, 40, 0]
  np.testing.assert_allclose(log.labels.log_play_seconds[:7], np.log1p(seconds), rtol=1e-6)
  nan = np.nan
  np.testing.assert_allclose(log.labels.watch_ratio[:7], [0.5, 0, nan, nan, 5, 5, 0])
  assert log.cleaning["kept: rows with duration 0, watch ratio missing"] == 2
  assert log.cleaning["kept: watch ratio above 5, clipped"] == 1


def test_a_video_without_a_duration_has_no_duration_feature(tmp_path: Path) -> None:
  lengths = [0, 1000, 2000, 64_000]
  log = read(tmp_path, *[impression(duration_ms=length) for length in lengths])
  np.testing.assert_array_equal(log.categorical.duration_bucket[:4], [np.nan, 0, 2, 12])
  np.testing.assert_allclose(log.dense.log_duration[:4], [np.nan, *np.log1p([1000, 2000, 64_000])])


def test_engaged_is_any_of_four_kinds_of_feedback(tmp_path: Path) -> None:
  kinds = ("is_profile_enter", "is_comment", "is_follow", "is_forward")
  others = ("is_click", "is_like", "is_hate", "long_view")
  lines = [impression(**{kind: 1}) for kind in (*kinds, *others)]
  log = read(tmp_path, *lines, impression(is_comment=1, is_follow=1))
  np.testing.assert_array_equal(log.labels.engaged, [1, 1, 1, 1, 0, 0, 0, 0, 1, 0])
  np.testing.assert_array_equal(log.labels.is_click, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0])
  np.testing.assert_array_equal(log.labels.is_like, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
  np.testing.assert_array_equal(log.labels.long_view, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0])


def test_unknown_and_missing_user_features_are_id_0(tmp_path: Path) -> None:
  users = (
    user(is_live_streamer=-124, onehot_feat4=None),
    user(user_id=2, is_live_streamer=1, onehot_feat4=3.0),
  )
  lines = [impression(user_id=number, tab=tab) for number in (1, 2, 3) for tab in (1, 2, 4)]
  log = read(tmp_path, *lines, users=users)
  columns = list(log.categorical)
  ids = pack("kuairand", log).ids
  for name in ("is_live_streamer", "onehot_feat4"):
    of_user = ids[:9, columns.index(name)].reshape(3, 3)
    np.testing.assert_array_equal(of_user, [[0] * 3, [2] * 3, [0] * 3])
  degree = ids[:9, columns.index("user_active_degree")]
  np.testing.assert_array_equal(degree, [2] * 6 + [0] * 3)  # user 3 has no features at all
  assert log.cleaning["rows whose user has no features"] == 3


def test_tags_are_a_list_per_video(tmp_path: Path) -> None:
  tags = {1: "39", 2: "11,39,8", 3: None, 4: "8, 11", 5: "39"}
  videos = tuple(video(video_id=number, tag=tag) for number, tag in tags.items())
  log = read(
    tmp_path, *[impression(video_id=number) for number in (1, 2, 3, 4, 5, 6)], videos=videos
  )
  bag = log.bags["tags"]
  lists = [bag.lists[index] for index in bag.index]
  assert lists == [["39"], ["11", "39", "8"], [], ["8", "11"], ["39"], [], []]
  assert len(bag.lists) == len(set(map(tuple, bag.lists)))
  assert log.cleaning["rows whose video has no features"] == 2  # video 6, and video 10 of day N


def test_one_tag_per_video_is_one_list_per_tag(tmp_path: Path) -> None:
  videos = (video(tag=39), video(video_id=2, tag=8), video(video_id=3, tag=39))
  log = read(tmp_path, *[impression(video_id=number) for number in (2, 3)], videos=videos)
  bag = log.bags["tags"]
  assert bag.index.tolist() == [0, 1, 1]
  assert [len(entry) for entry in bag.lists] == [1, 1]


def test_dense_features_of_a_row_by_hand(tmp_path: Path) -> None:
  log = read(tmp_path, impression())
  expected = {
    "log_follow_user_num": np.log(10),
    "log_fans_user_num": np.log(100),
    "log_friend_user_num": 0,
    "log_register_days": np.log(1000),
    "log_duration": np.log(8001),
    "aspect_ratio": np.log(720 / 1440),
    "video_age_days": 1.5,  # uploaded at midnight in Shanghai
  }
  assert log.dense.iloc[0].to_dict() == pytest.approx(expected)


def test_sizes_and_dates_that_say_nothing_are_missing(tmp_path: Path) -> None:
  videos = (video(server_width=0, server_height=1440, upload_dt=None), video(video_id=11))
  log = read(tmp_path, impression(), videos=videos)
  assert log.dense[["aspect_ratio", "video_age_days"]].isna().all(axis=None)


def test_a_line_with_a_missing_value_is_dropped_and_counted(tmp_path: Path) -> None:
  lines = [impression(is_click=None), impression(time_ms=None), impression(is_hate=None, tab=2)]
  log = read(tmp_path, impression(), *lines)
  assert log.cleaning["dropped: rows with a missing value"] == 2  # is_hate is not needed
  assert log.report_by == "tab"
  np.testing.assert_array_equal(log.categorical.tab, [1, 2, 1])


def test_a_user_or_video_listed_twice_does_not_repeat_its_impressions(tmp_path: Path) -> None:
  users, videos = (user(), user(is_video_author=0)), (video(), video(author_id=7))
  log = read(tmp_path, impression(), users=users, videos=videos)
  assert len(log.time) == 2
  np.testing.assert_array_equal(log.categorical.author_id, [7, 7])  # files have no order


def test_all_standard_logs_of_the_folder_are_read_together(tmp_path: Path) -> None:
  write(tmp_path, day_n(video_id=2), day_n(video_id=3))
  earlier = [impression(video_id=1), day_n(video_id=2)]  # the second repeats the other file's first
  pd.DataFrame(earlier).to_csv(tmp_path / "data/log_standard_4_08_to_4_21_pure.csv", index=False)
  source = KuaiRand(raw=str(tmp_path))
  log = read_whole(source)
  np.testing.assert_array_equal(log.categorical.video_id, [1, 2, 3])
  assert log.cleaning["dropped: exact duplicates of an earlier row"] == 1
  assert len(source.identity()["files"]) == 4


def test_files_that_come_in_parts_are_read_together_as_of_27k(tmp_path: Path) -> None:
  data = write(tmp_path / "27k", impression(video_id=1)).joinpath("data")
  (data / LOG).rename(data / "log_standard_4_08_to_4_21_27k_part1.csv")
  second = [impression(video_id=2, time_ms=MAY_7 + 1), day_n(video_id=3)]
  pd.DataFrame(second).to_csv(data / "log_standard_4_08_to_4_21_27k_part2.csv", index=False)
  pd.DataFrame([video(video_id=3, author_id=300)]).to_csv(
    data / "video_features_basic_27k_part2.csv", index=False
  )
  log = read_whole(KuaiRand(raw=str(tmp_path / "27k")))
  np.testing.assert_array_equal(log.categorical.video_id, [1, 2, 3])
  assert log.categorical.author_id[2] == 300


def test_the_random_log_is_read_on_request_and_says_which_rows_it_is(tmp_path: Path) -> None:
  write(tmp_path, impression(video_id=1), day_n(video_id=3))
  shown = [impression(video_id=2, time_ms=MAY_7 + 5, is_rand=1)]
  pd.DataFrame(shown).to_csv(tmp_path / "data/log_random_4_22_to_5_08_pure.csv", index=False)
  standard, both = (KuaiRand(raw=str(tmp_path), random_log=asked) for asked in (False, True))
  assert "is_rand" not in read_whole(standard).categorical
  log = read_whole(both)
  np.testing.assert_array_equal(log.categorical.video_id, [1, 2, 3])
  np.testing.assert_array_equal(log.categorical.is_rand, [0, 1, 0])
  assert standard.identity() != both.identity()


def test_a_random_log_that_is_not_there_is_named(tmp_path: Path) -> None:
  with pytest.raises(
    DataError, match=r"has no log_random_\*.csv; give RAW the path of an unpacked"
  ):
    read_whole(KuaiRand(raw=str(two_days(tmp_path)), random_log=True))


def test_unasked_the_random_log_and_ever_the_video_statistics_are_not_read(tmp_path: Path) -> None:
  two_days(tmp_path)
  source = KuaiRand(raw=str(tmp_path))
  before = source.identity()
  for name in ("log_random_4_22_to_5_08_pure.csv", "video_features_statistic_pure.csv"):
    (tmp_path / "data" / name).write_bytes(b"\xff not read at all")
  assert source.identity() == before
  assert len(read_whole(source).time) == 2
  assert sorted(before["files"]) == [LOG, USERS, VIDEOS]
  assert before["files"][USERS] == sha256(tmp_path / "data" / USERS)


def test_raw_may_be_the_data_folder_itself(tmp_path: Path) -> None:
  two_days(tmp_path)
  inside, outside = KuaiRand(raw=str(tmp_path / "data")), KuaiRand(raw=str(tmp_path))
  assert inside.identity() == outside.identity()
  np.testing.assert_array_equal(read_whole(inside).time, read_whole(outside).time)


def test_a_changed_file_is_another_identity(tmp_path: Path) -> None:
  source = KuaiRand(raw=str(two_days(tmp_path)))
  for name in (LOG, USERS, VIDEOS):
    before = source.identity()
    edit(tmp_path / "data" / name, lambda text: text + "\n")
    assert source.identity() != before


def test_the_log_makes_a_day_store(tmp_path: Path) -> None:
  lines = [impression(time_ms=MAY_7 + step * HOUR) for step in range(30)]
  store = prepare(KuaiRand(raw=str(write(tmp_path / "raw", *lines))), tmp_path / "store")
  assert [len(day) for day in store.train_days] == [12]
  assert len(store.eval_day) == 18
  assert store.card["time_zone"] == "Asia/Shanghai"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
  absent = tmp_path / "absent"
  message = f"^RAW folder {re.escape(str(absent))} is not there; give the path of an unpacked Kuai"
  with pytest.raises(DataError, match=message):
    KuaiRand(raw=str(absent)).identity()


@pytest.mark.parametrize(
  ("name", "pattern"),
  [
    (LOG, "log_standard_*.csv"),
    (USERS, "user_features_*.csv"),
    (VIDEOS, "video_features_basic_*.csv"),
  ],
)
def test_a_missing_file_is_named(tmp_path: Path, name: str, pattern: str) -> None:
  (two_days(tmp_path) / "data" / name).unlink()
  message = f"{tmp_path}/data has no {pattern}; give RAW the path of an unpacked KuaiRand"
  with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
    read_whole(KuaiRand(raw=str(tmp_path)))


@pytest.mark.parametrize(
  ("name", "column"),
  [(LOG, "time_ms"), (LOG, "is_forward"), (USERS, "onehot_feat17"), (VIDEOS, "tag")],
)
def test_a_missing_column_is_named(tmp_path: Path, name: str, column: str) -> None:
  path = two_days(tmp_path) / "data" / name
  frame = pd.read_csv(path).drop(columns=column)
  frame.to_csv(path, index=False)
  has = ", ".join(frame.columns[:6])
  message = f"^{re.escape(f'{path} lacks column {column}; it has {has}, …')}$"
  with pytest.raises(DataError, match=message):
    read_whole(KuaiRand(raw=str(tmp_path)))


@pytest.mark.parametrize(
  ("name", "column", "value"),
  [
    (LOG, "time_ms", "yesterday"),
    (LOG, "time_ms", "2022-05-07 12:00:00"),
    (LOG, "user_id", "u17"),
    (LOG, "duration_ms", "inf"),
    (LOG, "play_time_ms", "123456789012345678901234567890"),
    (USERS, "user_id", "one"),
    (USERS, "register_days", "730+"),
    (VIDEOS, "video_id", "v10"),
    (VIDEOS, "server_width", "wide"),
  ],
)
def test_text_where_a_number_belongs_is_named_with_its_line(
  tmp_path: Path, name: str, column: str, value: str
) -> None:
  users, videos = (user(), user(user_id=2)), (video(), video(video_id=11))
  path = write(tmp_path, impression(), day_n(), users=users, videos=videos) / "data" / name
  frame = pd.read_csv(path).astype({column: object})
  frame.loc[1, column] = value
  frame.to_csv(path, index=False)
  message = rf"^{re.escape(str(path))} line 3 column {column} holds '[^']*' where a number belongs"
  with pytest.raises(DataError, match=f"{message}; mend or remove the line$") as raised:
    read_whole(KuaiRand(raw=str(tmp_path)))
  if value[0].isalpha() and value != "inf":
    assert f"holds {value!r} where" in str(raised.value)


@pytest.mark.parametrize("name", [LOG, USERS, VIDEOS])
@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", r"is not a CSV with a header \(it is empty\); unpack it again"),
    (b"HEADER\n", r"has a header and no rows; unpack it again"),
    (b"\xffuser_id", r"is not a CSV with a header \('utf-8' codec can't decode byte 0xff"),
    (
      b"HEADER\n1,2\n1" + b",2" * 40,
      r"is not a CSV with a header \(.*\); unpack it",
    ),
    (b"HEADER\n1" + b",2" * 40, r"is not a CSV with a header \(.*\); unpack it"),
    # Far into the file, where the reader has long begun.
    (
      b"HEADER\n" + b"1,2\n" * 300_000 + b"caf\xe9,2",
      r"is not a CSV with a header \(.*\); unpack it",
    ),
  ],
  ids=["empty", "header only", "header not UTF-8", "ragged", "too wide", "body not UTF-8"],
)
def test_a_file_that_is_no_table_is_named(
  tmp_path: Path, name: str, content: bytes, message: str
) -> None:
  path = two_days(tmp_path) / "data" / name
  header = path.read_bytes().splitlines()[0]
  path.write_bytes(content.replace(b"HEADER", header))
  with pytest.raises(DataError, match=f"^{re.escape(str(path))} {message}") as raised:
    read_whole(KuaiRand(raw=str(tmp_path)))
  assert "\n" not in str(raised.value)


def test_a_log_without_a_complete_row_has_no_day(tmp_path: Path) -> None:
  folder = write(tmp_path / "raw", impression(tab=None), impression(tab=None))
  with pytest.raises(DataError, match=r"^kuairand has 0 rows of 0 days; training and day N need"):
    prepare(KuaiRand(raw=str(folder)), tmp_path)


def test_a_label_that_is_neither_0_nor_1_is_refused_when_packed(tmp_path: Path) -> None:
  source = KuaiRand(raw=str(write(tmp_path / "raw", impression(is_like=2), day_n())))
  with pytest.raises(DataError, match=r"label is_like is binary but holds 2\.0"):
    prepare(source, tmp_path / "store")


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
  """A small KuaiRand-Pure.tar.gz, whose md5 is the published one for the length of the test."""
  folder = two_days(tmp_path / "made" / "KuaiRand-Pure")
  path = tmp_path / "KuaiRand-Pure.tar.gz"
  with tarfile.open(path, "w:gz") as tar:
    tar.add(folder, "KuaiRand-Pure")
  monkeypatch.setitem(kuairand.MD5, "Pure", kuairand._md5(path))
  return path


@pytest.fixture
def downloads(archive: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
  """The URLs that were downloaded: each gives the archive, without a network."""
  urls: list[str] = []

  class DownloadManager:
    def __init__(self, download_dir: str):
      self.directory = Path(download_dir)

    def download(self, url: str) -> Path:
      urls.append(url)
      self.directory.mkdir(parents=True, exist_ok=True)
      return Path(shutil.copy(archive, self.directory / f"copy-{len(urls)}.tar.gz"))

  monkeypatch.setattr(tfds.download, "DownloadManager", DownloadManager)
  return urls


def test_without_raw_the_log_is_downloaded_once(
  tmp_path: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(kuairand, "DOWNLOADS", tmp_path / "raw")
  source = KuaiRand()
  assert len(read_whole(source).time) == 2
  source.identity()
  assert downloads == ["https://zenodo.org/records/10439422/files/KuaiRand-Pure.tar.gz"]
  assert source.identity() == KuaiRand(raw=str(tmp_path / "made/KuaiRand-Pure")).identity()
  assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == [
    "KuaiRand-Pure", "downloads"
  ]  # fmt: skip


def test_unpacking_works_where_python_has_no_extraction_filters(
  tmp_path: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
  original = tarfile.TarFile.extractall

  def extractall(tar: tarfile.TarFile, path: str = ".", members: Any = None) -> None:
    original(tar, path, members)

  monkeypatch.delattr(tarfile, "data_filter")
  monkeypatch.setattr(tarfile.TarFile, "extractall", extractall)
  folder = kuairand.download("Pure", tmp_path / "raw")
  assert (folder / "data" / LOG).is_file()


def test_a_download_of_something_else_is_removed_and_tried_again(
  tmp_path: Path, archive: Path, downloads: list[str]
) -> None:
  good = archive.read_bytes()
  archive.write_bytes(b"<html>We are sorry</html>")
  digest, published = kuairand._md5(archive), kuairand.MD5["Pure"]
  message = f"KuaiRand-Pure.tar.gz has md5 {digest}, expected {published}; removed it, try again"
  with pytest.raises(DataError, match=f"{re.escape(message)}$"):
    kuairand.download("Pure", tmp_path / "raw")
  assert [path for path in (tmp_path / "raw").rglob("*") if path.is_file()] == []
  archive.write_bytes(good)
  assert (kuairand.download("Pure", tmp_path / "raw") / "data").is_dir()
  assert len(downloads) == 2


def test_a_download_that_fails_gives_the_cure_in_one_line(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  class DownloadManager:
    def __init__(self, download_dir: str):
      del download_dir

    def download(self, url: str) -> Path:
      raise ConnectionError(f"no route\nto {url}")

  monkeypatch.setattr(tfds.download, "DownloadManager", DownloadManager)
  message = (
    "cannot download https://zenodo.org/records/10439422/files/KuaiRand-1K.tar.gz "
    "(ConnectionError); download it elsewhere and give its unpacked folder as RAW=path"
  )
  with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
    kuairand.download("1K", tmp_path)


@pytest.fixture(scope="module")
def real_folder() -> str:
  folder = Path(os.environ.get("RANKING_RAW_DATA", ""), "KuaiRand-Pure")
  if "RANKING_RAW_DATA" not in os.environ or not folder.is_dir():
    pytest.skip("set RANKING_RAW_DATA to the folder that holds KuaiRand-Pure")
  return str(folder)


@pytest.fixture(scope="module")
def real(real_folder: str) -> FrameLog:
  return read_whole(KuaiRand(raw=real_folder))


def test_kuairand_pure_has_its_published_counts(real: FrameLog) -> None:
  assert len(real.time) == 222_869
  assert real.cleaning["dropped: rows with a missing value"] == 0
  assert real.cleaning["dropped: exact duplicates of an earlier row"] == 5_460
  assert real.cleaning["rows whose user has no features"] == 0
  assert real.cleaning["rows whose video has no features"] == 0
  assert real.categorical.user_id.nunique() == 25_156
  assert real.categorical.video_id.nunique() == 6_361
  # Cut by the lagging `date`, the 14 days begin with 141 rows of the evening before.
  assert (real.day_names[0], real.day_names[-1]) == ("2022-04-24", "2022-05-08")
  assert np.bincount(real.day)[[0, 1, -1]].tolist() == [141, 14_650, 15_324]
  assert len(real.day_names) == 15
  assert (np.diff(real.time) >= 0).all()
  assert (np.diff(real.day) >= 0).all()


def test_kuairand_pure_with_duplicates_has_the_published_rates(real_folder: str) -> None:
  log = read_whole(KuaiRand(raw=real_folder, keep_duplicates=True))
  assert len(log.time) == 228_329
  assert (log.day == 14).sum() == 15_581  # 15,747 rows say so in `date`
  assert log.cleaning["kept: rows with duration 0, watch ratio missing"] == 3_568
  assert log.labels.watch_ratio.isna().sum() == 3_568
  rates = log.labels.mean()
  for task, rate in {"is_click": 0.4419, "long_view": 0.3108, "is_like": 0.0171}.items():
    assert rates[task] == pytest.approx(rate, abs=5e-5)
  assert (log.labels.log_play_seconds == 0).mean() == pytest.approx(0.098, abs=5e-4)
  # The largest of the four kinds, and their sum.
  assert 0.0185 < rates.engaged < 0.0185 + 0.0025 + 0.0013 + 0.0009
  assert log.labels.watch_ratio.quantile(0.99) == pytest.approx(2.03, abs=5e-3)
  assert log.labels.watch_ratio.max() == 5


def test_clicks_of_kuairand_pure_depend_on_the_tab(real: FrameLog) -> None:
  rates = real.labels.is_click.groupby(real.categorical.tab).mean()
  for tab, rate in {1: 0.494, 0: 0.086, 9: 1, 10: 1, 11: 0, 14: 0}.items():
    assert rates[tab] == pytest.approx(rate, abs=0.02)
