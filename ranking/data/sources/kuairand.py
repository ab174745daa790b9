"""KuaiRand (Gao et al., CIKM 2022): impressions of a short-video app with many kinds of feedback.

Reads whichever `log_standard_*` files a KuaiRand folder has (Pure, 1K, or 27K, whose logs come in
parts), with the user features and the basic video features; on request also the log of videos that
were shown at random. The video statistics are never read: they average over the whole month,
evaluation days included. Event time is `time_ms`; the `date` and `hourmin` columns lag behind it.
"""

import dataclasses
import hashlib
import math
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranking.checks import Checks
from ranking.data.schema import DataError, Log, Number, Side, sha256
from ranking.data.sources import published
from ranking.tasks import Task

if TYPE_CHECKING:
  import ibis.expr.types as ir

  from ranking.data.engine import Engine

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
# Columns of the log that are read as numbers, and what their size stays below.
LOG_NUMBERS = {
  **dict.fromkeys(("user_id", "video_id"), 2**31),
  "time_ms": 2**53,
  **dict.fromkeys(("is_click", "is_like", "long_view", *ENGAGED, "is_rand"), 2**7),
  **dict.fromkeys(("play_time_ms", "duration_ms"), 2**31),
  "tab": 2**15,
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
VIDEO_IDS = ("author_id", "video_type", "upload_type", "visible_status", "music_id", "music_type")
VIDEO_SIZES = ("server_width", "server_height")
# Where a duration in ms enters the next bucket of floor(2 log2(seconds)).
BUCKETS = tuple(range(-19, 43))
BUCKET_STARTS = tuple(math.ceil(1000 * 2 ** (k / 2)) for k in BUCKETS)
UNKNOWN = "-124"  # the log's own word


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
  log_version = 2

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

  def log(self, engine: "Engine") -> Log:
    """The log of complete rows; see the module's docstring for what is left out."""
    import ibis  # slow, and only needed here

    logs, user_files, video_files = self._files()
    read = published.read(engine, logs, LOG_NUMBERS, others=True)
    complete = read.filter([read[name].notnull() for name in LOG_NUMBERS])
    distinct = complete.distinct() if self.keep_duplicates else engine.keep(complete.distinct())
    of_read, of_complete, once = (engine.number(t.count()) for t in (read, complete, distinct))
    rows = complete if self.keep_duplicates else distinct
    users = _users(engine, user_files)
    videos = _videos(engine, video_files)
    rows = rows.mutate({name: rows[name].cast("int64") for name in LOG_NUMBERS})
    rows = rows.rename(time="time_ms")
    known = videos.select(known_id="video_id", author_id="author_id", uploaded="uploaded")
    seen = rows.left_join(known, rows.video_id == known.known_id)
    has = seen.duration_ms > 0
    local = seen.time + OFFSET
    rows = engine.keep(
      seen.select(
        *(seen[name] for name in (*LOG_NUMBERS, "author_id", "uploaded") if name != "time_ms"),
        "time",
        day=(local // MS_PER_DAY).cast("int32"),
        hour=(local // MS_PER_HOUR % 24).cast("int32"),
        duration=has.ifelse(seen.duration_ms, None),
        play=seen.play_time_ms.clip(lower=0),
        has_video=seen.known_id.notnull(),
      )
    )
    duplicates = "kept" if self.keep_duplicates else "dropped"
    return Log(
      rows=rows,
      time=rows.time,
      day=rows.day,
      time_zone=TIME_ZONE,
      sides=(Side(users, {"user_id": rows.user_id}), Side(videos, {"video_id": rows.video_id})),
      categorical={
        "user_id": rows.user_id,
        "video_id": rows.video_id,
        "author_id": rows.author_id,
        "tab": rows.tab,
        "hour": rows.hour,
        "day_of_week": (rows.day + 3) % 7,  # 1970 began on a Thursday
        "duration_bucket": (
          rows.duration.bucket([*BUCKET_STARTS, 2**62], include_under=True).cast("int32")
          + (BUCKETS[0] - 1)
        ),
        **{name: users[name] for name in USER_IDS},
        **{name: videos[name] for name in VIDEO_IDS if name != "author_id"},
        **({"is_rand": rows.is_rand} if self.random_log else {}),
      },
      bags={"tags": videos.tags},
      dense={
        **{f"log_{name}": Number(users[name], np.log1p) for name in USER_COUNTS},
        "log_duration": Number(rows.duration, np.log1p),
        "aspect_ratio": Number(videos.aspect_ratio, np.log),
        "video_age_days": Number((rows.time - rows.uploaded) / 1000.0 / 86400.0),
      },
      labels={
        "is_click": Number(rows.is_click),
        "long_view": Number(rows.long_view),
        "is_like": Number(rows.is_like),
        "engaged": Number(ibis.greatest(*(rows[name] for name in ENGAGED))),
        "log_play_seconds": Number(rows.play / 1000.0, np.log1p),
        "watch_ratio": Number((rows.play / rows.duration).clip(upper=5.0)),
      },
      tasks=TASKS,
      entities=("user_id", "video_id", "author_id"),
      rated_tasks=("is_click", "long_view"),
      report_by="tab",  # is_click means another thing on each
      cleaning={
        "dropped: rows with a missing value": of_read - of_complete,
        f"{duplicates}: exact duplicates of an earlier row": of_complete - once,
        "kept: rows with duration 0, watch ratio missing": rows.duration.isnull().sum(),
        "kept: watch ratio above 5, clipped": (rows.play > 5 * rows.duration).sum(),
        "rows whose user has no features": rows.anti_join(users, "user_id").count(),
        "rows whose video has no features": (~rows.has_video).sum(),
      },
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


def _users(engine: "Engine", paths: Sequence[Path]) -> "ir.Table":
  """What is known of each user; of several lines the smallest."""
  numbers = {"user_id": 2**31, **dict.fromkeys(USER_COUNTS, published.EXACT)}
  read = published.read(engine, paths, numbers, USER_IDS)
  users = published.once(read, ["user_id"])
  return engine.keep(
    users.select(
      **{name: users[name].nullif(UNKNOWN) for name in USER_IDS},
      **{name: users[name].clip(lower=0) for name in USER_COUNTS},
      user_id=users.user_id.cast("int64"),
    )
  )


def _videos(engine: "Engine", paths: Sequence[Path]) -> "ir.Table":
  """What is known of each video; of several lines the smallest."""
  import ibis

  sizes = dict.fromkeys(VIDEO_SIZES, published.EXACT)
  numbers = {"video_id": 2**31, "author_id": published.EXACT, "music_id": published.EXACT, **sizes}
  texts = [name for name in VIDEO_IDS if name not in numbers]
  read = published.read(engine, paths, numbers, [*texts, "upload_dt", "tag"])
  videos = published.once(read, ["video_id"])
  midnight = videos.upload_dt.try_cast("date").cast("timestamp").epoch_seconds() * 1000
  ratio = videos.server_width / videos.server_height
  return engine.keep(
    videos.select(
      *texts,
      video_id=videos.video_id.cast("int64"),
      author_id=videos.author_id.cast("int64"),
      music_id=videos.music_id.cast("int64"),
      aspect_ratio=ibis.ifelse((videos.server_width > 0) & (videos.server_height > 0), ratio, None),
      uploaded=midnight - OFFSET,
      tags=videos.tag.split(",").map(lambda tag: tag.strip()).filter(lambda tag: tag != ""),
    )
  )
