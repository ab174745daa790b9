"""SPAM against its formula in NumPy, a loop over steps."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ranking.array import Array
from ranking.optimizers import Adam, ClippedOptimizer, NoClip
from ranking.optimizers.directions import Direction
from ranking.optimizers.settings import ThresholdError
from ranking.optimizers.spam import Spam

RATE = 0.25


def steps_of(direction: Direction, gradients: Array) -> Array:
  """The weights after every step, from zeros, in float64."""
  weight = tf.Variable(np.zeros(gradients.shape[1]), dtype=tf.float64)
  optimizer = ClippedOptimizer(direction, NoClip(), RATE, exclude="")
  optimizer.build([weight])

  @tf.function
  def step(gradient: tf.Tensor) -> None:
    optimizer.apply_gradients([(gradient, weight)])

  after = []
  for gradient in gradients:
    step(tf.constant(gradient))
    after.append(weight.numpy())
  return np.stack(after)


def twin(spam: Spam, gradients: Array) -> Array:
  w, m, v = np.zeros((3, gradients.shape[1]))
  after = []
  for number, gradient in enumerate(gradients, start=1):
    g = gradient.copy()
    since = number % spam.reset_every
    if since == 0:
      m, v = 0 * m, 0 * v
    if number >= spam.settling_steps and since >= spam.settling_steps:
      for k in range(len(g)):
        if v[k] > 0 and g[k] ** 2 > spam.spike_threshold * v[k]:
          g[k] = math.copysign(math.sqrt(spam.spike_threshold * v[k]), g[k])
    m = spam.beta_1 * m + (1 - spam.beta_1) * g
    v = spam.beta_2 * v + (1 - spam.beta_2) * g**2
    share = 1.0
    if number >= spam.reset_every and since < spam.warmup_after_reset:
      angle = math.pi * (since + 1) / (spam.warmup_after_reset + 1)
      share = 1 - 0.99 * (1 + math.cos(angle)) / 2
    correction = math.sqrt(1 - spam.beta_2**number) / (1 - spam.beta_1**number)
    w = w - RATE * share * correction * m / (np.sqrt(v) + spam.epsilon)
    after.append(w)
  return np.stack(after)


def test_over_resets_and_spikes_the_steps_are_those_of_numpy() -> None:
  gradients = np.random.default_rng(0).normal(size=(60, 3))
  gradients[[13, 15, 37], [0, 1, 2]] *= 1e4
  gradients[:, 2] *= np.arange(60) > 35  # its first gradients are no spikes
  spam = Spam(spike_threshold=20.0, reset_every=25, warmup_after_reset=6, settling_steps=4)
  np.testing.assert_allclose(steps_of(spam, gradients), twin(spam, gradients), rtol=1e-9)


def test_without_spikes_and_before_the_first_reset_it_is_adam() -> None:
  gradients = np.random.default_rng(1).normal(size=(40, 3))
  np.testing.assert_array_equal(
    steps_of(Spam(), gradients), steps_of(Adam(epsilon=1e-6), gradients)
  )


def test_a_spike_leaves_less_behind_than_in_adam() -> None:
  gradients = np.ones((60, 1))
  gradients[30] = 1e6
  adam, spam = (
    np.abs(np.diff(steps_of(each, gradients)[31:, 0])).mean()
    for each in (Adam(epsilon=1e-6), Spam(spike_threshold=100.0))
  )
  assert 2 * adam < spam


def test_a_reset_after_no_step_is_refused() -> None:
  with pytest.raises(ThresholdError, match="reset_every is 0; make it 1 or more"):
    Spam(reset_every=0)
