"""Times how long a checkpoint of a large table holds training up.

  python -m scripts.bench_checkpoints

A table of 80 M weights and its accumulator, 640 MB, as Adagrad has them. In turn, within one
process: the checkpoint is copied and written in the background, as training does it, and it is
written while training waits. Both write the same bytes to the same folder. The ratio is the result;
seconds depend on the machine and its disk.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from ranking.training import checkpoint

import tensorflow as tf  # isort: skip  # after ranking, which selects legacy Keras


def main() -> None:
  """Prints the times and their ratio."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--weights", type=float, default=80e6, help="of the table (%(default)g)")
  parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
  given = parser.parse_args()
  shape = [int(given.weights) // 64, 64]
  variables = [tf.Variable(tf.random.normal(shape), name=name) for name in ("table", "accumulator")]
  held: list[float] = []
  whole: list[float] = []
  written: list[float] = []
  with tempfile.TemporaryDirectory(dir=".") as folder:
    for step in range(given.rounds):
      began = time.monotonic()
      writing = checkpoint.begin(Path(folder), 2 * step, variables, {})
      held.append(time.monotonic() - began)
      writing.result()
      written.append(time.monotonic() - began)
      began = time.monotonic()
      checkpoint.save(Path(folder), 2 * step + 1, variables, {})
      whole.append(time.monotonic() - began)
  ratios = [each / short for each, short in zip(whole, held, strict=True)]
  print(f"{2 * shape[0] * 64 * 4 / 1e6:,.0f} MB, medians of {given.rounds}")
  print(f"held while it is copied      {statistics.median(held):8.3f} s")
  print(f"  written after              {statistics.median(written):8.3f} s")
  print(f"held while it is written     {statistics.median(whole):8.3f} s")
  low, *_, high = sorted(ratios)
  print(f"ratio                        {statistics.median(ratios):8.1f}  ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
  main()
