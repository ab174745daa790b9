"""The files of configs/hardware, and devices and clusters that are not there."""

import inspect
import json
from typing import Any

import pytest
import tensorflow as tf

from ranking import configuration, strategy
from ranking.errors import InputError

TWO = {"worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
  ("text", "message"),
  [
    (None, "TF_CONFIG is not set; choose another HARDWARE, or make it one line, such as"),
    ("", "TF_CONFIG is not set"),
    ("{worker", r"TF_CONFIG is no JSON \(.*line 1 column 2.*\); make it one line, such as"),
    ("3", "TF_CONFIG is 3 and describes no cluster; make it"),
    ('{"task": {"index": 0}}', "describes no cluster"),
    ('{"cluster": {}}', "describes no cluster"),
    ({"cluster": {**TWO, "ps": ["c:1"]}}, "has tasks other than chief and worker; leave them out"),
    ({"cluster": {"worker": "a:1"}}, "has no list of host:port for each job; make it"),
    ({"cluster": {"worker": ["a"]}}, "has no list of host:port"),
    ({"cluster": {"worker": ["a:1", "b:65536"]}}, "has no list of host:port"),
    ({"cluster": {"worker": [":1", "b:1"]}}, "has no list of host:port"),
    ({"cluster": {"worker": ["a:1", "a:1"]}}, "has an address twice; give every worker its own"),
    ({"cluster": TWO}, "does not say which of them this is; make it"),
    ({"cluster": TWO, "task": {"type": "worker", "index": 2}}, "does not say which of them"),
    ({"cluster": TWO, "task": {"type": "chief", "index": 0}}, "does not say which of them"),
  ],
)
def test_a_cluster_that_is_not_described_is_refused_in_one_line(
  text: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.delenv("TF_CONFIG", raising=False)
  if text is not None:
    monkeypatch.setenv("TF_CONFIG", text if isinstance(text, str) else json.dumps(text))
  with pytest.raises(InputError, match=message) as refused:
    strategy.workers()
  assert len(str(refused.value).splitlines()) == 1


def test_a_file_of_hardware_makes_the_strategy_of_its_name_whatever_the_config_says() -> None:
  names = configuration.names()["HARDWARE"]
  assert names == ["bfloat16", "cpu", "gpu", "gpus", "tpu", "workers"]
  model = configuration.read(config="small_clippy", hardware="bfloat16").training.model
  assert model.precision == "bfloat16"
  for name in names[1:]:
    made = configuration.read(config="small_clippy", hardware=name)
    assert inspect.unwrap(made.distribution) is getattr(strategy, name)
    assert made.training.batch_size == (65536 if name == "tpu" else 512)
    assert made.training.model.precision == ("bfloat16" if name == "tpu" else "float32")
  assert inspect.unwrap(configuration.read(config="small_clippy").distribution) is (
    strategy.best_available
  )


def test_a_cluster_of_several_is_the_best_there_is_so_that_nobody_trains_alone(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": TWO}))
  with pytest.raises(InputError, match="does not say which of them this is"):
    strategy.best_available()
  monkeypatch.setenv("TF_CONFIG", "{worker")
  with pytest.raises(InputError, match="TF_CONFIG is no JSON"):
    strategy.best_available()
  misspelt = {"workers": TWO["worker"]}
  for cluster in (misspelt, {"worker": ["a:1"], "ps": ["b:1"]}):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster}))
    with pytest.raises(InputError, match="has tasks other than chief and worker"):
      strategy.best_available()
  for no_cluster in ("3", '{"cluster": 3}'):
    monkeypatch.setenv("TF_CONFIG", no_cluster)
    with pytest.raises(InputError, match="describes no cluster"):
      strategy.best_available()
  for harmless in ("", "{}", '{"cluster": {"worker": ["a:1"]}}', '{"environment": "cloud"}'):
    monkeypatch.setenv("TF_CONFIG", harmless)
    assert strategy.best_available() is tf.distribute.get_strategy()


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_and_the_cpu_is_always_there() -> None:
  for asked in (strategy.gpu, strategy.gpus):
    with pytest.raises(InputError, match="TensorFlow finds no GPU; see make doctor, or choose HA"):
      asked()
  assert strategy.cpu().num_replicas_in_sync == 1


@pytest.mark.parametrize("replicas", [0, True, "2"])
def test_a_number_of_virtual_devices_that_is_none_is_refused(replicas: Any) -> None:
  with pytest.raises(InputError, match="make it a whole number, 1 or more"):
    strategy.virtual_cpus(replicas)


def test_a_tpu_that_is_not_there_is_refused_in_one_line() -> None:
  for address in ("local", "grpc://localhost:1"):
    with pytest.raises(InputError, match=rf"no TPU found at '{address}' \(.*\); run on") as refused:
      strategy.tpu(address)
    assert len(str(refused.value)) < 160
