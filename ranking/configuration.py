"""From names on the command line to the settings of one run, with one-line errors.

This is the only module that knows gin. Files are read in the order base, data, scale, CONFIG (or
MODEL and METHOD), hardware, bindings; a later one wins, so that the config.gin of a run directory
makes the same run whatever DATA and SCALE say, on the devices that HARDWARE says. A file that
describes a log of one's own is read after the scale: its learning rate is that of its log, at the
scale it is used at.

Gin's own reader would import any module that a file names and call anything in it. This one reads
gin's language with gin's parser but binds and refers to nothing outside CONFIGURABLE, so that a
file of somebody else can set what a run does and nothing more.
"""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import gin
from gin import config_parser

import ranking.data.hashing
import ranking.data.lookback
import ranking.data.sources
import ranking.models
import ranking.optimizers
from ranking import settings, strategy
from ranking.errors import InputError, first_line
from ranking.nearest import nearest
from ranking.optimizers.optimizer_settings import OptimizerSettings
from ranking.settings import Settings
from ranking.stability.divergence import DivergenceRule

CONFIGS = Path(__file__).parent / "configs"
RUN = "train_and_evaluate"  # what gin and SET call the settings of a run
# Where a class that can be configured may lie: every public dataclass that no other one extends.
PLACES = (
  ranking.data.hashing,
  ranking.data.lookback,
  ranking.data.sources,
  ranking.models,
  ranking.optimizers,
)
TWINS = ("ranking.optimizers.torch", "ranking.optimizers.optax")  # for models of other libraries
GIVEN = ("peak",)  # of a schedule: the learning rate, which no file can bind twice


class ConfigError(InputError):
  """A file, name, binding or value that there is not, or that cannot be what it is bound to."""


def read(
  *,
  config: str | None = None,
  model: str | None = None,
  method: str | None = None,
  data: str = "synthetic",
  scale: str = "paper",
  hardware: str | None = None,
  raw: str | None = None,
  bindings: Sequence[str] = (),
  run_directory: str = "runs/unnamed",
) -> Settings:
  """The settings of one run; clears what gin held before.

  Args:
    config: a file of configs/, such as "large_dcn_clippy.gin", or a path to a .gin file.
    model, method: in its place, or to change its model or method: files of configs/models/ and
      configs/methods/, or paths.
    data: a file of configs/data/, such as "kuairand", or a path to one of your own.
    scale: a file of configs/scale/: "paper" or "proxy".
    hardware: a file of configs/hardware/, such as "gpus", or a path; None = the best there is.
    raw: folder of the raw log, for a source that reads one.
    bindings: such as "train_and_evaluate.seed=3".
    run_directory: unless a binding sets it.

  Raises:
    ConfigError: one of these is not there, or a binding sets what this run does not read.
    InputError: a value that a setting cannot have.
  """
  gin.clear_config()
  _macros_read.clear()
  of_data, of_scale = _find("DATA", data, paths=True), _find("SCALE", scale, paths=False)
  described_here = of_data.parent == CONFIGS / "data"
  files = [CONFIGS / "base.gin", *((of_data, of_scale) if described_here else (of_scale, of_data))]
  if config:
    files.append(_find("CONFIG", config, paths=True))
  elif not (model and method):
    known = ", ".join(names()["CONFIG"])
    raise ConfigError(f"no CONFIG given; take one of {known}, or give MODEL and METHOD")
  files += [_find("MODEL", model, paths=True)] if model else []
  files += [_find("METHOD", method, paths=True)] if method else []
  files += [_find("HARDWARE", hardware, paths=True)] if hardware else []
  for file in files:
    read_file(file, CONFIGURABLE, [CONFIGS.parent])
  _bind({("", RUN): {"run_directory": run_directory}})
  read_bindings(bindings)
  if raw is not None:
    _bind_raw(data, raw)
  _check_macros()
  made: Settings = _make(gin.get_configurable(RUN))
  _check_used(bindings)
  return made


