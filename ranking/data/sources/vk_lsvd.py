"""VK-LSVD: short videos shown to users of a social network in 26 weeks, from its Parquet files.

Poslavsky et al., "VK-LSVD: A Large-Scale Industrial Dataset for Short-Video Recommendation", WWW
2026, arXiv 2602.04567; huggingface.co/datasets/deepvk/VK-LSVD, Apache 2.0. 40.8 billion rows, and
ready subsamples of them:

    interactions/train/week_00.parquet … week_24, validation/week_25, test/week_26
    subsamples/up0.001_ip0.001/train/week_00.parquet …     the same for a share of users and videos
    metadata/users_metadata.parquet, items_metadata.parquet

The official files were not at hand: names and types of columns are those that the page of the data
set and its users' programs show. `train_interactions_rank` of users and videos is never read: it
counts all training weeks, the future of each row included.
"""

import dataclasses
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ranking.checks import Checks
from ranking.data.schema import DataError, Log, Number, Side, sha256
from ranking.data.sources import parquet_file, sample
from ranking.tasks import Task

if TYPE_CHECKING:
  from ranking.data.engine import Engine

DAY, WEEK = 86_400, 7 * 86_400  # seconds
FEEDBACK = ("like", "share", "open_comments")
TASKS = (
  Task("complete", "binary"),
  *(Task(name, "binary") for name in FEEDBACK),
  Task("log_seconds", "regression"),
  Task("watch_ratio", "regression"),
)
MOST_OF_A_VIDEO: Final = 5.0  # a video watched again and again is cut off here
# Columns that are read, and what their values stay below.
ROWS = {
  **dict.fromkeys(("user_id", "item_id"), 2**32),
  **dict.fromkeys(("place", "platform", "agent", "timespent"), 2**16),
  **dict.fromkeys(FEEDBACK, 2),
}
USERS = {"user_id": 2**32, **dict.fromkeys(("age", "gender", "geo"), 2**16)}
ITEMS = {"item_id": 2**32, "author_id": 2**32, "duration": 2**32}


