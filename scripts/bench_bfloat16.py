"""Times steps of Large in float32 and bfloat16, beside matrix products of both in the same process.

    python -m scripts.bench_bfloat16 4096

The argument is the rows of a batch. Ratios: the arithmetic of a step, 6 × parameters beside
embeddings × rows, to that of a product of 4096³ in its precision; and float32's seconds to
bfloat16's.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import tensorflow as tf
import tf_keras

from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.model import Model
from ranking.optimizers import Adagrad, Clippy
from ranking.optimizers.optimizer_settings import OptimizerSettings
from ranking.training.step import compile_steps
from scripts import bench_many_features

SIZE, FEATURES, ROUNDS = 4096, 30, 5
Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, Precision] = ("float32", "bfloat16")


def main(rows: int) -> None:
  """Takes the precisions in turns, so that what else the machine does is the same for both."""
  products = {precision: product(precision) for precision in PRECISIONS}
  steps, flops = {}, 0.0
  for precision in PRECISIONS:
    steps[precision], parameters = step(precision, rows)
    flops = 6.0 * parameters * rows
  for call in (*products.values(), *steps.values()):
    seconds(call)  # compiles it
    seconds(call)  # and TensorFlow does so once more
  of_products, of_steps = (
    {precision: [seconds(each[precision]) for _ in range(ROUNDS)] for precision in PRECISIONS}
    for each in (products, steps)
  )
  for precision in PRECISIONS:
    own = 2 * SIZE**3 / statistics.median(of_products[precision])
    rate = flops / statistics.median(of_steps[precision])
    print(
      f"{precision:9s} product {own / 1e9:7.1f} GFLOP/s, step {rate / 1e9:7.1f} GFLOP/s, "
      f"ratio {rate / own:.2f}"
    )
  for what, each in (("product", of_products), ("step", of_steps)):
    wide, narrow = (statistics.median(each[precision]) for precision in PRECISIONS)
    print(f"{what}: bfloat16 is {wide / narrow:.2f} × as fast")


def product(precision: str) -> Callable[[], Any]:
  """A product of two matrices."""
  a, b = (tf.cast(tf.random.normal([SIZE, SIZE]), precision) for _ in range(2))
  return tf.function(lambda: tf.matmul(a, b)[0, 0])


def step(precision: Precision, rows: int) -> tuple[Callable[[], Any], int]:
  """A step of Large, and its parameters beside embeddings."""
  schema, batch = bench_many_features.log(FEATURES, rows)
  tf_keras.utils.set_random_seed(0)
  model = Model(SharedBottom([DenseLayers([4096] * 4)]), precision=precision).build(schema)
  optimizer = OptimizerSettings(Adagrad(), Clippy()).build(0.01)
  optimizer.build(model.trainable_variables)
  take = compile_steps(model, optimizer, tf.distribute.get_strategy(), {})
  data = iter(tf.data.Dataset.from_tensors(batch).repeat())
  parameters = model.parameter_counts()["non_embedding"]
  return lambda: take(data, tf.constant(1), False).measured, parameters


def seconds(call: Callable[[], Any]) -> float:
  """Of a call."""
  started = time.perf_counter()
  call().numpy()
  return time.perf_counter() - started


if __name__ == "__main__":
  main(int(sys.argv[1]) if len(sys.argv) > 1 else 4096)
