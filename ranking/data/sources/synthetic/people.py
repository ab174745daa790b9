"""Who is in the synthetic log: its users and videos, which are the same on all days."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from ranking.array import Array

# Quantiles of the duration in seconds.
DURATION_LEVELS: Final = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
DURATIONS: Final = (3.0, 7.1, 13.2, 27.5, 72.2, 158.8, 262.3, 481.9, 1177.7)
DURATION_EDGES: Final = (15, 30, 60, 120)
ACTIVE_DEGREES: Final = {"full_active": 0.658, "high_active": 0.226, "middle_active": 0.116}
UPLOAD_TYPES: Final = (0.5, 0.2, 0.1, *(0.2 / 11,) * 11)
NUM_TAGS: Final = 46
TAGS_PER_VIDEO: Final = (0.85, 0.12, 0.02, 0.01)  # shares of 1, 2, 3 and 4 tags
NUM_SEGMENTS: Final = 50
TASTE_DIMENSIONS: Final = 4
DAYS_BEFORE: Final = 90  # the oldest video was uploaded so long before the first midnight
VIDEOS_AT_ONCE: Final = 50_000  # whose tags are drawn together

# What a logit is made of: its mean, then the standard deviations that taste, the user's habit and
# the video's quality add to it. Like and share are rates of clicked rows; shares are five times as
# frequent as KuaiRand's, which are too few to learn from. Satisfaction becomes 1 to 5 stars.
EFFECTS: Final = {
  "click": (0.0, 0.8, 0.45, 0.55),
  "like": (-4.08, 0.7, 0.9, 0.5),
  "share": (-5.3, 0.5, 0.8, 0.7),
  "complete": (0.0, 0.6, 0.4, 0.5),
  "satisfaction": (0.5, 0.8, 0.4, 0.6),
}

Columns = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Users:
  """Columns of U users; activity sums to 1, habit has a standard normal column per effect."""

  activity: Array
  segment: Array
  habit: Columns
  categorical: Columns
  dense: Columns


@dataclasses.dataclass(frozen=True)
class Videos:
  """Columns of V videos in the order of upload, in days after the first midnight.

  quality has a standard normal column per effect; topic is [V, TASTE_DIMENSIONS], of length 1; tags
  are lists of numbers.
  """

  upload: Array
  popularity: Array
  seconds: Array
  topic: Array
  quality: Columns
  categorical: Columns
  tags: Sequence[Sequence[int]]


def make_users(random: np.random.Generator, count: int) -> Users:
  """Draws `count` users."""
  activity = random.standard_normal(count)
  habit = {effect: random.standard_normal(count) for effect in EFFECTS}
  segment = skewed_ids(random, count, NUM_SEGMENTS)
  degree = _levels(noisy(random, -activity, 0.9), list(ACTIVE_DEGREES.values()))
  register_days = np.exp(random.uniform(3.4, 8.0, count))
  # Segment, onehot_feat1, follows and fans tell of labels; the other features only distract.
  categorical = {
    "user_id": np.arange(count),
    "user_active_degree": np.array(list(ACTIVE_DEGREES), object)[degree],
    "register_days_range": np.digitize(register_days, (60, 90, 180, 365, 730, 1095, 1825)),
    "onehot_feat0": random.integers(0, 2, count),
    "onehot_feat1": _levels(noisy(random, habit["click"], 0.7), [1 / 7] * 7),
    "onehot_feat2": segment,
    "onehot_feat4": _with_missing(random, skewed_ids(random, count, 15), 0.032),
    "onehot_feat7": skewed_ids(random, count, 118),
    "onehot_feat8": skewed_ids(random, count, 454),
  }
  dense = {
    "log1p_follows": (3.5 + 1.2 * noisy(random, habit["click"], 0.7)).clip(0),
    "log1p_fans": _with_missing(random, (2.5 + noisy(random, habit["like"], 0.7)).clip(0), 0.02),
    "log1p_friends": np.log1p(random.poisson(8, count)),
    "log1p_register_days": np.log1p(register_days),
  }
  return Users(shares(np.exp(0.8 * activity)), segment, habit, categorical, dense)


def uploads(count: int, days: int, new_share: float | None) -> Array:
  """When each video was uploaded, in days after the first midnight, in order; one is before it."""
  if new_share is None:
    return np.linspace(-DAYS_BEFORE, days - 1, count, endpoint=False)
  new = min(round(new_share * count), count - 1)
  before = np.linspace(-DAYS_BEFORE, 0, count - new, endpoint=False)
  return np.concatenate([before, np.linspace(0, days - 1, new, endpoint=False)])


def make_videos(random: np.random.Generator, upload: Array) -> Videos:
  """Draws a video for each of `upload`, the times when they were uploaded."""
  count = len(upload)
  seconds = np.exp(np.interp(random.random(count), DURATION_LEVELS, np.log(DURATIONS)))
  num_authors = (count + 1) // 2
  author = random.integers(0, num_authors, count)
  # Half of a video's quality is its author's, which is what can be known of it on its first day.
  quality = {
    effect: noisy(random, random.standard_normal(num_authors)[author], math.sqrt(0.5))
    for effect in EFFECTS
  }
  has_tag = _draw_tags(random, count)
  topic = has_tag @ random.standard_normal((NUM_TAGS, TASTE_DIMENSIONS))
  topic = topic / has_tag.sum(axis=1, keepdims=True) + 0.5 * random.standard_normal(topic.shape)
  categorical = {
    "video_id": np.arange(count),
    "author_id": author,
    "music_id": skewed_ids(random, count, 4 * count),
    "upload_type": _levels(noisy(random, quality["click"], 0.5), UPLOAD_TYPES),
    "duration_bucket": np.digitize(seconds, DURATION_EDGES),
  }
  return Videos(
    upload=upload,
    # Cut, because a lognormal tail gives single videos more rows than they have in the real log.
    popularity=np.exp(1.4 * random.standard_normal(count).clip(max=2.2)),
    seconds=seconds,
    topic=topic / np.linalg.norm(topic, axis=1, keepdims=True),
    quality=quality,
    categorical=categorical,
    tags=[np.flatnonzero(tags).tolist() for tags in has_tag],
  )


def _draw_tags(random: np.random.Generator, count: int) -> Array:
  """Bool [V, NUM_TAGS], 1 to 4 true in a row; the first tags are the most popular."""
  most = len(TAGS_PER_VIDEO)
  reached = np.zeros((count, NUM_TAGS), np.int8)  # how many of a row's largest keys a key reaches
  for start in range(0, count, VIDEOS_AT_ONCE):
    block = reached[start : start + VIDEOS_AT_ONCE]
    # The largest of log weight plus Gumbel noise are a weighted sample without replacement.
    keys = random.gumbel(size=block.shape) - np.log(2.5 + np.arange(NUM_TAGS))
    largest = np.sort(keys, axis=1)[:, -most:]
    for k in range(most):
      block += keys >= largest[:, [k]]
  lengths = 1 + random.choice(most, (count, 1), p=TAGS_PER_VIDEO)
  return reached > most - lengths


def noisy(random: np.random.Generator, latent: Array, correlation: float) -> Array:
  """Standard normal numbers that correlate with the standard normal `latent`."""
  return correlation * latent + math.sqrt(1 - correlation**2) * random.standard_normal(latent.shape)


def skewed_ids(random: np.random.Generator, count: int, cardinality: int) -> Array:
  """Int64 ids below `cardinality`; the first tenth of them takes about a third of the column."""
  return (cardinality * random.random(count) ** 2).astype(np.int64)


def shares(weights: Array) -> Array:
  """Weights scaled to a sum of 1."""
  return weights / weights.sum()


def _levels(column: Array, shares: Sequence[float]) -> Array:
  """Cuts a column into len(shares) levels, the smallest values first."""
  return np.digitize(column, np.quantile(column, np.cumsum(shares)[:-1]))


def _with_missing(random: np.random.Generator, column: Array, share: float) -> Array:
  return np.where(random.random(len(column)) < share, np.nan, column)
