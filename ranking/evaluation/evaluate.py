"""Predicts every row of a day and measures every task on them."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from ranking import tasks
from ranking.array import Array
from ranking.data import window
from ranking.data.schema import Schema
from ranking.data.store import Day
from ranking.evaluation.users import users
from ranking.evaluation.within import Rows, weights_of
from ranking.measures.groups import GroupMean, group_mean
from ranking.measures.probabilities import deciles, normalised_entropy


class Evaluator:
  """Evaluates a model on one day, every row of it, as often as asked.

  Args:
    model: maps a batch to float32 [b, T].
    schema: of the day store.
    day: usually day N.
    batch_size: rows of a global batch; the last is padded, and the padding dropped again.
    strategy: the one that `model` lives in.
  """

  def __init__(
    self,
    model: tf_keras.Model,
    schema: Schema,
    day: Day,
    batch_size: int,
    strategy: tf.distribute.Strategy,
  ):
    self._schema, self._day, self._strategy = schema, day, strategy
    self._users = users(schema, day)
    self._batches = window.eval_batches(day, batch_size)

    @tf.function(autograph=False)
    def predict(data: Iterator[Any]) -> tf.Tensor:
      return strategy.gather(strategy.run(model, args=(next(data),)), axis=0)

    self._predict: Callable[[Iterator[Any]], tf.Tensor] = predict

  def predictions(
    self, around: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
  ) -> Array:
    """The outputs of the model for all rows of the day.

    Args:
      around: makes what each batch is predicted within.

    Returns:
      float32 [n, T], a column per task, rows in the order of the day.
    """
    data = self._strategy.distribute_datasets_from_function(
      lambda context: window.dataset(self._batches, self._schema, 0, len(self._batches), context)
    )
    batches = iter(data)
    with window.own_errors(self._batches):
      outputs = []
      for _ in range(len(self._batches)):
        with around():
          outputs.append(self._predict(batches).numpy())
    return np.concatenate(outputs)[: len(self._day)]

  def figures(self, outputs: Array) -> dict[str, dict[str, Any]]:
    """The "metrics" of result.json: exact figures per task over every row of the day.

    Those of binary tasks have more: see `figures_of_probabilities`.
    """
    figures = tasks.evaluate(
      self._schema.tasks,
      self._schema.label_statistics,
      np.asarray(self._day.labels),
      outputs,
      weights_of(self._day),
    )
    for k, task in enumerate(self._schema.tasks):
      if task.kind == "binary":
        rows = Rows.of(self._day, k, self._users)
        figures[task.name] |= figures_of_probabilities(figures[task.name], rows, outputs[:, k])
    return figures

  def figures_by(self, outputs: Array) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures of the rows with each value of the schema's `report_by`, most rows first."""
    names = [feature.name for feature in self._schema.of_kind("categorical")]
    if self._schema.report_by is None:
      return {}
    ids = np.asarray(self._day.ids[:, names.index(self._schema.report_by)])
    present, counts = np.unique(ids, return_counts=True)
    labels, weights = np.asarray(self._day.labels), weights_of(self._day)
    return {
      self._schema.report_values[number]: tasks.evaluate(
        self._schema.tasks,
        self._schema.label_statistics,
        labels[ids == number],
        outputs[ids == number],
        None if weights is None else weights[ids == number],
      )
      for number in present[np.argsort(-counts, kind="stable")]
    }


def figures_of_probabilities(
  measured: Mapping[str, Any], rows: Rows, outputs: Array
) -> dict[str, Any]:
  """What result.json has of a binary task beside `measured`; None where that has no AUC.

  Args:
    measured: of `Kind.evaluate`.
    rows: of the task.
    outputs: [n], of the model for all rows of the day.

  Returns:
    normalised_entropy; gauc, the AUC within users, with gauc_ci95 and gauc_users, who have rows of
    both labels; likewise ndcg, ndcg_ci95 and ndcg_requests, of a log that has requests; deciles, a
    [rows, mean prediction, mean label] for each tenth of the rows.
  """
  has_figure, logits = measured["auc"] is not None, outputs[rows.kept]
  figures: dict[str, Any] = dict.fromkeys(("normalised_entropy", "deciles"))
  if has_figure:
    wide = logits.astype(np.float64)
    decay = np.exp(-np.abs(wide))  # at most 1, so that nothing overflows
    predictions = np.where(wide >= 0, 1.0, decay) / (1.0 + decay)
    entropy = normalised_entropy(measured["logloss"], rows.labels, rows.weights)
    tenths = deciles(rows.labels, predictions, rows.weights)
    figures = {"normalised_entropy": _figure(entropy), "deciles": [[*each] for each in tenths]}
  within = {"gauc": "users", **({} if rows.requests is None else {"ndcg": "requests"})}
  for name, of in within.items():
    found = group_mean(rows.groups(name, outputs)) if has_figure else GroupMean()
    figures[name] = _figure(found.value)
    figures[f"{name}_ci95"] = [*found.ci95] if all(map(math.isfinite, found.ci95)) else None
    figures[f"{name}_{of}"] = found.groups if has_figure else None
  return figures


def _figure(value: float) -> float | None:
  return value if math.isfinite(value) else None
