"""A mixture of experts, with a gate for each task: MMoE (Ma et al. 2018)."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from ranking.models.bodies import Block, Body, check_block
from ranking.models.bodies.experts import experts, gate, mixture
from ranking.models.layer_name import layer_name
from ranking.models.part import Part
from ranking.models.settings import MOST_LAYERS, check_whole


@dataclasses.dataclass(frozen=True)
class Mmoe(Body):
  """A task's tower sees Σ p_e · expert_e(x0), where p = softmax(x0 G), with a G for each task.

  Attributes:
    num_experts: E, how many experts all tasks share.
    expert: the layers of each of them.
  """

  num_experts: int
  expert: Block

  def __post_init__(self) -> None:
    check_whole("Mmoe.num_experts", self.num_experts, MOST_LAYERS)
    check_block("Mmoe.expert", self.expert)

  def build(self, tasks: Sequence[str], width: int, width_scale: float) -> tf_keras.layers.Layer:
    """Makes the layers, such as expert_1/hidden_1, expert_2/hidden_1, and click_gate."""
    return _Mixtures(
      experts(self.expert, "expert", self.num_experts, width, width_scale),
      [gate(f"{layer_name(task)}_gate", self.num_experts) for task in tasks],
    )


class _Mixtures(Part):
  def __init__(self, made_by: list[tf_keras.layers.Layer], gates: list[tf_keras.layers.Layer]):
    super().__init__()
    self._experts, self._gates = made_by, gates

  def call(self, x0: tf.Tensor) -> list[tf.Tensor]:
    made = [expert(x0) for expert in self._experts]
    return [mixture(gate(x0), made) for gate in self._gates]
