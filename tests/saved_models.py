"""Models that are saved with their optimizer in one process and gone on with in another.

All layers of a model have the same shapes, so that state which came to the wrong one would fit.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from ranking.array import Array
from ranking.optimizers import AdaGC, Adagrad, ClippedOptimizer, NoClip

RATE = 0.125
Dense = tf_keras.layers.Dense
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(2, 48, 4)).astype(np.float32)

OPTIMIZERS: dict[str, Callable[[], Any]] = {
  "tf_keras Adagrad": lambda: tf_keras.optimizers.Adagrad(RATE),
  "without a clip": lambda: ClippedOptimizer(Adagrad(), NoClip(), RATE, exclude=""),
  "AdaGC": lambda: ClippedOptimizer(Adagrad(), AdaGC(1.04, warmup_steps=2), RATE, exclude=""),
}


@tf_keras.saving.register_keras_serializable("tests")
class Subclassed(tf_keras.Model):
  """Three layers, and one of them twice."""

  def __init__(self, **more: Any):
    super().__init__(**more)
    self.last, self.first, self.middle = Dense(4), Dense(4), Dense(4, activation="tanh")

  def call(self, inputs: tf.Tensor) -> tf.Tensor:
    return self.last(self.middle(self.first(inputs)))

  def get_config(self) -> dict[str, Any]:
    return {}


def functional() -> tf_keras.Model:
  inputs = tf_keras.Input([4])
  return tf_keras.Model(inputs, Dense(4)(Dense(4, activation="tanh")(Dense(4)(inputs))))


def sequential() -> tf_keras.Model:
  return tf_keras.Sequential([Dense(4, input_shape=(4,)), Dense(4, activation="tanh"), Dense(4)])


def shared() -> tf_keras.Model:
  inputs, twice = tf_keras.Input([4]), Dense(4, activation="tanh")
  return tf_keras.Model(inputs, Dense(4)(twice(Dense(4)(twice(inputs)))))


def nested() -> tf_keras.Model:
  inner = tf_keras.Sequential([Dense(4, input_shape=(4,)), Dense(4, activation="tanh")])
  inputs = tf_keras.Input([4])
  return tf_keras.Model(inputs, Dense(4)(inner(Dense(4)(inputs))))


KINDS: dict[str, Callable[[], tf_keras.Model]] = {
  "functional": functional,
  "sequential": sequential,
  "subclassed": Subclassed,
  "shared": shared,
  "nested": nested,
}


def made(kind: str, optimizer: str, seed: int) -> tf_keras.Model:
  """A compiled model with weights."""
  tf_keras.utils.set_random_seed(seed)
  model = KINDS[kind]()
  model(X[:1])
  model.compile(OPTIMIZERS[optimizer](), "mse")
  return model


def fit(model: tf_keras.Model, part: int) -> None:
  """Three steps, other ones for each part."""
  model.run_eagerly = True  # three steps are done before a graph is traced
  for start in range(24 * part, 24 * part + 24, 8):
    model.train_on_batch(X[start:][:8], Y[start:][:8])


def checkpoint(model: tf_keras.Model) -> tf.train.Checkpoint:
  return tf.train.Checkpoint(model=model, optimizer=model.optimizer)


def save(model: tf_keras.Model, form: str, path: Path) -> None:
  """Writes a model in a format."""
  with quiet():
    if form == "checkpoint":
      checkpoint(model).write(str(path / form))
    elif form in ("weights", ".weights.h5"):
      model.save_weights(str(path / f"model{'' if form == 'weights' else form}"))
    else:
      model.save(path / f"model{form}")


def load(form: str, path: Path, fresh: Callable[[], tf_keras.Model], build: bool) -> tf_keras.Model:
  """A model with what was written; where formats let it be, with a fresh one's optimizer built."""
  if form in (".keras", ".h5"):
    return tf_keras.models.load_model(path / f"model{form}")
  model = fresh()
  if build:
    model.optimizer.build(model.trainable_variables)
  if form == "checkpoint":
    checkpoint(model).read(str(path / form))
  else:
    model.load_weights(str(path / f"model{'' if form == 'weights' else form}"))
  return model


FORMATS = ("checkpoint", "weights", ".weights.h5", ".keras", ".h5")


def forms(kind: str) -> tuple[str, ...]:
  """The formats that tf_keras has for a kind of model."""
  return FORMATS[:-1] if kind == "subclassed" else FORMATS


def weights(model: tf_keras.Model) -> list[Array]:
  return [weight.numpy() for weight in model.trainable_variables]


def write_all(root: Path, earlier: int) -> dict[tuple[str, str], list[Array]]:
  """Writes every model in every format, after some layers that are not of it.

  Returns the weights of each after three steps more.
  """
  straight = {}
  for _ in range(earlier):
    Dense(1)
  for optimizer in OPTIMIZERS:
    for kind in KINDS:
      model = made(kind, optimizer, seed=1)
      fit(model, 0)
      for form in forms(kind):
        folder = root / optimizer / kind
        folder.mkdir(parents=True, exist_ok=True)
        save(model, form, folder)
      fit(model, 1)
      straight[optimizer, kind] = weights(model)
  return straight


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Without tf_keras's advice to save as .keras."""
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
    yield
