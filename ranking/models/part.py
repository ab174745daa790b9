"""Layers that are made of layers."""

from collections.abc import Sequence
from typing import Any

import tf_keras


class Part(tf_keras.layers.Layer):
  """A part of a network whose layers keep their own names, such as `hidden_1/kernel`.

  The names of variables are what series, patterns of `exclude` and figures know them by.
  """

  def __call__(self, *given: Any) -> Any:
    """Does what `call` does: Keras would put the part's name before those of its layers."""
    self.built = True  # as Keras would say; `summary` counts the parameters of what is built
    return self.call(*given)


class Stack(Part):
  """Layers one after the other."""

  def __init__(self, layers: Sequence[tf_keras.layers.Layer]):
    super().__init__()
    self._in_order = list(layers)

  def call(self, x: Any) -> Any:
    """What the last layer makes of what the others made of x."""
    for layer in self._in_order:
      x = layer(x)
    return x


class Named(tf_keras.layers.Layer):
  """A part of which there are several: puts a name before those of its layers."""

  def __init__(self, part: tf_keras.layers.Layer, name: str):
    super().__init__(name=name)
    self._part = part

  def call(self, x: Any) -> Any:
    """Does what the part does."""
    return self._part(x)
