"""The first signal is a wish, the second an end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ranking.training.interrupt import EXIT_CODE, signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_wish_to_stop_and_the_old_handler_comes_back(number: signal.Signals) -> None:
  before = signal.getsignal(number)
  with signals() as asked:
    assert not asked()
    os.kill(os.getpid(), number)
    time.sleep(0.01)
    assert asked()
  assert signal.getsignal(number) is before


def test_a_second_signal_ends_the_process_at_once() -> None:
  code = (
    "import os, signal, time\n"
    "from ranking.training.interrupt import signals\n"
    "with signals():\n"
    "  os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.01)\n"
    "  os.kill(os.getpid(), signal.SIGTERM); time.sleep(10)\n"
  )
  done = subprocess.run([sys.executable, "-c", code], check=False)
  assert done.returncode == EXIT_CODE
