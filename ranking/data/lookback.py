"""What was known of each row's user, item and author just before its event.

Strictly earlier events only, so that two events in the same millisecond do not see each other; and
labels only once they are known, which in production takes a while. `past.py` has the engine sum
what each entity had; here that becomes features.
"""

import dataclasses

import numpy as np

from ranking.array import Array
from ranking.checks import Checks
from ranking.data.schema import DataError, Log

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


def rates(pasts: Array, totals: Array, units: Array) -> Array:
  """As-of features: float64 [n, E * (1 + R)].

  For each of E entities: log1p of its count of strictly earlier rows, and for each of R rated tasks
  the mean of its labels known by then, smoothed towards that of all labels known by then.

  Args:
    pasts: [E, n, 1 + 2R], in the order of `past.columns_of`.
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


class Running:
  """Sums over all rows that were known strictly before a time, rows after rows in order of time.

  Args:
    columns: how many sums.
    delay: in ms; a row is known once it is older than this.
  """

  def __init__(self, columns: int, delay: int):
    self._base, self._delay = np.zeros(columns), delay
    self._pending: list[tuple[Array, Array]] = []

  def before(self, time: Array, values: Array) -> Array:
    """float64 [n, k] for each of the next rows, which are added: ms [n], never falling; [n, k]."""
    moments, first = np.unique(time, return_index=True)
    self._pending.append((moments, np.add.reduceat(values, first, axis=0)))
    while self._pending[0][0][-1] < time[0] - self._delay:
      self._base = self._base + self._pending.pop(0)[1].sum(axis=0)
    times = np.concatenate([times for times, _ in self._pending])
    sums = np.zeros((len(times) + 1, values.shape[1]))
    np.cumsum(np.concatenate([values for _, values in self._pending]), axis=0, out=sums[1:])
    return self._base + sums[np.searchsorted(times, time - self._delay)]
