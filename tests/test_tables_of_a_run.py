"""What is printed of a run: one-line evaluations, and the table of figures."""

from typing import Any

from ranking.training.tables import COLUMNS, evaluation_line, evaluation_rows

METRICS: dict[str, dict[str, Any]] = {
  "click": {
    "kind": "binary",
    "auc": 0.73456,
    "ci95": [0.72, 0.75],
    "rows": 12345,
    "positives": 1000,
    "logloss": 0.5,
    "calibration": 1.25,
    "nonfinite": 0,
  },
  "seconds": {
    "kind": "regression",
    "rmse": None,
    "ci95": None,
    "rows": 7,
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
  assert click == ["click", "AUC", "0.7346", "0.7200 … 0.7500", 12345, "1,000", "1.250", 0]
  assert seconds == ["seconds", "RMSE", "n/a", "", 7, "", "n/a", 7]
