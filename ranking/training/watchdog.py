"""Ends a process that hangs: a collective that waits for a host that died, a disk that is gone."""

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Iterator

EXIT_CODE = 75  # "try again later", as sendmail and cron know it


@contextlib.contextmanager
def watched(seconds: float | None, doing: str) -> Iterator[None]:
  """Ends the process with EXIT_CODE and the stacks of all threads if the body takes too long.

  Args:
    seconds: that the body may take; None = as long as it likes.
    doing: what it does, in words.
  """
  if seconds is None:
    yield
    return
  timer = threading.Timer(seconds, _end, [f"{doing} took more than {seconds:g} s"])
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


def _end(reason: str) -> None:
  line = f"error: {reason}; what every thread does follows, and the same command goes on"
  with contextlib.suppress(OSError):
    print(line, file=sys.stderr, flush=True)
    faulthandler.dump_traceback(sys.stderr, all_threads=True)
  os._exit(EXIT_CODE)
