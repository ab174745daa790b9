"""Averages of weights, by the contract of tf_keras, and in the place of weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking.array import Array
from ranking.optimizers import (
  Adagrad,
  ClippedOptimizer,
  Clippy,
  EvaluateAverages,
  NoClip,
  averaged_weights,
)

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(32, 4)).astype(np.float32), RANDOM.normal(size=(32, 1))


def model(optimizer: Any, layers: int = 2) -> tf_keras.Model:
  tf_keras.utils.set_random_seed(1)
  dense = tf_keras.layers.Dense
  made = tf_keras.Sequential([tf_keras.Input([4]), *(dense(4) for _ in range(layers)), dense(1)])
  made.compile(optimizer, "mse")
  return made


def ours(**more: Any) -> ClippedOptimizer:
  return ClippedOptimizer(Adagrad(), NoClip(), 0.25, **more)


def close(one: list[Array], two: list[Array]) -> None:
  for here, there in zip(one, two, strict=True):
    np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-7)


# Of 9 equal layers some are stacked.
@pytest.mark.parametrize(("frequency", "layers"), [(None, 2), (3, 9)])
def test_fit_with_averages_ends_as_with_those_of_tf_keras(
  frequency: int | None, layers: int
) -> None:
  settings: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.75}
  settings["ema_overwrite_frequency"] = frequency
  weights = []
  for optimizer in (ours(**settings), tf_keras.optimizers.Adagrad(0.25, **settings)):
    trained = model(optimizer, layers)
    trained.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    weights.append(trained.get_weights())
  close(*weights)


def test_averages_are_in_the_place_of_weights_for_evaluation_only() -> None:
  trained = model(ours(use_ema=True, ema_momentum=0.5))
  sums = [0.5**4 * w for w in trained.get_weights()]
  for k in range(4):
    trained.train_on_batch(X[4 * k :][:4], Y[4 * k :][:4])
    sums = [s + 0.5 ** (4 - k) * w for s, w in zip(sums, trained.get_weights(), strict=True)]
  weights = trained.get_weights()
  with averaged_weights(trained.optimizer, trained.trainable_variables):
    close(trained.get_weights(), sums)
    loss = trained.evaluate(X, Y, verbose=0)
  for one, two in zip(trained.get_weights(), weights, strict=True):
    np.testing.assert_array_equal(one, two)
  assert trained.evaluate(X, Y, verbose=0, callbacks=[EvaluateAverages()]) == loss
  assert trained.evaluate(X, Y, verbose=0) != loss
  for one, two in zip(trained.get_weights(), weights, strict=True):
    np.testing.assert_array_equal(one, two)


def test_a_skipped_step_leaves_averages_as_they_are() -> None:
  optimizer, variable = (
    ours(use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=1),
    tf.Variable([1.0]),
  )
  optimizer.build([variable])
  optimizer.apply_gradients([(tf.constant([np.nan]), variable)])
  assert optimizer.kept.averages[0].numpy().tolist() == variable.numpy().tolist() == [1.0]


@pytest.mark.parametrize("form", ["checkpoint", ".keras", ".h5", "weights.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_averages_are_saved_with_the_optimizer(form: str, tmp_path: Path) -> None:
  trained = model(ours(use_ema=True))
  trained.train_on_batch(X, Y)
  path = str(tmp_path / f"saved.{form}".replace("..", "."))
  if form == "checkpoint":
    other = model(ours(use_ema=True))
    other.optimizer.build(other.trainable_variables)
    tf.train.Checkpoint(m=trained, o=trained.optimizer).write(path)
    with pytest.warns(UserWarning, match="state was restored by the order of variables"):
      tf.train.Checkpoint(m=other, o=other.optimizer).read(path).assert_consumed()
  elif form == "weights.h5":
    trained.save_weights(path)
    other = model(ours(use_ema=True))
    other.load_weights(path)
    with pytest.warns(UserWarning, match="state was restored by the order of variables"):
      other.optimizer.build(other.trainable_variables)
  else:
    trained.save(path)
    other = tf_keras.models.load_model(path)
  for one, two in zip(trained.optimizer.kept.averages, other.optimizer.kept.averages, strict=True):
    np.testing.assert_array_equal(one, two)
  assert other.optimizer.get_config() == trained.optimizer.get_config()


def test_averages_that_tf_keras_kept_are_gone_on_from(tmp_path: Path) -> None:
  theirs, variable = tf_keras.optimizers.Adagrad(0.25, use_ema=True), tf.Variable([1.0, 2.0])
  theirs.build([variable])
  theirs.apply_gradients([(tf.ones([2]), variable)])
  path = tf.train.Checkpoint(o=theirs).write(str(tmp_path / "saved"))
  optimizer = ours(use_ema=True)
  tf.train.Checkpoint(o=optimizer).read(path)
  optimizer.build([variable])
  kept = optimizer.kept.averages[0].numpy()
  np.testing.assert_array_equal(kept, theirs._model_variables_moving_average[0])
  without = ours()
  tf.train.Checkpoint(o=without).read(path)
  with pytest.raises(ValueError, match="the checkpoint holds model_variables_moving_average of"):
    without.build([variable])


def test_without_averages_it_says_so() -> None:
  optimizer, variable = ClippedOptimizer(Adagrad(), Clippy()), tf.Variable([1.0])
  optimizer.build([variable])
  with (
    pytest.raises(ValueError, match="the optimizer keeps no averages of weights; make it with use"),
    averaged_weights(optimizer, [variable]),
  ):
    pass
  with pytest.raises(ValueError, match=r"^use_ema = True comes too late: the optimizer is built"):
    optimizer.use_ema = True
  with pytest.raises(ValueError, match=r"^ema_momentum is 2; make it a share, from 0 to 1"):
    ours(use_ema=True, ema_momentum=2)
  with pytest.raises(ValueError, match=r"^ema_overwrite_frequency is 0; make it a whole number, 1"):
    ours(use_ema=True, ema_overwrite_frequency=0)
