"""SIGTERM and SIGINT as a wish to stop: the first is granted after the current call, with a
checkpoint; the second ends the process at once."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

EXIT_CODE = 143


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], bool]]:
  """Gives a function that tells whether a signal has come; puts the old handlers back after."""
  received: list[int] = []

  def handle(number: int, _frame: object) -> None:
    if received:
      os._exit(EXIT_CODE)
    received.append(number)

  old = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield lambda: bool(received)
  finally:
    for number, handler in old.items():
      signal.signal(number, handler)
