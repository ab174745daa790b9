"""A model like DLRM in a training loop of its own, with the clips, on MovieLens small.

    python docs/examples/dlrm.py path/to/ml-latest-small

A top network sees the products of every pair of vectors, of ids and of the dense features. The loop
is a tf.function that runs on every replica; state is saved by tf.train.Checkpoint.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tf_keras

from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy

BATCH = 256
WIDTH = 16


def read(folder: Path) -> dict[str, np.ndarray]:
  """Ratings in the order of time: ids and dense features [rows, 3], liked or not [rows, 1]."""
  log = pd.read_csv(folder / "ratings.csv").sort_values("timestamp", kind="stable")
  log = log.merge(pd.read_csv(folder / "movies.csv"), on="movieId", how="left")
  ids = [log[name].astype("category").cat.codes for name in ("userId", "movieId", "genres")]
  age = 2020 - log.title.str.extract(r"\((\d{4})\)\s*$")[0].astype(float).fillna(2000)
  before = log.groupby("userId").cumcount()  # ratings of the user so far
  seen = log.groupby("movieId").cumcount()
  return {
    "ids": np.stack(ids, axis=1).astype(np.int32),
    "dense": np.log1p(np.stack([age, before, seen], axis=1)).astype(np.float32),
    "liked": (log.rating.to_numpy() >= 4).astype(np.float32)[:, None],
  }


class Dlrm(tf_keras.Model):
  """Bottom network, tables, products of pairs, top network."""

  def __init__(self, sizes: list[int]):
    super().__init__(name="dlrm")
    Dense, Embedding = tf_keras.layers.Dense, tf_keras.layers.Embedding
    # Names, by which saved state is known again.
    self.bottom = [Dense(width, "relu", name=f"bottom_{width}") for width in (64, WIDTH)]
    self.look_up = [Embedding(size, WIDTH, name=f"table_{k}") for k, size in enumerate(sizes)]
    self.top = [Dense(64, "relu", name="top"), Dense(1, dtype="float32", name="output")]
    self.optimizer = ClippedOptimizer(Adagrad(), Clippy(0.5, 1e-3), 0.1)
    if self.compute_dtype == "float16":
      self.optimizer = tf_keras.mixed_precision.LossScaleOptimizer(self.optimizer)

  def call(self, ids: tf.Tensor, dense: tf.Tensor) -> tf.Tensor:
    """Logits [rows, 1]."""
    bottom = self.bottom[1](self.bottom[0](dense))
    found = [table(ids[:, k]) for k, table in enumerate(self.look_up)]
    vectors = tf.stack([bottom, *found], axis=1)
    products = tf.matmul(vectors, vectors, transpose_b=True)
    products = tf.reshape(products, [-1, vectors.shape[1] ** 2])
    return self.top[1](self.top[0](tf.concat([bottom, products], axis=1)))


def make(rows: dict[str, np.ndarray]) -> Dlrm:
  """The model, with its weights and its optimizer's slots."""
  model = Dlrm([int(column.max()) + 1 for column in rows["ids"].T])
  model(rows["ids"][:2], rows["dense"][:2])
  model.optimizer.build(model.trainable_variables)
  return model


def train(model: Dlrm, rows: dict[str, np.ndarray], first: int, steps: int) -> list[float]:
  """Losses of some steps, in the order of time."""
  strategy, trained = tf.distribute.get_strategy(), model.trainable_variables  # not the frozen

  def on_a_replica(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    with tf.GradientTape() as tape:
      logits = model(batch["ids"], batch["dense"])
      losses = tf.nn.sigmoid_cross_entropy_with_logits(batch["liked"], logits)
      loss = tf.reduce_sum(losses) / BATCH
    model.optimizer.minimize(loss, trained, tape)  # which in float16 scales the loss
    return loss

  @tf.function
  def step(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    return strategy.reduce("sum", strategy.run(on_a_replica, args=(batch,)), axis=None)

  part = {name: values[first * BATCH :][: steps * BATCH] for name, values in rows.items()}
  batches = tf.data.Dataset.from_tensor_slices(part).batch(BATCH, drop_remainder=True)
  return [float(step(batch)) for batch in strategy.experimental_distribute_dataset(batches)]


def freeze(model: Dlrm, frozen: bool) -> list[Any]:
  """Lets tables stay as they are, or move again; returns their layers."""
  for table in model.look_up:
    table.trainable = not frozen
  return list(model.look_up)


def save(model: Dlrm, folder: Path) -> None:
  """Weights, and the optimizer's state, which is tracked by the model."""
  tf.train.Checkpoint(model=model).write(str(folder / "dlrm"))


def resume(folder: Path, rows: dict[str, np.ndarray]) -> Dlrm:
  """The model as it was saved."""
  model = make(rows)
  tf.train.Checkpoint(model=model).read(str(folder / "dlrm")).assert_consumed()
  return model


def main() -> None:
  """Trains on the first 300 batches, and prints the losses."""
  tf_keras.utils.set_random_seed(0)
  rows = read(Path(sys.argv[1]))
  losses = train(make(rows), rows, 0, 300)
  print("loss", [round(float(np.mean(losses[k : k + 60])), 3) for k in range(0, 300, 60)])


if __name__ == "__main__":
  main()
