"""Large variables: measured and written by compiled (XLA) functions, which read them fewer times.

Compiling takes some 50 ms a variable, more than a short run on smaller ones gives back.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf

FUSED_FROM = 1 << 20  # numbers

Functions: TypeAlias = dict[Any, Callable[..., Any]]  # kept, so that eager steps compile once too


def is_large(gradient: tf.Tensor | tf.IndexedSlices) -> bool:
  """Whether a gradient, which is no rows, has so many numbers."""
  if isinstance(gradient, tf.IndexedSlices):
    return False
  size = gradient.shape.num_elements()
  return size is not None and size >= FUSED_FROM


def compiled(kept: Functions, key: Any, function: Callable[..., Any]) -> Callable[..., Any]:
  """The function as XLA compiles it."""
  if key not in kept:
    # TensorFlow takes functions of the same code for one that it traces again and again.
    kept[key] = tf.function(functools.partial(function), jit_compile=True)
  return kept[key]
