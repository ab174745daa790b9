"""Plain layers, with the two common ways to hold their activations in bounds."""

import dataclasses
from collections.abc import Sequence

import tf_keras

from ranking.models.bodies import Block, check_block
from ranking.models.part import Named, Stack
from ranking.models.settings import ModelError, all_scaled, check_positive, check_widths


@dataclasses.dataclass(frozen=True)
class DenseLayers(Block):
  """x ← max(0, x W + b), once for each of `hidden_units`, which are the widths.

  Attributes:
    hidden_units: the widths.
    norm: a block that normalises x W + b before it is compared with 0, such as LayerNorm (Ba et al.
      2016) or RmsNorm, for each layer one of its own; None = none.
    largest_activation: what is above is cut off, 6 in the paper's reference for activation clipping
      (Krizhevsky & Hinton 2010); a unit that is cut off has no gradient. None = nothing is.
  """

  hidden_units: Sequence[int]
  norm: Block | None = dataclasses.field(default=None, metadata={"later": True})
  largest_activation: float | None = dataclasses.field(default=None, metadata={"later": True})

  def __post_init__(self) -> None:
    check_widths("DenseLayers.hidden_units", self.hidden_units)
    if not self.hidden_units:
      raise ModelError("DenseLayers.hidden_units is empty; leave DenseLayers out of the blocks")
    if self.norm is not None:
      check_block("DenseLayers.norm", self.norm)
    if self.largest_activation is not None:
      check_positive("DenseLayers.largest_activation", self.largest_activation)

  def build(self, width: int, width_scale: float) -> tf_keras.layers.Layer:
    """The layers hidden_1, hidden_2, …, and what normalises them behind hidden_1_norm, …"""
    widths = self._widths(width_scale)
    return Stack(
      [self._layer(f"hidden_{k}", wide, width_scale) for k, wide in enumerate(widths, 1)]
    )

  def width_after(self, width: int, width_scale: float) -> int:
    """The last of the widths."""
    return self._widths(width_scale)[-1]

  def _widths(self, width_scale: float) -> list[int]:
    return all_scaled("DenseLayers.hidden_units", self.hidden_units, width_scale)

  def _layer(self, name: str, units: int, width_scale: float) -> tf_keras.layers.Layer:
    if self.norm is None and self.largest_activation is None:
      return tf_keras.layers.Dense(units, activation="relu", name=name)
    layers = [tf_keras.layers.Dense(units, name=name)]
    if self.norm is not None:
      layers.append(Named(self.norm.build(units, width_scale), f"{name}_norm"))
    return Stack([*layers, tf_keras.layers.ReLU(self.largest_activation)])
