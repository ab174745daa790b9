"""A model is a composition: inputs, a body that all tasks share, and a tower for each task."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Literal

import tf_keras

from ranking.data.schema import Schema
from ranking.models.bodies import Body
from ranking.models.inputs import Inputs
from ranking.models.network import Network
from ranking.models.settings import LATER, ModelError, check_positive
from ranking.models.towers import Towers


@dataclasses.dataclass(frozen=True)
class Model:
  """Describes a model for any log; the paper's are Small, Large and Large+DCN (Table 1).

  Raises ModelError when made if no such model can be built.

  Attributes:
    body: the layers between inputs and towers, such as SharedBottom.
    inputs: which features it sees, and how wide the input is.
    towers: the layers of each task.
    width_scale: multiplies the widths of all layers; 1 is the paper's.
    precision: what layers compute in, forward and backward. Weights, what the optimizer keeps and
      clips, statistics of normalisations, outputs and losses are float32 in any case.
  """

  body: Body
  inputs: Inputs = dataclasses.field(default_factory=Inputs)
  towers: Towers = dataclasses.field(default_factory=Towers)
  width_scale: float = 1.0
  precision: Literal["float32", "bfloat16"] = dataclasses.field(default="float32", metadata=LATER)

  def __post_init__(self) -> None:
    for name, kind, example in (
      ("body", Body, "a body, such as @SharedBottom()"),
      ("inputs", Inputs, "@Inputs()"),
      ("towers", Towers, "@Towers()"),
    ):
      if not isinstance(getattr(self, name), kind):
        raise ModelError(f"Model.{name} is {getattr(self, name)!r}; make it {example}")
    check_positive("Model.width_scale", scale := self.width_scale)
    if self.precision not in ("float32", "bfloat16"):
      raise ModelError(f'Model.precision is {self.precision!r}; make it "float32" or "bfloat16"')
    # Built for no task and thrown away: a layer of no width is refused before a log is read.
    self.body.build([], self.inputs.width(scale), scale)
    self.towers.build([], [], scale)

  def build(self, schema: Schema) -> Network:
    """Makes the network of a log, with all its variables.

    Raises ModelError if the features of the log do not fit in its input.
    """
    tf_keras.backend.reset_uids()  # the layer within a Cross is named by a counter of the process
    tasks = schema.tasks
    with _computing_in(self.precision):
      inputs = self.inputs.build(schema, self.width_scale)
      return Network(
        schema,
        inputs,
        self.body.build([task.name for task in tasks], inputs.width, self.width_scale),
        self.towers.build(tasks, schema.label_statistics, self.width_scale),
      )


@contextlib.contextmanager
def _computing_in(precision: str) -> Iterator[None]:
  """Layers that are made within compute in it."""
  before = tf_keras.mixed_precision.global_policy()
  tf_keras.mixed_precision.set_global_policy(
    "mixed_bfloat16" if precision == "bfloat16" else precision
  )
  try:
    yield
  finally:
    tf_keras.mixed_precision.set_global_policy(before)
