"""What a person would be warned of before training on a log: few lines, most serious first.

They are about what makes a figure of day N meaningless, or a column useless, without a word. That
counts of the past grow from day to day is no news, nor is a weekday that is another one each day;
the data report has all drift there is. What is read of large days is a sample of fixed rows.
"""

import functools
import math
import statistics
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import numpy as np
import pandas as pd

from ranking.array import Array
from ranking.data import leaks, report
from ranking.data.calendar import Calendar
from ranking.data.features import Moments, is_constant
from ranking.data.pack import Packed
from ranking.data.remark import Remark
from ranking.data.schema import Log, Schema
from ranking.data.store import Day
from ranking.tasks import Task

FAR_DAYS: Final = 365  # without a row, on both sides of which the rows can hardly be of one log
SWAPPED_DAYS: Final = 3  # from which on, and
SWAPPED: Final = 4  # how many times as far apart, days may have been read as months
SMALL_DAY_N: Final = 1 / 3  # of the median training day: weekends have more
FEW: Final = 10  # positives or negatives on day N, whose AUC then says little
MOST: Final = 0.5  # of day N's rows with a value that no training day has
HARDLY_ANY: Final = 0.1  # of training rows without a value
RECENT_DAYS: Final = 8  # day N and those before it, between which a feature is seen to jump
RECENT_ROWS: Final = 1 << 14  # sampled of each
JUMP: Final = 3.0  # times the largest change between two of the training days before
NAMED: Final = 4  # features in a line; the others are counted
FAR: Final = 10  # times as far from the nearest number as that is from the last one
OFTEN: Final = 0.01  # of rows
RARE_ID: Final = 1
AMOUNTS: Final = ("regression", "count")  # kinds of labels with a size
MANY: Final = 100  # rows, from which on one of them should not decide
ALONE: Final = 0.8  # of the spread of a column, that one row makes
UNIT: Final = 30  # times as large, labels are hardly in the same unit
LONG_LIST: Final = 64  # values, from which on, and
LONGER: Final = 20  # how many times as long as the average, the longest list is warned of
EPSILON: Final = float(np.finfo(np.float32).eps)
LOST: Final = 10  # steps between neighbouring numbers of 32 bits that labels deviate by, at least


def remarks(
  log: Log, schema: Schema, calendar: Calendar, packed: Packed, days: Sequence[Day]
) -> list[Remark]:
  """The warnings about a log that is packed, a line each.

  Args:
    log: that it was made of.
    schema: of its store.
    calendar: its days.
    packed: what they hold.
    days: 1..N, of the store.
  """
  names = [feature.name for feature in schema.features]
  of_the_log = {*log.categorical, *log.bags, *log.dense}
  past = {name for name in names if name not in of_the_log}
  same = is_constant(functools.reduce(Moments.__add__, packed.labels[:-1]))
  labelled = np.array([labels.rows for labels in packed.labels])
  return [
    *_leaks(leaks.find(schema, days, {*past, *log.entities})),
    *_tasks(log.tasks, labelled, np.array(packed.positives), same),
    *_amounts(log.tasks, packed.labels, calendar.names),
    *_days(calendar),
    *_of_no_use(schema, days, packed.dense, [*log.dense]),
    *_lone_numbers(packed.dense, [*log.dense]),
    *_long_lists(schema, days, past),
    *_stand_ins(schema, days[:-1], past),
    *_strange(schema, days, packed.unseen, past),
  ]


def _leaks(found: Sequence[leaks.Leak]) -> Iterator[Remark]:
  for leak in found[:NAMED]:
    yield Remark(
      f"feature {leak.feature} alone predicts {leak.task} on {leak.day} almost perfectly "
      f"({leak.measure} {leak.figure:.3f}): if it is known only after the event, it is a leak; "
      "leave it out (Inputs.without_features)",
      [leak.feature],
      [leak.task],
    )
  if others := [leak.feature for leak in found[NAMED:]]:
    yield Remark(f"{_listed(others)} predict a task almost perfectly too", others)


def _tasks(
  tasks: Sequence[Task], labelled: Array, positives: Array, same: Array
) -> Iterator[Remark]:
  """The tasks that cannot be learnt or measured.

  Args:
    tasks: T of them.
    labelled: [days, T] rows with the label.
    positives: [days, T] rows with one above 0.
    same: bool [T], whether all labels of the training days are one value.
  """
  for task, of_day, above, alike in zip(tasks, labelled.T, positives.T, same, strict=True):
    counts = task.rules.counts_positives
    rows, ones = int(of_day[-1]), int(above[-1])
    trained, taught = int(of_day[:-1].sum()), int(above[:-1].sum())
    about = f"task {task.name} "
    if not trained:
      then = f", {rows:,} on day N" if rows else ""
      about += f"has no label in the training days{then}: {_NOT_LEARNT}"
    elif counts and taught in (0, trained):
      about += f"is {_never(taught)} positive in the training days: {_NOT_LEARNT}"
    elif alike:
      about += "has one value in all training rows: nothing can be learnt of it; leave it out "
      about += "(without_tasks)"
    elif not rows:
      about += "has no label on day N: its figures are n/a"
    elif counts and ones in (0, rows):
      about += f"is {_never(ones)} positive on day N: it has no AUC"
    elif counts and min(ones, rows - ones) < FEW:
      which, few = ("positive", ones) if ones < FEW else ("negative", rows - ones)
      about += f"has {few} {which} rows on day N: its AUC says little"
    else:
      continue
    yield Remark(about, tasks=[task.name])


