"""KuaiRand (Gao et al., CIKM 2022): impressions of a short-video app with many kinds of feedback.

Reads whichever `log_standard_*` files a KuaiRand folder has (Pure, 1K, or 27K, whose logs come in
parts), with the user features and the basic video features; on request also the log of videos that
were shown at random. The video statistics are never read: they average over the whole month,
evaluation days included. Event time is `time_ms`; the `date` and `hourmin` columns lag behind it.
"""

import dataclasses
import hashlib
import re
import shutil
import tarfile
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ranking.array import Array
from ranking.checks import Checks
from ranking.data.schema import Bag, DataError, Log, sha256
from ranking.data.sources import csv_file
from ranking.tasks import Task

MS_PER_HOUR, MS_PER_DAY = 3_600_000, 86_400_000
TIME_ZONE, OFFSET = "Asia/Shanghai", 8 * MS_PER_HOUR  # UTC+8, without summer time
URL = "https://zenodo.org/records/10439422/files/KuaiRand-{version}.tar.gz"
DOWNLOADS = Path("data/raw")
MD5 = {
  "Pure": "0820331067a3784d9691136f772b35a7",
  "1K": "6b0b9c8222d67fcd4c676218edca3f1f",
  "27K": "3e3c799a24e2d23a4d2c757fbf9adf59",
}
TASKS = (
  Task("is_click", "binary"),
  Task("long_view", "binary"),
  Task("is_like", "binary"),
  Task("engaged", "binary"),
  Task("log_play_seconds", "regression"),
  Task("watch_ratio", "regression"),
)
ENGAGED = ("is_profile_enter", "is_comment", "is_follow", "is_forward")
LOG_TYPES = {
  **dict.fromkeys(("user_id", "video_id"), np.int32),
  "time_ms": np.int64,
  **dict.fromkeys(("is_click", "is_like", "long_view", *ENGAGED, "is_rand"), np.int8),
  **dict.fromkeys(("play_time_ms", "duration_ms"), np.int32),
  "tab": np.int16,
}
USER_IDS = (
  "user_active_degree",
  "is_live_streamer",
  "is_video_author",
  "follow_user_num_range",
  "fans_user_num_range",
  "friend_user_num_range",
  "register_days_range",
  *(f"onehot_feat{k}" for k in range(18)),
)
USER_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
VIDEO_NUMBERS = ("author_id", "music_id")  # ids that are too many for a category
VIDEO_KINDS = ("video_type", "upload_type", "visible_status", "music_type")
VIDEO_IDS = ("author_id", "video_type", "upload_type", "visible_status", "music_id", "music_type")
VIDEO_SIZES = ("server_width", "server_height")
UNKNOWN = -124  # the log's own word


class Tables(NamedTuple):
  """What is known of users and videos, in order of their ids, int32.

  Columns of few values are categories: 27K has 32 million videos.
  """

  users: pd.DataFrame  # USER_IDS, and log1p of USER_COUNTS as float64
  videos: pd.DataFrame  # VIDEO_IDS, aspect_ratio, uploaded in ms since epoch UTC, tag
  tag_lists: list[list[Hashable]]  # by code of `tag`


