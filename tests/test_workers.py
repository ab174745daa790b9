"""Two workers: the weights and figures of one, one that writes, and one end for both."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from ranking import configuration
from ranking.settings import SettingError
from ranking.training.run import check_alike
from ranking.training.workers import Workers
from tests.one_worker import STOPPED_AT, train

ROOT = Path(__file__).parent.parent


class Story(NamedTuple):
  """What the workers of one_worker.py left: the folder, what each printed, and how it ended."""

  folder: Path
  printed: list[str]
  codes: list[int]

  def lines(self, worker: int, start: str) -> list[str]:
    return [line for line in self.printed[worker].splitlines() if line.startswith(start)]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
  folder = tmp_path_factory.mktemp("workers")
  with socket.socket() as one, socket.socket() as two:
    for free in (one, two):
      free.bind(("localhost", 0))
    addresses = [f"localhost:{free.getsockname()[1]}" for free in (one, two)]
  with contextlib.ExitStack() as ended:
    started = []
    for index in range(2):
      task = {"type": "worker", "index": index}
      described = json.dumps({"cluster": {"worker": addresses}, "task": task})
      process = subprocess.Popen(
        [sys.executable, "-m", "tests.one_worker", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TF_CONFIG": described, "PYTHONPATH": str(ROOT)},
      )
      ended.enter_context(process)
      ended.callback(process.kill)
      started.append(process)
    printed = [process.communicate(timeout=900)[0] for process in started]
  return Story(folder, printed, [process.returncode for process in started])


def numbers(run: Path) -> dict[str, np.ndarray]:
  """All that the last checkpoint holds."""
  (*_, last) = sorted((run / "checkpoints").glob("step-*"))
  reader = tf.train.load_checkpoint(str(last / "variables"))
  names = [name for name in reader.get_variable_to_shape_map() if name.startswith("variables/")]
  return {name: reader.get_tensor(name) for name in names}


def test_two_workers_end_with_the_weights_and_figures_of_one(story: Story) -> None:
  assert train(story.folder, "one") == 0
  one, two = (numbers(story.folder / name) for name in ("one", "two"))
  assert one.keys() == two.keys()
  for name, value in one.items():
    distance = np.linalg.norm(value.astype(np.float64) - two[name])
    assert distance <= 1e-5 * np.linalg.norm(value.astype(np.float64)), name
  results = [
    json.loads((story.folder / name / "result.json").read_text()) for name in ("one", "two")
  ]
  for task, entry in results[0]["metrics"].items():
    figures = {name: value for name, value in entry.items() if isinstance(value, float)}
    other = results[1]["metrics"][task]
    assert {name: other[name] for name in figures} == pytest.approx(figures, rel=1e-6), task
  for series in ("metrics", "evals", "health"):
    lines = [(story.folder / name / f"{series}.jsonl").read_text() for name in ("one", "two")]
    assert len(lines[0].splitlines()) == len(lines[1].splitlines())


def test_a_signal_to_one_worker_stops_both_and_the_same_command_goes_on(story: Story) -> None:
  for worker in range(2):
    assert story.lines(worker, "code ")[1:3] == ["code 143", "code 0"]
    (stopped,) = story.lines(worker, "stopped by a signal after step")
    assert f"after step {STOPPED_AT};" in stopped
  (resumed,) = story.lines(0, "going on from step")
  assert resumed == f"going on from step {STOPPED_AT} of {story.folder / 'two'}"


def test_what_the_chief_or_another_refuses_is_refused_by_all_in_a_line(story: Story) -> None:
  for worker in range(2):
    assert [story.lines(worker, "code ")[k] for k in (0, 3)] == ["code 2", "code 2"]
    other, finished = story.lines(worker, "error: ")[:2]
    assert other == (
      "error: worker 1 has other settings than worker 0 (training.seed: 0, now 1); give all the "
      "same command and versions"
    )
    assert f"{story.folder / 'two'} is a finished run" in finished
  assert not (story.folder / "other").exists()


def test_workers_of_another_version_of_this_code_are_refused() -> None:
  class Two(Workers):
    def texts(self, text: str) -> list[str]:
      mine = json.loads(text)
      other = {**mine, "version": {**mine["version"], "ranking": "3"}}
      return [text, json.dumps(other)]

    def heard(self) -> None:
      """Waits for nobody, as there is nobody."""

  with pytest.raises(
    SettingError, match=r"worker 1 has other settings .*version.ranking: \w{12}, n"
  ):
    check_alike(Two(tf.distribute.get_strategy()), configuration.read(config="small_clippy.gin"))


def test_a_worker_that_is_gone_stops_the_other_with_a_line(story: Story) -> None:
  assert story.codes == [75, 9]
  last = story.printed[0].splitlines()[-1]
  assert last == (
    "error: worker 1 of TF_CONFIG is gone or has stopped, and a step needs all; the same command "
    "on all of them goes on from the newest checkpoint"
  )
  assert "Traceback" not in story.printed[0]


def test_a_worker_that_is_not_the_chief_prints_no_more_than_how_it_ends(story: Story) -> None:
  starts = [line.partition(" ")[0] for line in story.printed[1].splitlines()]
  ours = starts[starts.index("worker") :]  # what TensorFlow says while it loads comes before
  assert ours == ["worker", "error:", "code", "stopped", "code", "code", "error:", "code"]
