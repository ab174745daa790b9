"""A damaged store is refused: whichever byte changed or is gone, before a step could use it."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from ranking.data.schema import DataError
from ranking.data.store import ARRAYS, CHECKSUMS, DayStore
from tests.conftest import DAY_NAMES, ROWS_PER_DAY

FLIPS, TRUNCATIONS = 200, 50
READ_BY_NOTHING = "summary.md"


def covered(directory: Path) -> list[Path]:
  found = sorted(path for path in directory.rglob("*") if path.is_file())
  return [path for path in found if path.name != READ_BY_NOTHING]


def refusal(directory: Path) -> str | None:
  """What is said when everything that training reads is opened; None if nothing is wrong."""
  try:
    opened = DayStore(directory)
    days = [*opened.train_days, opened.eval_day]
    arrays = [[len(getattr(day, name)) for name in ARRAYS] for day in days]
  except DataError as error:
    return str(error)
  assert arrays == [[rows] * len(ARRAYS) for rows in ROWS_PER_DAY]
  return None


def assert_named(directory: Path, path: Path, what: str) -> None:
  """The refusal is one line with the damaged file, for the list of sums any file that it lists."""
  said = refusal(directory)
  assert said is not None, f"{what} of {path.name} was accepted in silence"
  assert str(path) in said, f"{what} of {path.name}: {said}"
  assert said.endswith(f"; remove {directory} and prepare it again")
  assert "\n" not in said


def test_every_file_but_the_summary_is_covered(tiny_store: DayStore) -> None:
  of_day = [*(f"{name}.npy" for name in ARRAYS), "manifest.json"]
  expected = ["schema.json", CHECKSUMS, *(f"{day}/{name}" for day in DAY_NAMES for name in of_day)]
  assert covered(tiny_store.directory) == sorted(tiny_store.directory / name for name in expected)
  assert refusal(tiny_store.directory) is None


def test_a_flipped_byte_of_any_file_is_found_and_the_file_is_named(tiny_store: DayStore) -> None:
  random = np.random.default_rng(11)
  files = covered(tiny_store.directory)
  hit = set()
  for _ in range(FLIPS):
    # A file first, then its byte: else the small ones would hardly ever be hit.
    path = files[random.integers(len(files))]
    content = path.read_bytes()
    position, flip = int(random.integers(len(content))), int(random.integers(1, 256))
    damaged = bytearray(content)
    damaged[position] ^= flip
    path.write_bytes(damaged)
    assert_named(tiny_store.directory, path, f"byte {position} changed by {flip}")
    path.write_bytes(content)
    hit.add(path)
  assert hit == set(files)
  assert refusal(tiny_store.directory) is None


def test_a_file_cut_anywhere_is_found_and_named(tiny_store: DayStore) -> None:
  random = np.random.default_rng(12)
  files = covered(tiny_store.directory)
  # Each file without its last byte too: the cut that says least.
  cuts = [(path, path.stat().st_size - 1) for path in files]
  for _ in range(TRUNCATIONS):
    path = files[random.integers(len(files))]
    cuts.append((path, int(random.integers(path.stat().st_size))))
  for path, kept in cuts:
    content = path.read_bytes()
    path.write_bytes(content[:kept])
    assert_named(tiny_store.directory, path, f"a cut after {kept} bytes")
    path.write_bytes(content)
  assert refusal(tiny_store.directory) is None


@pytest.mark.parametrize(("old", "new"), [("\n", "\r"), (" ", "\t")])
@pytest.mark.parametrize("name", ["schema.json", f"{DAY_NAMES[1]}/manifest.json"])
def test_a_changed_byte_that_means_the_same_is_found_too(
  tiny_store: DayStore, name: str, old: str, new: str
) -> None:
  path = tiny_store.directory / name
  path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
  assert_named(tiny_store.directory, path, f"{old!r} instead of {new!r}")


@pytest.mark.parametrize(
  ("name", "key"),
  [("schema.json", "mean"), ("schema.json", "vocabulary_size"), ("schema.json", "loss_weight")]
  + [(f"{DAY_NAMES[-1]}/manifest.json", key) for key in ("rows", "labels")],
)
def test_another_digit_in_a_number_is_found_and_both_files_that_may_be_wrong_are_named(
  tiny_store: DayStore, name: str, key: str
) -> None:
  path = tiny_store.directory / name
  text = path.read_text()
  number = re.search(rf'"{key}": [\d.]*(\d)', text)
  assert number is not None
  last = number.end(1) - 1
  path.write_text(f"{text[:last]}{(int(text[last]) + 1) % 10}{text[last + 1 :]}")
  sums = tiny_store.directory / CHECKSUMS
  message = rf"^{re.escape(f'{path} is damaged, or {sums} is: CRC ')}0x\w{{8}} is not listed there;"
  with pytest.raises(DataError, match=message):
    _ = DayStore(tiny_store.directory).eval_day


def test_a_crc_too_large_for_a_number_is_refused_in_one_line(tiny_store: DayStore) -> None:
  path = tiny_store.directory / DAY_NAMES[0] / "manifest.json"
  path.write_text(re.sub(r'("ids": \d+)\d,', r"\g<1>e99999,", path.read_text()))
  assert "e99999" in path.read_text()
  assert_named(tiny_store.directory, path, "an infinite CRC")


def test_a_day_in_the_place_of_another_is_found(tiny_store: DayStore) -> None:
  one, other = (tiny_store.directory / day for day in DAY_NAMES[:2])
  shutil.rmtree(one)
  shutil.copytree(other, one)
  assert_named(tiny_store.directory, one / "manifest.json", "the copy of another day")


def test_missing_sums_are_named(tiny_store: DayStore) -> None:
  path = tiny_store.directory / CHECKSUMS
  path.unlink()
  assert refusal(tiny_store.directory) == (
    f"{path} cannot be read (FileNotFoundError); remove {tiny_store.directory} and prepare it again"
  )


def test_a_changed_summary_stops_nobody(tiny_store: DayStore) -> None:
  (tiny_store.directory / READ_BY_NOTHING).write_text("read by people only")
  assert refusal(tiny_store.directory) is None
