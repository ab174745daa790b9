"""Residual cross layers see a normalised x, so what they add does not depend on its size."""

import numpy as np
import pytest
import tensorflow as tf

from ranking.array import Array
from ranking.models.bodies.cross import CrossLayers
from ranking.models.bodies.residual_cross import ResidualCrossLayers
from ranking.models.bodies.rms_norm import RmsNorm, RmsNormalization
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.settings import ModelError
from tests.body_twin import WIDTH, Weights, build, compare_block, of_size_one


def twin(weights: Weights, x0: Array) -> Array:
  x = x0
  for layer in ("cross_1", "cross_2"):
    seen = of_size_one(x) * weights[f"{layer}/rms_norm/gamma"]
    x = x + x0 * (seen @ weights[f"{layer}/product/kernel"] + weights[f"{layer}/product/bias"])
  return x


def test_what_they_make_and_its_gradients_equal_the_formula() -> None:
  compare_block(ResidualCrossLayers(2), twin)


def test_rms_norm_and_its_gradients_equal_the_formula() -> None:
  compare_block(RmsNorm(), lambda weights, x: of_size_one(x) * weights["rms_norm/gamma"])


def test_large_weights_make_it_large_once_and_not_to_the_power_of_the_layers() -> None:
  sizes = []
  for block in (ResidualCrossLayers(4), CrossLayers(4)):
    layers, variables = build(SharedBottom([block]))
    x = tf.random.stateless_normal([8, WIDTH], [0, 1])
    before = tf.norm(layers(x)[0])
    for name, variable in variables.items():
      if name.endswith("kernel"):
        variable.assign(1000 * variable)
    sizes.append(float(tf.norm(layers(x)[0]) / before))
  residual, plain = sizes
  assert residual < 2000
  assert plain > 1e9


def test_in_half_precision_squares_do_not_overflow() -> None:
  layer = RmsNormalization(dtype="mixed_float16")
  made = layer(tf.fill([1, WIDTH], 300.0))  # whose square float16 does not hold
  assert made.dtype == tf.float16
  np.testing.assert_allclose(made, np.ones([1, WIDTH]), rtol=1e-3)


def test_no_layers_are_refused() -> None:
  said = r"ResidualCrossLayers\.num_cross_layers is 0; make it a whole number of 1 to 1,000"
  with pytest.raises(ModelError, match=said):
    ResidualCrossLayers(0)
