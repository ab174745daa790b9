"""Variables that lie on one device, where others have a copy on every replica.

TensorFlow's strategies make copies of all variables, and update nothing else. A table that no
device can hold must not be copied; see models/split.py. Without a strategy of several replicas
every variable is an ordinary one, and none of this does anything.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.distribute.numpy_dataset import SingleDevice


def devices() -> list[str]:
  """The devices of the strategy in whose scope this is called; none outside of one.

  Raises ValueError where one device cannot get at a variable of another.
  """
  if not tf.distribute.has_strategy():
    return []
  strategy = tf.distribute.get_strategy()
  if not isinstance(strategy, tf.distribute.MirroredStrategy):
    raise ValueError("devices of several workers or of a TPU do not reach each other's variables")
  return list(strategy.extended.worker_devices)


@contextlib.contextmanager
def made_on(device: str | None) -> Iterator[None]:
  """Within it variables are made on this device alone; None for where they would be made."""
  if device is None:
    yield
    return

  def alone(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
    return next_creator(**{**kwargs, "colocate_with": SingleDevice(device)})

  with tf.variable_creator_scope(alone), tf.device(device):
    yield


def device_of(variable: tf.Variable) -> str | None:
  """Where a variable lies that other replicas have no copy of; None for any other."""
  strategy = getattr(variable, "_distribute_strategy", None)
  if not isinstance(strategy, tf.distribute.MirroredStrategy):
    return None
  is_copy = hasattr(variable, "_distributed_container")
  if is_copy or isinstance(variable, tf.distribute.DistributedValues):
    return None
  return str(variable.device)


def beside(variable: tf.Variable) -> contextlib.AbstractContextManager[Any]:
  """Within it operations are carried out where a variable of one device lies."""
  device = device_of(variable)
  return contextlib.nullcontext() if device is None else tf.device(device)


def update(
  strategy: tf.distribute.Strategy,
  variable: tf.Variable,
  write: Callable[..., None],
  values: Sequence[Any],
) -> None:
  """Calls `write` with a variable and values for each of its copies, or once if it has none.

  Args:
    strategy: between whose replicas this is called.
    variable: to write to.
    write: takes the copy of the variable and values on one replica.
    values: the same on every replica, where they are of replicas.
  """
  if device_of(variable) is None:
    strategy.extended.update(variable, write, args=tuple(values), group=False)
    return
  here = tf.nest.map_structure(lambda v: strategy.experimental_local_results(v)[0], list(values))
  with beside(variable):
    write(variable, *here)
