"""KuaiRec 2.0 (Gao et al., CIKM 2022): who watched which short video for how long.

Reads one of the two matrices with the features of users and videos. Event time is `timestamp`, and
days are those of UTC+8. The big matrix has three windows of days; a day without rows is no day of
the log. The totals of `item_daily_features.csv` hold the very views that are predicted: a row sees
those of the day before its own, and of its video nothing first written down on its own day.
"""

import ast
import dataclasses
import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from ranking.array import Array
from ranking.checks import Checks
from ranking.data.schema import Bag, DataError, Log, sha256
from ranking.data.sources import csv_file
from ranking.tasks import Task

RECORD = "https://zenodo.org/records/18164998"
USERS, TAGS = "user_features.csv", "item_categories.csv"
CAPTIONS, DAILY = "kuairec_caption_category.csv", "item_daily_features.csv"
MS_PER_HOUR, MS_PER_DAY = 3_600_000, 86_400_000
TIME_ZONE, OFFSET = "Asia/Shanghai", 8 * MS_PER_HOUR  # UTC+8, without summer time
TASKS = (
  Task("effective_view", "binary"),
  Task("complete", "binary"),
  Task("rewatch", "binary"),
  Task("long_play", "binary"),
  Task("log_play_seconds", "regression"),
  Task("watch_ratio", "regression"),
)
# The median watch ratio is 0.73, so 0.7 halves the rows: the most even task there is.
EFFECTIVE, REWATCH, LONGEST_RATIO = 0.7, 2.0, 5.0
# The platform also counts a shorter video that was complete, which would repeat that task.
LONG_PLAY_MS = 18_000
# Exclusive limits of what columns hold: ids and ms fit int32, seconds since 1970 are not in ms.
ID, COUNT = 2**31, 2**53
LOG_NUMBERS = {
  **dict.fromkeys(("user_id", "video_id", "play_duration", "video_duration"), ID),
  "timestamp": 2**32,
}
DAILY_KEYS = {"video_id": ID, "date": COUNT}
USER_IDS = (
  "user_active_degree",
  "is_lowactive_period",
  "is_live_streamer",
  "is_video_author",
  "follow_user_num_range",
  "fans_user_num_range",
  "friend_user_num_range",
  "register_days_range",
  *(f"onehot_feat{k}" for k in range(18)),
)
USER_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
VIDEO_IDS = ("author_id", "video_type", "upload_type", "music_id", "video_tag_id")
SIZES = ("show_cnt", "play_cnt")
PLAYS = ("complete_play_cnt", "valid_play_cnt", "long_time_play_cnt")
REACTIONS = ("like_cnt", "comment_cnt", "follow_cnt", "share_cnt")
PRIOR_PLAYS = 100.0  # a video's rate starts at that of all videos on the day, with this weight
LEVELS = tuple(f"{level}_level_category" for level in ("first", "second", "third"))
SECONDS = (3, 5, 7, 9, 11, 14, 18, 30, 60, 120)  # where a video's length enters its next bucket


class Tables(NamedTuple):
  """What is known of users and videos, as the readers below have it; None = no such file."""

  users: pd.DataFrame
  tag_lists: list[list[Hashable]]
  tags: "pd.Series[int]"
  captions: pd.DataFrame | None
  daily: pd.DataFrame | None


