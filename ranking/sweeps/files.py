"""Reads the .gin file that describes a sweep or a search."""

import dataclasses
import os
from pathlib import Path
from typing import TypeVar

from ranking import configuration
from ranking.nearest import nearest
from ranking.sweeps.search import Search
from ranking.sweeps.sweep import Method, Sweep, SweepError

Kind = TypeVar("Kind", Sweep, Search)
BINDABLE = {kind.__name__: kind for kind in (Sweep, Search, Method)}


def describe(file: str) -> Sweep | Search:
  """Makes what a file describes, named after it; which of the two is seen from what it binds.

  A path of `data` may be relative to the file, as one that it includes.

  Raises SweepError if there is no such file, ConfigError if it describes none of the two, or binds
  what it cannot.
  """
  path = Path(file)
  if not path.is_file():
    known = sorted(str(each) for each in Path("experiments").glob("*.gin"))
    meant = nearest(file, known) if known else "; give the path of its file"
    raise SweepError(f"no experiment {file!r}{meant}")
  made: Sweep | Search = configuration.make_described(path, BINDABLE, ("Sweep", "Search"))
  beside = path.parent / made.data
  if beside.is_file() and not Path(made.data).is_file():
    return dataclasses.replace(made, data=os.path.relpath(beside))
  return made


def read(file: str, kind: type[Kind]) -> Kind:
  """Reads a file for a command that takes one kind. Raises SweepError if it is another one."""
  described = describe(file)
  if not isinstance(described, kind):
    name = type(described).__name__
    raise SweepError(f"{file} describes a {name}, this needs a {kind.__name__}")
  return described
