"""The training command: python -m ranking.main --config=large_dcn_clippy.gin --scale=proxy

Exit codes: 0 finished; 2 bad configuration or input; 3 stopped because the run diverged; 143
stopped by a signal with a checkpoint saved.
"""

import datetime
import os
import sys

import gin
from absl import app, flags, logging

from ranking import quiet

with quiet.native_stderr():
  from ranking import configuration
  from ranking.data.schema import DataError
  from ranking.optimizers.clipping import ThresholdError
  from ranking.training import interrupt, loop

_CONFIG = flags.DEFINE_string("config", None, "A file of configs/, or a path to a .gin file.")
_DATA = flags.DEFINE_string(
  "data", "synthetic", "A file of configs/data/, or a path to a .gin file."
)
_SCALE = flags.DEFINE_string("scale", "paper", "Layer widths: paper (Table 1), or proxy (1/8).")
_RAW = flags.DEFINE_string("raw", None, "Folder of the unpacked raw log; downloaded if not given.")
_RUN = flags.DEFINE_string("run", None, "Run directory; a killed run goes on from it.")
_SET = flags.DEFINE_string("set", "", 'Bindings: "train_and_evaluate.seed=3 Clippy.…=1e-3".')


def main(argv: list[str]) -> int:
  """Reads the configuration, runs it, and says in one line what went wrong if something did."""
  logging.set_verbosity(logging.FATAL)  # gin reports every place it looks for an include in
  try:
    if argv[1:]:
      raise configuration.ConfigError(f"{argv[1]!r} is no flag; see --help")
    if not _CONFIG.value:
      known = ", ".join(configuration.names()["CONFIG"])
      raise configuration.ConfigError(f"no CONFIG given; take one of {known}")
    configuration.configure(
      _CONFIG.value, _DATA.value, _SCALE.value, _RAW.value, _bindings(_CONFIG.value)
    )
    result = gin.get_configurable(loop.train_and_evaluate)(describe_config=gin.operative_config_str)
  except loop.Stopped as stop:
    print(stop)
    return interrupt.EXIT_CODE
  except KeyboardInterrupt:
    print("stopped; the same command goes on from what is prepared and from the newest checkpoint")
    return interrupt.EXIT_CODE
  except (configuration.ConfigError, DataError, loop.SettingError, ThresholdError) as error:
    print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)  # gin adds where it was called
    return 2
  except OSError as error:
    where = f"{error.filename}: " if error.filename else ""
    print(f"error: {where}{error.strerror or error}; see df -h and ls -l", file=sys.stderr)
    return 2
  asked_to_go_on = gin.query_parameter("loop.train_and_evaluate.on_divergence") == "continue"
  return 3 if result["status"] == "diverged" and not asked_to_go_on else 0


def _bindings(config: str) -> list[str]:
  name = os.path.basename(config).removesuffix(".gin")
  now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
  data = os.path.basename(_DATA.value).removesuffix(".gin")
  run = _RUN.value or f"runs/{name}-{data}-{_SCALE.value}-{now}"
  given = configuration.split_bindings(_SET.value)
  return [f"train_and_evaluate.run_directory = {run!r}", *given]


if __name__ == "__main__":
  app.run(main)
