"""What users of other optimizers reported in public, tried with ours; each by its number."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
  GradientClipping,
  LinearWarmUp,
  NoClip,
  Rule,
  Sgd,
  StateError,
  StopWhenSkipping,
  keep_statistics,
  unwrapped,
)
from tests.fresh_process import in_fresh_process

X, Y = np.random.default_rng(0).integers(0, 9, (8, 2)), np.ones((8, 1))


def compiled(optimizer: Any) -> tf_keras.Model:
  layers = tf_keras.layers
  model = tf_keras.Sequential(
    [
      layers.Embedding(9, 3, input_length=2, name="table"),
      layers.Flatten(),
      layers.Dense(1, name="output"),
    ]
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


def step(optimizer: Any, gradients: list[Any], variables: list[tf.Variable]) -> None:
  optimizer.apply_gradients(zip(gradients, variables, strict=True))


def test_a_threshold_of_0_stops_all_that_is_clipped_in_fit() -> None:
  """tensorflow/tensorflow #33929 and #45146: fit did not look at clipnorm and clipvalue."""
  model = compiled(ClippedOptimizer(Sgd(), GradientClipping(0.0), 1.0, exclude=""))
  before = model.get_weights()
  model.fit(X, Y, verbose=0)
  for a, b in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_row_that_comes_twice_counts_once_with_the_sum_of_its_gradients() -> None:
  """keras-team/keras #3859 and #18985: clipnorm failed on gradients that come as rows."""
  table = tf.Variable(tf.zeros([4, 2]))
  rows = tf.IndexedSlices(tf.constant([[3.0, 0.0], [0.0, 5.0], [0.0, 4.0]]), [1, 2, 1], [4, 2])
  optimizer = ClippedOptimizer(Sgd(), GradientClipping(1.0), 1.0, exclude="")
  step(optimizer, [rows], [table])
  norm = (3.0**2 + 4.0**2 + 5.0**2) ** 0.5
  expected = -np.array([[0, 0], [3, 4], [0, 5], [0, 0]]) / norm
  np.testing.assert_allclose(table.numpy(), expected, rtol=1e-6)


def test_two_kinds_of_clipnorm_cannot_stand_beside_each_other() -> None:
  """keras-team/keras #17278: an attribute set later was taken beside the other, or not at all."""
  optimizer = adagrad()
  for name in ("clipnorm", "global_clipnorm", "clipvalue"):
    with pytest.raises(ValueError, match=f"{name} = 1.0 would be ignored; give the optimizer"):
      setattr(optimizer, name, 1.0)


def test_a_first_gradient_of_zeros_is_no_nan_though_the_accumulator_begins_with_0() -> None:
  """lisa-lab/pylearn2 #1496 and davharris/mistnet #94: Adagrad was NaN from the first step."""
  weight = tf.Variable([1.0, 1.0])
  optimizer = ClippedOptimizer(Adagrad(0.0, epsilon=0.0), NoClip(), 0.5)
  step(optimizer, [tf.constant([0.0, 4.0])], [weight])
  assert weight.numpy().tolist() == [1.0, 0.5]


def test_behind_a_loss_scale_steps_are_counted_as_those_of_tf_keras_are() -> None:
  """keras-team/keras #20878: behind the loss scale, the count of steps stayed at 0."""
  counts = []
  for inner in (adagrad(), tf_keras.optimizers.Adagrad()):
    weight = tf.Variable([1.0])
    optimizer = tf_keras.mixed_precision.LossScaleOptimizer(inner)
    for gradient in (1.0, np.inf, 1.0):
      step(optimizer, [tf.constant([gradient])], [weight])
    assert np.isfinite(weight.numpy()).all()
    counts.append(int(optimizer.iterations))
  assert counts[0] == counts[1]
  assert counts[0] > 1


def test_a_variable_of_later_is_refused_with_the_cure_and_known_if_it_was_named_before() -> None:
  """yzhao062/pyod #459 and StatBiomed/UniTVelo #20: parts of a model trained in turn."""
  first, second = tf.Variable([1.0], name="first"), tf.Variable([1.0], name="second")
  optimizer = adagrad()
  step(optimizer, [tf.constant([1.0])], [first])
  with pytest.raises(KeyError, match=r"not built for variable second; call optimizer\.build"):
    step(optimizer, [tf.constant([1.0])], [second])
  optimizer = adagrad()
  optimizer.build([first, second])
  for variable in (first, second):
    step(optimizer, [tf.constant([1.0])], [variable])
  assert second.numpy() < 1.0


def test_biases_can_be_kept_from_decay_by_a_rule_and_by_the_call_of_keras() -> None:
  """keras-team/keras #16201 and tensorflow/addons #1903: AdamW let nothing be left out."""
  rules = [Rule("bias", direction=Adam(weight_decay=0.0))]
  by_rule = ClippedOptimizer(Adam(weight_decay=0.1), NoClip(), 0.5, rules=rules)
  by_call = ClippedOptimizer(Adam(weight_decay=0.1), NoClip(), 0.5)
  by_call.exclude_from_weight_decay(var_names=["bias"])
  for optimizer in (by_rule, by_call):
    kernel, bias = tf.Variable([2.0], name="kernel"), tf.Variable([2.0], name="bias")
    step(optimizer, [tf.zeros([1]), tf.zeros([1])], [kernel, bias])
    assert [*kernel.numpy(), *bias.numpy()] == pytest.approx([2.0 - 0.5 * 0.1 * 2.0, 2.0])


