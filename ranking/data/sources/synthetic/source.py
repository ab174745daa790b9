"""The log as a source: its options, and its rows from the streams of one seed."""

import dataclasses
import datetime
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ranking.array import Array
from ranking.checks import Checks
from ranking.data.schema import DataError, Log, Number, Side
from ranking.data.sources.synthetic import dials, people
from ranking.data.sources.synthetic.days import (
  DAY_MS,
  FIRST_DAY,
  TABS,
  Day,
  Draws,
  draw_day,
  in_blocks,
  midnight,
  show_day,
)
from ranking.data.sources.synthetic.labels import (
  BINARY_TASKS,
  LABEL_DRAWS,
  REGRESSION_TASKS,
  Columns,
  answer,
  make_latents,
)
from ranking.data.sources.synthetic.streams import streams
from ranking.tasks import LabelStatistics, Task, evaluate_truth

if TYPE_CHECKING:
  from ranking.data.engine import Engine

# Ten times the largest log that was ever made of it, which took 92 s of a core to draw.
MOST_ROWS: Final = 1_000_000_000
MOST_ROWS_PER_DAY: Final = 100_000_000  # a day is drawn in memory, about 130 bytes a row
MOST_DAYS: Final = 10_000
MOST_USERS: Final = 10_000_000  # about 250 bytes each, and as many videos of 500
MOST_ADDED: Final = 1_000  # features that tell nothing, or tasks
LEAST_TAIL: Final = 0.01

TIME_ZONE: Final = "Asia/Shanghai"  # UTC+8 all year
SEGMENT_TASTE: Final = 0.7  # share of a taste's variance that users of one segment have in common

# Random streams by place: a new one comes last, or the others would change.
STREAMS: Final = (
  "users",
  "videos",
  "taste",
  "rows",
  "labels",
  "shift",
  "extra_tasks",
  "extra_labels",
  "label_noise",
  "bad_batches",
  "noise_features",
)