@dataclasses.dataclass(frozen=True)
class KuaiRand:
  """The log of the standard policy, one day per Asia/Shanghai calendar day of `time_ms`.

  Attributes:
    raw: an unpacked KuaiRand folder, such as ".../KuaiRand-Pure"; downloaded to data/raw when None.
    version: what to download: "Pure" (194 MB), "1K" (4.3 GB) or "27K" (46 GB).
    keep_duplicates: keep rows that repeat an earlier row in every column.
    random_log: read the videos shown at random too; which row is one becomes the feature is_rand.

  Raises DataError for an option that it has not.
  """

  raw: str | None = None
  version: str = "Pure"
  keep_duplicates: bool = False
  random_log: bool = False

  name = "kuairand"
  log_version = 1

  def __post_init__(self) -> None:
    check = Checks("KuaiRand", DataError)
    check.choice("version", self.version, tuple(MD5))
    check.flag("keep_duplicates", self.keep_duplicates)
    check.flag("random_log", self.random_log)
    if self.raw is not None:
      check.text("raw", self.raw, "the path of an unpacked KuaiRand")
      if self.version != "Pure":
        check.refuse("version", self.version, "it is downloaded: leave it out beside raw")

  def identity(self) -> dict[str, Any]:
    """The raw files with their sha256, and the options that change what is read."""
    files = {path.name: sha256(path) for part in self._files() for path in part}
    options = {"keep_duplicates": self.keep_duplicates, "random_log": self.random_log}
    return {"files": files, **options}

  def parts(self) -> list[str]:
    """The paths of the logs, in order of time."""
    return [str(path) for path in self._files()[0]]

  def read(self, part: str) -> Iterator[tuple[pd.DataFrame, dict[str, int]]]:
    """Complete rows in the order of the file: see `_clean`."""
    path = Path(part)
    limits = {name: int(np.iinfo(kind).max) + 1 for name, kind in LOG_TYPES.items()}
    for chunk in csv_file.chunks(path, dict.fromkeys(LOG_TYPES), ids=None):
      yield _clean(csv_file.checked(path, chunk, limits))

  def tables(self) -> Tables:
    """The features of users and videos."""
    _, users, videos = self._files()
    return Tables(_read_users(users), *_read_videos(videos))

  def describe(self, rows: pd.DataFrame, tables: Tables) -> Log:
    """The log of complete rows; see the module's docstring for what is left out."""
    dates, day = np.unique(rows.day, return_inverse=True)
    users, no_user = _look_up(tables.users, rows.user_id)
    videos, no_video = _look_up(tables.videos, rows.video_id)
    duration = rows.duration_ms.where(rows.duration_ms > 0)
    cleaning = {
      "kept: rows with duration 0, watch ratio missing": int((rows.duration_ms <= 0).sum()),
      "kept: watch ratio above 5, clipped": int((rows.play_time_ms > 5 * duration).sum()),
      "rows whose user has no features": no_user,
      "rows whose video has no features": no_video,
    }
    return Log(
      time=rows.time.to_numpy(),
      day=day.astype(np.int32),
      day_names=[str(date) for date in dates.astype("datetime64[D]")],
      time_zone=TIME_ZONE,
      categorical=_categorical(rows, users, videos, self.random_log),
      bags={"tags": _tags(videos.tag, tables.tag_lists)},
      dense=_dense(rows, users, videos),
      labels=_labels(rows),
      tasks=TASKS,
      entities=("user_id", "video_id", "author_id"),
      rated_tasks=("is_click", "long_view"),
      cleaning=cleaning,
      report_by="tab",  # is_click means another thing on each
    )

  def _files(self) -> list[list[Path]]:
    """The files of the log in order of time, of the users, and of the videos."""
    folder = Path(self.raw) if self.raw else download(self.version, DOWNLOADS)
    if not folder.is_dir():
      raise DataError(f"RAW folder {folder} is not there; give the path of an unpacked KuaiRand")
    if (folder / "data").is_dir():
      folder = folder / "data"

    def find(pattern: str) -> list[Path]:
      if found := sorted(folder.glob(pattern)):
        return found
      raise DataError(f"{folder} has no {pattern}; give RAW the path of an unpacked KuaiRand")

    logs = find("log_standard_*.csv") + (find("log_random_*.csv") if self.random_log else [])
    return [logs, find("user_features_*.csv"), find("video_features_basic_*.csv")]


