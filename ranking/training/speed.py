"""How fast a run trains, and how long it does what is no training."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator


@dataclasses.dataclass
class Speed:
  """Examples per second of training calls; those that compile only count if there are no others.

  A call is all that a user waits for between two steps: reading, training, judging, writing. It
  compiles if none before was of its kind: with or without an observation. Evaluations and
  checkpoints are timed apart, in `seconds_apart`.

  Its attributes are its whole state; which call compiles is a matter of the process.
  """

  examples: int = 0
  seconds: float = 0.0
  compiling_examples: int = 0
  compiling_seconds: float = 0.0
  seconds_apart: dict[str, float] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    self._compiled: set[bool] = set()

  @contextlib.contextmanager
  def of(self, examples: int, observing: bool) -> Iterator[None]:
    """Times the body as one call over so many examples."""
    started = time.monotonic()
    yield
    seconds = time.monotonic() - started
    if observing in self._compiled:
      self.examples += examples
      self.seconds += seconds
    else:
      self.compiling_examples += examples
      self.compiling_seconds += seconds
    self._compiled.add(observing)

  @contextlib.contextmanager
  def apart(self, doing: str) -> Iterator[None]:
    """Times the body as something else than training, such as "evaluations"."""
    started = time.monotonic()
    yield
    self.seconds_apart[doing] = self.seconds_apart.get(doing, 0.0) + time.monotonic() - started

  @property
  def examples_per_second(self) -> float:
    """0 before the first call."""
    if self.seconds:
      return self.examples / self.seconds
    return self.compiling_examples / self.compiling_seconds if self.compiling_seconds else 0.0
