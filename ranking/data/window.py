"""Batches of a day store's rows, gathered in the order of the moving window."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from ranking.array import Array
from ranking.data.order import WindowOrder
from ranking.data.schema import DataError, Schema
from ranking.data.store import ARRAYS, Day

HELD_BYTES = 1 << 30  # days that are smaller than this together are held in memory, end to end


@dataclasses.dataclass(frozen=True)
class Batches:
  """The batches of some days, gathered row by row from the memory-mapped arrays.

  Days of less than HELD_BYTES are copied into memory when the first batch is made: taking from one
  array instead of one a day makes the pipeline twice as fast.

  Attributes:
    days: read in this order.
    order: of the concatenated rows, n of them: `order[first:last]` is int64 [last - first].
    batch_size: rows of a global batch; the last one is padded with rows that have no label.
    failures: what kept the pipeline of `dataset` from reading a batch; see `own_errors`.
  """

  days: Sequence[Day]
  order: WindowOrder | Array
  batch_size: int
  failures: list[DataError] = dataclasses.field(default_factory=list)

  def __len__(self) -> int:
    return -(-len(self.order) // self.batch_size)

  def rows(self, step: int) -> int:
    """How many rows of batch `step` (counted from 0) are real."""
    return min(self.batch_size, len(self.order) - step * self.batch_size)

  def day(self, step: int) -> str:
    """Name of the day that the middle row of batch `step` is from."""
    middle = step * self.batch_size + self.rows(step) // 2
    ends = np.cumsum([len(day) for day in self.days])
    (row,) = self.order[middle : middle + 1]
    return self.days[int(np.searchsorted(ends, row, side="right"))].name

  def batch(self, step: int, part: int = 0, parts: int = 1) -> tuple[Array, ...]:
    """Slice `part` of `parts` of batch `step`: ids, bags, dense, labels, weights.

    The weights are float32 [b, T]: 1 / (rows of the whole batch with this label), 0 where the label
    is missing; of a weighted store, the row's weight / (its sum over these rows). A task's loss
    is the weighted sum, whatever the number of slices or replicas.
    """
    rows = self.order[step * self.batch_size : (step + 1) * self.batch_size]
    padded = np.concatenate([rows, np.full(self.batch_size - len(rows), rows[0])])
    (labels,) = self._gather(padded, "labels")
    labels[len(rows) :] = np.nan
    known = ~np.isnan(labels)
    if self.days[0].weights is None:
      counts = np.array([max(np.count_nonzero(column), 1) for column in known.T])
      weights = known * (1.0 / counts).astype(np.float32)
    else:
      (of_rows,) = self._gather(padded, "weights")
      weights = known * of_rows
      total = weights.sum(axis=0, dtype=np.float64)
      weights *= np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    np.copyto(labels, 0.0, where=~known)
    share = self.batch_size // parts
    mine = slice(part * share, (part + 1) * share)
    return (*self._gather(padded[mine], "ids", "bags", "dense"), labels[mine], weights[mine])

  def _gather(self, rows: Array, *names: str) -> tuple[Array, ...]:
    """The named arrays' rows, one `np.take` per array and stretch."""
    starts, stretches = self._stretches
    if len(stretches) == 1:
      return tuple(_take(getattr(stretches[0], name), rows) for name in names)
    owner = np.searchsorted(starts, rows, side="right") - 1
    numbers = np.unique(owner)
    origins = [getattr(stretches[numbers[0]], name) for name in names]
    gathered = tuple(np.empty((len(rows), a.shape[1]), a.dtype) for a in origins)
    for number in numbers:
      mine = owner == number
      for name, target in zip(names, gathered, strict=True):
        array = getattr(stretches[number], name)
        target[mine] = np.take(array, rows[mine] - starts[number], axis=0)
    return gathered

  @functools.cached_property
  def _stretches(self) -> tuple[Array, Sequence[Day]]:
    """Runs of rows that lie end to end: the first row of each, and its arrays."""
    names = [name for name in ARRAYS if name != "time"]
    names += [] if self.days[0].weights is None else ["weights"]
    bytes_per_row = sum(getattr(self.days[0], name)[:1].nbytes for name in names)
    if len(self.days) > 1 and bytes_per_row * len(self.order) < HELD_BYTES:
      held = {name: np.concatenate([getattr(day, name) for day in self.days]) for name in names}
      return np.zeros(1, np.int64), [Day(name="all", time=np.zeros(0, np.int64), **held)]
    return np.cumsum([0, *(len(day) for day in self.days[:-1])]), self.days


@contextlib.contextmanager
def own_errors(batches: Batches) -> Iterator[None]:
  """Raises the DataError of a batch as such, and not as the error that TensorFlow makes of it."""
  try:
    yield
  except tf.errors.OpError:
    if batches.failures:
      raise batches.failures[0] from None
    raise


def _take(array: Array, rows: Array) -> Array:
  """array[rows], aligned so that TensorFlow uses it as a tensor's memory and does not copy it."""
  width, alignment = array.shape[1], 64
  memory = np.empty(len(rows) * width * array.itemsize + alignment, np.uint8)
  start = -memory.ctypes.data % alignment
  taken = (
    memory[start : start + memory.size - alignment].view(array.dtype).reshape(len(rows), width)
  )
  # With mode "raise", the default, NumPy would write somewhere else first and copy from there.
  return np.take(array, rows, axis=0, out=taken, mode="clip")


def train_batches(days: Sequence[Day], batch_size: int, window_hours: float, seed: int) -> Batches:
  """Days 1..N-1 in moving-window order."""
  return Batches(days, WindowOrder(days, window_hours, seed), batch_size)


def eval_batches(day: Day, batch_size: int) -> Batches:
  """Every row of day N once, in time order."""
  return Batches([day], WindowOrder([day], window_hours=0, seed=0), batch_size)


def dataset(
  batches: Batches,
  schema: Schema,
  first: int,
  last: int,
  context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
  """Batches first..last-1 as a tf.data pipeline of dicts, gathered in parallel ahead of their use.

  Under a strategy, `context` says which host this is; an element is then one replica's slice.
  """
  context = context or tf.distribute.InputContext()
  parts = context.num_replicas_in_sync
  here = parts // context.num_input_pipelines  # replicas that this host feeds
  widths = [
    len(schema.of_kind("categorical")),
    sum(feature.length for feature in schema.of_kind("bag")),
    len(schema.of_kind("dense")),
    *[len(schema.tasks)] * 2,
  ]
  dtypes = [tf.int32, tf.int32, tf.float32, tf.float32, tf.float32]

  def gather(position: tf.Tensor) -> dict[str, tf.Tensor]:
    def read(k: Array) -> tuple[Array, ...]:
      part = context.input_pipeline_id * here + int(k) % here
      try:
        return batches.batch(int(k) // here, part, parts)
      except DataError as error:
        batches.failures.append(error)
        raise

    arrays = tf.numpy_function(read, [position], dtypes)
    for array, width in zip(arrays, widths, strict=True):
      array.set_shape([batches.batch_size // parts, width])
    return dict(zip(("ids", "bags", "dense", "labels", "weights"), arrays, strict=True))

  positions = tf.data.Dataset.range(first * here, last * here)
  return positions.map(gather, num_parallel_calls=2, deterministic=True).prefetch(tf.data.AUTOTUNE)
