"""Experts of all tasks beside experts of one task, in levels: PLE, and CGC (Tang et al. 2020)."""

import dataclasses
import itertools
from collections.abc import Sequence

import tensorflow as tf
import tf_keras

from ranking.models.bodies import Block, Body, check_block
from ranking.models.bodies.experts import experts, gate, mixture
from ranking.models.layer_name import layer_name
from ranking.models.part import Named, Part
from ranking.models.settings import MOST_LAYERS, check_whole


@dataclasses.dataclass(frozen=True)
class Ple(Body):
  """A gate of each task mixes its own experts and the shared ones; the levels repeat that.

  In the first level all experts and gates see x0. In the next, those of a task see what its gate
  mixed, and those that are shared what a gate of their own mixed of all experts, of every task. The
  tower sees what the task's gate mixes in the last. A gate is a softmax, as in MMoE.

  Attributes:
    num_levels: of extraction; 1 is CGC.
    num_shared_experts: of each level, which all tasks mix.
    num_task_experts: of each level and task, which this task alone mixes.
    expert: the layers of each of them.
  """

  num_levels: int
  num_shared_experts: int
  num_task_experts: int
  expert: Block

  def __post_init__(self) -> None:
    check_whole("Ple.num_levels", self.num_levels, MOST_LAYERS)
    check_whole("Ple.num_shared_experts", self.num_shared_experts, MOST_LAYERS)
    check_whole("Ple.num_task_experts", self.num_task_experts, MOST_LAYERS)
    check_block("Ple.expert", self.expert)

  def build(self, tasks: Sequence[str], width: int, width_scale: float) -> tf_keras.layers.Layer:
    """Makes the layers, such as level_1/click_expert_1/hidden_1 and level_1/shared/gate."""
    levels = []
    for number in range(1, self.num_levels + 1):
      is_last = number == self.num_levels
      levels.append(Named(self._level(tasks, width, width_scale, is_last), f"level_{number}"))
      width = self.expert.width_after(width, width_scale)
    return _Levels(levels, len(tasks))

  def _level(self, tasks: Sequence[str], width: int, width_scale: float, is_last: bool) -> "_Level":
    names = [layer_name(task) for task in tasks]
    own, shared = self.num_task_experts, self.num_shared_experts
    gates = [gate(f"{name}_gate", own + shared) for name in names]
    if not is_last:  # with a slash, which no task has in its name: one may be called "shared"
      gates.append(gate("shared/gate", own * len(names) + shared))
    return _Level(
      [experts(self.expert, f"{name}_expert", own, width, width_scale) for name in names],
      experts(self.expert, "shared/expert", shared, width, width_scale),
      gates,
    )


class _Levels(Part):
  def __init__(self, levels: list[tf_keras.layers.Layer], tasks: int):
    super().__init__()
    self._in_order, self._tasks = levels, tasks

  def call(self, x0: tf.Tensor) -> list[tf.Tensor]:
    seen = [x0] * (self._tasks + 1)  # by the experts and the gate of each task, and by the shared
    for level in self._in_order:
      seen = level(seen)
    return seen


class _Level(Part):
  def __init__(
    self,
    of_tasks: list[list[tf_keras.layers.Layer]],
    shared: list[tf_keras.layers.Layer],
    gates: list[tf_keras.layers.Layer],
  ):
    super().__init__()
    self._of_tasks, self._shared, self._gates = of_tasks, shared, gates

  def call(self, seen: list[tf.Tensor]) -> list[tf.Tensor]:
    """What each gate mixes: those of the tasks, then the shared one, if this level has one."""
    *of_tasks, of_all = seen
    shared = [expert(of_all) for expert in self._shared]
    own = [[expert(x) for expert in mine] for mine, x in zip(self._of_tasks, of_tasks, strict=True)]
    mixed = [*([*mine, *shared] for mine in own), [*itertools.chain(*own), *shared]]
    gates = len(self._gates)
    triples = zip(self._gates, seen[:gates], mixed[:gates], strict=True)
    return [mixture(gate(x), made) for gate, x, made in triples]
