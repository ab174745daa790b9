"""A mixture of experts, with a gate for each task: MMoE (Ma et al. 2018)."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from ranking.models.bodies import Block, Body
from ranking.models.layer_name import layer_name
from ranking.models.part import Named, Part
from ranking.models.settings import ModelError, check_whole


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
    check_whole("Mmoe.num_experts", self.num_experts)
    if not isinstance(self.expert, Block):
      raise ModelError(f"Mmoe.expert is {self.expert!r}; make it a block, such as @DenseLayers()")

  def build(self, tasks: Sequence[str], width_scale: float) -> tf_keras.layers.Layer:
    """Makes the layers, such as expert_1/hidden_1, expert_2/hidden_1, and click_gate."""
    experts = [
      Named(self.expert.build(width_scale), f"expert_{k + 1}") for k in range(self.num_experts)
    ]
    gates = [
      tf_keras.layers.Dense(
        self.num_experts, activation="softmax", use_bias=False, name=f"{layer_name(task)}_gate"
      )
      for task in tasks
    ]
    return _Mixtures(experts, gates)


class _Mixtures(Part):
  def __init__(self, experts: list[tf_keras.layers.Layer], gates: list[tf_keras.layers.Layer]):
    super().__init__()
    self._experts, self._gates = experts, gates

  def call(self, x0: tf.Tensor) -> list[tf.Tensor]:
    made = tf.stack([expert(x0) for expert in self._experts], axis=1)  # [b, E, k]
    return [tf.einsum("be,bek->bk", gate(x0), made) for gate in self._gates]
