"""The KuaiRec-like sample, on which the reader is tried, has the official format and defects."""

import csv
import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ranking.data.schema import DataError
from scripts import make_kuairec_sample as maker
from scripts.make_kuairec_sample import make_sample

ROWS, SMALL_ROWS = 50_000, 1_000

# The columns as the official README lists them.
MATRIX = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio"
DAILY = (
  "video_id,date,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,"
  "video_width,video_height,music_id,video_tag_id,video_tag_name,show_cnt,show_user_num,play_cnt,"
  "play_user_num,play_duration,complete_play_cnt,complete_play_user_num,valid_play_cnt,"
  "valid_play_user_num,long_time_play_cnt,long_time_play_user_num,short_time_play_cnt,"
  "short_time_play_user_num,play_progress,comment_stay_duration,like_cnt,like_user_num,"
  "click_like_cnt,double_click_cnt,cancel_like_cnt,cancel_like_user_num,comment_cnt,"
  "comment_user_num,direct_comment_cnt,reply_comment_cnt,delete_comment_cnt,"
  "delete_comment_user_num,comment_like_cnt,comment_like_user_num,follow_cnt,follow_user_num,"
  "cancel_follow_cnt,cancel_follow_user_num,share_cnt,share_user_num,download_cnt,"
  "download_user_num,report_cnt,report_user_num,reduce_similar_cnt,reduce_similar_user_num,"
  "collect_cnt,collect_user_num,cancel_collect_cnt,cancel_collect_user_num"
)
TIME = r"2020-0[789]-\d\d \d\d:\d\d:\d\d\.(?:\d\d[1-9]|\d[1-9]|\d)"
STAMP = r"159[3-9]\d{6}\.(?:\d\d[1-9]|\d[1-9]|\d)"
RATIO = r"\d+\.\d+"
BIG_LINE = re.compile(rf"\d+,\d+,\d+,\d+,{TIME},20200[789]\d\d,{STAMP},{RATIO}")
SMALL_LINE = re.compile(rf"\d+,\d+,\d+,\d+,(?:{TIME},20200[789]\d\d\.0,{STAMP}|,,),{RATIO}")


@dataclasses.dataclass(frozen=True)
class Sample:
  folder: Path
  big: pd.DataFrame
  small: pd.DataFrame
  daily: pd.DataFrame


def read(folder: Path, name: str) -> pd.DataFrame:
  return pd.read_csv(folder / name, float_precision="round_trip", low_memory=False)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
  folder = tmp_path_factory.mktemp("sample")
  make_sample(folder, ROWS, SMALL_ROWS)
  names = ("big_matrix.csv", "small_matrix.csv", maker.DAILY)
  return Sample(folder, *(read(folder, name) for name in names))


def test_the_files_have_the_official_columns(sample: Sample) -> None:
  assert list(sample.big) == list(sample.small) == MATRIX.split(",")
  assert list(sample.daily) == DAILY.split(",")


def test_every_line_of_the_matrices_has_the_official_text_format(sample: Sample) -> None:
  for name, pattern, rows in (("big", BIG_LINE, ROWS), ("small", SMALL_LINE, SMALL_ROWS)):
    text = (sample.folder / f"{name}_matrix.csv").read_text()
    header, *body, after = text.split("\n")
    assert (header, after, len(body)) == (MATRIX, "", rows)
    assert [line for line in body if not pattern.fullmatch(line)] == []


def test_real_rows_come_out_of_the_formatting_as_they_are() -> None:
  path = Path(
    os.environ.get("RANKING_RAW_DATA", ""), "KuaiRec/data/kuairec_rows_from_notebooks.csv"
  )
  if not path.is_file():
    pytest.skip("set RANKING_RAW_DATA to the folder that holds KuaiRec")
  rows = pd.read_csv(path, dtype=str, keep_default_na=False)
  assert len(rows) == 35
  play, duration = (rows[name].to_numpy(np.int64) for name in ("play_duration", "video_duration"))
  ratio = maker.ratio_text(play, duration).to_pylist()
  for printed, ours in zip(rows.watch_ratio, ratio, strict=True):
    short = re.fullmatch(r"\d\.\d{6}", printed)  # most sources print six decimals
    assert printed == (f"{float(ours):.6f}" if short else ours)
  timed = rows[rows.time != ""]
  local = pd.to_datetime(timed.time, format="ISO8601").dt.tz_localize("Asia/Shanghai")
  ms = local.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[ms]").astype(np.int64)
  assert maker.time_text(ms).to_pylist() == timed.time.tolist()
  assert maker.date_number(ms).astype(str).tolist() == timed.date.tolist()
  stamped = (timed.timestamp != "").to_numpy()
  assert maker.timestamp_text(ms[stamped]).to_pylist() == timed.timestamp[stamped].tolist()


