"""Cross layers of DCN-v2 whose matrix is a product of two narrow ones, for wide inputs."""

import dataclasses

import tf_keras

from ranking.models.bodies import Block
from ranking.models.bodies.cross import Cross, Crossed
from ranking.models.settings import MOST_LAYERS, ModelError, check_whole, scaled


@dataclasses.dataclass(frozen=True)
class LowRankCrossLayers(Block):
  """x ← x0 ∘ (x U V + b) + x, so many times; 2 d r weights each, where `CrossLayers` have d².

  Attributes:
    num_cross_layers: how many.
    rank: r, the columns of U and the rows of V. A quarter of the width d is said to cost no
      accuracy (Wang et al. 2021); beyond a half it saves nothing.
  """

  num_cross_layers: int
  rank: int

  def __post_init__(self) -> None:
    check_whole("LowRankCrossLayers.num_cross_layers", self.num_cross_layers, MOST_LAYERS)
    check_whole("LowRankCrossLayers.rank", self.rank)

  def build(self, width: int, width_scale: float) -> tf_keras.layers.Layer:
    """The layers cross_1, cross_2, … Raises ModelError if the rank exceeds the width."""
    rank = scaled("LowRankCrossLayers.rank", self.rank, width_scale)
    if rank > width:
      raise ModelError(
        f"LowRankCrossLayers.rank is {self.rank}, {rank} at Model.width_scale {width_scale:g}, and "
        f"what it crosses has {width} columns; make it {int(width / width_scale / 4)}, a quarter"
      )
    names = [f"cross_{k + 1}" for k in range(self.num_cross_layers)]
    return Crossed([Cross(projection_dim=rank, name=name) for name in names])
