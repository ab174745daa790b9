"""The mean of a loss over rows, by itself or over that of a reference, with its interval."""

import math
from typing import NamedTuple

import numpy as np

from ranking.array import Array
from ranking.measures.significance import Z95


class MeanLoss(NamedTuple):
  """Mean of a loss, or a ratio of two, and its 95 % interval; nan where there is none."""

  value: float
  ci95: tuple[float, float]


def mean_loss(losses: Array, weights: Array | None = None) -> MeanLoss:
  """The mean of losses [n] of 0 or more.

  The interval is the delta method on log(mean), which cannot go below zero, and takes rows as
  independent. There is none of fewer than two rows, nor of a mean of 0.

  Args:
    losses: [n].
    weights: [n] above 0, how often each counts in the mean; None = 1.
  """
  value = mean(losses, weights)
  if len(losses) < 2 or not 0 < value < math.inf:
    return MeanLoss(value, (math.nan, math.nan))
  shares = np.full(len(losses), 1.0) if weights is None else weights / mean(weights)
  deviations = shares * (losses - value)
  error = math.sqrt(float(np.square(deviations).sum()) / (len(losses) - 1) / len(losses))
  factor = math.exp(Z95 * error / value)
  return MeanLoss(value, (value / factor, value * factor))


def relative_loss(losses: Array, reference: Array, weights: Array | None = None) -> MeanLoss:
  """The mean of losses over that of a reference's on the same rows, both [n] of 0 or more.

  The interval is the delta method on the logarithm of the ratio, paired by row; it takes rows as
  independent. There is none of fewer than two rows, nor a ratio where the reference loses nothing.

  Args:
    losses, reference: [n].
    weights: [n] above 0, how often each counts in the means; None = 1.
  """
  with np.errstate(over="ignore", invalid="ignore"):
    own, of_reference = mean(losses, weights), mean(reference, weights)
    value = own / of_reference if of_reference else math.nan
    if len(losses) < 2 or not 0 < value < math.inf:
      return MeanLoss(value, (math.nan, math.nan))
    shares = np.full(len(losses), 1.0) if weights is None else weights / mean(weights)
    deviations = shares * (losses / own - reference / of_reference)
    error = math.sqrt(float(np.square(deviations).sum()) / (len(losses) - 1) / len(losses))
    factor = float(np.exp(Z95 * error))
  return MeanLoss(value, (value / factor, value * factor))


def mean(values: Array, weights: Array | None = None) -> float:
  """The mean of values [n] in float64, each as often as its weight says; nan of none."""
  if not len(values):
    return math.nan
  wide = np.asarray(values, np.float64)
  return float(wide.mean() if weights is None else np.average(wide, weights=weights))
