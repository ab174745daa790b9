"""Writes a KuaiRec-like sample: python -m scripts.make_kuairec_sample --out=folder [--rows=200000]

The files have the columns, text formats, defects and published marginal statistics of KuaiRec 2.0,
at any size. What is in them is made up: it is a *sample*, never KuaiRec data, and the README.txt
beside it says so. It is for trying a reader and a pipeline; no figure measured on it says anything
about KuaiRec.

Taste is real to the sample: who watches what for how long depends on user, video, tag and user
group, so there is something to learn. Every user is drawn from a generator of their own, so the
files depend on --rows, --small_rows, --features and --seed alone, and memory stays bounded.
Exit code 2 on bad input.
"""

import ast
import csv
import dataclasses
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import rich.console
import rich.progress
from absl import app, flags

from ranking.array import Array
from ranking.data.schema import DataError

_OUT = flags.DEFINE_string("out", None, "Folder to write: new, empty, or an earlier sample.")
_ROWS = flags.DEFINE_integer("rows", 12_530_806, "Rows of big_matrix.csv, at least 1,000.")
_SMALL_ROWS = flags.DEFINE_integer("small_rows", 0, "Rows of small_matrix.csv; 0 leaves it out.")
_FEATURES = flags.DEFINE_string(
  "features", None, "data folder of KuaiRec 2.0: its feature files are copied, not made up."
)
_SEED = flags.DEFINE_integer("seed", 0, "Another seed is another sample.")

OFFICIAL_USERS, OFFICIAL_VIDEOS, OFFICIAL_ROWS = 7176, 10_728, 12_530_806
SMALL_USERS, SMALL_VIDEOS, SMALL_ROWS = 1411, 3327, 4_676_570
LEAST_ROWS = 1000
ROWS_PER_USER, ROWS_PER_VIDEO = 50, 30  # at least, until all official ids are used
CHUNK_ROWS = 250_000

MS_PER_DAY, MS_PER_HOUR = 86_400_000, 3_600_000
UTC8 = 8 * MS_PER_HOUR
START = 1_593_878_400_000  # 2020-07-05 00:00 UTC+8, in ms since epoch UTC
CALENDAR_DAYS = 63  # 2020-07-05 .. 2020-09-05
LOG_DAYS = np.r_[0:8, 27:37, 53:63]  # Jul 5-12, Aug 1-10, Aug 27-Sep 5
LAST_DAYS = 7

# Marginals. Quantile functions are straight between their knots (share of the whole, value).
USER_ROWS = [(0, 100), (0.1, 320), (0.195, 520), (0.25, 883), (0.5, 1846), (0.75, 2461)]
USER_ROWS += [(0.9, 2850), (0.99, 3700), (0.9992, 6500), (1, 16_800)]
# More skewed than the published counts, because repeated draws of a popular video are taken back.
VIDEO_ROWS = [(0, 0.7), (0.1, 8), (0.25, 40), (0.5, 190), (0.75, 980), (0.9, 3600), (0.97, 9000)]
VIDEO_ROWS += [(0.99, 16_000), (0.999, 36_000), (1, 60_000)]
DURATION = [(0, 140), (1e-4, 150), (2e-4, 1500), (0.004, 3000), (0.02, 4300), (0.1, 6050)]
DURATION += [(0.25, 7434), (0.5, 9636), (0.75, 12_179), (0.85, 15_400), (0.92, 26_000)]
DURATION += [(0.955, 52_000), (0.98, 82_000), (0.99, 106_000), (0.998, 165_000), (1, 315_072)]
# 80th percentile of watch_ratio by duration (ms): the middles of the published buckets. Below the
# first bucket play time falls slower than duration, which gives the longest tail.
REACH_DURATION = np.array(
  [
    *(140, 3100, 3737, 4298, 4942, 5684, 6536, 7517, 8644, 9941, 11_432, 13_146, 15_118, 17_386),
    *(19_994, 22_993, 26_442, 30_408, 34_969, 40_215, 46_247, 53_186, 61_163, 70_340, 80_886),
    *(99_753, 123_020, 141_472, 162_696, 215_000),
  ]
)
REACH = np.array(
  [
    *(44.64, 3.089, 2.622, 2.307, 2.056, 1.862, 1.690, 1.486, 1.295, 1.143, 1.029, 0.913, 0.784),
    *(0.664, 0.571, 0.488, 0.423, 0.366, 0.305, 0.276, 0.246, 0.211, 0.191, 0.163, 0.140, 0.109),
    *(0.0955, 0.0767, 0.0719, 0.0514),
  ]
)
# watch_ratio over the reach at its duration, by standard normal score: fitted, with the durations
# above, to the quartiles, the buckets up to 5, mean, deviation and the mean play time.
SCORE = np.array(
  [
    *(-2.4, -1.8, -1.3, -0.9, -0.5, -0.2, 0.1, 0.4, 0.6, 0.8416, 1.1, 1.4, 1.8, 2.2, 2.6, 3.2, 4.0),
    5.2,
  ]
)
WATCHED = np.array(
  [
    *(0.0228, 0.0568, 0.134, 0.2605, 0.4707, 0.5874, 0.6814, 0.8646, 0.9343, 1.0, 1.0896, 1.421),
    *(1.9941, 2.614, 6.6263, 25.8, 45.8, 95.42),
  ]
)
LEAST_RATIO, LARGEST_RATIO, LONGEST_PLAY = 1e-4, 573.457, 999_639
# Users of the small matrix are shown everything: scores are narrower, with a tail of their own.
SMALL_SCALE, SMALL_SHIFT, SMALL_TAIL, SMALL_TAIL_FROM = 0.6605, 0.0459, 0.4346, 1.2
# Thousand rows by hour of day, UTC+8.
HOURS = np.array(
  [
    *(361, 383, 366, 352, 378, 444, 521, 592, 633, 666, 687, 657),
    *(630, 601, 574, 559, 520, 475, 438, 427, 415, 366, 292, 225),
  ]
)
LAST_DAYS_SHARE = 0.159  # of the rows
NEW_VIDEOS, NEW_ROWS = 1482 / OFFICIAL_VIDEOS, 0.125  # of all videos, of the last days' rows
DUPLICATES = 968_004 / OFFICIAL_ROWS
STUCK_COPIES = 2224  # of one row
TIMELESS = 181_992 / SMALL_ROWS

# Standard deviations of what a score is made of; the rest of its variance 1 is noise.
USER_BIAS, VIDEO_BIAS, TASTE = 0.30, 0.35, 0.45
NOISE = (1 - USER_BIAS**2 - VIDEO_BIAS**2 - TASTE**2) ** 0.5
TASTES = 8
OTHER_PLAYS = 3.0  # plays of people outside the sample, for each expected one inside