def test_time_date_timestamp_and_watch_ratio_agree_in_every_row(sample: Sample) -> None:
  for matrix in (sample.big, sample.small.dropna()):
    time = pd.to_datetime(matrix.time, format="ISO8601")
    utc = pd.to_datetime((matrix.timestamp * 1000).round().astype("int64"), unit="ms")
    assert (time - utc == pd.Timedelta(hours=8)).all()
    assert (time.dt.strftime("%Y%m%d").astype(int) == matrix.date).all()
    ratio = matrix.play_duration / matrix.video_duration
    np.testing.assert_allclose(matrix.watch_ratio, ratio, rtol=1e-11, atol=2e-16)


def test_rows_are_in_order_of_users_and_not_of_time_and_some_repeat(sample: Sample) -> None:
  big = sample.big
  assert big.user_id.is_monotonic_increasing
  assert (big.timestamp.diff() < 0).sum() > 0.9 * big.user_id.nunique()
  assert big.duplicated().sum() == round(ROWS * 968_004 / 12_530_806)


def test_rows_lie_in_the_three_windows(sample: Sample) -> None:
  july, august = range(20200705, 20200713), range(20200801, 20200811)
  windows = [*july, *august, *range(20200827, 20200832), *range(20200901, 20200906)]
  assert sorted(sample.big.date.unique()) == windows


def test_the_small_matrix_has_other_pairs_once_each_and_some_without_a_time(sample: Sample) -> None:
  pairs = ["user_id", "video_id"]
  assert not sample.small.duplicated(pairs).any()
  assert len(sample.small.merge(sample.big[pairs].drop_duplicates(), on=pairs)) == 0
  missing = sample.small[["time", "date", "timestamp"]].isna().sum(axis=1)
  assert set(missing) == {0, 3}


def test_totals_of_a_day_include_the_samples_own_plays_and_some_days_come_twice(
  sample: Sample,
) -> None:
  key = ["video_id", "date"]
  rows = pd.concat([sample.big, sample.small.dropna().astype({"date": int})])
  own = rows.groupby(key).agg(plays=("user_id", "size"), ms=("play_duration", "sum"))
  both = sample.daily.merge(own.reset_index(), on=key)
  assert len(both) > 5_000
  assert (both.play_cnt >= both.plays).all()
  assert (both.play_duration >= both.ms).all()
  assert sample.daily.duplicated(key).any()
  # Whichever of them a reader keeps, the totals are the same.
  totals = list(sample.daily.columns[sample.daily.columns.get_loc("show_cnt") :])
  assert (sample.daily.groupby(key)[totals].nunique() <= 1).all(axis=None)


def test_made_up_captions_need_a_tolerant_reader_and_survive_one(sample: Sample) -> None:
  path = sample.folder / "kuairec_caption_category.csv"
  with path.open(newline="", encoding="utf-8") as file:
    text = file.read()
  assert len(list(csv.reader(text.splitlines(keepends=True)))) != 1 + 10_728
  lines = (line.replace("\r", " ") + "\n" for line in text.split("\n")[:-1])
  rows = list(csv.DictReader(lines))
  assert [int(row["video_id"]) for row in rows] == list(range(10_728))
  assert rows[3]["caption"] == '他说"好看"的'
  assert rows[6]["caption"] == "第一行\n第二行"


def test_a_real_features_folder_has_the_header_that_is_made_up_without_it() -> None:
  folder = Path(os.environ.get("RANKING_RAW_DATA", ""), "KuaiRec", "data")
  if "RANKING_RAW_DATA" not in os.environ or not folder.is_dir():
    pytest.skip("set RANKING_RAW_DATA to the folder that holds KuaiRec")
  for name, make in maker.MAKERS.items():
    if (folder / name).is_file():
      assert (folder / name).read_text("utf-8").split("\n")[0] == make(0).split("\n")[0]


def test_a_sample_depends_on_its_seed_and_not_on_how_it_was_written(tmp_path: Path) -> None:
  def contents(name: str, seed: int, chunk_rows: int = 250_000) -> dict[str, bytes]:
    make_sample(tmp_path / name, 3000, 200, seed=seed, chunk_rows=chunk_rows)
    return {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())}

  one, other = contents("a", 1), contents("b", 2)
  assert one == contents("c", 1, chunk_rows=700)
  assert [name for name in one if one[name] == other[name]] == []
  assert one["README.txt"].startswith(b"This is a sample, not KuaiRec data.\n")


def test_bad_input_is_refused_and_what_is_no_sample_is_left_alone(tmp_path: Path) -> None:
  with pytest.raises(DataError, match=r"^--rows=999 is too few for a sample; give at least 1000$"):
    make_sample(tmp_path / "out", 999)
  assert not (tmp_path / "out").exists()
  (tmp_path / "notes.md").write_text("mine")
  with pytest.raises(DataError, match=r"holds notes\.md, which is not of a sample; give a new"):
    make_sample(tmp_path, 1000)
  assert [path.name for path in tmp_path.iterdir()] == ["notes.md"]
