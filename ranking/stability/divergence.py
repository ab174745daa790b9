"""The divergence verdict of a run, judged from its losses step by step (paper 2.1).

Every loss is divided by what the best constant predictor of the training days loses on the same
batch, so the noise of the labels cancels: the relative loss is 1 for a model that knows nothing. It
is smoothed by a running median, which a single spike cannot move. A step is lost when the smoothed
relative loss is not at least `margin` below 1, or when all outputs of the batch are equal, as when
every unit has died.

- Fully diverged: a weight is not finite, or `max_skipped` steps in a row were skipped by the
  optimizer because their loss or gradients were not; or a run that had been below is lost for
  `patience` steps, or at its end; or a run never gets below, judged after `grace` steps if its loss
  blew up on the way, else at its end. An end before `grace` steps, or for a run that blew up before
  `patience`, is too soon to tell: such a run is ok.
- Micro-diverged: the relative loss of a run that had been below jumps by more than `jump` robust
  deviations (and by 5 %) above its running median, and returns to within half of that before
  `patience` steps have passed, or was lost on its way to a new level. Or, before there is a running
  median to judge by, the smoothed relative loss blew up and came back; of a run that had not been
  below, only if that took `patience` steps. (Fast runs overshoot in their first steps and are back
  within thirty, and a run may start above 1: these are ok.)
"""

import dataclasses
import math
from typing import Any, Literal

import numpy as np

from ranking.checks import Checks
from ranking.errors import InputError

Status = Literal["ok", "micro_diverged", "diverged"]
SMOOTHED_OVER = 15  # steps
BLOWN_UP = 1.1  # a smoothed relative loss that slow learning does not explain


class RuleError(InputError):
  """A number of the rule is out of its range."""


@dataclasses.dataclass(frozen=True)
class DivergenceRule:
  """By which numbers a run is judged.

  Attributes:
    margin: how far below 1 the smoothed relative loss must be to count as learning.
    patience: steps in a row that must be lost before the run is.
    grace: steps that a run whose loss has blown up may take to get below for the first time.
    jump: height of a micro-divergence, in robust standard deviations of the relative loss.
    max_skipped: skipped steps in a row that end a run.
    history: steps over which the running median and deviation of a jump are taken.
  """

  margin: float = 0.02
  patience: int = 50
  grace: int = 200
  jump: float = 8.0
  history: int = 50
  max_skipped: int = 10

  def __post_init__(self) -> None:
    check = Checks("DivergenceMonitor", RuleError)
    check.number("margin", self.margin, 0, 1)
    check.number("jump", self.jump, 0)
    for name in ("patience", "grace", "history", "max_skipped"):
      check.whole(name, getattr(self, name), 1)