def test_a_lazy_direction_leaves_rows_alone_that_a_batch_does_not_look_up() -> None:
  """tensorflow/tensorflow #6460, #14075, keras-team/keras #19992: Adam moved every row."""
  for direction in (Adam(lazy=True), Sgd(0.9, lazy=True)):
    table = tf.Variable(tf.ones([4, 2]))
    optimizer = ClippedOptimizer(direction, NoClip(), 0.5)
    for row in (1, 2):
      before = table.numpy()
      step(optimizer, [tf.IndexedSlices(tf.ones([1, 2]), [row], [4, 2])], [table])
      moved = (table.numpy() != before).all(1)
      assert moved.tolist() == [k == row for k in range(4)]


def test_moving_statistics_survive_a_batch_that_is_not_finite() -> None:
  """keras-team/keras #9646, #11927, #11858: moving means were NaN, and stayed so."""
  layers = tf_keras.layers
  model = tf_keras.Sequential([layers.BatchNormalization(input_shape=(2,)), layers.Dense(1)])
  model = keep_statistics(model)
  model.compile(adagrad(), "mse", run_eagerly=True)
  model.train_on_batch(np.full((8, 2), np.nan), Y)
  model.train_on_batch(X / 9, Y)
  assert all(np.isfinite(weight).all() for weight in model.get_weights())
  assert int(model.optimizer.skipped_steps) == 1


def test_training_stops_when_nothing_is_finite_any_more() -> None:
  """Oneflow-Inc/oneflow #10321: a loss was NaN from step 1000, and the job went on."""
  model = compiled(adagrad())
  stop = StopWhenSkipping(3)
  before = model.get_weights()
  with pytest.raises(RuntimeError, match="3 steps in a row were not finite, the last in batch 2"):
    model.fit(X, np.full((8, 1), np.nan), batch_size=1, verbose=0, callbacks=[stop])
  for a, b in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_what_is_frozen_stays_though_its_velocity_does_not_rest() -> None:
  """keras-team/keras #3268: frozen weights went on changing."""
  model = compiled(ClippedOptimizer(Sgd(0.9), Clippy(), 0.1))
  model.train_on_batch(X, Y)
  table = model.layers[0]
  table.trainable = False
  model.compile(model.optimizer, "mse", run_eagerly=True)
  before = table.get_weights()[0]
  output = model.layers[-1].get_weights()[0]
  model.train_on_batch(X, Y)
  np.testing.assert_array_equal(table.get_weights()[0], before)
  assert not np.array_equal(model.layers[-1].get_weights()[0], output)


def test_what_was_saved_frozen_goes_on_unfrozen(tmp_path: Path) -> None:
  """keras-team/keras #11748: weights saved with frozen layers went to the wrong ones unfrozen."""
  saved = compiled(adagrad())
  saved.optimizer.build(saved.trainable_variables)
  saved.layers[0].trainable = False
  saved.compile(saved.optimizer, "mse", run_eagerly=True)
  saved.train_on_batch(X, Y)
  saved.save_weights(str(tmp_path / "weights"))
  loaded = compiled(adagrad())
  loaded.optimizer.build(loaded.trainable_variables)
  loaded.load_weights(str(tmp_path / "weights"))
  assert kept(loaded) == kept(saved)
  for a, b in zip(saved.get_weights(), loaded.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)
  before = loaded.get_weights()[0]
  loaded.train_on_batch(X, Y)
  assert not np.array_equal(loaded.get_weights()[0], before)


def test_a_new_optimizer_begins_anew_after_weights_were_loaded(tmp_path: Path) -> None:
  """tensorflow/tensorflow #33842: compiling again kept the state that came with the weights."""
  saved = compiled(adagrad())
  saved.train_on_batch(X, Y)
  saved.save_weights(str(tmp_path / "weights"))
  loaded = compiled(adagrad())
  loaded.load_weights(str(tmp_path / "weights"))
  loaded.compile(adagrad(), "mse", run_eagerly=True)
  loaded.optimizer.build(loaded.trainable_variables)
  assert int(loaded.optimizer.iterations) == 0
  slots = loaded.optimizer.state_of(loaded.trainable_variables[-1])
  np.testing.assert_array_equal(slots["accumulator"], np.array([0.1], np.float32))


def test_two_optimizers_are_saved_in_one_checkpoint(tmp_path: Path) -> None:
  """tensorflow/tensorflow #40256: how several optimizers are saved and restored together."""
  both = []
  for gradient in (1.0, 0.0):
    weights = [tf.Variable([1.0]), tf.Variable([1.0])]
    pair = [adagrad(), ClippedOptimizer(Adam(), Clippy(), 0.1)]
    for optimizer, weight in zip(pair, weights, strict=True):
      optimizer.build([weight])
      if gradient:
        step(optimizer, [tf.constant([gradient])], [weight])
    named = {
      f"{kind}{k}": each
      for kind, own in (("o", pair), ("w", weights))
      for k, each in enumerate(own)
    }
    both.append((pair, tf.train.Checkpoint(**named)))
  (saved, first), (restored, second) = both
  second.read(first.write(str(tmp_path / "both"))).assert_consumed()
  for a, b in zip(saved, restored, strict=True):
    assert [v.numpy().tolist() for v in a.variables] == [v.numpy().tolist() for v in b.variables]


def test_state_can_be_taken_out_and_put_back() -> None:
  """keras-team/keras #16983: state was to be taken out and put back by get_weights, set_weights."""
  one, other = (compiled(adagrad()) for _ in range(2))
  one.train_on_batch(X, Y)
  other.optimizer.build(other.trainable_variables)
  other.optimizer.set_weights([variable.numpy() for variable in one.optimizer.variables])
  assert kept(other) == kept(one)
  with pytest.raises((StateError, RuntimeError), match="set_weights was given 1 arrays"):
    other.optimizer.set_weights([np.zeros(3)])
