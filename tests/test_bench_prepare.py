"""The bench of preparing: it runs the real command, and counts all of its processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import bench_prepare

ROOT = Path(__file__).parent.parent
SMALL = "Synthetic.days=2 Synthetic.rows_per_day=300 Synthetic.num_users=30"


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
  line = [sys.executable, "-m", "scripts.bench_prepare", *arguments]
  return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


def test_it_prints_rows_a_second_and_peak_memory_and_leaves_no_store() -> None:
  stores = ROOT / "data" / "store"
  before = set(stores.iterdir()) if stores.is_dir() else set()
  done = bench(f"--set={SMALL}")
  assert done.returncode == 0, done.stderr
  (line,) = done.stdout.splitlines()
  assert " rows/s, peak " in line
  rows = int(line.split()[0].replace(",", ""))
  assert 500 < rows < 700
  # Other tests may prepare a store there at the same time.
  assert not [path for path in set(stores.iterdir()) - before if path.name.startswith("tmp")]


def test_what_cannot_be_prepared_fails_with_the_line_of_the_command() -> None:
  done = bench("--data=kuairand", "--raw=nowhere")
  assert done.returncode == 2
  assert "error: RAW folder" in done.stderr


def test_the_peak_is_that_of_all_processes_together(tmp_path: Path) -> None:
  hold = "import time; held = bytearray(60_000_000); held[::4096] = b'x' * len(held[::4096])"
  child = [sys.executable, "-c", f"{hold}; time.sleep(2)"]
  alone, both = (
    bench_prepare.run([sys.executable, "-c", code], tmp_path, ROOT)[2]
    for code in (
      f"{hold}; time.sleep(1)",
      f"import subprocess; {hold}; subprocess.run({child!r})",
    )
  )
  assert alone > 60_000_000
  assert both > alone + 55_000_000


@pytest.mark.parametrize(("names", "largest"), [(["a.csv", "b.csv"], "b.csv"), (["a.txt"], None)])
def test_pandas_is_timed_on_the_largest_csv_file(
  tmp_path: Path, names: list[str], largest: str | None
) -> None:
  for size, name in enumerate(names, start=1):
    (tmp_path / name).write_text("x\n" + "1\n" * size)
  found = bench_prepare.largest_csv(tmp_path)
  assert (found.name if found else None) == largest
