"""SIGTERM, SIGINT, SIGHUP (a closed terminal) and SIGUSR1 (a notice that the machine will be taken
away, as Slurm gives it with --signal) as a wish to stop: the first is granted after the current
call, with a checkpoint; the second ends the process at once.

Two that come together are one wish, as where a scheduler asks every process of a job to stop and a
sweep then asks its runs as well.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

EXIT_CODE = 143
ONE_WISH_SECONDS = 1.0
WISHES = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], bool]]:
  """Gives a function that tells whether a signal has come; puts the old handlers back after."""
  received: list[float] = []

  def handle(_number: int, _frame: object) -> None:
    now = time.monotonic()
    if received and now - received[0] > ONE_WISH_SECONDS:
      os._exit(EXIT_CODE)
    received.append(now)

  # Under nohup a closed terminal is no wish.
  heeded = [
    number
    for number in WISHES
    if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
  ]
  old = {number: signal.signal(number, handle) for number in heeded}
  try:
    yield lambda: bool(received)
  finally:
    for number, handler in old.items():
      signal.signal(number, handler)


def say(line: str) -> None:
  """Prints a last line, if anybody is there to read it."""
  with contextlib.suppress(OSError):
    print(line, flush=True)
