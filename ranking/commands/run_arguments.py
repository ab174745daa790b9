"""The arguments that say which run is meant, and how they become its settings."""

import argparse

from ranking import configuration
from ranking.settings import LogSettings, Settings


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds them to the parser of a command."""
  parser.add_argument("--config", help="a file of configs/, or a path to a .gin file")
  parser.add_argument("--model", help="in its place, with --method: a file of configs/models/")
  parser.add_argument("--method", help="a file of configs/methods/, or a path")
  parser.add_argument(
    "--data", default="synthetic", help="a file of configs/data/, or a path (%(default)s)"
  )
  parser.add_argument(
    "--scale", help="layer widths: paper (Table 1, the default) or proxy, an eighth of them"
  )
  parser.add_argument(
    "--hardware", help="cpu, gpu, gpus, workers or tpu; the best that is there if not given"
  )
  parser.add_argument("--raw", help="folder of the unpacked raw log; downloaded if not given")
  parser.add_argument(
    "--engine", help="what prepares the log: duckdb (the default), local[2] or spark://host:port"
  )
  parser.add_argument(
    "--set",
    action="append",
    default=[],
    help='bindings, such as "train_and_evaluate.seed=3 Clippy.…=1e-3"',
  )


def read_settings(given: argparse.Namespace, run_directory: str) -> Settings:
  """The settings that the arguments say. Raises InputError."""
  return configuration.read(
    config=given.config,
    model=given.model,
    method=given.method,
    data=given.data,
    scale=given.scale or "paper",
    hardware=given.hardware,
    raw=given.raw,
    bindings=[
      *configuration.split_bindings(" ".join(given.set)),
      *([f"train_and_evaluate.engine={given.engine!r}"] if given.engine else []),
    ],
    run_directory=run_directory,
  )


def read_log(given: argparse.Namespace) -> LogSettings:
  """The settings of the log alone; no model or method need be given. Raises InputError."""
  if not given.config and not (given.model and given.method):
    given.config = "small_naive.gin"  # any will do: only the log is read
  return read_settings(given, "runs/none").log
