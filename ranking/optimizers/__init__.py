"""Directions and clips of one optimizer; see optimizer.py."""

from ranking.optimizers.clipping import (
  AdaptiveGradientClipping,
  Clippy,
  GradientClipping,
  Lamb,
  LayerClippy,
  NoClip,
  RmsClip,
)
from ranking.optimizers.directions import Adagrad, Adam, Sgd
from ranking.optimizers.guards import StopWhenSkipping, keep_statistics, unwrapped
from ranking.optimizers.norm_history import AdaGC, ZClip
from ranking.optimizers.observation import Observation, observe
from ranking.optimizers.optimizer import ClippedOptimizer
from ranking.optimizers.rules import TABLES, Rule
from ranking.optimizers.saved_state import StateError
from ranking.optimizers.schedules import Cosine, InverseSquareRoot, LinearWarmUp

__all__ = [
  "TABLES",
  "AdaGC",
  "Adagrad",
  "Adam",
  "AdaptiveGradientClipping",
  "ClippedOptimizer",
  "Clippy",
  "Cosine",
  "GradientClipping",
  "InverseSquareRoot",
  "Lamb",
  "LayerClippy",
  "LinearWarmUp",
  "NoClip",
  "Observation",
  "RmsClip",
  "Rule",
  "Sgd",
  "StateError",
  "StopWhenSkipping",
  "ZClip",
  "keep_statistics",
  "observe",
  "unwrapped",
]