# Streams of random numbers; each is split further by user or by block of videos.
_WORLD, _BIG, _SMALL, _DAILY, _USERS, _ITEMS, _CAPTIONS, _SOCIAL = range(8)

MATRIX_COLUMNS: tuple[str, ...] = ("user_id", "video_id", "play_duration", "video_duration")
MATRIX_COLUMNS += ("time", "date", "timestamp", "watch_ratio")
FEATURE_FILES: tuple[str, ...] = ("user_features.csv", "item_categories.csv")
FEATURE_FILES += ("kuairec_caption_category.csv", "social_network.csv")
MATRICES = ("big_matrix.csv", "small_matrix.csv")
DAILY = "item_daily_features.csv"
README = "README.txt"
MARK = "This is a sample, not KuaiRec data."


# Text, as in the official files.


def float_text(values: Any) -> Any:
  """Shortest text that reads back as the same float64, ".0" where it is whole; NaN is empty."""
  array = pa.array(values, pa.float64(), from_pandas=True)
  text = pc.cast(array, pa.string())
  whole = pc.equal(array, pc.trunc(array))
  return pc.if_else(whole, pc.binary_join_element_wise(text, ".0", ""), text)


def ratio_text(play: Array, duration: Array) -> Any:
  """watch_ratio: at most 18 characters, which is where the official file cuts its digits off."""
  return pc.utf8_slice_codeunits(float_text(play / duration), 0, 18)


# ".438", ".5", ".0": trailing zeros are dropped, but one digit stays.
_FRACTIONS = pa.array([f".{f'{ms:03d}'.rstrip('0') or '0'}" for ms in range(1000)])


def _with_fraction(seconds: Any, ms: Array) -> Any:
  fraction = _FRACTIONS.take(pa.array(ms % 1000))
  return pc.binary_join_element_wise(pc.cast(seconds, pa.string()), fraction, "")


