"""Two runs on the very same rows: how much better is the first, and could it be chance?"""

import json
from pathlib import Path

import numpy as np

from ranking.data.features import FIRST_ID
from ranking.data.schema import Array
from ranking.data.store import Day, DayStore
from ranking.experiments.statistics import Difference, auc_difference, rmse_difference
from ranking.nearest import nearest
from ranking.training.predictions import load


def users(store: DayStore, day: Day) -> Array:
  """Who each row of a day belongs to, int64 [n]: equal numbers, one user.

  A store cannot tell apart the users that are missing, unseen in the training days or rare there.
  Each row of theirs gets a number of its own, as do all rows of a log without entities. What such
  a user's rows have in common is then taken for chance, which makes intervals slightly too narrow:
  on kuairand's last day, where they are 9 % of the rows, by less than 1 %.
  """
  rows = np.arange(len(day))
  if not store.schema.entities:
    return rows
  names = [feature.name for feature in store.schema.of_kind("categorical")]
  ids = day.ids[:, names.index(store.schema.entities[0])].astype(np.int64)
  return np.where(ids < FIRST_ID, -1 - rows, ids)


def compare(first_run: Path, second_run: Path, task: str) -> Difference:
  """AUC or RMSE of the first run minus that of the second on day N, paired by row.

  Args:
    first_run, second_run: run directories of finished runs; the store of the first must be there.
    task: one that both have.

  Raises:
    ValueError: unless both were evaluated on the same rows, and where a figure is not finite.
  """
  first, second = load(first_run), load(second_run)
  for run, predicted in ((first_run, first), (second_run, second)):
    if task not in predicted.tasks:
      raise ValueError(f"{run} has no task {task!r}{nearest(task, predicted.tasks)}")
  if first.day != second.day:
    raise ValueError(
      f"{first_run} was evaluated on {first.day} and {second_run} on {second.day}; "
      "compare runs of one day"
    )
  mine, theirs = (predicted.tasks.index(task) for predicted in (first, second))
  if (first.time_crc32, first.labels_crc32[mine]) != (
    second.time_crc32,
    second.labels_crc32[theirs],
  ):
    raise ValueError(
      f"{first_run} and {second_run} were evaluated on different rows of {first.day}; "
      "compare runs of one log"
    )
  store = DayStore(Path(json.loads((first_run / "result.json").read_text())["store"]))
  place = [known.name for known in store.schema.tasks].index(task)
  binary = store.schema.tasks[place].kind == "binary"
  return (auc_difference if binary else rmse_difference)(
    store.eval_day.labels[:, place],
    first.outputs[:, mine],
    second.outputs[:, theirs],
    users(store, store.eval_day),
  )
