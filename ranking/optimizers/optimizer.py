"""The one optimizer: w ← w − η·σ·r, with a direction r and a clipping factor σ (equation 5)."""

import dataclasses
import re
from typing import Any, Literal, get_args

import tensorflow as tf
import tf_keras

from ranking.optimizers.clipping import Clip, NoClip
from ranking.optimizers.directions import Direction

# A variable this large is updated by one compiled (XLA) function, which reads it fewer times.
# Compiling takes some 50 ms a variable, more than a short run on smaller ones gives back.
FUSED_FROM = 1 << 20


@tf_keras.saving.register_keras_serializable("ranking")
class ClippedOptimizer(tf_keras.optimizers.Optimizer):
  """A tf_keras optimizer made of a direction and a clip.

  Args:
    direction: keeps the slots and makes r of the gradient.
    clip: makes σ, for each variable on its own (4.3.2).
    learning_rate: η, a float or a tf_keras schedule.
    accumulate: what the direction's slots see when the clip acts on gradients: the "clipped"
      gradient as in the methods' own papers, or the "original" one as in 4.3.1.
    exclude: variables whose name this pattern finds get the direction alone, σ = 1 (5.1.3).
  """

  def __init__(
    self,
    direction: Direction,
    clip: Clip,
    learning_rate: float | tf_keras.optimizers.schedules.LearningRateSchedule = 0.1,
    accumulate: Literal["clipped", "original"] = "clipped",
    exclude: str = "embedding",
    name: str = "ClippedOptimizer",
    **kwargs: Any,
  ):
    if accumulate not in ("clipped", "original"):
      raise ValueError(f'accumulate is {accumulate!r}; make it "clipped" or "original"')
    super().__init__(name=name, **({"weight_decay": None} | kwargs))
    self._learning_rate = self._build_learning_rate(learning_rate)
    self.direction = direction
    self.clip = clip
    self.accumulate = accumulate
    self.exclude = exclude
    self._fused = self._no_dependency({})

  def build(self, var_list: list[tf.Variable]) -> None:
    """Creates the slots, and per variable the smallest clipping factor of the last step."""
    super().build(var_list)
    if getattr(self, "_built", False):
      return
    self._slots = [
      {
        slot: self.add_variable_from_reference(
          variable, slot, initial_value=tf.constant(value, variable.dtype, variable.shape)
        )
        for slot, value in self.direction.initial_slots().items()
      }
      for variable in var_list
    ]
    self._factors = [
      self.add_variable_from_reference(
        variable, "clipping_factor", initial_value=tf.ones([], variable.dtype)
      )
      for variable in var_list
    ]
    self._built = True

  def is_clipped(self, variable: tf.Variable) -> bool:
    """Whether the clip applies to a variable, or the direction alone."""
    return re.search(self.exclude, variable.name) is None

  def clipping_factors(self) -> list[tf.Variable]:
    """Scalars, in the order of the built variables: the smallest σ of the last step."""
    return self._factors

  def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
    """Updates one variable and its slots."""
    index = self._index_dict[self._var_key(variable)]
    slots, clip = self._slots[index], self.clip if self.is_clipped(variable) else NoClip()
    rate = tf.cast(self.learning_rate, variable.dtype)
    if isinstance(gradient, tf.IndexedSlices):
      factor = self._update_rows(gradient, variable, slots, clip, rate)
    elif variable.shape.num_elements() < FUSED_FROM:
      factor = self._update_whole(gradient, variable, slots, clip, rate)
    else:
      if variable.ref() not in self._fused:  # kept, so that eager steps compile once as well
        self._fused[variable.ref()] = tf.function(
          lambda g, eta: self._update_whole(g, variable, slots, clip, eta), jit_compile=True
        )
      factor = self._fused[variable.ref()](gradient, rate)
    self._factors[index].assign(factor)

  def _update_whole(
    self,
    gradient: tf.Tensor,
    variable: tf.Variable,
    slots: dict[str, tf.Variable],
    clip: Clip,
    rate: tf.Tensor,
  ) -> tf.Tensor:
    """Updates every entry of a variable and its slots; returns the smallest σ."""
    update, new_slots, factor = self._update(gradient, variable, dict(slots), clip, rate)
    for slot, value in new_slots.items():
      slots[slot].assign(value)
    variable.assign_sub(update)
    return tf.reduce_min(factor)

  def _update_rows(
    self,
    gradient: tf.IndexedSlices,
    variable: tf.Variable,
    slots: dict[str, tf.Variable],
    clip: Clip,
    rate: tf.Tensor,
  ) -> tf.Tensor:
    """As `_update_whole`, touching only the rows in the gradient, each given once by tf_keras."""
    rows = gradient.indices
    update, new_slots, factor = self._update(
      gradient.values,
      tf.gather(variable, rows),
      {slot: tf.gather(value, rows) for slot, value in slots.items()},
      clip,
      rate,
    )
    for slot, value in new_slots.items():
      slots[slot].scatter_update(tf.IndexedSlices(value, rows))
    variable.scatter_sub(tf.IndexedSlices(update, rows))
    return tf.reduce_min(factor)

  def _update(
    self,
    gradient: tf.Tensor,
    weights: tf.Tensor,
    slots: dict[str, tf.Tensor],
    clip: Clip,
    rate: tf.Tensor,
  ) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor]:
    """(what to subtract from the weights, new slots, σ)."""
    if clip.acts_on == "direction":
      direction, new_slots = self.direction(gradient, slots)
      factor = clip.factor(weights, direction, rate)
      return rate * factor * direction, new_slots, factor
    factor = clip.factor(weights, gradient, rate)
    if self.accumulate == "clipped":
      direction, new_slots = self.direction(factor * gradient, slots)
      return rate * direction, new_slots, factor
    direction, new_slots = self.direction(gradient, slots)
    return rate * factor * direction, new_slots, factor

  def get_config(self) -> dict[str, Any]:
    """Every argument of the constructor, as plain values."""
    return {
      **super().get_config(),
      "direction": {type(self.direction).__name__: dataclasses.asdict(self.direction)},
      "clip": {type(self.clip).__name__: dataclasses.asdict(self.clip)},
      "learning_rate": self._serialize_hyperparameter(self._learning_rate),
      "accumulate": self.accumulate,
      "exclude": self.exclude,
    }

  @classmethod
  def from_config(
    cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
  ) -> "ClippedOptimizer":
    """The inverse of `get_config`."""
    parts = {kind.__name__: kind for kind in (*get_args(Direction), *get_args(Clip))}
    made = {
      part: parts[name](**arguments)
      for part in ("direction", "clip")
      for name, arguments in config[part].items()
    }
    return super().from_config({**config, **made}, custom_objects)
