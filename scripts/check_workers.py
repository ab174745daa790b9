"""Trains on several devices and workers, and kills workers: are the weights those of one device?

  python -m scripts.check_workers alike --methods clippy lamb
  python -m scripts.check_workers alike --split --places "2 devices" "4 devices"
  python -m scripts.check_workers killed --times=10

`alike` trains every method for 50 steps on one device, on 2 and 4 virtual ones, and by 2 and 3
workers of this machine. Prints by how much the weights, the slots and the figures of day N differ
from those of one device; exits with 1 if weights do by more than 1e-5 of their norm, or figures and
predictions by more than 1e-6. An AUC moves in steps: two rows that change places, or tie, are worth
1/(positives × negatives) or half of it, 5e-6 for the tasks of this log. So it must lie between the
AUCs that result where all positive rows score more, or less, by the largest difference between the
predictions of the two. With `--split` the tables of embeddings are split over the devices.

`killed` kills a worker soon after a random step, and the one process of two devices likewise; gives
the command again, and compares with a run that nobody killed: weights, slots, series and figures
must be the same to the last bit. A kill that comes when the run has ended does not count.
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
from typing import Any, NamedTuple

import numpy as np

from ranking import configuration
from ranking.array import Array
from ranking.data.store import DayStore
from ranking.run_directory import is_finished, read_result
from ranking.settings import Settings
from scripts.check_damaged_runs import FEW_FEATURES, outcome

ROOT = Path(__file__).parent.parent
STEPS = 50
SETTINGS = (
  "Synthetic.days=4 Synthetic.rows_per_day=900 Synthetic.num_users=60 Synthetic.num_videos=90 "
  f"train_and_evaluate.max_steps={STEPS} train_and_evaluate.batch_size=48 "
  "train_and_evaluate.eval_every=10 train_and_evaluate.checkpoint_every=5 "
  "train_and_evaluate.steps_per_call=5 train_and_evaluate.on_divergence='continue' "
  f"{FEW_FEATURES}"
)
SPLIT = "Inputs.split=@Split() Split.parts=4 Split.from_rows=20"  # users, authors, videos
CALLS_OF_ONE = "train_and_evaluate.steps_per_call=1"  # so that a kill may come after any step
# Of methods whose steps are as large however small a gradient is. At the rate of the others they
# make steps of rounding: of eight runs on one device whose weights began 6e-8 apart, Muon ended
# elsewhere in four, for a ReLU that switched at step 25; with SPAM the losses then differ by 7e-6.
OWN_RATES = {"muon": 0.001, "spam": 0.001}
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
  log = f"{SETTINGS} {CALLS_OF_ONE} train_and_evaluate.store_directory='{stores}' {more}"
  return [*words, f"--hardware={name}", f"--run={run}", f"--set={log}"]


def train_all(methods: Sequence[str], place: str, folder: Path, split: bool) -> None:
  """Trains with each method in this process, which is one of a place's."""
  from ranking.training import loop  # slow, and only needed here

  made: list[Any] = []  # the strategy, of which a process can have one

  def distribution() -> Any:
    return made[0]

  for method in methods:
    settings = settings_of(method, place, folder, split)
    if not made:
      made.append(settings.distribution())
    loop.train_and_evaluate(dataclasses.replace(settings, distribution=distribution))


def settings_of(method: str, place: str, folder: Path, split: bool) -> Settings:
  """What `alike` trains with a method on a place."""
  name, more = hardware(place)
  more += f" {SPLIT}" if split else ""
  more += f" train_and_evaluate.store_directory='{folder / 'stores'}'"
  if method in OWN_RATES:
    more += f" train_and_evaluate.learning_rate={OWN_RATES[method]}"
  return configuration.read(
    model="small",
    method=method,
    scale="proxy",
    hardware=name,
    bindings=configuration.split_bindings(f"{SETTINGS} {more}"),
    run_directory=str(folder / place.replace(" ", "_") / method),
  )