def make_described(path: Path, known: Mapping[str, type], kinds: Sequence[str]) -> Any:
  """Makes what a file describes, named after it, such as a sweep; clears what gin held before.

  Args:
    path: of the file.
    known: what it may bind, by name.
    kinds: the names of those of which it describes one.

  Raises ConfigError if it describes none or several, or if what it says cannot be.
  """
  gin.clear_config()
  _macros_read.clear()
  for name, kind in known.items():
    gin.external_configurable(kind, name=name, module="ranking.described")
  read_file(path.absolute(), known, beside=[])
  _check_macros()
  found = sorted({name for _, name in _bound()} & set(kinds))
  if len(found) != 1:
    what = " and ".join(found) or "nothing"
    raise ConfigError(f"{path} describes {what}; make it one {' or one '.join(kinds)}")
  try:
    return gin.get_configurable(found[0])(name=path.stem)
  except (ValueError, TypeError) as error:
    raise ConfigError(f"{path}: {first_line(error)}") from error


def operative() -> str:
  """What the last run read by `read` was made with, defaults included; parses back into it."""
  return str(gin.operative_config_str())


def names() -> dict[str, list[str]]:
  """The valid values of CONFIG, MODEL, METHOD, DATA, SCALE and HARDWARE."""
  return {
    kind: sorted(path.stem for path in folder.glob("*.gin") if path.stem != "base")
    for kind, folder in FOLDERS.items()
  }


FOLDERS = {
  "CONFIG": CONFIGS,
  "MODEL": CONFIGS / "models",
  "METHOD": CONFIGS / "methods",
  "DATA": CONFIGS / "data",
  "SCALE": CONFIGS / "scale",
  "HARDWARE": CONFIGS / "hardware",
}


def _find(kind: str, name: str, paths: bool) -> Path:
  """The file that a name stands for. Raises ConfigError with the nearest one."""
  if paths and Path(name).is_file():
    return Path(name).absolute()
  stem = name.removesuffix(".gin")
  if stem not in names()[kind]:
    raise ConfigError(f"no {kind} {name!r}{nearest(stem, names()[kind])}")
  return FOLDERS[kind] / f"{stem}.gin"


def _configurable() -> dict[str, Callable[..., Any]]:
  """What files may bind and refer to, by name."""
  found: dict[str, Callable[..., Any]] = {RUN: Settings.of}
  classes = {
    value
    for place in PLACES
    for module in _modules(place)
    for value in vars(module).values()
    if dataclasses.is_dataclass(value)
    and isinstance(value, type)
    and value.__module__ == module.__name__
    and not value.__name__.startswith("_")
  }
  bases = {base for value in classes for base in value.__mro__[1:]}
  for value in sorted(classes - bases - {OptimizerSettings}, key=lambda value: value.__name__):
    assert value.__name__ not in found, f"two classes are called {value.__name__}"
    found[value.__name__] = value
  # In files, a description has the name of what it describes.
  found |= {"ClippedOptimizer": OptimizerSettings, "DivergenceMonitor": DivergenceRule}
  strategies = inspect.getmembers(strategy, inspect.isfunction)
  return found | {name: make for name, make in strategies if not name.startswith("_")}


def _modules(place: ModuleType) -> Iterator[ModuleType]:
  yield place
  for found in pkgutil.walk_packages(getattr(place, "__path__", []), f"{place.__name__}."):
    if found.name not in TWINS:
      yield importlib.import_module(found.name)


CONFIGURABLE = _configurable()
for _name, _callable in CONFIGURABLE.items():
  gin.external_configurable(_callable, name=_name, module="ranking")


_signature = functools.cache(inspect.signature)  # every binding is compared with all settings


def parameters(name: str, known: Mapping[str, Callable[..., Any]]) -> list[str]:
  """What can be bound of a configurable."""
  if name == RUN:
    return list(settings.NAMES)
  given = _signature(known[name]).parameters
  return [parameter for parameter in given if parameter not in GIVEN]


_macros_read: set[str] = set()  # by what was read since gin was cleared, overridden later or not


class _References(config_parser.ParserDelegate):
  """Makes gin's references of what may be referred to, and of macros."""

  def __init__(self, known: Mapping[str, Callable[..., Any]]):
    self._known = known

  def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Any:
    *scopes, selector = scoped_configurable_name.split("/")
    name = selector.rpartition(".")[2]
    if name not in self._known or name == RUN:
      raise ConfigError(f"no @{selector} can be configured{nearest(name, list(self._known))}")
    return gin.config.ConfigurableReference("/".join([*scopes, name]), evaluate)

  def macro(self, macro_name: str) -> Any:
    _macros_read.add(macro_name)
    return gin.config.ConfigurableReference(f"{macro_name}/gin.macro", True)


