"""Prepares the day store of a log, and prints its summary and where it is.

  ranking prepare --data=kuairand --raw=KuaiRand-Pure

Takes what train takes, and prepares what train would read. Stopped or killed, the same command
starts again, and trusts nothing that was left.
"""

import argparse

from ranking.commands.run_arguments import add_run_arguments, read_log
from ranking.data.prepare import prepare
from ranking.data.remark import unanswered
from ranking.errors import Stopped
from ranking.training.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of this command."""
  add_run_arguments(parser)


def run(given: argparse.Namespace) -> int:
  """Prepares; the warnings and the store's folder are the last lines that are printed."""
  log = read_log(given)
  try:
    made = prepare(
      log.source,
      log.store_directory,
      Console(),
      log.lookback,
      log.without_last_days,
      log.fair_share,
      log.engine,
      log.hashing,
    )
  except KeyboardInterrupt:
    raise Stopped("stopped; the same command starts again") from None
  print((made.directory / "summary.md").read_text())
  for line in unanswered(made.card):
    print(f"warning: {line}")
  print(made.directory)
  return 0