def time_text(ms: Array) -> Any:
  """ms since epoch UTC as wall clock in UTC+8, such as 2020-07-05 00:08:23.438"""
  return _with_fraction(pa.array((ms + UTC8) // 1000, pa.timestamp("s")), ms)


def timestamp_text(ms: Array) -> Any:
  """ms since epoch UTC as seconds since epoch UTC, such as 1593878903.438"""
  return _with_fraction(pa.array(ms // 1000, pa.int64()), ms)


def date_number(ms: Array) -> Array:
  """ms since epoch UTC as the day in UTC+8, such as 20200705."""
  day = ((ms + UTC8) // MS_PER_DAY).astype("datetime64[D]")
  month = day.astype("datetime64[M]")
  months = month.astype(np.int64)
  day_of_month = (day - month.astype("datetime64[D]")).astype(np.int64) + 1
  return np.asarray((1970 + months // 12) * 10_000 + (months % 12 + 1) * 100 + day_of_month)


def matrix_table(rows: "Rows", float_dates: bool) -> Any:
  """Rows as the columns of a matrix file; without a time, its three columns are empty."""
  timed = pa.array(rows.ms >= 0)
  date = pa.array(date_number(rows.ms))
  if float_dates:
    date = pc.binary_join_element_wise(pc.cast(date, pa.string()), ".0", "")
  columns = [
    *(pa.array(column) for column in (rows.user_id, rows.video_id, rows.play, rows.duration)),
    *(pc.if_else(timed, c, None) for c in (time_text(rows.ms), date, timestamp_text(rows.ms))),
    ratio_text(rows.play, rows.duration),
  ]
  return pa.table(dict(zip(MATRIX_COLUMNS, columns, strict=True)))


class CsvFile:
  """A context manager that appends tables; the file has its name only once it is complete."""

  def __init__(self, path: Path, columns: Sequence[str]):
    self._path, self._part, self._columns = path, path.with_name(path.name + ".part"), columns

  def __enter__(self) -> "CsvFile":
    self._file = self._part.open("wb")
    self._file.write((",".join(self._columns) + "\n").encode())
    return self

  def append(self, table: Any) -> None:
    # Nothing written this way holds a comma or a quote, and the official files quote only where
    # they must.
    options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
    pa.csv.write_csv(table, self._file, options)

  def __exit__(self, kind: object, *_: object) -> None:
    self._file.close()
    if kind is None:
      os.replace(self._part, self._path)


# The world: who and what there is, and how it is drawn.


@dataclasses.dataclass(frozen=True)
class Rows:
  """Rows of a matrix by user, then time.

  Attributes:
    user, video: positions in the world, int64 [n].
    user_id, video_id: official ids, int64 [n].
    ms: ms since epoch UTC, int64 [n]; negative where the time is missing.
    play, duration: ms, int64 [n].
  """

  user: Array
  video: Array
  user_id: Array
  video_id: Array
  ms: Array
  play: Array
  duration: Array


@dataclasses.dataclass(frozen=True)
class Chances:
  """Which video is shown on which day of the log.

  Attributes:
    ladder: float64 [28 * V], day + cumulative chance of the videos, old ones first.
    old: float64 [28], chance that a row shows an old video.
  """

  ladder: Array
  old: Array

  @classmethod
  def of(cls, mass: Array, old_videos: int) -> "Chances":
    cumulative = np.cumsum(mass, axis=1)
    cumulative /= cumulative[:, -1:]
    days = np.arange(len(mass))[:, None]
    return cls((cumulative + days).ravel(), cumulative[:, old_videos - 1].copy())

  def draw(self, random: np.random.Generator, day: Array, low: Any = 0.0, high: Any = 1.0) -> Array:
    """A video for each `day`, from between `low` and `high` of its cumulative chance."""
    # Just under `high`: day + 1 would be a video of the next day.
    share = low + (high - low) * (random.random(len(day)) * (1 - 1e-9))
    videos = len(self.ladder) // len(self.old)
    return np.asarray(self.ladder.searchsorted(day + share, side="right") - day * videos)


@dataclasses.dataclass(frozen=True)
class World:
  """Users [U] in the order of their ids, and videos [V], those that are new in the last days last.

  Attributes:
    user_ids, video_ids: official ids.
    rows, copies, stuck: of each user, rows of the big matrix, how many of them are copies of
      another, and how many of those are of one row.
    small_users, small_videos: positions of those in the small matrix; blocked: videos that each
      small user does not see.
    weight: expected share of the rows of each video.
    old_videos: how many videos are not new in the last days.
    arrival, last: first and last calendar day of each video, 0 = 2020-07-05.
    duration: ms, of each video.
    log_reach: log of the 80th percentile of watch_ratio at that duration.
    user_taste, video_taste: [U, TASTES] and [V, TASTES]; user_bias, video_bias: [U] and [V].
    chances, small_user_chances: for all users, and for those of the small matrix, who see none of
      its videos in the big one.
  """

  seed: int
  user_ids: Array
  video_ids: Array
  rows: Array
  copies: Array
  stuck: Array
  small_users: Array
  small_videos: Array
  blocked: Array
  weight: Array
  old_videos: int
  arrival: Array
  last: Array
  duration: Array
  log_reach: Array
  user_taste: Array
  video_taste: Array
  user_bias: Array
  video_bias: Array
  chances: Chances
  small_user_chances: Chances

  def scores(self, random: np.random.Generator, user: int, video: Array) -> Array:
    """Standard normal over all rows: how much of a video a user watches, for its duration."""
    taste = self.video_taste[video] @ self.user_taste[user] / TASTES**0.5
    known = USER_BIAS * self.user_bias[user] + VIDEO_BIAS * self.video_bias[video] + TASTE * taste
    return np.asarray(known + NOISE * random.standard_normal(len(video)))

  def play(self, score: Array, video: Array) -> Array:
    """ms watched."""
    duration = self.duration[video]
    ratio = np.exp(np.interp(score, SCORE, np.log(WATCHED)) + self.log_reach[video])
    play = np.rint(ratio * duration)
    # So small a ratio would be written with an exponent; it is nothing watched at all, or more.
    play = np.maximum(play, np.ceil(LEAST_RATIO * duration))
    play = np.minimum(play, np.minimum(LARGEST_RATIO * duration, LONGEST_PLAY))
    return np.where(score < SCORE[0], 0, play).astype(np.int64)


def _quantiles(knots: Sequence[tuple[float, float]], at: Array, log: bool = False) -> Array:
  share, value = np.array(knots, float).T
  if log:
    return np.asarray(np.exp(np.interp(at, share, np.log(value))))
  return np.interp(at, share, value)


def _middles(count: int) -> Array:
  return (np.arange(count) + 0.5) / count


def _split(total: int, weight: Array) -> Array:
  """Whole numbers that are proportional to `weight` and sum to `total`."""
  edges = np.rint(np.cumsum(weight, dtype=float) / np.sum(weight) * total).astype(np.int64)
  return np.diff(edges, prepend=0)


def small_shape(small_rows: int, users: int, videos: int) -> tuple[int, int]:
  """Users and videos of a small matrix of that many rows, in the official proportion.

  Raises DataError where a sample of `users` and `videos` is too small for it.
  """
  if not small_rows:
    return 0, 0
  most_users = max(1, users * SMALL_USERS // OFFICIAL_USERS)
  most_videos = max(1, videos * SMALL_VIDEOS // OFFICIAL_VIDEOS)
  if small_rows > most_users * most_videos:
    raise DataError(
      f"--small_rows={small_rows} is more than the {most_users} users × {most_videos} videos"
      f" = {most_users * most_videos} pairs that go with --rows; give fewer, or more --rows"
    )
  pairs = small_rows * SMALL_USERS * SMALL_VIDEOS / SMALL_ROWS
  small_users = round((pairs * SMALL_USERS / SMALL_VIDEOS) ** 0.5)
  small_users = min(max(small_users, 1), most_users)
  small_videos = min(-int(-pairs // small_users), most_videos)
  return max(small_users, -(-small_rows // small_videos)), small_videos


def _freshness(arrival: Array, last: Array, days: Array) -> Array:
  """[days, V]: how much a video is shown at its age, 0 before it comes and after it is gone."""
  age = days[:, None] - arrival
  alive = (age >= 0) & (days[:, None] <= last)
  return np.where(alive, 0.12 + np.exp(-np.maximum(age, 0) / 6.0), 0.0)


def make_world(
  rows: int, small_rows: int, seed: int, tag_of_video: Array, group_of_user: Array
) -> World:
  """Draws all that is not a row. `tag_of_video` and `group_of_user` are by official id."""
  random = np.random.default_rng((seed, _WORLD))
  users = min(OFFICIAL_USERS, rows // ROWS_PER_USER)
  videos = min(OFFICIAL_VIDEOS, rows // ROWS_PER_VIDEO)
  small_users, small_videos = small_shape(small_rows, users, videos)
  user_ids = np.sort(random.choice(OFFICIAL_USERS, users, replace=False))
  video_ids = random.choice(OFFICIAL_VIDEOS, videos, replace=False)

  # Users of the small matrix are those with the fewest rows in the big one, as in the original.
  by_activity = random.permutation(users)
  activity = np.empty(users)
  activity[by_activity] = _quantiles(USER_ROWS, _middles(users))
  user_rows = _split(rows, activity)
  stuck = np.zeros(users, np.int64)
  stuck[user_rows.argmax()] = min(STUCK_COPIES, rows // 2000)
  copies = _split(round(rows * DUPLICATES) - int(stuck.sum()), user_rows) + stuck

  new_videos = max(1, round(videos * NEW_VIDEOS))
  old_videos = videos - new_videos
  popularity = random.permutation(_quantiles(VIDEO_ROWS, _middles(videos), log=True))
  new_share = NEW_ROWS * LAST_DAYS_SHARE
  weight = np.concatenate(
    [
      popularity[:old_videos] / popularity[:old_videos].sum() * (1 - new_share),
      popularity[old_videos:] / popularity[old_videos:].sum() * new_share,
    ]
  )
  first_of_last = CALENDAR_DAYS - LAST_DAYS
  arrival = np.concatenate(
    [
      random.integers(-20, first_of_last, old_videos),
      random.integers(first_of_last, CALENDAR_DAYS, new_videos),
    ]
  )
  # A video that came while nothing was logged shows up when logging starts again.
  shown = np.where(arrival < 0, arrival, LOG_DAYS[np.searchsorted(LOG_DAYS, arrival)])
  last = np.maximum(shown, 0) + np.rint(random.exponential(38, videos)).astype(np.int64)
  evergreens = max(3, old_videos // 50)  # so that no day is without videos, however small the log
  shown[:evergreens], last[:evergreens] = -20, CALENDAR_DAYS
  mass = _freshness(shown, last, LOG_DAYS) * weight
  day_share = _day_share()
  for _ in range(60):  # until days and videos both have their shares
    mass *= (day_share / mass.sum(axis=1))[:, None]
    mass *= weight / mass.sum(axis=0)

  small_user_positions = np.sort(by_activity[:small_users])
  small_video_positions = evergreens + np.sort(
    random.choice(old_videos - evergreens, small_videos, replace=False)
  )
  mass_without_small = mass.copy()
  mass_without_small[:, small_video_positions] = 0.0
  missing_pairs = small_users * small_videos - small_rows

  # A long video is as popular as any: durations are spread evenly over the rows.
  order = random.permutation(videos)
  position = np.empty(videos)
  position[order] = np.cumsum(weight[order]) - weight[order] / 2
  duration = np.rint(_quantiles(DURATION, position, log=True)).astype(np.int64)
  log_reach = np.interp(np.log(duration), np.log(REACH_DURATION), np.log(REACH))

  taste_of_tag = random.standard_normal((64, TASTES))
  taste_of_group = random.standard_normal((64, TASTES))
  user_taste = _mix(random, taste_of_group[group_of_user[user_ids] % 64], 0.5)
  # Of one length, or the tails of watch_ratio would be those of the users with the longest.
  user_taste *= TASTES**0.5 / np.linalg.norm(user_taste, axis=1, keepdims=True)
  video_taste = _mix(random, taste_of_tag[tag_of_video[video_ids] % 64], 0.6)
  video_taste = np.stack([_standard(taste, weight) for taste in video_taste.T], axis=1)
  return World(
    seed=seed,
    user_ids=user_ids,
    video_ids=video_ids,
    rows=user_rows,
    copies=copies,
    stuck=stuck,
    small_users=small_user_positions,
    small_videos=small_video_positions,
    blocked=_split(missing_pairs, np.ones(small_users)) if small_users else np.zeros(0, np.int64),
    weight=weight,
    old_videos=old_videos,
    arrival=shown,
    last=last,
    duration=duration,
    log_reach=log_reach,
    user_taste=user_taste,
    video_taste=video_taste,
    user_bias=_standard(random.standard_normal(users), user_rows),
    video_bias=_standard(random.standard_normal(videos), weight),
    chances=Chances.of(mass, old_videos),
    small_user_chances=Chances.of(mass_without_small, old_videos),
  )


def _mix(random: np.random.Generator, shared: Array, share: float) -> Array:
  """Variance 1 in all: `share` of it from `shared`, the rest of one's own."""
  own = random.standard_normal(shared.shape)
  return np.asarray(share**0.5 * shared + (1 - share) ** 0.5 * own)


def _standard(values: Array, weight: Array) -> Array:
  """Mean 0 and variance 1 over the rows, so that the marginals do not hang on a few big videos."""
  centred = values - np.average(values, weights=weight)
  return np.asarray(centred / np.average(centred**2, weights=weight) ** 0.5)


def _day_share() -> Array:
  """Share of the rows of each day of the log."""
  share = np.full(len(LOG_DAYS), (1 - LAST_DAYS_SHARE) / (len(LOG_DAYS) - LAST_DAYS))
  share[-LAST_DAYS:] = LAST_DAYS_SHARE / LAST_DAYS
  return share


def _moments(random: np.random.Generator, calendar_day: Array) -> Array:
  """A time in each calendar day, ms since epoch UTC, by the profile of hours."""
  profile = np.cumsum(HOURS / HOURS.sum())
  hour = np.searchsorted(profile, random.random(len(calendar_day)) * profile[-1], side="right")
  in_hour = random.integers(0, MS_PER_HOUR, len(calendar_day))
  return np.asarray(START + calendar_day * MS_PER_DAY + hour * MS_PER_HOUR + in_hour)


def _big_rows_of(world: World, user: int, sees_small: bool) -> tuple[Array, Array, Array]:
  """video, ms and play of one user in the big matrix, in time order, copies included."""
  random = np.random.default_rng((world.seed, _BIG, user))
  count = int(world.rows[user] - world.copies[user])
  days = len(LOG_DAYS)
  # Shape and share of idle days give the published spread of rows over user-days.
  busy = random.gamma(1.6, size=days) * _day_share() * (random.random(days) > 0.05)
  busy = busy if busy.sum() else _day_share()
  day = np.repeat(np.arange(days), random.multinomial(count, busy / busy.sum()))
  chances = world.chances if sees_small else world.small_user_chances
  video = chances.draw(random, day)
  for _ in range(4):  # a feed seldom shows a video again: most repeats are drawn anew
    order = np.argsort(video, kind="stable")
    ordered = video[order]
    again = order[1:][ordered[1:] == ordered[:-1]]
    again = again[random.random(len(again)) > 0.2]
    old, there = video[again] < world.old_videos, chances.old[day[again]]
    # Old for old and new for new, or the share of new videos would grow.
    low, high = np.where(old, 0.0, there), np.where(old, there, 1.0)
    video[again] = chances.draw(random, day[again], low, high)
  ms = _moments(random, LOG_DAYS[day])
  play = world.play(world.scores(random, user, video), video)
  times = _times(random, count, int(world.copies[user]), int(world.stuck[user]))
  order = np.argsort(ms, kind="stable")
  order = np.repeat(order, times[order])
  return video[order], ms[order], play[order]


def _times(random: np.random.Generator, count: int, copies: int, stuck: int) -> Array:
  """How often each of `count` rows is in the log, `copies` more than once each."""
  times = np.ones(count, np.int64)
  row = random.integers(count)
  times[row] += stuck
  copies -= stuck
  if random.random() < 0.05:  # a client that sends one row over and over
    resent = copies * 2 // 3
    times[row] += resent
    copies -= resent
  times += np.bincount(random.integers(0, count, copies), minlength=count)
  return times


def _small_rows_of(world: World, small_user: int) -> tuple[Array, Array, Array]:
  """video, ms and play of one user in the small matrix, rows without a time last."""
  random = np.random.default_rng((world.seed, _SMALL, small_user))
  count = len(world.small_videos) - int(world.blocked[small_user])
  video = random.permutation(world.small_videos)[:count]
  score = world.scores(random, int(world.small_users[small_user]), video)
  tail = SMALL_TAIL * np.maximum(score - SMALL_TAIL_FROM, 0)
  play = world.play(SMALL_SCALE * score + SMALL_SHIFT + tail, video)
  # On any day of the calendar, logged in the big matrix or not, since the video came.
  ms = _moments(random, random.integers(np.maximum(world.arrival[video], 0), CALENDAR_DAYS))
  timed = count - int(count * TIMELESS + random.random())
  ms[timed:] = -1
  order = np.concatenate([np.argsort(ms[:timed], kind="stable"), np.arange(timed, count)])
  return video[order], ms[order], play[order]


def _chunks(
  world: World, user_of: Sequence[int], rows_of: Callable[[int], Any], chunk_rows: int
) -> Iterator[Rows]:
  """Rows of all users in order, whole users at a time, some `chunk_rows` together."""
  held: list[tuple[Array, Array, Array]] = []
  users: list[int] = []
  waiting = 0
  for k, user in enumerate(user_of):
    held.append(rows_of(k))
    users.append(user)
    waiting += len(held[-1][0])
    if waiting >= chunk_rows or k == len(user_of) - 1:
      video, ms, play = (np.concatenate(column) for column in zip(*held, strict=True))
      position = np.repeat(users, [len(part[0]) for part in held])
      user_id, video_id = world.user_ids[position], world.video_ids[video]
      yield Rows(position, video, user_id, video_id, ms, play, world.duration[video])
      held, users, waiting = [], [], 0


# Daily totals of videos.

DAILY_COLUMNS: tuple[str, ...] = ("video_id", "date", "author_id")
DAILY_COLUMNS += ("video_type", "upload_dt", "upload_type")
DAILY_COLUMNS += ("visible_status", "video_duration", "video_width", "video_height", "music_id")
DAILY_COLUMNS += ("video_tag_id", "video_tag_name", "show_cnt", "show_user_num", "play_cnt")
DAILY_COLUMNS += ("play_user_num", "play_duration", "complete_play_cnt", "complete_play_user_num")
DAILY_COLUMNS += ("valid_play_cnt", "valid_play_user_num", "long_time_play_cnt")
DAILY_COLUMNS += ("long_time_play_user_num", "short_time_play_cnt", "short_time_play_user_num")
DAILY_COLUMNS += ("play_progress", "comment_stay_duration", "like_cnt", "like_user_num")
DAILY_COLUMNS += ("click_like_cnt", "double_click_cnt", "cancel_like_cnt", "cancel_like_user_num")
DAILY_COLUMNS += ("comment_cnt", "comment_user_num", "direct_comment_cnt", "reply_comment_cnt")
DAILY_COLUMNS += ("delete_comment_cnt", "delete_comment_user_num", "comment_like_cnt")
DAILY_COLUMNS += ("comment_like_user_num", "follow_cnt", "follow_user_num", "cancel_follow_cnt")
DAILY_COLUMNS += ("cancel_follow_user_num", "share_cnt", "share_user_num", "download_cnt")
DAILY_COLUMNS += ("download_user_num", "report_cnt", "report_user_num", "reduce_similar_cnt")
DAILY_COLUMNS += ("reduce_similar_user_num", "collect_cnt", "collect_user_num")
DAILY_COLUMNS += ("cancel_collect_cnt", "cancel_collect_user_num")

PLAYS = ("play", "complete_play", "valid_play", "long_time_play", "short_time_play")
UPLOADS = {"ShortImport": 0.42, "LongImport": 0.22, "Kmovie": 0.13, "ShortCamera": 0.08}
UPLOADS |= {"Web": 0.07, "PictureSet": 0.05, "LongCamera": 0.03}
TAGS: tuple[str, ...] = ("生活", "美食", "搞笑", "颜值", "宠物", "时尚", "音乐", "舞蹈")
TAGS += ("运动", "旅行", "汽车", "游戏", "祝福", "情感", "手工", "摄影")
FIRST_DAY_WITH_COLLECT = 13  # days before it make up about a fifth of the rows
VIDEOS_PER_BLOCK = 512


def kinds_of_play(play: Array, duration: Array) -> dict[str, Array]:
  """Which plays count as which, by the definitions of the official README, in ms."""
  complete = play >= duration
  return {
    "play": np.ones(len(play), bool),
    "complete_play": complete,
    "valid_play": np.where(duration <= 7000, complete, play > 7000),
    "long_time_play": np.where(duration <= 18_000, complete, play >= 18_000),
    "short_time_play": play < np.minimum(3000, duration),
  }


class Totals:
  """What the sample's own plays add to each (video, day): whole numbers, so in any order."""

  def __init__(self, videos: int):
    self._cells = videos * CALENDAR_DAYS
    shape = (videos, CALENDAR_DAYS)
    self.plays = {kind: np.zeros(shape, np.int64) for kind in PLAYS}
    self.users = {kind: np.zeros(shape, np.int64) for kind in PLAYS}
    self.ms = np.zeros(shape, np.int64)
    self.ms_once = np.zeros(shape, np.int64)  # of a play, at most the video's duration

  def add(self, rows: Rows) -> None:
    """Adds rows, which must hold all of a user's rows; those without a time are left out."""
    timed = np.flatnonzero(rows.ms >= 0)
    play, duration = rows.play[timed], rows.duration[timed]
    cell = rows.video[timed] * CALENDAR_DAYS + (rows.ms[timed] - START) // MS_PER_DAY
    pair = rows.user[timed] * self._cells + cell
    order = np.argsort(pair, kind="stable")
    first = np.flatnonzero(np.diff(pair[order], prepend=-1))
    for kind, counts in kinds_of_play(play, duration).items():
      self.plays[kind] += self._per_cell(cell[counts])
      if len(first):
        by_user = np.logical_or.reduceat(counts[order], first)
        self.users[kind] += self._per_cell(cell[order[first]][by_user])
    self.ms += self._per_cell(cell, play)
    self.ms_once += self._per_cell(cell, np.minimum(play, duration))

  def _per_cell(self, cell: Array, weights: Array | None = None) -> Array:
    # Sums of whole numbers are exact in float64 below 2 ** 53.
    total = np.bincount(cell, weights, minlength=self._cells)
    return total.astype(np.int64).reshape(-1, CALENDAR_DAYS)


def daily_tables(world: World, totals: Totals) -> Iterator[Any]:
  """item_daily_features: by video, then day, with duplicate and missing (video, day)."""
  log_mass = _freshness(world.arrival, world.last, LOG_DAYS).sum(axis=0)
  rate = OTHER_PLAYS * int((world.rows - world.copies).sum()) * world.weight / log_mass
  official_order = np.argsort(world.video_ids)
  for start in range(0, len(official_order), VIDEOS_PER_BLOCK):
    video = official_order[start : start + VIDEOS_PER_BLOCK]
    yield _daily_block(world, totals, video, rate[video], start)


def _daily_block(world: World, totals: Totals, video: Array, rate: Array, start: int) -> Any:
  random = np.random.default_rng((world.seed, _DAILY, start))
  days = np.arange(CALENDAR_DAYS)
  fresh = _freshness(world.arrival[video], world.last[video], days).T  # [videos, days]
  others_plays = random.poisson(rate[:, None] * fresh)
  # Some videos are missing on some days, though they are watched on them.
  missing = random.random(fresh.shape) < 0.05
  k, day = np.nonzero((totals.plays["play"][video] + others_plays > 0) & ~missing)
  v = video[k]
  own = {kind: totals.plays[kind][v, day] for kind in PLAYS}
  own_users = {kind: totals.users[kind][v, day] for kind in PLAYS}
  duration = world.duration[v]

  def some(of: Array, chance: Any) -> Array:
    return random.binomial(of, chance)

  def users_of(plays: Array, repeats: float = 0.02) -> Array:
    return np.maximum(plays - some(plays, repeats), plays > 0)

  # Others watch a video as the sample does on average.
  at_once = np.interp(-world.log_reach[v], np.log(WATCHED), SCORE)
  distance = (at_once - VIDEO_BIAS * world.video_bias[v]) / (1 - VIDEO_BIAS**2) ** 0.5
  completes = 1 / (1 + np.exp(1.702 * distance))  # close to the normal distribution's
  plays = others_plays[k, day]
  complete = some(plays, completes)
  rest = plays - complete
  valid = complete + np.where(duration <= 7000, 0, some(rest, 0.3))
  long_time = complete - np.where(duration <= 18_000, 0, some(complete, 0.1))
  long_time += np.where(duration <= 18_000, 0, some(rest, 0.2))
  others = {"play": plays, "complete_play": complete, "valid_play": valid}
  others |= {"long_time_play": long_time, "short_time_play": some(plays - valid, 0.6)}
  ms_once = complete * duration + np.rint(rest * duration * 0.4).astype(np.int64)
  ms = ms_once + np.rint(complete * duration * random.uniform(0.2, 0.6, len(v))).astype(np.int64)

  total = {kind: own[kind] + others[kind] for kind in PLAYS}
  total_users = {kind: own_users[kind] + users_of(others[kind], 0.3) for kind in PLAYS}
  shows = total["play"] + some(total["play"], 0.02)
  columns: dict[str, Any] = _video_columns(world, random, v, day)
  columns["show_cnt"] = shows
  columns["show_user_num"] = total_users["play"] + some(shows - total["play"], 0.9)
  for kind in PLAYS:
    columns[f"{kind}_cnt"], columns[f"{kind}_user_num"] = total[kind], total_users[kind]
  columns["play_duration"] = totals.ms[v, day] + ms
  columns["play_progress"] = (totals.ms_once[v, day] + ms_once) / (total["play"] * duration)
  columns["comment_stay_duration"] = some(total["play"], 0.02) * random.integers(500, 9000, len(v))
  likes, comments = some(total["play"], 0.04), some(total["play"], 0.002)
  counts = {"like": likes, "cancel_like": some(likes, 0.02), "comment": comments}
  counts |= {"delete_comment": some(comments, 0.02), "comment_like": some(comments, 0.3)}
  chances = {"follow": 0.01, "cancel_follow": 2e-4, "share": 5e-4, "download": 8e-4}
  chances |= {"report": 1e-4, "reduce_similar": 4e-4, "collect": 5e-4, "cancel_collect": 1e-4}
  counts |= {name: some(total["play"], chance) for name, chance in chances.items()}
  for name, count in counts.items():
    columns[f"{name}_cnt"], columns[f"{name}_user_num"] = count, users_of(count)
  columns["click_like_cnt"] = some(likes, 0.75)
  columns["double_click_cnt"] = likes - columns["click_like_cnt"]
  columns["direct_comment_cnt"] = some(comments, 0.8)
  columns["reply_comment_cnt"] = comments - columns["direct_comment_cnt"]

  # One line for each of a video's tags, with the same totals, and now and then a line twice.
  tags = random.choice((1, 2, 3), len(video), p=(0.45, 0.35, 0.2))[k]
  lines = np.repeat(np.arange(len(v)), tags)
  nth = np.arange(len(lines)) - np.repeat(np.cumsum(tags) - tags, tags)
  twice = 1 + (random.random(len(lines)) < 0.005)
  lines, nth = np.repeat(lines, twice), np.repeat(nth, twice)
  tag = (columns.pop("tag")[lines] + 7 * nth) % 4000
  table: dict[str, Array] = {name: np.asarray(column)[lines] for name, column in columns.items()}
  table["video_tag_id"] = tag
  table["video_tag_name"] = np.array(TAGS, object)[tag % len(TAGS)]
  table["video_tag_name"][tag % 21 < 2] = None  # 9.4 % have no name
  for name in ("collect_cnt", "collect_user_num", "cancel_collect_cnt", "cancel_collect_user_num"):
    table[name] = np.where(day[lines] < FIRST_DAY_WITH_COLLECT, np.nan, table[name])
  arrays = {name: _daily_array(table[name]) for name in DAILY_COLUMNS}
  return pa.table(arrays)


def _daily_array(values: Array) -> Any:
  if values.dtype == np.float64:
    return float_text(values)
  return pa.array(values, pa.string() if values.dtype == object else None)


def _video_columns(world: World, random: np.random.Generator, v: Array, day: Array) -> Any:
  """What does not change from day to day, by line; "tag" is the first tag id."""
  video_id = world.video_ids[v]
  # Hashes of the id: the same in every line of a video.
  hashed = {name: _hash(video_id, salt) for salt, name in enumerate(("a", "m", "t", "u", "w", "x"))}
  uploaded = (START + UTC8) // MS_PER_DAY + world.arrival[v]
  upload_edges = np.cumsum(list(UPLOADS.values()))
  upload = np.minimum(np.searchsorted(upload_edges, hashed["u"], side="right"), len(UPLOADS) - 1)
  wide = hashed["w"] < 0.15
  return {
    "video_id": video_id,
    "date": date_number(START + day * MS_PER_DAY),
    "author_id": (hashed["a"] * 8369).astype(np.int64),
    "video_type": np.where(hashed["x"] < 0.01, "AD", "NORMAL").astype(object),
    "upload_dt": uploaded.astype("datetime64[D]").astype(str).astype(object),
    "upload_type": np.array(list(UPLOADS), object)[upload],
    "visible_status": np.where(hashed["x"] > 0.97, "private", "public").astype(object),
    "video_duration": np.where(hashed["m"] < 0.031, np.nan, world.duration[v].astype(float)),
    "video_width": np.where(wide, 1280, 720),
    "video_height": np.where(wide, 720, 1280),
    "music_id": (hashed["m"] * 9_000_000_000).astype(np.int64),
    "tag": (hashed["t"] * 4000).astype(np.int64),
  }


def _hash(numbers: Array, salt: int) -> Array:
  """Uniform in [0, 1), the same for the same number."""
  mixed = (numbers.astype(np.uint64) + np.uint64(1 + 1_000_003 * salt)) * np.uint64(
    0x9E3779B97F4A7C15
  )
  mixed ^= mixed >> np.uint64(29)
  mixed *= np.uint64(0xBF58476D1CE4E5B9)
  return np.asarray((mixed >> np.uint64(11)).astype(float) / 2**53)


# Feature files, where there are none to copy.

USER_COLUMNS: tuple[str, ...] = ("user_id", "user_active_degree")
USER_COLUMNS += ("is_lowactive_period", "is_live_streamer")
USER_COLUMNS += ("is_video_author", "follow_user_num", "follow_user_num_range", "fans_user_num")
USER_COLUMNS += ("fans_user_num_range", "friend_user_num", "friend_user_num_range")
USER_COLUMNS += ("register_days", "register_days_range", *(f"onehot_feat{k}" for k in range(18)))
# Values of onehot_feat0..17; feat4 and feat12..17 are missing for some users.
ONEHOT_VALUES = (2, 8, 30, 1076, 12, 10, 3, 47, 340, 7, 5, 3, 2, 2, 2, 2, 2, 2)
ONEHOT_MISSING = {4: 0.028, **dict.fromkeys(range(12, 18), 0.0104)}
FOLLOW = {0: "0", 10: "(0,10]", 50: "(10,50]", 100: "(50,100]", 150: "(100,150]"}
FOLLOW |= {250: "(150,250]", 500: "(250,500]", sys.maxsize: "500+"}
FANS = {0: "0", 9: "[1,10)", 99: "[10,100)", 999: "[100,1k)", 4999: "[1k,5k)", 9999: "[5k,1w)"}
FANS |= {sys.maxsize: "[1w,10w)"}
FRIENDS = {0: "0", 4: "[1,5)", 29: "[5,30)", 59: "[30,60)", 119: "[60,120)", 249: "[120,250)"}
FRIENDS |= {sys.maxsize: "250+"}
REGISTERED = {30: "15-30", 60: "31-60", 90: "61-90", 180: "91-180", 365: "181-365"}
REGISTERED |= {730: "366-730", sys.maxsize: "730+"}
CAPTION_COLUMNS: tuple[str, ...] = ("video_id", "manual_cover_text", "caption", "topic_tag")
for _level in ("first", "second", "third"):
  CAPTION_COLUMNS += (f"{_level}_level_category_id", f"{_level}_level_category_name")


def _csv(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(columns)
  writer.writerows(lines)
  return text.getvalue()


def _ranges(bounds: dict[int, str], values: Array) -> Array:
  """The name of the first bound that a value does not exceed."""
  return np.array(list(bounds.values()))[np.searchsorted(list(bounds), values)]


def user_features(seed: int) -> str:
  random, n = np.random.default_rng((seed, _USERS)), OFFICIAL_USERS
  follow = np.minimum(random.lognormal(3.6, 1.75, n), 2100).astype(int)
  fans = np.minimum(random.lognormal(0.7, 1.5, n), 99_999).astype(int)
  friends = np.minimum(random.lognormal(-0.4, 1.6, n), 1500).astype(int)
  registered = np.clip(random.lognormal(5.4, 0.75, n), 15, 2245).astype(int)
  degrees = ("full_active", "high_active", "UNKNOWN", "middle_active")
  flag_rates = (0.0004, 0.0068, 0.17)
  columns: list[Array] = [
    np.arange(n),
    random.choice(degrees, n, p=(0.8489, 0.1307, 0.0165, 0.0039)),
    *((random.random(n) < rate).astype(int) for rate in flag_rates),
    *(follow, _ranges(FOLLOW, follow), fans, _ranges(FANS, fans)),
    *(friends, _ranges(FRIENDS, friends), registered, _ranges(REGISTERED, registered)),
  ]
  for k, values in enumerate(ONEHOT_VALUES):
    drawn = (random.random(n) ** 2 * values).astype(int).astype(str).astype(object)
    drawn[random.random(n) < ONEHOT_MISSING.get(k, 0)] = ""
    columns.append(drawn)
  return _csv(USER_COLUMNS, list(zip(*(column.tolist() for column in columns), strict=True)))


def item_categories(seed: int) -> str:
  random, n = np.random.default_rng((seed, _ITEMS)), OFFICIAL_VIDEOS
  weights = 1 / (np.arange(31) + 3.0)
  tags = random.choice(31, n, p=weights / weights.sum()).tolist()
  counts = random.choice((1, 2, 3, 4), n, p=(0.836, 0.148, 0.013, 0.003)).tolist()
  pairs = zip(tags, counts, strict=True)
  lists = [[(tag + 5 * k) % 31 for k in range(count)] for tag, count in pairs]
  return _csv(("video_id", "feat"), list(enumerate(lists)))


def captions(seed: int) -> str:
  random, n = np.random.default_rng((seed, _CAPTIONS)), OFFICIAL_VIDEOS
  lines = []
  for video, (word, more, kind) in enumerate(random.random((n, 3)).tolist()):
    tag, other = TAGS[int(word * len(TAGS))], TAGS[int(more * len(TAGS))]
    caption = "" if kind < 0.126 else f"{tag}日常，{other} #{tag} #{other}"
    topics = "[]" if kind < 0.4 else f"[{tag},{other}]"
    second = (int(100 + 139 * more), f"{tag}随拍") if kind < 0.8 else (-124, "UNKNOWN")
    third = (int(1000 + 220 * kind), f"{other}分享") if kind < 0.5 else (-124, "UNKNOWN")
    cover = "UNKNOWN" if kind < 0.7 else f"{other}时刻"
    first = (int(word * 41), tag)
    lines.append((video, cover, caption, topics, *first, *second, *third))
  text = _csv(CAPTION_COLUMNS, lines).split("\n")
  # No writer would write these, but they are what a reader meets: quotes in and at the beginning of
  # a field that is not quoted, a carriage return, and a caption of two lines.
  odd = ('他说"好看"的', '"真的"好看', "第一次\r", '"第一行\n第二行"')
  for video, caption in enumerate(odd, start=3):
    text[video + 1] = f"{video},UNKNOWN,{caption},[],8,颜值,673,颜值随拍,-124,UNKNOWN"
  return "\n".join(text)


def social_network(seed: int) -> str:
  random = np.random.default_rng((seed, _SOCIAL))
  users = random.choice(OFFICIAL_USERS, 472, replace=False)
  counts = np.minimum(random.geometric(1 / 1.42, 472), 5)
  lists = [random.choice(OFFICIAL_USERS, count, replace=False).tolist() for count in counts]
  return _csv(("user_id", "friend_list"), list(zip(users.tolist(), lists, strict=True)))


MAKERS: dict[str, Callable[[int], str]] = dict(
  zip(FEATURE_FILES, (user_features, item_categories, captions, social_network), strict=True)
)


def first_tags(path: Path) -> Array:
  """The first tag of every video by official id, 0 where there is none."""

  def tag(line: dict[str, str]) -> int:
    tags = ast.literal_eval(line["feat"])
    return int(tags[0]) if tags else 0

  return _by_id(path, "video_id", OFFICIAL_VIDEOS, tag)


def user_groups(path: Path) -> Array:
  """onehot_feat1 of every user by official id."""
  return _by_id(path, "user_id", OFFICIAL_USERS, lambda line: int(line["onehot_feat1"] or 0))


def _by_id(path: Path, key: str, count: int, value: Callable[[dict[str, str]], int]) -> Array:
  values = np.zeros(count, np.int64)
  try:
    with path.open(newline="", encoding="utf-8") as file:
      for line in csv.DictReader(file):
        values[int(line[key])] = value(line)
  except (KeyError, IndexError, TypeError, ValueError, SyntaxError, csv.Error) as error:
    raise DataError(
      f"{path.name} of --features is not that of KuaiRec 2.0 ({type(error).__name__}: {error});"
      " leave --features out to have it made up"
    ) from error
  return values


# The whole.


def make_sample(
  out: Path,
  rows: int,
  small_rows: int = 0,
  features: Path | None = None,
  seed: int = 0,
  chunk_rows: int = CHUNK_ROWS,
  report: Callable[[int], None] = lambda rows: None,
) -> World:
  """Writes the sample to `out`. `report` is called with the number of rows written since before.

  Raises DataError before anything is written where that cannot be done.
  """
  _check(out, rows, small_rows, features, seed)
  copied = [n for n in FEATURE_FILES if features is not None and (features / n).is_file()]
  out.mkdir(parents=True, exist_ok=True)
  for stale in (*MATRICES, DAILY):
    (out / stale).unlink(missing_ok=True)
  (out / README).write_text(_readme(rows, small_rows, seed, copied), encoding="utf-8")
  for name, maker in MAKERS.items():
    if features is not None and name in copied:
      shutil.copyfile(features / name, out / name)
    else:
      (out / name).write_bytes(maker(seed).encode())

  tags, groups = first_tags(out / "item_categories.csv"), user_groups(out / "user_features.csv")
  world = make_world(rows, small_rows, seed, tags, groups)
  totals = Totals(len(world.video_ids))
  small_users = world.small_users.tolist()
  hidden = set(small_users)
  users = range(len(world.user_ids))
  work: dict[str, tuple[Sequence[int], Callable[[int], Any]]] = {
    MATRICES[0]: (users, lambda user: _big_rows_of(world, user, user not in hidden))
  }
  if small_rows:
    work[MATRICES[1]] = (small_users, lambda k: _small_rows_of(world, k))
  for name, (user_of, rows_of) in work.items():
    with CsvFile(out / name, MATRIX_COLUMNS) as file:
      for chunk in _chunks(world, user_of, rows_of, chunk_rows):
        file.append(matrix_table(chunk, float_dates=name == MATRICES[1]))
        totals.add(chunk)
        report(len(chunk.ms))
  with CsvFile(out / DAILY, DAILY_COLUMNS) as file:
    for table in daily_tables(world, totals):
      file.append(table)
  return world


def _check(out: Path, rows: int, small_rows: int, features: Path | None, seed: int) -> None:
  if rows < LEAST_ROWS:
    raise DataError(f"--rows={rows} is too few for a sample; give at least {LEAST_ROWS}")
  if small_rows < 0 or seed < 0:
    name, value = ("small_rows", small_rows) if small_rows < 0 else ("seed", seed)
    raise DataError(f"--{name}={value} is negative; give 0 or more")
  small_shape(
    small_rows,
    min(OFFICIAL_USERS, rows // ROWS_PER_USER),
    min(OFFICIAL_VIDEOS, rows // ROWS_PER_VIDEO),
  )
  if features is not None and not any((features / name).is_file() for name in FEATURE_FILES):
    raise DataError(
      f"--features={features} holds none of {', '.join(FEATURE_FILES)};"
      " give the data folder of KuaiRec 2.0, or leave it out"
    )
  if out.exists() and not out.is_dir():
    raise DataError(f"--out={out} is a file; give a folder")
  held = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
  made = {*MATRICES, DAILY}
  ours = {README, *FEATURE_FILES, *made, *(name + ".part" for name in made)}
  foreign = [name for name in held if name not in ours]
  marked = README in held and (out / README).read_text("utf-8", "replace").startswith(MARK)
  if held and (foreign or not marked):
    raise DataError(
      f"--out={out} holds {(foreign or held)[0]}, which is not of a sample; give a new folder"
    )


def _readme(rows: int, small_rows: int, seed: int, copied: Sequence[str]) -> str:
  made = [name for name in FEATURE_FILES if name not in copied]
  matrices = MATRICES if small_rows else MATRICES[:1]
  return f"""{MARK}

Made up: the rows of {", ".join((*matrices, DAILY))}.
They have the columns, text formats and defects of KuaiRec 2.0 and follow its published marginal
statistics, for trying software when the original cannot be had. Nobody watched these videos: no
figure measured here says anything about KuaiRec, and none may be reported as a result on it.

Made by scripts/make_kuairec_sample.py with --rows={rows} --small_rows={small_rows} --seed={seed}
Also made up: {", ".join(made) or "nothing"}
Copied unchanged from KuaiRec 2.0: {", ".join(copied) or "nothing"}
(KuaiRec: Gao et al., CIKM 2022, 10.1145/3511808.3557220, CC BY-SA 4.0)

Known to differ from the original: date is the day of time in every row (reported otherwise for
0.12 % of the original's); the hours of a user's rows are independent of each other; {DAILY}
counts about three plays outside the sample for each one inside, the original those of a
whole platform. Its duplicate (video_id, date) rows mostly differ in their tag, which is a guess.
"""


def main(_argv: list[str]) -> int:
  """Makes the sample and says what it made; returns the exit code."""
  console = rich.console.Console(stderr=True)
  columns = (
    rich.progress.TextColumn("rows {task.completed:,.0f}/{task.total:,.0f}"),
    rich.progress.BarColumn(bar_width=24),
    rich.progress.TimeRemainingColumn(compact=True),
    rich.progress.TextColumn("left"),
  )
  try:
    if not _OUT.value:
      raise DataError("--out is missing; give the folder to write")
    out = Path(_OUT.value)
    features = Path(_FEATURES.value) if _FEATURES.value else None
    with rich.progress.Progress(*columns, console=console, disable=not console.is_terminal) as bar:
      task = bar.add_task("", total=_ROWS.value + _SMALL_ROWS.value)
      world = make_sample(
        out,
        _ROWS.value,
        _SMALL_ROWS.value,
        features,
        _SEED.value,
        report=lambda rows: bar.advance(task, rows),
      )
  except DataError as error:
    print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
    return 2
  except OSError as error:
    where = f"{error.filename}: " if error.filename else ""
    print(f"error: {where}{error.strerror or error}; see df -h and ls -l", file=sys.stderr)
    return 2
  users, videos = len(world.user_ids), len(world.video_ids)
  print(f"{out}: a sample of {_ROWS.value:,} rows, {users:,} users, {videos:,} videos", end="")
  print(f", and {_SMALL_ROWS.value:,} rows of a small matrix" if _SMALL_ROWS.value else "")
  return 0


if __name__ == "__main__":
  app.run(main)