class End(NamedTuple):
  """How a run of `alike` ended.

  Attributes:
    variables: of the last checkpoint, by name.
    figures: of day N, by task and name, but those of the order of rows; and the predictions.
    orders: AUCs and AUCs within users, likewise.
    outputs: float32 [n, T], the predictions.
  """

  variables: Numbers
  figures: Numbers
  orders: dict[str, float]
  outputs: Array

  @classmethod
  def of(cls, run: Path) -> "End":
    """Reads a finished run."""
    import tensorflow as tf  # slow, and only needed here

    (*_, last) = sorted((run / "checkpoints").glob("step-*"))
    reader = tf.train.load_checkpoint(str(last / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("variables/")]
    figures = flat(read_result(run)["metrics"])
    with np.load(run / "predictions.npz") as predictions:
      outputs = predictions["outputs"]
    return cls(
      {name: reader.get_tensor(name) for name in sorted(names)},
      {
        **{name: np.asarray(value) for name, value in figures.items() if not of_order(name)},
        "all predictions": outputs,
      },
      {name: value for name, value in figures.items() if of_order(name)},
      outputs,
    )


def flat(metrics: dict[str, dict[str, Any]]) -> dict[str, float]:
  """The figures of result.json by task and name."""
  return {
    f"{task} {name}": value
    for task, entry in metrics.items()
    for name, value in entry.items()
    if isinstance(value, float)
  }


def of_order(name: str) -> bool:
  """Whether a figure depends on the order of rows alone."""
  return name.endswith(("auc", "gauc"))


def apart(one: Numbers, other: Numbers) -> tuple[float, str]:
  """The largest distance of two arrays of a name, over the norm of the first; and which."""
  assert one.keys() == other.keys()
  distances = {}
  for name, value in one.items():
    first, second = (np.asarray(each, np.float64) for each in (value, other[name]))
    distances[name] = float(np.linalg.norm(first - second) / max(np.linalg.norm(first), 1e-30))
  worst = max(distances, key=lambda name: distances[name])
  return distances[worst], worst


def misplaced(one: End, other: End, log: DayStore) -> list[str]:
  """The figures of order that the difference between the predictions does not explain."""
  import tensorflow as tf
  import tf_keras

  from ranking.evaluation.evaluate import Evaluator

  day, strategy = log.eval_day, tf.distribute.get_strategy()
  figures = Evaluator(tf_keras.Model(), log.schema, day, len(day), strategy).figures
  moved = np.abs(one.outputs.astype(np.float64) - other.outputs).max(axis=0)
  towards = np.where(np.asarray(day.labels) > 0, 1, -1) * moved * 1.001
  low, high = (flat(figures(one.outputs.astype(np.float64) + sign * towards)) for sign in (-1, 1))
  return [
    name
    for name, value in other.orders.items()
    if not low[name] - 1e-12 <= value <= high[name] + 1e-12
  ]


def alike(methods: Sequence[str], places: Sequence[str], folder: Path, split: bool) -> int:
  """Prints the table; returns how many cells of it are too large."""
  from ranking.training.console import Console
  from ranking.training.run import open_log

  log = open_log(settings_of(methods[0], "1 device", folder, split), Console(silent=True))
  wrong, of_one = 0, dict[str, End]()
  for place in ["1 device", *places]:
    inside = folder / place.replace(" ", "_")
    words = ["-m", "scripts.check_workers", "train", "--folder", str(folder), "--places", place]
    words += ["--split"] if split else []
    codes = [each.wait() for each in start([*words, "--methods", *methods], place, inside)]
    if any(codes):
      print(f"{place}: exit codes {codes}, see {inside}/out.0")
      return wrong + 1
    for method in methods:
      found = End.of(inside / method)
      one = of_one.setdefault(method, found)
      numbers, name = apart(one.variables, found.variables)
      figures, figure = apart(one.figures, found.figures)
      order = max(abs(value - found.orders[key]) for key, value in one.orders.items())
      unexplained = misplaced(one, found, log)
      bad = numbers > 1e-5 or figures > 1e-6 or bool(unexplained)
      wrong += bad
      print(
        f"{place:10} {method:14} {numbers:.1e} {name.split('/')[1]}, day N {figures:.1e} {figure}, "
        f"AUCs {order:.1e}{f'  TOO LARGE {unexplained}' if bad else ''}",
        flush=True,
      )
  return wrong


def killed(place: str, times: int, folder: Path, chance: random.Random) -> int:
  """Kills one process of a place in mid-training so many times; returns how often it is not right.

  Right is that the others end with 75, all with 0 when the command is given again, and a run that
  is that of nobody killed to the last bit.
  """
  stores, whole = folder / "stores", folder / f"whole_{place}".replace(" ", "_")
  assert not any(each.wait() for each in start(command(whole, stores, place), place, whole))
  wanted, wrong, count = outcome(whole), 0, 0
  while count < times:
    run = folder / f"killed_{place}".replace(" ", "_")
    shutil.rmtree(run, ignore_errors=True)
    processes = start(command(run, stores, place), place, run)
    step, victim = chance.randint(1, STEPS), chance.randrange(len(processes))
    while steps_of(run) < step and all(each.poll() is None for each in processes):
      time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.1))
    processes[victim].send_signal(signal.SIGKILL)
    codes, reached = [each.wait() for each in processes], steps_of(run)
    if is_finished(run):  # too late: once more
      continue
    newest = max((int(path.name[5:]) for path in run.glob("checkpoints/step-*")), default=0)
    again = [each.wait() for each in start(command(run, stores, place), place, run)]
    expected = [-signal.SIGKILL if number == victim else 75 for number in range(len(codes))]
    is_right = codes == expected and not any(again) and outcome(run) == wanted
    count, wrong = count + 1, wrong + (not is_right)
    print(
      f"{place}: killed {victim} after step {reached}, newest checkpoint {newest}; exit codes "
      f"{codes}, then {again}; {count - wrong} of {count} end bit-equal",
      flush=True,
    )
  return wrong


def steps_of(run: Path) -> int:
  """How many steps a run has written down."""
  series = run / "metrics.jsonl"
  return series.read_bytes().count(b"\n") if series.is_file() else 0


def main() -> int:
  """Returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("what", choices=("alike", "killed", "train"), help="train: of alike")
  parser.add_argument("--methods", nargs="+", default=configuration.names()["METHOD"])
  parser.add_argument("--places", nargs="+", choices=list(PLACES), default=None)
  parser.add_argument("--split", action="store_true", help="tables over devices, for alike")
  parser.add_argument("--times", type=int, default=10)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--folder", type=Path, help="what is there is removed (a new one)")
  given = parser.parse_args()
  folder = given.folder or Path(tempfile.mkdtemp())
  if given.what == "train":
    train_all(given.methods, given.places[0], folder, given.split)
    return 0
  shutil.rmtree(folder, ignore_errors=True)
  if given.what == "alike":
    places = given.places or [place for place in PLACES if place != "1 device"]
    return int(alike(given.methods, places, folder, given.split) > 0)
  places, chance = given.places or ["2 workers", "2 devices"], random.Random(given.seed)
  return int(sum(killed(place, given.times, folder, chance) for place in places) > 0)


if __name__ == "__main__":
  sys.exit(main())
