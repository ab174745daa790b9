"""Muon against singular value decompositions in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from ranking.array import Array
from ranking.optimizers import Adam, ClippedOptimizer, NoClip, Rule
from ranking.optimizers.muon import Muon
from ranking.optimizers.settings import ThresholdError

RANDOM = np.random.default_rng(0)


def direction_of(gradients: list[Array], muon: Muon) -> Array:
  """The last r, in float64."""
  slots = {"average": tf.zeros(gradients[0].shape, tf.float64)}
  weights = tf.zeros(gradients[0].shape, tf.float64)
  for gradient in gradients:
    made, slots = muon(tf.constant(gradient), slots, weights, tf.constant(1.0, tf.float64))
  return np.asarray(made)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 5, 7), (16, 16)], ids=str)
def test_singular_vectors_stay_and_singular_values_become_about_one(shape: tuple[int, ...]) -> None:
  gradient = RANDOM.normal(size=shape)
  matrix = gradient.reshape(-1, shape[-1])
  left, values, right = np.linalg.svd(matrix, full_matrices=False)
  a, b, c = 3.4445, -4.7750, 2.0315
  values = values / np.linalg.norm(values)
  for _ in range(5):
    values = a * values + b * values**3 + c * values**5
  wanted = np.sqrt(max(1, matrix.shape[1] / matrix.shape[0])) * (left * values) @ right
  made = direction_of([gradient], Muon())
  np.testing.assert_allclose(made.reshape(matrix.shape), wanted, rtol=1e-8, atol=1e-8)
  assert 0.4 < values.min() < values.max() < 1.3


def test_the_average_of_gradients_is_looked_ahead_of() -> None:
  first, second = RANDOM.normal(size=(2, 5, 3))
  average = 0.1 * first * 0.9 + 0.1 * second
  ahead = 0.1 * second + 0.9 * average
  np.testing.assert_allclose(
    direction_of([first, second], Muon(0.9)), direction_of([ahead], Muon(0.0)), rtol=1e-8
  )


def test_no_gradient_moves_nothing() -> None:
  np.testing.assert_array_equal(direction_of([np.zeros((4, 3))], Muon()), np.zeros((4, 3)))


def test_by_a_rule_it_moves_kernels_and_a_vector_alone_is_refused() -> None:
  kernel, bias = tf.Variable(tf.zeros([4, 3]), name="kernel"), tf.Variable(tf.zeros(3), name="bias")
  pairs = [(tf.constant(RANDOM.normal(size=v.shape), tf.float32), v) for v in (kernel, bias)]
  rule = Rule("kernel", direction=Muon(), rate=0.5)
  ClippedOptimizer(Adam(), NoClip(), 0.25, rules=[rule]).apply_gradients(pairs)
  values = np.linalg.svd(kernel.numpy(), compute_uv=False)
  assert 0.5 < values.min() / 0.125 < values.max() / 0.125 < 1.3
  np.testing.assert_allclose(np.abs(bias.numpy()), 0.25, rtol=1e-4)
  with pytest.raises(ThresholdError, match="Muon is for matrices, and a variable has the shape"):
    ClippedOptimizer(Muon(), NoClip(), 0.1).apply_gradients(pairs)
