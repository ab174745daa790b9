"""Reads the .gin file that describes a sweep or a search."""

from pathlib import Path
from typing import Any, TypeVar

import gin

from ranking import configuration
from ranking.nearest import nearest
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Method, Sweep, SweepError

Kind = TypeVar("Kind", Sweep, Search)
CONFIGURABLE: dict[str, Any] = {kind.__name__: kind for kind in (Sweep, Search, Method)}
for _name, _kind in CONFIGURABLE.items():
  gin.external_configurable(_kind, name=_name, module="ranking")


def describe(file: str) -> Sweep | Search:
  """What a file describes, named after it; which of the two is seen from what it binds.

  Raises SweepError if there is no such file or it describes none of the two, ConfigError for what
  it cannot bind.
  """
  path = Path(file)
  if not path.is_file():
    known = sorted(str(each) for each in Path("experiments").glob("*.gin"))
    raise SweepError(f"no experiment {file!r}{nearest(file, known) if known else ''}")
  gin.clear_config()
  configuration.read_file(path.absolute(), CONFIGURABLE, beside=[])
  bound = {selector.rpartition(".")[2] for _, selector in gin.config._CONFIG}
  kinds = sorted(bound & {"Search", "Sweep"})
  if len(kinds) != 1:
    raise SweepError(
      f"{file} describes {' and '.join(kinds) or 'nothing'}; make it one Sweep or one Search"
    )
  try:
    described: Sweep | Search = gin.get_configurable(kinds[0])(name=path.stem)
  except (ValueError, TypeError) as error:
    raise SweepError(f"{file}: {configuration.first_line(error)}") from error
  return described


def read(file: str, kind: type[Kind]) -> Kind:
  """Reads a file for a command that takes one kind. Raises SweepError if it is another one."""
  described = describe(file)
  if not isinstance(described, kind):
    name = type(described).__name__
    raise SweepError(f"{file} describes a {name}, this needs a {kind.__name__}")
  return described
