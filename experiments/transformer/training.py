"""One training of the transformer after the other: the cells of the grid."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import tensorflow as tf
import tf_keras

from experiments.transformer.corpus import PADDING, Corpus, padded
from experiments.transformer.grid import WARM_UPS, Cell
from experiments.transformer.model import Transformer
from ranking.array import Array
from ranking.optimizers import Adagrad, Adam, ClippedOptimizer, Clippy, InverseSquareRoot, NoClip
from ranking.stability.divergence import Measured, Status
from ranking.stability.monitor import DivergenceMonitor

SMOOTHING = 0.1  # of labels
BATCH = 32  # pairs
POINTS = 20  # of a curve of errors
SHORTEST = 50  # steps, so that the short warm-up has one


@dataclasses.dataclass
class End:
  """How a run ended.

  Attributes:
    status, diverged_at_step, recovered_at_step, reason: the verdict, as the trainer gives it.
    skipped_steps: that were not finite.
    error_rate: the share of wrong words held out; see `error_rate`.
    errors: the same of the batches of each POINTS-th of the run before they were trained on, which
      is before any of their sentences was, but for short ones that came twice.
    seconds: that the run took.
  """

  status: Status
  diverged_at_step: int | None
  recovered_at_step: int | None
  reason: str | None
  skipped_steps: int
  error_rate: float
  errors: list[float]
  seconds: float


def optimizer(method: str) -> ClippedOptimizer:
  """One of the paper's three; its rate is set before each step.

  Adam's numbers are init2winit's, but for the decay. Clippy's thresholds are in both ways in which
  the paper's can be read. Tables of words are clipped as all else: the paper's exception for
  embeddings is one of ranking models.
  """
  if method == "adamw":
    return ClippedOptimizer(Adam(0.9, 0.98, 1e-9, weight_decay=0.01), NoClip())
  if method == "adagrad":
    return ClippedOptimizer(Adagrad(), NoClip())
  if method == "clippy_tight":
    clip = Clippy(relative_threshold=0.1, absolute_threshold=1e-3)
    return ClippedOptimizer(Adagrad(), clip, exclude="")
  if method == "clippy_wide":
    clip = Clippy(relative_threshold=1e-3, absolute_threshold=0.1)
    return ClippedOptimizer(Adagrad(), clip, exclude="")
  raise ValueError(method)


class Trainer:
  """Trains cells of one method; its step is traced once, which takes as long as 200 steps."""

  def __init__(self, method: str, corpus: Corpus):
    self.method, self.corpus = method, corpus
    self.model = Transformer(corpus.words)
    self.optimizer = optimizer(method)
    self._step = tf.function(self._take, autograph=False)
    batch = padded([], corpus.lengths)
    self.model(batch)  # makes its weights
    self.optimizer.build(self.model.trainable_variables)
    self._untouched = [variable.numpy() for variable in self.optimizer.variables]

  def train(self, cell: Cell) -> End:
    """Trains and measures one cell, from weights of its own seed."""
    began = time.monotonic()
    self._begin(cell.seed)
    monitor, pairs = DivergenceMonitor(), self.corpus.training(cell.seed)
    errors = []
    rates = InverseSquareRoot(cell.rate, round(WARM_UPS[cell.warm_up] * cell.steps))
    for step in range(1, cell.steps + 1):
      source, target = padded(list(islice(pairs, BATCH)), self.corpus.lengths)
      self.optimizer.learning_rate = rates(step - 1)
      loss, spread, wrong, skipped = (each.numpy() for each in self._step(source, target))
      errors.append(wrong)
      if skipped:
        monitor.skip(step)
      else:
        words = target[target != PADDING]
        count = len(words)
        measured = Measured(float(loss), entropy(words), float(spread), count, rarer=count)
        monitor.update(step, measured, {})
    monitor.finish()
    return End(
      monitor.status,
      monitor.diverged_at_step,
      monitor.recovered_at_step,
      monitor.reason,
      monitor.skipped_steps,
      error_rate(self.model, self.corpus),
      [round(float(part.mean()), 4) for part in np.array_split(np.array(errors), POINTS)],
      round(time.monotonic() - began, 1),
    )

  def _begin(self, seed: int) -> None:
    """Gives the model the initial weights of a seed, and the optimizer its own."""
    tf_keras.utils.set_random_seed(seed)
    fresh = Transformer(self.corpus.words)
    fresh(padded([], self.corpus.lengths))
    self.model.set_weights(fresh.get_weights())
    for variable, value in zip(self.optimizer.variables, self._untouched, strict=True):
      variable.assign(value)

  def _take(self, source: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """One step: cross entropy per word, spread of outputs, share of wrong words, was it skipped."""
    is_word = target != PADDING
    words = tf.boolean_mask(target, is_word)
    with tf.GradientTape() as tape:
      logits = self.model((source, target))
      shares = tf.nn.log_softmax(tf.boolean_mask(logits, is_word))  # [words, target words]
      loss = -tf.reduce_mean(tf.gather(shares, words, batch_dims=1))
      smoothed = (1 - SMOOTHING) * loss - SMOOTHING * tf.reduce_mean(shares)
    skipped = tf.identity(self.optimizer.skipped_steps)
    self.optimizer.minimize(smoothed, self.model.trainable_variables, tape)
    spread = tf.reduce_mean(tf.math.reduce_std(shares, axis=0))
    is_wrong = tf.argmax(shares, axis=-1, output_type=tf.int32) != words
    wrong = tf.reduce_mean(tf.cast(is_wrong, tf.float32))
    return loss, spread, wrong, self.optimizer.skipped_steps > skipped


def error_rate(model: Callable[[tuple[Array, Array]], tf.Tensor], corpus: Corpus) -> float:
  """The share of words held out, END included, that are not the likeliest after those before."""
  source, target = padded(corpus.held_out, corpus.lengths)
  likeliest = [
    tf.argmax(model((source[rows], target[rows])), axis=-1)
    for rows in (slice(first, first + 256) for first in range(0, len(source), 256))
  ]
  wrong = tf.concat(likeliest, axis=0).numpy() != target
  return float(wrong[target != PADDING].mean())


def entropy(words: Sequence[int] | Array) -> float:
  """What the best constant loses on these words: the entropy of how often each is there."""
  counts = np.bincount(words)
  shares = counts[counts > 0] / len(words)
  return float(-(shares * np.log(shares)).sum())
