"""result.json and what is sealed as it is: a change is noticed, whatever it is."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranking.evaluation.predictions import Predictions, load
from ranking.files import plain, sealed, unsealed
from ranking.run_directory import check_unchanged, is_finished, read_result, write_result
from ranking.sweeps import series
from ranking.sweeps.series import SeriesError
from ranking.sweeps.sweep import Sweep
from ranking.sweeps.trial_file import describe, read_trial, write_trial

VALUES: Any = st.recursive(
  st.none()
  | st.booleans()
  | st.integers()
  | st.floats(allow_nan=False, allow_infinity=False)
  | st.text(),
  lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
  max_leaves=5,
)
RESULT = {"status": "ok", "metrics": {"click": {"auc": 0.7252336010302275}}, "steps": 507}


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_is_sealed_comes_back(content: dict[str, Any]) -> None:
  content.pop("crc32_of_the_rest", None)
  back = unsealed(sealed(content))
  assert json.dumps(back, sort_keys=True) == json.dumps(plain(content), sort_keys=True)


@settings(max_examples=300)
@given(st.data())
def test_a_changed_byte_of_a_sealed_file_is_noticed_or_changes_nothing(data: st.DataObject) -> None:
  text = bytearray(sealed(RESULT).encode())
  place = data.draw(st.integers(0, len(text) - 1))
  text[place] ^= 1 << data.draw(st.integers(0, 7))
  with contextlib.suppress(ValueError):
    assert unsealed(text.decode()) == RESULT  # it was a blank between two entries


def test_numbers_that_json_lacks_are_sealed_as_text() -> None:
  assert unsealed(sealed({"a": math.inf, "b": (1, 2)})) == {"a": "inf", "b": [1, 2]}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"3", b"{}", b"\xff\xfe\x00", b"null"])
def test_a_damaged_result_is_not_one(tmp_path: Path, damage: bytes) -> None:
  write_result(tmp_path, RESULT)
  assert is_finished(tmp_path)
  (tmp_path / "result.json").write_bytes(damage)
  assert not is_finished(tmp_path)
  with pytest.raises(ValueError, match=r"result.json is damaged \(.*\); give its command again"):
    read_result(tmp_path)


def test_a_result_of_an_earlier_version_is_taken_as_it_is(tmp_path: Path) -> None:
  (tmp_path / "result.json").write_text(json.dumps(RESULT))
  assert read_result(tmp_path) == RESULT
  check_unchanged(tmp_path / "metrics.jsonl")


def test_a_result_that_lost_its_seal_is_damaged(tmp_path: Path) -> None:
  write_result(tmp_path, RESULT)
  path = tmp_path / "result.json"
  path.write_text(path.read_text().replace("crc32_of_the_rest", "crc32_of_the_resT"))
  assert not is_finished(tmp_path)


def test_a_series_or_predictions_that_changed_since_the_end_of_a_run_are_refused(
  tmp_path: Path,
) -> None:
  row = {"step": 1, "day": "2026-01-18", "verdict": "ok", "loss": 0.5, "constant_loss": 1.0}
  (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
  Predictions(np.zeros([3, 1], np.float32), ("click",), "2026-01-18", 1, (2,)).save(tmp_path)
  assert series.steps(tmp_path).loss.tolist() == [0.5]  # while it goes on
  write_result(tmp_path, RESULT)
  assert series.steps(tmp_path).loss.tolist() == [0.5]
  assert load(tmp_path).day == "2026-01-18"
  (tmp_path / "metrics.jsonl").write_text(json.dumps({**row, "loss": 0.4}) + "\n")
  with pytest.raises(SeriesError, match=r"metrics.jsonl was changed since its run ended"):
    series.steps(tmp_path)
  with open(tmp_path / "predictions.npz", "ab") as file:
    file.write(b"more")
  with pytest.raises(ValueError, match=r"predictions.npz was changed since its run ended"):
    load(tmp_path)


def test_a_trial_is_read_as_it_was_written_and_one_that_was_changed_is_refused(
  tmp_path: Path,
) -> None:
  (trial,) = Sweep("s", ["large"], ["naive"], learning_rates=[0.1]).trials()
  write_trial(tmp_path, trial, "ranking train")
  path = tmp_path / "trial.json"
  assert read_trial(tmp_path) == {**describe(trial), "command": "ranking train"}
  path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
  with pytest.raises(ValueError, match="does not match its crc32_of_the_rest"):
    read_trial(tmp_path)
  path.write_text(json.dumps(describe(trial)))  # of an earlier version
  assert read_trial(tmp_path) == describe(trial)
