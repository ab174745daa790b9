"""A short-video log of any size whose truth is known: marginals of KuaiRand, taste that drifts.

The shape of single columns follows the public statistics of KuaiRand (for tags per video, KuaiRec).
How columns depend on each other is this module's own invention.

A row is one video shown to one user. All its labels but satisfaction come from one chance tree, so
that they agree with each other and every truth has a closed form:

  clicked (p) ─┬─ completed (q): the play time is at or above the duration
               ├─ left early (1 - q): the play time is below the duration
               └─ liked, shared: each on its own
  passed by (1 - p): a few seconds, or no play time at all

Dials make the log harder in one way each; docs/synthetic.md shows what they do. Each draws from a
random stream of its own: turning one leaves everything as it is that it does not change.

Days are drawn one by one and written in blocks: memory grows with users, videos and the rows of a
day (by less than these take), never with the number of days.
"""

import copy
import dataclasses
import datetime
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ranking.array import Array
from ranking.checks import Checks
from ranking.data.schema import DataError, Log, Number, Side
from ranking.data.sources import synthetic_world as world
from ranking.tasks import LabelStatistics, Task, evaluate_truth

if TYPE_CHECKING:
  from ranking.data.engine import Engine

# Ten times the largest log that was ever made of it, which took 92 s of a core to draw.
MOST_ROWS: Final = 1_000_000_000
MOST_ROWS_PER_DAY: Final = 100_000_000  # a day is drawn in memory, about 130 bytes a row
MOST_DAYS: Final = 10_000
MOST_USERS: Final = 10_000_000  # about 250 bytes each, and as many videos of 500
MOST_ADDED: Final = 1_000  # features that tell nothing, or tasks

BINARY_TASKS: Final = ("click", "like", "share", "complete")
REGRESSION_TASKS: Final = ("log_watch_seconds", "satisfaction")

TIME_ZONE: Final = "Asia/Shanghai"  # UTC+8 all year
FIRST_DAY: Final = datetime.datetime.fromisoformat("2026-01-05T00:00:00+08:00")
DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000

# Percent of rows in each hour of the day.
MORNING: Final = (3.65, 2.28, 1.48, 0.94, 0.78, 0.98, 1.77, 2.66, 3.38, 4.02, 4.60, 5.15)
EVENING: Final = (5.86, 5.59, 5.08, 5.24, 5.57, 5.99, 5.62, 5.47, 5.65, 6.06, 6.41, 5.78)
HOURS: Final = np.array(MORNING + EVENING)
# Thousand rows and click rate of a tab. Tabs 9 and 11 stand for ten rare ones.
TABS: Final = (0, 1, 2, 4, 6, 9, 11)
TAB_ROWS: Final = np.array([20.25, 173.0, 6.91, 13.65, 11.21, 1.65, 1.65])
TAB_CLICKS: Final = np.array([0.086, 0.494, 0.481, 0.596, 0.149, 0.96, 0.04])
# Rates at some durations: clicks, and completions once clicked.
RATE_SECONDS: Final = (10.5, 21.5, 43.0, 87.0, 185.0, 600.0)
CLICK_RATES: Final = np.array([0.39, 0.447, 0.472, 0.483, 0.44, 0.40])
COMPLETE_RATES: Final = np.array([0.70, 0.53, 0.31, 0.19, 0.08, 0.015])
CLICK_RATE: Final = 0.442
SEGMENT_TASTE: Final = 0.7  # share of a taste's variance that users of one segment have in common
BOUNCED: Final = 0.175  # share of passed-by rows without any play time
SURVEYED: Final = 0.2  # share of rows with a satisfaction label
REWATCH_SHAPE: Final = 0.7  # Weibull: how far log play time exceeds the log duration
REWATCH_SCALE: Final = 0.155

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
Draw = Callable[[np.random.Generator, int], Array]
UNIFORM: Final[Draw] = np.random.Generator.random
# Whatever is drawn for labels, in the order in which the log's stream holds it. All take one random
# number a row, but for rewatches: their Weibull numbers are powers of exponential ones.
LABEL_DRAWS: Final[Mapping[str, Draw]] = {
  **dict.fromkeys(("click", "complete"), UNIFORM),
  "rewatch": np.random.Generator.standard_exponential,
  **dict.fromkeys(("left", "passed", "bounced", "stars", "like", "share", "surveyed"), UNIFORM),
}