@dataclasses.dataclass(frozen=True)
class KuaiRec:
  """One matrix of KuaiRec 2.0, one day per UTC+8 calendar day that has rows.

  `item_daily_features.csv` and `kuairec_caption_category.csv` are left out where they are absent;
  without the former there is no author.

  Attributes:
    raw: an unpacked KuaiRec folder; it is not downloaded.
    matrix: "big" (12.5 M rows), or "small" (4.7 M), where 1,411 users saw all of 3,327 videos.
    keep_duplicates: keep rows that repeat an earlier row in every column.

  Raises DataError for an option that it has not.
  """

  raw: str | None = None
  matrix: Literal["big", "small"] = "big"
  keep_duplicates: bool = False

  name = "kuairec"
  log_version = 1

  def __post_init__(self) -> None:
    check = Checks("KuaiRec", DataError)
    check.choice("matrix", self.matrix, ("big", "small"))
    check.flag("keep_duplicates", self.keep_duplicates)
    if self.raw is not None:
      check.text("raw", self.raw, "the path of an unpacked KuaiRec")

  def identity(self) -> dict[str, Any]:
    """The raw files with their sha256, and the option that changes what is read of them."""
    files = {name: sha256(path) for name, path in self._files().items()}
    return {"files": files, "keep_duplicates": self.keep_duplicates}

  def parts(self) -> list[str]:
    """The path of the matrix."""
    return [str(self._files()[f"{self.matrix}_matrix.csv"])]

  def read(self, part: str) -> Iterator[tuple[pd.DataFrame, dict[str, int]]]:
    """Cleaned rows in the order of the file: see `_clean`."""
    files = self._files()
    of_log = {}  # told once, with the first piece
    if DAILY in files:
      lines = csv_file.whole(csv_file.chunks(files[DAILY], DAILY_KEYS)).dropna()
      of_log["dropped: daily totals that repeat a video and date"] = int(lines.duplicated().sum())
    for chunk in csv_file.chunks(Path(part), LOG_NUMBERS):
      piece, counts = _clean(chunk)
      yield piece, {**counts, **of_log}
      of_log = {}

  def tables(self) -> Tables:
    """The features of users and videos."""
    files = self._files()
    return Tables(
      _read_users(files[USERS]),
      *_read_tags(files[TAGS]),
      _read_captions(files[CAPTIONS]) if CAPTIONS in files else None,
      _read_daily(files[DAILY]) if DAILY in files else None,
    )

  def describe(self, rows: pd.DataFrame, tables: Tables) -> Log:
    """The log of cleaned rows; see the module's docstring for what a row sees."""
    dates, day = np.unique(rows.day, return_inverse=True)
    users = tables.users.reindex(rows.user_id)
    tags = tables.tags.reindex(rows.video_id, fill_value=len(tables.tag_lists) - 1).to_numpy()
    cleaning = {
      "kept: rows with duration 0, watch ratio missing": int((rows.duration <= 0).sum()),
      "kept: watch ratio above 5, clipped": int((_ratio(rows) > LONGEST_RATIO).sum()),
      "rows whose user has no features": int((~rows.user_id.isin(tables.users.index)).sum()),
      "rows whose video has no tags": int((tags == len(tables.tag_lists) - 1).sum()),
    }
    ids = [_categorical(rows), users[list(USER_IDS)]]
    dense = [_dense(rows), users[[f"log_{name}" for name in USER_COUNTS]]]
    if tables.captions is not None:
      ids.append(tables.captions.reindex(rows.video_id))
      cleaning["rows whose video has no caption categories"] = int(ids[-1].isna().all(axis=1).sum())
    else:
      cleaning[f"without {CAPTIONS}: rows"] = len(rows)
    if tables.daily is not None:
      static, totals = _before(tables.daily, rows.video_id, rows.day.to_numpy(np.int64))
      cleaning["rows whose video has no totals of the day before"] = int(
        totals.isna().all(axis=1).sum()
      )
      ids.append(static)
      dense.append(totals)
    else:
      cleaning[f"without {DAILY}: rows"] = len(rows)
    return Log(
      time=rows.time.to_numpy(),
      day=day.astype(np.int32),
      day_names=[str(date) for date in dates.astype("datetime64[D]")],
      time_zone=TIME_ZONE,
      categorical=_side_by_side(*ids),
      bags={"tags": Bag(tables.tag_lists, tags)},
      dense=_side_by_side(*dense),
      labels=_labels(rows),
      tasks=TASKS,
      entities=("user_id", "video_id", *(("author_id",) if tables.daily is not None else ())),
      rated_tasks=("effective_view", "long_play"),
      cleaning=cleaning,
      report_by="duration_bucket",  # how far people watch is above all a matter of length
    )

  def _files(self) -> dict[str, Path]:
    """Path by name of the files to read."""
    if self.raw is None:
      raise DataError(
        f"KuaiRec is not downloaded; unpack KuaiRec.zip of {RECORD} and give its folder as RAW=path"
      )
    folder = Path(self.raw)
    if not folder.is_dir():
      raise DataError(f"RAW folder {folder} is not there; give the path of an unpacked KuaiRec")
    if (folder / "data").is_dir():
      folder = folder / "data"
    needed = (f"{self.matrix}_matrix.csv", USERS, TAGS)
    for name in needed:
      if not (folder / name).is_file():
        raise DataError(f"{folder} has no {name}; give RAW the path of an unpacked KuaiRec 2.0")
    optional = [name for name in (CAPTIONS, DAILY) if (folder / name).is_file()]
    return {name: folder / name for name in (*needed, *optional)}


