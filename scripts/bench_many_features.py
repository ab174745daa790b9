"""Times a model of many categorical features up to its first step, beside one variable for each.

    python -m scripts.bench_many_features 150 600

Prints for each number of features: variables, seconds until the first step is taken (the model is
built, its step traced, compiled and carried out), milliseconds of a later step, and the ratios of
both to those of a model with a variable for each feature, measured in the same run.
"""

import statistics
import sys
import time

import numpy as np

from ranking import quiet

with quiet.native_stderr():
  import tensorflow as tf
  import tf_keras

from ranking.data.schema import Feature, Schema
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.optimizers import Adagrad, Clippy
from ranking.optimizers.optimizer_settings import OptimizerSettings
from ranking.tasks import LabelStatistics, Task
from ranking.training.step import compile_steps

ROWS, STEPS, APART = 512, 10, 1_000_000
TASKS = (Task("click", "binary"), Task("like", "binary"))


def main(counts: list[int]) -> None:
  """Prints a line for each number of features."""
  print("features  variables  first step      apart  ratio   step ms      apart  ratio")
  for count in counts:
    variables, first, step = measured(count, Inputs().joined_from)
    _, first_apart, step_apart = measured(count, APART)
    ratios = f"{first / first_apart:5.2f}", f"{step / step_apart:5.2f}"
    print(
      f"{count:8d}  {variables:9d}  {first:8.1f} s  {first_apart:7.1f} s  {ratios[0]}"
      f"  {1e3 * step:8.1f}  {1e3 * step_apart:9.1f}  {ratios[1]}"
    )


def measured(count: int, joined_from: int) -> tuple[int, float, float]:
  """How many variables, seconds up to the first step, and seconds of a later one."""
  started = time.perf_counter()
  schema, batch = log(count)
  tf_keras.utils.set_random_seed(0)
  body = SharedBottom([DenseLayers([512, 512])])
  model = Model(body, Inputs(max(1650, 2 * count), joined_from=joined_from)).build(schema)
  optimizer = OptimizerSettings(Adagrad(), Clippy()).build(0.1)
  optimizer.build(model.trainable_variables)
  take = compile_steps(model, optimizer, tf.distribute.get_strategy(), {})
  data = iter(tf.data.Dataset.from_tensors(batch).repeat())
  seconds = []
  for _ in range(STEPS):
    take(data, tf.constant(1), False).measured.numpy()
    seconds.append(time.perf_counter())
  later = np.diff(seconds)[2:]  # TensorFlow compiles once more in the second
  return len(model.trainable_variables), seconds[0] - started, statistics.median(later)


def log(count: int, rows: int = ROWS) -> tuple[Schema, dict[str, tf.Tensor]]:
  """A schema of so many features with 3 to 20,000 ids, and a batch of so many rows."""
  random = np.random.default_rng(0)
  sizes = np.exp(random.uniform(np.log(3), np.log(20_000), count)).astype(int)
  features = tuple(Feature(f"f{k}", "categorical", int(size)) for k, size in enumerate(sizes))
  schema = Schema("many", features, TASKS, ("1", "2"), (LabelStatistics(1000, 0.25, 0.2),) * 2)
  return schema, {
    "ids": tf.constant(random.integers(0, sizes, (rows, count)), tf.int32),
    "bags": tf.zeros([rows, 0], tf.int32),
    "dense": tf.zeros([rows, 0]),
    "labels": tf.constant(random.integers(0, 2, (rows, 2)), tf.float32),
    "weights": tf.fill([rows, 2], 1.0 / rows),
  }


if __name__ == "__main__":
  main([int(argument) for argument in sys.argv[1:]] or [150, 600])
