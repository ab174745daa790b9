"""Trains one model on a log, and evaluates it on the day that follows.

  ranking train --config=large_dcn_clippy.gin --scale=proxy
  ranking train --model=large --method=layer_clippy --data=kuairand --raw=KuaiRand-Pure --run=runs/x

The run directory holds what was trained and measured; with --run, the same command goes on from the
newest checkpoint after a kill.

Exit codes: 0 finished; 2 bad settings or input; 3 stopped because the run diverged; 143 stopped by
a signal, or because nobody reads the output, with a checkpoint.
"""

import argparse
import datetime
from pathlib import Path

from ranking import configuration
from ranking.commands.run_arguments import add_run_arguments, read_settings
from ranking.errors import Stopped
from ranking.training import loop


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of this command."""
  add_run_arguments(parser)
  parser.add_argument("--run", help="run directory; a new one below runs/ if not given")


def run(given: argparse.Namespace) -> int:
  """Trains; returns the exit code."""
  settings = read_settings(given, given.run or _run_directory(given))
  try:
    result = loop.train_and_evaluate(settings, configuration.operative)
  except KeyboardInterrupt:  # before the first step
    raise Stopped(
      f"stopped; the same command with RUN={settings.run_directory} goes on from what is prepared "
      "and from the newest checkpoint"
    ) from None
  stopped = settings.progress.on_divergence == "stop"
  return 3 if result["status"] == "diverged" and stopped else 0


def _run_directory(given: argparse.Namespace) -> str:
  """A new folder that is named after what runs and when."""
  what = given.config or f"{given.model}_{given.method}"
  parts = [Path(name).name.removesuffix(".gin") for name in (what, given.data, given.scale)]
  now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
  return f"runs/{'-'.join(parts)}-{now}"
