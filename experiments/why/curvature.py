"""Curvature where a run is: along a step, and the steepest of all for its preconditioner.

With the step u = η·r, a quadratic with curvature H changes by −⟨g, u⟩ + ½·uᵀHu; the step overshoots
its minimum where uᵀHu / ⟨g, u⟩ > 1 and raises the loss where it is > 2. Gradient descent with the
preconditioner D = sqrt(G) is stable on a quadratic while η·λ_max(D^-½ H D^-½) < 2 (Wu et al. 2018;
for adaptive methods Cohen et al. 2022).
"""

import numpy as np

from experiments.why.landscape import Batch, Landscape
from ranking.array import Array

REACH = 1e-2  # 2-norm of the displacement for finite differences


def product(landscape: Landscape, weights: Array, batch: Batch, vector: Array) -> Array:
  """H·vector, by central differences of gradients; float32 [weights]."""
  length = float(np.linalg.norm(vector))
  if length == 0.0:
    return np.zeros_like(vector)
  moved = np.float32(REACH / length) * vector
  ahead, behind = (landscape.seen(weights + sign * moved, batch).gradient for sign in (1, -1))
  return (ahead - behind) * np.float32(length / (2 * REACH))


def along(
  landscape: Landscape, weights: Array, batch: Batch, gradient: Array, move: Array
) -> float:
  """uᵀHu / ⟨g, u⟩ of a step u on the batch that it is made of; above 2 the loss rises."""
  bent = float(np.dot(move, product(landscape, weights, batch, move)))
  slope = float(np.dot(gradient, move))
  return bent / slope if slope else 0.0


def sharpness(
  landscape: Landscape, weights: Array, batch: Batch, sums: Array, start: Array, rounds: int
) -> tuple[float, Array]:
  """λ of the largest size of D^-½ H D^-½, by power iteration, and its vector of length 1.

  Args:
    landscape, weights, batch: where H is taken.
    sums: the accumulator; D is its root.
    start: where the iteration begins, not 0: such as the vector found a step before.
    rounds: how many products with H are taken.
  """
  scale = np.power(sums, np.float32(-0.25))
  vector, value = start / np.linalg.norm(start), 0.0
  for _ in range(rounds):
    image = scale * product(landscape, weights, batch, scale * vector)
    value = float(np.dot(vector, image))
    vector = image / np.linalg.norm(image)
  return value, vector
