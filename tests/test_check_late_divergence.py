"""The check without the trainer, on a tiny log."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ranking.data.store import DayStore
from scripts import check_late_divergence
from scripts.check_late_divergence import Watch, auc, batches, read


def watched(*stretches: tuple[int, float]) -> Watch:
  watch = Watch()
  for steps, relative in stretches:
    for _ in range(steps):
      watch.take(relative)
  return watch


def test_a_run_that_had_learnt_is_lost_where_its_median_is_up_to_stay() -> None:
  assert watched((100, 0.9), (200, 1.0)).lost_at == 100 + 8  # 8 of 15 are above then


@pytest.mark.parametrize(
  "stretches",
  [
    [(300, 1.2)],  # never learnt
    [(100, 0.9), (45, 1.2), (100, 0.9)],  # came back
    [(100, 0.9), (6, 9.0), (100, 0.9)],  # a spike
  ],
)
def test_other_runs_are_not_lost(stretches: list[tuple[int, float]]) -> None:
  assert watched(*stretches).lost_at is None


def test_a_loss_that_is_not_finite_loses_the_run_at_once() -> None:
  assert watched((3, 0.9), (1, np.nan), (9, 0.9)).lost_at == 4


def test_the_auc_is_that_of_scikit_learn_with_ties() -> None:
  random = np.random.default_rng(0)
  outputs, labels = random.integers(0, 9, 500), random.integers(0, 2, 500)
  assert auc(outputs, labels) == pytest.approx(roc_auc_score(labels, outputs), abs=1e-12)


def test_each_row_comes_once_and_none_a_window_too_late(tiny_store: DayStore) -> None:
  days = [day.name for day in tiny_store.train_days]
  log = read(tiny_store.directory, days)
  numbered = log._replace(rows=log.rows._replace(ids=np.arange(len(log.time))[:, None]))
  seen = np.concatenate(
    [batch.ids[:, 0] for batch in batches(numbered, 16, np.random.default_rng(0))]
  )
  assert sorted(seen) == list(range(len(log.time)))
  assert (np.diff(seen) < 0).any()
  overtaken = np.maximum.accumulate(log.time[seen]) - log.time[seen]
  assert overtaken.max() < check_late_divergence.WINDOW_MS


def test_runs_are_written_once_and_are_the_same_again(
  tiny_store: DayStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  def check(out: str) -> str:
    given = [f"--store={tiny_store.directory}", f"--out={tmp_path / out}", "--rates", "0.1"]
    more = ["--seeds", "0", "--batch_size=8", "--warmup_steps=5"]
    assert check_late_divergence.main([*given, *more]) == 0
    return capsys.readouterr().out

  said = [json.loads(line) for line in check("one").splitlines()]
  assert [row["method"] for row in said if "verdict" in row] == ["naive", "clippy"]
  assert said[0]["step"] == 10
  assert check("one") == ""  # both are finished
  check("two")
  for name in ("series.csv", "runs.csv"):
    one, two = ((tmp_path / out / name).read_text().splitlines() for out in ("one", "two"))
    assert len(one) == len(two) > 2
    for row, again in zip(csv.DictReader(one), csv.DictReader(two), strict=True):
      assert row | {"seconds": ""} == again | {"seconds": ""}


def test_a_folder_that_is_no_store_is_refused(
  tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  assert check_late_divergence.main([f"--store={tmp_path}"]) == 2
  assert "is no day store; give the folder of one" in capsys.readouterr().err
