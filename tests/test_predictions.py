"""What a run leaves of each row of day N comes back as it was, and knows which rows these were."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ranking.array import Array
from ranking.data.lookback import Lookback
from ranking.data.prepare import prepare
from ranking.data.store import DayStore
from ranking.evaluation.predictions import Predictions, load
from tests.conftest import DAY_NAMES, ROWS_PER_DAY, TinySource
from tests.frames import FrameLog


def outputs(store: DayStore) -> Array:
  """float32 [n, T]; a run that diverged has values that are not finite."""
  shape = (len(store.eval_day), len(store.schema.tasks))
  made = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  made[0, 0], made[1, 1] = np.nan, np.inf
  return made


def predictions(log: FrameLog, folder: Path, lookback: Lookback | None = None) -> Predictions:
  store = prepare(TinySource(log), folder, lookback=lookback)
  return Predictions.of(outputs(store), store)


def test_predictions_come_back_as_they_were_saved(tiny_store: DayStore, tmp_path: Path) -> None:
  made = Predictions.of(outputs(tiny_store), tiny_store)
  made.save(tmp_path)
  back = load(tmp_path)
  np.testing.assert_array_equal(back.outputs, made.outputs)
  assert back.outputs.dtype == np.float32
  assert dataclasses.replace(back, outputs=made.outputs) == made
  assert (back.tasks, back.day) == (("click", "like", "stars"), DAY_NAMES[-1])


def test_a_write_that_fails_leaves_nothing(
  tiny_store: DayStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  def full(file: object, **arrays: object) -> None:
    raise OSError("no space left on device")

  monkeypatch.setattr(np, "savez", full)
  run = tmp_path / "run"
  run.mkdir()
  with pytest.raises(OSError, match="no space left"):
    Predictions.of(outputs(tiny_store), tiny_store).save(run)
  assert list(run.iterdir()) == []


def test_a_run_without_predictions_is_named(tmp_path: Path) -> None:
  with pytest.raises(ValueError, match=r"^\S+/predictions.npz is not there; finish the run, or"):
    load(tmp_path)


@pytest.mark.parametrize("keep", [0, 100, -40])
def test_a_damaged_file_is_named(tiny_store: DayStore, tmp_path: Path, keep: int) -> None:
  Predictions.of(outputs(tiny_store), tiny_store).save(tmp_path)
  path = tmp_path / "predictions.npz"
  path.write_bytes(path.read_bytes()[:keep])
  with pytest.raises(
    ValueError, match=r"^\S+/predictions.npz cannot be read .*; copy it again, or"
  ):
    load(tmp_path)
  np.savez(path, outputs=np.zeros(3))
  with pytest.raises(ValueError, match=r"^\S+/predictions.npz cannot be read"):
    load(tmp_path)


def test_other_features_of_the_same_rows_have_the_same_crcs(
  tiny_log: FrameLog, tmp_path: Path
) -> None:
  one, other = (predictions(tiny_log, tmp_path, lookback) for lookback in (None, Lookback(5.0, 3)))
  assert one.time_crc32 == other.time_crc32
  assert one.labels_crc32 == other.labels_crc32
  assert len(set(one.labels_crc32)) == 3


@pytest.mark.parametrize("task", range(3))
def test_a_changed_label_changes_the_crc_of_its_task_alone(
  tiny_log: FrameLog, tmp_path: Path, task: int
) -> None:
  labels = tiny_log.labels.copy()
  row = sum(ROWS_PER_DAY) - 1
  labels.iloc[row, task] = 0.0 if labels.iloc[row, task] == 1.0 else 1.0
  one = predictions(tiny_log, tmp_path / "one")
  other = predictions(dataclasses.replace(tiny_log, labels=labels), tmp_path / "other")
  changed = [a != b for a, b in zip(one.labels_crc32, other.labels_crc32, strict=True)]
  assert changed == [k == task for k in range(3)]
  assert one.time_crc32 == other.time_crc32


def test_a_row_at_another_time_changes_the_crc_of_the_times(
  tiny_log: FrameLog, tmp_path: Path
) -> None:
  time = tiny_log.time.copy()
  time[-1] += 1
  one = predictions(tiny_log, tmp_path / "one")
  other = predictions(dataclasses.replace(tiny_log, time=time), tmp_path / "other")
  assert one.time_crc32 != other.time_crc32
  assert one.labels_crc32 == other.labels_crc32
