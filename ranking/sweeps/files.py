"""Reads the .gin file that describes a sweep or a search."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import gin

from ranking import configuration
from ranking.nearest import nearest
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Method, Sweep, SweepError

Kind = TypeVar("Kind", Sweep, Search)
MINE = "ranking.sweeps."
KINDS: dict[str, type[Sweep] | type[Search]] = {
  f"{kind.__module__}.{kind.__name__}": kind for kind in (Sweep, Search)
}
METHOD = f"{Method.__module__}.{Method.__name__}"


def describe(file: str) -> Sweep | Search:
  """What a file describes, named after it; which of the two is seen from what it binds.

  Raises SweepError if there is no such file, or it cannot be read, or binds anything else.
  """
  path = Path(file)
  if not path.is_file():
    known = sorted(str(each) for each in Path("experiments").glob("*.gin"))
    raise SweepError(f"no experiment {file!r}{nearest(file, known) if known else ''}")
  gin.clear_config()
  try:
    with _includes_beside(path.absolute().parent, configuration.CONFIGS.resolve().parent):
      gin.parse_config_file(str(path.absolute()))
    bound = {name for _, name in gin.config._CONFIG}
    used = gin.config.iterate_references(gin.config._CONFIG)
    for name in (*bound, *(reference.configurable.selector for reference in used)):
      if not name.startswith(MINE):
        raise SweepError(f"it binds {name}, which only runs read; use bindings of the experiment")
    kinds = sorted(bound & set(KINDS))
    if len(kinds) != 1 or bound - {*kinds, METHOD}:
      names = ", ".join(sorted(bound - {METHOD})) or "nothing"
      raise SweepError(f"it describes {names}; make it one Sweep or one Search")
    described: Sweep | Search = gin.get_configurable(KINDS[kinds[0]])(name=path.stem)
  except configuration.GIN_ERRORS as error:
    raise SweepError(f"{file}: {configuration.explain(error)}") from error
  return described


def read(file: str, kind: type[Kind]) -> Kind:
  """As `describe`, for a command that takes one kind. Raises SweepError if it is another one."""
  described = describe(file)
  if not isinstance(described, kind):
    name = type(described).__name__
    raise SweepError(f"{file}: it describes a {name}, this needs a {kind.__name__}")
  return described


@contextlib.contextmanager
def _includes_beside(*folders: Path) -> Iterator[None]:
  """Lets gin look for included files in these folders, and nowhere else but the current one."""
  before = list(gin.config._LOCATION_PREFIXES)
  for folder in folders:
    gin.add_config_file_search_path(str(folder))
  try:
    yield
  finally:
    gin.config._LOCATION_PREFIXES[:] = before
