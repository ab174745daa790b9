"""What a person sees of a sweep while it runs."""

import statistics
import time
from collections.abc import Mapping

import rich.progress

from ranking.training.console import Console


class SweepProgress(Console):
  """A context manager: runs done, how each ended, and the time left, as a bar or as plain lines.

  Args:
    kinds: of the runs to come, by name; those of one kind take about as long, such as one model's.
    done: how many runs were finished before.
    jobs: runs at once.
  """

  def __init__(self, kinds: Mapping[str, str], done: int, jobs: int):
    super().__init__()
    self._total, self._done, self._jobs = len(kinds) + done, done, jobs
    self._kinds = dict(kinds)
    self._to_come = set(kinds)  # or under way
    self._began: dict[str, float] = {}  # the runs under way
    self._seconds: dict[str, list[float]] = {}  # of the runs that ended, by kind
    columns = (
      rich.progress.TextColumn("run {task.completed}/{task.total}"),
      rich.progress.BarColumn(bar_width=24),
      rich.progress.TextColumn("{task.description}"),
    )
    self._bar = rich.progress.Progress(*columns, console=self._rich) if self.interactive else None
    self._task = self._bar.add_task("", total=self._total, completed=done) if self._bar else None

  def __enter__(self) -> "SweepProgress":
    if self._bar:
      self._bar.start()
    return self

  def __exit__(self, *_: object) -> None:
    if self._bar:
      self._bar.stop()

  def began(self, name: str) -> None:
    """A run was started."""
    self._began[name] = time.monotonic()

  def ended(self, name: str, outcome: str, for_good: bool) -> None:
    """A run ended; `for_good` unless it is to be tried again."""
    seconds = time.monotonic() - self._began.pop(name)
    self._seconds.setdefault(self._kinds[name], []).append(seconds)
    if for_good:
      self._done += 1
      self._to_come.remove(name)
    left = "" if self._bar else f"; {self._left()}"
    self.say(f"{self._done}/{self._total} {name}: {outcome} after {seconds:.0f} s{left}")

  def draw(self) -> None:
    """Draws the bar anew, if there is one."""
    if self._bar is not None and self._task is not None:
      self._bar.update(self._task, completed=self._done, description=self._left())

  def _left(self) -> str:
    """Time left, if the runs to come take as long as those of their kind that ended here."""
    if not self._seconds:
      return "time left known when a run has ended"
    means = {kind: statistics.fmean(seconds) for kind, seconds in self._seconds.items()}
    longest = max(means.values())

    def expected(name: str) -> float:
      return means.get(self._kinds[name], longest)

    now = time.monotonic()
    taken = sum(min(now - began, expected(name)) for name, began in self._began.items())
    seconds = sum(map(expected, self._to_come)) - taken
    unseen = any(self._kinds[name] not in means for name in self._to_come)
    at_least = "at least " if unseen else ""
    return f"{at_least}{_duration(seconds / max(min(self._jobs, len(self._to_come)), 1))} left"


def _duration(seconds: float) -> str:
  """A duration in words: "50 s", "12 min" or "3 h 20 min"."""
  if seconds < 100:
    return f"{seconds:.0f} s"
  hours, minutes = divmod(round(seconds / 60), 60)
  return f"{hours} h {minutes} min" if hours else f"{minutes} min"
