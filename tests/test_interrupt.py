"""The first signal is a wish, the second an end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ranking.training.interrupt import EXIT_CODE, signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_a_wish_to_stop_and_the_old_handler_comes_back(number: signal.Signals) -> None:
  of_the_test = signal.signal(number, signal.SIG_DFL)  # which may run under nohup
  before = signal.getsignal(number)
  with signals() as asked:
    assert not asked()
    os.kill(os.getpid(), number)
    time.sleep(0.01)
    assert asked()
  assert signal.getsignal(number) is before
  signal.signal(number, of_the_test)


def test_a_second_signal_ends_the_process_at_once() -> None:
  assert after_two_signals(one_wish_seconds=0.0) == EXIT_CODE


def test_two_signals_at_once_are_one_wish() -> None:
  assert after_two_signals(one_wish_seconds=60.0) == 0


def after_two_signals(one_wish_seconds: float) -> int:
  code = (
    "import os, signal, time\n"
    "from ranking.training import interrupt\n"
    f"interrupt.ONE_WISH_SECONDS = {one_wish_seconds}\n"
    "with interrupt.signals() as asked:\n"
    "  for _ in range(2):\n"
    "    os.kill(os.getpid(), signal.SIGTERM); time.sleep(0.01)\n"
    "  assert asked()\n"
  )
  return subprocess.run([sys.executable, "-c", code], check=False).returncode
