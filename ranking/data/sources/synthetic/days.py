"""What is shown on a day: requests, each at one time to one user, and the videos of each."""

import dataclasses
import datetime
from collections.abc import Iterator
from typing import Final

import numpy as np

from ranking.array import Array
from ranking.data.sources.synthetic import people, streams

FIRST_DAY: Final = datetime.datetime.fromisoformat("2026-01-05T00:00:00+08:00")
DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000

# Percent of rows in each hour of the day.
MORNING: Final = (3.65, 2.28, 1.48, 0.94, 0.78, 0.98, 1.77, 2.66, 3.38, 4.02, 4.60, 5.15)
EVENING: Final = (5.86, 5.59, 5.08, 5.24, 5.57, 5.99, 5.62, 5.47, 5.65, 6.06, 6.41, 5.78)
HOURS: Final = np.array(MORNING + EVENING)
# Thousand rows of a tab. Tabs 9 and 11 stand for ten rare ones.
TABS: Final = (0, 1, 2, 4, 6, 9, 11)
TAB_ROWS: Final = np.array([20.25, 173.0, 6.91, 13.65, 11.21, 1.65, 1.65])


@dataclasses.dataclass(frozen=True)
class Draws:
  """The random numbers of a day of n rows in R requests: in [0, 1), where nothing else is said."""

  rows: Array  # [R], how many each request has
  hour: Array  # [R]
  ms: Array  # [R], whole numbers below HOUR_MS
  user: Array  # [R]
  tab: Array  # [R]
  video: Array  # [n]


@dataclasses.dataclass(frozen=True)
class Day:
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
class Rows:
  """Some rows of a day; affinity is about standard normal."""

  first: int  # position of the first one in its day
  time: Array
  hour: Array
  tab: Array
  user: Array
  video: Array
  affinity: Array


def draw_day(random: np.random.Generator, mean_rows: int) -> Draws:
  """Draws the random numbers of a day of about `mean_rows` rows, three a request on average."""
  num_rows = max(1, round(mean_rows * random.normal(1, 0.03)))
  ends = np.cumsum(random.geometric(1 / 3, num_rows)).clip(max=num_rows)
  ends = ends[: np.searchsorted(ends, num_rows) + 1]
  num_requests = len(ends)
  return Draws(
    rows=np.diff(ends, prepend=0),
    hour=random.random(num_requests),
    ms=random.integers(0, HOUR_MS, num_requests),
    user=random.random(num_requests),
    tab=random.random(num_requests),
    video=random.random(num_rows),
  )


def show_day(day: int, draws: Draws, activity: Array, popularity: Array, taste: Array) -> Day:
  """Shows videos to users: activity is [U], taste [U, TASTE_DIMENSIONS].

  popularity is that of the videos that are uploaded by then, the first ones.
  """
  hour = np.sort(pick(draws.hour, people.shares(HOURS)))
  return Day(
    number=day,
    time=midnight(day) + np.sort(hour * HOUR_MS + draws.ms),
    hour=hour.astype(np.int8),
    tab=pick(draws.tab, people.shares(TAB_ROWS)).astype(np.int8),
    user=pick(draws.user, activity),
    request=np.repeat(np.arange(len(draws.rows), dtype=np.int32), draws.rows),
    video=pick(draws.video, people.shares(popularity)),
    taste=taste,
  )


def pick(uniform: Array, shares: Array) -> Array:
  """Int32 positions in `shares`: what Generator.choice makes of the same random numbers."""
  bounds = shares.cumsum()
  bounds /= bounds[-1]
  picked = np.empty(len(uniform), np.int32)
  for start in range(0, len(uniform), streams.ROWS_AT_ONCE):
    block = uniform[start : start + streams.ROWS_AT_ONCE]
    order = np.argsort(block)  # searches in order find what they need in the cache
    picked[start + order] = bounds.searchsorted(block[order], side="right")
  return picked


def in_blocks(day: Day, topic: Array) -> Iterator[Rows]:
  """The rows of a day, ROWS_AT_ONCE at a time; `topic` is that of all videos."""
  for first in range(0, len(day.video), streams.ROWS_AT_ONCE):
    block = slice(first, first + streams.ROWS_AT_ONCE)
    request, video = day.request[block], day.video[block]
    user = day.user[request]
    yield Rows(
      first=first,
      time=day.time[request],
      hour=day.hour[request],
      tab=day.tab[request],
      user=user,
      video=video,
      affinity=np.einsum("nk,nk->n", day.taste.take(user, axis=0), topic.take(video, axis=0)),
    )


def midnight(day: int) -> int:
  """Ms since epoch UTC at which a day begins."""
  return int(FIRST_DAY.timestamp()) * 1000 + day * DAY_MS
