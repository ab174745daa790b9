"""What is printed of a run: one-line evaluations, and the table of figures."""

from typing import Any
from unittest.mock import Mock

import pytest

from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.split import Split
from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy
from ranking.training.tables import (
  COLUMNS,
  evaluation_line,
  evaluation_rows,
  show_variables,
  worse_than_constant,
)
from tests import toy_model

METRICS: dict[str, dict[str, Any]] = {
  "click": {
    "kind": "binary",
    "auc": 0.73456,
    "ci95": [0.72, 0.75],
    "rows": 12345,
    "positives": 1000,
    "logloss": 0.5,
    "relative_loss": 0.875,
    "relative_loss_ci95": [0.86, 0.89],
    "calibration": 1.25,
    "nonfinite": 0,
  },
  "seconds": {
    "kind": "regression",
    "rmse": None,
    "ci95": None,
    "rows": 7,
    "relative_loss": None,
    "relative_loss_ci95": None,
    "calibration": None,
    "nonfinite": 7,
  },
}


def test_an_evaluation_is_one_line() -> None:
  line = evaluation_line(50, "2026-01-18", METRICS)
  assert line == "step 50, day N (2026-01-18): click AUC 0.7346, seconds RMSE n/a"


def test_the_table_has_a_cell_for_every_column() -> None:
  click, seconds = evaluation_rows(METRICS)
  assert len(click) == len(seconds) == len(COLUMNS)
  assert click == ["click", "AUC", "0.7346", "0.7200 … 0.7500", 12345, "1,000", "0.875", "1.250"]
  assert seconds == ["seconds", "RMSE", "7 not finite", "", 7, "", "n/a", "n/a"]
  one_class = {**METRICS["click"], "auc": None, "ci95": None}
  assert evaluation_rows({"click": one_class})[0][2:4] == ["n/a", ""]


@pytest.mark.parametrize(
  ("interval", "said"), [(None, 0), ([0.8, 0.9], 0), ([0.9, 1.3], 0), ([1.01, 1.3], 1)]
)
def test_a_task_that_is_surely_worse_than_a_constant_on_day_n_is_named(
  interval: list[float] | None, said: int
) -> None:
  click = {**METRICS["click"], "relative_loss": 1.1, "relative_loss_ci95": interval}
  lines = worse_than_constant({**METRICS, "click": click})
  assert [line.partition(";")[0] for line in lines] == [
    "warning: task click predicts day N worse than a constant: its loss is 1.1 times that of the "
    "best constant of the training days, 95 % interval 1.01 … 1.3"
  ] * said


@pytest.mark.parametrize(
  ("split", "row", "warned"),
  [
    (None, "5 embedding tables", False),
    (Split(2, 8), "5 embedding tables, 2 split over 1 device", False),
    (Split(2, 12), "5 embedding tables", True),
  ],
)
def test_tables_that_are_split_are_counted_once_and_none_that_is_large_enough_is_said(
  split: Split | None, row: str, warned: bool
) -> None:
  inputs = Inputs(24, split=split)
  network = Model(toy_model.dense(4), inputs).build(toy_model.schema())
  optimizer = ClippedOptimizer(Adagrad(), Clippy())
  optimizer.build(network.trainable_variables)
  run = Mock(network=network, optimizer=optimizer)
  run.settings.training.model.inputs = inputs
  show_variables(run)
  (_, _, rows), _ = run.console.table.call_args
  assert rows[-2][0] == row
  said = [call.args[0] for call in run.console.say.call_args_list]
  assert (
    said
    == [
      "warning: Inputs.split is set, and no table is split: the largest has 11 rows, and "
      "Split.from_rows is 12"
    ]
    * warned
  )
