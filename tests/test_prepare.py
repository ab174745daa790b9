"""Preparing out of core: the same store as packing the whole log in memory, whatever the blocks."""

import concurrent.futures
import dataclasses
import itertools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ranking.array import Array
from ranking.data import pack, past
from ranking.data.engine import Engine
from ranking.data.lookback import Lookback
from ranking.data.prepare import Silence, _alone, prepare
from ranking.data.schema import DataError, Source
from ranking.data.sources.kuairand import KuaiRand
from ranking.data.sources.movielens import MovieLens
from ranking.data.sources.synthetic import Synthetic
from ranking.data.store import ARRAYS, ArrayWriter, DayStore
from tests import whole_pack
from tests.conftest import DAY_NAMES, ROWS_PER_DAY, TinySource
from tests.frames import Bag, FrameLog
from tests.packing import read_back
from tests.whole_log import read_whole


@pytest.mark.parametrize("block_rows", [3, 1 << 17])
@pytest.mark.parametrize(
  "lookback",
  [Lookback(), Lookback(feedback_delay_hours=5), Lookback(30.0, 3), Lookback(history=5)],
  ids=["plain", "5 hours", "30 hours, 3 items", "5 items"],
)
def test_a_store_holds_what_packing_the_whole_log_gives(
  tiny_log: FrameLog,
  tmp_path: Path,
  monkeypatch: pytest.MonkeyPatch,
  block_rows: int,
  lookback: Lookback,
) -> None:
  monkeypatch.setattr(pack, "BLOCK_ROWS", block_rows)
  monkeypatch.setattr(past, "PIECE_ROWS", block_rows)
  log = dataclasses.replace(tiny_log, report_by="author_id")
  made = read_back(prepare(TinySource(log), tmp_path, lookback=lookback))
  expected = whole_pack.pack("tiny", log, lookback)
  for name in ("ids", "bags", "labels", "time"):
    np.testing.assert_array_equal(getattr(made, name), getattr(expected, name), err_msg=name)
  np.testing.assert_allclose(made.dense, expected.dense, rtol=1e-6, atol=1e-7)
  for name in ARRAYS:
    assert getattr(made, name).dtype == getattr(expected, name).dtype
  statistics = [dataclasses.astuple(entry)[:3] for entry in made.schema.label_statistics]
  np.testing.assert_allclose(
    statistics, [dataclasses.astuple(entry)[:3] for entry in expected.schema.label_statistics]
  )
  unified = dataclasses.replace(made.schema, label_statistics=expected.schema.label_statistics)
  assert unified == expected.schema


def files_below(folder: Path) -> dict[str, bytes]:
  return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Killed(BaseException):
  """Nobody catches it, so that what was written stays as it is."""


