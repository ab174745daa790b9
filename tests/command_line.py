"""Runs `ranking` in this process, with a script in the trainer's place."""

import sys
from pathlib import Path
from unittest import mock

from ranking import cli
from ranking.sweeps import execution

ROOT = Path(__file__).parent.parent
FAKE = str(ROOT / "tests" / "fake_trainer.py")


def ranking(*arguments: str, behaviour: str = "ok") -> int:
  """The exit code of a command line; `behaviour` as fake_trainer.py explains it."""
  with mock.patch.object(execution, "RANKING", (sys.executable, FAKE, behaviour)):
    return cli.main(arguments)
