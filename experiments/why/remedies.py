"""The same run from a few steps before its loss with one thing changed: what would save it?"""

import dataclasses
from collections.abc import Callable, Collection, Iterator

import numpy as np

from experiments.why import descent
from experiments.why.anatomy import Row, Step, clipped
from experiments.why.descent import State
from experiments.why.landscape import Batch, Landscape

STEPS = 100
LAST = 25  # steps of these by which a run is judged
LOST = 0.98  # of the best constant's loss, their median
CROSS = ("cross_1", "cross_2", "cross_3", "cross_4")
HIDDEN = ("hidden_1", "hidden_2", "hidden_3", "hidden_4")


@dataclasses.dataclass(frozen=True)
class Remedy:
  """What is different.

  Attributes:
    clippy: the layers that Clippy treats.
    still: the layers that do not move.
    rate: times the run's.
    later: so many steps later batches.
    tasks: the numbers of the tasks that are learnt; None = all.
  """

  clippy: Collection[str] = ()
  still: Collection[str] = ()
  rate: float = 1.0
  later: int = 0
  tasks: Collection[int] | None = None


def remedies(landscape: Landscape, kinds: list[str]) -> dict[str, Remedy]:
  """By what a table calls them.

  Args:
    landscape: of the run.
    kinds: of its tasks.
  """
  layers = [layer for layer in landscape.layers if layer != "embeddings"]
  rest = [layer for layer in layers if layer not in (*CROSS, *HIDDEN)]
  of_kind = {kind: [k for k, own in enumerate(kinds) if own == kind] for kind in kinds}
  return {
    "nothing": Remedy(),
    "other rows": Remedy(later=100),
    "half the rate": Remedy(rate=0.5),
    "Clippy": Remedy(clippy=layers),
    "Clippy on the cross layers": Remedy(clippy=CROSS),
    "Clippy on the hidden layers": Remedy(clippy=HIDDEN),
    "Clippy on norm and towers": Remedy(clippy=rest),
    "cross layers held still": Remedy(still=CROSS),
    "hidden layers held still": Remedy(still=HIDDEN),
    "embeddings held still": Remedy(still=("embeddings",)),
    **{f"{kind} tasks alone": Remedy(tasks=numbers) for kind, numbers in of_kind.items()},
  }


def outcome(
  landscape: Landscape,
  state: State,
  rate_of: Callable[[int], float],
  batch_of: Callable[[int], Batch],
  remedy: Remedy,
) -> Row:
  """Goes on from a state for STEPS steps; how it ends."""
  relative = list(_relative_losses(landscape, state, rate_of, batch_of, remedy))
  end = float(np.median(relative[-LAST:]))
  return {
    "highest": max(relative),
    "end": end,
    "lost": len(relative) < STEPS or not end < LOST,
  }


def _relative_losses(
  landscape: Landscape,
  state: State,
  rate_of: Callable[[int], float],
  batch_of: Callable[[int], Batch],
  remedy: Remedy,
) -> Iterator[float]:
  """Of each step before it is taken; ends where one is not finite."""
  treated = [name for name in clipped(landscape) if landscape.layer_of[name] in remedy.clippy]
  for _ in range(STEPS):
    number = state.step + 1
    batch = batch_of(number + remedy.later)
    if remedy.tasks is not None:
      mask = np.isin(np.arange(len(landscape.tasks)), list(remedy.tasks)).astype(np.float32)
      batch = {**batch, "weights": batch["weights"] * mask}
    step = Step.of(landscape, state, remedy.rate * rate_of(number), batch)
    relative = step.seen.loss / landscape.constant_loss(batch)
    if not np.isfinite(relative) or not np.isfinite(step.seen.gradient).all():
      return
    yield relative
    factors = descent.factors(state.weights, step.move, landscape.spans, treated)
    for name, layer in landscape.layer_of.items():
      if layer in remedy.still:
        factors[name] = 0.0
    state = step.taken(factors, landscape.spans)
