"""What an optimizer may be made of."""

from collections.abc import Sequence
from typing import Any

from ranking.optimizers.clipping import AdaptiveGradientClipping, Clip
from ranking.optimizers.directions import Direction
from ranking.optimizers.rules import Rule, check_pattern
from ranking.optimizers.settings import ThresholdError


def check_counts(micro_batches: Any, ema_momentum: Any, ema_overwrite_frequency: Any) -> None:
  """Raises ThresholdError for what is no count, or no share of the past."""
  for name, value, least in (
    ("micro_batches", micro_batches, 1),
    ("ema_overwrite_frequency", ema_overwrite_frequency, 1),
  ):
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not is_count and not (name != "micro_batches" and value is None):
      raise ThresholdError(f"{name} is {value!r}; make it a whole number, {least} or more")
  is_number = isinstance(ema_momentum, int | float) and not isinstance(ema_momentum, bool)
  if not (is_number and 0 <= ema_momentum <= 1):
    raise ThresholdError(f"ema_momentum is {ema_momentum!r}; make it a share, from 0 to 1")


def check_arguments(
  direction: Any, clip: Any, accumulate: Any, exclude: Any, scope: Any, rules: Sequence[Any]
) -> None:
  """Raises ThresholdError for an argument that an optimizer cannot have."""
  for kind, made, wanted in (("direction", direction, Direction), ("clip", clip, Clip)):
    if not isinstance(made, wanted):
      raise ThresholdError(f"{kind} is {made!r}; make it a {wanted.__name__.lower()}, an object")
  for name, value, known in (
    ("accumulate", accumulate, ("clipped", "original")),
    ("scope", scope, ("layer", "global")),
  ):
    if value not in known:
      raise ThresholdError(f'{name} is {value!r}; make it "{known[0]}" or "{known[1]}"')
  for rule in rules:
    if not isinstance(rule, Rule):
      raise ThresholdError(f'rules has {rule!r}; make it Rule("pattern", clip=...)')
  check_pattern("exclude", exclude)
  for rule in (Rule("", clip), *rules):
    own, of_own = rule.clip or clip, rule.direction or direction
    of_units = isinstance(own, AdaptiveGradientClipping) and own.unit != "layer"
    if scope == "global" and of_units:
      raise ThresholdError('scope="global" needs norms of whole variables; give AGC unit="layer"')
    if own.needs_preconditioner and not of_own.has_preconditioner:
      raise ThresholdError(
        f"{own} has a threshold that is relative to an accumulator, and {of_own} has none; "
        "give it direction=Adagrad()"
      )
