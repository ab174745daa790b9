"""Times how fast batches are fed: python -m scripts.bench_input [--store=folder]

Without --store it prepares $RANKING_RAW_DATA/KuaiRand-Pure. Prints

  1. the time of each feed. All give the same batches, which differ in how they are kept:
       window         the day store, visited in the order of a 24 h window: what training reads;
       TFRecord       a tf.train.Example per row in that order, tf.io.parse_example on batches;
       Parquet        a column per number in that order, read by pyarrow in groups of a batch;
       tensor slices  from_tensor_slices(...).batch of tensors in that order, all in memory;
  2. the time of training steps of Small on the window feed beside that on one batch, repeated.

Before the clock runs, rows are put in order and labels counted for the weights of all but the
window feed, which does both as it goes; files are written; the window feed copies a small log into
memory, which it does once a run. Files are read from the page cache.

All contestants run in turn within one process, and every round starts with another one. A ratio is
taken within a round; medians and the middle half (IQR) are printed. The ratios are the result;
examples/s and milliseconds are orientation, as they depend on the machine. Goals are printed beside
the figures and never fail the command.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from ranking import quiet

with quiet.native_stderr():
  import tensorflow as tf

from ranking import optimizers
from ranking.array import Array
from ranking.data import window
from ranking.data.prepare import prepare
from ranking.data.schema import DataError, Schema
from ranking.data.sources.kuairand import KuaiRand
from ranking.data.store import DayStore
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.model import Model
from ranking.training.console import Console
from ranking.training.step import compile_steps
from scripts.rounds import Seconds, interleaved, ratios

WINDOW, TFRECORD, PARQUET, SLICES = "window", "TFRecord", "Parquet", "tensor slices"
ON_THE_FEED, ON_ONE_BATCH = "on the window feed", "on one repeated batch"
NAMES = ("ids", "bags", "dense", "labels", "weights")
WINDOW_HOURS, SEED = 24.0, 0
HIDDEN_UNITS, LEARNING_RATE = (512, 512), 1e-3  # of Small; so low that the weights stay ordinary
MILLIONS_A_SECOND = 5.0
TIMES_AS_FAST_AS_TFRECORD = 10.0
LONGEST_STEP = 1.03  # of the step on one repeated batch

Feed = Callable[[], tf.data.Dataset]  # made anew for each round


def whole_batches(store: DayStore, batch_size: int, passes: int) -> window.Batches:
  """The whole batches of the training days, several times over; raises DataError if none is."""
  once = window.train_batches(store.train_days, batch_size, WINDOW_HOURS, SEED)
  whole = len(once.order) // batch_size * batch_size
  if not whole:
    raise DataError(
      f"{store.directory} has {len(once.order):,} training rows, fewer than a batch of "
      f"{batch_size:,}; give --batch_size"
    )
  return window.Batches(once.days, np.tile(once.order[:whole], passes), batch_size)


def make_feeds(
  schema: Schema, batches: window.Batches, passes: int, folder: Path
) -> dict[str, Feed]:
  """Four feeds of `batches`; `folder` gets the files that two of them read, of one pass."""
  parts = [batches.batch(step) for step in range(len(batches) // passes)]
  rows = {
    name: np.concatenate(part) for name, part in zip(NAMES, zip(*parts, strict=True), strict=True)
  }
  size = batches.batch_size
  write_records(rows, folder / "rows.tfrecord")
  write_parquet(rows, folder / "rows.parquet", size)
  tensors = {name: tf.constant(array) for name, array in rows.items()}
  return {
    WINDOW: lambda: window.dataset(batches, schema, 0, len(batches)),
    TFRECORD: lambda: records(folder / "rows.tfrecord", rows, size, passes),
    PARQUET: lambda: parquet(folder / "rows.parquet", rows, size, passes),
    SLICES: lambda: (
      tf.data.Dataset.from_tensor_slices(tensors)
      .repeat(passes)
      .batch(size, drop_remainder=True)
      .prefetch(tf.data.AUTOTUNE)
    ),
  }


def write_records(rows: Mapping[str, Array], path: Path) -> None:
  """A tf.train.Example per row, with a list per array."""
  with tf.io.TFRecordWriter(str(path)) as writer:
    for k in range(len(rows["ids"])):
      example = tf.train.Example()
      for name, array in rows.items():
        feature = example.features.feature[name]
        kind = feature.int64_list if array.dtype == np.int32 else feature.float_list
        kind.value.extend(array[k].tolist())
      writer.write(example.SerializeToString())


def records(path: Path, rows: Mapping[str, Array], size: int, passes: int) -> tf.data.Dataset:
  """Reads what `write_records` wrote; `rows` gives widths and dtypes."""
  features = {
    name: tf.io.FixedLenFeature(
      [array.shape[1]], tf.int64 if array.dtype == np.int32 else tf.float32
    )
    for name, array in rows.items()
  }

  def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    parsed = tf.io.parse_example(serialized, features)
    return {name: tf.cast(parsed[name], array.dtype) for name, array in rows.items()}

  return (
    tf.data.TFRecordDataset(str(path))
    .repeat(passes)
    .batch(size, drop_remainder=True)
    .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    .prefetch(tf.data.AUTOTUNE)
  )


def write_parquet(rows: Mapping[str, Array], path: Path, size: int) -> None:
  """A column per column of every array, uncompressed, a row group per batch."""
  columns = {
    f"{name}_{k}": column for name, array in rows.items() for k, column in enumerate(array.T)
  }
  pyarrow.parquet.write_table(
    pyarrow.table(columns), path, row_group_size=size, compression="none", use_dictionary=False
  )


def parquet(path: Path, rows: Mapping[str, Array], size: int, passes: int) -> tf.data.Dataset:
  """Reads what `write_parquet` wrote; `rows` gives widths and dtypes."""

  def read() -> Iterator[dict[str, Array]]:
    file = pyarrow.parquet.ParquetFile(path)
    for _ in range(passes):
      for group in range(file.num_row_groups):
        columns = iter(file.read_row_group(group).columns)
        yield {
          name: np.stack([next(columns).to_numpy() for _ in range(array.shape[1])], axis=1)
          for name, array in rows.items()
        }

  signature = {
    name: tf.TensorSpec([size, array.shape[1]], array.dtype) for name, array in rows.items()
  }
  feed = tf.data.Dataset.from_generator(read, output_signature=signature)
  return feed.prefetch(tf.data.AUTOTUNE)


@tf.function(reduce_retracing=True)
def drain(batches: Iterator[Any], count: tf.Tensor) -> tf.Tensor:
  """Takes `count` batches as the training step does, inside a graph; returns their rows."""
  rows = tf.zeros([], tf.int32)
  for _ in tf.range(count):
    rows += tf.shape(next(batches)["ids"])[0]
  return rows


def time_feeds(feeds: Mapping[str, Feed], count: int, rounds: int) -> Seconds:
  """Times `count` batches, from making the feed to its last batch."""

  def run(feed: Feed) -> Callable[[], object]:
    return lambda: drain(iter(feed()), tf.constant(count)).numpy()

  return interleaved({name: run(feed) for name, feed in feeds.items()}, rounds)


def time_steps(
  schema: Schema, batches: window.Batches, steps: int, rounds: int, width_scale: float
) -> Seconds:
  """Times `steps` training steps of Small with Clippy, from making the feed to the last loss.

  A feed is made anew for each round, or it would be filled while the other contestant runs.
  """
  small = Model(SharedBottom([DenseLayers(HIDDEN_UNITS)]), width_scale=width_scale)
  model = small.build(schema)
  optimizer = optimizers.ClippedOptimizer(optimizers.Adagrad(), optimizers.Clippy(), LEARNING_RATE)
  optimizer.build(model.trainable_variables)
  take = compile_steps(model, optimizer, tf.distribute.get_strategy(), {})
  first = dict(zip(NAMES, batches.batch(0), strict=True))
  one = tf.data.Dataset.from_tensors(first).repeat(steps)
  feeds: dict[str, Feed] = {
    ON_THE_FEED: lambda: window.dataset(batches, schema, 0, steps),
    ON_ONE_BATCH: lambda: one,
  }

  def run(feed: Feed) -> Callable[[], object]:
    return lambda: take(iter(feed()), tf.constant(steps), False)[0].numpy()

  return interleaved({name: run(feed) for name, feed in feeds.items()}, rounds)


def feed_rows(seconds: Seconds, examples: int, count: int) -> list[list[str]]:
  """Table 1: feed, millions of examples a second, ms a batch, ratio to window and IQR, goal."""
  rows = []
  for name, own in seconds.items():
    speed = examples / statistics.median(own) / 1e6
    row = [name, f"{speed:.2f}", f"{1e3 * statistics.median(own) / count:.2f}"]
    if name == WINDOW:
      row += ["–", "–", _at_least(speed, MILLIONS_A_SECOND, "M/s")]
    else:
      slower = ratios(seconds, name, WINDOW)
      row += [f"{statistics.median(slower):.2f}", _middle_half(slower)]
      goal = name == TFRECORD
      row.append(
        _at_least(statistics.median(slower), TIMES_AS_FAST_AS_TFRECORD, "×") if goal else ""
      )
    rows.append(row)
  return rows


def step_rows(seconds: Seconds, steps: int) -> list[list[str]]:
  """Table 2: where the batches come from, ms a step, ratio to one repeated batch and IQR, goal."""
  rows = []
  for name, own in seconds.items():
    row = [name, f"{1e3 * statistics.median(own) / steps:.2f}"]
    if name == ON_THE_FEED:
      longer = ratios(seconds, name, ON_ONE_BATCH)
      middle = statistics.median(longer)
      verdict = "ok" if middle <= LONGEST_STEP else "missed"
      row += [f"{middle:.3f}", _middle_half(longer), f"≤ {LONGEST_STEP:.2f} {verdict}"]
    else:
      row += ["–", "–", ""]
    rows.append(row)
  return rows


def open_store(given: Path | None) -> DayStore:
  """The store that is given, or that of the KuaiRand-Pure at hand. Raises DataError if neither."""
  if given:
    return DayStore(given)
  if "RANKING_RAW_DATA" not in os.environ:
    raise DataError("no data: give --store, or RANKING_RAW_DATA a folder with KuaiRand-Pure/")
  raw = Path(os.environ["RANKING_RAW_DATA"], "KuaiRand-Pure")
  return prepare(KuaiRand(raw=str(raw)), Path("data/store"))


def main(argv: Sequence[str]) -> int:
  """Measures and prints; returns the exit code."""
  parser = argparse.ArgumentParser(
    prog="bench_input", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--store", type=Path, help="a day store; see make prepare")
  parser.add_argument("--batch_size", type=_positive, default=8192)
  parser.add_argument("--passes", type=_positive, default=4, help="over the log, in each round")
  parser.add_argument("--rounds", type=_positive, default=7)
  parser.add_argument("--steps", type=_positive, default=6, help="training steps in each round")
  parser.add_argument("--width_scale", type=float, default=1.0, help="of Small; 1 is the paper's")
  options = parser.parse_args(argv)
  try:
    store = open_store(options.store)
    batches = whole_batches(store, options.batch_size, options.passes)
  except DataError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  examples, count, rounds = len(batches.order), len(batches), options.rounds
  console = Console()
  columns = " + ".join(
    f"{array.shape[1]} {name}" for name, array in zip(NAMES, batches.batch(0), strict=True)
  )
  console.say(
    f"{store.schema.dataset}: {columns}; {count:,} batches of {options.batch_size:,} a round "
    f"({options.passes} × {examples // options.passes:,} rows), {rounds} rounds"
  )
  with tempfile.TemporaryDirectory() as folder:
    feeds = make_feeds(store.schema, batches, options.passes, Path(folder))
    seconds = time_feeds(feeds, count, rounds)
  console.table(
    "1. A feed. ÷ window: how many times as long as the window feed. IQR: of the rounds' ratios.",
    ("feed", "M examples/s", "ms a batch", "÷ window", "IQR", "goal"),
    feed_rows(seconds, examples, count),
  )
  steps = min(options.steps, count)
  seconds = time_steps(store.schema, batches, steps, rounds, options.width_scale)
  console.table(
    f"2. A training step of Small at batch {options.batch_size:,}. {steps} steps a round.",
    ("batches", "ms", "÷ one batch", "IQR", "goal"),
    step_rows(seconds, steps),
  )
  return 0


def _positive(text: str) -> int:
  value = int(text)
  if value < 1:
    raise ValueError
  return value


def _at_least(value: float, goal: float, unit: str) -> str:
  return f"≥ {goal:g} {unit} {'ok' if value >= goal else 'missed'}"


def _middle_half(values: Sequence[float]) -> str:
  low, high = np.percentile(values, [25, 75])
  return f"{low:.3g} … {high:.3g}"


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
