"""What would make a figure meaningless in silence is said, on any log."""

import numpy as np
import pytest

from ranking.data.calendar import Calendar
from ranking.data.remarks import remarks
from ranking.tasks import Task

DAY = 86_400_000


def calendar(*days: int) -> Calendar:
  """Days of 10 rows each, but for the first, which has one."""
  return Calendar(
    days=days,
    names=tuple(f"day {day}" for day in days),
    rows=(1, *(10 for _ in days[1:])),
    first_times=tuple(day * DAY for day in days),
    chunks=tuple(0 for _ in days),
  )


@pytest.mark.parametrize(
  ("kind", "labelled", "positives", "message"),
  [
    ("binary", [5, 5, 5], [1, 1, 1], None),
    ("binary", [0, 0, 5], [0, 0, 1], "has no label in the training days; day N has 5: nothing can"),
    (
      "regression",
      [0, 0, 0],
      [0, 0, 0],
      "has no label in the training days: nothing can be learnt",
    ),
    ("binary", [5, 5, 5], [0, 0, 1], "is never positive in the training days: only that can be"),
    ("binary", [5, 5, 0], [1, 1, 0], "has no label on day N, so it gets no figures"),
    ("binary", [5, 5, 5], [1, 1, 0], "is never positive on day N, so it gets no AUC"),
    ("binary", [5, 5, 5], [1, 1, 5], "is always positive on day N, so it gets no AUC"),
    ("regression", [5, 5, 5], [0, 0, 0], None),
  ],
)
def test_a_task_that_cannot_be_learnt_or_judged_is_warned_of(
  kind: str, labelled: list[int], positives: list[int], message: str | None
) -> None:
  found = remarks(
    [Task("click", kind)],
    calendar(1, 2, 3),
    np.array(labelled, np.float64)[:, None],
    np.array(positives)[:, None],
  )
  assert len(found) == (message is not None)
  if message is not None:
    assert found[0].startswith(f"warning: task click {message}")


def test_a_few_rows_years_before_the_others_are_warned_of() -> None:
  counts = np.ones((3, 1))
  task = [Task("stars", "regression")]
  assert remarks(task, calendar(20_000, 20_001, 20_300), counts, counts) == []
  (found,) = remarks(task, calendar(0, 20_000, 20_001), counts, counts)
  assert found.startswith(
    "warning: 1 of 21 rows are of day 0 or before, 54.8 years before all others; they are kept"
  )