def read_file(
  path: Path,
  known: Mapping[str, Callable[..., Any]],
  beside: Sequence[Path],
  within: Sequence[Path] = (),
) -> None:
  """Binds what a file says.

  Args:
    path: of the file.
    known: what may be bound, by name.
    beside: where a file that it includes is looked for after its own folder and the working one.
    within: the files that include it.

  Raises ConfigError with the place for what it cannot.
  """
  if path in within:
    raise ConfigError(f"{path} includes itself, by way of {within[-1]}; remove one of the includes")
  try:
    text = path.read_text()
  except UnicodeDecodeError as error:
    raise ConfigError(f"{path} is no text in UTF-8; save it as that") from error
  except OSError as error:
    raise ConfigError(f"{path} cannot be read: {error.strerror}; give another file") from error
  for statement in _statements(text, str(path), known):
    if isinstance(statement, config_parser.IncludeStatement):
      inner = Path(statement.filename)
      places = [path.parent / inner, inner.absolute(), *(folder / inner for folder in beside)]
      found = next((place for place in places if place.is_file()), None)
      if found is None:
        line = statement.location.line_num
        raise ConfigError(f"{path}, line {line}: no file {inner} to include; give its path")
      read_file(found, known, beside, [*within, path])
    else:
      _bind(_binding(statement, str(path), known))


def read_bindings(bindings: Sequence[str]) -> None:
  """Binds what SET says. Raises ConfigError."""
  for binding in bindings:
    where = f"SET {binding}"
    for statement in _statements(binding, where, CONFIGURABLE):
      is_binding = isinstance(statement, config_parser.BindingStatement)
      if not is_binding or not statement.arg_name:
        raise ConfigError(f"SET {binding!r} is not of the form name.argument=value")
      _bind(_binding(statement, where, CONFIGURABLE))


