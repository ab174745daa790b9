"""Directions and clips of one optimizer; see optimizer.py."""

from ranking.optimizers.clipping import (
  AdaptiveGradientClipping,
  Clippy,
  GradientClipping,
  Lamb,
  NoClip,
)
from ranking.optimizers.directions import Adagrad, Sgd
from ranking.optimizers.optimizer import ClippedOptimizer

__all__ = [
  "Adagrad",
  "AdaptiveGradientClipping",
  "ClippedOptimizer",
  "Clippy",
  "GradientClipping",
  "Lamb",
  "NoClip",
  "Sgd",
]
