"""What an optimizer keeps of each variable from step to step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import tensorflow as tf

from ranking.optimizers.clipping import Clip
from ranking.optimizers.rules import Treatment
from ranking.optimizers.saved_state import describe, short

FACTOR = "clipping_factor"  # the smallest σ of the last step
# What makes a variable: kind, of which variable, what it begins with.
Make = Callable[[str, tf.Variable, Any], tf.Variable]


class Kept:
  """Slots, memory and clipping factor of each variable.

  Args:
    variables: in the order of all lists.
    treatments: theirs.
    scope: "global" for one memory for all variables of a clip.
    sums: whether gradients of micro-batches are summed up.
    averages: whether averages of weights are kept.
    key: makes of a variable, or its copy on a replica, what it is known by.

  Attributes:
    slots, memories: of each variable, by kind.
    factors: of each variable.
    shared: with scope="global", the memory of each clip that has one, by kind.
    sums: of the gradients of each variable, by kind; see micro_batches.py.
    averages: of the weights of each variable.
    lists: all of them by kind, as they are saved.
    layout: what the lists are of; see saved_state.py.
  """

  def __init__(
    self,
    variables: Sequence[tf.Variable],
    treatments: Sequence[Treatment],
    scope: Literal["layer", "global"],
    sums: bool,
    averages: bool,
    key: Callable[[tf.Variable], Any],
  ):
    self.variables, self._treatments, self._key = list(variables), list(treatments), key
    self._index = {key(variable): place for place, variable in enumerate(variables)}
    self._is_shared, self._has_sums = scope == "global", sums
    self.slots: list[dict[str, tf.Variable]] = []
    self.memories: list[dict[str, tf.Variable]] = []
    self.factors: list[tf.Variable] = []
    self.shared: dict[Clip, dict[str, tf.Variable]] = {}
    self.sums: list[dict[str, tf.Variable]] = []
    self.averages: list[tf.Variable] = []
    self.lists: dict[str, list[tf.Variable]] = {}
    of_all = [kind for clip in self._first_of_clips() for kind in clip.initial_memory()]
    kinds = [
      [
        *t.direction.initial_slots(),
        *([] if self._is_shared else t.clip.initial_memory()),
        FACTOR,
        *(self._kinds_of_sums(variable) if sums else []),
        *(["average"] if averages else []),
      ]
      for variable, t in zip(variables, treatments, strict=True)
    ]
    self.layout = describe(variables, kinds, of_all)

  def make(
    self, slot: Make, scalar: Make, marks: Make, averages: Sequence[tf.Variable] | None
  ) -> None:
    """Makes all variables.

    Args:
      slot: makes one of a variable's shape, filled with a number.
      scalar: makes a scalar.
      marks: makes one number for each row of a variable.
      averages: of weights, as tf_keras has made them.
    """
    for variable, treated in zip(self.variables, self._treatments, strict=True):
      of_direction = marks if treated.direction.slots_per_row else slot
      self.slots.append(self._made(of_direction, variable, treated.direction.initial_slots()))
      memory = {} if self._is_shared else treated.clip.initial_memory()
      self.memories.append(self._made(scalar, variable, memory))
      self.factors.append(self._made(scalar, variable, {FACTOR: 1.0})[FACTOR])
    for clip, variable in self._first_of_clips().items():
      self.shared[clip] = self._made(scalar, variable, clip.initial_memory())
    if self._has_sums:
      makers = {"gradient_sum": slot, "rows_touched": marks}
      for variable in self.variables:
        kinds = self._kinds_of_sums(variable)
        of_one = [self._made(makers[kind], variable, {kind: 0.0}) for kind in kinds]
        self.sums.append({kind: made for each in of_one for kind, made in each.items()})
    if averages is not None:
      self.averages = self.lists["average"] = list(averages)

  def index(self, variable: tf.Variable) -> int:
    """The place of a variable. Raises KeyError for one that the optimizer was not built for."""
    found = self._index.get(self._key(variable))
    if found is None:
      raise KeyError(
        f"the optimizer was not built for variable {short(variable)}; call optimizer.build with "
        "all variables that will ever be trained before the first step, or compile with a new "
        "optimizer"
      )
    return found

  def knows(self, variable: tf.Variable) -> bool:
    """Whether something is kept of a variable."""
    return self._key(variable) in self._index

  def memory_of(self, variable: tf.Variable, treated: Treatment) -> dict[str, tf.Variable]:
    """What the clip of a variable remembers, of it or of all of the clip's variables."""
    if self._is_shared:
      return self.shared.get(treated.clip, {}) if treated.is_clipped else {}
    return self.memories[self.index(variable)]

  def reset_slots(self, variables: Sequence[tf.Variable] | None = None) -> None:
    """Gives slots the values that they had before the first step; of some variables, or all."""
    for variable in self.variables if variables is None else variables:
      place = self.index(variable)
      for kind, value in self._treatments[place].direction.initial_slots().items():
        slot = self.slots[place][kind]
        slot.assign(tf.fill(slot.shape, tf.constant(value, slot.dtype)))

  def reset(self) -> None:
    """Gives everything the values that it had before the first step."""
    self.reset_slots()
    for factor in self.factors:
      factor.assign(1.0)
    for numbers in (*self.memories, *self.shared.values(), *self.sums):
      for number in numbers.values():
        number.assign(tf.zeros_like(number))
    for average, variable in zip(self.averages, self.variables, strict=False):
      average.assign(variable)

  def _kinds_of_sums(self, variable: tf.Variable) -> list[str]:
    return ["gradient_sum", *(["rows_touched"] if variable.shape.rank else [])]

  def _made(
    self, make: Make, variable: tf.Variable, initial: Mapping[str, float]
  ) -> dict[str, tf.Variable]:
    made = {kind: make(kind, variable, value) for kind, value in initial.items()}
    for kind, value in made.items():
      self.lists.setdefault(kind, []).append(value)
    return made

  def _first_of_clips(self) -> dict[Clip, tf.Variable]:
    """With one σ for all: the clips that have a memory, and the first variable of each."""
    found: dict[Clip, tf.Variable] = {}
    for variable, treated in zip(self.variables, self._treatments, strict=True):
      if self._is_shared and treated.is_clipped and treated.clip.initial_memory():
        found.setdefault(treated.clip, variable)
    return found
