"""What a user makes of a video: the exact mean of each task, and one label drawn from it.

A row is one video shown to one user. All its labels but satisfaction come from one chance tree, so
that they agree with each other and every truth has a closed form:

  clicked (p) ─┬─ completed (q): the play time is at or above the duration
               ├─ left early (1 - q): the play time is below the duration
               └─ liked, shared: each on its own
  passed by (1 - p): a few seconds, or no play time at all
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from ranking.array import Array
from ranking.data.sources.synthetic import people
from ranking.data.sources.synthetic.days import DAY_MS, Rows, midnight
from ranking.data.sources.synthetic.streams import UNIFORM, Draw

BINARY_TASKS: Final = ("click", "like", "share", "complete")
REGRESSION_TASKS: Final = ("log_watch_seconds", "satisfaction")

# Click rate of each of days.TABS.
TAB_CLICKS: Final = np.array([0.086, 0.494, 0.481, 0.596, 0.149, 0.96, 0.04])
# Rates at some durations: clicks, and completions once clicked.
RATE_SECONDS: Final = (10.5, 21.5, 43.0, 87.0, 185.0, 600.0)
CLICK_RATES: Final = np.array([0.39, 0.447, 0.472, 0.483, 0.44, 0.40])
COMPLETE_RATES: Final = np.array([0.70, 0.53, 0.31, 0.19, 0.08, 0.015])
CLICK_RATE: Final = 0.442
BOUNCED: Final = 0.175  # share of passed-by rows without any play time
SURVEYED: Final = 0.2  # share of rows with a satisfaction label
REWATCH_SHAPE: Final = 0.7  # Weibull: how far log play time exceeds the log duration
REWATCH_SCALE: Final = 0.155

# Whatever is drawn for labels, in the order in which the log's stream holds it. All take one random
# number a row, but for rewatches: their Weibull numbers are powers of exponential ones.
LABEL_DRAWS: Final[Mapping[str, Draw]] = {
  **dict.fromkeys(("click", "complete"), UNIFORM),
  "rewatch": np.random.Generator.standard_exponential,
  **dict.fromkeys(("left", "passed", "bounced", "stars", "like", "share", "surveyed"), UNIFORM),
}

Columns = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Latents:
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


def make_latents(users: people.Users, videos: people.Videos) -> Latents:
  """Sums up what each user and each video adds to the logits, whatever the row."""

  def by_duration(rates: Array) -> Array:
    return np.interp(np.log(videos.seconds), np.log(RATE_SECONDS), _logit(rates))

  by_user, by_video = [], []
  for effect, (mean, _, habit, quality) in people.EFFECTS.items():
    by_user.append(mean + habit * users.habit[effect])
    by_video.append(quality * videos.quality[effect])
  return Latents(
    user=np.stack(by_user, axis=1),
    video=np.stack(by_video, axis=1),
    click=by_duration(CLICK_RATES),
    complete=by_duration(COMPLETE_RATES),
    log_duration=np.log1p(videos.seconds),
    upload=videos.upload,
  )


def answer(
  random: Mapping[str, np.random.Generator], rows: Rows, latents: Latents, tail: float
) -> tuple[Columns, Columns]:
  """Returns (truth, labels): the exact mean of each task given all latents, and one draw.

  `random` holds a stream for each of LABEL_DRAWS.
  """
  user, video = rows.user, rows.video
  context = latents.click[video] + (_logit(TAB_CLICKS) - _logit(CLICK_RATE))[rows.tab]
  context += (0.1 * np.cos((np.arange(24) - 21) * math.pi / 12))[rows.hour]
  context += 0.15 * (2.5 - np.log1p(_age(rows.time, latents.upload[video])))
  # Latents pull the mean rate towards 1/2; the factor (probit approximation) makes up for it.
  context *= math.sqrt(1 + math.pi / 8 * sum(effect**2 for effect in people.EFFECTS["click"][1:]))
  taste = np.array([taste for _, taste, _, _ in people.EFFECTS.values()])
  logits = taste * rows.affinity[:, None]
  logits += latents.user.take(user, axis=0)
  logits += latents.video.take(video, axis=0)
  of_effect = dict(zip(people.EFFECTS, logits.T.copy(), strict=True))
  click = sigmoid(context + of_effect["click"])
  like = sigmoid(of_effect["like"])
  share = sigmoid(of_effect["share"])
  complete = sigmoid(latents.complete[video] + of_effect["complete"])
  satisfaction = sigmoid(of_effect["satisfaction"])

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


def _age(time: Array, upload: Array) -> Array:
  """Days from the upload of a row's video to the row, above 0."""
  return (time - midnight(0)) / DAY_MS - upload


def _logit(probability: Array | float) -> Array:
  return np.log(probability) - np.log1p(-np.asarray(probability))


def sigmoid(logit: Array) -> Array:
  return 1 / (1 + np.exp(-logit))
