"""KuaiRec 2.0 (Gao et al., CIKM 2022): who watched which short video for how long.

Reads one of the two matrices with the features of users and videos. Event time is `timestamp`, and
days are those of UTC+8. The big matrix has three windows of days; a day without rows is no day of
the log. The totals of `item_daily_features.csv` hold the very views that are predicted: a row sees
those of the day before its own, and of its video nothing first written down on its own day.
"""

import ast
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from ranking.checks import Checks
from ranking.data.schema import DataError, Log, Number, Side, sha256
from ranking.data.sources import published
from ranking.tasks import Task

if TYPE_CHECKING:
  import ibis.expr.types as ir

  from ranking.data.engine import Engine

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
  log_version = 2

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

  def log(self, engine: "Engine") -> Log:
    """The log of complete rows; see the module's docstring for what a row sees."""
    files = self._files()
    read = published.read(engine, [files[f"{self.matrix}_matrix.csv"]], LOG_NUMBERS)
    complete = read.filter([read[name].notnull() for name in LOG_NUMBERS])
    users = _users(engine, files[USERS])
    tags = engine.arrow(_read_tags(engine, files[TAGS]))
    captions = before = None
    rows = _views(complete if self.keep_duplicates else complete.distinct())
    cleaning = {"dropped: rows without a time": engine.number(read.timestamp.isnull().sum())}
    if CAPTIONS in files:
      captions = engine.arrow(_read_captions(files[CAPTIONS]))
    if DAILY in files:
      daily, repeated = _daily(engine, files[DAILY])
      before = _before(engine, daily, _views(complete))
      rows = _with_authors(rows, before)
    rows = engine.keep(rows)
    of_read, of_complete, of_rows = (engine.number(t.count()) for t in (read, complete, rows))
    cleaning["dropped: rows with another missing value"] = (
      of_read - of_complete - cleaning["dropped: rows without a time"]
    )
    if self.keep_duplicates:
      once = engine.number(complete.distinct().count())
      cleaning["kept: exact duplicates of an earlier row"] = of_rows - once
    else:
      cleaning["dropped: exact duplicates of an earlier row"] = of_complete - of_rows
    if DAILY in files:
      cleaning["dropped: daily totals that repeat a video and date"] = repeated
    return _declared(rows, users, tags, captions, before, cleaning)

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