@dataclasses.dataclass(frozen=True)
class VkLsvd:
  """VK-LSVD as a source.

  A row has no time of its own: the files are weeks, and the rows of a file are in order of time. So
  rows are spread evenly over their week, in their order, to the second: a day is a seventh of a
  week's rows, and neither the hour nor the day of the week is a feature. Times count from the first
  week.

  Tasks: complete (watched at least as long as the video is), like, share, open_comments,
  log_seconds (log1p of the seconds watched, which the log cuts at 255) and watch_ratio, at most 5.
  Dislikes, bookmarks and clicks on the author are rarer than one row in 400: too few to be judged
  on a day of a small cut.

  Attributes:
    raw: the folder that holds metadata/, and interactions/ or subsamples/.
    subsample: a folder of subsamples/, such as "up0.001_ip0.001"; None = interactions/, or the only
      subsample there is.
  """

  raw: str | None = None
  subsample: str | None = None

  log_version = 1

  @functools.cached_property
  def name(self) -> str:
    """vk_lsvd; or vk_lsvd_sample of files that scripts/make_vk_lsvd_sample.py made up."""
    try:
      return sample.name_of("vk_lsvd", [*self._files()[0].values()])
    except DataError:  # said when the log is read
      return "vk_lsvd"

  def __post_init__(self) -> None:
    check = Checks("VkLsvd", DataError)
    if self.raw is not None:
      check.text("raw", self.raw, "the path of VK-LSVD's folder")
    if self.subsample is not None:
      check.text("subsample", self.subsample, "a folder of subsamples/, such as up0.001_ip0.001")

  def identity(self) -> dict[str, Any]:
    """The files with their sha256."""
    weeks, users, items = self._files()
    return {"files": {path.name: sha256(path) for path in (*weeks.values(), users, items)}}

  def log(self, engine: "Engine") -> Log:
    """Declares the log. Raises DataError for a file or a value that is none of VK-LSVD's."""
    import ibis

    weeks, user_file, item_file = self._files()
    first = min(weeks)
    parts = []
    for week, path in weeks.items():
      part, rows = parquet_file.numbered(engine, path, ROWS)
      second = (week - first) * WEEK + (part.row * WEEK // rows).cast("int64")
      parts.append(part.mutate(second=second, sequence=part.row + (week - first) * 2**40))
    read = ibis.union(*parts) if len(parts) > 1 else parts[0]
    users = parquet_file.once(engine, user_file, USERS, "user_id")
    items = parquet_file.once(engine, item_file, ITEMS, "item_id")
    lengths = items.select(known_id="item_id", author_id="author_id", duration="duration")
    joined = read.left_join(lengths, read.item_id == lengths.known_id)
    duration = joined.duration.nullif(0)
    rows = engine.keep(
      joined.select(
        *(joined[name] for name in ROWS),
        "sequence",
        "author_id",
        time=joined.second * 1000,
        day=(joined.second // DAY).cast("int32"),
        duration=duration,
        complete=(joined.timespent >= duration).cast("int8"),
        ratio=joined.timespent / duration,
        has_item=joined.known_id.notnull(),
      )
    )
    return Log(
      rows=rows,
      time=rows.time,
      day=rows.day,
      day_name=lambda day: f"week-{first + day // 7:02d}-day-{day % 7 + 1}",
      time_zone="UTC",
      sequence=rows.sequence,
      sides=(Side(users, {"user_id": rows.user_id}),),
      categorical={
        **{name: rows[name] for name in ("user_id", "item_id", "author_id")},
        **{name: rows[name] for name in ("place", "platform", "agent")},
        **{name: users[name] for name in ("gender", "geo")},
      },
      dense={"log_duration": Number(rows.duration, np.log1p), "age": Number(users.age)},
      labels={
        "complete": Number(rows.complete),
        **{name: Number(rows[name]) for name in FEEDBACK},
        "log_seconds": Number(rows.timespent, np.log1p),
        "watch_ratio": Number(rows.ratio.clip(upper=MOST_OF_A_VIDEO)),
      },
      tasks=TASKS,
      entities=("user_id", "item_id", "author_id"),
      rated_tasks=("complete", "like"),
      report_by="place",
      cleaning={
        "kept: rows whose video has no length, complete and watch ratio missing": (
          rows.duration.isnull().sum()
        ),
        "kept: watch ratio above 5, clipped": (rows.ratio > MOST_OF_A_VIDEO).sum(),
        "rows whose user has no features": rows.anti_join(users, "user_id").count(),
        "rows whose video has no features": (~rows.has_item).sum(),
      },
    )

  def _files(self) -> tuple[dict[int, Path], Path, Path]:
    """The files of each week, in order, of the users and of the videos."""
    if self.raw is None:
      raise DataError("VkLsvd has no files; give RAW=path of its folder, which holds metadata/")
    root = Path(self.raw)
    folder = self._folder(root)
    weeks: dict[int, Path] = {}
    for path in sorted(folder.glob("*/week_*.parquet")):
      if not (found := re.fullmatch(r"week_(\d+)\.parquet", path.name)):
        continue
      if (week := int(found[1])) in weeks:
        raise DataError(f"{path} and {weeks[week]} are of one week; remove one of them")
      weeks[week] = path
    if not weeks:
      raise DataError(f"{folder} has no train/week_00.parquet; download it again")
    tables = [root / "metadata" / f"{what}_metadata.parquet" for what in ("users", "items")]
    for path in tables:
      if not path.is_file():
        raise DataError(f"{path} is missing; download it from the page of the data set")
    return dict(sorted(weeks.items())), tables[0], tables[1]

  def _folder(self, root: Path) -> Path:
    """What holds the weeks."""
    cuts = sorted(path.name for path in (root / "subsamples").glob("*") if path.is_dir())
    if self.subsample is not None:
      if self.subsample not in cuts:
        has = f"it has {', '.join(cuts)}" if cuts else "it has no subsamples/"
        raise DataError(f"RAW {root} has no subsample {self.subsample}; {has}")
      return root / "subsamples" / self.subsample
    if (root / "interactions").is_dir():
      return root / "interactions"
    if len(cuts) == 1:
      return root / "subsamples" / cuts[0]
    which = f"set VkLsvd.subsample to one of {', '.join(cuts)}" if cuts else "give VK-LSVD's folder"
    raise DataError(f"RAW {root} has no interactions/; {which}")
