"""KuaiRand-27K: its log lies in four files, of two periods in two parts each, and is one log."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.data.prepare import prepare
from ranking.data.sources.kuairand import KuaiRand
from ranking.data.store import DayStore

FIRST = pd.Timestamp("2022-04-20", tz="Asia/Shanghai").value // 1_000_000  # ms
DAY = 86_400_000
FEEDBACK = ("is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate")


def log_rows(count: int) -> pd.DataFrame:
  """Impressions of four days, two of each period, by user as the parts are."""
  random = np.random.default_rng(0)
  rows = pd.DataFrame({"user_id": np.sort(random.integers(0, 30, count))})
  rows["video_id"] = random.integers(0, 40, count)
  time = FIRST + random.integers(0, 4 * DAY, count)
  rows["date"] = pd.to_datetime(time, unit="ms").strftime("%Y%m%d").astype(int)
  rows["hourmin"] = 1200
  rows["time_ms"] = time
  for name in (*FEEDBACK, "long_view"):
    rows[name] = random.integers(0, 2, count)
  rows["play_time_ms"] = random.integers(0, 60_000, count)
  rows["duration_ms"] = random.integers(3_000, 60_000, count)
  for name in ("profile_stay_time", "comment_stay_time", "is_profile_enter", "is_rand"):
    rows[name] = 0
  rows["tab"] = random.integers(0, 3, count)
  return rows


def users() -> pd.DataFrame:
  numbers = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
  columns: dict[str, Any] = {
    "user_id": range(30),
    "user_active_degree": "full_active",
    "is_lowactive_period": 0,
  }
  columns |= dict.fromkeys(("is_live_streamer", "is_video_author"), 0)
  for name in numbers:
    columns |= {name: range(30), f"{name}_range": "all"}
  return pd.DataFrame(columns | {f"onehot_feat{k}": range(30) for k in range(18)})


def videos() -> pd.DataFrame:
  columns: dict[str, Any] = {"video_id": range(40), "author_id": [k % 7 for k in range(40)]}
  columns |= {"video_type": "NORMAL", "upload_dt": "2022-04-10", "upload_type": "LongImport"}
  columns |= {"visible_status": 0.0, "video_duration": 9000.0, "server_width": 720.0}
  return pd.DataFrame(
    columns | {"server_height": 1280.0, "music_id": 3, "music_type": 9.0, "tag": 5}
  )


def write(folder: Path, version: str, files: dict[str, pd.DataFrame]) -> str:
  """A KuaiRand folder as it is unpacked."""
  data = folder / f"KuaiRand-{version.upper()}" / "data"
  data.mkdir(parents=True)
  features = {f"user_features_{version}": users(), f"video_features_basic_{version}": videos()}
  for name, table in (files | features).items():
    table.to_csv(data / f"{name}.csv", index=False)
  return str(data.parent)


def crcs(store: DayStore) -> list[str]:
  """Of the days' manifests: the same for the same arrays."""
  lines = (store.directory / "crc32.txt").read_text().splitlines()
  return [line for line in lines if "manifest" in line]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, DayStore, DayStore]:
  """The folder of the 27K layout, its store, and the store of the same rows in one file."""
  folder, rows = tmp_path_factory.mktemp("kuairand"), log_rows(800)
  early, first_half = rows.time_ms < FIRST + 2 * DAY, rows.user_id < 15
  parts = {
    f"log_standard_{period}_27k_part{number}": rows[in_period & in_part]
    for period, in_period in (("4_08_to_4_21", early), ("4_22_to_5_08", ~early))
    for number, in_part in ((1, first_half), (2, ~first_half))
  }
  at_random = rows.head(3).assign(is_rand=1, time_ms=FIRST + DAY + np.arange(3))
  raw = write(folder, "27k", {**parts, "log_random_4_22_to_5_08_27k": at_random})
  # Its statistics of videos average over the month, and are not read: not even if they are broken.
  for number in (1, 2, 3):
    (Path(raw) / "data" / f"video_features_statistic_27k_part{number}.csv").write_text("broken")
  whole = write(
    folder, "pure", {"log_standard_4_22_to_5_08_pure": rows.sample(frac=1, random_state=0)}
  )
  store = folder / "store"
  return raw, prepare(KuaiRand(raw=raw), store), prepare(KuaiRand(raw=whole), store)


def test_its_four_files_are_one_log(prepared: tuple[str, DayStore, DayStore]) -> None:
  _, parts, whole = prepared
  assert parts.card["rows_per_day"] == whole.card["rows_per_day"]
  assert sum(parts.card["rows_per_day"]) == 800
  assert len(parts.schema.day_names) == 4
  assert crcs(parts) == crcs(whole)


def test_all_of_its_files_are_in_the_fingerprint(
  prepared: tuple[str, DayStore, DayStore],
) -> None:
  raw, _, _ = prepared
  assert [*KuaiRand(raw=raw).identity()["files"]] == [
    *(f"log_standard_4_08_to_4_21_27k_part{number}.csv" for number in (1, 2)),
    *(f"log_standard_4_22_to_5_08_27k_part{number}.csv" for number in (1, 2)),
    *("user_features_27k.csv", "video_features_basic_27k.csv"),
  ]


def test_its_log_of_videos_at_random_is_read_on_request(
  prepared: tuple[str, DayStore, DayStore], tmp_path: Path
) -> None:
  raw, parts, _ = prepared
  both = prepare(KuaiRand(raw=raw, random_log=True), tmp_path)
  assert sum(both.card["rows_per_day"]) == sum(parts.card["rows_per_day"]) + 3
  assert "is_rand" in [feature.name for feature in both.schema.features]