def _views(complete: "ir.Table") -> "ir.Table":
  """Complete rows of a matrix: time in ms, day, play and duration in ms, and who watched what."""
  import ibis  # slow, and only needed here

  whole = {name: complete[name].cast("int64") for name in LOG_NUMBERS if name != "timestamp"}
  timed = complete.select(
    time=(complete.timestamp * 1000.0 + 0.5).floor().cast("int64"),
    play=whole["play_duration"].clip(lower=0),
    duration=ibis.ifelse(whole["video_duration"] > 0, whole["video_duration"], None),
    user_id=whole["user_id"],
    video_id=whole["video_id"],
  )
  return timed.mutate(day=((timed.time + OFFSET) // MS_PER_DAY).cast("int32"))


def _with_authors(rows: "ir.Table", before: "ir.Table") -> "ir.Table":
  """Adds the author of each row's video, who is an entity."""
  authors = before.select(of_video="video_id", of_day="day", author_id="author_id")
  seen = rows.left_join(authors, [rows.video_id == authors.of_video, rows.day == authors.of_day])
  return seen.drop("of_video", "of_day")


def _declared(
  rows: "ir.Table",
  users: "ir.Table",
  tags: "ir.Table",
  captions: "ir.Table | None",
  before: "ir.Table | None",
  counted: Mapping[str, int],
) -> Log:
  """The log of rows and the tables beside them, of which two may be absent."""
  import ibis

  ratio = rows.play / rows.duration
  sides = [Side(users, {"user_id": rows.user_id}), Side(tags, {"video_id": rows.video_id})]
  categorical = {
    "user_id": rows.user_id,
    "video_id": rows.video_id,
    "hour": (rows.time + OFFSET) // MS_PER_HOUR % 24,
    "day_of_week": (rows.day + 3) % 7,  # 1970 began on a Thursday
    "duration_bucket": _length(rows.duration),
    **{name: users[name] for name in USER_IDS},
  }
  dense = {"log_duration": Number(rows.duration, np.log1p)}
  dense |= {f"log_{name}": Number(users[name], np.log1p) for name in USER_COUNTS}
  cleaning: dict[str, Any] = {
    **counted,
    "kept: rows with duration 0, watch ratio missing": rows.duration.isnull().sum(),
    "kept: watch ratio above 5, clipped": (ratio > LONGEST_RATIO).sum(),
    "rows whose user has no features": rows.anti_join(users, "user_id").count(),
    "rows whose video has no tags": rows.anti_join(tags, "video_id").count(),
  }
  if captions is None:
    cleaning[f"without {CAPTIONS}: rows"] = rows.count()
  else:
    sides.append(Side(captions, {"video_id": rows.video_id}))
    categorical |= {level: captions[level] for level in LEVELS}
    known = captions.filter(ibis.or_(*(captions[level].notnull() for level in LEVELS)))
    cleaning["rows whose video has no caption categories"] = rows.anti_join(
      known, "video_id"
    ).count()
  if before is None:
    cleaning[f"without {DAILY}: rows"] = rows.count()
  else:
    sides.append(Side(before, {"video_id": rows.video_id, "day": rows.day}))
    categorical["author_id"] = rows.author_id
    categorical |= {name: before[name] for name in VIDEO_IDS if name != "author_id"}
    dense |= {f"log_{name}": Number(before[name], np.log1p) for name in SIZES}
    rates = [f"{name.removesuffix('_cnt')}_rate" for name in (*PLAYS, *REACTIONS)]
    dense |= {rate: Number(before[rate]) for rate in rates}
    known = before.filter(before.play_cnt.notnull())
    cleaning["rows whose video has no totals of the day before"] = rows.anti_join(
      known, ["video_id", "day"]
    ).count()
  return Log(
    rows=rows,
    time=rows.time,
    day=rows.day,
    time_zone=TIME_ZONE,
    sides=sides,
    categorical=categorical,
    bags={"tags": tags.tags},
    dense=dense,
    labels={
      "effective_view": Number(ratio >= EFFECTIVE),
      "complete": Number(ratio >= 1),
      "rewatch": Number(ratio > REWATCH),
      "long_play": Number(rows.play >= LONG_PLAY_MS),
      "log_play_seconds": Number(rows.play / 1000.0, np.log1p),
      "watch_ratio": Number(ratio.clip(upper=LONGEST_RATIO)),
    },
    tasks=TASKS,
    entities=("user_id", "video_id", *(() if before is None else ("author_id",))),
    rated_tasks=("effective_view", "long_play"),
    cleaning=cleaning,
    report_by="duration_bucket",  # how far people watch is above all a matter of length
  )


def _length(duration: "ir.Value") -> "ir.Value":
  """The name of the bucket of a duration in ms."""
  import ibis

  edges = [0, *SECONDS]
  names = [f"{low} to {high} s" for low, high in zip(edges, SECONDS, strict=False)]
  cases = [(duration < 1000 * high, name) for high, name in zip(SECONDS, names, strict=True)]
  last = ibis.literal(f"{SECONDS[-1]} s or more")
  return ibis.cases((duration.isnull(), ibis.null("string")), *cases, else_=last)


def _users(engine: "Engine", path: Path) -> "ir.Table":
  """USER_IDS as text, and USER_COUNTS; of several lines of a user the smallest."""
  numbers = {"user_id": ID, **dict.fromkeys(USER_COUNTS, COUNT)}
  users = published.once(published.read(engine, [path], numbers, USER_IDS), ["user_id"])
  return engine.keep(
    users.select(
      *USER_IDS,
      **{name: users[name].clip(lower=0) for name in USER_COUNTS},
      user_id=users.user_id.cast("int64"),
    )
  )


def _read_tags(engine: "Engine", path: Path) -> pa.Table:
  """The tags of each video."""
  lines = published.read(engine, [path], {"video_id": ID}, ("feat",))
  lines = lines.filter(lines.feat.notnull())
  frame = engine.frame(published.once(lines, ["video_id"]))
  tags = [_list_of_ids(text) for text in frame.feat]
  if None in tags:
    published.say_where(
      path, "feat", lambda text: _list_of_ids(text) is None, "a list such as [27, 9]"
    )
  videos = frame.video_id.astype(np.int64)
  return pa.table({"video_id": videos, "tags": pa.array(tags, pa.list_(pa.int64()))})


def _list_of_ids(text: str) -> list[int] | None:
  """The list that a text holds, or None."""
  try:
    ids = ast.literal_eval(text)
  except (ValueError, SyntaxError, MemoryError, RecursionError):
    return None
  return ids if isinstance(ids, list) and all(isinstance(number, int) for number in ids) else None


def _read_captions(path: Path) -> pa.Table:
  """Reads, per video_id, the category ids of the three LEVELS, as text.

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
  columns = zip(*categories.values(), strict=True)
  table = {level: pa.array(ids, pa.string()) for level, ids in zip(LEVELS, columns, strict=True)}
  return pa.table({"video_id": pa.array(categories, pa.int64()), **table})


def _daily(engine: "Engine", path: Path) -> tuple["ir.Table", int]:
  """What is known of a video after each day; of lines that repeat a video and date the smallest.

  Columns: video_id; date, days since 1970; VIDEO_IDS as text; SIZES; PLAYS and REACTIONS per play.
  Returns also how many lines repeat one.
  """

  counts = (*SIZES, *PLAYS, *REACTIONS)
  numbers = {**DAILY_KEYS, **dict.fromkeys(counts, COUNT)}
  lines = published.read(engine, [path], numbers, VIDEO_IDS)
  lines = lines.filter(lines.video_id.notnull(), lines.date.notnull())
  written = lines.date.cast("int64").cast("string")
  iso = written.substr(0, 4) + "-" + written.substr(4, 2) + "-" + written.substr(6)
  days = iso.try_cast("date").cast("timestamp").epoch_seconds() // 86_400
  wrong = engine.frame(lines.filter(days.isnull()).select("date").limit(1))
  if len(wrong):
    published.say_where(
      path, "date", lambda text: float(text or 0) == wrong.date[0], "a date such as 20200705"
    )
  lines = engine.keep(lines.mutate(date=days, video_id=lines.video_id.cast("int64")))
  once = published.once(lines, ["video_id", "date"])
  once = engine.keep(once.mutate({name: once[name].clip(lower=0) for name in counts}))
  of_day = once.group_by(of_date=once.date).agg(
    **{f"all_{name}": once[name].cast("int64").sum().cast("int64") for name in counts}
  )
  table = once.left_join(of_day, once.date == of_day.of_date)
  rates = {}
  for name in (*PLAYS, *REACTIONS):
    overall = table[f"all_{name}"] / table.all_play_cnt.nullif(0)
    rate = (table[name] + PRIOR_PLAYS * overall) / (table.play_cnt + PRIOR_PLAYS)
    rates[f"{name.removesuffix('_cnt')}_rate"] = rate
  made = engine.keep(table.select("video_id", "date", *VIDEO_IDS, *SIZES, **rates))
  return made, engine.number(lines.count()) - engine.number(once.count())


def _before(engine: "Engine", daily: "ir.Table", rows: "ir.Table") -> "ir.Table":
  """What was known of each row's video before its day.

  Columns: video_id; day; VIDEO_IDS of its latest earlier day; and the totals of the day before.
  """
  import ibis

  shown = engine.keep(rows.select("video_id", "day").distinct())
  following = ibis.window(group_by="video_id", order_by="date")
  lines = daily.mutate(until=daily.date.lead().over(following)).rename(of_video="video_id")
  both = shown.inner_join(
    lines,
    [
      shown.video_id == lines.of_video,
      lines.date < shown.day,
      lines.until.isnull() | (lines.until >= shown.day),
    ],
  )
  totals = [name for name in daily.columns if name not in ("video_id", "date", *VIDEO_IDS)]
  is_fresh = both.date == both.day - 1
  return engine.keep(
    both.select(
      "video_id",
      "day",
      *VIDEO_IDS,
      **{name: ibis.ifelse(is_fresh, both[name], None) for name in totals},
    )
  )
