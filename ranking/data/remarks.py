"""What a person should know of a log before training on it: lines for the console and the summary.

They are about what would make a figure meaningless in silence, on any log.
"""

from collections.abc import Sequence

from ranking.array import Array
from ranking.data.calendar import Calendar
from ranking.tasks import Task

FAR_DAYS = 365  # without a row, on both sides of which the rows can hardly be of one log


def remarks(
  tasks: Sequence[Task], calendar: Calendar, labelled: Array, positives: Array
) -> list[str]:
  """The warnings about a log, most serious first.

  Args:
    tasks: T of them.
    calendar: the days.
    labelled: [days, T], rows that have the label.
    positives: [days, T], rows whose label is above 0.
  """
  return [*_tasks(tasks, labelled, positives), *_days(calendar)]


def _tasks(tasks: Sequence[Task], labelled: Array, positives: Array) -> list[str]:
  found = []
  for task, of_day, above in zip(tasks, labelled.T, positives.T, strict=True):
    if not of_day[:-1].any():
      then = f"; day N has {int(of_day[-1]):,}" if of_day[-1] else ""
      found.append(
        f"warning: task {task.name} has no label in the training days{then}: nothing can be learnt "
        "of it; leave it out (without_tasks)"
      )
    elif task.rules.counts_positives and not above[:-1].any():
      found.append(
        f"warning: task {task.name} is never positive in the training days: only that can be "
        "learnt of it; leave it out (without_tasks), or see what its label means"
      )
    elif not of_day[-1]:
      found.append(f"warning: task {task.name} has no label on day N, so it gets no figures")
    elif task.rules.counts_positives and above[-1] in (0, of_day[-1]):
      which = "never" if above[-1] == 0 else "always"
      found.append(f"warning: task {task.name} is {which} positive on day N, so it gets no AUC")
  return found


def _days(calendar: Calendar) -> list[str]:
  found = []
  rows = calendar.rows
  for place in range(1, len(rows)):
    gap = calendar.days[place] - calendar.days[place - 1]  # 1 between slices
    before = sum(rows[:place])
    if gap > FAR_DAYS and before < 0.1 * sum(rows):
      found.append(
        f"warning: {before:,} of {sum(rows):,} rows are of {calendar.names[place - 1]} or before, "
        f"{gap / 365.25:.1f} years before all others; they are kept: if a clock was wrong, leave "
        "them out (Table.since)"
      )
  return found
