"""Keeps off the screen what TensorFlow's C++ libraries print while they load.

They print before their own log settings apply, so nothing but the file descriptor stops them.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def native_stderr() -> Iterator[None]:
  """Holds back what is written to file descriptor 2; shows it after all if the body fails."""
  sys.stderr.flush()
  saved = os.dup(2)
  with tempfile.TemporaryFile() as held:
    os.dup2(held.fileno(), 2)
    try:
      yield
    except BaseException:
      held.seek(0)
      os.write(saved, held.read())
      raise
    finally:
      os.dup2(saved, 2)
      os.close(saved)
