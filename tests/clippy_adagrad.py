"""Our optimizer under the names of the authors' release, tensorflow-recommenders' ClippyAdagrad."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy


def shrink_by_references(
  tensor: Any, references: Sequence[Any], relative_factors: Sequence[float], absolute_factor: float
) -> tuple[tf.Tensor, tf.Tensor]:
  """A tensor brought below its limits by one factor, and the factor; of two references at most."""
  tensor = tf.convert_to_tensor(tensor)
  one, two = (*(abs(tf.convert_to_tensor(r)) for r in references), 0.0 * tensor, 0.0 * tensor)[:2]
  relative, of_second = (*relative_factors, 0.0, 0.0)[:2]
  clip = Clippy(relative, absolute_factor, of_second)
  factor = clip.factor(clip.measure_beside(two, one, tensor, tf.ones([], tensor.dtype)))
  return factor * tensor, factor


class ClippyAdagrad:
  """The settings of the release as ours."""

  def __init__(
    self,
    learning_rate: float = 0.001,
    initial_accumulator_value: float = 0.1,
    variable_relative_threshold: float = 0.1,
    accumulator_relative_threshold: float = 0.0,
    absolute_threshold: float = 1e-7,
    epsilon: float = 1e-7,
    export_clipping_factors: bool = False,
    clip_accumulator_update: bool = False,
    use_standard_accumulator_update: bool = False,
  ):
    self.initial_accumulator_value = initial_accumulator_value
    self.variable_relative_threshold = variable_relative_threshold
    self.accumulator_relative_threshold = accumulator_relative_threshold
    self.absolute_threshold, self.epsilon = absolute_threshold, epsilon
    self.export_clipping_factors = export_clipping_factors
    when: Any = "before" if use_standard_accumulator_update else "after"
    self.ours = ClippedOptimizer(
      Adagrad(initial_accumulator_value, epsilon, when),
      Clippy(variable_relative_threshold, absolute_threshold, accumulator_relative_threshold),
      learning_rate,
      "clipped" if clip_accumulator_update else "original",
      exclude="",
    )
    self._variables: list[tf.Variable] = []

  def apply_gradients(self, pairs: Sequence[tuple[Any, tf.Variable]]) -> None:
    self._variables = [variable for _, variable in pairs]
    self.ours.apply_gradients(pairs)

  @property
  def learning_rate(self) -> float:
    return float(self.ours.learning_rate)

  @property
  def clipping_factors(self) -> list[tf.Variable]:
    return self.ours.clipping_factors(self._variables)

  @property
  def _accumulators(self) -> list[tf.Variable]:
    return [self.ours.state_of(variable)["accumulator"] for variable in self._variables]

  def get_config(self) -> dict[str, Any]:
    return {"optimizer": self.ours.get_config(), "export": self.export_clipping_factors}

  @classmethod
  def from_config(cls, config: dict[str, Any]) -> "ClippyAdagrad":
    ours = ClippedOptimizer.from_config(config["optimizer"])
    direction, clip = ours.direction, ours.clip
    assert isinstance(direction, Adagrad)
    assert isinstance(clip, Clippy)
    return cls(
      float(ours.learning_rate),
      direction.initial_accumulator_value,
      clip.relative_threshold,
      clip.accumulator_threshold,
      clip.absolute_threshold,
      direction.epsilon,
      config["export"],
      direction.accumulates_after and ours.accumulate == "clipped",
      not direction.accumulates_after,
    )
