"""Interaction layers multiply all pairs of fields."""

import numpy as np
import pytest

from ranking.array import Array
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.wukong import Wukong
from ranking.models.settings import ModelError
from tests.body_twin import Weights, compare_block, relu_layer, standardised

N, E, RANK = 4, 3, 2


def twin(weights: Weights, x: Array) -> Array:
  """Two layers, row by row, with the dot product of every pair of fields."""
  rows = []
  for flat in x @ weights["fields/kernel"] + weights["fields/bias"]:
    fields = flat.reshape(N, E)
    for layer in ("interaction_1", "interaction_2"):

      def norm(name: str, of: Array, layer: str = layer) -> Array:
        gamma, beta = weights[f"{layer}/{name}/gamma"], weights[f"{layer}/{name}/beta"]
        return standardised(of) * gamma + beta

      pairs = np.array([[np.dot(one, other) for other in fields] for one in fields])
      sums = norm("sums_norm", (pairs @ weights[f"{layer}/directions"]).reshape(1, -1))
      hidden = relu_layer(weights, f"{layer}/hidden_1", sums)
      made = hidden @ weights[f"{layer}/products/kernel"] + weights[f"{layer}/products/bias"]
      compressed = weights[f"{layer}/compression"] @ fields
      fields = norm("layer_norm", np.concatenate([made.reshape(N // 2, E), compressed]) + fields)
    rows.append(fields.ravel())
  return np.array(rows)


def test_what_it_makes_and_its_gradients_equal_the_formula() -> None:
  compare_block(Wukong(2, N, E, RANK, DenseLayers([5])), twin)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ((0, 4, 3, 2), "Wukong.num_layers is 0; make it a whole number of 1 to 1,000"),
    ((1, 5, 3, 2), "Wukong.num_fields is 5; make it even: half of the fields are products"),
    ((1, 4, 0, 2), "Wukong.field_width is 0; make it a whole number"),
    ((1, 4, 3, 5), "Wukong.rank is 5, more than the 4 of Wukong.num_fields; make it 4 or less"),
  ],
)
def test_interactions_that_cannot_be_are_refused(
  settings: tuple[int, int, int, int], message: str
) -> None:
  with pytest.raises(ModelError, match=message):
    Wukong(*settings, DenseLayers([8]))


def test_a_field_without_a_column_at_the_scale_is_refused() -> None:
  with pytest.raises(ModelError, match=r"Wukong\.field_width has 3, and times Model\.width_scale"):
    Wukong(1, 4, 3, 2, DenseLayers([80])).build(6, 0.1)
