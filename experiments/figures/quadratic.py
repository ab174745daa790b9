"""Steps of an optimizer on a quadratic, where stability has a closed form (paper, Figure 3).

The loss is ½ Σ λᵢ xᵢ². Gradient descent multiplies coordinate i by 1 − η λᵢ in every step, so it
diverges as soon as η > 2 / max λ, however small the other eigenvalues are.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ranking.array import Array
from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy, NoClip, Sgd

EIGENVALUES = (20.0, 1.0)
LIMIT = 2.0 / max(EIGENVALUES)
START = (0.5, 2.0)
STEPS = 20


def descend(
  optimizer: ClippedOptimizer,
  start: npt.ArrayLike = START,
  steps: int = STEPS,
  eigenvalues: Sequence[float] = EIGENVALUES,
) -> Array:
  """The positions that an optimizer visits, float64 [1 + steps, n]; the first is the start."""
  position = tf.Variable(start, dtype=tf.float64)
  visited = [position.numpy()]
  for _ in range(steps):
    gradient = tf.constant(eigenvalues, tf.float64) * position
    optimizer.apply_gradients([(gradient, position)])
    visited.append(position.numpy())
  return np.stack(visited)


def loss(positions: npt.ArrayLike, eigenvalues: Sequence[float] = EIGENVALUES) -> Array:
  """½ Σ λᵢ xᵢ² over the last axis."""
  return np.square(np.asarray(positions)) @ np.asarray(eigenvalues) / 2


def descents() -> dict[str, dict[str, Array]]:
  """Positions of Figure 3: gradient descent around 2/20; Adagrad and Clippy at 30 times that."""
  around = [times * LIMIT for times in (0.9, 1.0, 1.1)]
  far = 30 * LIMIT
  return {
    "gradient descent": {
      f"η = {rate:.2f}": descend(ClippedOptimizer(Sgd(), NoClip(), rate)) for rate in around
    },
    f"η = {far:.2f}": {
      "Adagrad": descend(ClippedOptimizer(Adagrad(), NoClip(), far)),
      "Clippy": descend(ClippedOptimizer(Adagrad(), Clippy(), far)),
    },
  }
