"""Directions and clips of one optimizer; see optimizer.py.

Its twins for PyTorch (torch.py) and JAX (optax.py) need no TensorFlow, so nothing here imports it
before one of the names below is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from ranking.optimizers.averages import EvaluateAverages, averaged_weights
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
  from ranking.optimizers.settings import Ramp

__all__ = [
  "TABLES",
  "AdaGC",
  "Adagrad",
  "Adam",
  "AdaptiveGradientClipping",
  "ClippedOptimizer",
  "Clippy",
  "Cosine",
  "EvaluateAverages",
  "GradientClipping",
  "InverseSquareRoot",
  "Lamb",
  "LayerClippy",
  "LinearWarmUp",
  "NoClip",
  "Observation",
  "Ramp",
  "RmsClip",
  "Rule",
  "Sgd",
  "StateError",
  "StopWhenSkipping",
  "ZClip",
  "averaged_weights",
  "keep_statistics",
  "observe",
  "unwrapped",
]

MODULES = (
  "averages",
  "clipping",
  "directions",
  "guards",
  "norm_history",
  "observation",
  "optimizer",
  "optimizer_settings",
  "rules",
  "saved_state",
  "schedules",
  "settings",
)


def __getattr__(name: str) -> Any:
  """One of the names above, or a module. Raises ImportError where there is no TensorFlow."""
  if name not in (*__all__, *MODULES):
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  try:
    found = {module: importlib.import_module(f"{__name__}.{module}") for module in MODULES}
  except ModuleNotFoundError as error:
    if error.name not in ("tensorflow", "tf_keras"):
      raise
    raise ImportError(
      f"{__name__}.{name} needs {error.name}: pip install 'ranking[tensorflow]'; for PyTorch "
      f"import {__name__}.torch, for JAX {__name__}.optax"
    ) from error
  return found.get(name) or next(
    vars(module)[name] for module in found.values() if name in vars(module)
  )
