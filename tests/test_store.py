"""The day store: what is read is what was packed, and nothing half-made or damaged is read."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ranking.array import Array
from ranking.data import prepare as preparing
from ranking.data import store
from ranking.data.engine import Engine
from ranking.data.lookback import Lookback
from ranking.data.prepare import Silence, prepare
from ranking.data.schema import DataError, Schema
from ranking.data.store import ARRAYS, ArrayWriter, DayStore
from tests import whole_pack
from tests.conftest import DAY_NAMES, ROWS_PER_DAY, TinySource
from tests.frames import FrameLog


def files_below(folder: Path) -> list[Path]:
  return sorted(path for path in folder.rglob("*") if path.is_file())


def cure(opened: DayStore) -> str:
  return re.escape(f"remove {opened.directory} and prepare it again")


def other_days(log: FrameLog, day: Array, names: tuple[str, ...]) -> FrameLog:
  return dataclasses.replace(log, day=np.asarray(day, np.int32), day_names=names)


def test_days_read_back_what_was_packed(tiny_log: FrameLog, tiny_store: DayStore) -> None:
  packed = whole_pack.pack("tiny", tiny_log)
  days = [*tiny_store.train_days, tiny_store.eval_day]
  assert [day.name for day in days] == list(DAY_NAMES)
  assert [len(day) for day in days] == list(ROWS_PER_DAY)
  for name in ARRAYS:
    arrays = [getattr(day, name) for day in days]
    expected = getattr(packed, name)
    np.testing.assert_allclose(np.concatenate(arrays), expected, rtol=1e-6)
    for array in arrays:
      assert isinstance(array, np.memmap)
      assert array.dtype == expected.dtype
      assert array.flags.c_contiguous
      assert not array.flags.writeable
  assert tiny_store.schema.features == packed.schema.features


def test_a_log_without_bags_reads_back_too(tiny_log: FrameLog, tmp_path: Path) -> None:
  opened = prepare(TinySource(dataclasses.replace(tiny_log, bags={})), tmp_path)
  assert opened.eval_day.bags.shape == (ROWS_PER_DAY[-1], 0)
  assert [day.bags.shape[1] for day in opened.train_days] == [0, 0, 0]


def test_a_store_has_the_files_of_the_contract_and_no_other(
  tiny_store: DayStore, tmp_path: Path
) -> None:
  of_day = [*(f"{name}.npy" for name in ARRAYS), "manifest.json"]
  at_root = ["crc32.txt", "schema.json", "summary.md"]
  expected = [*at_root, *(f"{d}/{name}" for d in DAY_NAMES for name in of_day)]
  found = files_below(tmp_path)
  assert found == sorted(tiny_store.directory / name for name in expected)
  assert tiny_store.directory.parent == tmp_path / "store" / "tiny"
  assert re.fullmatch(r"[0-9a-f]{16}", tiny_store.directory.name)
  manifest = json.loads((tiny_store.directory / DAY_NAMES[1] / "manifest.json").read_text())
  assert manifest["rows"] == ROWS_PER_DAY[1]
  assert set(manifest["crc32"]) == set(ARRAYS)


class Listener(Silence):
  """Keeps what it is told."""

  def __init__(self) -> None:
    self.said: list[str] = []
    self.tracked: list[tuple[str, int | None, int]] = []

  def say(self, line: str) -> None:
    self.said.append(line)

  @contextlib.contextmanager
  def track(self, what: str, unit: str, total: int | None) -> Iterator[Callable[[int], None]]:
    advances: list[int] = []
    yield advances.append
    self.tracked.append((what, total, sum(advances)))


def test_the_second_prepare_opens_the_store_of_the_first(
  tiny_source: TinySource, tmp_path: Path
) -> None:
  console = Listener()
  first = prepare(tiny_source, tmp_path, console)
  said = list(console.said)
  assert any(line.startswith("preparing tiny: 220 rows of 4 days, ") for line in said)
  quick = [each for each in console.tracked if each[0] != "sorting"]  # as far as it is seen
  assert quick == [
    *(("reading tiny", None, 220), ("counting tiny", 1, 1)),
    *(("coding", 6, 6), ("packing", 440, 440)),
  ]
  assert [each[:2] for each in console.tracked if each not in quick] == [("sorting", 100)]
  changed = {path: path.stat().st_mtime_ns for path in files_below(tmp_path)}
  second = prepare(tiny_source, tmp_path, console)
  assert (tiny_source.reads, console.said) == (1, said)
  assert second.directory == first.directory
  assert changed == {path: path.stat().st_mtime_ns for path in files_below(tmp_path)}


def test_another_identity_is_another_store(tiny_log: FrameLog, tmp_path: Path) -> None:
  options: list[dict[str, Any]] = [
    {}, {"files": {"a": "1"}}, {"files": {"a": "2"}}, {"files": {"b": "1"}}
  ]  # fmt: skip
  made = [prepare(TinySource(tiny_log, option), tmp_path).directory for option in options]
  assert len(set(made)) == len(options)
  for directory, option in zip(made, options, strict=True):
    assert DayStore(directory).card["made_from"]["source"] == option


def test_the_order_of_an_identity_does_not_matter(tiny_log: FrameLog, tmp_path: Path) -> None:
  one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
  assert (
    prepare(TinySource(tiny_log, one), tmp_path).directory
    == prepare(TinySource(tiny_log, other), tmp_path).directory
  )


@pytest.mark.parametrize("stage", [preparing, store])
def test_a_raised_version_is_another_store(
  tiny_source: TinySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: ModuleType
) -> None:
  before = prepare(tiny_source, tmp_path).directory
  monkeypatch.setattr(stage, "VERSION", stage.VERSION + 1)
  assert prepare(tiny_source, tmp_path).directory != before


def test_a_raised_version_of_a_source_is_another_store(tiny_log: FrameLog, tmp_path: Path) -> None:
  one, other = TinySource(tiny_log), TinySource(tiny_log, log_version=2)
  assert prepare(one, tmp_path).directory != prepare(other, tmp_path).directory


def test_a_store_is_named_after_versions_and_options_alone(
  tiny_log: FrameLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  class Edited(TinySource):
    """Another text in another module, as after an edit of a docstring."""

  source = Edited(tiny_log, {"files": {"a": "1"}})
  lookback = Lookback(2.0, 3)
  made = prepare(source, tmp_path, lookback=lookback)
  identity = {
    "source": {"files": {"a": "1"}},
    "lookback": {"feedback_delay_hours": 2.0, "history": 3},
    "versions": {"read": 1, "prepare": preparing.VERSION, "store": store.VERSION},
  }
  assert made.card["made_from"] == identity
  digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
  assert made.directory.name == digest[:16]
  monkeypatch.setattr("inspect.getsource", lambda _: "edited")
  again = TinySource(tiny_log, {"files": {"a": "1"}})
  assert prepare(again, tmp_path, lookback=lookback).directory == made.directory
  assert again.reads == 0


def test_days_are_opened_when_they_are_asked_for(tiny_store: DayStore) -> None:
  for name in (DAY_NAMES[0], DAY_NAMES[-1]):
    (tiny_store.directory / name / "ids.npy").unlink()
  opened = DayStore(tiny_store.directory)
  assert opened.schema == tiny_store.schema
  with pytest.raises(DataError, match=f"{DAY_NAMES[-1]}/ids.npy is missing"):
    _ = opened.eval_day
  with pytest.raises(DataError, match=f"{DAY_NAMES[0]}/ids.npy is missing"):
    _ = opened.train_days


def test_a_damaged_day_n_does_not_stop_training_days_from_opening(tiny_store: DayStore) -> None:
  (tiny_store.directory / DAY_NAMES[-1] / "ids.npy").unlink()
  assert [len(day) for day in DayStore(tiny_store.directory).train_days] == list(ROWS_PER_DAY[:-1])


@pytest.mark.parametrize("position", [0, 130, -1])
@pytest.mark.parametrize("name", ARRAYS)
def test_one_changed_bit_of_an_array_is_noticed(
  tiny_store: DayStore, name: str, position: int
) -> None:
  path = tiny_store.directory / DAY_NAMES[1] / f"{name}.npy"
  content = bytearray(path.read_bytes())
  content[position] ^= 1
  path.write_bytes(content)
  message = rf"^{re.escape(str(path))} is damaged: CRC 0x\w{{8}}, expected 0x\w{{8}}; "
  days = tiny_store.train_days
  with pytest.raises(DataError, match=message + cure(tiny_store) + "$"):
    getattr(days[1], name)
  assert len(getattr(days[0], name)) == ROWS_PER_DAY[0]


@pytest.mark.parametrize("kept", [0, 60, -1])
def test_a_shortened_array_is_noticed(tiny_store: DayStore, kept: int) -> None:
  path = tiny_store.directory / DAY_NAMES[-1] / "labels.npy"
  path.write_bytes(path.read_bytes()[:kept])
  with pytest.raises(DataError, match=rf"^{re.escape(str(path))} is damaged: .*{cure(tiny_store)}"):
    _ = tiny_store.eval_day.labels


def test_an_array_that_goes_missing_after_opening_is_named(tiny_store: DayStore) -> None:
  day = tiny_store.eval_day
  (tiny_store.directory / day.name / "labels.npy").unlink()
  with pytest.raises(
    DataError, match=rf"labels.npy cannot be read \(No such file.*{cure(tiny_store)}"
  ):
    _ = day.labels


@pytest.mark.parametrize("name", ARRAYS)
def test_a_missing_array_is_named(tiny_store: DayStore, name: str) -> None:
  path = tiny_store.directory / DAY_NAMES[-1] / f"{name}.npy"
  path.unlink()
  with pytest.raises(DataError, match=f"^{re.escape(str(path))} is missing; {cure(tiny_store)}$"):
    _ = tiny_store.eval_day


BROKEN: dict[str, Callable[[Path], Any]] = {
  "missing": lambda path: path.unlink(),
  "empty": lambda path: path.write_text(""),
  "cut": lambda path: path.write_text(path.read_text()[:-20]),
  "not text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
  "a list": lambda path: path.write_text(f"[{path.read_text()}]"),
  "null": lambda path: path.write_text("null"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_manifest_is_named(tiny_store: DayStore, how: str) -> None:
  path = tiny_store.directory / DAY_NAMES[0] / "manifest.json"
  BROKEN[how](path)
  message = rf"^{re.escape(str(path))} cannot be read \(\w+\); {cure(tiny_store)}$"
  with pytest.raises(DataError, match=message):
    _ = DayStore(tiny_store.directory).train_days


def test_a_manifest_that_lacks_an_array_is_named(tiny_store: DayStore) -> None:
  path = tiny_store.directory / DAY_NAMES[0] / "manifest.json"
  manifest = json.loads(path.read_text())
  del manifest["crc32"]["bags"]
  path.write_text(json.dumps(manifest))
  with pytest.raises(DataError, match=r"manifest\.json cannot be read \(KeyError\); "):
    _ = tiny_store.train_days


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_schema_is_named(tiny_store: DayStore, how: str) -> None:
  path = tiny_store.directory / "schema.json"
  BROKEN[how](path)
  message = rf"^{re.escape(str(path))} cannot be read \(\w+\); {cure(tiny_store)}$"
  with pytest.raises(DataError, match=message):
    DayStore(tiny_store.directory)


@pytest.mark.parametrize(
  "needed", ["dataset", "features", "tasks", "day_names", "label_statistics"]
)
def test_a_schema_that_lacks_what_training_needs_is_named(
  tiny_store: DayStore, needed: str
) -> None:
  path = tiny_store.directory / "schema.json"
  del tiny_store.card[needed]
  path.write_text(json.dumps(tiny_store.card))
  with pytest.raises(DataError, match=r"schema\.json cannot be read \(KeyError\); "):
    DayStore(tiny_store.directory)


def test_a_schema_with_a_task_of_another_kind_of_program_is_named(tiny_store: DayStore) -> None:
  path = tiny_store.directory / "schema.json"
  tiny_store.card["tasks"][0]["colour"] = "red"
  path.write_text(json.dumps(tiny_store.card))
  with pytest.raises(DataError, match=r"schema\.json cannot be read \(TypeError\); "):
    DayStore(tiny_store.directory)


def test_a_store_without_its_schema_is_not_silently_made_anew(
  tiny_store: DayStore, tiny_source: TinySource, tmp_path: Path
) -> None:
  (tiny_store.directory / "schema.json").unlink()
  message = f"^{re.escape(str(tiny_store.directory))} has no schema.json; {cure(tiny_store)}$"
  with pytest.raises(DataError, match=message):
    prepare(tiny_source, tmp_path / "store")
  assert tiny_source.reads == 1


def test_a_removed_store_is_made_again(
  tiny_store: DayStore, tiny_source: TinySource, tmp_path: Path
) -> None:
  before = {path: path.read_bytes() for path in files_below(tmp_path)}
  for path in before:
    path.unlink()
  for folder in sorted(tiny_store.directory.iterdir()):
    folder.rmdir()
  tiny_store.directory.rmdir()
  prepare(tiny_source, tmp_path / "store")
  assert {path: path.read_bytes() for path in files_below(tmp_path)} == before


def test_a_manifest_follows_its_arrays_and_the_store_its_schema(
  tiny_source: TinySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  written: list[str] = []
  close, write_text, rename = ArrayWriter.__exit__, Path.write_text, Path.rename

  def closing(writer: ArrayWriter, *error: Any) -> None:
    written.append(f"{writer._path.parent.name}/{writer._path.name}")
    close(writer, *error)

  def writing(path: Path, text: str) -> int:
    written.append(f"{path.parent.name}/{path.name}")
    return write_text(path, text)

  def renaming(path: Path, target: Path) -> Path:
    if path.name == "store":
      written.append(target.name)
    return rename(path, target)

  monkeypatch.setattr(ArrayWriter, "__exit__", closing)
  monkeypatch.setattr(Path, "write_text", writing)
  monkeypatch.setattr(Path, "rename", renaming)
  prepared = prepare(tiny_source, tmp_path)
  count = len(DAY_NAMES)
  for day in DAY_NAMES:  # some of them at once
    arrays = [written.index(f"{day}/{name}.npy") for name in ARRAYS]
    assert max(arrays) < written.index(f"{day}/manifest.json") < 6 * count
  last = ["store/summary.md", "store/schema.json", "store/crc32.txt", prepared.directory.name]
  assert written[6 * count :] == last


def test_a_source_that_fails_leaves_nothing_behind(
  tiny_source: TinySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  def fail(engine: Engine) -> Any:
    raise DataError("log.csv line 3 is not a row")

  monkeypatch.setattr(tiny_source, "log", fail)
  with pytest.raises(DataError, match="line 3"):
    prepare(tiny_source, tmp_path)
  assert files_below(tmp_path) == []


@pytest.mark.parametrize("written_before", [0, 3, 23])
def test_a_full_disk_leaves_nothing_behind(
  tiny_source: TinySource,
  tmp_path: Path,
  monkeypatch: pytest.MonkeyPatch,
  written_before: int,
) -> None:
  original = ArrayWriter._write
  written: list[Any] = []

  def write(*arguments: Any) -> None:
    if len(written) == written_before:
      raise OSError(errno.ENOSPC, "No space left on device")
    written.append(arguments)
    original(*arguments)

  with monkeypatch.context() as full:
    full.setattr(ArrayWriter, "_write", write)
    with pytest.raises(OSError, match="No space left on device"):
      prepare(tiny_source, tmp_path)
  assert len(written) == written_before
  assert files_below(tmp_path) == []
  assert len(prepare(tiny_source, tmp_path).train_days) == 3  # with space again


def test_a_label_that_cannot_be_trained_on_leaves_nothing_behind(
  tiny_log: FrameLog, tmp_path: Path
) -> None:
  labels = tiny_log.labels.replace(1.0, 2.0)
  with pytest.raises(DataError, match=r"click is binary but holds 2\.0"):
    prepare(TinySource(dataclasses.replace(tiny_log, labels=labels)), tmp_path)
  assert files_below(tmp_path) == []


@pytest.mark.parametrize(
  ("day", "names", "got"),
  [
    (np.zeros(220), ("a",), "220 rows of 1 day"),
    (np.ones(220), ("a", "b"), "220 rows of 1 day"),
  ],
)
def test_one_day_only_is_refused(
  tiny_log: FrameLog, tmp_path: Path, day: Array, names: tuple[str, ...], got: str
) -> None:
  message = f"tiny has {got}; training and day N need at least two days"
  with pytest.raises(DataError, match=re.escape(message)):
    prepare(TinySource(other_days(tiny_log, day, names)), tmp_path)
  assert files_below(tmp_path) == []


def test_a_day_without_rows_is_no_day(tiny_log: FrameLog, tmp_path: Path) -> None:
  day = np.repeat([0, 2, 3], [100, 60, 60])
  opened = prepare(TinySource(other_days(tiny_log, day, ("a", "b", "c", "d"))), tmp_path)
  assert opened.schema.day_names == ("a", "c", "d")


def test_a_log_without_rows_is_refused(tiny_log: FrameLog, tmp_path: Path) -> None:
  empty = dataclasses.replace(
    tiny_log,
    time=tiny_log.time[:0],
    day=tiny_log.day[:0],
    categorical=tiny_log.categorical[:0],
    bags={},
    dense=tiny_log.dense[:0],
    labels=tiny_log.labels[:0],
  )
  with pytest.raises(DataError, match="tiny has 0 rows of 0 days; training and day N need"):
    prepare(TinySource(empty), tmp_path)


def test_an_event_in_both_the_training_days_and_day_n_is_refused(
  tiny_log: FrameLog, tmp_path: Path
) -> None:
  tie = int(np.flatnonzero(np.diff(tiny_log.time) == 0)[30]) + 1
  log = other_days(tiny_log, np.arange(220) >= tie, ("a", "b"))
  with pytest.raises(DataError, match="day b begins before the day before it ends; mend the day"):
    prepare(TinySource(log), tmp_path)


def test_a_schema_survives_json(tiny_store: DayStore) -> None:
  again = Schema.from_json(json.loads(json.dumps(tiny_store.schema.to_json())))
  assert again == tiny_store.schema
  assert again.tasks[2].loss_weight == 0.5


def test_a_view_without_tasks_has_their_columns_nowhere(tiny_store: DayStore) -> None:
  view = tiny_store.without_tasks(["like"])
  assert [task.name for task in view.schema.tasks] == ["click", "stars"]
  known = tiny_store.schema.label_statistics
  assert view.schema.label_statistics == (known[0], known[2])
  for day, whole in zip(
    [*view.train_days, view.eval_day], [*tiny_store.train_days, tiny_store.eval_day], strict=True
  ):
    np.testing.assert_array_equal(day.labels, whole.labels[:, [0, 2]])
    for name in ("ids", "bags", "dense", "time"):
      np.testing.assert_array_equal(getattr(day, name), getattr(whole, name))
  assert tiny_store.schema.tasks == DayStore(tiny_store.directory).schema.tasks


def test_a_view_of_a_view_is_without_the_tasks_of_both(tiny_store: DayStore) -> None:
  view = tiny_store.without_tasks(["click"]).without_tasks(["like"])
  assert [task.name for task in view.schema.tasks] == ["stars"]
  np.testing.assert_array_equal(view.eval_day.labels, tiny_store.eval_day.labels[:, [2]])


@pytest.mark.parametrize(
  ("names", "message"),
  [
    (["clik"], r"^no task 'clik'; the nearest is 'click'$"),
    ([3], r"^no task 3; valid are click, like, stars$"),
    ("click", r"^'click' is no list; make it a list of tasks$"),
    (["stars", "like", "click"], r"^no task is left without click, like, stars; keep one$"),
  ],
)
def test_a_view_without_a_task_that_there_is_not_or_without_all_is_refused(
  tiny_store: DayStore, names: list[str], message: str
) -> None:
  with pytest.raises(ValueError, match=message):
    tiny_store.without_tasks(names)
