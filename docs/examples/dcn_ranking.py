"""A deep and cross network that ranks movies, with the clips as its optimizer, on MovieLens small.

    python docs/examples/dcn_ranking.py path/to/ml-latest-small

A functional tf_keras model with one label, trained by `fit` and saved whole as .keras. Its output
layer is left to the direction by a rule, and the embedding tables by default.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from ranking.optimizers import Adagrad, ClippedOptimizer, LayerClippy, NoClip, Rule

BATCH = 256
COLUMNS = ("user", "movie", "genres", "hour")


def read(folder: Path) -> dict[str, np.ndarray]:
  """Ratings in the order of time: columns of numbers from 0, and whether the movie was liked."""
  log = pd.read_csv(folder / "ratings.csv").sort_values("timestamp", kind="stable")
  log = log.merge(pd.read_csv(folder / "movies.csv"), on="movieId", how="left")
  return {
    "user": log.userId.astype("category").cat.codes.to_numpy(np.int32),
    "movie": log.movieId.astype("category").cat.codes.to_numpy(np.int32),
    "genres": log.genres.astype("category").cat.codes.to_numpy(np.int32),
    "hour": (log.timestamp.to_numpy() // 3600 % 24).astype(np.int32),
    "liked": (log.rating.to_numpy() >= 4).astype(np.float32),
  }


def make(rows: dict[str, np.ndarray]) -> tf_keras.Model:
  """The model, compiled."""
  layers = tf_keras.layers
  inputs = {name: tf_keras.Input([], dtype="int32", name=name) for name in COLUMNS}
  found = [
    layers.Embedding(int(rows[name].max()) + 1, 16, name=f"{name}_table")(ids)
    for name, ids in inputs.items()
  ]
  first = layers.Concatenate()(found)
  crossed = first
  for _ in range(2):
    crossed = tfrs.layers.dcn.Cross()(first, crossed)
  deep = layers.Dense(64, "relu")(layers.Dense(64, "relu")(first))
  both = layers.Concatenate()([crossed, deep])
  liked = layers.Dense(1, "sigmoid", dtype="float32", name="liked")(both)
  model = tf_keras.Model(inputs, liked)
  rules = [Rule("^liked", clip=NoClip())]
  model.compile(ClippedOptimizer(Adagrad(), LayerClippy(), 0.2, rules=rules), "binary_crossentropy")
  return model


def train(
  model: tf_keras.Model, rows: dict[str, np.ndarray], first: int, steps: int
) -> list[float]:
  """Losses of some steps, in the order of time."""
  part = {name: values[first * BATCH :][: steps * BATCH] for name, values in rows.items()}
  liked = part.pop("liked")[:, None]
  batches = tf.data.Dataset.from_tensor_slices((part, liked)).batch(BATCH, drop_remainder=True)
  losses: list[float] = []
  log = tf_keras.callbacks.LambdaCallback(on_batch_end=lambda _, logs: losses.append(logs["loss"]))
  model.fit(batches, verbose=0, callbacks=[log])
  return losses


def freeze(model: tf_keras.Model, frozen: bool) -> list[Any]:
  """Lets tables stay as they are, or move again; returns their layers."""
  tables = [model.get_layer(f"{name}_table") for name in COLUMNS]
  for table in tables:
    table.trainable = not frozen
  model.compile(model.optimizer, model.loss)  # traces anew; the optimizer keeps its state
  return tables


def save(model: tf_keras.Model, folder: Path) -> None:
  """The model with its optimizer."""
  model.save(folder / "model.keras")


def resume(folder: Path, rows: dict[str, np.ndarray]) -> tf_keras.Model:
  """The model as it was saved."""
  return tf_keras.models.load_model(folder / "model.keras")


def main() -> None:
  """Trains on the first 300 batches, and prints the losses."""
  tf_keras.utils.set_random_seed(0)
  rows = read(Path(sys.argv[1]))
  losses = train(make(rows), rows, 0, 300)
  print("loss", [round(float(loss), 3) for loss in losses[59::60]])


if __name__ == "__main__":
  main()
