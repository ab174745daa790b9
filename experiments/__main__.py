"""The study's one command: python -m experiments figures|findings|report|publish|table3

Exit codes: 0; 1 runs failed; 2 bad input, in one line; 143 stopped by a signal.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from ranking import quiet
from ranking.errors import InputError
from ranking.sweeps.sweep import SweepError

COMMANDS = {
  "figures": ("experiments.figures.command", "draws the paper's figures, running what is missing"),
  "findings": ("experiments.findings.command", "says which of the paper's findings hold"),
  "report": ("experiments.report", "makes one HTML page of all results"),
  "publish": ("experiments.publish", "keeps what finished experiments found"),
  "table3": ("experiments.table3", "makes Table 3, running what is missing"),
}


def main(arguments: Sequence[str]) -> int:
  """Runs one of COMMANDS; imports no other, for some need TensorFlow."""
  parser = argparse.ArgumentParser(prog="python -m experiments", allow_abbrev=False)
  parsers = parser.add_subparsers(dest="command", required=True)
  chosen = next((word for word in arguments if word in COMMANDS), None)
  for name, (module, what) in COMMANDS.items():
    of_command = parsers.add_parser(name, help=what, description=what, allow_abbrev=False)
    if name == chosen:
      with quiet.native_stderr():
        command = import_module(module)
      command.add_arguments(of_command)
  given = parser.parse_args(arguments)
  try:
    return int(command.run(given))
  except (InputError, SweepError, OSError) as error:
    print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
    return 2


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
