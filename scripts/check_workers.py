"""Trains on several devices and workers, and kills workers: are the weights those of one device?

  python -m scripts.check_workers alike --methods clippy lamb
  python -m scripts.check_workers killed --times=10

`alike` trains every method for 50 steps on one device, on 2 and 4 virtual ones, and by 2 and 3
workers of this machine. Prints by how much the weights, the slots and the figures of day N differ
from those of one device; exits with 1 if weights do by more than 1e-5 of their norm, or figures by
more than 1e-6.

`killed` kills a worker at a random moment, and the one device of two replicas likewise; gives the
command again, and compares with a run that nobody killed: all must be the same to the last bit.
"""

import argparse
import dataclasses
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ranking import configuration

ROOT = Path(__file__).parent.parent
STEPS = 50
SETTINGS = (
  "Synthetic.days=4 Synthetic.rows_per_day=900 Synthetic.num_users=60 Synthetic.num_videos=90 "
  f"train_and_evaluate.max_steps={STEPS} train_and_evaluate.batch_size=48 "
  "train_and_evaluate.eval_every=10 train_and_evaluate.checkpoint_every=5 "
  "train_and_evaluate.steps_per_call=5 train_and_evaluate.on_divergence='continue' "
  "Inputs.without_features=['tab', 'hour', 'day_of_week', 'upload_type', 'duration_bucket', "
  "'music_id', 'user_active_degree', 'register_days_range']"
)
PLACES = {  # how many processes, how many replicas of each
  "1 device": (1, 1),
  "2 devices": (1, 2),
  "4 devices": (1, 4),
  "2 workers": (2, 1),
  "3 workers": (3, 1),
}
Numbers = dict[str, np.ndarray[Any, Any]]


def cluster(count: int) -> Iterator[str]:
  """TF_CONFIG of each of so many workers of this machine, on ports that are free now."""
  sockets = [socket.socket() for _ in range(count)]
  for each in sockets:
    each.bind(("localhost", 0))
  addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
  for each in sockets:
    each.close()
  for index in range(count):
    task = {"type": "worker", "index": index}
    yield json.dumps({"cluster": {"worker": addresses}, "task": task})


