"""Where the replicas are: the same training code runs on one device, several, or a TPU.

Each function makes a strategy, and has a file in configs/hardware/ that names it. All raise
InputError where there are no such devices, and RuntimeError where TensorFlow has started others.
"""

import json
import os
import signal
import socket
from typing import Any

import tensorflow as tf

from ranking.errors import InputError, first_line
from ranking.meeting import meet

REACHED_SECONDS = 10.0


def best_available() -> tf.distribute.Strategy:
  """What the environment names, several workers or a TPU; else all GPUs, or the one device."""
  if _names_a_cluster():
    return workers()
  if os.environ.get("TPU_NAME"):
    return tpu(os.environ["TPU_NAME"])
  return gpus() if len(tf.config.list_logical_devices("GPU")) > 1 else tf.distribute.get_strategy()


def cpu() -> tf.distribute.Strategy:
  """The CPU alone, whatever else there is."""
  if tf.config.list_physical_devices("GPU"):
    tf.config.set_visible_devices([], "GPU")
  return tf.distribute.get_strategy()


def gpu() -> tf.distribute.Strategy:
  """The first GPU that CUDA_VISIBLE_DEVICES lets this process see."""
  _check_gpus()
  return tf.distribute.get_strategy()


def gpus() -> tf.distribute.Strategy:
  """All GPUs of this machine."""
  _check_gpus()
  # Named, for it would look for those of other machines in TF_CONFIG.
  return tf.distribute.MirroredStrategy([gpu.name for gpu in tf.config.list_logical_devices("GPU")])


def workers() -> tf.distribute.Strategy:
  """The devices of all workers of the cluster that TF_CONFIG describes, this process being one.

  Says that it waits, until all of them have begun. A worker has the GPUs of its machine, or one
  replica on the CPU. All of them take the same steps: see training/workers.py.
  """
  addresses, number = _cluster(os.environ.get("TF_CONFIG", ""))
  print(f"worker {number} of {len(addresses)} waits for the others", flush=True)
  meet(addresses, number)
  made = tf.distribute.MultiWorkerMirroredStrategy()
  # TensorFlow now catches SIGTERM, and only makes a note of it.
  signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)
  # Every worker has as many batches as the others: they need not ask each other before each.
  made.extended.experimental_enable_get_next_as_optional = False
  return made


def tpu(address: str = "local") -> tf.distribute.Strategy:
  """The TPU at an address: "local" on its own virtual machine, else a name or grpc://host:port."""
  try:
    if address.startswith("grpc://"):  # TensorFlow would wait for it without end
      host, _, port = address.removeprefix("grpc://").rpartition(":")
      socket.create_connection((host, int(port)), timeout=REACHED_SECONDS).close()
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(address)
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)
  except (ValueError, RuntimeError, ImportError, OSError, tf.errors.OpError) as error:
    said = first_line(error).partition(". ")[0]
    raise InputError(
      f"no TPU found at {address!r} ({said}); run on its virtual machine, with tensorflow-tpu"
    ) from error


def virtual_cpus(replicas: int = 2) -> tf.distribute.Strategy:
  """Several replicas on one CPU, to try what several devices would do."""
  if type(replicas) is not int or replicas < 1:
    raise InputError(f"virtual_cpus.replicas is {replicas!r}; make it a whole number, 1 or more")
  (cpu,) = tf.config.list_physical_devices("CPU")
  one = tf.config.LogicalDeviceConfiguration()
  tf.config.set_logical_device_configuration(cpu, [one] * replicas)
  return tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(replicas)])


def _check_gpus() -> None:
  if not tf.config.list_logical_devices("GPU"):
    raise InputError("TensorFlow finds no GPU; see make doctor, or choose HARDWARE=cpu")


EXAMPLE = '{"cluster": {"worker": ["a:12345", "b:12345"]}, "task": {"type": "worker", "index": 0}}'


def _names_a_cluster() -> bool:
  """Whether TF_CONFIG means several processes, or something that is no cluster.

  Raises InputError if it is no JSON: whoever set it did not mean each worker to train alone.
  """
  described = _json_of(os.environ.get("TF_CONFIG", "") or "{}")
  cluster = described.get("cluster") if isinstance(described, dict) else described
  if not cluster:
    return False
  jobs = list(cluster.values()) if isinstance(cluster, dict) else []
  return not (len(jobs) == 1 and isinstance(jobs[0], list) and len(jobs[0]) == 1)


def _json_of(text: str) -> Any:
  """What TF_CONFIG says. Raises InputError if that is no JSON."""
  try:
    return json.loads(text)
  except json.JSONDecodeError as error:
    raise InputError(f"TF_CONFIG is no JSON ({error}); make it one line, such as {EXAMPLE}") from (
      error
    )


def _cluster(text: str) -> tuple[list[str], int]:
  """The addresses of the cluster that TF_CONFIG describes, the chief first, and which this is.

  Raises InputError if it does not, where TensorFlow would go on without one, or wait for ever.
  """
  cure = f"make it one line, such as {EXAMPLE}"
  if not text:
    raise InputError(f"TF_CONFIG is not set; choose another HARDWARE, or {cure}")
  described = _json_of(text)
  said = f"TF_CONFIG is {' '.join(text.split())} and"
  cluster = described.get("cluster") if isinstance(described, dict) else None
  if not isinstance(cluster, dict) or not cluster:
    raise InputError(f"{said} describes no cluster; {cure}")
  if not set(cluster) <= {"chief", "worker"}:
    raise InputError(f"{said} has tasks other than chief and worker; leave them out")
  for addresses in cluster.values():
    if not isinstance(addresses, list) or not all(map(_is_address, addresses)) or not addresses:
      raise InputError(f"{said} has no list of host:port for each job; {cure}")
  if len(every := [each for job in cluster.values() for each in job]) != len(set(every)):
    raise InputError(f"{said} has an address twice; give every worker its own")
  task = described.get("task")
  kind, index = (task.get("type"), task.get("index")) if isinstance(task, dict) else (None, None)
  known = len(cluster.get(kind, [])) if isinstance(kind, str) else 0
  if not (isinstance(index, int) and 0 <= index < known):
    raise InputError(f"{said} does not say which of them this is; {cure}")
  addresses = [*cluster.get("chief", []), *cluster.get("worker", [])]
  return addresses, index + (len(cluster.get("chief", [])) if kind == "worker" else 0)


def _is_address(value: Any) -> bool:
  if not isinstance(value, str):
    return False
  host, _, port = value.rpartition(":")
  return bool(host) and port.isdecimal() and 0 < int(port) < 2**16