def killed_at_write(number: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
  """Makes the write with this number the last one; tells how many there were."""
  writes = itertools.count()

  def dying(original: Callable[..., Any]) -> Callable[..., Any]:
    def write(*arguments: Any, **more: Any) -> Any:
      result = original(*arguments, **more)
      if next(writes) == number:
        raise Killed
      return result

    return write

  for owner, name in ((Engine, "_write"), (Path, "rename"), (ArrayWriter, "_write")):
    monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
  return lambda: next(writes)


def test_a_preparation_killed_at_any_write_and_run_again_makes_the_same_store(
  tiny_log: FrameLog, tmp_path: Path
) -> None:
  source, lookback = TinySource(tiny_log), Lookback(3.0, 2)
  with pytest.MonkeyPatch.context() as monkeypatch:
    count_writes = killed_at_write(-1, monkeypatch)
    expected = files_below(prepare(source, tmp_path / "whole", lookback=lookback).directory)
  last = count_writes() - 1
  assert last > 40
  for number in (*range(0, last, 11), last):
    root = tmp_path / str(number)
    with pytest.MonkeyPatch.context() as monkeypatch:
      killed_at_write(number, monkeypatch)
      with pytest.raises(Killed):
        prepare(source, root, lookback=lookback)
    assert any(path.name.endswith(".partial") for path in (root / "tiny").iterdir())
    assert files_below(prepare(source, root, lookback=lookback).directory) == expected
    assert len(list((root / "tiny").iterdir())) == 1


class Ran:
  """A pickle of it writes a file when it is read."""

  def __init__(self, path: Path):
    self.path = path

  def __reduce__(self) -> Any:
    return Path.touch, (self.path,)


def test_nothing_that_a_killed_run_left_is_read(tiny_log: FrameLog, tmp_path: Path) -> None:
  source = TinySource(tiny_log)
  expected = files_below(prepare(source, tmp_path / "whole").directory)
  random = np.random.default_rng(0)
  for number in (4, 25):
    root = tmp_path / str(number)
    with pytest.MonkeyPatch.context() as monkeypatch:
      killed_at_write(number, monkeypatch)
      with pytest.raises(Killed):
        prepare(source, root)
    (work,) = (root / "tiny").iterdir()
    for path in sorted(work.rglob("*")):
      if path.is_file() and (content := bytearray(path.read_bytes())):
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(content)
    (work / "merged.pickle").write_bytes(pickle.dumps(Ran(tmp_path / "ran")))
    assert files_below(prepare(source, root).directory) == expected
  assert not (tmp_path / "ran").exists()


class Waiting(Silence):
  """Tells when it is told to wait."""

  def __init__(self) -> None:
    self.told = threading.Event()

  def say(self, line: str) -> None:
    if "another process prepares" in line:
      self.told.set()


def test_of_two_that_prepare_at_once_one_waits_for_the_other(
  tiny_log: FrameLog, tmp_path: Path
) -> None:
  second, console = TinySource(tiny_log), Waiting()

  class Slow(TinySource):
    def log(self, engine: Engine) -> Any:
      waiting.start()
      assert console.told.wait(20)
      return super().log(engine)

  made: list[DayStore] = []
  waiting = threading.Thread(target=lambda: made.append(prepare(second, tmp_path, console)))
  first = prepare(Slow(tiny_log), tmp_path)
  waiting.join(20)
  assert [store.directory for store in made] == [first.directory]
  assert second.reads == 0
  assert list((tmp_path / "tiny").iterdir()) == [first.directory]


def with_rows(log: FrameLog, kept: Array) -> FrameLog:
  """Its rows where `kept`, bool [n], alone."""
  return dataclasses.replace(
    log,
    time=log.time[kept],
    day=log.day[kept],
    categorical=log.categorical[kept],
    bags={name: Bag(bag.lists, bag.index[kept]) for name, bag in log.bags.items()},
    dense=log.dense[kept],
    labels=log.labels[kept],
  )


@pytest.mark.parametrize("left_out", [1, 2])
def test_a_store_without_the_last_days_is_that_of_the_shorter_log(
  tiny_log: FrameLog, tmp_path: Path, left_out: int
) -> None:
  log = dataclasses.replace(tiny_log, report_by="author_id")
  lookback = Lookback(5.0, 3)
  made = prepare(TinySource(log), tmp_path, lookback=lookback, without_last_days=left_out)
  shorter = TinySource(with_rows(log, log.day < 4 - left_out))
  short = prepare(shorter, tmp_path / "short", lookback=lookback)
  assert made.eval_day.name == DAY_NAMES[3 - left_out]
  assert [len(day) for day in made.train_days] == list(ROWS_PER_DAY[: 3 - left_out])
  assert made.schema == short.schema
  assert made.card["made_from"].pop("without_last_days") == left_out
  assert made.card == short.card
  for name, content in files_below(short.directory).items():
    if name not in ("schema.json", "crc32.txt"):  # these say that days were left out
      assert (made.directory / name).read_bytes() == content, name


def test_rows_of_days_that_are_left_out_change_no_byte(tiny_log: FrameLog, tmp_path: Path) -> None:
  """Neither by what they hold, nor by their number, nor by which days they are of."""
  late, bag = tiny_log.day >= 2, tiny_log.bags["likes"]
  lists = [*bag.lists, ["new", "newer"]]
  log = dataclasses.replace(tiny_log, bags={"likes": Bag(lists, bag.index)})
  changes: dict[str, Any] = {
    name: getattr(log, name).mask(pd.Series(late), value)
    for name, value in (("categorical", 5), ("dense", 1e6), ("labels", 1.0))
  }
  altered = dataclasses.replace(
    log,
    time=log.time + np.where(late, 77_000, 0),
    day=log.day + late,
    day_names=(*DAY_NAMES[:2], "not there", "later", "last"),
    bags={"likes": Bag(lists, np.where(late, 5, bag.index))},
    **changes,
  )
  fewer = with_rows(altered, ~late | (np.arange(len(late)) % 3 == 0))
  made = [
    files_below(prepare(TinySource(each), tmp_path / str(k), without_last_days=2).directory)
    for k, each in enumerate((log, altered, fewer))
  ]
  assert made[0] == made[1] == made[2]
  assert len(made[0]) == 3 + 2 * 6


def test_a_whole_log_keeps_its_fingerprint_and_a_shorter_one_has_its_own(
  tiny_log: FrameLog, tmp_path: Path
) -> None:
  source = TinySource(tiny_log)
  whole = prepare(source, tmp_path)
  assert prepare(source, tmp_path, without_last_days=0).directory == whole.directory
  assert source.reads == 1
  assert set(whole.card["made_from"]) == {"source", "lookback", "versions"}
  directories = [prepare(source, tmp_path, without_last_days=n).directory for n in (1, 2)]
  assert len({whole.directory, *directories}) == 3


@pytest.mark.parametrize(
  ("left_out", "message"),
  [
    (3, r"^tiny has 70 rows of 1 day without the last 3; training and day N need at least"),
    (4, r"^tiny has 0 rows of 0 days without the last 4; training"),
    (5, r"^tiny has 0 rows of 0 days without the last 5; training"),
  ],
)
def test_too_few_days_left_are_one_line_and_nothing_is_left_behind(
  tiny_log: FrameLog, tmp_path: Path, left_out: Any, message: str
) -> None:
  with pytest.raises(DataError, match=message):
    prepare(TinySource(tiny_log), tmp_path, without_last_days=left_out)
  assert files_below(tmp_path) == {}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"source": 3}, r"^source is 3; make it an object, such as @Synthetic\(\)$"),
    ({"source": TinySource}, r"^source is <class .*; make it an object, such as @Synthetic\(\)$"),
    ({"lookback": 3}, r"^lookback is 3; make it @Lookback\(\) or None$"),
    ({"root": 5}, r"^store_directory is 5; make it the path of a folder$"),
    ({"root": ""}, r"^store_directory is ''; make it the path of a folder$"),
    ({"fair_share": 2}, r"^fair_share is 2; make it a number from 0 to 1$"),
    (
      {"engine": "dukdb"},
      r"^ENGINE is 'dukdb'; make it duckdb, local\[2\] for Spark in this machine",
    ),
    ({"without_last_days": -1}, r"^without_last_days is -1; make it a whole number, 0 or more$"),
    ({"without_last_days": 1.0}, r"^without_last_days is 1\.0; make it a whole number"),
    ({"without_last_days": True}, r"^without_last_days is True; make it a whole number"),
  ],
)
def test_a_setting_of_another_kind_is_refused_before_anything_is_written(
  tiny_log: FrameLog, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
  given: dict[str, Any] = {"source": TinySource(tiny_log), "root": tmp_path, **changes}
  with pytest.raises(DataError, match=message):
    prepare(**given)
  assert list(tmp_path.iterdir()) == []


RAW = os.environ.get("RANKING_RAW_DATA", "")
SOURCES: list[Source] = [
  Synthetic(days=3, rows_per_day=7_000),
  KuaiRand(raw=f"{RAW}/KuaiRand-Pure"),
  MovieLens(raw=f"{RAW}/ml-latest-small"),
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_large_log_is_prepared_as_packing_it_whole_gives(
  source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  if source.name != "synthetic" and not RAW:
    pytest.skip("set RANKING_RAW_DATA to the folder of the raw logs")
  monkeypatch.setattr(pack, "BLOCK_ROWS", 3_000)
  monkeypatch.setattr(past, "PIECE_ROWS", 2_000)
  opened = prepare(source, tmp_path)
  made, log = read_back(opened), read_whole(source)
  expected = whole_pack.pack(source.name, log)
  for array in ("ids", "bags", "labels", "time"):
    np.testing.assert_array_equal(getattr(made, array), getattr(expected, array), err_msg=array)
  np.testing.assert_allclose(made.dense, expected.dense, rtol=1e-6, atol=1e-7)
  assert made.schema.features == expected.schema.features
  assert made.schema.report_values == expected.schema.report_values
  assert opened.card["cleaning"] == log.cleaning


def test_the_real_command_killed_twice_makes_the_store_of_one_that_was_not(tmp_path: Path) -> None:
  options = {"days": 5, "rows_per_day": 30_000, "num_users": 2_000}
  command = [sys.executable, "-m", "ranking", "prepare", "--set"]
  command.append(" ".join(f"Synthetic.{name}={value}" for name, value in options.items()))
  root = Path(__file__).parent.parent
  environment = {**os.environ, "PYTHONPATH": str(root)}
  stores = tmp_path / "data" / "store" / "synthetic"
  for stage in ("kept", "store"):
    process = subprocess.Popen(
      command, cwd=tmp_path, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    while process.poll() is None and not list(stores.glob(f"*.partial/{stage}/*")):
      time.sleep(0.02)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
  done = subprocess.run(
    command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
  )
  made = tmp_path / done.stdout.splitlines()[-1]
  assert list(stores.iterdir()) == [made]
  whole = prepare(Synthetic(**options), tmp_path / "whole").directory
  assert made.name == whole.name
  assert files_below(made) == files_below(whole)


def test_of_many_at_once_each_has_the_folder_for_itself_and_finds_no_trace_of_the_others(
  tmp_path: Path,
) -> None:
  work = tmp_path / "toy" / "abc.partial"
  inside: list[int] = []

  def once(who: int) -> None:
    with _alone(work, Silence()):
      assert not inside
      inside.append(who)
      (work / "seen").write_text(str(who))
      assert (work / "seen").read_text() == str(who)
      shutil.rmtree(work)
      inside.remove(who)

  with concurrent.futures.ThreadPoolExecutor(6) as pool:
    list(pool.map(once, range(300)))
  assert list(work.parent.iterdir()) == []
