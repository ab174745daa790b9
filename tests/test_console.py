"""What a person sees: tables, one-line evaluations, progress without a terminal."""

from typing import Any

import pytest

from ranking.training.console import (
  EVALUATION_COLUMNS,
  Console,
  evaluation_line,
  evaluation_rows,
)

METRICS: dict[str, dict[str, Any]] = {
  "click": {
    **{"kind": "binary", "auc": 0.73456, "ci95": [0.72, 0.75], "rows": 12345, "positives": 1000},
    **{"logloss": 0.5, "calibration": 1.25, "nonfinite": 0},
  },
  "seconds": {
    **{"kind": "regression", "rmse": None, "ci95": None, "rows": 7, "calibration": None},
    "nonfinite": 7,
  },
}


def test_a_value_that_looks_like_markup_is_printed_as_it_is(
  capsys: pytest.CaptureFixture[str],
) -> None:
  Console().table("by [tab]", ["[x]", "rows"], [["[/x]", 3], ["[bold] y", 4]])
  printed = capsys.readouterr().out
  for text in ("by [tab]", "[x]", "[/x]", "[bold] y"):
    assert text in printed


def test_an_evaluation_is_one_line() -> None:
  line = evaluation_line(50, "2026-01-18", METRICS)
  assert line == "step 50, day N (2026-01-18): click AUC 0.7346, seconds RMSE n/a"


def test_the_table_has_a_cell_for_every_column(capsys: pytest.CaptureFixture[str]) -> None:
  rows = evaluation_rows(METRICS)
  assert [len(row) for row in rows] == [len(EVALUATION_COLUMNS)] * 2
  Console().table("title", EVALUATION_COLUMNS, rows)
  printed = capsys.readouterr().out
  for text in ("title", "click", "0.7346", "0.7200 … 0.7500", "12,345", "1,000", "1.250", "n/a"):
    assert text in printed


def test_progress_is_plain_lines_without_a_terminal(
  capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
  clock = iter(range(0, 1000, 6))
  monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
  with Console().progress(40, 10) as progress:
    for step in (20, 30, 40):
      progress.update(step, 1234.5, 0.5, "ok")
  printed = capsys.readouterr().out.splitlines()
  assert printed == [
    "step 30/40, 1,234 examples/s, loss 0.5000, ok, 6 s left",
    "step 40/40, 1,234 examples/s, loss 0.5000, ok, 0 s left",
  ]
