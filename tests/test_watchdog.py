"""A process that hangs says where, and ends with a code of its own."""

import subprocess
import sys

import pytest

from ranking.training.watchdog import EXIT_CODE, watched

HANGS = """
import threading, time
from ranking.training.watchdog import watched

def waits_for_a_host():
  time.sleep(60)

threading.Thread(target=waits_for_a_host, daemon=True).start()
with watched(60, "nothing"):
  pass
with watched(0.1, "step 12"):
  waits_for_a_host()
"""


def test_a_body_that_hangs_ends_the_process_with_the_stacks_of_all_threads() -> None:
  done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=50)
  assert done.returncode == EXIT_CODE == 75
  assert done.stderr.startswith("error: step 12 took more than 0.1 s; what every thread does")
  assert done.stderr.count("in waits_for_a_host") == 2


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_a_body_that_ends_in_time_is_left_alone(seconds: float | None) -> None:
  with watched(seconds, "nothing"):
    pass
  with pytest.raises(ZeroDivisionError), watched(seconds, "nothing"):
    _ = 1 / 0
