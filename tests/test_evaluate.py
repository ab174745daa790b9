"""Day N is predicted row by row, every row once, and measured as a whole and by value."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ranking import tasks
from ranking.data import prepare, store
from ranking.evaluation.evaluate import Evaluator
from ranking.evaluation.users import users
from ranking.measures.groups import aucs_of_users, group_mean
from ranking.measures.probabilities import deciles
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.network import Network
from tests.conftest import ROWS_PER_DAY, TinySource
from tests.frames import FrameLog
from tests.toy_model import dense


@pytest.fixture
def by_hour(tiny_log: FrameLog, tmp_path: Path) -> store.DayStore:
  source = TinySource(dataclasses.replace(tiny_log, report_by="hour"), {"by": "hour"})
  return prepare.prepare(source, tmp_path / "by hour")


def evaluator(made: store.DayStore, batch_size: int) -> tuple[Network, Evaluator]:
  tf.random.set_seed(0)
  model = Model(dense(8), Inputs(40)).build(made.schema)
  one = tf.distribute.get_strategy()
  return model, Evaluator(model, made.schema, made.eval_day, batch_size, one)


@pytest.mark.parametrize("batch_size", [1, 7, ROWS_PER_DAY[-1], 64])
def test_predictions_are_the_models_own_row_by_row(
  tiny_store: store.DayStore, batch_size: int
) -> None:
  model, evaluate = evaluator(tiny_store, batch_size)
  day = tiny_store.eval_day
  direct = model({name: np.array(getattr(day, name)) for name in ("ids", "bags", "dense")})
  assert evaluate.predictions().shape == (ROWS_PER_DAY[-1], len(tiny_store.schema.tasks))
  np.testing.assert_allclose(evaluate.predictions(), direct, rtol=1e-5, atol=1e-6)


def test_every_batch_is_predicted_within_what_is_asked_for(tiny_store: store.DayStore) -> None:
  _, evaluate = evaluator(tiny_store, 16)
  entered = []

  @contextlib.contextmanager
  def around() -> Iterator[None]:
    entered.append(1)
    yield

  evaluate.predictions(around)
  assert len(entered) == -(-ROWS_PER_DAY[-1] // 16)


def test_figures_are_of_every_labelled_row(tiny_store: store.DayStore) -> None:
  _, evaluate = evaluator(tiny_store, 16)
  outputs = evaluate.predictions()
  labels = np.array(tiny_store.eval_day.labels)
  schema = tiny_store.schema
  expected = tasks.evaluate(schema.tasks, schema.label_statistics, labels, outputs)
  figures = evaluate.figures(outputs)
  for task, entry in expected.items():
    assert {name: figures[task][name] for name in entry} == entry
  assert figures["click"]["rows"] == np.isfinite(labels[:, 0]).sum()


def test_binary_tasks_have_figures_within_users_and_by_decile(tiny_store: store.DayStore) -> None:
  _, evaluate = evaluator(tiny_store, 16)
  outputs, day = evaluate.predictions(), tiny_store.eval_day
  click = evaluate.figures(outputs)["click"]
  labels, logits = np.array(day.labels)[:, 0], outputs[:, 0]
  known = ~np.isnan(labels)
  of_users = users(tiny_store.schema, day)[known]
  within = group_mean(aucs_of_users(labels[known], logits[known], of_users))
  assert click["gauc"] == (None if np.isnan(within.value) else within.value)
  assert click["gauc_users"] == within.groups
  rate = labels[known].mean(dtype=float)
  entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
  assert click["normalised_entropy"] == pytest.approx(click["logloss"] / entropy)
  predictions = 1 / (1 + np.exp(-logits[known].astype(float)))
  found = deciles(labels[known], predictions)
  np.testing.assert_allclose(click["deciles"], found, rtol=1e-9)
  lost = evaluate.figures(np.full_like(outputs, np.nan))["click"]
  assert lost["gauc"] is lost["deciles"] is lost["normalised_entropy"] is None


def test_nothing_is_reported_by_value_unless_the_log_asks(tiny_store: store.DayStore) -> None:
  _, evaluate = evaluator(tiny_store, 16)
  assert evaluate.figures_by(evaluate.predictions()) == {}


def test_figures_by_value_are_those_of_its_rows_most_rows_first(
  by_hour: store.DayStore, tiny_log: FrameLog
) -> None:
  _, evaluate = evaluator(by_hour, 16)
  outputs = evaluate.predictions()
  by = evaluate.figures_by(outputs)
  last = tiny_log.day == tiny_log.day.max()
  hours, labels = tiny_log.categorical.hour[last].to_numpy(), tiny_log.labels[last].to_numpy()
  known = {value: hours == int(value) for value in by if value.isdigit()}
  assert len(known) >= 3
  for value, rows in known.items():
    schema = by_hour.schema
    expected = tasks.evaluate(schema.tasks, schema.label_statistics, labels[rows], outputs[rows])
    assert by[value] == expected
  counts = [sum(rows) if (rows := known.get(value)) is not None else None for value in by]
  sizes = [count for count in counts if count is not None]
  assert sizes == sorted(sizes, reverse=True)
