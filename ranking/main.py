"""The training command: python -m ranking.main --config=large_dcn_clippy.gin --scale=proxy

Exit codes: 0 finished; 2 bad configuration or input; 3 stopped because the run diverged; 143
stopped by a signal with a checkpoint saved.
"""

import datetime
import os
import sys
import traceback

import gin
from absl import app, flags, logging

from ranking import quiet

with quiet.native_stderr():
  from ranking import configuration
  from ranking.data.schema import DataError
  from ranking.models.settings import ModelError
  from ranking.optimizers.settings import ThresholdError
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
  run = _run_directory()
  try:
    if argv[1:]:
      raise configuration.ConfigError(f"{argv[1]!r} is no flag; see --help")
    if not _CONFIG.value:
      known = ", ".join(configuration.names()["CONFIG"])
      raise configuration.ConfigError(f"no CONFIG given; take one of {known}")
    given = [
      f"train_and_evaluate.run_directory = {run!r}",
      *configuration.split_bindings(_SET.value),
    ]
    configuration.configure(_CONFIG.value, _DATA.value, _SCALE.value, _RAW.value, given)

    def describe() -> str:
      operative = str(gin.operative_config_str())
      configuration.check_used(given, operative)
      return operative

    result = gin.get_configurable(loop.train_and_evaluate)(describe_config=describe)
  except loop.Stopped as stop:
    print(stop)
    return interrupt.EXIT_CODE
  except KeyboardInterrupt:
    print(
      f"stopped; the same command with RUN={run} goes on from what is prepared and from the newest "
      "checkpoint"
    )
    return interrupt.EXIT_CODE
  except (
    configuration.ConfigError,
    DataError,
    ModelError,
    loop.SettingError,
    ThresholdError,
  ) as error:
    print(f"error: {str(error).splitlines()[0]}", file=sys.stderr)  # gin adds where it was called
    return 2
  except TypeError as error:
    began = loop.train_and_evaluate.__code__
    if any(frame.f_code is began for frame, _ in traceback.walk_tb(error.__traceback__)):
      raise  # a defect of ours; before that it is an @Name that gin cannot make
    print(f"error: {configuration.explain(error)}", file=sys.stderr)
    return 2
  except OSError as error:
    where = f"{error.filename}: " if error.filename else ""
    print(f"error: {where}{error.strerror or error}; see df -h and ls -l", file=sys.stderr)
    return 2
  asked_to_go_on = gin.query_parameter("loop.train_and_evaluate.on_divergence") == "continue"
  return 3 if result["status"] == "diverged" and not asked_to_go_on else 0


def _run_directory() -> str:
  """RUN, or a new folder that is named after what runs and when."""
  name = os.path.basename(_CONFIG.value or "").removesuffix(".gin")
  now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
  data = os.path.basename(_DATA.value).removesuffix(".gin")
  return _RUN.value or f"runs/{name}-{data}-{_SCALE.value}-{now}"


if __name__ == "__main__":
  app.run(main)
