"""Where the replicas are: the same training code runs on one CPU, several GPUs, or a TPU."""

import json
import os

import tensorflow as tf

from ranking.errors import InputError


def best_available() -> tf.distribute.Strategy:
  """A TPU if the environment names one, all GPUs if there are several, else the one device."""
  if os.environ.get("TPU_NAME"):
    return tpu(os.environ["TPU_NAME"])
  if len(tf.config.list_logical_devices("GPU")) > 1:
    return tf.distribute.MirroredStrategy()
  return tf.distribute.get_strategy()


def tpu(address: str = "") -> tf.distribute.Strategy:
  """The TPU at `address`; "local" on a Cloud TPU virtual machine."""
  resolver = tf.distribute.cluster_resolver.TPUClusterResolver(address)
  tf.config.experimental_connect_to_cluster(resolver)
  tf.tpu.experimental.initialize_tpu_system(resolver)
  return tf.distribute.TPUStrategy(resolver)


def workers() -> tf.distribute.Strategy:
  """The devices of all workers of the cluster that TF_CONFIG describes, this process being one.

  Only a cluster of one worker is tried. The rest of the trainer does not support several machines
  yet: each would write the same run directory and prepare the log for itself.

  Raises InputError if TF_CONFIG is not set, is no JSON or describes no cluster, and RuntimeError if
  TensorFlow has already started its devices.
  """
  _check_cluster(os.environ.get("TF_CONFIG", ""))
  return tf.distribute.MultiWorkerMirroredStrategy()


def virtual_cpus(replicas: int = 2) -> tf.distribute.Strategy:
  """Several replicas on one CPU, to try what several devices would do.

  Raises RuntimeError if TensorFlow has already started its devices.
  """
  (cpu,) = tf.config.list_physical_devices("CPU")
  one = tf.config.LogicalDeviceConfiguration()
  tf.config.set_logical_device_configuration(cpu, [one] * replicas)
  return tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(replicas)])


def _check_cluster(text: str) -> None:
  """Raises InputError unless TF_CONFIG describes a cluster; TensorFlow would go on without one."""
  cure = (
    'such as {"cluster": {"worker": ["localhost:12345"]}, "task": {"type": "worker", "index": 0}}'
  )
  if not text:
    raise InputError(f"TF_CONFIG is not set; describe the cluster in it, {cure}")
  try:
    cluster = json.loads(text)
  except json.JSONDecodeError as error:
    raise InputError(f"TF_CONFIG is no JSON ({error}); make it one line, {cure}") from error
  if not isinstance(cluster, dict) or not cluster.get("cluster"):
    raise InputError(f"TF_CONFIG is {text} and describes no cluster; make it one line, {cure}")
