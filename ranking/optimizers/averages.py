"""Averages of weights in the place of weights, for evaluation and export."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from ranking.optimizers.guards import unwrapped
from ranking.optimizers.settings import ThresholdError


@contextlib.contextmanager
def averaged_weights(optimizer: Any, variables: Sequence[tf.Variable]) -> Iterator[None]:
  """Within it, weights are their averages; after it, what they were.

  Args:
    optimizer: built with use_ema=True; mixed_float16 may have put a LossScaleOptimizer around it.
    variables: of a model; those without an average stay as they are.

  Raises ThresholdError for an optimizer that keeps no averages.
  """
  kept = unwrapped(optimizer).kept
  if not kept.averages:
    raise ThresholdError("the optimizer keeps no averages of weights; make it with use_ema=True")
  pairs = [(v, kept.averages[kept.index(v)]) for v in variables if kept.knows(v)]
  _exchange(pairs)
  try:
    yield
  finally:
    _exchange(pairs)


def _exchange(pairs: Sequence[tuple[tf.Variable, tf.Variable]]) -> None:
  """One after the other, so that there is room for one more."""
  for one, two in pairs:
    value = tf.identity(one)
    one.assign(two)
    two.assign(value)


class EvaluateAverages(tf_keras.callbacks.Callback):
  """Lets `evaluate`, and `fit` with validation data, measure averages of weights."""

  def __init__(self) -> None:
    super().__init__()
    self._inside = contextlib.ExitStack()

  def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
    """Puts averages in."""
    del logs
    model = self.model
    self._inside.enter_context(averaged_weights(model.optimizer, model.trainable_variables))

  def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
    """Puts weights back."""
    del logs
    self._inside.close()