def split_bindings(text: str) -> list[str]:
  """The bindings in SET="a.b=1 c.d=[2, 3]": each begins with a name before an equals sign.

  Raises ConfigError if a bracket or a quote is left open.
  """
  if not text.strip():
    return []
  starts, depth = [], 0
  tokens = _tokens(text)
  for k, token in enumerate(tokens):
    depth += (token.string in "([{") - (token.string in ")]}") if token.type == tokenize.OP else 0
    if token.string == "=" and token.type == tokenize.OP and not depth:
      first = k - 1  # back over the name, which has no blanks in it
      while first > 0 and tokens[first - 1].end == tokens[first].start:
        first -= 1
      starts.append(tokens[first].start[1])
  if starts[:1] != [len(text) - len(text.lstrip())]:
    raise ConfigError(f"SET {text.strip()!r} is not of the form name.argument=value")
  ends = [*starts[1:], len(text)]
  return [text[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def _tokens(text: str) -> list[tokenize.TokenInfo]:
  try:
    found = list(tokenize.generate_tokens(iter([text.replace("\n", " ")]).__next__))
  except tokenize.TokenError as error:
    raise ConfigError("SET: a bracket or a quote is left open") from error
  return [token for token in found if token.string.strip()]


def _statements(text: str, where: str, known: Mapping[str, Callable[..., Any]]) -> Iterator[Any]:
  """The statements of gin's language but for imports, which only have to be of this package."""
  try:
    for statement in config_parser.ConfigParser(text, _References(known)):
      if not isinstance(statement, config_parser.ImportStatement):
        yield statement
      elif statement.module.partition(".")[0] not in ("__gin__", "ranking"):
        raise ConfigError(
          f"{where}, line {statement.location.line_num}: {statement.module} is no module of "
          "ranking; only those can be configured"
        )
  except ConfigError as error:  # gin adds where it stood
    said = first_line(error)
    raise ConfigError(said if said.startswith(where) else f"{where}: {said}") from error
  except tokenize.TokenError as error:
    raise ConfigError(f"{where}: a bracket or a quote is left open") from error
  except (SyntaxError, ValueError) as error:
    lines = [line.strip() for line in str(error).splitlines()]
    said = next((line for line in lines if line.startswith("Failed")), first_line(error))
    if said.startswith("Expected newline"):
      said = "one plain value belongs here, such as 3, 0.5, 'text', [1, 2] or @Name()"
    raise ConfigError(f"{where}: {said}") from error


Bindings = dict[tuple[str, str], dict[str, Any]]  # by scope and name


def _binding(statement: Any, where: str, known: Mapping[str, Callable[..., Any]]) -> Bindings:
  """What a statement binds. Raises ConfigError for a name that there is not."""
  place = where if where.startswith("SET ") else f"{where}, line {statement.location.line_num}"
  if isinstance(statement, config_parser.BlockDeclaration):
    return {}
  if not statement.arg_name:  # a macro
    scope = f"{statement.scope}/" if statement.scope else ""
    return {(f"{scope}{statement.selector}", "gin.macro"): {"value": statement.value}}
  name = statement.selector.rpartition(".")[2]
  valid = [f"{each}.{argument}" for each in known for argument in parameters(each, known)]
  if f"{name}.{statement.arg_name}" not in valid:
    meant = nearest(f"{name}.{statement.arg_name}", sorted(valid))
    raise ConfigError(f"{place}: no setting {statement.selector}.{statement.arg_name}{meant}")
  return {(statement.scope, name): {statement.arg_name: statement.value}}


def _bind(bindings: Bindings) -> None:
  for (scope, name), values in bindings.items():
    for argument, value in values.items():
      gin.bind_parameter((scope, name, argument), value)


def _bound() -> dict[tuple[str, str], dict[str, Any]]:
  """All bindings, by scope and last name."""
  return {
    (scope, selector.rpartition(".")[2]): values
    for (scope, selector), values in gin.config._CONFIG.items()
  }


def _references(value: Any) -> Iterator[Any]:
  """Gin's references within a value."""
  if isinstance(value, gin.config.ConfigurableReference):
    yield value
  elif isinstance(value, Mapping):
    for entry in (*value.keys(), *value.values()):
      yield from _references(entry)
  elif isinstance(value, list | tuple | set):
    for entry in value:
      yield from _references(entry)


def _bind_raw(data: str, raw: str) -> None:
  """RAW for the source that is configured, whatever the name of the file that did it."""
  source = _bound()[("", RUN)].get("source")
  (name, *_) = [reference.selector for reference in _references(source)] or [""]
  if name not in CONFIGURABLE or "raw" not in parameters(name, CONFIGURABLE):
    raise ConfigError(f"DATA {data!r} reads no raw folder; leave RAW out")
  _bind({("", name): {"raw": raw}})


def _check_macros() -> None:
  """A macro that nothing defines, or that nothing reads, is a misspelt one."""
  defined = [scope for scope, name in _bound() if name == "macro"]
  if missing := sorted(_macros_read - set(defined)):
    meant = nearest(missing[0], defined) if defined else ""
    raise ConfigError(f"no macro {missing[0]} for %{missing[0]}{meant}; define it: NAME = value")
  if unread := [name for name in defined if name not in _macros_read]:
    raise ConfigError(
      f"{unread[0]} is a macro, which nothing reads; bind name.argument, or use %{unread[0]}"
    )


def _check_used(bindings: Sequence[str]) -> None:
  """Refuses a binding of SET that nothing reads, such as one of a method not chosen."""
  used, scopes, to_visit = set[str](), {""}, [RUN]
  while to_visit:
    name = to_visit.pop()
    used.add(name)
    for (_, bound), values in _bound().items():
      if bound == name:
        unobserved = name == RUN and values.get("observe_every") is None
        read = [v for argument, v in values.items() if not (unobserved and argument == "shadows")]
        found = list(_references(read))
        scopes |= {"/".join(reference.scopes) for reference in found}
        to_visit += [each.selector for each in found if each.selector not in used]
  for binding in bindings:
    for statement in _statements(binding, "SET", CONFIGURABLE):
      name = statement.selector.rpartition(".")[2]
      if name not in used or statement.scope not in scopes:
        scope = f"{statement.scope}/" if statement.scope else ""
        raise ConfigError(
          f"SET {scope}{name}.{statement.arg_name} has no effect: this run does not use "
          f"{scope}{name}; leave it out, or bind what uses it"
        )


def _make(maker: Callable[[], Any]) -> Any:
  """What gin makes of all bindings. Raises InputError in one line."""
  try:
    return maker()
  except InputError as error:  # gin adds where it was called
    raise ConfigError(first_line(error)) from error
  except RecursionError as error:
    raise ConfigError("a setting refers to itself, by way of others; bind it a value") from error
  except (ValueError, TypeError) as error:
    said = first_line(error)
    unset = re.match(r"(\w+)\.__init__\(\) missing .*: '(\w+)'", said)
    if unset:
      said = f"nothing sets {unset[1]}.{unset[2]}; bind it, as the files of configs/ do"
    raise ConfigError(said) from error
