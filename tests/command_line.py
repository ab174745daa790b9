"""Runs a subcommand of `ranking` in this process, as its command line does."""

import argparse
import sys
from types import ModuleType

from ranking.configuration import ConfigError
from ranking.sweeps.sweep import SweepError


def command(module: ModuleType, *arguments: str) -> int:
  """Parses the arguments and runs the command; bad input is one line and exit code 2."""
  parser = argparse.ArgumentParser(allow_abbrev=False)
  module.add_arguments(parser)
  try:
    return int(module.run(parser.parse_args(arguments)))
  except (ConfigError, SweepError, OSError) as error:
    print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
    return 2