def download(version: str, directory: Path) -> Path:
  """Downloads and unpacks one version of KuaiRand, once; returns its folder.

  Raises DataError when the archive cannot be had or does not have the published md5.
  """
  import tensorflow_datasets as tfds  # slow to import, and only needed here

  folder = directory / f"KuaiRand-{version}"
  if folder.is_dir():
    return folder
  url = URL.format(version=version)
  try:
    archive = tfds.download.DownloadManager(download_dir=str(directory / "downloads")).download(url)
  except Exception as error:
    raise DataError(
      f"cannot download {url} ({type(error).__name__}); download it elsewhere and give its "
      "unpacked folder as RAW=path"
    ) from error
  if (digest := _md5(Path(archive))) != MD5[version]:
    Path(archive).unlink()
    raise DataError(f"{url} has md5 {digest}, expected {MD5[version]}; removed it, try again")
  unpacked = directory / f"KuaiRand-{version}.partial"
  with tarfile.open(archive) as tar:
    # Python before 3.10.12 and 3.11.4 has no filters; the md5 says whose archive it is.
    tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
    tar.extractall(unpacked)
  (unpacked / f"KuaiRand-{version}").rename(folder)
  shutil.rmtree(unpacked)
  return folder


def _md5(path: Path) -> str:
  with open(path, "rb") as file:
    digest = hashlib.md5(usedforsecurity=False)
    while block := file.read(1 << 20):
      digest.update(block)
  return digest.hexdigest()


