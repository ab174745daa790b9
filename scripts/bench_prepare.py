"""Rows a second and peak memory of preparing: python -m scripts.bench_prepare --data=… --raw=…

Runs the real command in a folder of its own, once or more often, and adds up the resident memory of
its processes ten times a second. Pages that two of them share count twice, so that the true peak is
lower. Beside it stands what DuckDB takes for merely reading the largest CSV file of RAW.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from ranking import quiet

with quiet.native_stderr():
  from ranking.data.store import DayStore

SAMPLE_SECONDS = 0.1


def main(argv: list[str]) -> int:
  """Measures and prints a line per run; the exit code is that of the command."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  for name, default in (("data", "synthetic"), ("raw", ""), ("set", ""), ("engine", "duckdb")):
    parser.add_argument(f"--{name}", default=default, help="as for preparing")
  parser.add_argument("--repeats", type=int, default=1, help="how often; 1 if not given")
  given = parser.parse_args(argv)
  root = Path(__file__).resolve().parent.parent
  command = [sys.executable, "-m", "ranking", "prepare", f"--data={given.data}"]
  command.append(f"--engine={given.engine}")
  if given.raw:
    command.append(f"--raw={Path(given.raw).resolve()}")
  if given.set:
    command.append(f"--set={given.set}")
  for _ in range(max(1, given.repeats)):
    # Where stores usually lie, and not in /tmp, which may be memory.
    (root / "data" / "store").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root / "data" / "store") as folder:
      code, seconds, peak, output = run(command, Path(folder), root)
      if code:
        print(output, end="", file=sys.stderr)
        return code
      store = Path(folder) / output.splitlines()[-1]
      rows = sum(DayStore(store).card["rows_per_day"])
      size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    print(
      f"{rows:,} rows in {seconds:.1f} s: {rows / seconds:,.0f} rows/s, peak {peak / 1e9:.2f} GB, "
      f"store {size / 1e9:.2f} GB"
    )
  if given.raw and (largest := largest_csv(Path(given.raw))):
    plain = seconds_to_read(largest)
    print(f"DuckDB reads {largest.name} in {plain:.1f} s: preparing takes {seconds / plain:.1f} ×")
  return 0


def run(command: list[str], folder: Path, root: Path) -> tuple[int, float, int, str]:
  """Runs a command in a folder: exit code, seconds, peak bytes of all its processes, output."""
  began = time.monotonic()
  peak = 0
  with tempfile.TemporaryFile("w+") as output:
    with subprocess.Popen(
      command,
      cwd=folder,
      stdout=output,
      stderr=subprocess.STDOUT,
      env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
    ) as process:
      while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - began
    output.seek(0)
    return process.returncode, seconds, peak, output.read()


def resident(pid: int) -> int:
  """Bytes in memory of a process and its descendants; 0 for what has just ended."""
  try:
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
  except OSError:
    return 0
  return pages * 4096 + sum(map(resident, children))


def largest_csv(raw: Path) -> Path | None:
  """The largest file of a folder, or the file itself: most of a raw log is in it."""
  files = [raw] if raw.is_file() else list(raw.rglob("*"))
  files = [file for file in files if file.suffix == ".csv"]
  return max(files, key=lambda file: file.stat().st_size, default=None)


def seconds_to_read(path: Path) -> float:
  """What DuckDB takes for all columns of a CSV file, as text."""
  began = time.monotonic()
  with duckdb.connect() as connection:
    connection.read_csv(str(path), all_varchar=True).aggregate("max(columns(*))").fetchall()
  return time.monotonic() - began


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
