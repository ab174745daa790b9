"""Adagrad and Clippy on flat vectors, written out once more: what a step does, or could do."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from ranking.array import Array
from ranking.optimizers import Adagrad, Clippy

EPSILON = Adagrad().epsilon
CLIPPY = Clippy()  # the paper's thresholds


class State(NamedTuple):
  """A run after `step` steps."""

  step: int
  weights: Array  # float32 [weights]
  sums: Array  # float32 [weights], Adagrad's accumulator


def update(state: State, gradient: Array, rate: float) -> tuple[Array, Array]:
  """(η·r, the accumulator after it)."""
  sums = state.sums + np.square(gradient)
  return rate * gradient / np.sqrt(sums + np.float32(EPSILON)), sums


def factors(
  weights: Array, move: Array, spans: Mapping[str, slice], clipped: Collection[str]
) -> dict[str, float]:
  """σ of each variable under Clippy, 1 of those that are not clipped.

  Args:
    weights: before the step.
    move: η·r.
    spans: of all variables.
    clipped: names of those that the clip applies to.
  """
  limit = CLIPPY.relative_threshold * np.abs(weights) + CLIPPY.absolute_threshold
  excess = np.abs(move) / limit
  return {
    name: 1.0 / max(1.0, float(excess[span].max())) if name in clipped else 1.0
    for name, span in spans.items()
  }


def scaled(move: Array, found: Mapping[str, float], spans: Mapping[str, slice]) -> Array:
  """The move of each variable times its factor."""
  made = move.copy()
  for name, factor in found.items():
    made[spans[name]] *= np.float32(factor)
  return made
