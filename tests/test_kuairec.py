"""KuaiRec: the traps of its files one by one in made-up rows, and the real files."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.data.engine import Engine
from ranking.data.prepare import prepare
from ranking.data.schema import DataError, sha256
from ranking.data.sources import kuairec
from ranking.data.sources.kuairec import KuaiRec
from tests.frames import FrameLog
from tests.packing import pack
from tests.whole_log import read_whole

BIG, SMALL = "big_matrix.csv", "small_matrix.csv"
USERS, TAGS = "user_features.csv", "item_categories.csv"
CAPTIONS, DAILY = "kuairec_caption_category.csv", "item_daily_features.csv"
HOUR = 3600  # seconds
JULY_6 = 1_593_964_800  # 2020-07-06 00:00 UTC+8, in seconds since epoch UTC
UNKNOWN = "-124,UNKNOWN"
CAPTION_HEADER = "video_id,manual_cover_text,caption,topic_tag," + ",".join(
  f"{level}_level_category_{what}"
  for level in ("first", "second", "third")
  for what in ("id", "name")
)
_ACTIONS = ("show", "play", "complete_play", "valid_play", "long_time_play", "short_time_play")
_REACTIONS = (
  *("cancel_like", "comment", "delete_comment", "comment_like", "follow", "cancel_follow"),
  *("share", "download", "report", "reduce_similar", "collect", "cancel_collect"),
)
COUNTS = [
  *(f"{name}_{what}" for name in _ACTIONS[:2] for what in ("cnt", "user_num")),
  "play_duration",
  *(f"{name}_{what}" for name in _ACTIONS[2:] for what in ("cnt", "user_num")),
  *("play_progress", "comment_stay_duration", "like_cnt", "like_user_num"),
  *("click_like_cnt", "double_click_cnt", "direct_comment_cnt", "reply_comment_cnt"),
  *(f"{name}_{what}" for name in _REACTIONS for what in ("cnt", "user_num")),
]


def view(at: float = JULY_6, **changes: Any) -> dict[str, Any]:
  """A line of a matrix in the official order of columns; `at` is in seconds since epoch UTC."""
  clock = pd.Timestamp(round(at * 1000), unit="ms", tz="Asia/Shanghai")
  line: dict[str, Any] = {
    "user_id": 1,
    "video_id": 10,
    "play_duration": 4000,
    "video_duration": 8000,
    "time": f"{clock:%Y-%m-%d %H:%M:%S.%f}"[:-3],
    "date": int(f"{clock:%Y%m%d}"),
    "timestamp": at,
  }
  assert set(changes) <= set(line)
  line |= changes
  ratio = line["play_duration"] / line["video_duration"] if line["video_duration"] else np.nan
  return line | {"watch_ratio": ratio}


def timeless(**changes: Any) -> dict[str, Any]:
  return view(**changes) | dict.fromkeys(("time", "date", "timestamp"))


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


def totals(date: int = 20200705, **changes: Any) -> dict[str, Any]:
  """A line of the daily features: 100 plays."""
  line = {
    "video_id": 10,
    "date": date,
    "author_id": 100,
    "video_type": "NORMAL",
    "upload_dt": "2020-07-01",
    "upload_type": "ShortImport",
    "visible_status": "public",
    "video_duration": 8000.0,
    "video_width": 720,
    "video_height": 1280,
    "music_id": 1000,
    "video_tag_id": 7,
    "video_tag_name": "祝福",
    **dict.fromkeys(COUNTS, 0),
    "show_cnt": 120,
    "play_cnt": 100,
  }
  assert set(changes) <= set(line)
  return line | changes


def write(
  folder: Path,
  *views: dict[str, Any],
  matrix: str = BIG,
  users: tuple[dict[str, Any], ...] = (user(),),
  tags: str = "10,[8]\n",
  captions: str | None = f"10,UNKNOWN,hello,[],8,颜值,673,颜值随拍,{UNKNOWN}\n",
  daily: tuple[dict[str, Any], ...] | None = (totals(),),
) -> Path:
  """A KuaiRec folder as it is unpacked: the files below data/."""
  data = folder / "data"
  data.mkdir(parents=True)
  pd.DataFrame(list(views)).to_csv(data / matrix, index=False)
  pd.DataFrame(list(users)).to_csv(data / USERS, index=False)
  (data / TAGS).write_text("video_id,feat\n" + tags)
  if captions is not None:
    (data / CAPTIONS).write_bytes(f"{CAPTION_HEADER}\n{captions}".encode())
  if daily is not None:
    pd.DataFrame(list(daily)).to_csv(data / DAILY, index=False)
  return folder


def day_n(**changes: Any) -> dict[str, Any]:
  """A view of the day after, so that there are two days."""
  return view(JULY_6 + 24 * HOUR, **changes)


def read(folder: Path, *views: dict[str, Any], **files: Any) -> FrameLog:
  """The log of views a ms apart, so that they keep their order, and of one a day later."""
  apart = [
    line if line["timestamp"] is None else line | {"timestamp": line["timestamp"] + k / 1000}
    for k, line in enumerate(views)
  ]
  return read_whole(KuaiRec(raw=str(write(folder, *apart, day_n(), **files))))


def two_days(folder: Path) -> Path:
  return write(folder, view(), day_n())


def edit(path: Path, change: Callable[[str], str]) -> None:
  path.write_text(change(path.read_text()))


def assert_same(a: FrameLog, b: FrameLog) -> None:
  np.testing.assert_array_equal(a.time, b.time)
  np.testing.assert_array_equal(a.day, b.day)
  assert a.day_names == b.day_names
  for one, other in ((a.categorical, b.categorical), (a.dense, b.dense), (a.labels, b.labels)):
    pd.testing.assert_frame_equal(one, other)
  assert tag_lists(a) == tag_lists(b)
  assert a.cleaning == b.cleaning


def tag_lists(log: FrameLog) -> list[Any]:
  bag = log.bags["tags"]
  return [bag.lists[index] for index in bag.index]


def test_the_made_up_daily_features_have_the_official_58_columns() -> None:
  assert len(totals()) == 58


def test_the_log_keeps_the_contract_of_a_source(tmp_path: Path) -> None:
  log = read(tmp_path, view(), timeless(), view())
  assert log.time.dtype == np.int64
  assert log.day.dtype == np.int32
  assert log.time_zone == "Asia/Shanghai"
  assert list(log.labels) == [task.name for task in log.tasks]
  assert [task.kind for task in log.tasks] == ["binary"] * 4 + ["regression"] * 2
  assert set(log.labels.dtypes) == {np.dtype(np.float32)}
  assert len(log.categorical) == len(log.dense) == len(log.labels) == 3
  for frame in (log.categorical, log.dense, log.labels):
    assert frame.index.tolist() == [0, 1, 2]
    assert frame.columns.is_unique
  assert set(log.entities) <= set(log.categorical)
  assert set(log.rated_tasks) <= {task.name for task in log.tasks if task.kind == "binary"}
  assert log.report_by in log.categorical


def test_rows_are_ordered_by_timestamp_and_split_at_midnight_in_utc_8(tmp_path: Path) -> None:
  midnight = JULY_6 + 24 * HOUR
  # `time` and `date` are never read: here they mislead.
  late = view(midnight, video_id=11, date=20200706, time="2020-07-06 00:00:00.0")
  early = view(midnight - 0.001, video_id=12, date=20200707)
  before_midnight_utc = view(midnight - 8 * HOUR - 1, video_id=13)
  after_midnight_utc = view(midnight - 8 * HOUR, video_id=14)
  log = read_whole(
    KuaiRec(raw=str(write(tmp_path, late, after_midnight_utc, before_midnight_utc, early)))
  )
  np.testing.assert_array_equal(log.categorical.video_id, [13, 14, 12, 11])
  np.testing.assert_array_equal(log.day, [0, 0, 0, 1])
  assert log.day_names == ["2020-07-06", "2020-07-07"]
  np.testing.assert_array_equal(log.categorical.hour, [15, 16, 23, 0])
  np.testing.assert_array_equal(log.categorical.day_of_week, [0, 0, 0, 1])  # Monday, Tuesday


def test_the_days_between_the_windows_of_collection_are_no_days_of_the_log(tmp_path: Path) -> None:
  dates = ["2020-07-05", "2020-07-12", "2020-08-01", "2020-09-05"]
  noons = [pd.Timestamp(f"{date} 12:00", tz="Asia/Shanghai").timestamp() for date in dates]
  log = read_whole(KuaiRec(raw=str(write(tmp_path, *[view(noon) for noon in noons]))))
  assert log.day_names == dates
  np.testing.assert_array_equal(log.day, [0, 1, 2, 3])


def test_times_are_those_of_pandas_to_the_millisecond(tmp_path: Path) -> None:
  random = np.random.default_rng(0)
  milliseconds = np.sort(random.integers(10**12, 2**32 * 1000 - 1, 300))
  views = [view(ms / 1000, video_id=k) for k, ms in enumerate(milliseconds)]
  log = read_whole(KuaiRec(raw=str(write(tmp_path, *views))))
  np.testing.assert_array_equal(log.time, milliseconds)
  clock = pd.to_datetime(pd.Series(milliseconds), unit="ms", utc=True).dt.tz_convert(
    "Asia/Shanghai"
  )
  np.testing.assert_array_equal(log.categorical.hour, clock.dt.hour)
  np.testing.assert_array_equal(log.categorical.day_of_week, clock.dt.dayofweek)
  assert [log.day_names[day] for day in log.day] == clock.dt.strftime("%Y-%m-%d").to_list()


def test_rows_of_one_millisecond_are_in_an_order_of_their_own_whatever_the_files(
  tmp_path: Path,
) -> None:
  random = np.random.default_rng(0)
  lines = [
    view(JULY_6 + int(random.integers(0, 3)), video_id=int(video))
    for video in random.permutation(1000)
  ]
  log, other = (
    read_whole(KuaiRec(raw=str(write(tmp_path / str(k), *lines[::k], day_n())))) for k in (1, -1)
  )
  pd.testing.assert_frame_equal(log.categorical, other.categorical)
  by_row = log.categorical.assign(time=log.time)
  assert by_row[["time", "user_id", "video_id"]].apply(tuple, axis=1).is_monotonic_increasing


def test_exact_duplicates_are_dropped_or_kept_and_counted(tmp_path: Path) -> None:
  twice = [view(), view(), view()]
  almost = [
    *(view(user_id=2), view(video_id=2), view(play_duration=1), view(video_duration=1)),
    view(JULY_6 + 0.001),
  ]
  folder = str(write(tmp_path, *twice, *almost, view(), day_n()))
  dropped, kept = KuaiRec(raw=folder), KuaiRec(raw=folder, keep_duplicates=True)
  log = read_whole(dropped)
  assert len(log.time) == 7
  assert log.cleaning["dropped: exact duplicates of an earlier row"] == 3
  assert sorted(log.categorical.user_id) == [1, 1, 1, 1, 1, 1, 2]
  assert len(read_whole(kept).time) == 10
  assert read_whole(kept).cleaning["kept: exact duplicates of an earlier row"] == 3
  assert dropped.identity() != kept.identity()


def test_rows_of_the_small_matrix_without_a_time_are_dropped_and_counted(tmp_path: Path) -> None:
  folder = write(tmp_path, view(), timeless(), timeless(user_id=2), day_n(), matrix=SMALL)
  assert "20200706.0" in (folder / "data" / SMALL).read_text()
  log = read_whole(KuaiRec(raw=str(folder), matrix="small"))
  np.testing.assert_array_equal(log.time, [JULY_6 * 1000, (JULY_6 + 24 * HOUR) * 1000])
  assert log.cleaning["dropped: rows without a time"] == 2
  assert log.cleaning["dropped: rows with another missing value"] == 0


def test_a_row_with_another_missing_value_is_dropped_and_counted_apart(tmp_path: Path) -> None:
  incomplete = [view() | {"play_duration": None}, view() | {"user_id": None}]
  both = timeless() | {"user_id": None}
  log = read(tmp_path, view() | {"watch_ratio": None}, *incomplete, both)
  assert len(log.time) == 2
  assert log.cleaning["dropped: rows without a time"] == 1
  assert log.cleaning["dropped: rows with another missing value"] == 2


def test_labels_by_hand_at_both_sides_of_each_threshold(tmp_path: Path) -> None:
  nan = np.nan
  played = {  # play, duration in ms: effective_view, complete, rewatch, long_play, watch_ratio
    (6999, 10_000): (0, 0, 0, 0, 0.6999),
    (7000, 10_000): (1, 0, 0, 0, 0.7),
    (9999, 10_000): (1, 0, 0, 0, 0.9999),
    (10_000, 10_000): (1, 1, 0, 0, 1),
    (16_000, 8000): (1, 1, 0, 0, 2),
    (16_001, 8000): (1, 1, 1, 0, 2.000125),
    (17_999, 60_000): (0, 0, 0, 0, 17_999 / 60_000),
    (18_000, 60_000): (0, 0, 0, 1, 0.3),
    (4500, 1000): (1, 1, 1, 0, 4.5),
    (573_457, 1000): (1, 1, 1, 1, 5),
    (0, 8000): (0, 0, 0, 0, 0),
    (-1, 8000): (0, 0, 0, 0, 0),
    (20_000, 0): (nan, nan, nan, 1, nan),
  }
  lines = [view(play_duration=play, video_duration=duration) for play, duration in played]
  log = read(tmp_path, *lines)
  labels = log.labels[: len(played)]
  np.testing.assert_allclose(labels.drop(columns="log_play_seconds"), list(played.values()), 1e-6)
  seconds = [max(play, 0) / 1000 for play, _ in played]
  np.testing.assert_allclose(labels.log_play_seconds, np.log1p(seconds), rtol=1e-6)
  assert log.cleaning["kept: rows with duration 0, watch ratio missing"] == 1
  assert log.cleaning["kept: watch ratio above 5, clipped"] == 1


def test_the_length_of_a_video_is_a_bucket_with_a_readable_name(tmp_path: Path) -> None:
  lengths = {
    **{0: None, 140: "0 to 3 s", 2999: "0 to 3 s", 3000: "3 to 5 s", 8000: "7 to 9 s"},
    **{17_999: "14 to 18 s", 18_000: "18 to 30 s", 119_999: "60 to 120 s"},
    **{120_000: "120 s or more", 315_072: "120 s or more"},
  }
  log = read(tmp_path, *[view(video_duration=length) for length in lengths])
  buckets = log.categorical.duration_bucket[: len(lengths)].astype(object)
  assert buckets.where(buckets.notna(), None).tolist() == list(lengths.values())
  expected = np.log1p([np.nan, *list(lengths)[1:]])
  np.testing.assert_allclose(log.dense.log_duration[: len(lengths)], expected, rtol=1e-6)


def test_the_report_names_the_buckets(tmp_path: Path) -> None:
  lines = [view(JULY_6 + k, video_duration=length) for k in range(3) for length in (8000, 20_000)]
  schema = pack("kuairec", read(tmp_path, *lines)).schema
  assert schema.report_by == "duration_bucket"
  assert set(schema.report_values[2:]) == {"7 to 9 s", "18 to 30 s"}


def test_user_features_are_ids_and_logs_of_counts(tmp_path: Path) -> None:
  nobody = user() | {"user_id": None}
  again, other = user(fans_user_num=5), user(user_id=2, onehot_feat4=None, fans_user_num=-1)
  users = (nobody, user(), other, again)
  lines = [view(user_id=number, video_id=video) for number in (1, 2, 3) for video in (1, 2, 3)]
  log = read(tmp_path, *lines, users=users)
  expected = {
    "log_follow_user_num": np.log(10),
    "log_fans_user_num": np.log(6),  # of two lines of a user the smaller counts
    "log_friend_user_num": 0,
    "log_register_days": np.log(1000),
  }
  assert log.dense.iloc[0][list(expected)].to_dict() == pytest.approx(expected)
  assert log.dense.log_fans_user_num[3] == 0
  assert log.dense.iloc[6:9].log_register_days.isna().all()  # user 3 has no features at all
  assert log.cleaning["rows whose user has no features"] == 3
  columns, ids = list(log.categorical), pack("kuairec", log).ids
  of_user = ids[:9, columns.index("onehot_feat4")].reshape(3, 3)
  np.testing.assert_array_equal(of_user, [[2] * 3, [0] * 3, [0] * 3])
  degree = ids[:9, columns.index("user_active_degree")]
  np.testing.assert_array_equal(degree, [2] * 6 + [0] * 3)
  counts = {"follow_user_num", "fans_user_num", "friend_user_num", "register_days"}
  assert set(user()) - counts <= set(columns)


def test_tags_are_lists_written_as_text(tmp_path: Path) -> None:
  tags = '1,[8]\n2,"[27, 9]"\n3,[]\n4,\n5,[8]\n1,[30]\n'
  log = read(tmp_path, *[view(video_id=number) for number in (2, 1, 3, 4, 5, 6)], tags=tags)
  assert tag_lists(log) == [[27, 9], [30], [], [], [8], [], []]
  assert log.cleaning["rows whose video has no tags"] == 3  # videos 4 and 6, and 10 of day N


@pytest.mark.parametrize(
  "text",
  [
    "[__import__('os').getpid()]",
    "[8",
    "8",
    "{8: 9}",
    "[[8]]",
    "['8']",
    "[" * 300,
    "1" + "+1" * 5000,
    "-" * 9999,
  ],
)
def test_tags_that_are_no_list_of_ids_are_named_and_never_run(tmp_path: Path, text: str) -> None:
  folder = write(tmp_path, view(), day_n(), tags=f'10,[8]\n11,"{text}"\n')
  message = (
    f"{folder}/data/{TAGS} line 3 column feat holds {text!r} where a list such as [27, 9] belongs; "
    "mend or remove the line"
  )
  with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
    read_whole(KuaiRec(raw=str(folder)))


def test_captions_may_hold_quotes_commas_and_ends_of_lines(tmp_path: Path) -> None:
  ids = "9,喜剧,727,搞笑互动,2434,景物摄影"
  captions = [
    f"1,UNKNOWN,plain,[],{ids}",
    f'2,UNKNOWN,"quoted, as it should be","[a,b]",{ids}',
    f'3,"one stray quote,caption,[],{ids}',
    f'4,UNKNOWN,12" screen,[],{ids}',
    f"5,UNKNOWN,a carriage\rreturn,[],{ids}",
    f'6,UNKNOWN,"two\n7,8 and\n\nmore lines",[],{ids}',
    f"8,UNKNOWN,,[],5,时尚,{UNKNOWN},{UNKNOWN}",
    f"1,UNKNOWN,again,[],{UNKNOWN},{UNKNOWN},{UNKNOWN}",
  ]
  lines = [view(video_id=number) for number in (1, 2, 3, 4, 5, 6, 7, 8)]
  folder = write(tmp_path, *lines, day_n(), captions="\n".join(captions) + "\n")
  path = folder / "data" / CAPTIONS
  text = path.read_bytes()
  for end in (b"\n", b"\r\n"):
    path.write_bytes(text.replace(b"\n", end))
    log = read_whole(KuaiRec(raw=str(folder)))
    levels = log.categorical[[f"{level}_level_category" for level in ("first", "second", "third")]]
    levels = levels.astype(object).where(levels.notna(), None)
    known, none = ["9", "727", "2434"], [None] * 3
    expected = [*[known] * 6, none, ["5", None, None], none]
    assert levels.to_numpy().tolist() == expected
    assert log.cleaning["rows whose video has no caption categories"] == 2


@pytest.mark.parametrize(
  ("captions", "message"),
  [
    ("10,UNKNOWN,x,[],8,a,9,b\n", r"line 2 begins with '10,UNKNOWN,x,\[\],8,a,' where a video_id"),
    (f"10,U,x\ry,[],8,a,9,b,{UNKNOWN}\nx,U,x,[],8,a,9,b,{UNKNOWN}\n", "line 3 begins with 'x,U,x,"),
    ("", "has a header and no rows; unpack it again$"),
  ],
  ids=["cut off", "without a video", "empty"],
)
def test_captions_that_are_no_records_are_named(
  tmp_path: Path, captions: str, message: str
) -> None:
  folder = write(tmp_path, view(), day_n(), captions=captions)
  path = re.escape(str(folder / "data" / CAPTIONS))
  with pytest.raises(DataError, match=f"^{path} {message}"):
    read_whole(KuaiRec(raw=str(folder)))
  (folder / "data" / CAPTIONS).write_bytes(b"video_id,caption\n")
  with pytest.raises(DataError, match=f"^{path} begins with 'video_id,caption'; its columns are "):
    read_whole(KuaiRec(raw=str(folder)))
  (folder / "data" / CAPTIONS).write_bytes(b"video_id,\xff\n")
  with pytest.raises(DataError, match=rf"^{path} is not UTF-8 text \('utf-8' codec can't decode"):
    read_whole(KuaiRec(raw=str(folder)))


def test_totals_of_the_day_before_by_hand(tmp_path: Path) -> None:
  one = totals(show_cnt=999, play_cnt=900, complete_play_cnt=300, like_cnt=90, share_cnt=9)
  other = totals(video_id=11, show_cnt=100, play_cnt=100, complete_play_cnt=100, like_cnt=10)
  log = read(tmp_path, view(), daily=(one, other))
  expected = {
    "log_show_cnt": np.log(1000),
    "log_play_cnt": np.log(901),
    # 100 plays more, at the rate of both videos together.
    "complete_play_rate": (300 + 100 * 400 / 1000) / 1000,
    "valid_play_rate": 0,
    "long_time_play_rate": 0,
    "like_rate": (90 + 100 * 100 / 1000) / 1000,
    "comment_rate": 0,
    "follow_rate": 0,
    "share_rate": (9 + 100 * 9 / 1000) / 1000,
  }
  assert log.dense.iloc[0][list(expected)].to_dict() == pytest.approx(expected)
  static = log.categorical.iloc[0][["author_id", "video_type", "upload_type", "music_id"]]
  assert static.tolist() == ["100", "NORMAL", "ShortImport", "1000"]
  assert log.categorical.video_tag_id[0] == "7"
  assert log.dense.iloc[1][list(expected)].isna().all()  # day N: the totals are two days old
  assert log.categorical.author_id[1] == "100"  # but the author is known
  assert log.cleaning["rows whose video has no totals of the day before"] == 1


def test_a_day_of_which_nobody_played_anything_has_no_rates(tmp_path: Path) -> None:
  log = read(tmp_path, view(), daily=(totals(play_cnt=0, like_cnt=3, show_cnt=-1),))
  assert np.isnan(log.dense.like_rate[0])
  assert log.dense.log_show_cnt[0] == 0
  assert not np.isinf(log.dense.to_numpy()).any()
  assert log.cleaning["rows whose video has no totals of the day before"] == 1  # day N


DAYS = (20200705, 20200706, 20200707, 20200708)


def many_totals(seed: int) -> list[dict[str, Any]]:
  """Lines of 4 days and 6 videos in any order, a third of them absent; authors never change."""
  random = np.random.default_rng(seed)
  lines = [
    totals(
      date,
      video_id=video,
      author_id=video % 2,
      play_cnt=int(random.integers(1, 500)),
      like_cnt=int(random.integers(0, 50)),
    )
    for date in DAYS
    for video in range(6)
    if random.random() < 0.67
  ]
  return [lines[k] for k in random.permutation(len(lines))]


def many_views() -> list[dict[str, Any]]:
  return [
    view(JULY_6 + (24 * day + hour) * HOUR + video, video_id=video)
    for day in (-1, 0, 1, 2)
    for hour in (0, 23)
    for video in range(6)
  ]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_known_of_a_video_is_what_a_search_of_all_lines_finds(
  tmp_path: Path, seed: int
) -> None:
  lines = many_totals(seed)
  log = read(tmp_path, *many_views(), daily=tuple(lines))
  for k in range(len(log.time) - 1):
    date, video = DAYS[log.day[k]], log.categorical.video_id[k]
    earlier = [line for line in lines if line["video_id"] == video and line["date"] < date]
    author = log.categorical.author_id[k]
    if earlier:
      assert author == str(video % 2)
    else:
      assert pd.isna(author)
    found = [line for line in earlier if line["date"] == date - 1]
    if found:
      same_day = [line for line in lines if line["date"] == date - 1]
      overall = sum(x["like_cnt"] for x in same_day) / sum(x["play_cnt"] for x in same_day)
      rate = (found[0]["like_cnt"] + 100 * overall) / (found[0]["play_cnt"] + 100)
      assert log.dense.like_rate[k] == pytest.approx(rate, rel=1e-6)
      assert log.dense.log_play_cnt[k] == pytest.approx(np.log1p(found[0]["play_cnt"]))
    else:
      assert log.dense.loc[k, ["like_rate", "log_play_cnt"]].isna().all()


@pytest.mark.parametrize("day", range(4))
def test_totals_of_a_day_or_later_change_no_row_of_it(tmp_path: Path, day: int) -> None:
  lines = many_totals(0)
  before = read(tmp_path / "before", *many_views(), daily=tuple(lines))
  changed = [line for line in lines if line["date"] < DAYS[day]]
  others = [{**totals(), **dict.fromkeys(COUNTS, 777), "author_id": 9, "music_id": 9}]
  changed += [
    others[0] | {"video_id": video, "date": date} for date in DAYS[day:] for video in range(6)
  ]
  after = read(tmp_path / "after", *many_views(), daily=tuple(changed))
  seen = before.day <= day
  pd.testing.assert_frame_equal(before.dense[seen], after.dense[seen])
  pd.testing.assert_frame_equal(
    before.categorical[seen].astype(object), after.categorical[seen].astype(object)
  )
  if day < 2:
    assert not before.dense[~seen].equals(after.dense[~seen])


def test_totals_that_repeat_a_video_and_date_are_dropped_and_counted(tmp_path: Path) -> None:
  repeated = (totals(), totals(video_tag_id=8), totals(play_cnt=7), totals(video_id=11))
  log = read(tmp_path, view(), daily=repeated)
  assert len(log.time) == 2
  assert log.cleaning["dropped: daily totals that repeat a video and date"] == 2
  assert log.categorical.video_tag_id[0] == "7"
  assert log.dense.log_play_cnt[0] == pytest.approx(np.log(8))  # of several the smallest


def test_dates_of_totals_may_be_written_as_floats(tmp_path: Path) -> None:
  log = read(tmp_path, view(), daily=(totals(), totals() | {"date": None}))
  assert "20200705.0" in (tmp_path / "data" / DAILY).read_text()
  assert log.dense.log_play_cnt[0] == pytest.approx(np.log(101))


def test_a_date_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
  folder = write(tmp_path, view(), day_n(), daily=(totals(), totals(20201399)))
  message = (
    f"{folder}/data/{DAILY} line 3 column date holds '20201399' where a date such as 20200705 "
    "belongs; mend or remove the line"
  )
  with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
    read_whole(KuaiRec(raw=str(folder)))


def test_without_the_optional_files_the_log_is_read_and_says_so(tmp_path: Path) -> None:
  log = read(tmp_path, view(), captions=None, daily=None)
  assert log.entities == ("user_id", "video_id")
  assert log.cleaning[f"without {CAPTIONS}: rows"] == 2
  assert log.cleaning[f"without {DAILY}: rows"] == 2
  left_out = ("author_id", "music_id", "first_level_category", "like_rate", "log_show_cnt")
  assert not set(left_out) & {*log.categorical, *log.dense}
  pack("kuairec", log)
  with_all = read(tmp_path / "all", view())
  assert with_all.entities == ("user_id", "video_id", "author_id")
  assert not [what for what in with_all.cleaning if what.startswith("without")]
  assert set(left_out) <= {*with_all.categorical, *with_all.dense}


def test_what_is_dropped_of_a_log_is_counted(tmp_path: Path) -> None:
  views = [*many_views(), timeless(), *many_views()[::-1], timeless(), timeless()]
  folder = str(write(tmp_path, *views, daily=(*many_totals(1), *many_totals(1)[:2])))
  whole = read_whole(KuaiRec(raw=folder))
  assert whole.cleaning["dropped: daily totals that repeat a video and date"] == 2
  assert whole.cleaning["dropped: rows without a time"] == 3
  assert whole.cleaning["dropped: exact duplicates of an earlier row"] == 48


def test_the_other_files_of_the_folder_are_never_read(tmp_path: Path) -> None:
  two_days(tmp_path)
  source = KuaiRec(raw=str(tmp_path))
  before = source.identity()
  for name in (SMALL, "social_network.csv", "user_features_raw.csv"):
    (tmp_path / "data" / name).write_bytes(b"\xff not read at all")
  assert source.identity() == before
  assert len(read_whole(source).time) == 2
  assert sorted(before["files"]) == sorted([BIG, USERS, TAGS, CAPTIONS, DAILY])
  assert before["files"][USERS] == sha256(tmp_path / "data" / USERS)


def test_raw_may_be_the_data_folder_itself(tmp_path: Path) -> None:
  two_days(tmp_path)
  inside, outside = KuaiRec(raw=str(tmp_path / "data")), KuaiRec(raw=str(tmp_path))
  assert inside.identity() == outside.identity()
  assert_same(read_whole(inside), read_whole(outside))


def test_a_changed_file_or_another_matrix_is_another_identity(tmp_path: Path) -> None:
  source = KuaiRec(raw=str(two_days(tmp_path)))
  for name in (BIG, USERS, TAGS, CAPTIONS, DAILY):
    before = source.identity()
    edit(tmp_path / "data" / name, lambda text: text + "\n")
    assert source.identity() != before
  (tmp_path / "data" / SMALL).write_bytes((tmp_path / "data" / BIG).read_bytes())
  assert KuaiRec(raw=str(tmp_path), matrix="small").identity() != source.identity()


def test_the_log_makes_a_day_store(tmp_path: Path) -> None:
  views = [view(JULY_6 + (12 + step) * HOUR) for step in range(30)]
  store = prepare(KuaiRec(raw=str(write(tmp_path / "raw", *views))), tmp_path / "store")
  assert [len(day) for day in store.train_days] == [12]
  assert len(store.eval_day) == 18
  assert store.card["time_zone"] == "Asia/Shanghai"


def test_without_raw_the_record_to_get_it_from_is_named() -> None:
  message = (
    "KuaiRec is not downloaded; unpack KuaiRec.zip of https://zenodo.org/records/18164998 and give "
    "its folder as RAW=path"
  )
  with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
    KuaiRec().identity()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
  absent = tmp_path / "absent"
  message = f"^RAW folder {re.escape(str(absent))} is not there; give the path of an unpacked KuaiR"
  with pytest.raises(DataError, match=message):
    KuaiRec(raw=str(absent)).identity()


def test_a_matrix_that_is_not_published_is_refused(tmp_path: Path) -> None:
  matrix: Any = "medium"
  with pytest.raises(DataError, match=r"^KuaiRec.matrix is 'medium'; make it 'big' or 'small'$"):
    read_whole(KuaiRec(raw=str(two_days(tmp_path)), matrix=matrix))


@pytest.mark.parametrize("name", [BIG, USERS, TAGS])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
  (two_days(tmp_path) / "data" / name).unlink()
  message = f"{tmp_path}/data has no {name}; give RAW the path of an unpacked KuaiRec 2.0"
  with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
    KuaiRec(raw=str(tmp_path)).identity()


@pytest.mark.parametrize(
  ("name", "column"),
  [(BIG, "timestamp"), (USERS, "onehot_feat17"), (TAGS, "feat"), (DAILY, "share_cnt")],
)
def test_a_missing_column_is_named(tmp_path: Path, name: str, column: str) -> None:
  path = two_days(tmp_path) / "data" / name
  frame = pd.read_csv(path).drop(columns=column)
  frame.to_csv(path, index=False)
  has = ", ".join(frame.columns[:6])
  message = f"^{re.escape(f'{path} lacks column {column}; it has {has}, …')}$"
  with pytest.raises(DataError, match=message):
    read_whole(KuaiRec(raw=str(tmp_path)))


@pytest.mark.parametrize(
  ("name", "column", "value", "limit"),
  [
    (BIG, "timestamp", "2020-07-06 12:00:00.5", 2**32),
    (BIG, "timestamp", "1593964800000", 2**32),  # milliseconds
    (BIG, "user_id", "u17", 2**31),
    (BIG, "video_duration", "inf", 2**31),
    (BIG, "play_duration", "3000000000", 2**31),
    (USERS, "user_id", "one", 2**31),
    (USERS, "register_days", "730+", 2**53),
    (TAGS, "video_id", "v10", 2**31),
    (DAILY, "like_cnt", "many", 2**53),
    (DAILY, "date", "2020-07-05", 2**53),
  ],
)
def test_what_is_no_such_number_is_named_with_its_line(
  tmp_path: Path,
  monkeypatch: pytest.MonkeyPatch,
  name: str,
  column: str,
  value: str,
  limit: int,
) -> None:
  users, daily = (user(), user(user_id=2)), (totals(), totals(video_id=11))
  write(tmp_path, view(), day_n(), users=users, daily=daily, tags="10,[8]\n11,[9]\n")
  path = tmp_path / "data" / name
  frame = pd.read_csv(path).astype({column: object})
  frame.loc[1, column] = value
  frame.to_csv(path, index=False)
  message = (
    rf"^{re.escape(str(path))} line 3 column {column} holds '[^']*' where a number( below )?"
  )
  with pytest.raises(DataError, match=f"{message}({limit:,})? belongs; mend or remove the line$"):
    read_whole(KuaiRec(raw=str(tmp_path)))


@pytest.mark.parametrize("name", [BIG, USERS, TAGS, DAILY])
@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"", r"is not a CSV with a header \(it is empty\); unpack it again"),
    (None, r"has a header and no rows; unpack it again"),
    (b"\xffuser_id", r"is not a CSV with a header \('utf-8' codec can't decode byte 0xff"),
  ],
  ids=["empty", "header only", "not UTF-8"],
)
def test_a_file_that_is_no_table_is_named(
  tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
  path = two_days(tmp_path) / "data" / name
  header = path.read_bytes().splitlines(keepends=True)[0]
  path.write_bytes(header if content is None else content)
  with pytest.raises(DataError, match=f"^{re.escape(str(path))} {message}") as raised:
    read_whole(KuaiRec(raw=str(tmp_path)))
  assert "\n" not in str(raised.value)


def test_a_line_with_a_comma_too_many_is_refused_and_not_shifted(tmp_path: Path) -> None:
  path = two_days(tmp_path) / "data" / BIG
  edit(path, lambda text: text + text.splitlines()[-1].replace(",4000,", ",4,000,") + "\n")
  with pytest.raises(DataError, match=r"is not a CSV with a header \(.* unpack it again"):
    read_whole(KuaiRec(raw=str(tmp_path)))


def test_a_matrix_without_a_complete_row_has_no_day(tmp_path: Path) -> None:
  folder = write(tmp_path / "raw", timeless(), timeless())
  with pytest.raises(DataError, match=r"^kuairec has 0 rows of 0 days; training and day N need"):
    prepare(KuaiRec(raw=str(folder)), tmp_path)


@pytest.fixture(scope="module")
def real() -> Path:
  folder = Path(os.environ.get("RANKING_RAW_DATA", ""), "KuaiRec", "data")
  if "RANKING_RAW_DATA" not in os.environ or not folder.is_dir():
    pytest.skip("set RANKING_RAW_DATA to the folder that holds KuaiRec")
  return folder


@pytest.fixture(scope="module")
def real_rows(real: Path) -> pd.DataFrame:
  return pd.read_csv(real / "kuairec_rows_from_notebooks.csv")


def seconds_of(rows: pd.DataFrame) -> "pd.Series[float]":
  """What `timestamp` says, from `time`, NaN where missing: some rows were published without it."""
  clock = pd.to_datetime(rows.time, format="ISO8601").dt.tz_localize("Asia/Shanghai")
  return (clock - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)


@pytest.mark.parametrize("matrix", ["big", "small"])
def test_real_rows_have_their_times_days_and_ratios(
  tmp_path: Path, real: Path, real_rows: pd.DataFrame, matrix: Any
) -> None:
  rows = real_rows[real_rows.matrix == matrix].drop(columns=["matrix", "source"])
  given = rows.timestamp.notna()
  np.testing.assert_allclose(seconds_of(rows)[given], rows.timestamp[given], rtol=0, atol=1e-4)
  rows = rows.assign(timestamp=rows.timestamp.fillna(seconds_of(rows)))
  for name in (USERS, TAGS, CAPTIONS):
    (tmp_path / name).symlink_to(real / name)
  extra = pd.DataFrame([day_n(user_id=0, video_id=0)])  # the small matrix has rows of one day here
  pd.concat([rows, extra]).to_csv(tmp_path / f"{matrix}_matrix.csv", index=False)
  log = read_whole(KuaiRec(raw=str(tmp_path), matrix=matrix))
  expected = pd.concat([rows.dropna(subset="time"), extra])
  expected = expected.sort_values("timestamp", kind="stable", ignore_index=True)
  assert len(log.time) == len(expected) == {"big": 16, "small": 16}[matrix]
  assert log.cleaning["dropped: rows without a time"] == {"big": 0, "small": 5}[matrix]
  np.testing.assert_array_equal(log.time, np.rint(expected.timestamp * 1000))
  dates = pd.to_datetime(pd.Series(log.day_names))[log.day].dt.strftime("%Y%m%d")
  np.testing.assert_array_equal(dates.astype(int), expected.date.astype(int))
  np.testing.assert_allclose(log.labels.watch_ratio, expected.watch_ratio, rtol=0, atol=1e-6)
  assert log.cleaning["rows whose user has no features"] == 0
  assert log.cleaning["rows whose video has no tags"] == 0
  assert log.cleaning["rows whose video has no caption categories"] == 0


def test_real_users_have_their_published_cardinalities(real: Path, tmp_path: Path) -> None:
  with Engine(tmp_path) as engine:
    users = engine.frame(kuairec._users(engine, real / USERS))
  assert len(users) == 7176
  onehot = (2, 8, 30, 1076, 12, 10, 3, 47, 340, 7, 5, 3, 2, 2, 2, 2, 2, 2)
  published = {
    **{"user_active_degree": 4, "follow_user_num_range": 8, "fans_user_num_range": 7},
    **{"friend_user_num_range": 7, "register_days_range": 7},
    **{f"onehot_feat{k}": size for k, size in enumerate(onehot)},
    **{"follow_user_num": 947, "fans_user_num": 151, "friend_user_num": 102},
    "register_days": 1057,
  }
  assert users[list(published)].nunique().to_dict() == published
  assert (users.is_video_author == "1").mean() == pytest.approx(0.170, abs=5e-4)
  assert (users.is_live_streamer == "1").mean() == pytest.approx(0.007, abs=5e-4)


def test_real_tags_have_their_published_counts(real: Path, tmp_path: Path) -> None:
  with Engine(tmp_path) as engine:
    table = kuairec._read_tags(engine, real / TAGS)
  assert sorted(table["video_id"].to_pylist()) == list(range(10_728))
  lists = table["tags"].to_pylist()
  tags = pd.Series([tag for entry in lists for tag in entry])
  assert tags.nunique() == 31
  assert len(tags) / len(lists) == pytest.approx(1.183, abs=5e-4)
  assert max(map(len, lists)) == 4
  top = {11: 2027, 28: 1360, 8: 1112, 5: 964, 6: 912, 9: 696}
  assert tags.value_counts().head(6).to_dict() == top


def test_real_captions_have_a_category_for_every_video(real: Path) -> None:
  categories = kuairec._read_captions(real / CAPTIONS).to_pandas()
  assert sorted(categories.pop("video_id")) == list(range(10_728))
  # With the unknown. A reader that takes a lone carriage return for the end of a line breaks four
  # records apart, and finds 41 and 139.
  assert (categories.nunique() + 1).tolist() == [39, 138, 220]