def _amounts(
  tasks: Sequence[Task], labels: Sequence[Moments], names: Sequence[str]
) -> Iterator[Remark]:
  """Amounts that one row decides, that change their unit, or whose digits are lost."""
  sizes = np.array([np.sqrt(day.mean**2 + day.variance) for day in labels])  # [days, T]
  training = functools.reduce(Moments.__add__, labels[:-1])
  alone = _of_one_row(training)
  for place, task in enumerate(tasks):
    if task.kind not in AMOUNTS:
      continue
    about = f"task {task.name}"
    mean, deviation = training.mean[place], math.sqrt(training.variance[place])
    if alone[place] > ALONE:
      cure = ", or learn logarithms (target_scale)" if task.kind == "regression" else ""
      yield Remark(
        f"{about}: the training row with {training.farthest[place]:.6g} makes {alone[place]:.1%} "
        f"of the spread of all, beside which the others are alike; mend or drop it{cure}",
        tasks=[task.name],
      )
      continue
    if 0 < deviation < LOST * EPSILON * abs(mean):
      yield Remark(
        f"{about}: labels are kept in 32 bits, which near {mean:.6g} are {EPSILON * abs(mean):.2g} "
        f"apart, and they deviate by {deviation:.2g}; take away a constant",
        tasks=[task.name],
      )
    usual = float(np.median(sizes[:-1, place]))
    for day, size in enumerate(sizes[:, place]):
      times = size / usual if usual else 1.0
      if labels[day].rows[place] >= MANY and size and not 1 / UNIT < times < UNIT:
        yield Remark(
          f"{about}: labels of {names[day]} are {times:.3g} times those of the median training "
          "day: if their unit is another one, mend the log",
          tasks=[task.name],
        )
        break


def _lone_numbers(dense: Moments, names: Sequence[str]) -> Iterator[Remark]:
  """Numbers beside one of which all others are the same, once deviations are counted."""
  for name, alone, value in zip(names, _of_one_row(dense), dense.farthest, strict=False):
    if alone > ALONE:
      yield Remark(
        f"feature {name}: the training row with {value:.6g} makes {alone:.1%} of the spread of "
        "all, beside which the others are alike; mend it, or take logarithms (Table.log_dense)",
        [name],
      )


def _long_lists(schema: Schema, days: Sequence[Day], past: Collection[str]) -> Iterator[Remark]:
  """Bags in which a few rows have lists that are far longer than all others'."""
  recent = [leaks.sample(day, RECENT_ROWS).bags for day in days[-RECENT_DAYS:]]
  start = 0
  for feature in schema.of_kind("bag"):
    columns = slice(start, start + feature.length)
    start = columns.stop
    values = sum(np.count_nonzero(bags[:, columns]) for bags in recent)
    usual = values / sum(map(len, recent))
    if feature.name not in past and feature.length > max(LONG_LIST, LONGER * usual):
      yield Remark(
        f"bag {feature.name}: its longest list has {feature.length:,} values, and lists have "
        f"{usual:.2g} on average; every row takes room for the longest: cut lists in the log",
        [feature.name],
      )


def _of_one_row(moments: Moments) -> Array:
  """float64 [k], the share of squared deviations that one row has; 0 of few rows, or weighted."""
  counts = (moments.rows >= MANY) & (moments.mass == moments.rows) & (moments.squares > 0)
  squares = np.where(counts, moments.squares, 1.0)
  return np.where(counts, (moments.farthest - moments.mean) ** 2 / squares, 0.0)


_NOT_LEARNT = "nothing can be learnt of it and its figures are n/a; leave it out (without_tasks)"


def _never(positives: int) -> str:
  """Of labels that are all alike."""
  return "always" if positives else "never"


def _days(calendar: Calendar) -> Iterator[Remark]:
  rows = calendar.rows
  median = statistics.median(rows[:-1])
  if rows[-1] < SMALL_DAY_N * median:
    yield Remark(
      f"day N, {calendar.names[-1]}, has {rows[-1]:,} rows, the median training day {median:,.0f}: "
      "if it is not whole, leave it out (without_last_days=1)"
    )
  for place in range(1, len(rows)):
    gap = calendar.days[place] - calendar.days[place - 1]  # 1 between slices
    if gap > FAR_DAYS:
      before, after, years = sum(rows[:place]), sum(rows[place:]), f"{gap / 365.25:.1f} years"
      few, which, what = (
        (before, f"{calendar.names[place - 1]} or before, {years} before", "since")
        if before <= after
        else (after, f"{calendar.names[place]} or after, {years} after", "until")
      )
      yield Remark(
        f"{few:,} of {sum(rows):,} rows are of {which} all others; they are kept: if a clock or a "
        f"unit of time was wrong, leave them out (Table.{what})"
      )
  dates = pd.to_datetime(pd.Series(calendar.names), format="%Y-%m-%d", errors="coerce")
  if len(dates) >= SWAPPED_DAYS and (dates.dt.day <= 12).all():
    other = pd.to_datetime({"year": dates.dt.year, "month": dates.dt.day, "day": dates.dt.month})
    span, other_span = (int((each.max() - each.min()).days) + 1 for each in (dates, other))
    if span > SWAPPED * other_span:
      yield Remark(
        f"its {len(dates)} days span {span}, and would span {other_span} if day and month are the "
        "other way round: if they are, mend Table.time_format"
      )


