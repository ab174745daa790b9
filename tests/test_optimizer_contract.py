"""What tf_keras, TFRS and users call on an optimizer: honoured, or refused in one line."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs
import tf_keras

from ranking import strategy
from ranking.optimizers import (
  Adagrad,
  Adam,
  ClippedOptimizer,
  Clippy,
  GradientClipping,
  NoClip,
  Sgd,
  StopWhenSkipping,
  ZClip,
  keep_statistics,
  observe,
  unwrapped,
)
from tests.fresh_process import in_fresh_process

RATE = 0.125


def plain(rate: Any = RATE) -> ClippedOptimizer:
  return ClippedOptimizer(Sgd(), NoClip(), rate)


def ones(variable: tf.Variable) -> tf.Tensor:
  return tf.ones_like(variable)


# Calls and attributes of tf_keras


def test_an_empty_step_is_no_step_as_in_tf_keras() -> None:
  optimizer = plain()
  assert int(optimizer.apply_gradients([])) == 0
  variable = tf.Variable([1.0])
  optimizer.apply_gradients([(ones(variable), variable)])  # nothing was built for no variables
  assert int(optimizer.iterations) == 1


def test_a_variable_that_it_was_not_built_for_is_named() -> None:
  optimizer, known, later = plain(), tf.Variable([1.0]), tf.Variable([1.0], name="model/later")
  optimizer.build([known])
  text = (
    "the optimizer was not built for variable model/later; call optimizer.build with all variables "
    "that will ever be trained before the first step, or compile with a new optimizer"
  )
  with pytest.raises(KeyError, match=re.escape(text)):
    optimizer.apply_gradients([(ones(later), later)])
  with pytest.raises(KeyError, match=re.escape(text)):
    optimizer.clipping_factors([later])


@pytest.mark.parametrize(
  ("name", "cure"),
  [
    ("clipnorm", r"clip=GradientClipping\(threshold\)"),
    ("global_clipnorm", r"clip=GradientClipping\(threshold\), scope=\"global\""),
    ("clipvalue", "a clip, such as"),
    ("weight_decay", r"direction=Adam\(weight_decay=\.\.\.\)"),
  ],
)
def test_an_attribute_that_no_step_would_look_at_is_refused(name: str, cure: str) -> None:
  optimizer = plain()
  with pytest.raises(
    ValueError, match=rf"^{name} = 1.0 would be ignored; give the optimizer {cure}"
  ):
    setattr(optimizer, name, 1.0)
  setattr(optimizer, name, None)  # what it is


def test_weight_decay_leaves_out_what_it_is_told_to() -> None:
  for chosen in ("by list", "by name"):
    here, there = (
      [tf.Variable([1.0, 2.0], name="kernel"), tf.Variable([1.0, 2.0], name="bias")]
      for _ in range(2)
    )
    ours = ClippedOptimizer(Adam(weight_decay=0.25), NoClip(), RATE)
    theirs = tf_keras.optimizers.AdamW(RATE, 0.25)
    for optimizer, variables in ((ours, here), (theirs, there)):
      if chosen == "by list":
        optimizer.exclude_from_weight_decay(var_list=variables[1:])
      else:
        optimizer.exclude_from_weight_decay(var_names=["bias"])
      for _ in range(3):
        optimizer.apply_gradients([(ones(variable), variable) for variable in variables])
    for one, two in zip(here, there, strict=True):
      np.testing.assert_allclose(one, two, rtol=1e-6)
    assert not np.allclose(here[0], here[1])


def test_tfrs_can_hold_it_in_its_composite_optimizer() -> None:
  table, kernel = tf.Variable([[1.0], [2.0]], name="embeddings"), tf.Variable([1.0], name="kernel")
  ours = plain(0.5)
  composite = tfrs.experimental.optimizers.CompositeOptimizer(
    [(ours, lambda: [kernel]), (plain(0.25), lambda: [table])]
  )
  composite.apply_gradients([(ones(table), table), (ones(kernel), kernel)])
  assert kernel.numpy().tolist() == [0.5]
  assert table.numpy().tolist() == [[0.75], [1.75]]
  composite.apply_gradients(
    [(ones(table), table), (ones(kernel), kernel)], experimental_aggregate_gradients=False
  )
  assert kernel.numpy().tolist() == [0.0]


# What a step would write


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e25], ids=str)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "tf.function"])
def test_a_rate_that_is_not_finite_changes_nothing(compiled: bool, bad: float) -> None:
  optimizer, variable = ClippedOptimizer(Adagrad(), Clippy(), 0.1), tf.Variable([1.0, 2.0])
  optimizer.build([variable])

  def step() -> None:
    optimizer.apply_gradients([(ones(variable), variable)])

  take = tf.function(step) if compiled else step
  optimizer.learning_rate = bad
  before = [value.numpy().tobytes() for value in optimizer.state_of(variable).values()]
  take()
  assert variable.numpy().tolist() == [1.0, 2.0]
  assert before == [value.numpy().tobytes() for value in optimizer.state_of(variable).values()]
  assert (int(optimizer.iterations), int(optimizer.skipped_in_a_row)) == (0, 1)
  optimizer.learning_rate = 0.1
  take()
  assert (int(optimizer.iterations), int(optimizer.skipped_in_a_row)) == (1, 0)


@pytest.mark.parametrize("gradient", [0.0, 1e-30, 1.0])
@pytest.mark.parametrize(
  "direction",
  [Adagrad(0.0, 0.0), Adam(epsilon=0.0), Adam(epsilon=0.0, lazy=True), Sgd(0.5)],
  ids=str,
)
@pytest.mark.parametrize("clip", [NoClip(), Clippy(), GradientClipping(), ZClip()], ids=str)
def test_no_gradient_makes_weights_none_though_nothing_is_added_to_a_root(
  clip: Any, direction: Any, gradient: float
) -> None:
  optimizer = ClippedOptimizer(direction, clip, 0.1)
  variable = tf.Variable([1.0, 2.0])
  for _ in range(3):
    optimizer.apply_gradients([(tf.constant([gradient, 0.0]), variable)])
  assert np.isfinite(variable.numpy()).all()
  assert variable.numpy()[1] == 2.0
  assert int(optimizer.iterations) == 3


def test_delayed_accumulation_that_would_divide_by_zero_is_refused() -> None:
  with pytest.raises(ValueError, match=r"divides by sqrt\(0\) in its first step; make"):
    Adagrad(0.0, 0.0, "after")


def batch_normalised() -> tf_keras.Model:
  tf_keras.utils.set_random_seed(1)
  layers = tf_keras.layers
  return tf_keras.Sequential(
    [layers.Dense(3, input_shape=(2,)), layers.BatchNormalization(), layers.Dense(1)]
  )


@pytest.mark.parametrize("kept", [False, True])
def test_a_batch_with_a_nan_spoils_statistics_unless_they_are_kept(kept: bool) -> None:
  model = batch_normalised()
  model.compile(ClippedOptimizer(Adagrad(), Clippy(), 0.1), "mse")
  x, y = np.random.default_rng(0).normal(size=(3, 8, 2)), np.ones((8, 1))
  if kept:
    assert keep_statistics(model) is model
  model.train_on_batch(x[0], y)
  before = [variable.numpy() for variable in model.variables]
  x[1, 0, 0] = np.nan
  model.train_on_batch(x[1], y)
  after = [variable.numpy() for variable in model.variables]
  assert int(model.optimizer.skipped_steps) == 1
  assert all(np.isfinite(value).all() for value in after) == kept
  if kept:
    for one, two in zip(before, after, strict=True):
      np.testing.assert_array_equal(one, two)
    model.train_on_batch(x[2], y)
    moved = [
      not np.array_equal(one, two.numpy()) for one, two in zip(after, model.variables, strict=True)
    ]
    assert all(moved)  # statistics too


def test_a_model_without_variables_has_no_statistics_to_keep() -> None:
  with pytest.raises(ValueError, match="the model has no variables yet; call it on a batch"):
    keep_statistics(tf_keras.Sequential([tf_keras.layers.Dense(1)]))


# Recipes of the page, on one replica and two, in float32 and float16


def trained(replicas: tf.distribute.Strategy, policy: str, bad: int, limit: int) -> dict[str, Any]:
  """What the recipes say of twelve batches, the last `bad` of which have a NaN in a feature."""
  tf_keras.mixed_precision.set_global_policy(policy)
  with replicas.scope():
    model = batch_normalised()
    model.compile(ClippedOptimizer(Adagrad(), Clippy(0.1, 1e-3), 0.1), "mse")
  keep_statistics(model)
  x, y = np.random.default_rng(0).normal(size=(96, 2)).astype(np.float32), np.ones((96, 1))
  if bad:
    x[-8 * bad :: 8] = np.nan
  stopped = ""
  try:
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[StopWhenSkipping(limit)])
  except RuntimeError as error:
    stopped = str(error)
  optimizer = unwrapped(model.optimizer)

  @tf.function
  def look() -> tf.Tensor:
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(model(x[:8]) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    pairs = optimizer.aggregate_gradients(zip(gradients, model.trainable_variables, strict=True))
    return [seen.factor for seen in observe(model.optimizer, pairs, {"gc": GradientClipping(0.1)})]

  factors = optimizer.clipping_factors(model.trainable_variables)
  observed = replicas.experimental_local_results(replicas.run(look))[0]
  tf_keras.mixed_precision.set_global_policy("float32")
  return {
    "stopped": stopped,
    "skipped": int(optimizer.skipped_steps.numpy()),
    "finite": all(np.isfinite(variable.numpy()).all() for variable in model.variables),
    "factors": [float(factor.numpy()) for factor in factors],
    "observed": [float(factor) for factor in observed],
  }


def outside_of_scopes(two: tf.distribute.Strategy) -> dict[str, str]:
  """What is said where model and optimizer, or the call, are in different scopes."""

  def said(call: Callable[[], Any]) -> str:
    try:
      call()
    except (ValueError, RuntimeError) as error:
      return f"{type(error).__name__}: {error}"
    return ""

  with two.scope():
    inside, of_inside = tf.Variable([1.0], name="inside"), plain()
  outside, of_outside = tf.Variable([1.0], name="outside"), plain()

  def step(optimizer: ClippedOptimizer, variable: tf.Variable) -> Callable[[], Any]:
    return lambda: optimizer.apply_gradients([(tf.constant([1.0]), variable)])

  with two.scope():
    in_scope = said(step(of_inside, inside))
  values = {
    "in the scope, in no replica": in_scope,
    "outside of the scope": said(step(of_inside, inside)),
    "optimizer inside, variable outside": said(step(of_inside, outside)),
    "variable inside, optimizer outside": said(step(of_outside, inside)),
    "variable outside, in a replica": said(lambda: two.run(step(plain(), outside))),
    "optimizer outside, in a replica": said(lambda: two.run(step(plain(), inside))),
  }
  copies = two.experimental_local_results(inside)
  return {**values, "moved": str([float(copy[0]) for copy in copies])}


def on_two_replicas() -> dict[str, Any]:
  """All that the tests below look at."""
  two = strategy.virtual_cpus(2)
  tf.get_logger().setLevel("ERROR")
  one = tf.distribute.get_strategy()
  return {
    **{
      f"{name} {policy} {bad}": trained(replicas, policy, bad, limit=3)
      for name, replicas in (("one", one), ("two", two))
      for policy, bad in (("float32", 0), ("float32", 8), ("mixed_float16", 0))
    },
    "one mixed_float16 8": trained(one, "mixed_float16", 8, limit=3),
    "scopes": outside_of_scopes(two),
  }


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
  """Of one process for all tests: TensorFlow takes seconds to start."""
  return in_fresh_process(on_two_replicas)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("replicas", ["one", "two"])
def test_the_recipes_say_nothing_of_a_healthy_run(
  results: dict[str, Any], replicas: str, policy: str
) -> None:
  seen = results[f"{replicas} {policy} 0"]
  assert seen["stopped"] == ""
  assert (seen["skipped"], seen["finite"]) == (0, True)
  assert 0 < min(seen["factors"]) < 1
  assert len(seen["factors"]) == len(seen["observed"]) == 6
  assert 0 < min(seen["observed"]) <= 1


@pytest.mark.parametrize("replicas", ["one", "two"])
def test_three_bad_steps_in_a_row_stop_a_run(results: dict[str, Any], replicas: str) -> None:
  seen = results[f"{replicas} float32 8"]
  assert seen["stopped"] == "3 steps in a row were not finite, the last in batch 6"
  assert (seen["skipped"], seen["finite"]) == (3, True)


def test_the_loss_scale_and_the_guard_leave_each_other_alone(results: dict[str, Any]) -> None:
  seen = results["one mixed_float16 8"]
  # It went down from 2¹⁵ with each bad step, and had not reached 1.
  assert (seen["stopped"], seen["skipped"], seen["finite"]) == ("", 0, True)


def test_a_call_from_another_scope_says_so(results: dict[str, Any]) -> None:
  in_run = "in a function given to strategy.run"
  said = results["scopes"]
  assert said["in the scope, in no replica"] == (
    f"RuntimeError: the optimizer was called outside of a replica; call it {in_run}"
  )
  for place in ("outside of the scope", "optimizer inside, variable outside"):
    assert said[place] == (
      "RuntimeError: the optimizer was made in the scope of a strategy and called outside of it; "
      f"call it {in_run}"
    )
  for place, name, home in (
    ("variable inside, optimizer outside", "inside", "_DefaultDistributionStrategy"),
    ("variable outside, in a replica", "outside", "MirroredStrategy"),
  ):
    assert said[place] == (
      f"ValueError: variable {name} was not created in the scope of the strategy {home} that the "
      "optimizer was called in; make and train the model with one strategy"
    )


def test_an_optimizer_that_was_made_outside_of_a_scope_trains_in_it_as_in_tf_keras(
  results: dict[str, Any],
) -> None:
  assert results["scopes"]["optimizer outside, in a replica"] == ""
  assert results["scopes"]["moved"] == "[0.75, 0.75]"  # two gradients of 1, at a rate of 1/8
