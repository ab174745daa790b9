"""Ratings and retrieval in one TFRS model, with the clips as its optimizer, on MovieLens small.

    python docs/examples/tfrs_multitask.py path/to/ml-latest-small

Two towers meet in two tasks: which movie (retrieval), and how many stars.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy, LinearWarmUp

BATCH = 256


def read(folder: Path) -> dict[str, np.ndarray]:
  """Ratings in the order of time: user and movie as numbers from 0, and stars."""
  log = pd.read_csv(folder / "ratings.csv").sort_values("timestamp", kind="stable")
  return {
    "user": log.userId.astype("category").cat.codes.to_numpy(np.int32),
    "movie": log.movieId.astype("category").cat.codes.to_numpy(np.int32),
    "stars": log.rating.to_numpy(np.float32),
  }


def tower(name: str, widths: list[int]) -> tf_keras.Sequential:
  """Layers with names, by which saved state is known again."""
  layers = [tf_keras.layers.Dense(w, "relu", name=f"{name}_{w}") for w in widths]
  return tf_keras.Sequential(layers, name=name)


class Movies(tfrs.Model):
  """A two-tower model of two tasks."""

  def __init__(self, users: int, movies: int, width: int = 32):
    super().__init__(name="movies")
    layers = tf_keras.layers
    self.user_table = layers.Embedding(users, width, name="user_table")
    self.movie_table = layers.Embedding(movies, width, name="movie_table")
    self.user_tower = tower("user", [64, width])
    self.movie_tower = tower("movie", [64, width])
    self.rating = tower("rating", [64, 32])
    self.stars = layers.Dense(1, dtype="float32", name="output")
    # Sums, as compute_loss divides by the batch of all replicas.
    entropy = tf_keras.losses.CategoricalCrossentropy(from_logits=True, reduction="sum")
    self.ranking = tfrs.tasks.Ranking(tf_keras.losses.MeanSquaredError(reduction="sum"))
    self.retrieval = tfrs.tasks.Retrieval(entropy)

  def call(self, features: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A vector of the user, one of the movie, and the stars."""
    user = self.user_tower(self.user_table(features["user"]))
    movie = self.movie_tower(self.movie_table(features["movie"]))
    return user, movie, self.stars(self.rating(tf.concat([user, movie], 1)))

  def compute_loss(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
    """Both tasks' losses, averaged over the batch."""
    user, movie, stars = self(inputs, training=training)
    rows = tf.distribute.get_strategy().num_replicas_in_sync * tf.shape(stars)[0]
    loss = self.ranking(labels=inputs["stars"][:, None], predictions=stars)
    loss += 0.1 * tf.cast(self.retrieval(user, movie, compute_metrics=False), tf.float32)
    return loss / tf.cast(rows, tf.float32)


def make(rows: dict[str, np.ndarray]) -> Movies:
  """The model, compiled and built."""
  model = Movies(int(rows["user"].max()) + 1, int(rows["movie"].max()) + 1)
  model({name: tf.constant(values[:2]) for name, values in rows.items()})
  model.compile(ClippedOptimizer(Adagrad(), Clippy(), LinearWarmUp(0.2, warmup_steps=20)))
  model.optimizer.build(model.trainable_variables)
  return model


def train(model: Movies, rows: dict[str, np.ndarray], first: int, steps: int) -> list[float]:
  """Losses of some steps, in the order of time."""
  part = {name: values[first * BATCH :][: steps * BATCH] for name, values in rows.items()}
  batches = tf.data.Dataset.from_tensor_slices(part).batch(BATCH, drop_remainder=True)
  losses: list[float] = []
  log = tf_keras.callbacks.LambdaCallback(on_batch_end=lambda _, logs: losses.append(logs["loss"]))
  model.fit(batches, verbose=0, callbacks=[log])
  return losses


def freeze(model: Movies, frozen: bool) -> list[Any]:
  """Lets tables stay as they are, or move again; returns their layers."""
  tables = [model.user_table, model.movie_table]
  for table in tables:
    table.trainable = not frozen
  model.compile(model.optimizer)  # traces anew; the optimizer keeps its state
  return tables


def save(model: Movies, folder: Path) -> None:
  """Weights and the optimizer's state."""
  model.save_weights(str(folder / "movies"))


def resume(folder: Path, rows: dict[str, np.ndarray]) -> Movies:
  """The model as it was saved."""
  model = make(rows)
  model.load_weights(str(folder / "movies")).assert_existing_objects_matched()
  return model


def main() -> None:
  """Trains on the first 300 batches, and prints the losses."""
  tf_keras.utils.set_random_seed(0)
  rows = read(Path(sys.argv[1]))
  losses = train(make(rows), rows, 0, 300)
  print("loss", [round(float(np.mean(losses[k : k + 60])), 3) for k in range(0, 300, 60)])


if __name__ == "__main__":
  main()
