"""How the tasks of a log are learnt by one run: on which scale, and with which weight."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ranking.data.schema import Schema
from ranking.data.store import DayStore
from ranking.evaluation.within import weights_of
from ranking.nearest import nearest
from ranking.settings import SettingError, TrainingSettings
from ranking.tasks import KINDS, Kind, LabelStatistics, LearntTask
from ranking.tasks.regression import Logarithmic, Regression, Standardised


def learnt(store: DayStore, training: TrainingSettings, own: bool) -> Schema:
  """The schema of a store with the tasks as a run learns them.

  Args:
    store: of the log.
    training: whose target_scale and loss_weights they are.
    own: whether the log is a user's own, whose regression targets are standardised by default.

  Raises:
    SettingError: a task that there is not, a scale of one that is no regression, a logarithm of a
      label below 0, or a balance of one task, or with one whose labels are all the same.
  """
  schema, given = store.schema, training.target_scale
  default = "standard" if own else "none"
  by_task = given if isinstance(given, dict) else {}
  names = [task.name for task in schema.tasks]
  _check_names("target_scale", list(by_task), names)
  _check_names("loss_weights", list(training.loss_weights), names)
  if training.balance is not None and len(names) < 2:
    raise SettingError(
      f"train_and_evaluate.balance is {type(training.balance).__name__}, which is between tasks, "
      f"and {names[0]} is the only one; leave it out"
    )
  for task, known in zip(schema.tasks, schema.label_statistics, strict=True):
    if training.balance is not None and known.rows and not known.variance:
      # Its gradient is next to nothing, which a balance would set against those of all others.
      raise SettingError(
        f"train_and_evaluate.balance is {type(training.balance).__name__}, and {task.name} has one "
        f"value in all training rows; leave the task out: without_tasks = ['{task.name}']"
      )
  tasks = []
  for column, task in enumerate(schema.tasks):
    learning = KINDS[task.kind]
    scale = by_task.get(task.name, default if isinstance(given, dict | None) else given)
    if isinstance(learning, Regression):
      learning = _scaled(str(scale), store, column, task.name)
    elif task.name in by_task:
      raise SettingError(
        f"train_and_evaluate.target_scale names {task.name}, which is {task.kind}; only a "
        "regression has a scale"
      )
    weight = float(training.loss_weights.get(task.name, task.loss_weight))
    tasks.append(LearntTask(task.name, task.kind, weight, learning))
  return dataclasses.replace(schema, tasks=tuple(tasks))


def _scaled(scale: str, store: DayStore, column: int, task: str) -> Kind:
  if scale == "none":
    return KINDS["regression"]
  if scale == "standard":
    return Standardised()
  labels = [np.asarray(day.labels[:, column], np.float64) for day in store.train_days]
  weights = [each for day in store.train_days if (each := weights_of(day)) is not None]
  lowest = min((float(np.nanmin(each)) for each in labels if not np.isnan(each).all()), default=0.0)
  if lowest < 0:
    raise SettingError(
      f"train_and_evaluate.target_scale is log, and {task} holds {lowest:g}; "
      'make it "standard", or drop such rows'
    )
  of_rows = np.concatenate(weights) if weights else None
  return Logarithmic(LabelStatistics.of(np.log1p(np.concatenate(labels)), weights=of_rows))


def _check_names(setting: str, names: Sequence[str], known: Sequence[str]) -> None:
  for name in names:
    if name not in known:
      raise SettingError(
        f"train_and_evaluate.{setting} names {name!r}, which is no task{nearest(name, known)}"
      )
