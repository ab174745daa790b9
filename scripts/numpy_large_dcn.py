"""Large+DCN, its gradients by hand and Adagrad with Clippy, in NumPy alone.

A witness of what the trainer finds: nothing of `ranking` is imported, and nothing is shared with it
but the paper's formulas and the initial values that Keras and TFRS give such layers.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Weights = dict[str, Array]
CROSS_LAYERS, LAYER_NORM_EPSILON = 4, 1e-3
INITIAL_ACCUMULATOR, ADAGRAD_EPSILON = 0.1, 1e-7


class Batch(NamedTuple):
  """Rows of a day store."""

  ids: Array  # int32 [b, C]
  bags: Array  # int32 [b, sum of lengths], 0 = padding
  dense: Array  # float [b, D]
  labels: Array  # float [b, T], NaN = missing


class Rows(NamedTuple):
  """The gradient of a table, in the rows that a batch touches."""

  numbers: Array  # int [m], each once
  values: Array  # float [m, k]


class Step(NamedTuple):
  """What a batch says of the weights."""

  outputs: Array  # float [b, T], logits and values
  task_losses: Array  # float64 [T]: loss weight × the mean over the rows with that label
  gradients: dict[str, Array | Rows]  # of the sum of task_losses, by name of weight


@dataclasses.dataclass(frozen=True)
class LargeDcn:
  """x0 → 4 × (x0 ∘ (x W + b) + x) → LayerNorm → ReLU layers → a linear output for each task.

  x0 is the embeddings of the ids, the means of the embeddings of the bags, and the dense features.

  Attributes:
    schema: the content of a day store's schema.json.
    width: of x0; what the dense features leave of it is split over the embeddings.
    hidden: widths of the ReLU layers.
  """

  schema: Mapping[str, Any]
  width: int
  hidden: Sequence[int]

  def initial_weights(self, random: np.random.Generator) -> Weights:
    """float32: uniform tables, normal cross kernels cut at 2σ, Glorot's rule for the others.

    The bias of an output is the best constant of the training days.
    """
    weights = {}
    for name, (size, width) in self._tables().items():
      weights[f"embedding/{name}"] = random.uniform(-0.05, 0.05, (size, width))
    for k in range(CROSS_LAYERS):
      weights[f"cross_{k + 1}/kernel"] = _cut_normal(random, (self.width, self.width), 0.05)
      weights[f"cross_{k + 1}/bias"] = np.zeros(self.width)
    weights["norm/gamma"], weights["norm/beta"] = np.ones(self.width), np.zeros(self.width)
    for k, (inputs, units) in enumerate(zip([self.width, *self.hidden], self.hidden, strict=False)):
      weights[f"hidden_{k + 1}/kernel"] = _glorot(random, inputs, units)
      weights[f"hidden_{k + 1}/bias"] = np.zeros(units)
    for task, constant in zip(self.schema["tasks"], self.constants(), strict=True):
      weights[f"{task['name']}/kernel"] = _glorot(random, self.hidden[-1], 1)
      weights[f"{task['name']}/bias"] = np.array([constant])
    return {name: value.astype(np.float32) for name, value in weights.items()}

  def constants(self) -> list[float]:
    """The output of each task that loses least if all rows have it: a logit or a mean."""
    return [
      np.log(known["mean"] / (1 - known["mean"])) if self._is_binary(k) else known["mean"]
      for k, known in enumerate(self.schema["label_statistics"])
    ]

  def constant_losses(self, labels: Array) -> Array:
    """float64 [T], what these constants lose on labels [b, T]."""
    return self._losses(np.broadcast_to(np.array(self.constants()), labels.shape), labels)[0]

  def outputs(self, weights: Mapping[str, Array], batch: Batch) -> Array:
    """float [b, T]: a logit for each binary task, a value for each regression."""
    x0 = self._inputs(weights, batch)
    return self._towers(weights, self._body(weights, x0)["hidden"][-1])

  def step(self, weights: Mapping[str, Array], batch: Batch) -> Step:
    """Losses of a batch, and the gradients of their sum."""
    x0 = self._inputs(weights, batch)
    seen = self._body(weights, x0)
    outputs = self._towers(weights, seen["hidden"][-1])
    losses, d_outputs = self._losses(outputs, batch.labels)
    gradients: dict[str, Array | Rows] = {}
    d_x = np.zeros_like(seen["hidden"][-1])
    for k, task in enumerate(self.schema["tasks"]):
      column = d_outputs[:, k : k + 1].astype(d_x.dtype)
      gradients[f"{task['name']}/kernel"] = seen["hidden"][-1].T @ column
      gradients[f"{task['name']}/bias"] = column.sum(axis=0)
      d_x += column @ weights[f"{task['name']}/kernel"].T
    for k in reversed(range(len(self.hidden))):
      d_x *= seen["hidden"][k + 1] > 0
      gradients[f"hidden_{k + 1}/kernel"] = seen["hidden"][k].T @ d_x
      gradients[f"hidden_{k + 1}/bias"] = d_x.sum(axis=0)
      d_x = d_x @ weights[f"hidden_{k + 1}/kernel"].T
    normal, deviation = seen["normal"][0], seen["normal"][1]
    gradients["norm/gamma"] = (d_x * normal).sum(axis=0)
    gradients["norm/beta"] = d_x.sum(axis=0)
    d_x *= weights["norm/gamma"]
    along = (d_x * normal).mean(axis=1, keepdims=True)
    d_x = (d_x - d_x.mean(axis=1, keepdims=True) - normal * along) / deviation
    d_x0 = np.zeros_like(x0)
    for k in reversed(range(CROSS_LAYERS)):
      d_product = d_x * x0
      d_x0 += d_x * seen["products"][k]
      gradients[f"cross_{k + 1}/kernel"] = seen["crossed"][k].T @ d_product
      gradients[f"cross_{k + 1}/bias"] = d_product.sum(axis=0)
      d_x = d_x + d_product @ weights[f"cross_{k + 1}/kernel"].T
    return Step(outputs, losses, {**gradients, **self._table_gradients(batch, d_x0 + d_x)})

  def _body(self, weights: Mapping[str, Array], x0: Array) -> dict[str, list[Array]]:
    """What the layers between inputs and outputs make, kept for the gradients."""
    crossed, products = [x0], []
    for k in range(CROSS_LAYERS):
      kernel, bias = weights[f"cross_{k + 1}/kernel"], weights[f"cross_{k + 1}/bias"]
      products.append(crossed[-1] @ kernel + bias)
      crossed.append(x0 * products[-1] + crossed[-1])
    centred = crossed[-1] - crossed[-1].mean(axis=1, keepdims=True)
    variance = np.square(centred).mean(axis=1, keepdims=True)
    deviation = np.sqrt(variance + np.array(LAYER_NORM_EPSILON, x0.dtype))
    normal = centred / deviation
    hidden = [normal * weights["norm/gamma"] + weights["norm/beta"]]
    for k in range(len(self.hidden)):
      kernel, bias = weights[f"hidden_{k + 1}/kernel"], weights[f"hidden_{k + 1}/bias"]
      hidden.append(np.maximum(hidden[-1] @ kernel + bias, 0))
    return {
      "crossed": crossed,
      "products": products,
      "normal": [normal, deviation],
      "hidden": hidden,
    }

  def _towers(self, weights: Mapping[str, Array], seen: Array) -> Array:
    names = [task["name"] for task in self.schema["tasks"]]
    kernel = np.concatenate([weights[f"{name}/kernel"] for name in names], axis=1)
    return seen @ kernel + np.concatenate([weights[f"{name}/bias"] for name in names])

  def _losses(self, outputs: Array, labels: Array) -> tuple[Array, Array]:
    """float64 weighted mean losses [T], and their gradients [b, T] by the outputs."""
    wide = outputs.astype(np.float64)
    known = ~np.isnan(labels)
    truth = np.where(known, labels, 0.0).astype(np.float64)
    weights = np.array([task["loss_weight"] for task in self.schema["tasks"]])
    shares = weights * known / np.maximum(known.sum(axis=0), 1)
    losses, slopes = np.square(wide - truth), 2 * (wide - truth)
    for k in range(labels.shape[1]):
      if self._is_binary(k):
        o, y = wide[:, k], truth[:, k]
        losses[:, k] = np.logaddexp(0.0, o) - y * o
        slopes[:, k] = 0.5 * (1 + np.tanh(0.5 * o)) - y
    return (shares * losses).sum(axis=0), shares * slopes

  def _inputs(self, weights: Mapping[str, Array], batch: Batch) -> Array:
    parts = [
      weights[f"embedding/{name}"][batch.ids[:, k]]
      for k, name in enumerate(self._names("categorical"))
    ]
    for name, columns in self._bag_columns().items():
      ids, table = batch.bags[:, columns], weights[f"embedding/{name}"]
      parts.append((table[ids] * _shares(ids, table.dtype)[:, :, None]).sum(axis=1))
    return np.concatenate([*parts, batch.dense.astype(parts[0].dtype)], axis=1)

  def _table_gradients(self, batch: Batch, d_x0: Array) -> dict[str, Rows]:
    """Of the tables, given the gradient of x0."""
    gradients, start = {}, 0
    ids_of = {name: batch.ids[:, k] for k, name in enumerate(self._names("categorical"))}
    bags = {name: batch.bags[:, columns] for name, columns in self._bag_columns().items()}
    for name, (_, width) in self._tables().items():
      own = d_x0[:, start : start + width]
      start += width
      if name in bags:
        ids, shares = bags[name], _shares(bags[name], own.dtype)
        gradients[f"embedding/{name}"] = _added_up(
          ids.ravel(), (own[:, None, :] * shares[:, :, None]).reshape(-1, width)
        )
      else:
        gradients[f"embedding/{name}"] = _added_up(ids_of[name], own)
    return gradients

  def _tables(self) -> dict[str, tuple[int, int]]:
    """(rows, columns) of each table, columns in proportion to the fourth root of the rows."""
    names = [*self._names("categorical"), *self._names("bag")]
    sizes = {f["name"]: f["vocabulary_size"] for f in self.schema["features"]}
    roots = np.array([sizes[name] ** 0.25 for name in names])
    spare = self.width - len(self._names("dense")) - len(names)  # each has one column at least
    ends = np.round(roots.cumsum() / roots.sum() * spare).astype(int)
    widths = 1 + np.diff(ends, prepend=0)
    return {name: (sizes[name], int(width)) for name, width in zip(names, widths, strict=True)}

  def _names(self, kind: str) -> list[str]:
    return [f["name"] for f in self.schema["features"] if f["kind"] == kind]

  def _bag_columns(self) -> dict[str, slice]:
    lengths = [f["length"] for f in self.schema["features"] if f["kind"] == "bag"]
    ends = np.cumsum(lengths)
    return {
      name: slice(int(end) - length, int(end))
      for name, length, end in zip(self._names("bag"), lengths, ends, strict=True)
    }

  def _is_binary(self, task: int) -> bool:
    return bool(self.schema["tasks"][task]["kind"] == "binary")


class Adagrad:
  """w ← w - η·σ·r with r = g / sqrt(G + 1e-7), where G begins at 0.1 and includes g².

  Args:
    weights: changed by each step.
    clippy: (relative, absolute): σ is the largest of at most 1 with which no coordinate of the
      variable moves by more than relative·|w| + absolute. None: σ = 1. That of tables is always 1.
  """

  def __init__(self, weights: Weights, clippy: tuple[float, float] | None):
    self._weights, self._clippy = weights, clippy
    self._sums = {name: np.full_like(w, INITIAL_ACCUMULATOR) for name, w in weights.items()}

  def step(self, gradients: Mapping[str, Array | Rows], rate: float) -> dict[str, float]:
    """Changes the weights; returns σ of each variable but the tables."""
    factors = {}
    for name, g in gradients.items():
      weights, sums = self._weights[name], self._sums[name]
      if isinstance(g, Rows):
        sums[g.numbers] += np.square(g.values)
        weights[g.numbers] -= rate * g.values / np.sqrt(sums[g.numbers] + ADAGRAD_EPSILON)
        continue
      sums += np.square(g)
      move = rate * g / np.sqrt(sums + ADAGRAD_EPSILON)
      factors[name] = 1.0
      if self._clippy is not None:
        relative, absolute = self._clippy
        excess = float(np.max(np.abs(move) / (relative * np.abs(weights) + absolute)))
        factors[name] = 1.0 / max(1.0, excess)
      weights -= factors[name] * move
    return factors


def gradient_norm(gradients: Mapping[str, Array | Rows]) -> float:
  """The 2-norm over all variables but the tables."""
  dense = [g for g in gradients.values() if not isinstance(g, Rows)]
  return float(np.sqrt(sum(np.square(g, dtype=np.float64).sum() for g in dense)))


def _glorot(random: np.random.Generator, inputs: int, units: int) -> Array:
  limit = np.sqrt(6 / (inputs + units))
  return random.uniform(-limit, limit, (inputs, units))


def _cut_normal(random: np.random.Generator, shape: tuple[int, int], deviation: float) -> Array:
  """Normal draws, drawn again while they are beyond two deviations."""
  drawn = random.standard_normal(shape)
  while (beyond := np.abs(drawn) > 2).any():
    drawn[beyond] = random.standard_normal(int(beyond.sum()))
  return deviation * drawn


def _shares(ids: Array, dtype: Any) -> Array:
  """[b, length]: 1 over how many ids of the row are no padding, and 0 for those that are."""
  present = ids != 0
  return (present / np.maximum(present.sum(axis=1, keepdims=True), 1)).astype(dtype)


def _added_up(ids: Array, values: Array) -> Rows:
  """Values [n, k] of the same id added up."""
  order = np.argsort(ids, kind="stable")
  numbers, starts = np.unique(ids[order], return_index=True)
  return Rows(numbers, np.add.reduceat(values[order], starts, axis=0))
