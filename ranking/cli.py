"""The command `ranking`: one subcommand for each thing to do, each a module of ranking.commands.

Exit codes: 0 finished; 1 some runs of a sweep failed; 2 bad settings or input; 3 stopped because
the run diverged; 75 another process that it needs is gone; 143 stopped by a signal, or because
nobody reads the output, with a checkpoint.
"""

import argparse
import errno
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NoReturn

from ranking import quiet
from ranking.errors import InputError, Lost, Stopped
from ranking.nearest import nearest
from ranking.training import interrupt

ABOUT = """Train multitask ranking models that do not diverge, and compare the methods for it.
First: ranking train --config=large_dcn_clippy.gin --scale=proxy"""
_WHAT = {
  "train": "train one model on a log, and evaluate it on the day that follows",
  "prepare": "prepare the day store of a log, which train does itself when it is not there",
  "data-report": "say what a prepared log holds, day by day",
  "sweep": "run a grid of trainings, or search every method's best setting; write their tables",
  "compare": "test the differences between every method of a sweep and one of them",
  "join": "join the tables of sweeps that several machines shared",
  "report": "put finished runs and sweeps on one HTML page",
  "plot": "draw runs over each other",
  "tpu-check": "compile the training step for a TPU, on a machine without one",
  "gpu-check": "compile the training step for a GPU, and time it where there is one",
  "doctor": "check Python, Keras, devices, memory, disk and data",
}
COMMANDS = {
  name: (f"ranking.commands.{name.replace('-', '_')}", what) for name, what in _WHAT.items()
}


LOST = 75
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


class Parser(argparse.ArgumentParser):
  """An argument parser whose errors are one line."""

  def error(self, message: str) -> NoReturn:
    """Ends the process with exit code 2."""
    self.exit(2, f"error: {message}; see {self.prog} --help\n")


def main(
  arguments: Sequence[str] | None = None,
  program: str = "ranking",
  about: str = ABOUT,
  commands: Mapping[str, tuple[str, str]] = COMMANDS,
) -> int:
  """Runs a subcommand and imports no other, for some need TensorFlow; returns the exit code.

  Args:
    arguments: of the command line, without the program's name; None = of this process.
    program: what a person types to run it.
    about: what it is for.
    commands: the subcommands by name: the module that has `add_arguments` and `run`, and what it
      does.
  """
  given = list(sys.argv[1:] if arguments is None else arguments)
  try:
    if not given or given[0] in ("-h", "--help"):
      print(_help(program, about, commands), flush=True)
      return 0 if given else 2
    if given == ["--version"]:
      print(importlib.metadata.version("ranking"), flush=True)
      return 0
    name, *rest = given
    if name not in commands:
      raise InputError(f"no command {name!r}{nearest(name, list(commands))}; see {program} --help")
    command = _imported(commands[name][0], f"{program} {name}")
    parser = Parser(
      prog=f"{program} {name}",
      description=command.__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )
    command.add_arguments(parser)
    code: int = command.run(parser.parse_args(rest))
    sys.stdout.flush()
    return code
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except Lost as gone:
    print(f"error: {gone}", file=sys.stderr, flush=True)
    os._exit(LOST)  # TensorFlow would try for half a minute to take leave of who is gone
  except (Stopped, KeyboardInterrupt) as stop:
    interrupt.say(str(stop) or "stopped")
    return interrupt.EXIT_CODE
  except BrokenPipeError:  # whoever reads the output has seen enough, as in `… | head`
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return interrupt.EXIT_CODE
  except OSError as error:
    where = f"{error.filename}: " if error.filename else ""
    cure = "; see df -h and ls -l" if error.errno in (None, *NO_ROOM) else ""
    print(f"error: {where}{error.strerror or error}{cure}", file=sys.stderr)
    return 2


def _imported(module: str, command: str) -> ModuleType:
  """The module of a subcommand. Raises InputError if a package is missing that it needs."""
  try:
    with quiet.native_stderr():
      return importlib.import_module(module)
  except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] in ("ranking", "experiments"):
      raise  # a defect of ours
    raise InputError(
      f"{command} needs {error.name}, which is not installed; run: pip install 'ranking[trainer]'"
    ) from error


def _help(program: str, about: str, commands: Mapping[str, tuple[str, str]]) -> str:
  width = max(map(len, commands))
  lines = [f"  {name:{width}}  {what}" for name, (_, what) in commands.items()]
  return "\n".join(
    [
      f"usage: {program} COMMAND [--help] …",
      "",
      about,
      "",
      *lines,
      "",
      f"{program} COMMAND --help says what a command takes.",
    ]
  )
