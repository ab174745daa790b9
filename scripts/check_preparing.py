"""Tries preparing hard: python -m scripts.check_preparing WHAT [--raw=KuaiRand-Pure]

    same      prepared 20 times at random numbers of threads and limits of memory, and once on Spark
    killed    the real command, killed at 20 random moments and started again
    damaged   100 damages (bits, lengths, missing files) of what killed commands left, and started
              again

Each time the store must be that of an undisturbed preparation, byte for byte. A line says what was
tried and how often; exit code 1 where a store is another one. Without RAW, a small log is made up.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest.mock
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ranking.data.engine import MEMORY
from ranking.data.prepare import prepare
from ranking.data.schema import Source
from ranking.data.sources.kuairand import KuaiRand
from ranking.data.sources.synthetic import Synthetic

ROOT: Final = Path(__file__).resolve().parent.parent
SMALL: Final = {"days": 3, "rows_per_day": 10_000}
THREADS, MEGABYTES = 16, (200, 2000)  # at most; least and most
LEFT = 5  # commands that are killed for what they leave


def main(argv: list[str]) -> int:
  """Tries what was asked for; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("what", choices=[*TRIES])
  parser.add_argument("--raw", default="", help="KuaiRand's folder; a small log is made up if none")
  parser.add_argument("--times", type=int, help="how often; as above if not given")
  parser.add_argument("--seed", type=int, default=0, help="of what is random")
  parser.add_argument("--without-spark", action="store_true", help="the first on DuckDB alone")
  given = parser.parse_args(argv)
  random.seed(given.seed)
  with tempfile.TemporaryDirectory() as folder:
    return TRIES[given.what](given, Path(folder))


def same(given: argparse.Namespace, folder: Path) -> int:
  """Prepares in this process."""
  source, times = source_of(given), given.times or 20
  expected = contents(prepare(source, folder / "plain").directory)
  wrong = 0
  for number in range(times):
    threads, memory = random.randint(1, THREADS), f"{random.randint(*MEGABYTES)}MB"
    with (
      unittest.mock.patch("os.sched_getaffinity", return_value=set(range(threads))),
      unittest.mock.patch.dict(os.environ, {MEMORY: memory}),
    ):
      made = contents(prepare(source, folder / str(number)).directory)
    shutil.rmtree(folder / str(number))
    wrong += told(f"{threads} threads, {memory}", made == expected)
  if not given.without_spark:
    made = contents(prepare(source, folder / "spark", engine="local[2]").directory)
    wrong += told("Spark", made == expected)
  return wrong > 0


def killed(given: argparse.Namespace, folder: Path) -> int:
  """Runs the real command."""
  began = time.monotonic()
  expected = finished(given, folder / "plain")
  seconds = time.monotonic() - began
  wrong = 0
  for number in range(given.times or 20):
    moment = kill(given, folder / str(number), seconds)
    left = "nothing left" if moment is None else f"killed after {moment:.1f} s"
    wrong += told(left, finished(given, folder / str(number)) == expected)
    shutil.rmtree(folder / str(number))
  return wrong > 0


def damaged(given: argparse.Namespace, folder: Path) -> int:
  """Damages one file at a time of what was left, and prepares in this process."""
  source = source_of(given)
  began = time.monotonic()
  expected = finished(given, folder / "plain")
  seconds = time.monotonic() - began
  for number in range(LEFT):
    left = folder / f"left{number}"
    while kill(given, left, seconds, after=seconds / 2) is None or not partial(left):
      shutil.rmtree(left)
  wrong = 0
  for number in range(given.times or 100):
    shutil.copytree(folder / f"left{number % LEFT}", folder / "now")
    path = random.choice(partial(folder / "now"))
    what, how = random.choice(DAMAGES)
    how(path)
    made = contents(prepare(source, folder / "now" / "data" / "store").directory)
    wrong += told(f"{what} {path.name}", made == expected)
    shutil.rmtree(folder / "now")
  return wrong > 0


TRIES: Final[dict[str, Callable[[argparse.Namespace, Path], int]]] = {
  "same": same,
  "killed": killed,
  "damaged": damaged,
}


def source_of(given: argparse.Namespace) -> Source:
  """What is prepared."""
  return KuaiRand(raw=given.raw) if given.raw else Synthetic(**SMALL)


def command_of(given: argparse.Namespace) -> list[str]:
  """The same by the real command."""
  command = [sys.executable, "-m", "ranking", "prepare"]
  if given.raw:
    return [*command, "--data=kuairand", f"--raw={Path(given.raw).resolve()}"]
  options = " ".join(f"Synthetic.{name}={value}" for name, value in SMALL.items())
  return [*command, f"--set={options}"]


def start(given: argparse.Namespace, folder: Path) -> "subprocess.Popen[str]":
  """Starts the command in a folder."""
  folder.mkdir(exist_ok=True)
  return subprocess.Popen(
    command_of(given),
    cwd=folder,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    start_new_session=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  )


def finished(given: argparse.Namespace, folder: Path) -> dict[str, int]:
  """What the store holds that the command makes in a folder; nothing else may lie beside it."""
  process = start(given, folder)
  output, _ = process.communicate()
  if process.returncode:
    sys.exit(f"{' '.join(command_of(given))} failed")
  made = folder / output.splitlines()[-1]
  beside = [path.name for path in made.parent.iterdir() if path != made]
  return {**contents(made), **dict.fromkeys(beside, 0)}


def kill(
  given: argparse.Namespace, folder: Path, seconds: float, after: float = 0.0
) -> float | None:
  """Kills the command at a random moment between two; None where it had ended by then."""
  moment = random.uniform(after, seconds)
  process = start(given, folder)
  time.sleep(moment)
  had_ended = process.poll() is not None
  if not had_ended:
    os.killpg(process.pid, signal.SIGKILL)
  process.communicate()
  return None if had_ended else moment


def partial(folder: Path) -> list[Path]:
  """The files that a killed command left and that are not empty."""
  return sorted(
    path
    for path in folder.glob("data/store/*/*.partial/**/*")
    if path.is_file() and path.stat().st_size
  )


def contents(store: Path) -> dict[str, int]:
  """The name of the store, and the CRC of each of its files."""
  files = [path for path in store.rglob("*") if path.is_file()]
  return {str(path.relative_to(store.parent)): zlib.crc32(path.read_bytes()) for path in files}


def flip(path: Path) -> None:
  """Changes one bit."""
  content = bytearray(path.read_bytes())
  content[random.randrange(len(content))] ^= 1 << random.randrange(8)
  path.write_bytes(content)


def shorten(path: Path) -> None:
  """Leaves out the end."""
  os.truncate(path, random.randrange(path.stat().st_size))


DAMAGES: Final[list[tuple[str, Callable[[Path], None]]]] = [
  ("a bit of", flip),
  ("the end of", shorten),
  ("all of", Path.unlink),
]


def told(what: str, is_same: bool) -> bool:
  """Says how a try went; whether it went wrong."""
  print(f"{what}: {'the same store' if is_same else 'ANOTHER STORE'}", flush=True)
  return not is_same


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
