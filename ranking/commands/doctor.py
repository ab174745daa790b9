"""Checks what training needs, a line each with its cure.

Exit code 2 if something is wrong that training cannot do without.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from ranking import quiet

ENOUGH_MEMORY_GB = {"proxy": 2, "paper": 6}
ENOUGH_DISK_GB = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Takes none."""
  del parser


def run(given: argparse.Namespace) -> int:
  """Prints the checks; returns the exit code."""
  del given
  checks = [_python(), _keras(), _devices(), _memory(), _disk(), _stores(), _raw_data()]
  for verdict, what, cure in checks:
    print(f"{verdict:4}  {what}" + (f"\n      cure: {cure}" if cure else ""))
  return 2 if any(verdict == "BAD" for verdict, _, _ in checks) else 0


Check = tuple[str, str, str]  # verdict ("ok", "note" or "BAD"), what was found, cure or ""


def _python() -> Check:
  version = ".".join(map(str, sys.version_info[:3]))
  if (3, 10) <= sys.version_info[:2] <= (3, 12):
    return "ok", f"Python {version}", ""
  return "BAD", f"Python {version}", "make setup PYTHON=/path/to/python of version 3.10 to 3.12"


def _keras() -> Check:
  try:
    with quiet.native_stderr():
      import tensorflow as tf
      import tensorflow_recommenders as tfrs
  except ImportError as error:
    return "BAD", f"TensorFlow cannot be imported: {error}", "make clean setup (finished runs stay)"
  legacy = tf.keras.Model.__module__.startswith("tf_keras.")
  mode = "legacy Keras 2" if legacy else "Keras 3"
  found = f"TensorFlow {tf.__version__}, {mode}, tensorflow-recommenders {tfrs.__version__}"
  if not legacy:
    return "BAD", found, "import ranking before tensorflow, or export TF_USE_LEGACY_KERAS=1"
  return "ok", found, ""


def _devices() -> Check:
  import tensorflow as tf

  gpus = len(tf.config.list_physical_devices("GPU"))
  cores = len(os.sched_getaffinity(0))
  if os.environ.get("TPU_NAME"):
    return "ok", f"TPU {os.environ['TPU_NAME']} named by the environment", ""
  if gpus:
    return "ok", f"{gpus} GPUs, {cores} CPU cores", ""
  has_driver = shutil.which("nvidia-smi") is not None
  cure = "pip install '.[cuda]' in .venv to use the GPU" if has_driver else ""
  return ("note" if has_driver else "ok"), f"no GPU in use, {cores} CPU cores", cure


def available_memory(information: Path = Path("/proc/meminfo")) -> float:
  """GiB that a process can have; what only keeps files at hand counts, as it gives way.

  Args:
    information: of Linux; where it is not there, free pages have to do.
  """
  try:
    (line,) = [
      each for each in information.read_text().splitlines() if each.startswith("MemAvailable:")
    ]
    return int(line.split()[1]) / 2**20  # it is in KiB
  except (OSError, ValueError):
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def _memory() -> Check:
  free = available_memory()
  if free < ENOUGH_MEMORY_GB["proxy"]:
    return "BAD", f"{free:.1f} GB of memory free", "close something: SCALE=proxy takes 1 to 2 GB"
  if free < ENOUGH_MEMORY_GB["paper"]:
    return "note", f"{free:.1f} GB of memory free, enough for SCALE=proxy", "SCALE=paper takes 4 GB"
  return "ok", f"{free:.1f} GB of memory free", ""


def _disk() -> Check:
  free = shutil.disk_usage(".").free / 2**30
  if free < ENOUGH_DISK_GB:
    return "note", f"{free:.1f} GB of disk free here", f"free {ENOUGH_DISK_GB} GB: rm -r runs/old"
  return "ok", f"{free:.0f} GB of disk free here", ""


def _stores() -> Check:
  made = sorted(Path("data/store").glob("*/*/schema.json"))
  begun = sorted(Path("data/store").glob("*/*.partial"))
  if begun:
    return "note", f"{len(begun)} day stores are half made", "the same command goes on with them"
  names = ", ".join(sorted({path.parts[-3] for path in made})) or "none yet"
  return "ok", f"{len(made)} day stores ({names})", "" if made else "made by the first training"


def _raw_data() -> Check:
  folder = os.environ.get("RANKING_RAW_DATA")
  if folder and Path(folder).is_dir():
    names = ", ".join(sorted(path.name for path in Path(folder).iterdir() if path.is_dir()))
    return "ok", f"raw data for tests in {folder}: {names}", ""
  cure = "optional: export RANKING_RAW_DATA=folder of KuaiRand-Pure/, KuaiRec/, ml-latest-small/"
  return "note", "no raw data for tests", cure
