"""What a step of a replay is made of: rows of tables, by step, layer, task and row."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from experiments.why import curvature, descent
from experiments.why.descent import State
from experiments.why.landscape import Batch, Landscape, Seen
from ranking.array import Array

Row = dict[str, Any]
REFERENCE_ROWS = 1024  # that sharpness is taken on, beside the step's own batch
FIRST_ROUNDS, MORE_ROUNDS = 12, 2  # of power iteration, from chance and from the step before
TOP_ROWS = 3


class Step(NamedTuple):
  """A step that naive is about to take."""

  number: int
  rate: float
  state: State  # before it
  batch: Batch
  seen: Seen
  move: Array  # η·r
  sums: Array  # the accumulator after it

  @classmethod
  def of(cls, landscape: Landscape, state: State, rate: float, batch: Batch) -> "Step":
    """Looks at a batch from a state."""
    seen = landscape.seen(state.weights, batch)
    move, sums = descent.update(state, seen.gradient, rate)
    return cls(state.step + 1, rate, state, batch, seen, move, sums)

  def taken(self, factors: Mapping[str, float] | None = None, spans: Any = None) -> State:
    """The state after it, or after the same step with a factor for each variable."""
    move = self.move if factors is None else descent.scaled(self.move, factors, spans)
    return State(self.number, self.state.weights - move, self.sums)


def clipped(landscape: Landscape) -> list[str]:
  """The variables that a clip treats: all but the tables."""
  return [name for name, layer in landscape.layer_of.items() if layer != "embeddings"]


def joined(batches: list[Batch]) -> Batch:
  """Several batches as one, whose loss is the mean of theirs."""
  whole = {name: tf.concat([batch[name] for batch in batches], axis=0) for name in batches[0]}
  return {**whole, "weights": whole["weights"] / len(batches)}


class Sharpness:
  """The largest η·λ from step to step, on batches that change; each search goes on from the last.

  A step is unstable on a quadratic where it is above 2.
  """

  def __init__(self, landscape: Landscape):
    self._landscape = landscape
    self._vectors: dict[str, Array] = {}

  def __call__(self, key: str, state: State, rate: float, batch: Batch) -> float:
    """η·λ at a state.

    Args:
      key: which search goes on.
      state, rate, batch: where.
    """
    rounds = MORE_ROUNDS if key in self._vectors else FIRST_ROUNDS
    chance = np.random.default_rng(0).standard_normal(self._landscape.size, np.float32)
    start = self._vectors.get(key, chance)
    value, self._vectors[key] = curvature.sharpness(
      self._landscape, state.weights, batch, state.sums, start, rounds
    )
    return rate * value

  def shares(self, key: str) -> dict[str, float]:
    """Of the direction last found, the share of its square in each layer."""
    squares = np.square(self._vectors[key])
    found = dict.fromkeys(self._landscape.layers, 0.0)
    for name, span in self._landscape.spans.items():
      found[self._landscape.layer_of[name]] += float(squares[span].sum())
    return found


def of_state(landscape: Landscape, step: Step) -> Row:
  """Accumulators, and curvature along the step."""
  dense = np.concatenate([step.state.sums[landscape.spans[name]] for name in clipped(landscape)])
  squares = np.concatenate(
    [np.square(step.seen.gradient[landscape.spans[name]]) for name in clipped(landscape)]
  )
  added = dense - np.float32(0.1)
  return {
    "step": step.number,
    "rate": step.rate,
    "relative_loss": step.seen.loss / landscape.constant_loss(step.batch),
    "gradient_norm": float(np.sqrt(squares.sum())),
    "along": curvature.along(
      landscape, step.state.weights, step.batch, step.seen.gradient, step.move
    ),
    "added_median": float(np.median(added)),
    "added_99": float(np.quantile(added, 0.99)),
    "added_most": float(added.max()),
    "above_accumulator": float((squares > dense).mean()),  # one gradient that outweighs the past
  }


def of_step(landscape: Landscape, step: Step, following: Batch) -> Row:
  """What the step does to the loss of its own batch and of the next, naive and with Clippy."""
  weights = step.state.weights
  own, next_loss = step.seen.loss, landscape.loss(weights, following)
  factors = descent.factors(weights, step.move, landscape.spans, clipped(landscape))
  binding = min(factors, key=lambda name: factors[name])
  with_clippy = weights - descent.scaled(step.move, factors, landscape.spans)
  rows = np.sort(step.seen.shares.sum(axis=1))[::-1]
  after = landscape.shares(weights - step.move, step.batch)
  rising = int((after - step.seen.shares).sum(axis=0).argmax())
  moved = landscape.outputs(weights - step.move, step.batch)
  shift = (moved - landscape.outputs(weights, step.batch))[:, rising].astype(np.float64)
  return {
    "own_change": (after.sum() - own) / own,
    "rising_task": landscape.tasks[rising],
    "shift": float(shift.mean()),  # of its outputs, in the label's unit or as logits
    "common_shift": float(np.square(shift.mean()) / np.square(shift).mean()),
    "next_change": (landscape.loss(weights - step.move, following) - next_loss) / next_loss,
    "clippy_own_change": (landscape.loss(with_clippy, step.batch) - own) / own,
    "clippy_next_change": (landscape.loss(with_clippy, following) - next_loss) / next_loss,
    "clippy_factor": factors[binding],
    "clippy_binds": binding,
    "top_row": float(rows[0] / rows.sum()),
    "top_percent": float(rows[: max(1, len(rows) // 100)].sum() / rows.sum()),
  }


def of_layers(landscape: Landscape, step: Step) -> list[Row]:
  """Of each layer: its norms, its part in what the step does to its own batch, and σ of Clippy."""
  weights, own = step.state.weights, step.seen.loss
  factors = descent.factors(weights, step.move, landscape.spans, clipped(landscape))
  found = []
  for layer in landscape.layers:
    move = landscape.only(step.move, layer)
    squares = np.sort(np.square(move[move != 0]))[::-1]
    names = [name for name, its in landscape.layer_of.items() if its == layer]
    found.append(
      {
        "step": step.number,
        "layer": layer,
        "gradient_norm": float(np.linalg.norm(landscape.only(step.seen.gradient, layer))),
        "weight_norm": float(np.linalg.norm(landscape.only(weights, layer))),
        "move_norm": float(np.linalg.norm(move)),
        "alone": (landscape.loss(weights - move, step.batch) - own) / own,
        "others": (landscape.loss(weights - (step.move - move), step.batch) - own) / own,
        "top_percent": float(squares[: max(1, len(squares) // 100)].sum() / squares.sum()),
        "top_unit": max(_top_unit(landscape, move, name) for name in names),
        "clippy_factor": min(factors[name] for name in names),
      }
    )
  return found


def of_tasks(landscape: Landscape, step: Step) -> list[Row]:
  """Of each task: its loss, and the norm of its own gradient beside the towers and tables."""
  found = []
  for k, task in enumerate(landscape.tasks):
    mask = np.zeros(len(landscape.tasks), np.float32)
    mask[k] = 1.0
    alone = {**step.batch, "weights": step.batch["weights"] * mask}
    gradient = landscape.seen(step.state.weights, alone).gradient
    shared = sum(
      float(np.square(gradient[span]).sum())
      for name, span in landscape.spans.items()
      if landscape.layer_of[name] not in ("embeddings", "towers")
    )
    loss = float(step.seen.shares[:, k].sum())
    found.append(
      {
        "step": step.number,
        "task": task,
        "loss": loss,
        "relative_loss": loss / landscape.constant_loss(alone),
        "gradient_norm": shared**0.5,
      }
    )
  return found


def of_rows(landscape: Landscape, step: Step) -> list[Row]:
  """The rows that lose most, and where they are among the batch by their largest dense feature."""
  by_row = step.seen.shares.sum(axis=1)
  extreme = np.abs(step.batch["dense"].numpy()).max(axis=1)
  return [
    {
      "step": step.number,
      "row": int(row),
      "share": float(by_row[row] / by_row.sum()),
      "task": landscape.tasks[int(step.seen.shares[row].argmax())],
      "task_share": float(step.seen.shares[row].max() / by_row[row]),
      "largest_dense": float(extreme[row]),
      "rows_less_extreme": float((extreme < extreme[row]).mean()),
    }
    for row in np.argsort(by_row)[::-1][:TOP_ROWS]
  ]


def _top_unit(landscape: Landscape, move: Array, name: str) -> float:
  """The share of a kernel's move that is in one output; 0 for what is no kernel."""
  shape = landscape.shapes[name]
  if len(shape) != 2 or shape[1] == 1:
    return 0.0
  columns = np.square(move[landscape.spans[name]].reshape(shape)).sum(axis=0)
  return float(columns.max() / columns.sum()) if columns.sum() else 0.0
