"""From names on the command line to one gin configuration, with one-line errors.

Library modules do not know gin: the .gin files name the callables and bind their arguments. They
are read in the order base, data, scale, CONFIG, bindings; a later one wins, so that the config.gin
of a run directory makes the same run whatever DATA and SCALE say. A file that describes a log of
one's own is read after the scale: its learning rate is that of its log, at the scale it is used at.
"""

import contextlib
import inspect
import os
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import gin

from ranking.data import lookback
from ranking.data.sources import kuairand, kuairec, movielens, synthetic, table
from ranking.models import bodies, inputs, model, towers
from ranking.nearest import nearest
from ranking.optimizers import clipping, directions, norm_history, optimizer, schedules
from ranking.stability import divergence
from ranking.training import loop, strategy

CONFIGS = Path(__file__).parent / "configs"
SOURCES = {
  "synthetic": synthetic,
  "kuairand": kuairand,
  "kuairec": kuairec,
  "movielens": movielens,
  "table": table,
}
MODULES = (
  *(loop, strategy, lookback, model, inputs, towers),
  *(import_module(f"{bodies.__name__}.{each.name}") for each in iter_modules(bodies.__path__)),
  *(optimizer, directions, clipping, norm_history, schedules, divergence),
  *SOURCES.values(),
)

# Of what gin reads or makes.
GIN_ERRORS = (
  *(ValueError, TypeError, NameError, AttributeError, SyntaxError, ImportError, OSError),
  tokenize.TokenError,
)


class ConfigError(ValueError):
  """A name or binding that does not exist; the message names the nearest one that does."""


def configure(config: str, data: str, scale: str, raw: str | None, bindings: Sequence[str]) -> None:
  """Clears gin and reads the configuration of one run. Raises ConfigError.

  Args:
    config: a file of configs/, such as "large_dcn_clippy.gin", or a path to a .gin file.
    data: a file of configs/data/, such as "kuairand", or a path to one of your own.
    scale: a file of configs/scale/: "paper" or "proxy".
    raw: folder of the raw log, for a source that reads one.
    bindings: such as "train_and_evaluate.seed=3".
  """
  gin.clear_config()
  of_data = _find_or_path("DATA", data, CONFIGS / "data")
  of_scale = _find("SCALE", scale, CONFIGS / "scale")
  files = [
    CONFIGS / "base.gin",
    *((of_data, of_scale) if of_data.parent == CONFIGS / "data" else (of_scale, of_data)),
    _find_or_path("CONFIG", config, CONFIGS),
  ]
  try:
    with inside(CONFIGS.parent):  # where includes are looked for
      for file in files:
        reading = str(file)
        gin.parse_config_file(reading)
    reading = "SET"
    gin.parse_config([_IMPORTS, *(qualify(binding) for binding in bindings)])
    if raw is not None:
      gin.parse_config([_IMPORTS, qualify(_raw_binding(data, raw))])
  except GIN_ERRORS as error:
    where = f"{reading}: " if isinstance(error, tokenize.TokenError) else ""  # else gin says it
    raise ConfigError(where + explain(error)) from error
  _refuse_macros()
  _require_all()
  gin.finalize()


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
  """contextlib.chdir, which Python 3.10 does not have."""
  before = Path.cwd()
  os.chdir(folder)
  try:
    yield
  finally:
    os.chdir(before)


def names() -> dict[str, list[str]]:
  """The valid values of CONFIG, DATA and SCALE."""
  folders = {"CONFIG": CONFIGS, "DATA": CONFIGS / "data", "SCALE": CONFIGS / "scale"}
  return {
    kind: sorted(path.stem for path in folder.glob("*.gin") if path.stem != "base")
    for kind, folder in folders.items()
  }


def split_bindings(text: str) -> list[str]:
  """Splits SET="a.b=1 c.d=[2, 3]" before every name that is followed by an equals sign."""
  return [part for part in re.split(r"\s+(?=[\w./]+\s*=[^=])", text.strip()) if part]


