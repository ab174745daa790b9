"""The series of a run directory: whole lines, no NaN, and nothing twice after a resume."""

import json
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

from ranking.files import atomically, plain, write_atomically
from ranking.settings import SettingError
from ranking.training.result import surroundings
from ranking.training.run_log import RunLog, open_run_log


def events(file: Path) -> Iterator[Event]:
  for written in RawEventFileLoader(str(file)).Load():
    yield Event.FromString(written)


def lines(directory: Path, series: str) -> list[dict[str, object]]:
  return [json.loads(line) for line in (directory / f"{series}.jsonl").read_text().splitlines()]


def test_what_is_written_is_on_disk_when_it_is_closed(tmp_path: Path) -> None:
  with RunLog(tmp_path / "run") as log:
    log.steps([{"step": 1, "loss": 0.5}, {"step": 2, "loss": float("nan")}])
    log.health(2, {"hidden_1/kernel": 0.25}, {})
    log.health(4, {"hidden_1/kernel": 1.0}, {"hidden_1/kernel": {"largest_ratio": math.inf}})
    log.evaluation(2, "2026-01-18", {"click": {"kind": "binary", "auc": None, "rows": 3}})
  assert lines(tmp_path / "run", "metrics") == [
    {"step": 1, "loss": 0.5},
    {"step": 2, "loss": "nan"},
  ]
  assert lines(tmp_path / "run", "health") == [
    {"step": 2, "clipping_factors": {"hidden_1/kernel": 0.25}},
    {
      "step": 4,
      "clipping_factors": {"hidden_1/kernel": 1.0},
      "observations": {"hidden_1/kernel": {"largest_ratio": "inf"}},
    },
  ]
  assert lines(tmp_path / "run", "evals")[0]["day"] == "2026-01-18"
  assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_a_rewound_log_goes_on_from_its_marks(tmp_path: Path) -> None:
  with RunLog(tmp_path) as log:
    log.steps([{"step": step, "loss": 1.0} for step in range(1, 4)])
    marks = log.marks
    log.steps([{"step": step, "loss": 1.0} for step in range(4, 6)])
  with open(tmp_path / "metrics.jsonl", "a") as file:
    file.write('{"step": 6, "lo')  # as a killed process leaves it
  with RunLog(tmp_path) as log:
    assert log.misfit(marks) is None
    log.rewind(marks)
    log.steps([{"step": 4, "loss": 2.0}])
    again = log.marks
  assert [row["loss"] for row in lines(tmp_path, "metrics")] == [1.0, 1.0, 1.0, 2.0]
  with RunLog(tmp_path) as log:
    assert log.misfit(again) is None


def test_an_evaluation_that_a_resumed_run_makes_again_is_not_written_again(tmp_path: Path) -> None:
  metrics = {"click": {"kind": "binary", "auc": 0.7}}
  with RunLog(tmp_path) as log:
    log.evaluation(2, "2026-01-18", metrics)
    after_two = log.marks
    log.evaluation(4, "2026-01-18", metrics)
    after_four = log.marks
  for marks in (after_four, after_two):  # stopped by a signal after its evaluation at step 4
    with RunLog(tmp_path) as log:
      log.rewind(marks)
      log.evaluation(4, "2026-01-18", metrics)
    assert [row["step"] for row in lines(tmp_path, "evals")] == [2, 4]


def test_rewinding_only_cuts_so_that_a_kill_in_it_loses_nothing(tmp_path: Path) -> None:
  with RunLog(tmp_path) as log:
    log.steps([{"step": step, "loss": 1.0} for step in range(1, 6)])
    marks = log.marks
  file = tmp_path / "metrics.jsonl"
  before, identity = file.read_bytes(), file.stat().st_ino
  with RunLog(tmp_path) as log:
    log.rewind(marks)
  assert file.read_bytes() == before
  assert file.stat().st_ino == identity


