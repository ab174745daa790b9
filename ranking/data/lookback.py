"""What was known of each row's user, item and author just before its event.

Strictly earlier events only, so that two events in the same millisecond do not see each other; and
labels only once they are known, which in production takes a while. `past.py` adds up what each
entity had; here that becomes features.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ranking.array import Array
from ranking.checks import Checks
from ranking.data.past import ID, Latest, Sums
from ranking.data.schema import DataError, Log

PRIOR_ROWS = 20.0  # an entity's rate starts at the running rate of all rows, with this weight
MS_PER_HOUR = 3_600_000
LONGEST_DELAY = 1_000_000  # hours, more than a century
LONGEST_HISTORY = 1_000  # items: each takes 4 bytes of every row
AGES: Final = 32  # ids of how long ago: 0 for no item, then up to 1, 2, 4, … 2³⁰ seconds
MOST_ACTIONS: Final = 8  # binary tasks whose labels make the id of what a user did
EVENT: Final = np.dtype([("item", "<i4"), ("actions", "<i4"), ("time", "<i8")])
WHOLE: Final = ("binary", "count")  # kinds of task whose labels are whole numbers
FINEST: Final = 2.0**-20  # other rated labels are summed as multiples of it
LARGEST: Final = 2.0**62  # of a sum of labels in their units


@dataclasses.dataclass(frozen=True)
class Lookback:
  """What a row sees of the past, beside counts and rates.

  Attributes:
    feedback_delay_hours: the label of an event is known so long after it; the event itself at once.
    history: so many of the latest items to which its user gave positive feedback become an id bag
      of the row; 0 for no such bag. The user is the first of the log's entities, the item the
      second, and feedback the first of its rated tasks.
    history_details: beside each of these items stand how long ago its event was, and what the user
      did: two more bags, in the order of the items. `Attention` looks at them.
  """

  feedback_delay_hours: float = 0.0
  history: int = 0
  history_details: bool = dataclasses.field(default=False, metadata={"later": True})

  def __post_init__(self) -> None:
    check = Checks("Lookback", DataError)
    check.number("feedback_delay_hours", self.feedback_delay_hours, 0, LONGEST_DELAY)
    check.whole("history", self.history, 0, LONGEST_HISTORY)
    if check.flag("history_details", self.history_details) and not self.history:
      raise DataError(
        "Lookback.history_details is True and Lookback.history 0; make that the number of items"
      )

  @property
  def delay(self) -> int:
    """feedback_delay_hours in ms."""
    return round(self.feedback_delay_hours * MS_PER_HOUR)

  def identity(self) -> dict[str, Any]:
    """What a store depends on."""
    fields = dataclasses.asdict(self)
    if not self.history_details:  # what earlier versions had not
      del fields["history_details"]
    return fields

  def check(self, log: Log) -> None:
    """Raises DataError where a log lacks what a setting is about."""
    has = f"the log has entities {list(log.entities)} and rated tasks {list(log.rated_tasks)}"
    if self.history and (len(log.entities) < 2 or not log.rated_tasks):
      raise DataError(
        f"Lookback.history is {self.history}, but {has}; a history needs a user, an item and a "
        "rated task"
      )
    if self.feedback_delay_hours and not (log.entities and log.rated_tasks):
      raise DataError(
        f"Lookback.feedback_delay_hours is {self.feedback_delay_hours}, but {has}; only the past "
        "labels of an entity can be late: leave it 0"
      )


class Past:
  """A context manager that says what a row sees of the past, rows after rows in order of time.

  Args:
    folder: for what does not fit into memory; must not exist.
    log: whose rows they are.
    look: what they see.
    keys: per entity, how many there are; they are numbered from 1, and 0 is for none.
  """

  def __init__(self, folder: Path, log: Log, look: Lookback, keys: Sequence[int]):
    self._tasks = log.rated_tasks
    kinds = {task.name: task.kind for task in log.tasks}
    self._units = np.array([1.0 if kinds[task] in WHOLE else FINEST for task in self._tasks])
    self._total = np.zeros(len(self._tasks))
    width = 1 + 2 * len(self._tasks)
    parts = [(0, 1, 0), (1, width, look.delay)] if look.delay else [(0, width, 0)]
    self._sums = [
      (slice(first, last), Sums(folder / f"from_{first}", keys, last - first, delay))
      for first, last, delay in parts
    ]
    self._latest = None
    if look.history:
      of_event = EVENT if look.history_details else ID
      self._latest = Latest(folder / "latest", keys[0], look.history, look.delay, of_event)
    self._has_details = look.history_details

  def __enter__(self) -> "Past":
    with contextlib.ExitStack() as stack:
      for _, sums in self._sums:
        stack.enter_context(sums)
      if self._latest:
        stack.enter_context(self._latest)
      self._open = stack.pop_all()
    return self

  def __exit__(self, *_: object) -> None:
    self._open.close()

  def rates(self, time: Array, keys: Array, labels: Array) -> Array:
    """As-of features of the next rows, see `rates`; their labels are learnt.

    Args:
      time: int64 [n], ms.
      keys: int32 [n, E], of the entities.
      labels: float64 [n, R], of the rated tasks, NaN = missing.

    Raises DataError where labels are too large to be added up.
    """
    values = np.ones((len(time), 1 + 2 * len(self._tasks)), np.int64)
    values[:, 1::2] = ~np.isnan(labels)
    in_units = np.floor(np.nan_to_num(labels) / self._units + 0.5)
    self._total += np.abs(in_units).sum(axis=0)
    for task, total, column in zip(self._tasks, self._total, labels.T, strict=True):
      if total > LARGEST:
        largest = np.nanmax(np.abs(column))
        raise DataError(f"label {task} holds {largest:g}, too large to be summed up")
    values[:, 2::2] = in_units
    pasts = np.empty((keys.shape[1] + 1, *values.shape))
    for columns, sums in self._sums:
      pasts[:, :, columns] = sums.before(time, keys, values[:, columns])
    return rates(pasts[:-1], pasts[-1, :, 1:], self._units)

  def latest(self, time: Array, keys: Array, rated: Array, items: Array, labels: Array) -> Array:
    """int32 [n, history], the latest items of each row's user, the latest first, and 0 for none.

    With details [n, 3 · history]: the items, how long ago (see `ages`) and what was done (see
    `actions`).

    Args:
      time: int64 [n], ms.
      keys: int32 [n, E], of the entities.
      rated: float64 [n, R], labels of the rated tasks.
      items: int32 [n], the id of the row's item.
      labels: [n, B], of the binary tasks, NaN = missing.
    """
    assert self._latest is not None
    counts = (rated[:, 0] > 0) & (keys[:, 0] > 0) & (keys[:, 1] > 0)
    if not self._has_details:
      return self._latest.before(time, keys[:, 0], items, counts)
    events = np.empty(len(time), EVENT)
    events["item"], events["actions"], events["time"] = items, actions(labels), time
    found = self._latest.before(time, keys[:, 0], events, counts)
    old = np.where(found["actions"] > 0, ages(time[:, None] - found["time"]), 0)
    return np.concatenate([found["item"], old, found["actions"]], axis=1).astype(np.int32)


def ages(ms: Array) -> Array:
  """An id of how long ago, of times of 0 or more: 1 below 1 s, 2 below 2 s, 3 below 4 s, …"""
  _, doublings = np.frexp((ms // 1000).astype(np.float64))
  return 1 + np.clip(doublings, 0, AGES - 2)


def actions(labels: Array) -> Array:
  """An id of what was done, of labels [n, B]: 1 + Σ 2ᵏ over the first MOST_ACTIONS that are yes."""
  done = labels[:, :MOST_ACTIONS] > 0
  return 1 + done @ (1 << np.arange(done.shape[1]))


def rates(pasts: Array, totals: Array, units: Array) -> Array:
  """As-of features: float64 [n, E * (1 + R)].

  For each of E entities: log1p of its count of strictly earlier rows, and for each of R rated tasks
  the mean of its labels known by then, smoothed towards that of all labels known by then.

  Args:
    pasts: [E, n, 1 + 2R], of each entity its earlier rows, and per task how many labels of them
      were known, and their sum.
    totals: [n, 2R], the same of all rows, without their count.
    units: [R], what 1 of a sum stands for.
  """
  running = (units * totals[:, 1::2] + 0.5) / (totals[:, 0::2] + 1.0)
  columns = [np.zeros((len(totals), 0))]
  for of_entity in pasts:
    known, sums = of_entity[:, 1::2], units * of_entity[:, 2::2]
    columns.append(np.log1p(of_entity[:, :1]))
    columns.append((sums + PRIOR_ROWS * running) / (known + PRIOR_ROWS))
  return np.concatenate(columns, axis=1)