def qualify(binding: str) -> str:
  """Adds the module to short names: train_and_evaluate.seed -> loop.train_and_evaluate.seed.

  Raises ConfigError, naming the nearest valid name, for one that is no argument of anything here.
  """
  target, equals, value = binding.partition("=")
  if not equals or "." not in target:
    raise ConfigError(f"SET {binding!r} is not of the form name.argument=value")
  *path, argument = target.strip().split(".")
  callables = _callables()
  known = sorted(
    f"{name}.{parameter}" for name, (_, c) in callables.items() for parameter in _parameters(c)
  )
  if f"{path[-1]}.{argument}" not in known:
    raise ConfigError(f"no setting {target.strip()!r}{nearest(f'{path[-1]}.{argument}', known)}")
  value = re.sub(r"@(\w+)", lambda match: "@" + _qualified(match.group(1)), value)
  return f"{_qualified(path[-1])}.{argument} = {value.strip()}"


_IMPORTS = "\n".join(
  ["from __gin__ import dynamic_registration"]
  + [
    f"from {module.__name__.rpartition('.')[0]} import {module.__name__.rpartition('.')[2]}"
    for module in MODULES
  ]
)


def _callables() -> Mapping[str, tuple[str, object]]:
  """Every configurable callable: short name -> (module's last name, callable)."""
  return {
    name: (module.__name__.rpartition(".")[2], value)
    for module in MODULES
    for name, value in vars(module).items()
    if not name.startswith("_")
    and callable(value)
    and not (isinstance(value, type) and issubclass(value, Exception))
    and getattr(value, "__module__", None) == module.__name__
  }


def _parameters(value: object) -> list[str]:
  assert callable(value)
  return [name for name in inspect.signature(value).parameters if name not in ("self", "kwargs")]


def _qualified(name: str) -> str:
  callables = _callables()
  if name not in callables:
    return name
  return f"{callables[name][0]}.{name}"


def _find_or_path(kind: str, name: str, folder: Path) -> Path:
  return Path(name).absolute() if Path(name).is_file() else _find(kind, name, folder)


def _find(kind: str, name: str, folder: Path) -> Path:
  path = folder / f"{name.removesuffix('.gin')}.gin"
  if path.is_file() and path.stem != "base" and "/" not in name:
    return path
  raise ConfigError(f"no {kind} {name!r}{nearest(name.removesuffix('.gin'), names()[kind])}")


def _raw_binding(data: str, raw: str) -> str:
  """RAW for the source that is configured, whatever the name of the file that did it."""
  source = str(gin.query_parameter("loop.train_and_evaluate.source"))  # such as @table.Table()
  name = source.strip("@()").rpartition(".")[2]
  callables = _callables()
  if name not in callables or "raw" not in _parameters(callables[name][1]):
    raise ConfigError(f"DATA {data!r} reads no raw folder; leave RAW out")
  return f"{name}.raw = {raw!r}"


def _require_all() -> None:
  """What has no default must be bound by some file, but for the run directory."""
  for name, parameter in inspect.signature(loop.train_and_evaluate).parameters.items():
    if parameter.default is parameter.empty and name != "run_directory":
      try:
        gin.query_parameter(f"loop.train_and_evaluate.{name}")
      except ValueError as error:
        raise ConfigError(f"nothing sets train_and_evaluate.{name}; bind it in DATA") from error


def _refuse_macros() -> None:
  """A misspelt macro would otherwise be accepted in silence; the configurations here use none."""
  macros = [scope for scope, selector in gin.config._CONFIG if selector == "gin.macro"]
  if macros:
    raise ConfigError(f"{macros[0]} is a macro, which nothing reads; bind name.argument instead")


def check_used(bindings: Sequence[str], operative: str) -> None:
  """Raises ConfigError for a binding that nothing read, such as one of a method not chosen.

  Args:
    bindings: as of `configure`.
    operative: gin's operative configuration, once all that a run needs is made.
  """
  for binding in bindings:
    target = binding.partition("=")[0].strip()
    *path, argument = target.split(".")
    if not re.search(rf"(^|[./]){path[-1]}\.{argument} =", operative, re.MULTILINE):
      raise ConfigError(
        f"SET {target} has no effect: this run does not use {path[-1]}, or sets {argument} itself; "
        "leave it out, or bind what uses it"
      )


def explain(error: BaseException) -> str:
  """One of GIN_ERRORS in a line: the first of gin's complaint, with the place it points to."""
  if isinstance(error, tokenize.TokenError):
    return "a bracket or a quote is left open"
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  place = next((line for line in lines[1:] if line.startswith(("In ", "Failed"))), "")
  return " ".join([lines[0] if lines else type(error).__name__, place]).strip()
