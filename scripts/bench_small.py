"""Times steps whose cost is not in numbers: many small variables, and few rows of a large table."""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ranking import quiet

with quiet.native_stderr():
  import tensorflow as tf
  import tf_keras

from ranking import optimizers
from scripts.rounds import Seconds, in_ms, interleaved

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
  """Rule; first batch, step in a graph and eager step in ms, each with its ratio to tf_keras."""
  first: Seconds = {name: [] for name in CONTESTANTS}
  for _ in range(3):
    for name, make in CONTESTANTS.items():
      took, _ = _first_batch(make())
      first[name].append(took)
  graph = {name: _first_batch(make())[1] for name, make in CONTESTANTS.items()}
  eager = {name: _eager_step(make()) for name, make in CONTESTANTS.items()}
  measured = [first, interleaved(graph, rounds), interleaved(eager, max(3, rounds // 20))]
  return [
    [name, *(cell for seconds in measured for cell in in_ms(seconds, name, KERAS))]
    for name in CONTESTANTS
  ]


def rows_of_a_table(rounds: int) -> list[list[str]]:
  """Rule; ms of a step that touches 256 rows, for every size of the table."""
  rows = []
  for name, make in ADAMS.items():
    row = [name]
    for size in TABLES:
      seconds = interleaved({name: _step_of_rows(make(), size)}, rounds)
      row.append(in_ms(seconds, name, name, digits=2)[0])
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
  started = time.perf_counter()
  step()
  return time.perf_counter() - started, step


def _eager_step(optimizer: Any) -> Callable[[], Any]:
  return functools.partial(optimizer.apply_gradients, _small_pairs())
