"""Every task mixes the same experts by a gate of its own."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ranking import configuration
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.mmoe import Mmoe
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.settings import ModelError
from tests.toy_model import SIX, TASKS, batch, schema, weights, without_special_weights

ROOT = Path(__file__).parent.parent


def test_what_a_tower_sees_equals_its_formula() -> None:
  of = schema()
  network = without_special_weights(Model(Mmoe(3, DenseLayers([7, 5])), Inputs(20)).build(of))
  x0 = network._input_layers(batch(of, 64))
  x = x0.numpy().astype(np.float64)
  experts = []
  for name in ("expert_1", "expert_2", "expert_3"):
    made = x
    for layer in ("hidden_1", "hidden_2"):
      kernel, bias = weights(network, f"{name}/{layer}")
      made = np.maximum(made @ kernel + bias, 0)
    experts.append(made)
  for task, seen in zip(TASKS, network._body(x0), strict=True):
    (kernel,) = weights(network, f"{task.name}_gate")
    powers = np.exp(x @ kernel)
    shares = powers / powers.sum(axis=1, keepdims=True)
    expected = sum(shares[:, [e]] * expert for e, expert in enumerate(experts))
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)


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


def test_mmoe_gin_has_the_8_9_million_parameters_of_its_header() -> None:
  made = configuration.read(model="mmoe", method="clippy", scale="paper").training.model
  counts = made.build(schema(tasks=SIX)).parameter_counts()
  of_an_expert = 1650 * 512 + 512 + 512 * 512 + 512
  assert counts["non_embedding"] == 8 * of_an_expert + 6 * (8 * 1650 + 512 + 1) == 8_946_022


@pytest.mark.parametrize(
  ("experts", "expert", "message"),
  [
    (0, DenseLayers([8]), "Mmoe.num_experts is 0; make it a whole number of 1 or more"),
    (2, [8], r"Mmoe.expert is \[8\]; make it a block, such as @DenseLayers\(\)"),
  ],
)
def test_a_mixture_that_cannot_be_is_refused(experts: int, expert: object, message: str) -> None:
  with pytest.raises(ModelError, match=message):
    Mmoe(experts, expert)  # type: ignore[arg-type]
