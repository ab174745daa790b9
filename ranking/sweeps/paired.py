"""Two runs on the very same rows: how much better is the first, and could it be chance?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ranking.data.store import DayStore
from ranking.evaluation.predictions import load
from ranking.evaluation.users import users
from ranking.evaluation.within import Rows, weights_of
from ranking.measures.differences import Difference, grouped_difference
from ranking.nearest import nearest
from ranking.run_directory import read_result


def over_seeds(
  pairs: Sequence[tuple[Path, Path]], task: str, measure: str | None = None
) -> Difference:
  """AUC or RMSE of the first runs minus that of the second on day N, paired by row.

  The pairs are one for each seed, and the difference is their mean. The interval is about the
  chance of both users and seeds, see differences.py; its `units` are the users. With one pair it
  is about users alone.

  Args:
    pairs: first and second run of each seed; the store of the very first must be there.
    task: one that all have.
    measure: "gauc" or "ndcg", paired by user or request; None = that of the task's kind.

  Raises:
    ValueError: unless all were evaluated on the same rows, and where a figure is not finite.
  """
  runs = [run for pair in pairs for run in pair]
  loaded = [load(run) for run in runs]
  columns = []
  for run, predicted in zip(runs, loaded, strict=True):
    if task not in predicted.tasks:
      raise ValueError(f"{run} has no task {task!r}{nearest(task, predicted.tasks)}")
    columns.append(predicted.tasks.index(task))
  rows = [
    (
      predicted.day,
      predicted.time_crc32,
      predicted.labels_crc32[column],
      predicted.weights_crc32,
      predicted.requests_crc32 if measure == "ndcg" else 0,
    )
    for predicted, column in zip(loaded, columns, strict=True)
  ]
  for run, of_run in zip(runs, rows, strict=True):
    if of_run[0] != rows[0][0]:
      raise ValueError(
        f"{runs[0]} was evaluated on {rows[0][0]} and {run} on {of_run[0]}; compare runs of one day"
      )
    if of_run != rows[0]:
      raise ValueError(
        f"{runs[0]} and {run} were evaluated on different rows of {of_run[0]}; "
        "compare runs of one log"
      )
  store = DayStore(Path(read_result(runs[0])["store"]))
  place = [known.name for known in store.schema.tasks].index(task)
  outputs = [
    predicted.outputs[:, column] for predicted, column in zip(loaded, columns, strict=True)
  ]
  day, of_users = store.eval_day, users(store.schema, store.eval_day)
  if measure is not None:
    labelled = Rows.of(day, place, of_users)
    each = [labelled.groups(measure, of_run) for of_run in outputs]
    figures = np.stack([groups.figures for groups in each])
    return grouped_difference(figures[::2], figures[1::2], each[0].weights, each[0].units)
  return store.schema.tasks[place].rules.difference(
    day.labels[:, place],
    np.stack(outputs[::2]),
    np.stack(outputs[1::2]),
    of_users,
    weights_of(day),
  )
