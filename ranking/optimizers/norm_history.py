"""Clips that judge the length of a gradient by those of earlier steps.

A step in which a variable has no gradient, or one of next to nothing, tells nothing of its lengths:
it may be frozen, or its task may have no weight yet. Such steps are neither remembered nor counted,
so that a warm-up is of the steps in which the variable (with scope="global", any of them) was to
move. What is next to nothing is each clip's `epsilon`.
"""

import dataclasses
from typing import ClassVar, Literal

import tensorflow as tf

from ranking.optimizers import reductions
from ranking.optimizers.clipping import Clip, Measures, Memory, at_most_one
from ranking.optimizers.settings import LATER, ThresholdError


@dataclasses.dataclass(frozen=True)
class _NormHistory(Clip):
  """What both measure: ‖g‖₂²."""

  acts_on: ClassVar[Literal["gradient", "direction"]] = "gradient"

  def measure(
    self, weights: tf.Tensor, tensor: tf.Tensor, rate: tf.Tensor, of_rows: bool = False
  ) -> Measures:
    """‖g‖₂²."""
    del weights, rate, of_rows
    return {"gradient": reductions.total(tf.square(tensor))}


@dataclasses.dataclass(frozen=True)
class AdaGC(_NormHistory):
  """σ = min(1, relative_threshold · γ / ‖g‖₂), γ an average of clipped norms (arXiv 2502.11034).

  γ ← decay · γ + (1 − decay) · σ‖g‖₂ for each variable. In its first `warmup_steps` the gradient of
  all variables together is clipped to `absolute_threshold` and γ is the smallest norm so far.
  Defaults are those of the authors' code. Unlike there, a clipped norm of `epsilon` or less is none
  to remember: it would keep the variable still for good.
  """

  relative_threshold: float = 1.04
  absolute_threshold: float = 1.0
  decay: float = 0.99
  warmup_steps: int = 100
  epsilon: float = dataclasses.field(default=1e-6, metadata=LATER)

  def initial_memory(self) -> dict[str, float]:
    """γ, and how many norms it is of."""
    return {"average_norm": 0.0, "norms_seen": 0.0}

  def factor_and_memory(
    self, own: Measures, everywhere: Measures, memory: Memory, step: tf.Tensor
  ) -> tuple[tf.Tensor, Memory]:
    """σ in [0, 1], γ and its count."""
    del step
    norm, average = tf.sqrt(own["gradient"]), memory["average_norm"]
    warm = memory["norms_seen"] >= self.warmup_steps
    known = tf.where(average > 0.0, average, norm)
    factor = tf.where(
      warm,
      at_most_one(self.relative_threshold * known, norm),
      at_most_one(self.absolute_threshold, tf.sqrt(everywhere["gradient"])),
    )
    clipped = factor * norm
    smallest = tf.where(average > 0.0, tf.minimum(average, clipped), clipped)
    mean = self.decay * known + (1.0 - self.decay) * clipped
    latest = {"average_norm": tf.where(warm, mean, smallest)}
    return factor, _unless(clipped <= self.epsilon, memory, latest)


@dataclasses.dataclass(frozen=True)
class ZClip(_NormHistory):
  """A norm more than `threshold` deviations above its mean is brought near it (arXiv 2504.02507).

  With z = (‖g‖₂ − mean) / deviation > threshold, σ‖g‖₂ = mean + threshold² / z · deviation. Mean
  and variance are averages with weight `decay` on the past, of clipped norms; over the first
  `warmup_steps`, which are not clipped, plain ones. The authors judge the norm of all variables
  together (scope="global"), and also cap it at a constant, which GradientClipping does. Unlike
  there, a norm of `epsilon` or less, which is added to deviations, is none to remember.
  """

  threshold: float = 2.5
  decay: float = 0.97
  warmup_steps: int = 25
  epsilon: float = 1e-6

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.warmup_steps < 1:
      raise ThresholdError(
        f"ZClip.warmup_steps is {self.warmup_steps}; make it 1 or more: without a mean of norms to "
        "judge by, every norm is an outlier"
      )

  def initial_memory(self) -> dict[str, float]:
    """Mean and variance of the norm, and how many norms they are of."""
    return {"mean_norm": 0.0, "variance_of_norm": 0.0, "norms_seen": 0.0}

  def factor_and_memory(
    self, own: Measures, everywhere: Measures, memory: Memory, step: tf.Tensor
  ) -> tuple[tf.Tensor, Memory]:
    """σ in [0, 1], mean, variance and their count."""
    del everywhere, step
    norm, number = tf.sqrt(own["gradient"]), memory["norms_seen"] + 1.0
    mean, variance = memory["mean_norm"], memory["variance_of_norm"]
    warm = number > self.warmup_steps
    deviation = tf.sqrt(variance)
    score = (norm - mean) / (deviation + self.epsilon)
    high = warm & (score > self.threshold)
    safe = tf.where(high, score, tf.ones_like(score))
    clipped = tf.where(high, mean + self.threshold**2 / safe * deviation, norm)
    weight = tf.where(warm, tf.constant(1.0 - self.decay, norm.dtype), 1.0 / number)
    new_mean = mean + weight * (clipped - mean)
    # The authors take the new mean; over the first steps that is not yet the variance.
    squares = tf.where(warm, clipped - new_mean, clipped - mean) * (clipped - new_mean)
    new_variance = variance + weight * (squares - variance)
    latest = {"mean_norm": new_mean, "variance_of_norm": new_variance}
    return at_most_one(clipped, norm), _unless(norm <= self.epsilon, memory, latest)


def _unless(nothing: tf.Tensor, memory: Memory, latest: Memory) -> Memory:
  """The latest memory and a count of one more, or all as it was."""
  latest = {**latest, "norms_seen": memory["norms_seen"] + 1.0}
  return {name: tf.where(nothing, memory[name], value) for name, value in latest.items()}