@dataclasses.dataclass(frozen=True)
class Synthetic:
  """Generates the log from `seed`. Raises DataError on an impossible option.

  Attributes:
    days: number of calendar days from 2026-01-05.
    rows_per_day: mean rows of a day; days differ by a few percent.
    num_users: users, who are the same on all days.
    num_videos: videos, uploaded evenly from 90 days before the first day to the last day.
    daily_drift: in [0, 1]; tastes n days apart correlate by (1 - daily_drift²)^(n / 2).
    seed: of the log alone; it has nothing to do with the seed of a training run.
    shift_on_day: day, counted from 1, that begins with a sudden change of taste; None = never.
    shift_size: in [0, 1]; tastes before and after the change correlate by √(1 - shift_size²). Set
      together with shift_on_day, or neither.
    new_videos_share: in [0, 1]; share of the videos uploaded after the first midnight, evenly;
      None = as many a day as before it.
    tail: in [0.01, 4]; log play time beyond the duration has Weibull shape 0.7 / tail, and its mean
      whatever the shape.
    label_noise: in [0, 0.5]; share of flipped labels of each binary task.
    bad_batches: in [0, 1]; share of bursts of 200 rows, on all days but the last, in which
      regression labels are outliers (± 10,000), or all labels are missing, or binary ones flipped.
    num_noise_features: features that tell nothing, in turn 1,000 ids and a standard normal number.
    num_extra_tasks: binary tasks beside the six, each with a rate and a use of taste of its own.
  """

  days: int = 14
  rows_per_day: int = 20_000
  num_users: int = 4_000
  num_videos: int = 7_500
  daily_drift: float = 0.15
  seed: int = 0
  shift_on_day: int | None = None
  shift_size: float | None = None
  new_videos_share: float | None = None
  tail: float = 1.0
  label_noise: float = 0.0
  bad_batches: float = 0.0
  num_noise_features: int = 0
  num_extra_tasks: int = 0

  name = "synthetic"
  log_version = 2

  def __post_init__(self) -> None:
    check = Checks("Synthetic", DataError)
    check.whole("days", self.days, 1, MOST_DAYS)
    check.whole("rows_per_day", self.rows_per_day, 1, MOST_ROWS_PER_DAY)
    check.whole("num_users", self.num_users, 1, MOST_USERS)
    check.whole("num_videos", self.num_videos, 1, MOST_USERS)
    check.share("daily_drift", self.daily_drift)
    check.whole("seed", self.seed, 0)
    if self.new_videos_share is not None:
      check.share("new_videos_share", self.new_videos_share)
    check.number("tail", self.tail, LEAST_TAIL, 4)
    check.share("label_noise", self.label_noise, 0.5)
    check.share("bad_batches", self.bad_batches)
    check.whole("num_noise_features", self.num_noise_features, 0, MOST_ADDED)
    check.whole("num_extra_tasks", self.num_extra_tasks, 0, MOST_ADDED)
    if self.days * self.rows_per_day > MOST_ROWS:
      rows = f"{self.days:,} × {self.rows_per_day:,}"
      raise DataError(
        f"Synthetic.days × rows_per_day is {rows} rows; make it {MOST_ROWS:,} rows at most"
      )
    if self.shift_on_day is None and self.shift_size is None:
      return
    if self.shift_size is None:
      check.refuse("shift_on_day", self.shift_on_day, "set shift_size as well")
    if self.shift_on_day is None:
      check.refuse("shift_size", self.shift_size, "set shift_on_day as well")
    check.whole("shift_on_day", self.shift_on_day, 2, self.days)
    check.share("shift_size", self.shift_size)

  def identity(self) -> dict[str, Any]:
    return dataclasses.asdict(self)

  def log(self, engine: "Engine") -> Log:
    import pyarrow as pa

    made = (pa.table(columns) for columns in self.pieces())
    rows = engine.arrow(made)
    users, videos = self._people()
    user = engine.arrow(pa.table(_without_nan({**users.categorical, **users.dense})))
    of_video = {**videos.categorical, "seconds": videos.seconds, "upload": videos.upload}
    tags = pa.array(videos.tags, pa.list_(pa.int64()))
    video = engine.arrow(pa.table(_without_nan(of_video) | {"tags": tags}))
    seen = rows.join(video[["video_id", "author_id", "upload"]], rows.video == video.video_id)
    rows = seen.drop("video_id")
    tasks = self._tasks()
    noise = dials.noise_features(self.num_noise_features)
    return Log(
      rows=rows,
      time=rows.time,
      day=rows.day,
      sequence=rows.number,
      day_name=lambda day: (FIRST_DAY + datetime.timedelta(days=day)).date().isoformat(),
      time_zone=TIME_ZONE,
      sides=(Side(user, {"user_id": rows.user}), Side(video, {"video_id": rows.video})),
      categorical={
        "user_id": rows.user,
        **{name: user[name] for name in [*users.categorical][1:]},
        "video_id": rows.video,
        "author_id": rows.author_id,
        **{name: video[name] for name in [*videos.categorical][2:]},
        **{name: rows[name] for name in ("tab", "hour", "day_of_week")},
        **{name: rows[name] for name in noise if noise[name] is dials.draw_ids},
      },
      bags={"tags": video.tags},
      dense={
        **{name: Number(user[name]) for name in users.dense},
        "log1p_duration_seconds": Number(video.seconds, np.log1p),
        "video_age_days": Number((rows.time - midnight(0)) / float(DAY_MS) - rows.upload),
        **{name: Number(rows[name]) for name in noise if noise[name] is not dials.draw_ids},
      },
      labels={task.name: Number(rows[f"label_{task.name}"]) for task in tasks},
      tasks=tasks,
      entities=("user_id", "video_id", "author_id"),
      rated_tasks=("click", "complete"),
      report_by="tab",
      truth={task.name: rows[f"truth_{task.name}"] for task in tasks},
    )

  def pieces(self) -> Iterator[Columns]:
    """The rows in order, some at a time.

    Columns: number, from 0, time, day, hour, day_of_week, tab, user, video, and label_… and truth_…
    of each task, and the features that tell nothing.
    """
    users, videos = self._people()
    latents = make_latents(users, videos)
    extra_tasks = {
      f"extra_{k}": dials.draw_extra_task(
        self._random("extra_tasks", k), self.num_users, self.num_videos
      )
      for k in range(self.num_extra_tasks)
    }
    binary = (*BINARY_TASKS, *extra_tasks)
    noise_features = dials.noise_features(self.num_noise_features)
    random = streams(self._bits("labels"), self._count_rows(), LABEL_DRAWS)
    number = 0
    for day in self._show(users, videos):
      num_rows = len(day.video)
      changes = [
        dials.answer_extra_tasks(self._bits("extra_labels", day.number), num_rows, extra_tasks)
      ]
      if self.label_noise:
        bits = self._bits("label_noise", day.number)
        changes.append(dials.flip(bits, num_rows, self.label_noise, binary))
      # The last day stays clean: it is where one measures what bad bursts did to a model.
      if self.bad_batches and day.number < self.days - 1:
        bits = self._bits("bad_batches", day.number)
        changes.append(dials.spoil(bits, num_rows, self.bad_batches, binary))
      noise_random = streams(self._bits("noise_features", day.number), num_rows, noise_features)
      weekday = (FIRST_DAY + datetime.timedelta(days=day.number)).weekday()
      for rows in in_blocks(day, videos.topic):
        truth, labels = answer(random, rows, latents, self.tail)
        for change in changes:
          change(rows, truth, labels)
        count = len(rows.time)
        yield {
          "number": np.arange(number, number + count),
          "time": rows.time,
          "day": np.full(count, day.number, np.int32),
          "day_of_week": np.full(count, weekday, np.int8),
          "tab": np.array(TABS)[rows.tab],
          **{column: getattr(rows, column) for column in ("hour", "user", "video")},
          **{f"label_{task}": label.astype(np.float32) for task, label in labels.items()},
          **{f"truth_{task}": mean for task, mean in truth.items()},
          **{name: draw(noise_random[name], count) for name, draw in noise_features.items()},
        }
        number += count

  def oracle_by_day(self) -> Iterator[dict[str, Any]]:
    """What the truth scores on each day, and what it would score had taste stood still.

    Yields a dict per day: its name as "day", and as "oracle" and "frozen" the figures of every task
    (`tasks.evaluate`). The frozen oracle knows all but that tastes are no longer those of day 1.
    """
    # Taste has a random stream of its own, so that these rows are the same.
    frozen = dataclasses.replace(self, daily_drift=0.0, shift_on_day=None, shift_size=None)
    tasks = self._tasks()
    pieces = zip(self.pieces(), frozen.pieces(), strict=True)
    for day, of_day in itertools.groupby(pieces, lambda pair: int(pair[0]["day"][0])):
      labels: list[Array] = []
      now: list[Array] = []
      then: list[Array] = []
      for piece, frozen_piece in of_day:
        for found, columns, what in (
          (labels, piece, "label"),
          (now, piece, "truth"),
          (then, frozen_piece, "truth"),
        ):
          found.append(np.stack([columns[f"{what}_{task.name}"] for task in tasks], axis=1))
      label = np.concatenate(labels)
      known = [LabelStatistics.of(column) for column in label.T]
      yield {
        "day": (FIRST_DAY + datetime.timedelta(days=day)).date().isoformat(),
        "oracle": evaluate_truth(tasks, known, label, np.concatenate(now)),
        "frozen": evaluate_truth(tasks, known, label, np.concatenate(then)),
      }

  def _people(self) -> tuple[people.Users, people.Videos]:
    upload = people.uploads(self.num_videos, self.days, self.new_videos_share)
    users = people.make_users(self._random("users"), self.num_users)
    return users, people.make_videos(self._random("videos"), upload)

  def _tasks(self) -> list[Task]:
    return [
      *(Task(name, "binary") for name in BINARY_TASKS),
      *(Task(name, "regression") for name in REGRESSION_TASKS),
      *(Task(f"extra_{k}", "binary") for k in range(self.num_extra_tasks)),
    ]

  def _bits(self, part: str, *piece: int) -> np.random.PCG64:
    """One stream per part, so that more rows a day leave users and videos as they are."""
    return np.random.PCG64([self.seed, STREAMS.index(part), *piece])

  def _random(self, part: str, *piece: int) -> np.random.Generator:
    return np.random.Generator(self._bits(part, *piece))

  def _draw_days(self) -> Iterator[Draws]:
    random = self._random("rows")
    for _ in range(self.days):
      yield draw_day(random, self.rows_per_day)

  def _count_rows(self) -> int:
    """Counts the rows of all days by drawing them: how many requests a day has is random."""
    return sum(len(draws.video) for draws in self._draw_days())

  def _show(self, users: people.Users, videos: people.Videos) -> Iterator[Day]:
    """The days one by one, while taste moves from one to the next."""
    taste_random, shift_random = self._random("taste"), self._random("shift")
    # A model can learn a segment's taste from a feature, a user's own from the user's id alone.
    segment_taste = taste_random.standard_normal((people.NUM_SEGMENTS, people.TASTE_DIMENSIONS))
    own_taste = taste_random.standard_normal((self.num_users, people.TASTE_DIMENSIONS))
    kept = math.sqrt(1 - self.daily_drift**2)
    kept_by_shift = math.sqrt(1 - (self.shift_size or 0.0) ** 2)
    # A video is shown less and less as it ages.
    popularity = videos.popularity * np.exp(videos.upload / 25)
    for day, draws in enumerate(self._draw_days()):
      if day + 1 == self.shift_on_day:
        segment_taste = people.noisy(shift_random, segment_taste, kept_by_shift)
        own_taste = people.noisy(shift_random, own_taste, kept_by_shift)
      taste = math.sqrt(SEGMENT_TASTE) * segment_taste[users.segment]
      taste += math.sqrt(1 - SEGMENT_TASTE) * own_taste
      # And from the first midnight after its upload.
      uploaded = np.searchsorted(videos.upload, day)
      yield show_day(day, draws, users.activity, popularity[:uploaded], taste)
      # The variance of taste stays, so that no day is harder to predict than another.
      segment_taste = people.noisy(taste_random, segment_taste, kept)
      own_taste = people.noisy(taste_random, own_taste, kept)


def _without_nan(columns: Mapping[str, Array]) -> dict[str, Any]:
  """Columns for an engine: numbers that are whole or missing as whole ones, with null for NaN."""
  import pyarrow as pa

  made = {}
  for name, column in columns.items():
    made[name] = pa.array(column, from_pandas=True)
    if column.dtype == np.float64 and (np.isnan(column) | (column == np.floor(column))).all():
      made[name] = made[name].cast(pa.int64())
  return made
