"""Prepares a day store: python -m ranking.commands.prepare --data=kuairand --raw=folder

Prints where it is and its summary. Exit code 2 on bad input, 143 when stopped by Ctrl-C. Stopped or
killed, it goes on where it was when it is run again.
"""

import sys
from pathlib import Path

import gin
from absl import app, flags, logging

from ranking import quiet

with quiet.native_stderr():
  from ranking import configuration
  from ranking.data.prepare import prepare
  from ranking.data.schema import DataError
  from ranking.training import interrupt
  from ranking.training.console import Console

_DATA = flags.DEFINE_string(
  "data", "synthetic", "A file of configs/data/, or a path to a .gin file."
)
_RAW = flags.DEFINE_string("raw", None, "Folder of the unpacked raw log; downloaded if not given.")
_SET = flags.DEFINE_string("set", "", 'Bindings: "Synthetic.days=28 Synthetic.seed=1".')


def main(_argv: list[str]) -> int:
  """Prepares the store that training with the same flags would read."""
  logging.set_verbosity(logging.FATAL)
  try:
    # Any model will do: only the log is read.
    configuration.configure(
      "small_naive", _DATA.value, "proxy", _RAW.value, configuration.split_bindings(_SET.value)
    )
    source, lookback, without_last_days, root = (
      gin.query_parameter(f"loop.train_and_evaluate.{name}")
      for name in ("source", "lookback", "without_last_days", "store_directory")
    )
    made = prepare(
      source.scoped_configurable_fn(),
      Path(root),
      Console(),
      lookback.scoped_configurable_fn(),
      without_last_days,
    )
  except (configuration.ConfigError, DataError) as error:
    print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print("stopped; the same command goes on where this one stopped")
    return interrupt.EXIT_CODE
  except OSError as error:
    where = f"{error.filename}: " if error.filename else ""
    print(f"error: {where}{error.strerror or error}; see df -h and ls -l", file=sys.stderr)
    return 2
  print((made.directory / "summary.md").read_text())
  print(made.directory)
  return 0


if __name__ == "__main__":
  app.run(main)
