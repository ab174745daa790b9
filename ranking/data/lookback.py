"""What was known of each row's user, item and author just before its event.

Strictly earlier events only, so that two events in the same millisecond do not see each other; and
labels only once they are known, which in production takes a while. A log is worked through in
blocks of rows; what is carried from one to the next are sums per entity, not rows.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ranking.array import Array
from ranking.checks import Checks
from ranking.data.schema import DataError

PRIOR_ROWS = 20.0  # an entity's rate starts at the running rate of all rows, with this weight
MS_PER_HOUR = 3_600_000
LONGEST_DELAY = 1_000_000  # hours, more than a century
LONGEST_HISTORY = 1_000  # items: each takes 4 bytes of every row


@dataclasses.dataclass(frozen=True)
class Lookback:
  """What a row sees of the past, beside counts and rates.

  Attributes:
    feedback_delay_hours: the label of an event is known so long after it; the event itself at once.
    history: so many of the latest items to which its user gave positive feedback become an id bag
      of the row; 0 for no such bag. The user is the first of the log's entities, the item the
      second, and feedback the first of its rated tasks.
  """

  feedback_delay_hours: float = 0.0
  history: int = 0

  def __post_init__(self) -> None:
    check = Checks("Lookback", DataError)
    check.number("feedback_delay_hours", self.feedback_delay_hours, 0, LONGEST_DELAY)
    check.whole("history", self.history, 0, LONGEST_HISTORY)

  @property
  def delay(self) -> int:
    """feedback_delay_hours in ms."""
    return round(self.feedback_delay_hours * MS_PER_HOUR)


def terms(labels: Array) -> Array:
  """What a rate is made of: float64 [n, 2R] of labels [n, R], each 0 where missing, then if known.

  The columns are label, known, label, known, …
  """
  pairs = np.stack([np.nan_to_num(labels.astype(np.float64)), ~np.isnan(labels)], axis=2)
  return pairs.reshape(len(labels), -1)


def sums_by(group: Array, values: Array, groups: int) -> Array:
  """Sums of `values` [n, k] per group, float64 [groups, k]; group -1 is no group."""
  there = group >= 0
  columns = [np.bincount(group[there], column[there], groups) for column in values.T]
  return np.stack(columns, axis=1) if columns else np.zeros((groups, 0))


class Sums:
  """Sums over the rows of a group that were known strictly before a row, block after block.

  Args:
    base: float64 [groups, k], the sums of all that was known before the first block.
    delay: in ms; a row is known once it is older than this.
  """

  def __init__(self, base: Array, delay: int):
    self._base, self._delay = base.copy(), delay
    self._pending: list[tuple[Array, Array, Array]] = []

  def add(self, group: Array, time: Array, values: Array) -> None:
    """Rows that may not be known yet: [n], ms [n] in order, [n, k]. Group -1 is no group."""
    self._pending.append((group, time, values))

  def before(self, group: Array, time: Array, values: Array) -> Array:
    """float64 [n, k] for each row of the next block, which is added; 0 for group -1."""
    self.add(group, time, values)
    while self._pending[0][1][-1] < time[0] - self._delay:
      known, _, of_known = self._pending.pop(0)
      self._base += sums_by(known, of_known, len(self._base))
    groups, times, all_values = (
      np.concatenate(arrays) for arrays in zip(*self._pending, strict=True)
    )
    order, start, stop = spans(groups, times, group, time - self._delay)
    sums = np.zeros((len(order) + 1, values.shape[1]))
    np.cumsum(all_values[order], axis=0, out=sums[1:])
    base = np.concatenate([self._base, np.zeros((1, values.shape[1]))])  # of group -1
    return base[group] + (sums[stop] - sums[start])


class Rates:
  """As-of features of one entity after the other, block after block.

  Args:
    counts: per entity float64 [groups, 1], its rows before the first block.
    known: per entity float64 [groups, 2R], the sums of its `terms` that were known by then.
    known_of_all: float64 [1, 2R], those of all rows.
    delay: in ms, after which a label is known.
  """

  def __init__(
    self, counts: Sequence[Array], known: Sequence[Array], known_of_all: Array, delay: int
  ):
    self._of_all = Sums(known_of_all, delay)
    # Without a delay the count is one more sum over the same rows.
    self._together = delay == 0
    if self._together:
      bases = zip(counts, known, strict=True)
      self._known = [Sums(np.concatenate(base, axis=1), 0) for base in bases]
    else:
      self._counts = [Sums(base, 0) for base in counts]
      self._known = [Sums(base, delay) for base in known]

  def add(self, groups: Sequence[Array], time: Array, values: Array) -> None:
    """Rows before the first block whose labels may not be known yet; they are counted already."""
    for sums, group in zip(
      (*self._known, self._of_all), (*groups, np.zeros_like(time)), strict=True
    ):
      sums.add(group, time, values)

  def before(self, groups: Sequence[Array], time: Array, values: Array) -> Array:
    """float64 [n, E * (1 + R)] for the next block, given its `terms`.

    For each of E entities: log1p of its count of strictly earlier rows, and for each of R rated
    tasks the mean of its labels known by then, smoothed towards that of all labels known by then.
    """
    totals = self._of_all.before(np.zeros_like(time), time, values)
    running = (totals[:, 0::2] + 0.5) / (totals[:, 1::2] + 1.0)
    ones = np.ones((len(time), 1))
    columns = []
    for place, group in enumerate(groups):
      if self._together:
        both = self._known[place].before(group, time, np.concatenate([ones, values], axis=1))
        count, past = both[:, :1], both[:, 1:]
      else:
        count = self._counts[place].before(group, time, ones)
        past = self._known[place].before(group, time, values)
      columns.append(np.log1p(count))
      columns.append((past[:, 0::2] + PRIOR_ROWS * running) / (past[:, 1::2] + PRIOR_ROWS))
    return np.concatenate(columns, axis=1) if columns else np.zeros((len(time), 0))


class Latest:
  """The latest items to which each user gave positive feedback, block after block.

  Args:
    base: int64 [users, K], known before the first block, the latest first; -1 = none.
    delay: in ms, after which feedback is known.
  """

  def __init__(self, base: Array, delay: int):
    self._base, self._delay = base.copy(), delay
    self._pending: list[tuple[Array, Array, Array]] = []

  def add(self, user: Array, time: Array, item: Array) -> None:
    """Positive feedback that may not be known yet: [p], ms [p] in order, [p]. User -1 is none."""
    there = user >= 0
    if there.any():
      self._pending.append((user[there], time[there], item[there]))

  def before(self, user: Array, time: Array) -> Array:
    """int64 [n, K] for each row of the next block, whose own feedback is added; -1 = none."""
    while self._pending and self._pending[0][1][-1] < time[0] - self._delay:
      known, _, items = self._pending.pop(0)
      self._base = put_before(self._base, latest(known, items, *self._base.shape))
    base = np.where((user >= 0)[:, None], self._base[user], -1)
    if not self._pending:
      return base
    users, times, items = (np.concatenate(arrays) for arrays in zip(*self._pending, strict=True))
    order, start, stop = spans(users, times, user, time - self._delay)
    place = stop[:, None] - 1 - np.arange(base.shape[1])
    there = place >= start[:, None]
    recent = np.where(there, items[order][np.clip(place, 0, len(items) - 1)], -1)
    return put_before(base, recent)


def latest(user: Array, item: Array, users: int, size: int) -> Array:
  """The last `size` items of each user, the last first: int64 [users, size], -1 = none.

  Args:
    user: [p] in order of time, none -1.
    item: [p].
    users: how many there are.
    size: how many items of each.
  """
  order = np.argsort(user, kind="stable")
  stop = np.searchsorted(user[order], np.arange(users), side="right")
  start = np.searchsorted(user[order], np.arange(users))
  place = stop[:, None] - 1 - np.arange(size)
  if not len(item):
    return np.full(place.shape, -1)
  return np.where(place >= start[:, None], item[order][np.clip(place, 0, len(item) - 1)], -1)


def put_before(older: Array, newer: Array) -> Array:
  """[n, K] of two such tables: the newer items, then as many of the older ones as there is room."""
  count = (newer >= 0).sum(axis=1, keepdims=True)
  place = np.arange(older.shape[1]) - count
  shifted = np.take_along_axis(older, np.maximum(place, 0), axis=1)
  return np.where(place < 0, newer, shifted)


def spans(group: Array, time: Array, of_group: Array, until: Array) -> tuple[Array, Array, Array]:
  """Where the rows of a group with time < until are, for each of (of_group, until).

  Args:
    group: integer [m], -1 = none.
    time: [m], never decreasing.
    of_group: integer [n]; -1 has no rows.
    until: [n].

  Returns:
    An order of the m rows, by group and then time, and [n] starts and stops in it.
  """
  order = np.argsort(group, kind="stable")
  groups = max(group.max(initial=-1), of_group.max(initial=-1)) + 1
  first = np.cumsum(np.bincount(group + 1, minlength=groups + 1))  # of each group in that order
  start = first[np.maximum(of_group, 0)]
  # How many rows of any group come before a moment is as good a clock as time, and a small number.
  moments = np.searchsorted(time, time)
  keys = (group * (len(time) + 1) + moments)[order]
  stop = np.searchsorted(keys, of_group * (len(time) + 1) + np.searchsorted(time, until))
  return order, start, np.where(of_group < 0, start, stop)
