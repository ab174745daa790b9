"""Clips, directions and rules as plain values, for configurations of tf_keras."""

import dataclasses
from typing import Any

from ranking.optimizers.clipping import Clip
from ranking.optimizers.directions import Direction
from ranking.optimizers.rules import Rule
from ranking.optimizers.settings import Ramp


def plain(part: Clip | Direction) -> dict[str, Any]:
  """A clip or direction as its name and fields."""
  return {type(part).__name__: dataclasses.asdict(part)}


def plain_rule(rule: Rule) -> dict[str, Any]:
  """A rule as its fields."""
  return {
    "variables": rule.variables,
    "clip": rule.clip and plain(rule.clip),
    "direction": rule.direction and plain(rule.direction),
    "rate": rule.rate,
  }


def made(config: dict[str, Any]) -> dict[str, Any]:
  """A configuration with its direction and clip as objects.

  Raises ValueError for a kind that is unknown.
  """
  result = dict(config)
  for part, base in (("direction", Direction), ("clip", Clip)):
    if config[part] is None:
      continue
    ((name, arguments),) = config[part].items()
    kinds = {kind.__name__: kind for kind in _kinds(base)}
    if name not in kinds:
      raise ValueError(f"no {part} {name!r} is known; import the module that defines it")
    ramps = {key: Ramp(**value) for key, value in arguments.items() if isinstance(value, dict)}
    result[part] = kinds[name](**{**arguments, **ramps})
  return result


def _kinds(base: type[Any]) -> list[type[Any]]:
  """A class's subclasses, theirs included."""
  return [kind for child in base.__subclasses__() for kind in (child, *_kinds(child))]
