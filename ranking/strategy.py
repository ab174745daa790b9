"""Where the replicas are: the same training code runs on one CPU, several GPUs, or a TPU."""

import os

import tensorflow as tf


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


def virtual_cpus(replicas: int = 2) -> tf.distribute.Strategy:
  """Several replicas on one CPU, to try what several devices would do.

  Raises RuntimeError if TensorFlow has already started its devices.
  """
  (cpu,) = tf.config.list_physical_devices("CPU")
  one = tf.config.LogicalDeviceConfiguration()
  tf.config.set_logical_device_configuration(cpu, [one] * replicas)
  return tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(replicas)])