def start(line: Sequence[str], place: str, folder: Path) -> list[subprocess.Popen[bytes]]:
  """Starts a command on a place's processes, which write to out.0 and so on in a folder."""
  folder.mkdir(parents=True, exist_ok=True)
  started = []
  for number, described in enumerate(cluster(PLACES[place][0])):
    environment = {**os.environ, "TF_CONFIG": described, "PYTHONPATH": str(ROOT)}
    with open(folder / f"out.{number}", "ab") as out:
      full = [sys.executable, *line]
      started.append(
        subprocess.Popen(full, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
      )
  return started


def hardware(place: str) -> tuple[str, str]:
  """The name of the file for a place, and more settings."""
  count, replicas = PLACES[place]
  virtual = f"train_and_evaluate.distribution=@virtual_cpus virtual_cpus.replicas={replicas}"
  return ("workers" if count > 1 else "cpu"), (virtual if replicas > 1 else "")


def command(run: Path, stores: Path, place: str) -> list[str]:
  """The words of the command that trains with Clippy."""
  name, more = hardware(place)
  words = ["-m", "ranking", "train", "--config=small_clippy.gin", "--scale=proxy"]
  log = f"{SETTINGS} train_and_evaluate.store_directory='{stores}' {more}"
  return [*words, f"--hardware={name}", f"--run={run}", f"--set={log}"]


def train_all(methods: Sequence[str], place: str, folder: Path) -> None:
  """Trains with each method in this process, which is one of a place's."""
  from ranking.training import loop  # slow, and only needed here

  name, more = hardware(place)
  made: list[Any] = []  # the strategy, of which a process can have one

  def distribution() -> Any:
    return made[0]

  for method in methods:
    settings = configuration.read(
      model="small",
      method=method,
      scale="proxy",
      hardware=name,
      bindings=configuration.split_bindings(f"{SETTINGS} {more}"),
      run_directory=str(folder / place.replace(" ", "_") / method),
    )
    if not made:
      made.append(settings.distribution())
    log = dataclasses.replace(settings.log, store_directory=str(folder / "stores"))
    loop.train_and_evaluate(dataclasses.replace(settings, log=log, distribution=distribution))


def ended(run: Path) -> tuple[Numbers, Numbers]:
  """The variables of the last checkpoint, and the figures of day N with the predictions."""
  import tensorflow as tf  # slow, and only needed here

  (*_, last) = sorted((run / "checkpoints").glob("step-*"))
  reader = tf.train.load_checkpoint(str(last / "variables"))
  names = [name for name in reader.get_variable_to_shape_map() if name.startswith("variables/")]
  metrics = json.loads((run / "result.json").read_text())["metrics"]
  figures = {
    f"{task} {name}": np.asarray(value)
    for task, entry in metrics.items()
    for name, value in entry.items()
    if isinstance(value, float)
  }
  return {name: reader.get_tensor(name) for name in sorted(names)}, figures


def apart(one: Numbers, other: Numbers) -> tuple[float, str]:
  """The largest distance of two arrays of a name, over the norm of the first; and which."""
  assert one.keys() == other.keys()
  distances = {}
  for name, value in one.items():
    first, second = (np.asarray(each, np.float64) for each in (value, other[name]))
    distances[name] = float(np.linalg.norm(first - second) / max(np.linalg.norm(first), 1e-30))
  worst = max(distances, key=lambda name: distances[name])
  return distances[worst], worst


def alike(methods: Sequence[str], places: Sequence[str], folder: Path) -> int:
  """Prints the table; returns how many cells of it are too large."""
  wrong, of_one = 0, dict[str, tuple[Numbers, Numbers]]()
  for place in ["1 device", *places]:
    inside = folder / place.replace(" ", "_")
    words = ["-m", "scripts.check_workers", "train", "--folder", str(folder), "--places", place]
    codes = [each.wait() for each in start([*words, "--methods", *methods], place, inside)]
    if any(codes):
      print(f"{place}: exit codes {codes}, see {inside}/out.0")
      return wrong + 1
    for method in methods:
      found = ended(inside / method)
      of_one.setdefault(method, found)
      pairs = zip(of_one[method], found, strict=True)
      (numbers, name), (figures, figure) = (apart(*pair) for pair in pairs)
      bad = numbers > 1e-5 or figures > 1e-6
      wrong += bad
      print(
        f"{place:10} {method:14} {numbers:.1e} {name.split('/')[1]}, day N {figures:.1e} {figure}"
        f"{'  TOO LARGE' if bad else ''}",
        flush=True,
      )
  return wrong


def killed(place: str, times: int, folder: Path, chance: random.Random) -> int:
  """Kills one process of a place at a random moment, again and again; returns how many differ."""
  stores = folder / "stores"
  whole = folder / f"whole_{place}".replace(" ", "_")
  began = time.monotonic()
  assert not any(each.wait() for each in start(command(whole, stores, place), place, whole))
  took, wanted, wrong = time.monotonic() - began, ended(whole), 0
  for number in range(times):
    run = folder / f"killed_{place}_{number}".replace(" ", "_")
    processes = start(command(run, stores, place), place, run)
    moment, victim = chance.uniform(0.2, 1.0) * took, chance.randrange(len(processes))
    time.sleep(moment)
    processes[victim].send_signal(signal.SIGKILL)
    began = time.monotonic()
    codes = [process.wait() for process in processes]
    waited = time.monotonic() - began
    step = max((int(path.name[5:]) for path in run.glob("checkpoints/step-*")), default=0)
    finished = (run / "result.json").is_file()  # too late to kill it
    again = [each.wait() for each in start(command(run, stores, place), place, run)]
    same = again == [2 if finished else 0] * len(again) and all(
      np.array_equal(one[name], other[name])
      for one, other in zip(wanted, ended(run), strict=True)
      for name in one
    )
    wrong += not same
    print(
      f"{place}: killed {victim} after {moment:.0f} s, at checkpoint {step}; exit codes {codes} "
      f"within {waited:.0f} s, then {again}: {'the same' if same else 'OTHER WEIGHTS'}",
      flush=True,
    )
  return wrong


def main() -> int:
  """Returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("what", choices=("alike", "killed", "train"), help="train: of alike")
  parser.add_argument("--methods", nargs="+", default=configuration.names()["METHOD"])
  parser.add_argument("--places", nargs="+", choices=list(PLACES), default=None)
  parser.add_argument("--times", type=int, default=10)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--folder", type=Path, help="what is there is removed (a new one)")
  given = parser.parse_args()
  folder = given.folder or Path(tempfile.mkdtemp())
  if given.what == "train":
    train_all(given.methods, given.places[0], folder)
    return 0
  shutil.rmtree(folder, ignore_errors=True)
  if given.what == "alike":
    places = given.places or [place for place in PLACES if place != "1 device"]
    return int(alike(given.methods, places, folder) > 0)
  places, chance = given.places or ["2 workers", "2 devices"], random.Random(given.seed)
  return int(sum(killed(place, given.times, folder, chance) for place in places) > 0)


if __name__ == "__main__":
  sys.exit(main())
