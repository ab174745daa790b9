"""The towers of a model: layers of one task each, up to its output."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from ranking.models.layer_name import layer_name
from ranking.models.part import Part, Stack
from ranking.models.settings import all_scaled, check_widths
from ranking.tasks import LabelStatistics, Task


@dataclasses.dataclass(frozen=True)
class Towers:
  """ReLU layers of the widths `tower_units`, none by default, and a linear one for the output."""

  tower_units: Sequence[int] = ()

  def __post_init__(self) -> None:
    check_widths("Towers.tower_units", self.tower_units)

  def build(
    self, tasks: Sequence[Task], label_statistics: Sequence[LabelStatistics], width_scale: float
  ) -> "TowerLayers":
    """Makes the layers. Raises ModelError if one has no column at this scale.

    Args:
      tasks: T tasks.
      label_statistics: of each; their towers start as the best constant predictors.
      width_scale: the widths are multiplied by it.
    """
    widths = all_scaled("Towers.tower_units", self.tower_units, width_scale)
    return TowerLayers(
      {
        task.name: _tower(layer_name(task.name), widths, task.rules.constant_output(known))
        for task, known in zip(tasks, label_statistics, strict=True)
      }
    )


class TowerLayers(Part):
  """Maps what each task's tower sees, T tensors [b, k], to the outputs, float32 [b, T]."""

  def __init__(self, towers: dict[str, tf_keras.layers.Layer]):
    super().__init__()
    self._towers = towers
    self._tasks = list(towers)

  def call(self, seen: Sequence[tf.Tensor]) -> tf.Tensor:
    """One column per task, in their order."""
    outputs = [self._towers[task](x) for task, x in zip(self._tasks, seen, strict=True)]
    return tf.concat(outputs, axis=1)


def _tower(name: str, widths: Sequence[int], constant: float) -> tf_keras.layers.Layer:
  """Starts as a constant predictor: no task begins with a shock to the layers it shares."""
  hidden = [
    tf_keras.layers.Dense(width, activation="relu", name=f"{name}_tower_{k}")
    for k, width in enumerate(widths, start=1)
  ]
  bias = tf_keras.initializers.Constant(constant)
  # float32 whatever the policy of mixed precision: losses and figures are made of it.
  output = tf_keras.layers.Dense(1, bias_initializer=bias, name=f"{name}_logit", dtype="float32")
  return Stack([*hidden, output])
