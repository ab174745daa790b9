"""What is added to the log to make it harder: tasks, flipped labels, bad bursts, useless features.

docs/synthetic.md shows what each does.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from ranking.array import Array
from ranking.data.sources.synthetic import people
from ranking.data.sources.synthetic.days import Rows
from ranking.data.sources.synthetic.labels import REGRESSION_TASKS, Columns, sigmoid
from ranking.data.sources.synthetic.streams import UNIFORM, Draw, streams

EXTRA_MEAN: Final = (-4.0, 0.0)  # an extra task's mean logit is drawn between these
EXTRA_TASTE: Final = 0.7  # standard deviations of an extra task's weight of taste,
EXTRA_HABIT: Final = 0.6  # of what the user adds to its logit
EXTRA_QUALITY: Final = 0.6  # and of what the video adds
NOISE_IDS: Final = 1_000  # of a categorical feature that tells nothing
BURST_ROWS: Final = 200  # consecutive rows that are bad together
BURSTS: Final = ("outlier", "missing", "flipped")  # what may happen to one, equally often
# Added to or taken from a regression label. Equal odds keep its mean, so the truth stays as it is.
OUTLIER: Final = 1e4

Change = Callable[[Rows, Columns, Columns], None]  # of some rows' truth and labels


@dataclasses.dataclass(frozen=True)
class ExtraTask:
  """What a logit is made of; habit is [U], quality is [V]."""

  mean: float
  taste: float
  habit: Array
  quality: Array


def draw_extra_task(random: np.random.Generator, num_users: int, num_videos: int) -> ExtraTask:
  """Draws a binary task with a rate, and a use of taste, of its own."""
  return ExtraTask(
    mean=random.uniform(*EXTRA_MEAN),
    taste=EXTRA_TASTE * random.standard_normal(),
    habit=EXTRA_HABIT * random.standard_normal(num_users),
    quality=EXTRA_QUALITY * random.standard_normal(num_videos),
  )


def answer_extra_tasks(
  bits: np.random.PCG64, num_rows: int, tasks: Mapping[str, ExtraTask]
) -> Change:
  """Adds truth and labels of the extra tasks of a day of `num_rows`, from the stream `bits`."""
  random = streams(bits, num_rows, dict.fromkeys(tasks, UNIFORM))

  def change(rows: Rows, truth: Columns, labels: Columns) -> None:
    for name, task in tasks.items():
      by_user, by_video = task.habit[rows.user], task.quality[rows.video]
      truth[name] = sigmoid(task.mean + task.taste * rows.affinity + by_user + by_video)
      labels[name] = random[name].random(len(rows.time)) < truth[name]

  return change


def flip(bits: np.random.PCG64, num_rows: int, share: float, binary_tasks: Sequence[str]) -> Change:
  """Flips a share of the binary labels of a day."""
  random = streams(bits, num_rows, dict.fromkeys(binary_tasks, UNIFORM))

  def change(rows: Rows, truth: Columns, labels: Columns) -> None:
    for task in binary_tasks:
      labels[task] = labels[task] ^ (random[task].random(len(rows.time)) < share)
      truth[task] = _flipped(truth[task], share)

  return change


def spoil(
  bits: np.random.PCG64, num_rows: int, share: float, binary_tasks: Sequence[str]
) -> Change:
  """Makes a share of a day's bursts bad. The truth knows how frequent they are, not which ones."""
  random = np.random.Generator(bits)
  num_bursts = -(-num_rows // BURST_ROWS)
  bad = random.random(num_bursts) < share
  burst = np.where(bad, random.integers(0, len(BURSTS), num_bursts), -1)
  sign_random = streams(bits, num_rows, dict.fromkeys(REGRESSION_TASKS, _draw_signs))
  of_kind = share / len(BURSTS)

  def change(rows: Rows, truth: Columns, labels: Columns) -> None:
    count = len(rows.time)
    of_row = burst[np.arange(rows.first, rows.first + count) // BURST_ROWS]
    outlier, missing, flipped = (of_row == kind for kind in range(len(BURSTS)))
    for task in binary_tasks:
      labels[task] = np.where(missing, np.nan, labels[task] ^ flipped)
      truth[task] = _flipped(truth[task], of_kind / (1 - of_kind))  # of rows that have a label
    for task in REGRESSION_TASKS:
      sign = _draw_signs(sign_random[task], count)
      labels[task] = np.where(missing, np.nan, labels[task] + OUTLIER * sign * outlier)

  return change


def noise_features(count: int) -> dict[str, Draw]:
  """What draws each feature that tells nothing: the even ones are ids, the odd ones numbers."""
  draws = (draw_ids, np.random.Generator.standard_normal)
  return {f"noise_{k}": draws[k % 2] for k in range(count)}


def draw_ids(random: np.random.Generator, count: int) -> Array:
  """Draws int16 ids below NOISE_IDS."""
  return people.skewed_ids(random, count, NOISE_IDS).astype(np.int16)


def _draw_signs(random: np.random.Generator, count: int) -> Array:
  return random.choice((-1.0, 1.0), count)


def _flipped(probability: Array, share: float) -> Array:
  """The probability of a label that is flipped in a share of its rows."""
  return probability + share - 2 * share * probability
