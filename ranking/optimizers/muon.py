"""A direction whose singular values are all about 1."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from ranking.optimizers.directions import Direction, Slots
from ranking.optimizers.settings import ThresholdError

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the authors' quintic, steep at 0
ITERATIONS = 5


@dataclasses.dataclass(frozen=True)
class Muon(Direction):
  """The average of gradients, a matrix, with singular values of about 1 (Jordan et al. 2024).

  r = √max(1, n/m) · NewtonSchulz(g + momentum · (M − g)) for a kernel [..., n] as a matrix [m, n],
  with M ← M + (1 − momentum) · (g − M). Five steps of the authors' iteration leave singular values
  between 0.7 and 1.2. For hidden layers: give tables, vectors and output layers another direction
  by rules, as its authors do. Raises ThresholdError for a vector.
  """

  momentum: float = 0.95
  keeps_finite: ClassVar[bool] = True

  @property
  def is_row_wise(self) -> bool:
    """All rows of a matrix move together."""
    return False

  def initial_slots(self) -> dict[str, float]:
    """The average M."""
    return {"average": 0.0}

  def __call__(
    self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
  ) -> tuple[tf.Tensor, Slots]:
    """See `Direction`."""
    del step
    if weights.shape.rank < 2:
      raise ThresholdError(
        f"Muon is for matrices, and a variable has the shape {tuple(weights.shape)}; give it "
        'another direction, as by direction=Adam(), rules=[Rule("kernel", direction=Muon())]'
      )
    average = slots["average"] + (1 - self.momentum) * (gradient - slots["average"])
    ahead = gradient + self.momentum * (average - gradient)
    matrix = tf.reshape(ahead, [-1, weights.shape[-1]])
    rows, columns = matrix.shape
    scale = max(1.0, columns / rows) ** 0.5
    return scale * tf.reshape(_newton_schulz(matrix), tf.shape(weights)), {"average": average}


def _newton_schulz(matrix: tf.Tensor) -> tf.Tensor:
  """The matrix [m, n] with singular values of about 1; 0 of one that is 0."""
  is_tall = matrix.shape[0] > matrix.shape[1]
  x = tf.transpose(matrix) if is_tall else matrix
  x = tf.math.divide_no_nan(x, tf.norm(x))
  a, b, c = COEFFICIENTS
  for _ in range(ITERATIONS):
    square = tf.matmul(x, x, transpose_b=True)
    x = a * x + tf.matmul(b * square + c * tf.matmul(square, square), x)
  return tf.transpose(x) if is_tall else x
