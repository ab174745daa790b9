"""Workers: refused where no cluster is described, and one alone trains as no strategy does."""

import json
import os
import socket
from pathlib import Path
from unittest import mock

import pytest
import tensorflow as tf

from ranking import strategy
from ranking.cli import main
from ranking.errors import InputError
from tests.conftest import FEW_FEATURES
from tests.fresh_process import in_fresh_process

NAME = "MultiWorkerMirroredStrategy"
TINY = (
  "Synthetic.days=3 Synthetic.rows_per_day=200 Synthetic.num_users=30 Synthetic.num_videos=50 "
  "train_and_evaluate.batch_size=32 train_and_evaluate.max_steps=4 "
  f"train_and_evaluate.steps_per_call=2 {FEW_FEATURES}"
)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    (None, "TF_CONFIG is not set; describe the cluster in it, such as"),
    ("", "TF_CONFIG is not set"),
    ("{worker", r"TF_CONFIG is no JSON \(.*line 1 column 2.*\); make it one line, such as"),
    ("3", "TF_CONFIG is 3 and describes no cluster; make it"),
    ('{"task": {"index": 0}}', "describes no cluster"),
    ('{"cluster": {}}', "describes no cluster"),
  ],
)
def test_a_cluster_that_is_not_described_is_refused_in_one_line(
  text: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.delenv("TF_CONFIG", raising=False)
  if text is not None:
    monkeypatch.setenv("TF_CONFIG", text)
  with pytest.raises(InputError, match=message) as refused:
    strategy.workers()
  assert len(str(refused.value).splitlines()) == 1


def trained(distribution: str) -> list[str]:
  """The series of a short run, and its result's figures."""
  settings = f"{TINY} train_and_evaluate.distribution=@{distribution}"
  given = ["--config=small_clippy.gin", "--scale=proxy", f"--run={distribution}"]
  assert main(["train", *given, f"--set={settings}"]) == 0
  result = json.loads(Path(distribution, "result.json").read_text())
  return [Path(distribution, "metrics.jsonl").read_text(), json.dumps(result["metrics"])]


def trained_by_one_worker_and_by_none() -> list[list[str]]:
  with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
  cluster = {"cluster": {"worker": [address]}, "task": {"type": "worker", "index": 0}}
  os.environ["TF_CONFIG"] = json.dumps(cluster)  # this is a process of its own
  cluster_of = getattr(tf.distribute, NAME)
  with mock.patch.object(tf.distribute, NAME, wraps=cluster_of) as made:
    of_one = trained("workers")
  assert made.call_count == 1
  return [of_one, trained("best_available")]


@pytest.mark.usefixtures("own_folder")
def test_one_worker_trains_as_no_cluster_does() -> None:
  of_one, of_none = in_fresh_process(trained_by_one_worker_and_by_none)
  assert of_one == of_none
