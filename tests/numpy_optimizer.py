"""Every direction and clip in float64 NumPy, a line per formula: the twin of many tests."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ranking.array import Array
from ranking.optimizers import (
  AdaGC,
  Adagrad,
  Adam,
  AdaptiveGradientClipping,
  Clippy,
  GradientClipping,
  Lamb,
  LayerClippy,
  RmsClip,
  Sgd,
  ZClip,
)
from ranking.optimizers.clipping import Clip
from ranking.optimizers.directions import Direction

ON_GRADIENT = (GradientClipping, AdaptiveGradientClipping, AdaGC, ZClip)


@dataclasses.dataclass
class Rows:
  """The gradients of some rows of a table; a row may come twice."""

  indices: Array
  values: Array


@dataclasses.dataclass
class Part:
  """What a step looks at of one variable."""

  rows: Any  # index of the weights: those of a sparse gradient, or all
  gradient: Array
  of_rows: bool


class NumpyOptimizer:
  """The optimizer of `ranking.optimizers`, for some variables of which some are clipped."""

  def __init__(
    self,
    weights: Sequence[Array],
    direction: Direction,
    clip: Clip,
    accumulate: str = "clipped",
    scope: str = "layer",
    excluded: Sequence[int] = (),
  ):
    self.weights = [np.array(w, np.float64) for w in weights]
    self.direction, self.clip = direction, clip
    self.accumulate, self.scope = accumulate, scope
    self.clipped = [k for k in range(len(weights)) if k not in excluded]
    start = direction.initial_accumulator_value if isinstance(direction, Adagrad) else 0.0
    self.slots = [
      {name: np.full_like(w, start) for name in slot_names(direction)} for w in self.weights
    ]
    self.norms: list[list[float]] = [[] for _ in weights]  # of ZClip's first steps
    self.memories: list[dict[str, float]] = [{} for _ in weights]
    self.factors: list[list[float]] = []  # the smallest σ, by step and variable
    self.steps = 0

  def step(self, gradients: Sequence[Array | Rows], rate: float) -> None:
    """Takes one gradient per variable."""
    self.steps += 1
    everything = range(len(gradients))
    parts = [self._part(k, gradient) for k, gradient in enumerate(gradients)]
    weights = [self.weights[k][part.rows] for k, part in enumerate(parts)]
    moved = [part.gradient for part in parts]
    sigmas = [np.ones(())] * len(parts)
    if isinstance(self.clip, ON_GRADIENT):
      sigmas = self._sigmas(weights, moved, parts, rate)
      if self.accumulate == "clipped":
        moved = [sigma * g for sigma, g in zip(sigmas, moved, strict=True)]
    moved = [self._direct(k, parts[k].rows, moved[k], weights[k]) for k in everything]
    if not isinstance(self.clip, ON_GRADIENT):
      sigmas = self._sigmas(weights, moved, parts, rate)
    if not isinstance(self.clip, ON_GRADIENT) or self.accumulate == "original":
      moved = [sigma * r for sigma, r in zip(sigmas, moved, strict=True)]
    for k, part in enumerate(parts):
      self.weights[k][part.rows] -= rate * moved[k]
    self.factors.append([float(np.min(sigma)) for sigma in sigmas])

  def state(self, k: int) -> dict[str, Any]:
    """Slots and memory of a variable by name."""
    return {**self.slots[k], **self.memories[k]}

  def _part(self, k: int, gradient: Array | Rows) -> Part:
    if not isinstance(gradient, Rows):
      return Part(slice(None), gradient, of_rows=False)
    distinct = np.unique(gradient.indices)
    table = np.zeros_like(self.weights[k])
    np.add.at(table, gradient.indices, gradient.values)
    if isinstance(self.direction, Adagrad) or self.direction == Sgd():
      return Part(distinct, table[distinct], of_rows=True)
    return Part(slice(None), table, of_rows=True)

  def _direct(self, k: int, rows: Any, g: Array, w: Array) -> Array:
    """r, and new slots in place."""
    slots = self.slots[k]
    match self.direction:
      case Sgd(momentum):
        if momentum == 0:
          return g
        slots["velocity"][rows] = momentum * slots["velocity"][rows] + g
        return slots["velocity"][rows].copy()
      case Adagrad(_, epsilon):
        slots["accumulator"][rows] += g**2
        return g / np.sqrt(slots["accumulator"][rows] + epsilon)
      case Adam(beta_1, beta_2, epsilon, decay):
        m, v = slots["first_moment"], slots["second_moment"]
        m[rows] = beta_1 * m[rows] + (1 - beta_1) * g
        v[rows] = beta_2 * v[rows] + (1 - beta_2) * g**2
        unbiased = m[rows] / (1 - beta_1**self.steps)
        # Epsilon joins sqrt(v) before the bias is corrected, as in tf_keras.
        root = (np.sqrt(v[rows]) + epsilon) / np.sqrt(1 - beta_2**self.steps)
        return unbiased / root + decay * w
    raise NotImplementedError

  def _sigmas(
    self, weights: Sequence[Array], tensors: Sequence[Array], parts: Sequence[Part], rate: float
  ) -> list[Array]:
    """σ of each variable: 1 for the excluded, and in global scope that of one long vector."""
    all_weights = np.concatenate([weights[k].ravel() for k in self.clipped])
    all_tensors = np.concatenate([tensors[k].ravel() for k in self.clipped])
    sigmas = [np.ones(())] * len(parts)
    if self.scope == "global" and isinstance(self.clip, LayerClippy):  # limits stay the layers'
      own = (self._sigma(k, weights[k], tensors[k], rate, 0.0, False) for k in self.clipped)
      least = np.asarray(min(map(float, own)))
      return [least if k in self.clipped else one for k, one in enumerate(sigmas)]
    for k in self.clipped:
      w, x = weights[k], tensors[k]
      if self.scope == "global":
        w, x = all_weights, all_tensors
      sigmas[k] = np.asarray(self._sigma(k, w, x, rate, norm(all_tensors), parts[k].of_rows))
    return sigmas

  def _sigma(
    self, k: int, w: Array, x: Array, rate: float, everywhere: float, of_rows: bool
  ) -> Array | float:
    """σ of weights and gradient or direction; `everywhere` is the norm of all clipped variables."""
    match self.clip:
      case GradientClipping(threshold):
        return ratio(threshold, norm(x))
      case AdaptiveGradientClipping(threshold, epsilon, unit):
        axes: tuple[int, ...] | None = None
        if unit == "output" and x.ndim > 1:
          axes = tuple(range(1, x.ndim)) if of_rows else tuple(range(x.ndim - 1))
        return ratio(threshold * np.maximum(norm(w, axes), epsilon), norm(x, axes))
      case Lamb(multiplier):
        return multiplier * (norm(w) / norm(x) if norm(w) * norm(x) > 0 else 1.0)
      case Clippy(relative, absolute):
        moving = x != 0
        limits = relative * np.abs(w[moving]) + absolute
        return min(1.0, np.min(limits / (rate * np.abs(x[moving])), initial=1.0))
      case LayerClippy(relative, layer, epsilon):
        moving = x != 0
        scale = max(np.sqrt(np.mean(w**2)), epsilon) if w.size else epsilon
        limits = relative * np.abs(w[moving]) + layer * scale
        return min(1.0, np.min(limits / (rate * np.abs(x[moving])), initial=1.0))
      case RmsClip(threshold):
        return ratio(threshold, np.sqrt(np.mean(x**2)))
      case AdaGC():
        return self._adagc(self.clip, k, norm(x), everywhere)
      case ZClip():
        return self._zclip(self.clip, k, norm(x))
    return 1.0

  def _adagc(self, clip: AdaGC, k: int, length: float, everywhere: float) -> float:
    gamma = self.memories[k].get("average_norm", 0.0)
    seen = self.memories[k].get("norms_seen", 0)
    if seen < clip.warmup_steps:
      sigma = float(ratio(clip.absolute_threshold, everywhere))
      latest = min(gamma, sigma * length) if gamma > 0 else sigma * length
    else:
      gamma = gamma if gamma > 0 else length
      sigma = float(ratio(clip.relative_threshold * gamma, length))
      latest = clip.decay * gamma + (1 - clip.decay) * sigma * length
    if length > 0:
      self.memories[k] = {"average_norm": latest, "norms_seen": seen + 1}
    return sigma

  def _zclip(self, clip: ZClip, k: int, length: float) -> float:
    seen = self.memories[k].get("norms_seen", 0)
    if length == 0:
      return 1.0
    if seen < clip.warmup_steps:
      self.norms[k].append(length)
      mean, variance = float(np.mean(self.norms[k])), float(np.var(self.norms[k]))
      self.memories[k] = {"mean_norm": mean, "variance_of_norm": variance, "norms_seen": seen + 1}
      return 1.0
    mean, variance = self.memories[k]["mean_norm"], self.memories[k]["variance_of_norm"]
    z = (length - mean) / (np.sqrt(variance) + clip.epsilon)
    clipped = length
    if z > clip.threshold:
      clipped = mean + clip.threshold * np.sqrt(variance) / (z / clip.threshold)
    mean = clip.decay * mean + (1 - clip.decay) * clipped
    variance = clip.decay * variance + (1 - clip.decay) * (clipped - mean) ** 2
    self.memories[k] = {"mean_norm": mean, "variance_of_norm": variance, "norms_seen": seen + 1}
    return clipped / length


def slot_names(direction: Direction) -> tuple[str, ...]:
  """What a direction keeps."""
  match direction:
    case Adagrad():
      return ("accumulator",)
    case Adam():
      return ("first_moment", "second_moment")
    case Sgd(momentum):
      return ("velocity",) if momentum else ()
  raise NotImplementedError


def norm(x: Array, axes: tuple[int, ...] | None = None) -> Any:
  """The Euclidean length of all of x, or of what is left of it over some axes."""
  return np.sqrt(np.sum(x**2, axis=axes, keepdims=axes is not None))


def ratio(limit: Any, length: Any) -> Any:
  """min(1, limit / length), 1 for a length of 0."""
  with np.errstate(divide="ignore", invalid="ignore"):
    return np.where(length == 0, 1.0, np.minimum(1.0, np.divide(limit, length)))
