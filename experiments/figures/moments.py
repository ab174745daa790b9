"""The steps a, b and c of a run that diverges (paper, Figure 4), found in its own loss.

The paper names them by their looks: the model "was training healthily before step-a", at step b
its loss "started to diverge" and AUC "began to drop, though relatively unnoticeably", and at step c
it "was fully diverged". Here:

    c   the step from which the verdict of divergence.py holds the run to be lost
    b   the first step from which, up to c, the relative loss stays above the band of healthy noise
    a   the last step before b whose relative loss is no worse than healthy

Healthy is the median of HISTORY steps, those that end where the running median (over SMOOTHED_OVER
steps back, as the verdict's) is lowest before c; the band reaches BAND robust standard deviations
above it.
"""

from typing import NamedTuple

import pandas as pd

from ranking.stability.divergence import SMOOTHED_OVER, Measured
from ranking.stability.monitor import DivergenceMonitor
from ranking.sweeps.series import SeriesError

HISTORY = 50
BAND = 4.0


class Moments(NamedTuple):
  """Steps, a < b <= c."""

  a: int
  b: int
  c: int


def find(steps: pd.DataFrame) -> Moments:
  """The three steps of a run.

  Args:
    steps: from `series.steps`.

  Raises:
    SeriesError: the run did not diverge, or had not learned before it did.
  """
  lost = diverged_at(steps)
  if lost is None:
    raise SeriesError("the run did not diverge; raise train_and_evaluate.learning_rate")
  before = steps[steps.step < lost]
  smoothed = before.relative_loss.rolling(SMOOTHED_OVER).median()
  if smoothed.isna().all():  # which a run that never learned is from its first step
    raise SeriesError(
      f"the run was lost at step {lost} before it had learned anything; "
      "lower train_and_evaluate.learning_rate"
    )
  best = before.relative_loss.loc[: smoothed.idxmin()].tail(HISTORY)
  healthy = best.median()
  band = healthy + BAND * 1.4826 * (best - healthy).abs().median()
  b = int(before.step[before.relative_loss <= band].max()) + 1
  a = before.step[(before.step < b) & (before.relative_loss <= healthy)].max()
  return Moments(int(a), b, lost)


def diverged_at(steps: pd.DataFrame) -> int | None:
  """The first step of those that the verdict calls lost for good; None if there are none."""
  monitor = DivergenceMonitor()
  columns = ["step", "skipped", "loss", "constant_loss", "output_spread"]
  for step, skipped, *measured in steps[columns].to_numpy(float).tolist():
    if skipped:
      monitor.skip(int(step))
    else:
      monitor.update(int(step), Measured(*measured), {})
  monitor.finish()
  return monitor.diverged_at_step
