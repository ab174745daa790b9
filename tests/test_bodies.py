"""A body is made of blocks in any order."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking.models.bodies import Block
from ranking.models.bodies.cross import CrossLayers
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.layer_norm import LayerNorm
from ranking.models.bodies.low_rank_cross import LowRankCrossLayers
from ranking.models.bodies.parallel import Parallel
from ranking.models.bodies.residual_cross import ResidualCrossLayers
from ranking.models.bodies.rms_norm import RmsNorm
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.bodies.wukong import Wukong
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.settings import ModelError
from tests.toy_model import schema

X0 = np.random.default_rng(0).normal(size=(6, 4))


def test_the_tower_of_every_task_sees_what_the_last_block_makes() -> None:
  body = SharedBottom([DenseLayers([3])]).build(["click", "like"], 4, 1.0)
  click, like = body(tf.constant(X0, tf.float32))
  kernel, bias = (variable.numpy() for variable in body.trainable_variables)
  np.testing.assert_allclose(click, np.maximum(X0 @ kernel + bias, 0), rtol=1e-5, atol=1e-6)
  np.testing.assert_array_equal(like, click)


def test_without_blocks_the_towers_see_the_inputs() -> None:
  (seen,) = SharedBottom([]).build(["click"], 4, 1.0)(tf.constant(X0))
  np.testing.assert_array_equal(seen, X0)


def test_cross_layers_behind_other_layers_cross_what_these_make() -> None:
  body = SharedBottom([DenseLayers([8]), CrossLayers(1)]).build(["click"], 4, 1.0)
  body(tf.constant(X0, tf.float32))
  kernel, bias, crossing, shift = body.trainable_variables
  shift.assign(tf.ones_like(shift))
  (seen,) = body(tf.constant(X0, tf.float32))
  x = np.maximum(X0 @ kernel.numpy() + bias.numpy(), 0)
  np.testing.assert_allclose(seen, x * (x @ crossing.numpy() + 1.0) + x, rtol=1e-5, atol=1e-6)


def test_layer_norm_needs_no_cross_layers() -> None:
  (seen,) = SharedBottom([LayerNorm()]).build(["click"], 4, 1.0)(tf.constant(X0, tf.float32))
  centred = X0 - X0.mean(axis=1, keepdims=True)
  np.testing.assert_allclose(seen, centred / np.sqrt(X0.var(axis=1) + 1e-3)[:, None], rtol=1e-4)


def test_the_variables_of_two_blocks_alike_have_names_of_their_own() -> None:
  body = SharedBottom([DenseLayers([8]), CrossLayers(1), DenseLayers([6, 2])])
  made = body.build(["click"], 4, 0.5)
  (seen,) = made(tf.constant(X0, tf.float32))
  assert seen.shape == (6, 1)
  kernels = [v.name for v in made.trainable_variables if "hidden" in v.name and "kernel" in v.name]
  assert kernels == [
    "hidden_1/kernel:0",
    "block_3/hidden_1/kernel:0",
    "block_3/hidden_2/kernel:0",
  ]


@dataclasses.dataclass(frozen=True)
class Careless(Block):
  """Names its layer as DenseLayers does."""

  def build(self, width: int, width_scale: float) -> tf_keras.layers.Layer:
    return tf_keras.layers.Dense(width, name="hidden_1")


def test_two_variables_of_one_name_are_refused_before_a_step_is_made() -> None:
  model = Model(SharedBottom([DenseLayers([8]), Careless()]), Inputs(20))
  with pytest.raises(ModelError, match="2 variables are called hidden_1/kernel; give each layer a"):
    model.build(schema())


BLOCKS = [
  DenseLayers([8], RmsNorm(), 6.0),
  ResidualCrossLayers(1),
  LowRankCrossLayers(1, 2),
  Parallel([CrossLayers(1), DenseLayers([8], LayerNorm())]),
  Wukong(1, 4, 2, 2, DenseLayers([8])),
]


def test_in_mixed_bfloat16_every_block_computes_in_16_bits_with_weights_of_32() -> None:
  tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
  try:
    layers = Parallel(BLOCKS).build(4, 1.0)
    seen = layers(tf.constant(X0, tf.bfloat16))
  finally:
    tf_keras.mixed_precision.set_global_policy("float32")
  assert seen.dtype == tf.bfloat16
  assert np.isfinite(tf.cast(seen, tf.float32)).all()
  assert {variable.dtype for variable in layers.trainable_variables} == {tf.float32}


def test_every_block_compiles_for_another_device_forward_and_backward() -> None:
  layers = SharedBottom([Parallel(BLOCKS)]).build(["click"], 4, 1.0)
  x0 = tf.constant(X0, tf.float32)
  layers(x0)

  def slopes() -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
      (seen,) = layers(x0)
      total = tf.reduce_sum(tf.square(seen))
    return tape.gradient(total, layers.trainable_variables)

  for compiled, plain in zip(tf.function(slopes, jit_compile=True)(), slopes(), strict=True):
    np.testing.assert_allclose(compiled, plain, rtol=1e-3, atol=1e-4)
