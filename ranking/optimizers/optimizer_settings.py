"""A ClippedOptimizer that is described and not made yet: as files of gin do."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import tf_keras

from ranking.optimizers.arguments import check_arguments, check_counts
from ranking.optimizers.clipping import Clip
from ranking.optimizers.directions import Direction
from ranking.optimizers.optimizer import ClippedOptimizer
from ranking.optimizers.rules import TABLES, Rule
from ranking.optimizers.settings import LATER


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
  """Describes a ClippedOptimizer: all of its arguments but the learning rate, which see there.

  Raises ThresholdError for an argument that it cannot have.
  """

  direction: Direction
  clip: Clip
  accumulate: Literal["clipped", "original"] = "clipped"
  exclude: str = TABLES
  scope: Literal["layer", "global"] = "layer"
  rules: Sequence[Rule] = dataclasses.field(default=(), metadata=LATER)
  micro_batches: int = dataclasses.field(default=1, metadata=LATER)
  use_ema: bool = dataclasses.field(default=False, metadata=LATER)
  ema_momentum: float = dataclasses.field(default=0.99, metadata=LATER)

  def __post_init__(self) -> None:
    check_arguments(
      self.direction, self.clip, self.accumulate, self.exclude, self.scope, self.rules
    )
    check_counts(self.micro_batches, self.ema_momentum, None)

  def build(
    self, learning_rate: float | tf_keras.optimizers.schedules.LearningRateSchedule
  ) -> ClippedOptimizer:
    """The optimizer with this learning rate."""
    return ClippedOptimizer(
      self.direction,
      self.clip,
      learning_rate,
      self.accumulate,
      self.exclude,
      self.scope,
      rules=self.rules,
      micro_batches=self.micro_batches,
      use_ema=self.use_ema,
      ema_momentum=self.ema_momentum,
    )
