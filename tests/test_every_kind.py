"""A log with a task of every kind: prepared, reported, trained on and measured by the commands."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ranking.cli import main
from ranking.data import report
from ranking.data.store import DayStore
from ranking.evaluation.predictions import load
from ranking.sweeps import paired
from ranking.tasks import KINDS

ROWS, USERS = 600, 60
LOG = """
from __gin__ import dynamic_registration
from ranking.data.sources import table
from ranking.training import loop

loop.train_and_evaluate.source = @table.Table()
table.Table.time_unit = "s"
table.Table.categorical = ["user"]
table.Table.dense = ["taste"]
table.Table.entities = ["user"]
table.Table.tasks = {TASKS}
loop.train_and_evaluate.batch_size = 32
loop.train_and_evaluate.learning_rate = 0.2
"""
TASKS = {f"of_{kind}": kind for kind in KINDS}


def write_log(path: Path) -> None:
  """Three days of rows whose labels of every kind go with one dense feature."""
  random = np.random.default_rng(0)
  taste = random.normal(size=ROWS)
  labels = {
    "binary": random.random(ROWS) < 1 / (1 + np.exp(-2 * taste)),
    "regression": 3 + taste + random.normal(size=ROWS),
    "count": random.poisson(np.exp(taste)),
    "ordered": np.clip(np.round(2 * taste + random.normal(size=ROWS)) / 2 + 3, 1, 5),
  }
  frame = pd.DataFrame({f"of_{kind}": labels[kind] for kind in KINDS}).astype(float)
  frame[random.random(frame.shape) < 0.1] = math.nan
  user = random.integers(USERS, size=ROWS)
  frame = frame.assign(time=np.arange(ROWS) * (3 * 86_400 // ROWS), user=user, taste=taste)
  frame.to_csv(path, index=False)


def train(*words: str) -> None:
  assert main(["train", "--config=small_clippy.gin", "--scale=proxy", *words]) == 0


@pytest.mark.usefixtures("own_folder")
def test_a_log_with_a_task_of_every_kind_goes_through_all_commands(
  capsys: pytest.CaptureFixture[str],
) -> None:
  write_log(Path("log.csv"))
  Path("mylog.gin").write_text(LOG.replace("{TASKS}", repr(TASKS)))
  train("--data=mylog.gin", "--raw=log.csv", "--run=run")
  shown = capsys.readouterr().out
  result = json.loads(Path("run/result.json").read_text())
  assert result["status"] == "ok"

  store = DayStore(Path(result["store"]))
  rows, columns = load(Path("run")), np.asarray(store.eval_day.labels)
  summary = (store.directory / "summary.md").read_text()
  measured = report.measure(store.schema, [*store.train_days, store.eval_day])
  page = report.to_markdown(store.card, measured, {})
  assert not [line for line in report.to_look_at(measured) if line.startswith("label")]
  for column, (task, kind) in enumerate(TASKS.items()):
    measure, entry = KINDS[kind].measure, result["metrics"][task]
    labelled = ~np.isnan(columns[:, column])
    value, (low, high) = entry[measure.name], entry["ci95"]
    assert (entry["kind"], entry["rows"], entry["nonfinite"]) == (kind, labelled.sum(), 0)
    assert low < value < high
    assert f"{task} {measure.title} {value:.4f}" in shown
    assert f"{low:.4f} … {high:.4f}" in shown
    # What all kinds share: better outputs for higher labels.
    assert stats.spearmanr(columns[labelled, column], rows.outputs[labelled, column])[0] > 0.3
    assert 0.5 < entry["calibration"] < 2
    for text in (summary, page):
      assert task in text
    same = paired.over_seeds([(Path("run"), Path("run"))], task)
    assert (same.value, same.p) == (0.0, 1.0)
