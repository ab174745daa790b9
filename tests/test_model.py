"""A model has the size of Table 1, and one that cannot be is refused when it is described."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tf_keras

from ranking.models.bodies.cross import CrossLayers
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.inputs import Inputs, embedding_widths
from ranking.models.model import Model
from ranking.models.settings import ModelError
from ranking.models.towers import Towers
from tests.toy_model import SIX, all_parts, batch, dcn, dense, schema


@pytest.mark.parametrize(
  ("categorical", "bags", "dense_columns"), [(1, 0, 0), (3, 1, 4), (30, 5, 0), (12, 3, 400)]
)
def test_small_has_1_111_046_parameters_whatever_the_features(
  categorical: int, bags: int, dense_columns: int
) -> None:
  network = Model(dense(512, 512)).build(schema(categorical, bags, dense_columns, SIX))
  d = 1650
  assert network.parameter_counts()["non_embedding"] == (
    (d * 512 + 512) + (512 * 512 + 512) + 6 * (512 + 1)
  )
  assert network.parameter_counts()["non_embedding"] == 1_111_046


def test_embedding_parameters_are_counted_apart() -> None:
  of = schema()
  widths = embedding_widths(of, 26)
  sizes = {feature.name: feature.vocabulary_size for feature in of.features}
  network = all_parts().build(of)
  counts = network.parameter_counts()
  assert counts["embedding"] == sum(sizes[name] * width for name, width in widths.items())
  assert sum(counts.values()) == network.count_params()


def test_width_scale_multiplies_every_width() -> None:
  of = schema()
  scaled = Model(dcn(1, 64, 32), Inputs(240), Towers([16]), 0.125).build(of)
  plain = Model(dcn(1, 8, 4), Inputs(30), Towers([2])).build(of)
  assert scaled.input_width == 30
  assert [v.shape for v in scaled.trainable_variables] == [
    v.shape for v in plain.trainable_variables
  ]


def test_all_variables_exist_before_the_first_batch_and_none_is_shared() -> None:
  network = all_parts().build(schema())
  count = len(network.trainable_variables)
  network(batch(network.schema))
  assert len(network.trainable_variables) == count
  assert len({v.name for v in network.trainable_variables}) == count
  assert network.non_trainable_variables == []


def test_variables_have_the_same_names_however_often_a_model_is_built() -> None:
  names = [
    [network.short_name(v) for v in network.trainable_variables]
    for network in (all_parts().build(schema()), all_parts().build(schema()))
  ]
  assert names[0] == names[1]
  expected = ("cross_1/dense/kernel", "cross_2/dense_1/bias", "layer_norm/gamma", "hidden_2/bias")
  towers = ("click_tower_1/kernel", "click_logit/bias", "embedding_id_0/embeddings")
  assert {*expected, *towers} <= set(names[0])


def test_the_same_seed_makes_the_same_model() -> None:
  made = []
  for seed in (3, 3, 4):
    tf_keras.utils.set_random_seed(seed)
    made.append(Model(dcn(1, 8), Inputs(20)).build(schema())(batch(schema())).numpy())
  np.testing.assert_array_equal(made[0], made[1])
  assert not np.allclose(made[0], made[2])


WIDTHS = "make it a list of whole numbers of 1 to 1,000,000, such as [512, 512]"
WHOLE = "make it a whole number of 1 to 1,000,000"
FEW = "make it a whole number of 1 to 1,000"
BLOCKS = "make it a list of blocks, such as [@DenseLayers()]"
POSITIVE = "make it a positive number"
# 4 / 8 is rounded to 0, 5 / 8 to 1.
NO_COLUMN = "and times Model.width_scale 0.125 that is no column; make it 5 or more"
SMALL = dense(8)


@pytest.mark.parametrize(
  ("part", "settings", "message"),
  [
    (DenseLayers, {"hidden_units": 5}, f"DenseLayers.hidden_units is 5; {WIDTHS}"),
    (DenseLayers, {"hidden_units": [8, 0]}, f"DenseLayers.hidden_units is [8, 0]; {WIDTHS}"),
    (DenseLayers, {"hidden_units": [True]}, f"DenseLayers.hidden_units is [True]; {WIDTHS}"),
    (DenseLayers, {"hidden_units": "88"}, f"DenseLayers.hidden_units is '88'; {WIDTHS}"),
    (DenseLayers, {"hidden_units": []}, "DenseLayers.hidden_units is empty; leave DenseLayers out"),
    (CrossLayers, {"num_cross_layers": -1}, f"CrossLayers.num_cross_layers is -1; {FEW}"),
    (CrossLayers, {"num_cross_layers": 1.5}, f"CrossLayers.num_cross_layers is 1.5; {FEW}"),
    (CrossLayers, {"num_cross_layers": 1001}, f"CrossLayers.num_cross_layers is 1001; {FEW}"),
    (CrossLayers, {"num_cross_layers": 0}, f"CrossLayers.num_cross_layers is 0; {FEW}"),
    (SharedBottom, {"blocks": 3}, f"SharedBottom.blocks is 3; {BLOCKS}"),
    (SharedBottom, {"blocks": ["x"]}, f"SharedBottom.blocks is ['x']; {BLOCKS}"),
    (Inputs, {"input_width": "x"}, f"Inputs.input_width is 'x'; {WHOLE}"),
    (Inputs, {"without_features": [3]}, "Inputs.without_features is [3]; make it a list of names"),
    (Towers, {"tower_units": [0]}, f"Towers.tower_units is [0]; {WIDTHS}"),
    (Model, {"body": 3}, "Model.body is 3; make it a body, such as @SharedBottom()"),
    (Model, {"body": SMALL, "inputs": 3}, "Model.inputs is 3; make it @Inputs()"),
    (Model, {"body": SMALL, "towers": [5]}, "Model.towers is [5]; make it @Towers()"),
    (Model, {"body": SMALL, "width_scale": 0}, f"Model.width_scale is 0; {POSITIVE}"),
    (Model, {"body": SMALL, "width_scale": "x"}, f"Model.width_scale is 'x'; {POSITIVE}"),
    (Model, {"body": SMALL, "width_scale": math.nan}, f"Model.width_scale is nan; {POSITIVE}"),
    (
      Model,
      {"body": dense(512, 3), "width_scale": 0.125},
      f"DenseLayers.hidden_units has 3, {NO_COLUMN}",
    ),
    (
      Model,
      {"body": SMALL, "inputs": Inputs(4), "width_scale": 0.125},
      f"Inputs.input_width has 4, {NO_COLUMN}",
    ),
    (
      Model,
      {"body": SMALL, "towers": Towers([1]), "width_scale": 0.125},
      f"Towers.tower_units has 1, {NO_COLUMN}",
    ),
  ],
)
def test_what_no_model_can_be_is_refused_when_described(
  part: Callable[..., object], settings: dict[str, Any], message: str
) -> None:
  with pytest.raises(ModelError, match=re.escape(message)):
    part(**settings)
