"""Trains one model on a log, and evaluates it on the day that follows.

  ranking train --config=large_dcn_clippy.gin --scale=proxy
  ranking train --model=large --method=layer_clippy --data=kuairand --raw=KuaiRand-Pure --run=runs/x

The run directory holds what was trained and measured; with --run, the same command goes on from the
newest checkpoint after a kill.

Exit codes: 0 finished; 2 bad settings or input; 3 stopped because the run diverged; 75 no step for
stuck_after_seconds, or another worker is gone; 143 stopped by a signal, by max_seconds, or because
nobody reads the output, with a checkpoint.
"""

import argparse
import dataclasses
import datetime
import os
from pathlib import Path

from ranking import configuration
from ranking.commands.run_arguments import add_run_arguments, read_settings
from ranking.errors import Stopped
from ranking.settings import Settings
from ranking.training import loop


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of this command."""
  add_run_arguments(parser)
  parser.add_argument("--run", help="run directory; a new one below runs/ if not given")


def run(given: argparse.Namespace) -> int:
  """Trains; returns the exit code."""
  settings = read_settings(given, given.run or "runs/new")
  if not given.run and settings.run_directory == "runs/new":
    settings = dataclasses.replace(settings, run_directory=_run_directory(settings))
  try:
    result = loop.train_and_evaluate(settings, configuration.operative)
  except KeyboardInterrupt:  # before the first step
    raise Stopped(
      f"stopped; the same command with RUN={settings.run_directory} goes on from what is prepared "
      "and from the newest checkpoint"
    ) from None
  stopped = settings.progress.on_divergence == "stop"
  return 3 if result["status"] == "diverged" and stopped else 0


def _run_directory(settings: Settings) -> str:
  """A new folder that is named after what runs and when."""
  names, now = settings.names, datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
  what = f"{names.model_name}_{names.method_name}-{settings.log.source.name}-{names.scale_name}"
  folder = f"runs/{what}-{now}"
  return f"{folder}-{os.getpid()}" if Path(folder).exists() else folder
