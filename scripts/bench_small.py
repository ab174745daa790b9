"""Times steps whose cost is not in numbers: many small variables, and few rows of a large table."""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ranking import quiet

with quiet.native_stderr():
  import tensorflow as tf
  import tf_keras

from ranking import optimizers

KERNELS = 101  # of [16, 16], each with a bias
KERAS = "tf_keras Adagrad"
CONTESTANTS: dict[str, Callable[[], Any]] = {
  KERAS: tf_keras.optimizers.Adagrad,
  "naive": lambda: optimizers.ClippedOptimizer(optimizers.Adagrad(), optimizers.NoClip()),
  "gc": lambda: optimizers.ClippedOptimizer(optimizers.Adagrad(), optimizers.GradientClipping()),
  "clippy": lambda: optimizers.ClippedOptimizer(optimizers.Adagrad(), optimizers.Clippy()),
  "ada_gc": lambda: optimizers.ClippedOptimizer(optimizers.Adagrad(), optimizers.AdaGC()),
}
TABLES = (10_000, 100_000, 1_000_000)  # rows, of 16 numbers
ADAMS: dict[str, Callable[[], Any]] = {
  "tf_keras Adam": tf_keras.optimizers.Adam,
  "Adam": lambda: optimizers.ClippedOptimizer(optimizers.Adam(), optimizers.NoClip()),
  "lazy Adam": lambda: optimizers.ClippedOptimizer(optimizers.Adam(lazy=True), optimizers.NoClip()),
}


def small_variables(rounds: int) -> list[list[str]]:
  """Rule; first batch, step in a graph and eager step in ms; each as a ratio to tf_keras."""
  first: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
  graph: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
  eager: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
  for _ in range(3):
    for name, make in CONTESTANTS.items():
      took, step = _first_batch(make())
      first[name].append(took)
      graph[name] += _times(step, rounds)
      optimizer, pairs = make(), _small_pairs()
      optimizer.apply_gradients(pairs)
      eager[name] += _times(functools.partial(optimizer.apply_gradients, pairs), 3)
  rows = []
  for name in CONTESTANTS:
    row = [name]
    for seconds in (first, graph, eager):
      own, theirs = (statistics.median(seconds[each]) for each in (name, KERAS))
      row += [f"{1e3 * own:.1f}", f"{own / theirs:.2f}"]
    rows.append(row)
  return rows


def rows_of_a_table(rounds: int) -> list[list[str]]:
  """Rule; ms of a step that touches 256 rows, for every size of the table."""
  rows = []
  for name, make in ADAMS.items():
    row = [name]
    for size in TABLES:
      step = _step_of_rows(make(), size)
      step()
      row.append(f"{1e3 * statistics.median(_times(step, rounds)):.2f}")
    rows.append(row)
  return rows


def _step_of_rows(optimizer: Any, size: int) -> Callable[[], Any]:
  table = tf.Variable(tf.zeros([size, 16]))
  optimizer.build([table])
  indices = tf.constant(np.random.default_rng(0).integers(0, size, 256))
  gradient = tf.ones([256, 16])
  pairs = [(tf.IndexedSlices(gradient, indices, tf.constant([size, 16])), table)]
  return tf.function(lambda: tf.identity(optimizer.apply_gradients(pairs)))


def _small_pairs() -> list[tuple[tf.Tensor, tf.Variable]]:
  random = np.random.default_rng(0)
  shapes = [shape for _ in range(KERNELS) for shape in ((16, 16), (16,))]
  values = [random.standard_normal(shape, np.float32) for shape in shapes]
  return [(tf.constant(0.01 * value), tf.Variable(value)) for value in values]


def _first_batch(optimizer: Any) -> tuple[float, Callable[[], Any]]:
  """Seconds of a step with its tracing and its slots, and the traced step."""
  pairs = _small_pairs()
  step = tf.function(lambda: tf.identity(optimizer.apply_gradients(pairs)))
  (seconds,) = _times(step, 1)
  return seconds, step


def _times(step: Callable[[], Any], rounds: int) -> list[float]:
  seconds = []
  for _ in range(rounds):
    started = time.perf_counter()
    step()
    seconds.append(time.perf_counter() - started)
  return seconds
