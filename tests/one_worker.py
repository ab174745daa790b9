"""What one of two workers is told, one command after the other; see test_workers.py.

  TF_CONFIG=… python -m tests.one_worker FOLDER

Prints the exit code of each command. All have one cluster, as a process can be in only one.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from ranking.cli import main
from ranking.settings import Settings
from ranking.training import loop
from ranking.training.record import record as record_steps
from ranking.training.run import begin
from ranking.training.workers import Workers
from tests.conftest import FEW_FEATURES

SETTINGS = (
  "Synthetic.days=3 Synthetic.rows_per_day=200 Synthetic.num_users=30 Synthetic.num_videos=50 "
  "train_and_evaluate.batch_size=32 train_and_evaluate.max_steps=6 "
  f"train_and_evaluate.steps_per_call=2 {FEW_FEATURES}"
)
STOPPED_AT = 4


def train(folder: Path, run: str, more: str = "") -> int:
  """The exit code of a run in `folder`."""
  log = f"{SETTINGS} train_and_evaluate.store_directory='{folder / 'stores'}' {more}"
  words = ["--config=small_clippy.gin", "--scale=proxy", f"--run={folder / run}", f"--set={log}"]
  return main(["train", *words])


def story(folder: Path) -> None:
  """Prints the exit codes; ends the process."""
  started: list[Workers] = []

  def begin_once(settings: Settings) -> Workers:
    started.extend([] if started else [begin(settings)])
    return started[0]

  def record(run: Any, state: Any, log: Any, taken: Any) -> float:
    loss = RECORD_STEPS(run, state, log, taken)
    if state.step == STOPPED_AT and not run.workers.is_chief:
      os.kill(os.getpid(), signal.SIGTERM)
    return loss

  distribution = "train_and_evaluate.distribution=@workers"
  with mock.patch.object(loop, "begin", begin_once):
    first = f"{distribution} train_and_evaluate.seed={os.environ['TF_CONFIG'].count('1}')}"
    print("code", train(folder, "other", first), flush=True)
    with mock.patch.object(loop, "record", record):
      print("code", train(folder, "two", distribution), flush=True)
    print("code", train(folder, "two", distribution), flush=True)
    print("code", train(folder, "two", distribution), flush=True)
    if not started[0].is_chief:
      os._exit(9)
    train(folder, "three", distribution)  # ends the process


RECORD_STEPS = record_steps

if __name__ == "__main__":
  story(Path(sys.argv[1]))