def _clean(chunk: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
  """The complete rows of any part of a matrix, and how many are not.

  Columns: time, int64, ms since epoch UTC; day, int32, days since 1970 in UTC+8; user_id, video_id,
  int32; play, duration, int32, ms. Those that are not read (time, date, watch_ratio) follow from
  them: rows that are the same here are the same in the file.
  """
  timeless = chunk.timestamp.isna()
  incomplete = chunk[list(LOG_NUMBERS)].isna().any(axis=1) & ~timeless
  counts = {
    "dropped: rows without a time": int(timeless.sum()),
    "dropped: rows with another missing value": int(incomplete.sum()),
  }
  chunk = chunk[~timeless & ~incomplete]
  time = (chunk.timestamp * 1000).round().astype(np.int64)
  piece = {
    "time": time,
    "day": (time + OFFSET) // MS_PER_DAY,
    "user_id": chunk.user_id,
    "video_id": chunk.video_id,
    "play": chunk.play_duration,
    "duration": chunk.video_duration,
  }
  return pd.DataFrame(piece).astype({name: np.int32 for name in piece if name != "time"}), counts


def _ratio(frame: pd.DataFrame) -> "pd.Series[float]":
  """Play time over duration, NaN for a video without one."""
  return frame.play.clip(lower=0) / frame.duration.where(frame.duration > 0)


def _labels(frame: pd.DataFrame) -> pd.DataFrame:
  """float32 [n, 6] in the order of TASKS."""
  ratio = _ratio(frame)
  known = ratio.notna()
  return pd.DataFrame(
    {
      "effective_view": (ratio >= EFFECTIVE).astype(np.float32).where(known),
      "complete": (ratio >= 1).astype(np.float32).where(known),
      "rewatch": (ratio > REWATCH).astype(np.float32).where(known),
      "long_play": (frame.play >= LONG_PLAY_MS).astype(np.float32),
      "log_play_seconds": np.log1p(frame.play.clip(lower=0) / 1000.0).astype(np.float32),
      "watch_ratio": ratio.clip(upper=LONGEST_RATIO).astype(np.float32),
    }
  )


def _categorical(frame: pd.DataFrame) -> pd.DataFrame:
  """What a row itself says."""
  local = frame.time + OFFSET
  edges = [0, *SECONDS]
  lengths = [f"{low} to {high} s" for low, high in zip(edges, SECONDS, strict=False)]
  return pd.DataFrame(
    {
      "user_id": frame.user_id,
      "video_id": frame.video_id,
      "hour": (local // MS_PER_HOUR % 24).astype(np.int8),
      "day_of_week": ((frame.day + 3) % 7).astype(np.int8),  # 1970 began on a Thursday
      "duration_bucket": pd.cut(
        frame.duration.where(frame.duration > 0) / 1000.0,
        [*edges, np.inf],
        right=False,
        labels=[*lengths, f"{SECONDS[-1]} s or more"],
      ),
    }
  )


def _dense(frame: pd.DataFrame) -> pd.DataFrame:
  duration = frame.duration.where(frame.duration > 0)
  return pd.DataFrame({"log_duration": np.log1p(duration).astype(np.float32)})


def _side_by_side(*frames: pd.DataFrame) -> pd.DataFrame:
  """Frames of the same rows as one, numbered from 0."""
  return pd.concat([frame.reset_index(drop=True) for frame in frames], axis=1)


def _read_users(path: Path) -> pd.DataFrame:
  """Reads, by user_id, USER_IDS as text, and log1p of USER_COUNTS as float32."""
  numbers = {"user_id": ID, **dict.fromkeys(USER_COUNTS, COUNT)}
  users = csv_file.whole(csv_file.chunks(path, numbers, USER_IDS))
  # A second line of the same user would be another user.
  users = users.dropna(subset="user_id").drop_duplicates("user_id")
  counts = np.log1p(users[list(USER_COUNTS)].clip(lower=0)).astype(np.float32)
  table = users[list(USER_IDS)].join(counts.add_prefix("log_"))
  return table.set_index(pd.Index(users.user_id.astype(np.int32)))


def _read_tags(path: Path) -> tuple[list[list[Hashable]], "pd.Series[int]"]:
  """The distinct lists of tags, and which of them a video_id has, int32; the last is for none."""
  table = csv_file.whole(csv_file.chunks(path, {"video_id": ID}, ("feat",)))
  table = table.dropna().drop_duplicates("video_id")
  index, distinct = pd.factorize(table.feat)
  lists: list[list[Hashable]] = []
  for k, text in enumerate(distinct):
    tags = _list_of_ids(text)
    if tags is None:
      line = int(table.index[index == k][0]) + 2
      raise DataError(
        f"{path} line {line} column feat holds {text!r} where a list such as [27, 9] belongs; "
        "mend or remove the line"
      )
    lists.append(tags)
  return [*lists, []], pd.Series(index.astype(np.int32), table.video_id.astype(np.int32))


def _list_of_ids(text: str) -> list[Hashable] | None:
  """The list that a text holds, or None."""
  try:
    ids = ast.literal_eval(text)
  except (ValueError, SyntaxError, MemoryError, RecursionError):
    return None
  return ids if isinstance(ids, list) and all(isinstance(number, int) for number in ids) else None


def _read_captions(path: Path) -> pd.DataFrame:
  """Reads, by video_id, the category ids of the three LEVELS, as text.

  Captions hold quotes, line ends and carriage returns of their own, which no CSV reader takes in
  the same way: a record is known by its end, three ids with their names.
  """
  ends = re.compile(r",(-?\d+),[^,]*,(-?\d+),[^,]*,(-?\d+),[^,]*$")
  try:
    header, *lines = path.read_bytes().decode("utf-8").replace("\r\n", "\n").split("\n")
  except UnicodeDecodeError as error:
    raise DataError(f"{path} is not UTF-8 text ({error}); unpack it again") from error
  names = [name for level in LEVELS for name in (f"{level}_id", f"{level}_name")]
  if header.split(",")[:1] + header.split(",")[-6:] != ["video_id", *names]:
    raise DataError(
      f"{path} begins with {header[:60]!r}; its columns are video_id, …, {', '.join(names)}"
    )
  categories: dict[int, tuple[str | None, ...]] = {}
  start = 0  # of the record
  for number, line in enumerate(lines):
    found, video = ends.search(line), re.match(r"(\d{1,9}),", lines[start])
    if found and video:
      known = tuple(None if value == "-124" else value for value in found.groups())
      categories.setdefault(int(video[1]), known)
      start = number + 1
  if any(lines[start:]):
    raise DataError(
      f"{path} line {start + 2} begins with {lines[start][:20]!r} where a video_id, its captions "
      "and three category ids belong; mend or remove the line"
    )
  if not categories:
    raise DataError(f"{path} has a header and no rows; unpack it again")
  table = pd.DataFrame.from_dict(categories, "index", columns=list(LEVELS), dtype=object)
  return table.astype("category")


def _read_daily(path: Path) -> pd.DataFrame:
  """What is known of a video after each day, by date; of lines that repeat one, the first.

  Columns: video_id, int32; date, int64, days since 1970; VIDEO_IDS as text; float32 totals: log1p
  of SIZES, and PLAYS and REACTIONS per play.
  """
  counts = (*SIZES, *PLAYS, *REACTIONS)
  numbers = {**DAILY_KEYS, **dict.fromkeys(counts, COUNT)}
  frame = csv_file.whole(csv_file.chunks(path, numbers, VIDEO_IDS))
  frame = frame.dropna(subset=list(DAILY_KEYS))
  date = pd.to_datetime(frame.date.astype(np.int64).astype(str), format="%Y%m%d", errors="coerce")
  if date.isna().any():
    line = int(date.index[date.isna()][0])
    raise DataError(
      f"{path} line {line + 2} column date holds {frame.date[line]:.0f} where a date such as "
      "20200705 belongs; mend or remove the line"
    )
  frame["date"] = date.to_numpy().astype("datetime64[D]").astype(np.int64)
  frame = frame.drop_duplicates(list(DAILY_KEYS))
  frame = frame.sort_values("date", kind="stable", ignore_index=True)

  total = frame[list(counts)].clip(lower=0)
  of_day = total.groupby(frame.date).transform("sum")
  table = frame[["video_id", "date"]].astype({"video_id": np.int32})
  table = table.join(frame[list(VIDEO_IDS)])
  for name in SIZES:
    table[f"log_{name}"] = np.log1p(total[name]).astype(np.float32)
  for name in (*PLAYS, *REACTIONS):
    overall = of_day[name] / of_day.play_cnt.where(of_day.play_cnt > 0)
    rate = (total[name] + PRIOR_PLAYS * overall) / (total.play_cnt + PRIOR_PLAYS)
    table[f"{name.removesuffix('_cnt')}_rate"] = rate.astype(np.float32)
  return table


def _before(
  daily: pd.DataFrame, video_id: "pd.Series[int]", date: Array
) -> tuple[pd.DataFrame, pd.DataFrame]:
  """What was known of each row's video before its `date`, int64 [n], never decreasing.

  Returns VIDEO_IDS [n, 5] of its latest earlier day, and the totals [n, 9] of the day before.
  """
  known = pd.merge_asof(
    pd.DataFrame({"video_id": video_id, "date": date}),
    daily.assign(recorded=daily.date),
    on="date",
    by="video_id",
    allow_exact_matches=False,
  )
  totals = known.columns.difference(["video_id", "date", "recorded", *VIDEO_IDS], sort=False)
  return known[list(VIDEO_IDS)], known[totals].where(known.recorded == known.date - 1)
