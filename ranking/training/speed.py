"""How fast a run trains."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator


@dataclasses.dataclass
class Speed:
  """Examples per second of training calls; those that compile only count if there are no others.

  A call compiles if none before was of its kind: with or without an observation.

  Its attributes are its whole state; which call compiles is a matter of the process.
  """

  examples: int = 0
  seconds: float = 0.0
  compiling_examples: int = 0
  compiling_seconds: float = 0.0

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

  @property
  def examples_per_second(self) -> float:
    """0 before the first call."""
    if self.seconds:
      return self.examples / self.seconds
    return self.compiling_examples / self.compiling_seconds if self.compiling_seconds else 0.0
