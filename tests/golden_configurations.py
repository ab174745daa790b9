"""Writes golden_configurations.md, what every configuration resolves to: run it with python -m.

Every setting of a run stands in one table: of those that are the same everywhere, or of those that
depend on CONFIG, DATA, SCALE, or on several of them.
"""

import itertools
from pathlib import Path
from typing import Any

from ranking import configuration

PAGE = Path(__file__).with_suffix(".md")
COMMAND = "python -m tests.golden_configurations"
AXES = ("CONFIG", "DATA", "SCALE")
LOGS = ("kuairand", "kuairec", "movielens", "synthetic", "table")  # a later one has its own test
Key = tuple[str, ...]  # one value for each of AXES, or for some of them


def resolved(config: str, data: str, scale: str) -> dict[str, Any]:
  """Every setting of a run by its name, those of the model and the optimizer one by one."""
  settings = configuration.read(config=config, data=data, scale=scale)
  groups = (settings.log, settings.training, settings.progress, settings.names)
  values = {name: value for group in groups for name, value in vars(group).items()}
  for name in ("model", "optimizer"):
    values |= {f"{name}.{part}": value for part, value in vars(values.pop(name)).items()}
  return {**values, "shadows": settings.shadows}


def resolved_everywhere() -> dict[Key, dict[str, str]]:
  """The settings as Markdown: of every CONFIG on one log, and of one CONFIG on every log."""
  names = configuration.names()
  keys = [
    *itertools.product(names["CONFIG"], ["synthetic"], names["SCALE"]),
    *itertools.product(["small_clippy"], LOGS, names["SCALE"]),
  ]
  return {
    key: {name: repr(value).replace("|", r"\|") for name, value in resolved(*key).items()}
    for key in sorted(set(keys))
  }


def page(runs: dict[Key, dict[str, str]]) -> str:
  """The tables as Markdown."""
  tables: dict[Key, list[str]] = {}
  for name in sorted(set().union(*runs.values())):
    tables.setdefault(axes_of(name, runs), []).append(name)
  text = ["# What every configuration resolves to", "", f"Written by `{COMMAND}`."]
  for axes in sorted(tables, key=lambda axes: (len(axes), axes)):
    text += ["", f"## By {' and '.join(axes)}" if axes else "## The same everywhere", ""]
    text += _table(axes, tables[axes], runs)
  return "\n".join([*text, ""])


def axes_of(name: str, runs: dict[Key, dict[str, str]]) -> Key:
  """Those of AXES that change a setting while the others stay."""
  found = []
  for k, axis in enumerate(AXES):
    seen: dict[Key, set[str]] = {}
    for key, settings in runs.items():
      seen.setdefault(key[:k] + key[k + 1 :], set()).add(settings.get(name, ""))
    if any(len(values) > 1 for values in seen.values()):
      found.append(axis)
  return tuple(found)


def _table(axes: Key, names: list[str], runs: dict[Key, dict[str, str]]) -> list[str]:
  if not axes:
    (settings, *_) = runs.values()
    return _rows([("setting", "value"), *((name, settings[name]) for name in names)])
  rows = {
    tuple(key[AXES.index(axis)] for axis in axes): tuple(settings.get(name, "") for name in names)
    for key, settings in runs.items()
  }
  return _rows([(*axes, *names), *((*key, *values) for key, values in sorted(rows.items()))])


def _rows(cells: list[Key]) -> list[str]:
  header, *body = (f"| {' | '.join(row)} |" for row in cells)
  return [header, "|---" * len(cells[0]) + "|", *body]


if __name__ == "__main__":
  PAGE.write_text(page(resolved_everywhere()))
  print(PAGE)
