"""Plain layers can have their activations normalised, or cut off."""

import dataclasses

import numpy as np
import pytest

from ranking.array import Array
from ranking.models.bodies import Block
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.layer_norm import LayerNorm
from ranking.models.bodies.rms_norm import RmsNorm
from ranking.models.settings import ModelError
from tests.body_twin import Weights, compare_block, of_size_one, standardised


@pytest.mark.parametrize("norm", [None, LayerNorm(), RmsNorm()], ids=["none", "layer", "rms"])
@pytest.mark.parametrize("largest", [None, 0.5])
def test_layers_and_their_gradients_equal_the_formula(
  norm: Block | None, largest: float | None
) -> None:
  def twin(weights: Weights, x: Array) -> Array:
    for layer in ("hidden_1", "hidden_2"):
      x = x @ weights[f"{layer}/kernel"] + weights[f"{layer}/bias"]
      if norm == LayerNorm():
        gamma, beta = (weights[f"{layer}_norm/layer_norm/{part}"] for part in ("gamma", "beta"))
        x = standardised(x) * gamma + beta
      elif norm == RmsNorm():
        x = of_size_one(x) * weights[f"{layer}_norm/rms_norm/gamma"]
      x = np.clip(x, 0, np.inf if largest is None else largest)
    return x

  compare_block(DenseLayers([5, 4], norm, largest), twin)


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"norm": "layer"}, r"DenseLayers.norm is 'layer'; make it a block, such as @DenseLayers\(\)"),
    ({"largest_activation": 0}, "DenseLayers.largest_activation is 0; make it a positive number"),
    ({"largest_activation": np.inf}, "DenseLayers.largest_activation is inf; make it a positive"),
    ({"largest_activation": "6"}, "DenseLayers.largest_activation is '6'; make it a positive"),
  ],
)
def test_what_cannot_hold_activations_is_refused(changed: dict[str, object], message: str) -> None:
  with pytest.raises(ModelError, match=message):
    dataclasses.replace(DenseLayers([8]), **changed)  # type: ignore[arg-type]
