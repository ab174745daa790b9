"""Low-rank cross layers multiply by two narrow matrices."""

import pytest

from ranking.array import Array
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.low_rank_cross import LowRankCrossLayers
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.settings import ModelError
from tests.body_twin import Weights, compare_block


def twin(weights: Weights, x0: Array) -> Array:
  x = x0
  for layer, first, second in (("cross_1", "dense", "dense_1"), ("cross_2", "dense_2", "dense_3")):
    narrow, wide = f"{layer}/{first}", f"{layer}/{second}"
    product = x @ weights[f"{narrow}/kernel"] @ weights[f"{wide}/kernel"]
    x = x0 * (product + weights[f"{wide}/bias"]) + x
  return x


def test_what_they_make_and_its_gradients_equal_the_formula() -> None:
  compare_block(LowRankCrossLayers(2, 2), twin)


@pytest.mark.parametrize(
  ("layers", "rank", "message"),
  [
    (0, 2, "LowRankCrossLayers.num_cross_layers is 0; make it a whole number of 1 to 1,000"),
    (2, 0, "LowRankCrossLayers.rank is 0; make it a whole number"),
  ],
)
def test_layers_that_cannot_be_are_refused(layers: int, rank: int, message: str) -> None:
  with pytest.raises(ModelError, match=message):
    LowRankCrossLayers(layers, rank)


def test_a_rank_beyond_the_width_of_what_is_crossed_is_refused_before_a_log_is_read() -> None:
  said = r"LowRankCrossLayers.rank is 88, 11 at Model.width_scale 0.125, and what it crosses has "
  with pytest.raises(ModelError, match=f"{said}10 columns; make it 20, a quarter"):
    Model(SharedBottom([LowRankCrossLayers(1, 88)]), Inputs(80), width_scale=0.125)
  behind = [DenseLayers([16]), LowRankCrossLayers(1, 88)]
  with pytest.raises(ModelError, match=f"{said}2 columns; make it 4, a quarter"):
    Model(SharedBottom(behind), Inputs(800), width_scale=0.125)
  Model(SharedBottom([LowRankCrossLayers(1, 80)]), Inputs(80), width_scale=0.125)
