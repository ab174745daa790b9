"""Yambda-5B: listens of a music service in 300 days, from its flat Parquet files.

Ploshkin et al., "Yambda-5B", arXiv 2505.22238; huggingface.co/datasets/yandex/yambda, Apache 2.0.
Three sizes, of 50 million, 500 million and 4.8 billion events:

    flat/50m/multi_event.parquet                listens, likes and the other events in one file
    flat/50m/listens.parquet, likes.parquet …   the same, a file per kind of event

The official files were not at hand: names and types of the columns are those that the page of the
data set and its users' programs show.
"""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ranking.checks import Checks
from ranking.data.schema import DataError, Log, Number, sha256
from ranking.data.sources import parquet_file, sample
from ranking.tasks import Task

if TYPE_CHECKING:
  import ibis.expr.types as ir

  from ranking.data.engine import Engine

HOUR, DAY = 3600, 86_400  # seconds
LISTENED, FINISHED, SKIPPED = 50, 95, 10  # percent of a track
MOST_OF_A_TRACK: Final = 2.0  # a track heard again and again is cut off here
TASKS = (
  Task("listened", "binary"),
  Task("finished", "binary"),
  Task("skipped", "binary"),
  Task("liked", "binary"),
  Task("log_seconds", "regression"),
  Task("played_ratio", "regression"),
)
EVENTS, LISTENS, LIKES = "multi_event.parquet", "listens.parquet", "likes.parquet"
# Columns that are read, and what their values stay below.
LIKE = dict.fromkeys(("uid", "item_id", "timestamp"), 2**32)
LISTEN = {
  **LIKE,
  "is_organic": 2,
  "played_ratio_pct": 2**16,
  "track_length_seconds": 2**32,
}


@dataclasses.dataclass(frozen=True)
class Yambda:
  """Yambda as a source: a row is a listen.

  Times count from a moment that the data set does not name, rounded to 5 s. So there is no
  calendar: a day is 24 h from the log's first listen, and `hour` is the hour of such a day.

  Tasks: listened (50 % of the track or more, as the data set's authors have it), finished (95 %),
  skipped (less than 10 %), liked (the user likes the track within an hour of the listen),
  log_seconds (log1p of the seconds played) and played_ratio, at most 2. Dislikes are rarer than one
  listen in 400, and likes taken back rarer still.

  Attributes:
    raw: a folder with multi_event.parquet, or with listens.parquet and likes.parquet.
  """

  raw: str | None = None

  log_version = 2

  @functools.cached_property
  def name(self) -> str:
    """yambda; or yambda_sample of files that scripts/make_yambda_sample.py made up."""
    try:
      return sample.name_of("yambda", self._files())
    except DataError:  # said when the log is read
      return "yambda"

  def __post_init__(self) -> None:
    if self.raw is not None:
      Checks("Yambda", DataError).text("raw", self.raw, "the path of a folder such as flat/50m")

  def identity(self) -> dict[str, Any]:
    """The files with their sha256."""
    return {"files": {path.name: sha256(path) for path in self._files()}}

  def log(self, engine: "Engine") -> Log:
    """Declares the log. Raises DataError for a file or a value that is none of Yambda's."""
    import ibis

    listens, likes = self._events(engine)
    first = engine.number(listens.timestamp.min())
    tracks_liked = likes.select(by="uid", track="item_id", at="timestamp")
    within_an_hour = [
      listens.uid == tracks_liked.by,
      listens.item_id == tracks_liked.track,
      listens.timestamp <= tracks_liked["at"],
      tracks_liked["at"] < listens.timestamp + HOUR,
    ]
    told = ibis.union(
      listens.semi_join(tracks_liked, within_an_hour).mutate(liked=ibis.literal(1, "int8")),
      listens.anti_join(tracks_liked, within_an_hour).mutate(liked=ibis.literal(0, "int8")),
    )
    second = told.timestamp - first
    percent, length = told.played_ratio_pct, told.track_length_seconds
    rows = engine.keep(
      told.select(
        *("uid", "item_id", "is_organic", "liked", "played_ratio_pct", "track_length_seconds"),
        time=second * 1000,
        day=(second // DAY).cast("int32"),
        hour=(second // HOUR % 24).cast("int32"),
        listened=(percent >= LISTENED).cast("int8"),
        finished=(percent >= FINISHED).cast("int8"),
        skipped=(percent < SKIPPED).cast("int8"),
        seconds=percent * length / 100,
        ratio=percent / 100,
      )
    )
    return Log(
      rows=rows,
      time=rows.time,
      day=rows.day,
      day_name=lambda day: f"day-{day + 1:03d}",
      time_zone="UTC",
      categorical={
        "user_id": rows.uid,
        "item_id": rows.item_id,
        "is_organic": rows.is_organic,
        "hour": rows.hour,
      },
      dense={"log_track_seconds": Number(rows.track_length_seconds, np.log1p)},
      labels={
        **{task: Number(rows[task]) for task in ("listened", "finished", "skipped", "liked")},
        "log_seconds": Number(rows.seconds, np.log1p),
        "played_ratio": Number(rows.ratio.clip(upper=MOST_OF_A_TRACK)),
      },
      tasks=TASKS,
      entities=("user_id", "item_id"),
      rated_tasks=("listened",),
      report_by="is_organic",
      cleaning={"kept: played ratio above 2, clipped": (rows.ratio > MOST_OF_A_TRACK).sum()},
    )

  def _events(self, engine: "Engine") -> "tuple[ir.Table, ir.Table]":
    """Listens and likes."""
    files = self._files()
    if len(files) == 1:
      (path,) = files
      parquet_file.rows_of(path, {**LISTEN, "event_type": 0})
      events = engine.read_parquet(path)
      kind = events.event_type.cast("string")
      listens, likes = events.filter(kind == "listen"), events.filter(kind == "like")
      if not engine.number(listens.count()):
        raise DataError(f"{path} has no event of type listen; download it again")
      of_listens = of_likes = path
    else:
      of_listens, of_likes = files
      parquet_file.rows_of(of_listens, LISTEN)
      parquet_file.rows_of(of_likes, LIKE)
      listens, likes = (engine.read_parquet(path) for path in files)
    return (
      parquet_file.checked(engine, listens.select(*LISTEN), of_listens, LISTEN),
      parquet_file.checked(engine, likes.select(*LIKE), of_likes, LIKE),
    )

  def _files(self) -> list[Path]:
    """The file of all events, or those of listens and of likes."""
    if self.raw is None:
      raise DataError("Yambda has no files; give RAW=path of a folder such as flat/50m")
    folder = Path(self.raw)
    if folder.name == EVENTS and folder.is_file():
      return [folder]
    if folder.is_file():  # listens.parquet, as it may be given
      folder = folder.parent
    if (folder / EVENTS).is_file():
      return [folder / EVENTS]
    for name in (LISTENS, LIKES):
      if not (folder / name).is_file():
        raise DataError(
          f"RAW {folder} has neither {EVENTS} nor {name}; both are in flat/50m of the data set"
        )
    return [folder / LISTENS, folder / LIKES]
