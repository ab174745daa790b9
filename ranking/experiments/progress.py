"""What a person sees of a sweep while it runs."""

import time

import rich.progress

from ranking.training.console import Console


class SweepProgress(Console):
  """A context manager: runs done, how each ended, and the time left, as a bar or as plain lines.

  Args:
    total: runs of the sweep, or of this machine's share of it.
    done: how many of them were finished before.
    jobs: runs at once.
  """

  def __init__(self, total: int, done: int, jobs: int):
    super().__init__()
    self._total, self._done, self._jobs = total, done, jobs
    self._began: dict[str, float] = {}  # the runs under way
    self._seconds: list[float] = []  # of the runs that ended
    columns = (
      rich.progress.TextColumn("run {task.completed}/{task.total}"),
      rich.progress.BarColumn(bar_width=24),
      rich.progress.TextColumn("{task.description}"),
    )
    self._bar = rich.progress.Progress(*columns, console=self._rich) if self.interactive else None
    self._task = self._bar.add_task("", total=total, completed=done) if self._bar else None

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
    self._seconds.append(time.monotonic() - self._began.pop(name))
    self._done += for_good
    left = "" if self._bar else f"; {self._left()}"
    self.say(f"{self._done}/{self._total} {name}: {outcome} after {self._seconds[-1]:.0f} s{left}")

  def draw(self) -> None:
    """Draws the bar anew, if there is one."""
    if self._bar is not None and self._task is not None:
      self._bar.update(self._task, completed=self._done, description=self._left())

  def _left(self) -> str:
    """Time left, if the runs to come take as long as those that ended here."""
    if not self._seconds:
      return "time left known when a run has ended"
    mean = sum(self._seconds) / len(self._seconds)
    runs = self._total - self._done
    now = time.monotonic()
    taken = sum(min(now - began, mean) for began in self._began.values())
    return f"{_duration((mean * runs - taken) / max(min(self._jobs, runs), 1))} left"


def _duration(seconds: float) -> str:
  """Such as "50 s", "12 min" or "3 h 20 min"."""
  if seconds < 100:
    return f"{seconds:.0f} s"
  hours, minutes = divmod(round(seconds / 60), 60)
  return f"{hours} h {minutes} min" if hours else f"{minutes} min"