def _of_no_use(
  schema: Schema, days: Sequence[Day], dense: Moments, names: Sequence[str]
) -> Iterator[Remark]:
  """Columns that are missing, the same or rare in every row of the training days."""
  missing = [name for name, rows in zip(names, dense.rows, strict=False) if not rows]
  same = [
    name
    for name, constant, rows in zip(names, is_constant(dense), dense.rows, strict=False)
    if constant and rows
  ]
  rare = []
  for kind, array in (("categorical", "ids"), ("bag", "bags")):
    start = 0
    for feature in schema.of_kind(kind):
      columns = slice(start, start + feature.length)
      start = columns.stop
      if (value := _only_value(days[:-1], array, columns)) is None:
        continue
      if not value.any():
        missing.append(feature.name)
      elif kind == "categorical" and value[0] == RARE_ID:
        rare.append(feature.name)
      else:
        same.append(feature.name)
  for what, found in (
    ("without a value in all training rows", missing),
    ("the same in all training rows", same),
    ("rare in all training rows, no value being there three times", rare),
  ):
    if found:
      yield Remark(f"{_listed(found)}: {what}, so nothing can be learnt of it", found)


def _only_value(days: Sequence[Day], array: str, columns: slice) -> Array | None:
  """What all rows have in some columns, or None."""
  first: Array | None = None
  for day in days:
    for start in range(0, len(day), report.BLOCK):
      block = getattr(day, array)[start : start + report.BLOCK, columns]
      first = block[0] if first is None else first
      # A glance at a few rows is enough for nearly every column.
      if (block[:64] != first).any() or (block != first).any():
        return None
  return first


def _stand_ins(schema: Schema, days: Sequence[Day], past: Collection[str]) -> Iterator[Remark]:
  """Numbers that hardly mean what they say, such as -999 among shares: one value, far away."""
  some = np.concatenate([leaks.sample(day, RECENT_ROWS).dense for day in days[-RECENT_DAYS:]])
  for feature, column in zip(schema.of_kind("dense"), some.T, strict=True):
    values, rows = np.unique(column[column != 0], return_counts=True)  # 0 is what is missing
    if feature.name in past or len(values) < 4:
      continue
    for which, far, near, last in (("lowest", 0, 1, -1), ("highest", -1, -2, 0)):
      gap, spread = (abs(values[near] - values[to]) for to in (far, last))
      if gap > FAR * spread and rows[far] >= max(FEW, OFTEN * len(column)):
        yield Remark(
          f"feature {feature.name}: {rows[far] / len(column):.0%} of rows have its {which} value, "
          "far from all others; if that stands for a missing one, say so (Table.missing)",
          [feature.name],
        )


def _strange(
  schema: Schema, days: Sequence[Day], unseen: Array, past: Collection[str]
) -> Iterator[Remark]:
  """Features that are something else on day N than just before it."""
  recent = [leaks.sample(day, RECENT_ROWS) for day in days[-RECENT_DAYS:]]
  figures = report.measure(schema, recent).features
  day_n = days[-1].name
  # A column with one value a day, such as the day of the week, is another one each day.
  of_feature = {
    str(name): rows
    for name, rows in figures.groupby(level="feature")
    if not rows.only_value.notna().all()
  }
  for place, feature in enumerate(schema.of_kind("categorical")):
    share = unseen[place] / max(len(days[-1]), 1)
    if feature.name not in of_feature or share <= MOST:
      continue
    if of_feature[feature.name].missing.iloc[:-1].mean() < HARDLY_ANY:
      yield Remark(
        f"on {day_n} {share:.0%} of rows have a {feature.name} that no training day has",
        [feature.name],
      )
  if len(recent) < 4:  # too few days to say how much a feature changes anyway
    return
  # An id that is new has a number on a training day and none on day N, which is no change of it.
  for feature in schema.of_kind("dense"):
    if feature.name in past or feature.name not in of_feature:
      continue
    changes = of_feature[feature.name].psi_day_before.iloc[1:]
    before, last = changes.iloc[:-1].max(), changes.iloc[-1]
    if last > report.NOTABLE_PSI and last > JUMP * before:
      yield Remark(
        f"feature {feature.name} jumps on {day_n}: it differs from the day before by a PSI of "
        f"{last:.2f}, the days before by {before:.2f} at most",
        [feature.name],
      )


def _listed(names: Sequence[str]) -> str:
  more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
  return f"{'feature' if len(names) == 1 else 'features'} {', '.join(names[:NAMED])}{more}"
