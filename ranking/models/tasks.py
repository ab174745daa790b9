"""The losses of the tasks, and what the best constant predictor would lose on the same batch."""

import math
import re
import zlib

import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from ranking.data.schema import LabelStatistics, Task


def layer_name(name: str) -> str:
  """A column's name as TensorFlow takes it in that of a layer; one that it does not gets a number.

  Begins with a letter or a digit, and differs for two names that differ.
  """
  safe = re.sub(r"[^A-Za-z0-9_.]", "_", name)
  return name if safe == name and name[:1] != "_" else f"n{zlib.crc32(name.encode()):08x}_{safe}"


def ranking_task(task: Task) -> tfrs.tasks.Ranking:
  """Sigmoid cross entropy on the logit, or squared error on the value.

  The reduction is a sum: the batch's sample weights already divide by the number of labelled rows
  of the global batch, so rare labels do not shrink and replicas add up (no mean of means).
  """
  reduction = tf_keras.losses.Reduction.SUM
  if task.kind == "binary":
    loss = tf_keras.losses.BinaryCrossentropy(from_logits=True, reduction=reduction)
  else:
    loss = tf_keras.losses.MeanSquaredError(reduction=reduction)
  return tfrs.tasks.Ranking(loss=loss, name=f"{layer_name(task.name)}_loss")


def constant_output(task: Task, known: LabelStatistics) -> float:
  """Logit or value of the best constant predictor of the training days."""
  return _logit(known.mean) if task.kind == "binary" else known.mean


def _logit(rate: float) -> float:
  rate = min(max(rate, 1e-6), 1.0 - 1e-6)
  return math.log(rate) - math.log1p(-rate)


def constant_losses(
  tasks: tuple[Task, ...],
  statistics: tuple[LabelStatistics, ...],
  labels: tf.Tensor,
  weights: tf.Tensor,
) -> tf.Tensor:
  """float32 [T]: each task's loss on this batch if every prediction were the training-days mean.

  Judging a loss against this, batch by batch, takes the noise of the labels out of the verdict.
  """
  losses = []
  for k, (task, known) in enumerate(zip(tasks, statistics, strict=True)):
    label, constant = labels[:, k], constant_output(task, known)
    if task.kind == "binary":
      row_loss = tf.nn.softplus(constant) - label * constant
    else:
      row_loss = tf.square(label - constant)
    losses.append(tf.reduce_sum(weights[:, k] * row_loss))
  return tf.stack(losses)
