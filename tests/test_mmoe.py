"""Every task mixes the same experts by a gate of its own."""

import numpy as np
import pytest
import tensorflow as tf

from ranking.array import Array
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.mmoe import Mmoe
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.settings import ModelError
from tests.body_twin import Weights, compare, relu_layer, softmax
from tests.toy_model import TASKS, batch, schema, without_special_weights


def twin(weights: Weights, x0: Array) -> list[Array]:
  experts = [
    relu_layer(weights, f"expert_{e}/hidden_2", relu_layer(weights, f"expert_{e}/hidden_1", x0))
    for e in (1, 2, 3)
  ]
  shares = [softmax(x0 @ weights[f"{task}_gate/kernel"]) for task in ("click", "like")]
  return [np.einsum("be,ebk->bk", of_task, experts) for of_task in shares]


def test_what_the_towers_see_and_its_gradients_equal_the_formula() -> None:
  compare(Mmoe(3, DenseLayers([7, 5])), twin)


def test_a_task_trains_all_experts_and_no_gate_but_its_own() -> None:
  network = without_special_weights(Model(Mmoe(2, DenseLayers([6])), Inputs(20)).build(schema()))
  with tf.GradientTape() as tape:
    loss = network.task_losses(rows := batch(network.schema, 64), network(rows))[0]
  gradients = tape.gradient(loss, network.trainable_variables)
  reached = {
    network.short_name(v)
    for v, g in zip(network.trainable_variables, gradients, strict=True)
    if g is not None and np.any(tf.convert_to_tensor(g))
  }
  gates = {name for name in reached if "_gate" in name}
  assert gates == {f"{TASKS[0].name}_gate/kernel"}
  assert {"expert_1/hidden_1/kernel", "expert_2/hidden_1/kernel"} <= reached


@pytest.mark.parametrize(
  ("experts", "expert", "message"),
  [
    (0, DenseLayers([8]), "Mmoe.num_experts is 0; make it a whole number of 1 to 1,000"),
    (2, [8], r"Mmoe.expert is \[8\]; make it a block, such as @DenseLayers\(\)"),
  ],
)
def test_a_mixture_that_cannot_be_is_refused(experts: int, expert: object, message: str) -> None:
  with pytest.raises(ModelError, match=message):
    Mmoe(experts, expert)  # type: ignore[arg-type]
