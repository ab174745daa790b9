"""What a person sees of a command that takes long: lines, tables, and progress."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import rich.box
import rich.console
import rich.markup
import rich.progress
import rich.table

LINE_EVERY_SECONDS = 10.0  # where there is no terminal to draw a bar on


class _Output(rich.console.Console):
  """Rich's console, which would end the process where nobody reads what it prints."""

  is_closed = False

  def on_broken_pipe(self) -> None:
    """Prints to the error stream from now on, and to nowhere if nobody reads that either."""
    target = os.open(os.devnull, os.O_WRONLY) if self.is_closed else sys.stderr.fileno()
    os.dup2(target, sys.stdout.fileno())
    self.is_closed = True


class Console:
  """Prints to standard output: bars on a terminal, plain lines elsewhere, nothing if silent."""

  def __init__(self, silent: bool = False) -> None:
    self._rich = _Output(highlight=False, soft_wrap=True, quiet=silent)
    self.interactive = self._rich.is_terminal and not silent
    if not self.interactive:
      self._rich.width = 140

  @property
  def is_closed(self) -> bool:
    """Whether nobody reads the output any more, as after `… | head` has seen enough."""
    return self._rich.is_closed

  def say(self, line: str) -> None:
    """One line."""
    self._rich.print(line, markup=False)

  def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table whose first column is text and whose numbers are aligned right."""
    plain = rich.markup.escape  # a value of the log may look like Rich's markup
    table = rich.table.Table(title=plain(title), title_justify="left", box=rich.box.SIMPLE)
    for k, column in enumerate(columns):
      numeric = all(isinstance(row[k], int | float) for row in rows)
      table.add_column(plain(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
      cells = (f"{value:,}" if isinstance(value, int) else plain(str(value)) for value in row)
      table.add_row(*cells)
    self._rich.print(table)

  @contextlib.contextmanager
  def track(
    self, what: str, unit: str, total: int | None = None
  ) -> Iterator[Callable[[int], None]]:
    """Progress of something named, in so many units (None = unknown), told each advance."""
    columns = (
      rich.progress.TextColumn("{task.description}"),
      rich.progress.BarColumn(bar_width=24),
      rich.progress.TextColumn(f"{{task.completed:,}} {unit}"),
      rich.progress.TimeRemainingColumn(compact=True),
    )
    bar = rich.progress.Progress(
      *columns, console=self._rich, transient=True, disable=not self.interactive
    )
    task = bar.add_task(what, total=total)
    done, line_at = 0, time.monotonic()

    def advance(units: int) -> None:
      nonlocal done, line_at
      done += units
      bar.update(task, completed=done)
      if not self.interactive and time.monotonic() - line_at >= LINE_EVERY_SECONDS:
        line_at = time.monotonic()
        self.say(f"{what}: {done:,}{f' of {total:,}' if total else ''} {unit}")

    with bar:
      yield advance

  def progress(self, total: int, done: int) -> "Progress":
    """Progress over `total` steps of which `done` are done already."""
    return Progress(self, total, done)


class Progress:
  """A context manager: step, examples/s, loss, verdict and time left, as a bar or as lines."""

  def __init__(self, console: Console, total: int, done: int):
    self._console, self._total, self._first = console, total, done
    self._started = self._line_at = time.monotonic()
    columns = (
      rich.progress.TextColumn("step {task.completed}/{task.total}"),
      rich.progress.BarColumn(bar_width=24),
      rich.progress.TextColumn("{task.description}"),
      rich.progress.TimeRemainingColumn(compact=True),
      rich.progress.TextColumn("left"),
    )
    self._bar = (
      rich.progress.Progress(*columns, console=console._rich) if console.interactive else None
    )
    self._task = self._bar.add_task("", total=total, completed=done) if self._bar else None

  def __enter__(self) -> "Progress":
    if self._bar:
      self._bar.start()
    return self

  def __exit__(self, *_: object) -> None:
    if self._bar:
      self._bar.stop()

  def update(self, step: int, examples_per_second: float, loss: float, verdict: str) -> None:
    """Shows where the run is."""
    text = f"{examples_per_second:,.0f} examples/s, loss {loss:.4f}, {verdict}"
    if self._bar is not None and self._task is not None:
      self._bar.update(self._task, completed=step, description=text)
      return
    now = time.monotonic()
    if now - self._line_at >= LINE_EVERY_SECONDS or step == self._total:
      self._line_at = now
      left = (now - self._started) / max(step - self._first, 1) * (self._total - step)
      self._console.say(f"step {step}/{self._total}, {text}, {left:.0f} s left")
