"""Adam whose gradients are freed of spikes and whose moments begin anew from time to time."""

import dataclasses
import math
from typing import ClassVar

import tensorflow as tf

from ranking.optimizers.directions import Adam, Direction, Slots
from ranking.optimizers.settings import ThresholdError


@dataclasses.dataclass(frozen=True)
class Spam(Direction):
  """SPAM (Huang et al. 2025, arXiv 2501.06842), with every weight's moments kept.

  A gradient with g² > spike_threshold · v is brought to sign(g) · sqrt(spike_threshold · v), before
  the moments see it. Every `reset_every` steps the moments are 0 again; the next
  `warmup_after_reset` steps are shorter, a share from 1 % to all along half a cosine, and spikes
  are looked for again `settling_steps` after. As in the authors' code, v is not corrected for its
  bias where spikes are judged, and the corrections in r do not begin anew. Unlike there, v = 0 is
  no history to judge by: such a weight would not move until the next reset.

  Its defaults are those of the paper. The rate is one of Adam.
  """

  beta_1: float = 0.9
  beta_2: float = 0.999
  epsilon: float = 1e-6
  spike_threshold: float = 5000.0
  reset_every: int = 500
  warmup_after_reset: int = 150
  settling_steps: int = 20
  keeps_finite: ClassVar[bool] = True

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.reset_every < 1:
      raise ThresholdError(f"Spam.reset_every is {self.reset_every}; make it 1 or more")

  @property
  def is_row_wise(self) -> bool:
    """A row without gradient goes on moving by its first moment."""
    return False

  def initial_slots(self) -> dict[str, float]:
    """The two moments."""
    return self._adam.initial_slots()

  def __call__(
    self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
  ) -> tuple[tf.Tensor, Slots]:
    """See `Direction`."""
    since = tf.math.floormod(step, tf.constant(self.reset_every, step.dtype))
    kept = tf.cast(since > 0, gradient.dtype)
    slots = {name: kept * slot for name, slot in slots.items()}
    second = slots["second_moment"]
    looks = (step >= self.settling_steps) & (since >= self.settling_steps)
    is_spike = looks & (second > 0) & (tf.square(gradient) > self.spike_threshold * second)
    near = tf.sign(gradient) * tf.sqrt(self.spike_threshold * second)
    direction, slots = self._adam(tf.where(is_spike, near, gradient), slots, weights, step)
    return tf.cast(self._share(step, since), gradient.dtype) * direction, slots

  @property
  def _adam(self) -> Adam:
    return Adam(self.beta_1, self.beta_2, self.epsilon)

  def _share(self, step: tf.Tensor, since: tf.Tensor) -> tf.Tensor:
    """Of the step, in its dtype; 1 before the first reset."""
    length = self.warmup_after_reset
    missing = 0.99 * (1 + tf.cos(math.pi * (since + 1) / (length + 1))) / 2
    is_full = (step < self.reset_every) | (since >= length)
    return tf.where(is_full, tf.ones_like(step), 1 - missing)
