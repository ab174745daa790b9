"""Plain layers."""

import dataclasses
from collections.abc import Sequence

import tf_keras

from ranking.models.bodies import Block
from ranking.models.part import Stack
from ranking.models.settings import ModelError, all_scaled, check_widths


@dataclasses.dataclass(frozen=True)
class DenseLayers(Block):
  """x ← max(0, x W + b), once for each of `hidden_units`, which are the widths."""

  hidden_units: Sequence[int]

  def __post_init__(self) -> None:
    check_widths("DenseLayers.hidden_units", self.hidden_units)
    if not self.hidden_units:
      raise ModelError("DenseLayers.hidden_units is empty; leave DenseLayers out of the blocks")

  def build(self, width_scale: float) -> tf_keras.layers.Layer:
    """The layers hidden_1, hidden_2, …"""
    widths = all_scaled("DenseLayers.hidden_units", self.hidden_units, width_scale)
    return Stack(
      [
        tf_keras.layers.Dense(width, activation="relu", name=f"hidden_{k}")
        for k, width in enumerate(widths, start=1)
      ]
    )
