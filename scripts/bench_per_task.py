"""What clipping each task by itself costs: python -m scripts.bench_per_task [--width_scale=0.125]

A shared bottom of Large, six tasks, Adagrad with Clippy, float32. A whole training step: once with
the gradient of the summed loss, once with each task's own gradients and their updates clipped
before the sum, once with them made even. Every one in a process of its own, for its peak memory.
Times are medians of the processors' time, which other processes hardly change; ratios are to the
first. It goes back through shared layers once for each task.
"""

import functools
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
from absl import app, flags

_WIDTH_SCALE = flags.DEFINE_float("width_scale", 0.125, "Times all widths; 1 is Large.", 0)
_BATCH = flags.DEFINE_integer("batch", 4096, "Rows of a step.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Steps that are timed.", lower_bound=1)

INPUT_WIDTH, HIDDEN_UNITS, TASKS = 1650, (4096,) * 4, 6
WAYS = ("summed", "task by task", "even")


def measure(way: str, scale: float, batch: int, rounds: int) -> tuple[float, float]:
  """Processor seconds of a step, and the peak of the process in MB."""
  from ranking import quiet

  with quiet.native_stderr():
    import tensorflow as tf
    import tf_keras

  from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy

  inputs = x = tf_keras.Input([round(INPUT_WIDTH * scale)])
  for units in HIDDEN_UNITS:
    x = tf_keras.layers.Dense(round(units * scale), activation="relu")(x)
  model = tf_keras.Model(inputs, [tf_keras.layers.Dense(1)(x) for _ in range(TASKS)])
  random = np.random.default_rng(0)
  rows = tf.constant(random.standard_normal((batch, inputs.shape[1]), np.float32))
  labels = tf.constant(random.standard_normal((TASKS, batch, 1), np.float32))
  optimizer, weights = ClippedOptimizer(Adagrad(), Clippy(), 0.01), model.trainable_variables

  @tf.function
  def step() -> Any:
    with tf.GradientTape(persistent=way != "summed") as tape:
      outputs = model(rows, training=True)
      losses = [tf.reduce_mean(tf.square(o - y)) for o, y in zip(outputs, labels, strict=True)]
      total = tf.add_n(losses)
    if way == "summed":
      pairs = zip(tape.gradient(total, weights), weights, strict=True)
      return tf.identity(optimizer.apply_gradients(pairs, loss=total))
    gradients = [tape.gradient(loss, weights) for loss in losses]
    combine = "even" if way == "even" else "sum"
    return tf.identity(optimizer.apply_task_gradients(gradients, weights, losses, combine))

  labels = tf.unstack(labels)
  step().numpy()
  seconds = []
  for _ in range(rounds):
    started = time.process_time()
    step().numpy()
    seconds.append(time.process_time() - started)
  return statistics.median(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: list[str]) -> None:
  """Measures and prints."""
  del argv
  settings = (_WIDTH_SCALE.value, _BATCH.value, _ROUNDS.value)
  print(f"Large at {settings[0]:g} of its widths, batch {settings[1]:,}, {TASKS} tasks")
  first: tuple[float, float] | None = None
  for way in WAYS:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
      seconds, peak = pool.submit(functools.partial(measure, way, *settings)).result()
    first = first or (seconds, peak)
    print(
      f"{way:13s} {1e3 * seconds:8.1f} ms  ÷ {seconds / first[0]:.2f}   peak {peak:6.0f} MB  "
      f"{peak - first[1]:+.0f}"
    )


if __name__ == "__main__":
  app.run(main)