@dataclasses.dataclass
class DivergenceMonitor:
  """Watches one run by a rule. Its other attributes are its whole state, to be saved."""

  rule: DivergenceRule = dataclasses.field(default_factory=DivergenceRule)

  diverged_at_step: int | None = None
  micro_divergences: list[int] = dataclasses.field(default_factory=list)
  steps: int = 0
  been_below: bool = False
  blown_up_at: int | None = None
  lost_since: int | None = None
  skipped_steps: int = 0
  skipped_since: int | None = None
  jumped_at: int | None = None
  lost_in_jump: bool = False
  latest: list[float] = dataclasses.field(default_factory=list)
  calm: list[float] = dataclasses.field(default_factory=list)

  def skip(self, step: int) -> Status:
    """Counts a step that was skipped because it was not finite; returns the verdict so far."""
    self.skipped_steps += 1
    self.skipped_since = self.skipped_since or step
    if step - self.skipped_since + 1 >= self.rule.max_skipped:
      self.give_up(self.skipped_since)
    return self.status

  def update(self, step: int, loss: float, constant_loss: float, output_spread: float) -> Status:
    """Takes the measurements of a step that was taken, in order; returns the verdict so far."""
    self.skipped_since = None
    if self.diverged_at_step is not None:
      return self.status
    if not math.isfinite(loss) or not math.isfinite(output_spread):
      return self.give_up(step)
    if constant_loss <= 0.0:  # a batch without labels says nothing
      return self.status
    self.steps += 1
    relative = loss / constant_loss
    self.latest = [*self.latest[1 - SMOOTHED_OVER :], relative]
    smoothed = float(np.median(self.latest))
    lost = smoothed > 1.0 - self.rule.margin or output_spread == 0.0
    if self.blown_up_at is None and (smoothed > BLOWN_UP or output_spread == 0.0):
      self.blown_up_at = step
    if not lost:
      self._come_back(step)
    self.lost_since = (self.lost_since or step) if lost else None
    if self.lost_since is not None and self._is_over(step - self.lost_since + 1):
      return self.give_up(self.lost_since)
    if self.been_below:
      self._watch_for_jumps(step, relative, lost)
    return self.status

  def finish(self) -> Status:
    """The verdict at the end of training."""
    rule = self.rule
    least = 0 if self.been_below else rule.patience if self.blown_up_at is not None else rule.grace
    if self.diverged_at_step is None and self.lost_since is not None and self.steps >= least:
      self.diverged_at_step = self.lost_since
    if self.diverged_at_step is None:
      self._end_jump(returned=False)
    return self.status

  def give_up(self, step: int) -> Status:
    """The run has fully diverged, from `step` on, unless it had before."""
    if self.diverged_at_step is None:
      self.diverged_at_step = step
    return self.status

  @property
  def status(self) -> Status:
    """The verdict so far."""
    if self.diverged_at_step is not None:
      return "diverged"
    return "micro_diverged" if self.micro_divergences else "ok"

  def state(self) -> dict[str, Any]:
    """Plain values without the rule; `DivergenceMonitor(rule, **state)` goes on from them."""
    return {name: value for name, value in dataclasses.asdict(self).items() if name != "rule"}

  def _is_over(self, lost_steps: int) -> bool:
    if self.been_below:
      return lost_steps >= self.rule.patience
    return self.blown_up_at is not None and lost_steps >= self.rule.grace

  def _come_back(self, step: int) -> None:
    """A step that is not lost ends a blow-up, which counts unless the run was only starting."""
    blown_up_at, had_been_below = self.blown_up_at, self.been_below
    self.been_below, self.blown_up_at = True, None
    if blown_up_at is None or self.jumped_at is not None:  # a jump says itself how it ended
      return
    slow = 1 < blown_up_at <= step - self.rule.patience
    latest = max(self.micro_divergences, default=-SMOOTHED_OVER)
    if (had_been_below or slow) and blown_up_at > latest + SMOOTHED_OVER:  # else it is that one
      self.micro_divergences.append(blown_up_at)

  def _watch_for_jumps(self, step: int, relative: float, lost: bool) -> None:
    if len(self.calm) < self.rule.history:
      self.calm.append(relative)
      return
    median = float(np.median(self.calm))
    deviation = 1.4826 * float(np.median(np.abs(np.array(self.calm) - median)))
    height = max(self.rule.jump * deviation, 0.05 * median)
    if self.jumped_at is None and relative > median + height:
      self.jumped_at = step
    elif self.jumped_at is not None and relative < median + 0.5 * height:
      self._end_jump(returned=True)
    elif self.jumped_at is not None and not lost and step - self.jumped_at >= self.rule.patience:
      self._end_jump(returned=False)  # a new level, learnt from here
      self.calm.clear()
    self.lost_in_jump = self.jumped_at is not None and (self.lost_in_jump or lost)
    if self.jumped_at is None:
      self.calm = [*self.calm[1 - self.rule.history :], relative]

  def _end_jump(self, returned: bool) -> None:
    """A jump that neither came back nor lost the run on its way is only a new level."""
    if self.jumped_at is not None and (returned or self.lost_in_jump):
      self.micro_divergences.append(self.jumped_at)
    self.jumped_at = None
