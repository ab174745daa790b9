"""What users of other optimizers reported in public, tried with ours; each by its number."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from ranking import strategy
from ranking.optimizers import (
  TABLES,
  Adagrad,
  Adam,
  AdaptiveGradientClipping,
  ClippedOptimizer,
  Clippy,
  LinearWarmUp,
  NoClip,
  Rule,
  Sgd,
  unwrapped,
)
from tests.fresh_process import in_fresh_process

X, Y = np.random.default_rng(0).integers(0, 9, (8, 2)), np.ones((8, 1))


def compiled(optimizer: Any) -> tf_keras.Model:
  layers = tf_keras.layers
  model = tf_keras.Sequential(
    [layers.Embedding(9, 3, input_length=2), layers.Flatten(), layers.Dense(1, name="output")]
  )
  model.compile(optimizer, "mse", run_eagerly=True)
  return model


def adagrad() -> ClippedOptimizer:
  return ClippedOptimizer(Adagrad(), Clippy(0.1, 1e-3), 0.125)


def kept(model: tf_keras.Model) -> list[list[Any]]:
  optimizer = unwrapped(model.optimizer)
  return [value.numpy().tolist() for value in optimizer._named_values().values()]


def test_weights_that_are_loaded_after_clear_session_bring_the_slots(tmp_path: Path) -> None:
  """tensorflow/recommenders-addons #291: they did not."""
  saved = compiled(adagrad())
  saved.train_on_batch(X, Y)
  saved.save_weights(str(tmp_path / "weights"))
  tf_keras.backend.clear_session()
  loaded = compiled(adagrad())
  loaded.load_weights(str(tmp_path / "weights"))
  unwrapped(loaded.optimizer).build(loaded.trainable_variables)
  assert kept(loaded) == kept(saved)


def test_a_loaded_model_has_its_optimizers_state(tmp_path: Path) -> None:
  """keras-team/tf-keras #70 and tensorflow/tensorflow #52368: it was reset."""
  saved = compiled(adagrad())
  saved.train_on_batch(X, Y)
  saved.save(tmp_path / "model.keras")
  assert kept(tf_keras.models.load_model(tmp_path / "model.keras")) == kept(saved)


def test_one_optimizer_with_two_directions_is_saved_with_its_model(tmp_path: Path) -> None:
  """NVIDIA-Merlin/NVTabular #669: a model with two optimizers could not be saved."""
  rules = [Rule(TABLES, NoClip(), Adam(lazy=True), 0.5)]
  saved = compiled(ClippedOptimizer(Adagrad(), Clippy(), 0.125, rules=rules))
  saved.train_on_batch(X, Y)
  saved.save(tmp_path / "model.keras")
  loaded = tf_keras.models.load_model(tmp_path / "model.keras")
  assert kept(loaded) == kept(saved)
  assert loaded.optimizer.rules == tuple(rules)


def test_an_output_layer_can_be_left_alone_by_agc() -> None:
  """vballoli/nfnets-pytorch #8: the port clipped the last layer, which the authors do not."""
  rules = [Rule("output", NoClip())]
  model = compiled(ClippedOptimizer(Sgd(), AdaptiveGradientClipping(1e-6), 0.1, rules=rules))
  before = model.get_weights()
  model.train_on_batch(X, Y)
  factors = model.optimizer.clipping_factors(model.trainable_variables)
  assert [float(factor) for factor in factors] == [1.0, 1.0, 1.0]
  assert not np.array_equal(before[1], model.get_weights()[1])


def test_a_new_style_optimizer_trains_in_float16_and_its_scheduled_rate_can_be_read() -> None:
  """keras-team/keras #16560: it could not be wrapped. #16218: the rate could not be read."""
  tf_keras.mixed_precision.set_global_policy("mixed_float16")
  try:
    model = compiled(ClippedOptimizer(Adagrad(), Clippy(), LinearWarmUp(0.5, 2)))
    model.train_on_batch(X, Y)
    assert float(model.optimizer.learning_rate) == 0.25
    model.train_on_batch(X, Y)
    assert float(model.optimizer.learning_rate) == 0.5
  finally:
    tf_keras.mixed_precision.set_global_policy("float32")


def saved_and_loaded_on_two_replicas() -> list[bool]:
  """Whether all that is kept came back, with the optimizer built before loading and after."""
  two = strategy.virtual_cpus(2)
  tf.get_logger().setLevel("ERROR")

  def model() -> tf_keras.Model:
    with two.scope():
      layers = tf_keras.layers
      made = tf_keras.Sequential([layers.Dense(3, input_shape=(2,)), layers.Dense(1)])
      made.compile(adagrad(), "mse")
    return made

  saved = model()
  saved.fit(X.astype("float32"), Y, batch_size=4, verbose=0)
  path = str(Path(tempfile.mkdtemp()) / "weights")
  saved.save_weights(path)
  came_back = []
  for built in (False, True):
    loaded = model()
    if built:
      loaded.optimizer.build(loaded.trainable_variables)
    loaded.load_weights(path)
    with two.scope():
      loaded.optimizer.build(loaded.trainable_variables)
    came_back.append(kept(loaded) == kept(saved))
  return came_back


def test_weights_that_are_loaded_on_two_replicas_bring_the_slots() -> None:
  """tensorflow/tensorflow #44518: with a MirroredStrategy they did not."""
  assert in_fresh_process(saved_and_loaded_on_two_replicas) == [True, True]