def _clean(chunk: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
  """The complete rows of any part of a log, and how many are not.

  Columns: LOG_TYPES, with `time` for time_ms; day, int32, days since 1970 in UTC+8; rest, uint64, a
  hash of all other columns: only a row that repeats those too is a duplicate.
  """
  complete = chunk[list(LOG_TYPES)].notna().all(axis=1)
  counts = {"dropped: rows with a missing value": int((~complete).sum())}
  rest = _hash(chunk.drop(columns=list(LOG_TYPES)))[complete]
  piece = chunk.loc[complete, list(LOG_TYPES)].astype(LOG_TYPES)
  piece = piece.rename(columns={"time_ms": "time"})
  return piece.assign(day=((piece.time + OFFSET) // MS_PER_DAY).astype(np.int32), rest=rest), counts


def _hash(ids: pd.DataFrame) -> Array:
  """uint64 [n], of rows of categories: the same for 5, 5.0 and "5"."""
  total = np.zeros(len(ids), np.uint64)
  for _, column in sorted(ids.items()):
    names = csv_file.text(pd.Series(column.cat.categories)).to_numpy()
    hashes = np.append(pd.util.hash_array(names), np.uint64(0))  # code −1, missing, reads the last
    total = total * np.uint64(1_000_003) + hashes[column.cat.codes]
  return total


def _chunks(
  paths: Sequence[Path], key: str, numbers: Sequence[str], ids: Sequence[str], texts: Sequence[str]
) -> Iterator[pd.DataFrame]:
  """Lines of some files that say of which user or video they are: `key`, int32, says it."""
  for path in paths:
    for chunk in csv_file.chunks(path, dict.fromkeys((key, *numbers)), texts, ids):
      checked = csv_file.checked(path, chunk, {key: 2**31})
      yield checked.dropna(subset=key).astype({key: np.int32})


def _by_id(chunks: Iterable[pd.DataFrame], key: str) -> pd.DataFrame:
  """Chunks as one table in order of `key`; of several lines the first counts."""
  table = csv_file.whole(chunks)
  ids, first = np.unique(table.pop(key), return_index=True)
  return table.iloc[first].set_axis(ids)


def _read_users(paths: Sequence[Path]) -> pd.DataFrame:
  users = _by_id(_chunks(paths, "user_id", USER_COUNTS, USER_IDS, ()), "user_id")
  kinds = {name: users[name].cat for name in USER_IDS}
  known = {
    name: kind.set_categories(kind.categories[kind.categories != UNKNOWN])
    for name, kind in kinds.items()
  }
  counts = np.log1p(users[list(USER_COUNTS)].astype(np.float64).clip(lower=0))
  return pd.DataFrame(known).join(counts.add_prefix("log_"))


def _read_videos(paths: Sequence[Path]) -> tuple[pd.DataFrame, list[list[Hashable]]]:
  def chunks() -> Iterator[pd.DataFrame]:
    numbers, texts = (*VIDEO_NUMBERS, *VIDEO_SIZES), ("upload_dt", "tag")
    for chunk in _chunks(paths, "video_id", numbers, VIDEO_KINDS, texts):
      width, height = (chunk.pop(name) for name in VIDEO_SIZES)
      ratio = np.log(width.where(width > 0) / height.where(height > 0))
      # The same type in all blocks, whether a video of it has no author or all have one.
      chunk = chunk.astype(dict.fromkeys(VIDEO_NUMBERS, np.float64))
      yield chunk.assign(aspect_ratio=ratio.astype("category"))

  videos = _by_id(chunks(), "video_id")
  date = videos.upload_dt.cat
  midnight = pd.to_datetime(date.categories, format="ISO8601", errors="coerce", utc=True)
  uploaded = (midnight - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(milliseconds=1) - OFFSET
  videos = videos.drop(columns="upload_dt").assign(
    uploaded=pd.Categorical(np.append(uploaded, np.nan)[date.codes])
  )
  tags = [re.split(r"\s*,\s*", entry) for entry in videos.tag.cat.categories]
  return videos, [[tag for tag in entry if tag] for entry in tags]


def _look_up(table: pd.DataFrame, ids: "pd.Series[int]") -> tuple[pd.DataFrame, int]:
  """Lines of a table for some ids, numbered from 0, missing where it has none; and of how many.

  It is searched, as the hash table that pandas makes of an index is larger than the table.
  """
  known, sought = table.index.to_numpy(), ids.to_numpy()
  place = np.searchsorted(known, sought)
  there = place < len(known)
  there[there] = known[place[there]] == sought[there]
  place = np.where(there, place, -1)
  found = {name: column.array.take(place, allow_fill=True) for name, column in table.items()}
  return pd.DataFrame(found), int((~there).sum())


def _categorical(
  rows: pd.DataFrame, users: pd.DataFrame, videos: pd.DataFrame, random_log: bool
) -> pd.DataFrame:
  duration = rows.duration_ms.where(rows.duration_ms > 0)
  return pd.DataFrame(
    {
      "user_id": rows.user_id,
      "video_id": rows.video_id,
      "author_id": videos.author_id,
      "tab": rows.tab,
      "hour": ((rows.time + OFFSET) // MS_PER_HOUR % 24).astype(np.int8),
      "day_of_week": ((rows.day + 3) % 7).astype(np.int8),  # 1970 began on a Thursday
      "duration_bucket": np.floor(2.0 * np.log2(duration / 1000.0)),
      **{name: users[name] for name in USER_IDS},
      **{name: videos[name] for name in VIDEO_IDS if name != "author_id"},
      **({"is_rand": rows.is_rand} if random_log else {}),
    }
  )


def _dense(rows: pd.DataFrame, users: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
  return pd.DataFrame(
    {
      **{f"log_{name}": users[f"log_{name}"] for name in USER_COUNTS},
      "log_duration": np.log1p(rows.duration_ms.where(rows.duration_ms > 0)),
      "aspect_ratio": videos.aspect_ratio.astype(np.float64),
      "video_age_days": (rows.time - videos.uploaded.astype(np.float64)) / 1000.0 / 86400.0,
    }
  )


def _labels(rows: pd.DataFrame) -> pd.DataFrame:
  play = rows.play_time_ms.clip(lower=0)
  return pd.DataFrame(
    {
      "is_click": rows.is_click,
      "long_view": rows.long_view,
      "is_like": rows.is_like,
      "engaged": rows[list(ENGAGED)].max(axis=1),
      "log_play_seconds": np.log1p(play / 1000.0),
      "watch_ratio": (play / rows.duration_ms.where(rows.duration_ms > 0)).clip(upper=5.0),
    }
  ).astype(np.float32)


def _tags(tag: "pd.Series[Any]", tag_lists: list[list[Hashable]]) -> Bag:
  index, codes = pd.factorize(tag.cat.codes.to_numpy())
  lists = [*tag_lists, []]  # no tag, or no such video, has code −1
  return Bag([lists[code] for code in codes], index)
