"""The divergence verdict of one series of losses, judged step by step (paper 2.1).

A loss is divided by what the best constant predictor of the training days loses on the same batch,
so the noise of the labels cancels: the relative loss is 1 for a model that knows nothing. Batches
with few labels, or few of their rarer side (the positives of a rare task), are judged together with
the next until there are enough. A running median smooths the relative loss; a spike cannot move it.
How far it is by chance from where it would be is told from how many labels it is of, and from how
much it differs from one batch to the next where that is less (a model that is shaken differs more,
which is no chance). "Surely" means by more than `sure` such standard errors.

- Below: the smoothed relative loss is at least `margin` under 1, and surely under 1.
- Lost: a series that had been below is there no more, and surely higher than it has been; or all
  outputs of the batch are equal, as when every unit has died.
- Blown up: surely above BLOWN_UP, or all outputs equal.

The verdicts:

- diverged: a value is not finite; or a series that had been below is lost for `patience` steps, or
  at its end, or the weights that its last step left have blown up; or one that has never been below
  in its first `grace` steps blew up on the way. (It may take so long: fast runs overshoot in their
  first steps.) One that ends before is diverged if it blew up `patience` steps before its end or
  earlier, and is not coming down or was FAR above. A blow-up that is over counts for nothing if it
  was low, or of one task: the first steps of a task that is hard to learn have one.
- micro_diverged: the relative loss of a series that had been below jumps by more than `jump` robust
  deviations (and by 5 %) above its running median, and returns to within half of that before
  `patience` steps have passed, or was lost on its way to a new level. Or, before there is a running
  median to judge by, it blew up and came back; if it had not been below, only if that took
  `patience` steps.
- learned_nothing: it has never been below in `grace` steps or more, and has not diverged.
- ok: none of these.

A series that has diverged is still watched: it has recovered if it is below again, for `patience`
steps and to its end.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ranking.checks import Checks
from ranking.errors import InputError

Status = Literal["ok", "micro_diverged", "diverged", "learned_nothing"]
SMOOTHED_OVER = 15  # batches
BLOWN_UP = 1.1  # a smoothed relative loss that slow learning does not explain
EXPLODED = 2.0  # one that counts after `grace` though it has come down to that of a constant
FAR = 10.0  # one that counts before
OF_ONE_LABEL = 0.5  # deviation of the relative loss of one label of the rarer side, at most


class RuleError(InputError):
  """A number of the rule is out of its range."""


@dataclasses.dataclass(frozen=True)
class DivergenceRule:
  """By which numbers a run is judged.

  Attributes:
    margin: how far below 1 the smoothed relative loss must be to count as learning.
    patience: steps in a row that must be lost before the run is.
    grace: steps that a run may take to get below for the first time.
    jump: height of a micro-divergence, in robust standard deviations of the relative loss.
    history: batches over which the running median and deviation of a jump are taken.
    max_skipped: skipped steps in a row that end a run.
    sure: standard errors beyond which a difference is none of chance.
    least_labels: labels of the rarer side that are judged together, at least.
  """

  margin: float = 0.02
  patience: int = 50
  grace: int = 200
  jump: float = 8.0
  history: int = 50
  max_skipped: int = 10
  sure: float = dataclasses.field(default=2.5, metadata={"later": True})
  least_labels: int = dataclasses.field(default=8, metadata={"later": True})

  def __post_init__(self) -> None:
    check = Checks("DivergenceMonitor", RuleError)
    check.number("margin", self.margin, 0, 1)
    check.number("jump", self.jump, 0)
    check.number("sure", self.sure, 0)
    for name in ("patience", "grace", "history", "max_skipped", "least_labels"):
      check.whole(name, getattr(self, name), 1)


class Measured(NamedTuple):
  """What a step measured of a series.

  Attributes:
    loss: mean over the labelled rows of the batch.
    constant_loss: likewise of the best constant predictor.
    output_spread: how far apart the outputs of two rows are.
    labels: how many rows have one.
    rarer: how many of these are on the rarer side of the mean label.
  """

  loss: float
  constant_loss: float
  output_spread: float
  labels: float = 1.0
  rarer: float = math.inf


@dataclasses.dataclass
class Judge:
  """Judges one series by a rule. Its other attributes are its whole state, to be saved.

  Attributes:
    diverged_at_step: the first step of what is lost, or of the blow-up.
    recovered_at_step: the first step from which a diverged series is below again.
    micro_divergences: their first steps.
    reason: why it has diverged.
    level: the lowest smoothed relative loss since it is surely below; None before.
    level_error: its standard error.
    of_task: whether it is one task's. What it learned may fade when the shared layers are shaken,
      and comes back with them: unless it blew up it is given up at the end alone, and not for
      fewer than `patience` steps.
  """

  rule: DivergenceRule = dataclasses.field(default_factory=DivergenceRule)
  of_task: bool = False

  diverged_at_step: int | None = None
  recovered_at_step: int | None = None
  micro_divergences: list[int] = dataclasses.field(default_factory=list)
  reason: str = ""
  level: float | None = None
  level_error: float = 0.0
  steps: int = 0
  labels: float = 0.0
  rarer: float = 0.0
  first_step: int | None = None
  last_step: int = 0
  blown_up_at: int | None = None
  highest: float = 0.0
  is_dead: bool = False
  lost_since: int | None = None
  lost_batches: int = 0
  below_since: int | None = None
  jumped_at: int | None = None
  lost_in_jump: bool = False
  waiting: list[float] = dataclasses.field(default_factory=list)
  latest: list[float] = dataclasses.field(default_factory=list)
  latest_steps: list[int] = dataclasses.field(default_factory=list)
  latest_labels: list[float] = dataclasses.field(default_factory=list)
  recent: list[float] = dataclasses.field(default_factory=list)
  calm: list[float] = dataclasses.field(default_factory=list)

  def update(self, step: int, measured: Measured) -> None:
    """Takes the measurements of a step that was taken, in order."""
    self.first_step, self.last_step = self.first_step or step, step
    self.steps += 1
    self.labels += measured.labels
    self.rarer += measured.rarer
    if not math.isfinite(measured.loss) or not math.isfinite(measured.output_spread):
      self.give_up(step, "its loss is not finite")
    elif enough := self._wait_for_labels(step, measured):
      self._judge(*enough)

  def finish(self, again: Sequence[Measured] = ()) -> None:
    """Says at the end of training what only the end can tell.

    Args:
      again: the last batches, measured once more after the last step: a running median does not see
        what blew up in the last few steps, and no batch what the last one did. That they were
        learnt from makes them easier, so they only tell of a blow-up, never that there is none.
    """
    blew_up = self._has_blown_up(again)
    if self.diverged_at_step is not None:
      return
    if self.level is not None:
      for_long = self._has_been_lost_for_long() or not self.of_task or blew_up
      if self.lost_since is not None and for_long:
        self.give_up(self.lost_since, f"{self._lost()} at the end")
    elif self.blown_up_at is not None and self._stays_blown_up():
      self.give_up(self.blown_up_at, f"{self._blown_up()} at the end")
    if self.diverged_at_step is None:
      self._end_jump(returned=False)

  def give_up(self, step: int, reason: str) -> None:
    """The series has fully diverged, from `step` on, unless it had before."""
    if self.diverged_at_step is None:
      self.diverged_at_step, self.reason, self.below_since = step, reason, None
    self.recovered_at_step = None

  @property
  def status(self) -> Status:
    """The verdict so far; of a series that may still learn, ok."""
    if self.diverged_at_step is not None:
      return "diverged"
    return "micro_diverged" if self.micro_divergences else "ok"

  @property
  def smoothed(self) -> float:
    """The running median of the relative loss; nan before the first batch."""
    return _median(self.latest) if self.latest else math.nan

  @property
  def has_learned_nothing(self) -> bool:
    """Whether it has never been below, in at least `grace` steps; or had nothing to learn from."""
    return self.level is None and (self.steps >= self.rule.grace or not self.rarer)

  def state(self) -> dict[str, Any]:
    """Plain values without the rule; `Judge(rule, **state)` goes on from them."""
    return {name: value for name, value in dataclasses.asdict(self).items() if name != "rule"}

  def _wait_for_labels(
    self, step: int, measured: Measured
  ) -> tuple[int, float, float, bool] | None:
    """What `_judge` takes, of the batches since the last that were enough; None if they are not."""
    if measured.constant_loss <= 0.0:  # a batch without labels says nothing
      return None
    labels = measured.labels
    first, loss, constant, rarer = self.waiting or (step, 0.0, 0.0, 0.0)
    loss, constant = loss + measured.loss * labels, constant + measured.constant_loss * labels
    rarer += measured.rarer
    dead = measured.output_spread == 0.0
    if rarer < self.rule.least_labels and not dead:
      self.waiting = [first, loss, constant, rarer]
      return None
    self.waiting = []
    return int(first), loss / constant, max(rarer, 1.0), dead

  def _has_blown_up(self, again: Sequence[Measured]) -> bool:
    """Whether the weights of the end have; `latest` is then what they lose on the last batches."""
    found, self.waiting = [], []
    for each in again:
      if not math.isfinite(each.loss) or not math.isfinite(each.output_spread):
        found.append((self.last_step, math.inf, max(each.rarer, 1.0), False))  # or a bad batch
      elif enough := self._wait_for_labels(self.last_step, each):
        found.append(enough)
    if not found:
      return False
    _, relative, rarer, dead = zip(*found, strict=True)
    if math.isinf(_median(relative)):
      self.give_up(self.last_step, "its loss is not finite")
      return True
    if not all(dead) and _median(relative) <= BLOWN_UP + self.rule.sure * self._error(rarer):
      return False
    onset = self.last_step
    for step, earlier in zip(reversed(self.latest_steps), reversed(self.latest), strict=True):
      if earlier <= BLOWN_UP:
        break
      onset = step
    self.latest, self.is_dead = [*relative], all(dead)
    self.lost_since, self.blown_up_at = self.lost_since or onset, self.blown_up_at or onset
    self.highest = max(self.highest, self.smoothed)
    self.recovered_at_step = None
    return True

  def _judge(self, first: int, relative: float, rarer: float, dead: bool) -> None:
    """Takes the relative loss of some batches, the first of which was in step `first`."""
    rule = self.rule
    self.latest = [*self.latest[1 - SMOOTHED_OVER :], relative]
    self.latest_steps = [*self.latest_steps[1 - SMOOTHED_OVER :], first]
    self.latest_labels = [*self.latest_labels[1 - SMOOTHED_OVER :], rarer]
    self.recent = [*self.recent[1 - rule.history :], min(relative, EXPLODED)]
    smoothed, error = self.smoothed, self._error(self.latest_labels)
    had_been_below = self.level is not None
    below = not dead and smoothed <= 1.0 - rule.margin and smoothed + rule.sure * error <= 1.0
    if below and (self.level is None or smoothed < self.level):
      self.level, self.level_error = smoothed, error
    lost = dead or not below
    if self.level is not None and not dead:
      rise = smoothed - self.level
      lost = smoothed > self._lost_above() and rise > rule.sure * max(error, self.level_error)
    self.is_dead = dead
    blown_up = dead or smoothed > BLOWN_UP + rule.sure * error
    if self.diverged_at_step is not None:
      self._watch_for_recovery(below)
      return
    if blown_up:
      if self.blown_up_at is None:
        self.blown_up_at, self.highest = self._onset(), 0.0
      self.highest = max(self.highest, smoothed)
    if not lost:
      self._come_back(had_been_below)
    self.lost_batches = self.lost_batches + 1 if lost else 0
    if self.lost_batches < 2:  # it begins, or it is none
      self.lost_since = self._onset() if lost else None
    if self._is_over(relative):
      return
    if self.level is not None:
      self._watch_for_jumps(first, relative, lost)

  def _lost_above(self) -> float:
    """The smoothed relative loss above which nothing is left of what had been learned."""
    gained = 1.0 - (1.0 if self.level is None else self.level)
    return 1.0 - min(self.rule.margin, gained / 3)

  def _error(self, rarer: Sequence[float]) -> float:
    """The standard error of the median over batches with so many labels of the rarer side."""
    deviation = OF_ONE_LABEL / math.sqrt(_median(rarer))
    if len(self.recent) >= SMOOTHED_OVER:
      steps = [abs(b - a) for a, b in zip(self.recent, self.recent[1:], strict=False)]
      deviation = min(deviation, 1.4826 * _median(steps) / math.sqrt(2))
    return 1.2533 * deviation / math.sqrt(len(rarer))  # of a median of normal values

  def _onset(self) -> int:
    """The step from which the latest losses are where they are now, and no more where they were.

    Of all steps the one after which they are farthest above the middle of the two, in sum.
    """
    at, most, above = self.latest_steps[-1], -math.inf, 0.0
    if self.is_dead:
      return at
    middle = (_median(self.recent) + min(self.smoothed, EXPLODED)) / 2
    for step, relative in zip(reversed(self.latest_steps), reversed(self.latest), strict=True):
      above += min(relative, EXPLODED) - middle
      if above > most:
        at, most = step, above
    return at

  def _is_over(self, relative: float) -> bool:
    """Gives a series up that has been lost for long enough; returns whether it did.

    Args:
      relative: of the newest batches, which the median may not know to be better again.
    """
    rule = self.rule
    if self.level is not None:
      if self.of_task and self.blown_up_at is None:
        return False  # it may come back with the shared layers
      is_back = relative <= self._lost_above() and not self.is_dead
      if self.lost_since is None or is_back or not self._has_been_lost_for_long():
        return False
      self.give_up(self.lost_since, self._lost())
      return True
    if self.first_step is None or self.blown_up_at is None:
      return False
    if self.last_step - self.first_step + 1 < rule.grace or not self._counts():
      return False
    self.give_up(self.blown_up_at, self._blown_up())
    return True

  def _has_been_lost_for_long(self) -> bool:
    """For `patience` steps; of a rare task, whose batches are many steps, for longer."""
    steps = self.last_step - (self.lost_since or self.last_step) + 1
    return steps >= self.rule.patience and self.lost_batches >= SMOOTHED_OVER

  def _counts(self) -> bool:
    """Whether a blow-up of a series that has never been below is more than a rough start."""
    if self.is_dead or self.smoothed > BLOWN_UP:
      return True
    return self.highest > EXPLODED and not self.of_task

  def _stays_blown_up(self) -> bool:
    """Whether a blow-up is no rough start, at an end before `grace`."""
    if self.blown_up_at is None or self.first_step is None:
      return False
    if self.last_step - self.first_step + 1 >= self.rule.grace:
      return self._counts()
    lasted = self.last_step - self.blown_up_at + 1 >= self.rule.patience
    is_up = self.is_dead or self.smoothed - 1 > (self.highest - 1) / 2
    return lasted and (is_up or (self.highest > FAR and not self.of_task))

  def _come_back(self, had_been_below: bool) -> None:
    """Ends a blow-up, which counts unless the run was only starting."""
    blown_up_at, first = self.blown_up_at, self.first_step or 0
    self.blown_up_at, self.highest = None, 0.0
    if blown_up_at is None or self.jumped_at is not None:  # a jump says itself how it ended
      return
    slow = first < blown_up_at <= self.last_step - self.rule.patience
    latest = max(self.micro_divergences, default=-SMOOTHED_OVER)
    if (had_been_below or slow) and blown_up_at > latest + SMOOTHED_OVER:  # else it is that one
      self.micro_divergences.append(blown_up_at)

  def _watch_for_jumps(self, step: int, relative: float, lost: bool) -> None:
    if len(self.calm) < self.rule.history:
      self.calm.append(relative)
      return
    median = _median(self.calm)
    deviation = 1.4826 * _median([abs(each - median) for each in self.calm])
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

  def _watch_for_recovery(self, below: bool) -> None:
    self.below_since = (self.below_since or self.latest_steps[-1]) if below else None
    recovered = below and self.last_step - (self.below_since or 0) + 1 >= self.rule.patience
    self.recovered_at_step = self.below_since if recovered else None

  def _lost(self) -> str:
    if self.is_dead:
      return "all its outputs were equal"
    return (
      f"its loss, which had been {self.level or 1:.3g} of the best constant's, was "
      f"{_said(self.smoothed)} of it"
    )

  def _blown_up(self) -> str:
    if self.is_dead:
      return "all its outputs were equal"
    return f"its loss blew up to {_said(self.highest)} of the best constant's and did not learn"


def _said(relative: float) -> str:
  return f"{relative:.3g}" if relative < 1e4 else f"{relative:.0e}"


def _median(values: Sequence[float]) -> float:
  """Faster than NumPy's on so few."""
  in_order, middle = sorted(values), len(values) // 2
  return in_order[middle] if len(values) % 2 else (in_order[middle - 1] + in_order[middle]) / 2
