"""What an optimizer alone cannot do about steps that are not finite."""

from typing import Any

import tensorflow as tf
import tf_keras

from ranking.optimizers.settings import ThresholdError


class StopWhenSkipping(tf_keras.callbacks.Callback):
  """Raises RuntimeError when as many steps in a row were not finite.

  Under mixed_float16 the loss scale skips steps of its own until it is low enough; those count from
  where it has reached 1 and the gradients still are not finite.

  Args:
    limit: 1 or more.
  """

  def __init__(self, limit: int = 10):
    super().__init__()
    if not (isinstance(limit, int) and limit >= 1):
      raise ThresholdError(
        f"StopWhenSkipping.limit is {limit!r}; make it a whole number, 1 or more"
      )
    self.limit = limit
    self._at_lowest_scale = 0

  def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
    """Looks at the optimizer's count."""
    del logs
    optimizer = self.model.optimizer
    own = int(unwrapped(optimizer).skipped_in_a_row.numpy())
    if getattr(optimizer, "dynamic", False):
      scaled_down = float(optimizer.loss_scale) <= 1 and int(optimizer.dynamic_counter.numpy()) == 0
      self._at_lowest_scale = self._at_lowest_scale + 1 if scaled_down else 0
    if max(own, self._at_lowest_scale) >= self.limit:
      raise RuntimeError(f"{self.limit} steps in a row were not finite, the last in batch {batch}")


def unwrapped(optimizer: Any) -> Any:
  """The optimizer inside of the LossScaleOptimizer that mixed_float16 puts around it."""
  return getattr(optimizer, "inner_optimizer", optimizer)


def keep_statistics(model: tf_keras.Model) -> tf_keras.Model:
  """Makes each training step of a model leave the last finite values in its statistics.

  The moving means of BatchNormalization are written by the forward pass, before any optimizer is
  asked; one batch with a NaN would make them NaN for good. Call it before `fit`; returns the model.

  Raises ValueError for a model that has no variables yet.
  """
  if not model.built:
    raise ValueError("the model has no variables yet; call it on a batch, or give input shapes")
  step = model.train_step

  def train_step(data: Any) -> Any:
    # Those that were made to be statistics; a frozen kernel was made to be trained.
    kept = [v for v in model.variables if not v.trainable and v.dtype.is_floating]
    before = [tf.identity(variable) for variable in kept]
    logs = step(data)
    for variable, value in zip(kept, before, strict=True):
      finite = tf.reduce_all(tf.math.is_finite(variable))
      variable.assign(tf.where(finite, variable, value))
    return logs

  model.train_step = train_step
  model.train_function = None  # that of an earlier `fit` has the step without it
  return model