EXTRA_MEAN: Final = (-4.0, 0.0)  # an extra task's mean logit is drawn between these
EXTRA_TASTE: Final = 0.7  # standard deviations of an extra task's weight of taste,
EXTRA_HABIT: Final = 0.6  # of what the user adds to its logit
EXTRA_QUALITY: Final = 0.6  # and of what the video adds
NOISE_IDS: Final = 1_000  # of a categorical feature that tells nothing
BURST_ROWS: Final = 200  # consecutive rows that are bad together
BURSTS: Final = ("outlier", "missing", "flipped")  # what may happen to one, equally often
# Added to or taken from a regression label. Equal odds keep its mean, so the truth stays as it is.
OUTLIER: Final = 1e4

LEAST_TAIL: Final = 0.01
ROWS_AT_ONCE: Final = 50_000  # so few that what is made of them stays in the processor's cache

Columns = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class _Draws:
  """The random numbers of a day of n rows in R requests: in [0, 1), where nothing else is said."""

  rows: Array  # [R], how many each request has
  hour: Array  # [R]
  ms: Array  # [R], whole numbers below HOUR_MS
  user: Array  # [R]
  tab: Array  # [R]
  video: Array  # [n]


@dataclasses.dataclass(frozen=True)
class _Day:
  """What is shown on one day: n rows in R requests, each at one time to one user."""

  number: int  # from 0
  time: Array  # [R], as the next three
  hour: Array
  tab: Array  # position in TABS
  user: Array
  request: Array  # [n], position in the columns above
  video: Array  # [n]
  taste: Array  # [U, TASTE_DIMENSIONS]


@dataclasses.dataclass(frozen=True)
class _Rows:
  """Some rows of a day; affinity is about standard normal."""

  first: int  # position of the first one in its day
  time: Array
  hour: Array
  tab: Array
  user: Array
  video: Array
  affinity: Array


Change = Callable[[_Rows, Columns, Columns], None]  # of some rows' truth and labels


@dataclasses.dataclass(frozen=True)
class _Latents:
  """What users and videos add to logits, [U, E] and [V, E], a column per effect.

  By its duration, a video adds more to those of click and complete, [V]. Its log_duration is log1p
  of seconds; upload is in days after the first midnight.
  """

  user: Array
  video: Array
  click: Array
  complete: Array
  log_duration: Array
  upload: Array


