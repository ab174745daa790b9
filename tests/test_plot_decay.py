"""The frozen model: what drift takes from it follows what drift takes from the frozen oracle."""

import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest

from ranking.data.prepare import prepare
from ranking.data.sources.synthetic import Synthetic
from scripts import plot_decay

SMALL = dataclasses.replace(plot_decay.LOG, days=4, rows_per_day=9_000, num_users=60)


def curves(source: Synthetic, folder: Path) -> dict[float, pd.DataFrame]:
  made = {}
  for drift in (0.0, 0.9):
    turned = dataclasses.replace(source, daily_drift=drift)
    store = prepare(turned, folder, processes=1)
    oracle = plot_decay.frozen_oracle(turned)
    made[drift] = pd.DataFrame({"model": plot_decay.click_aucs(store), "oracle": oracle})
  return made


def test_a_model_that_is_not_trained_on_loses_by_drift_what_the_oracle_says_at_most(
  tmp_path: Path,
) -> None:
  table = plot_decay.summary(curves(SMALL, tmp_path)).set_index("drift")
  assert table.loc[0.0, ["model lost", "oracle lost"]].tolist() == [0.0, 0.0]
  lost = table.loc[0.9]
  assert lost["oracle lost"] > 0.08
  assert 0.005 < lost["model lost"] < lost["oracle lost"]


def test_the_page_says_what_the_frozen_oracle_has_on_the_last_day() -> None:
  page = (Path(__file__).parent.parent / "docs" / "synthetic.md").read_text()
  (said,) = re.findall(r"^\| 0\.4 \|.*\| (0\.\d{4}) \| 0\.\d{4} \|$", page, re.MULTILINE)
  turned = dataclasses.replace(plot_decay.LOG, daily_drift=0.4)
  assert plot_decay.frozen_oracle(turned)[-1] == pytest.approx(float(said), abs=6e-5)


def test_a_picture_is_drawn(tmp_path: Path) -> None:
  made = {
    drift: pd.DataFrame({"model": [0.7, 0.6], "oracle": [0.8, 0.7]}) for drift in plot_decay.DRIFTS
  }
  plot_decay.draw(made, tmp_path / "decay.png")
  assert (tmp_path / "decay.png").read_bytes().startswith(b"\x89PNG")


def test_lost_is_measured_against_the_log_without_drift() -> None:
  made = {
    0.0: pd.DataFrame({"model": [0.70, 0.72], "oracle": [0.80, 0.81]}),
    0.4: pd.DataFrame({"model": [0.69, 0.66], "oracle": [0.79, 0.71]}),
  }
  row = plot_decay.summary(made).set_index("drift").loc[0.4]
  assert row["model lost"] == pytest.approx(0.06)
  assert row["oracle lost"] == pytest.approx(0.10)
