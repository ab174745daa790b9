"""Which variables an optimizer treats in another way than the rest."""

import dataclasses
import re
from typing import Any, NamedTuple

import tensorflow as tf

from ranking.optimizers.clipping import Clip, NoClip
from ranking.optimizers.directions import Direction
from ranking.optimizers.settings import ThresholdError

# In place of a pattern: tables that are looked up, however they are called.
TABLES = "@tables"

# Words in the name of a variable that is multiplied or added, though it is called an embedding too.
NO_TABLE = {"kernel", "bias", "projection", "dense", "scale", "norm", "gamma", "beta", "gate"}


class Treatment(NamedTuple):
  """What a step does with one variable."""

  clip: Clip
  direction: Direction
  rate: float  # times η
  is_clipped: bool


@dataclasses.dataclass(frozen=True)
class Rule:
  """Another clip, direction or rate for some variables; of several rules the first that fits wins.

  Raises ThresholdError for an argument that it cannot have.

  Args:
    variables: a pattern that is searched for in a variable's name, or TABLES.
    clip: theirs; None for the optimizer's. `NoClip()` leaves them to the direction alone.
    direction: theirs; None for the optimizer's. `Adam(weight_decay=0.0)` for biases, say.
    rate: what η is multiplied with. 0 keeps them still.
  """

  variables: str
  clip: Clip | None = None
  direction: Direction | None = None
  rate: float = 1.0

  def __post_init__(self) -> None:
    check_pattern("Rule.variables", self.variables)
    for name, kind in (("clip", Clip), ("direction", Direction)):
      made = getattr(self, name)
      if made is not None and not isinstance(made, kind):
        raise ThresholdError(
          f"Rule.{name} is {made!r}; make it a {name}, an object, or None for the optimizer's"
        )
    is_number = isinstance(self.rate, int | float) and not isinstance(self.rate, bool)
    if not (is_number and 0 <= self.rate < float("inf")):
      raise ThresholdError(f"Rule.rate is {self.rate!r}; make it a number that is not negative")

  def fits(self, variable: tf.Variable, looked_up: bool) -> bool:
    """Whether the rule is for a variable."""
    return finds(self.variables, variable, looked_up)


def treatment(
  variable: tf.Variable,
  looked_up: bool,
  rules: tuple[Rule, ...],
  exclude: str,
  clip: Clip,
  direction: Direction,
) -> Treatment:
  """That of the first rule that fits; else of `exclude`; else the optimizer's own."""
  for rule in rules:
    if rule.fits(variable, looked_up):
      own = rule.clip or clip
      clipped = not isinstance(rule.clip, NoClip)
      return Treatment(own, rule.direction or direction, float(rule.rate), clipped)
  if finds(exclude, variable, looked_up):
    return Treatment(NoClip(), direction, 1.0, is_clipped=False)
  return Treatment(clip, direction, 1.0, is_clipped=True)


def finds(pattern: str, variable: tf.Variable, looked_up: bool) -> bool:
  """Whether a pattern is found in a variable's name; "" never is."""
  if pattern == TABLES:
    return looked_up
  return bool(pattern) and re.search(pattern, variable.name) is not None


def is_table(variable: tf.Variable, gradient: Any = None) -> bool:
  """Whether a variable is looked up: its gradient comes in rows, or it is called an embedding.

  The variable of an Embedding layer is "embeddings". Its own name counts, not those of the layers
  and models that it is in; nor is "embedding_kernel" a table.
  """
  own = variable.name.removesuffix(":0").rpartition("/")[2]
  words = set(re.split(r"[^a-z]+", own.lower()))
  is_called_one = bool(words & {"embedding", "embeddings"}) and not words & NO_TABLE
  return isinstance(gradient, tf.IndexedSlices) or is_called_one


def check_pattern(name: str, pattern: Any) -> None:
  """Raises ThresholdError for what is no regular expression."""
  try:
    re.compile(pattern)
  except (re.error, TypeError) as error:
    raise ThresholdError(f"{name} is {pattern!r}, which is no pattern ({error})") from error