@pytest.mark.parametrize("series", ["metrics", "evals", "health"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone", "foreign"])
def test_a_series_that_is_not_what_was_written_does_not_fit(
  tmp_path: Path, series: str, damage: str
) -> None:
  with RunLog(tmp_path) as log:
    log.steps([{"step": 1, "loss": 0.5}])
    log.health(1, {"hidden_1/kernel": 0.25}, {})
    log.evaluation(1, "2026-01-18", {"click": {"kind": "binary", "auc": 0.7}})
    marks = json.loads(json.dumps(log.marks))  # as a checkpoint keeps them
  path = tmp_path / f"{series}.jsonl"
  content = path.read_bytes()
  flipped = content[:9] + bytes([content[9] ^ 1]) + content[10:]
  damaged = {"flip": flipped, "cut": content[:-1], "empty": b"", "foreign": b"{}" + content}
  if damage == "gone":
    path.unlink()
  else:
    path.write_bytes(damaged[damage])
  with RunLog(tmp_path) as log:
    assert f"{path} was changed since" in str(log.misfit(marks))
  if damage != "gone":
    assert path.read_bytes() == damaged[damage]


def test_one_process_at_a_time_writes_in_a_run_directory(tmp_path: Path) -> None:
  with RunLog(tmp_path), pytest.raises(SettingError, match="another process trains in"):
    open_run_log(tmp_path)
  with RunLog(tmp_path):
    pass


def test_the_files_are_closed_when_a_run_fails(tmp_path: Path) -> None:
  log = RunLog(tmp_path)
  log.__enter__()
  log.steps([{"step": 1, "loss": 1.0}])
  log.__exit__(RuntimeError, RuntimeError("in the middle"), None)
  with pytest.raises(ValueError, match="closed file"):
    log.steps([{"step": 2, "loss": 1.0}])
  assert len(lines(tmp_path, "metrics")) == 1


def test_a_file_is_written_whole_or_not_at_all(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  path = tmp_path / "result.json"
  write_atomically(path, "old")

  def full(self: Path, text: str) -> int:
    self.open("w").close()
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patched:
    patched.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
      write_atomically(path, "new")
  assert path.read_text() == "old"
  assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_a_file_only_gets_its_name_when_it_is_whole(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  written = []
  write = Path.write_text

  def note(self: Path, text: str) -> int:
    written.append(self.name)
    return write(self, text)

  monkeypatch.setattr(Path, "write_text", note)
  write_atomically(tmp_path / "result.json", "new")
  assert "result.json" not in written
  assert (tmp_path / "result.json").read_text() == "new"
  assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_numbers_that_json_lacks_become_text() -> None:
  value = {"a": float("inf"), "b": {"c": float("nan"), "d": 1.0}, "e": None, "f": [1]}
  assert plain(value) == {"a": "inf", "b": {"c": "nan", "d": 1.0}, "e": None, "f": [1]}


def test_surroundings_say_what_made_a_result() -> None:
  found = surroundings()
  assert found["peak_memory_mb"] > 50
  assert set(found["versions"]) >= {"python", "tensorflow", "tf-keras", "numpy"}
  assert found["command"].startswith("python -m ranking")


def test_two_processes_that_write_one_file_leave_a_whole_one(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  path = tmp_path / "table.csv"
  with atomically(path) as ours:
    ours.write_text("ours, whole")
    with monkeypatch.context() as elsewhere:
      elsewhere.setattr("os.getpid", lambda: -1)
      write_atomically(path, "theirs, whole")
    assert path.read_text() == "theirs, whole"
  assert path.read_text() == "ours, whole"
  assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  full = Mock(write=Mock(side_effect=OSError(28, "No space left on device")))
  with RunLog(tmp_path) as log, monkeypatch.context() as patched:
    patched.setitem(log._files, "metrics", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/metrics.jsonl'"):
      log.steps([{"step": 1, "loss": 1.0}])


def test_a_line_that_a_nearly_full_disk_takes_in_parts_is_whole(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  with RunLog(tmp_path) as log, monkeypatch.context() as patched:
    file = log._files["metrics"]
    some = Mock(write=Mock(side_effect=lambda line: file.write(line[:7])))
    patched.setitem(log._files, "metrics", some)
    log.steps([{"step": 1, "loss": 1.0}])
    assert log.misfit(log.marks) is None
  assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n'


def test_tensorboard_has_the_series(tmp_path: Path) -> None:
  click = {"kind": "binary", "auc": 0.75, "logloss": None, "relative_loss": 0.5, "calibration": 1.5}
  figures = {"click": click}
  with RunLog(tmp_path) as log:
    log.steps([{"step": 1, "day": "2026-01-05", "loss": 9.0}, {"step": 2, "loss": 0.5}])
    log.health(2, {"hidden_1/kernel": 0.25}, {})
    log.evaluation(2, "2026-01-18", figures)
  (file,) = (tmp_path / "tensorboard").iterdir()
  seen = {
    (event.step, value.tag): value.simple_value
    for event in events(file)
    for value in event.summary.value
  }
  assert seen == {
    (2, "train/loss"): 0.5,
    (2, "clipping_factor/hidden_1/kernel"): 0.25,
    (2, "day_n/click/auc"): 0.75,
    (2, "day_n/click/relative_loss"): 0.5,
    (2, "day_n/click/calibration"): 1.5,
  }


def test_logging_keeps_no_memory(tmp_path: Path) -> None:
  """What it writes of a step is gone when it is written: nothing is left behind in the process."""
  row = {"step": 1, "loss": 0.5, **{f"task_{k}/loss": 0.1 for k in range(6)}}
  factors = {f"layer_{k}": 0.5 for k in range(20)}
  with RunLog(tmp_path) as log:

    def write(times: int) -> None:
      for _ in range(times):
        log.steps([row])
        log.health(1, factors, {})
      log.flush()

    write(50)
    tracemalloc.start()
    try:
      write(50)
      before, _ = tracemalloc.get_traced_memory()
      write(400)
      after, _ = tracemalloc.get_traced_memory()
    finally:
      tracemalloc.stop()
  assert after - before < 20_000  # bytes; a constant for each value took 11 kB a call
