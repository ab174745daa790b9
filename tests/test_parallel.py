"""Blocks side by side see the same x."""

import numpy as np
import pytest

from ranking.array import Array
from ranking.models.bodies import Block
from ranking.models.bodies.cross import CrossLayers
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.parallel import Parallel
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.settings import ModelError
from tests.body_twin import Weights, compare, compare_block, relu_layer


def twin(weights: Weights, x: Array) -> Array:
  kernel, bias = (weights[f"branch_1/cross_1/dense/{part}"] for part in ("kernel", "bias"))
  crossed = x * (x @ kernel + bias) + x
  return np.concatenate([crossed, relu_layer(weights, "branch_2/hidden_1", x)], axis=1)


def test_what_they_make_and_its_gradients_equal_the_formula() -> None:
  compare_block(Parallel([CrossLayers(1), DenseLayers([5])]), twin)


def test_what_follows_sees_all_of_them_and_names_stay_apart() -> None:
  blocks: list[Block] = [Parallel([CrossLayers(1), DenseLayers([5])]), DenseLayers([3])]
  compare(
    SharedBottom(blocks),
    lambda weights, x: [relu_layer(weights, "hidden_1", twin(weights, x))] * 2,
  )
  assert blocks[0].width_after(6, 2.0) == 6 + 10


@pytest.mark.parametrize(
  ("branches", "message"),
  [
    ([DenseLayers([3])], "Parallel.branches has 1; make it two blocks or more"),
    ([], "Parallel.branches has 0; make it two blocks or more"),
    (3, r"Parallel.branches is 3; make it a list of blocks, such as \[@DenseLayers\(\)\]"),
  ],
)
def test_branches_that_cannot_be_are_refused(branches: list[Block], message: str) -> None:
  with pytest.raises(ModelError, match=message):
    Parallel(branches)