@dataclasses.dataclass(frozen=True)
class _ExtraTask:
  """What a logit is made of; habit is [U], quality is [V]."""

  mean: float
  taste: float
  habit: Array
  quality: Array


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
    noise = self._noise_features()
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
        **{name: rows[name] for name in noise if noise[name] is _draw_ids},
      },
      bags={"tags": video.tags},
      dense={
        **{name: Number(user[name]) for name in users.dense},
        "log1p_duration_seconds": Number(video.seconds, np.log1p),
        "video_age_days": Number((rows.time - _midnight(0)) / float(DAY_MS) - rows.upload),
        **{name: Number(rows[name]) for name in noise if noise[name] is not _draw_ids},
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
    latents = _make_latents(users, videos)
    extra_tasks = {f"extra_{k}": self._extra_task(k) for k in range(self.num_extra_tasks)}
    binary = (*BINARY_TASKS, *extra_tasks)
    noise_features = self._noise_features()
    random = _streams(self._bits("labels"), self._count_rows(), LABEL_DRAWS)
    number = 0
    for day in self._show(users, videos):
      of_day = (day.number, len(day.video))
      changes = [
        self._answer_extra(*of_day, extra_tasks),
        self._flip(*of_day, binary),
        self._spoil(*of_day, binary),
      ]
      noise_random = self._streams("noise_features", *of_day, noise_features)
      weekday = (FIRST_DAY + datetime.timedelta(days=day.number)).weekday()
      for rows in _in_blocks(day, videos.topic):
        truth, labels = _answer(random, rows, latents, self.tail)
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

  def _people(self) -> tuple[world.Users, world.Videos]:
    upload = world.uploads(self.num_videos, self.days, self.new_videos_share)
    users = world.make_users(self._random("users"), self.num_users)
    return users, world.make_videos(self._random("videos"), upload)

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

  def _streams(
    self, part: str, day: int, num_rows: int, draws: Mapping[str, Draw]
  ) -> dict[str, np.random.Generator]:
    return _streams(self._bits(part, day), num_rows, draws)

  def _draw_days(self) -> Iterator[_Draws]:
    random = self._random("rows")
    for _ in range(self.days):
      yield _draw_day(random, self.rows_per_day)

  def _count_rows(self) -> int:
    """Counts the rows of all days by drawing them: how many requests a day has is random."""
    return sum(len(draws.video) for draws in self._draw_days())

  def _show(self, users: world.Users, videos: world.Videos) -> Iterator[_Day]:
    """The days one by one, while taste moves from one to the next."""
    taste_random, shift_random = self._random("taste"), self._random("shift")
    # A model can learn a segment's taste from a feature, a user's own from the user's id alone.
    segment_taste = taste_random.standard_normal((world.NUM_SEGMENTS, world.TASTE_DIMENSIONS))
    own_taste = taste_random.standard_normal((self.num_users, world.TASTE_DIMENSIONS))
    kept = math.sqrt(1 - self.daily_drift**2)
    kept_by_shift = math.sqrt(1 - (self.shift_size or 0.0) ** 2)
    # A video is shown less and less as it ages.
    popularity = videos.popularity * np.exp(videos.upload / 25)
    for day, draws in enumerate(self._draw_days()):
      if day + 1 == self.shift_on_day:
        segment_taste = world.noisy(shift_random, segment_taste, kept_by_shift)
        own_taste = world.noisy(shift_random, own_taste, kept_by_shift)
      taste = math.sqrt(SEGMENT_TASTE) * segment_taste[users.segment]
      taste += math.sqrt(1 - SEGMENT_TASTE) * own_taste
      # And from the first midnight after its upload.
      uploaded = np.searchsorted(videos.upload, day)
      yield _show_one_day(day, draws, users.activity, popularity[:uploaded], taste)
      # The variance of taste stays, so that no day is harder to predict than another.
      segment_taste = world.noisy(taste_random, segment_taste, kept)
      own_taste = world.noisy(taste_random, own_taste, kept)

  def _extra_task(self, number: int) -> _ExtraTask:
    random = self._random("extra_tasks", number)
    return _ExtraTask(
      mean=random.uniform(*EXTRA_MEAN),
      taste=EXTRA_TASTE * random.standard_normal(),
      habit=EXTRA_HABIT * random.standard_normal(self.num_users),
      quality=EXTRA_QUALITY * random.standard_normal(self.num_videos),
    )

  def _answer_extra(self, day: int, num_rows: int, tasks: Mapping[str, _ExtraTask]) -> Change:
    """Adds truth and labels of the extra tasks."""
    random = self._streams("extra_labels", day, num_rows, dict.fromkeys(tasks, UNIFORM))

    def change(rows: _Rows, truth: Columns, labels: Columns) -> None:
      for name, task in tasks.items():
        by_user, by_video = task.habit[rows.user], task.quality[rows.video]
        truth[name] = _sigmoid(task.mean + task.taste * rows.affinity + by_user + by_video)
        labels[name] = random[name].random(len(rows.time)) < truth[name]

    return change

  def _flip(self, day: int, num_rows: int, tasks: Sequence[str]) -> Change:
    """Flips a share of the binary labels."""
    if not self.label_noise:
      return _leave
    random = self._streams("label_noise", day, num_rows, dict.fromkeys(tasks, UNIFORM))

    def change(rows: _Rows, truth: Columns, labels: Columns) -> None:
      for task in tasks:
        labels[task] = labels[task] ^ (random[task].random(len(rows.time)) < self.label_noise)
        truth[task] = _flipped(truth[task], self.label_noise)

    return change

  def _spoil(self, day: int, num_rows: int, tasks: Sequence[str]) -> Change:
    """Makes some bursts bad. The truth knows how frequent they are, not which ones they are."""
    # The last day stays clean: it is where one measures what the bad ones did to a model.
    if not self.bad_batches or day == self.days - 1:
      return _leave
    bits = self._bits("bad_batches", day)
    random = np.random.Generator(bits)
    num_bursts = -(-num_rows // BURST_ROWS)
    bad = random.random(num_bursts) < self.bad_batches
    burst = np.where(bad, random.integers(0, len(BURSTS), num_bursts), -1)
    sign_random = _streams(bits, num_rows, dict.fromkeys(REGRESSION_TASKS, _draw_signs))
    share = self.bad_batches / len(BURSTS)

    def change(rows: _Rows, truth: Columns, labels: Columns) -> None:
      count = len(rows.time)
      of_row = burst[np.arange(rows.first, rows.first + count) // BURST_ROWS]
      outlier, missing, flipped = (of_row == kind for kind in range(len(BURSTS)))
      for task in tasks:
        labels[task] = np.where(missing, np.nan, labels[task] ^ flipped)
        truth[task] = _flipped(truth[task], share / (1 - share))  # of the rows that have a label
      for task in REGRESSION_TASKS:
        sign = _draw_signs(sign_random[task], count)
        labels[task] = np.where(missing, np.nan, labels[task] + OUTLIER * sign * outlier)

    return change

  def _noise_features(self) -> dict[str, Draw]:
    """The even ones are ids, the odd ones numbers."""
    draws = (_draw_ids, np.random.Generator.standard_normal)
    return {f"noise_{k}": draws[k % 2] for k in range(self.num_noise_features)}


def _streams(
  bits: np.random.PCG64, num_rows: int, draws: Mapping[str, Draw]
) -> dict[str, np.random.Generator]:
  """A stream per draw, which gives some rows after the other.

  All of them are cut from one, which holds a draw for all `num_rows` rows, then the next draw:
  logs were made like that, all rows at once, when figures were first published.
  """
  streams = {}
  for name, draw in draws.items():
    streams[name] = np.random.Generator(copy.deepcopy(bits))
    if draw is UNIFORM:
      bits.advance(num_rows)
    else:  # takes a count of random numbers that is known only once they are drawn
      for start in range(0, num_rows, ROWS_AT_ONCE):
        draw(np.random.Generator(bits), min(ROWS_AT_ONCE, num_rows - start))
  return streams


def _draw_signs(random: np.random.Generator, count: int) -> Array:
  return random.choice((-1.0, 1.0), count)


def _draw_ids(random: np.random.Generator, count: int) -> Array:
  return world.skewed_ids(random, count, NOISE_IDS).astype(np.int16)


def _leave(rows: _Rows, truth: Columns, labels: Columns) -> None:
  """Changes nothing."""


def _draw_day(random: np.random.Generator, mean_rows: int) -> _Draws:
  num_rows = max(1, round(mean_rows * random.normal(1, 0.03)))
  # A request has three rows on average.
  ends = np.cumsum(random.geometric(1 / 3, num_rows)).clip(max=num_rows)
  ends = ends[: np.searchsorted(ends, num_rows) + 1]
  num_requests = len(ends)
  return _Draws(
    rows=np.diff(ends, prepend=0),
    hour=random.random(num_requests),
    ms=random.integers(0, HOUR_MS, num_requests),
    user=random.random(num_requests),
    tab=random.random(num_requests),
    video=random.random(num_rows),
  )


def _show_one_day(
  day: int, draws: _Draws, activity: Array, popularity: Array, taste: Array
) -> _Day:
  hour = np.sort(_pick(draws.hour, world.shares(HOURS)))
  return _Day(
    number=day,
    time=_midnight(day) + np.sort(hour * HOUR_MS + draws.ms),
    hour=hour.astype(np.int8),
    tab=_pick(draws.tab, world.shares(TAB_ROWS)).astype(np.int8),
    user=_pick(draws.user, activity),
    request=np.repeat(np.arange(len(draws.rows), dtype=np.int32), draws.rows),
    video=_pick(draws.video, world.shares(popularity)),
    taste=taste,
  )


def _pick(uniform: Array, shares: Array) -> Array:
  """Int32 positions in `shares`: what Generator.choice makes of the same random numbers."""
  bounds = shares.cumsum()
  bounds /= bounds[-1]
  picked = np.empty(len(uniform), np.int32)
  for start in range(0, len(uniform), ROWS_AT_ONCE):
    block = uniform[start : start + ROWS_AT_ONCE]
    order = np.argsort(block)  # searches in order find what they need in the cache
    picked[start + order] = bounds.searchsorted(block[order], side="right")
  return picked


def _in_blocks(day: _Day, topic: Array) -> Iterator[_Rows]:
  """The rows of a day, ROWS_AT_ONCE at a time; `topic` is that of all videos."""
  for first in range(0, len(day.video), ROWS_AT_ONCE):
    request, video = (of_row[first : first + ROWS_AT_ONCE] for of_row in (day.request, day.video))
    user = day.user[request]
    yield _Rows(
      first=first,
      time=day.time[request],
      hour=day.hour[request],
      tab=day.tab[request],
      user=user,
      video=video,
      affinity=np.einsum("nk,nk->n", day.taste.take(user, axis=0), topic.take(video, axis=0)),
    )


def _make_latents(users: world.Users, videos: world.Videos) -> _Latents:
  def by_duration(rates: Array) -> Array:
    return np.interp(np.log(videos.seconds), np.log(RATE_SECONDS), _logit(rates))

  by_user, by_video = [], []
  for effect, (mean, _, habit, quality) in world.EFFECTS.items():
    by_user.append(mean + habit * users.habit[effect])
    by_video.append(quality * videos.quality[effect])
  return _Latents(
    user=np.stack(by_user, axis=1),
    video=np.stack(by_video, axis=1),
    click=by_duration(CLICK_RATES),
    complete=by_duration(COMPLETE_RATES),
    log_duration=np.log1p(videos.seconds),
    upload=videos.upload,
  )


def _answer(
  random: Mapping[str, np.random.Generator], rows: _Rows, latents: _Latents, tail: float
) -> tuple[Columns, Columns]:
  """Returns (truth, labels): the exact mean of each task given all latents, and one draw.

  `random` holds a stream for each of LABEL_DRAWS.
  """
  user, video = rows.user, rows.video
  context = latents.click[video] + (_logit(TAB_CLICKS) - _logit(CLICK_RATE))[rows.tab]
  context += (0.1 * np.cos((np.arange(24) - 21) * math.pi / 12))[rows.hour]
  context += 0.15 * (2.5 - np.log1p(_age(rows.time, latents.upload[video])))
  # Latents pull the mean rate towards 1/2; the factor (probit approximation) makes up for it.
  context *= math.sqrt(1 + math.pi / 8 * sum(effect**2 for effect in world.EFFECTS["click"][1:]))
  taste = np.array([taste for _, taste, _, _ in world.EFFECTS.values()])
  logits = taste * rows.affinity[:, None]
  logits += latents.user.take(user, axis=0)
  logits += latents.video.take(video, axis=0)
  of_effect = dict(zip(world.EFFECTS, logits.T.copy(), strict=True))
  click = _sigmoid(context + of_effect["click"])
  like = _sigmoid(of_effect["like"])
  share = _sigmoid(of_effect["share"])
  complete = _sigmoid(latents.complete[video] + of_effect["complete"])
  satisfaction = _sigmoid(of_effect["satisfaction"])

  # Log play time that stops short is a maximum times a power of a uniform number, whose mean is
  # 1 / (1 + exponent). It stays below the duration, so complete means play time >= duration.
  log_duration = latents.log_duration[video]
  log_pass = np.minimum(log_duration, math.log1p(10))
  pass_exponent = np.exp(-0.3 * rows.affinity)
  # A longer video is left at a smaller share of its length: people leave after some seconds.
  leave_exponent = pass_exponent * log_duration / 8
  watch_if_completed = log_duration + REWATCH_SCALE * math.gamma(1 + 1 / REWATCH_SHAPE)
  watch_if_left = log_duration / (1 + leave_exponent)
  watch_if_passed = (1 - BOUNCED) * log_pass / (1 + pass_exponent)
  watch_if_clicked = complete * watch_if_completed + (1 - complete) * watch_if_left
  truth = {
    "click": click,
    "like": click * like,
    "share": click * share,
    "complete": click * complete,
    "log_watch_seconds": click * watch_if_clicked + (1 - click) * watch_if_passed,
    "satisfaction": 1 + 4 * satisfaction,
  }

  # The longer tail of a smaller shape is scaled back to the mean that the truth has.
  rewatch_scale = REWATCH_SCALE * (
    math.gamma(1 + 1 / REWATCH_SHAPE) / math.gamma(1 + tail / REWATCH_SHAPE)
  )
  count = len(rows.time)
  clicked = random["click"].random(count) < click
  completed = clicked & (random["complete"].random(count) < complete)
  completed_watch = log_duration + rewatch_scale * random["rewatch"].weibull(
    REWATCH_SHAPE / tail, count
  )
  left_watch = log_duration * random["left"].random(count) ** leave_exponent
  passed_watch = log_pass * random["passed"].random(count) ** pass_exponent
  passed_watch[random["bounced"].random(count) < BOUNCED] = 0
  surveyed = random["surveyed"].random(count) < SURVEYED
  # What is drawn for the other rows is thrown away; of one probability, it is drawn faster.
  stars = 1.0 + random["stars"].binomial(4, np.where(surveyed, satisfaction, 0.5))
  labels = {
    "click": clicked,
    "like": clicked & (random["like"].random(count) < like),
    "share": clicked & (random["share"].random(count) < share),
    "complete": completed,
    "log_watch_seconds": np.select(
      [completed, clicked], [completed_watch, left_watch], default=passed_watch
    ),
    "satisfaction": np.where(surveyed, stars, np.nan),
  }
  return truth, labels


def _flipped(probability: Array, share: float) -> Array:
  """The probability of a label that is flipped in a share of its rows."""
  return probability + share - 2 * share * probability


def _age(time: Array, upload: Array) -> Array:
  """Days from the upload of a row's video to the row, above 0."""
  return (time - _midnight(0)) / DAY_MS - upload


def _midnight(day: int) -> int:
  """Ms since epoch UTC at which a day begins."""
  return int(FIRST_DAY.timestamp()) * 1000 + day * DAY_MS


def _without_nan(columns: Mapping[str, Array]) -> dict[str, Any]:
  """Columns for an engine: numbers that are whole or missing as whole ones, with null for NaN."""
  import pyarrow as pa

  made = {}
  for name, column in columns.items():
    made[name] = pa.array(column, from_pandas=True)
    if column.dtype == np.float64 and (np.isnan(column) | (column == np.floor(column))).all():
      made[name] = made[name].cast(pa.int64())
  return made


def _logit(probability: Array | float) -> Array:
  return np.log(probability) - np.log1p(-np.asarray(probability))


def _sigmoid(logit: Array) -> Array:
  return 1 / (1 + np.exp(-logit))
