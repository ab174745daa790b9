"""Native chatter is held back, and shown when something goes wrong."""

import os
import subprocess
import sys

import pytest

from ranking import quiet


def test_native_lines_are_held_back(capfd: pytest.CaptureFixture[str]) -> None:
  with quiet.native_stderr():
    os.write(2, b"chatter\n")
  os.write(2, b"after\n")
  assert capfd.readouterr().err == "after\n"


def test_native_lines_are_shown_when_the_body_fails(capfd: pytest.CaptureFixture[str]) -> None:
  def fail() -> None:
    with quiet.native_stderr():
      os.write(2, b"why it failed\n")
      raise ImportError

  with pytest.raises(ImportError):
    fail()
  assert capfd.readouterr().err == "why it failed\n"


def test_help_prints_nothing_but_help() -> None:
  line = [sys.executable, "-m", "ranking", "train", "--help"]
  done = subprocess.run(line, capture_output=True, text=True, check=False)
  assert done.stderr == ""
  assert "Exit codes: 0 finished" in done.stdout
