"""Trains as the training command does, beside a matrix product measured in the same process.

    python -m scripts.bench_training --config=large_dcn_clippy.gin --data=kuairand --raw=folder

Takes the flags of `ranking train`. Prints the ratio of the training's arithmetic, 6 × non-embedding
parameters × examples (forward 2, backward 4), to that of a 4096³ product taken before and after.
"""

import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ranking import cli

SIZE = 4096
REPEATS = 5


def matmul_gflops() -> float:
  """Median speed of a float32 product of two SIZE × SIZE matrices."""
  import tensorflow as tf

  a, b = tf.random.normal([SIZE, SIZE]), tf.random.normal([SIZE, SIZE])
  product = tf.function(lambda: tf.reduce_sum(tf.matmul(a, b)))
  product().numpy()
  seconds = []
  for _ in range(REPEATS):
    started = time.perf_counter()
    product().numpy()
    seconds.append(time.perf_counter() - started)
  return 2 * SIZE**3 / statistics.median(seconds) / 1e9


def main(arguments: Sequence[str]) -> int:
  """Measures, trains, measures; returns the exit code of training."""
  given = [word.removeprefix("--run=") for word in arguments if word.startswith("--run=")]
  if not given:
    print("error: give --run=folder, where the result is read from", file=sys.stderr)
    return 2
  before = matmul_gflops()
  code = cli.main(["train", *arguments])
  after = matmul_gflops()
  result_path = Path(given[-1]) / "result.json"
  if not result_path.is_file():
    return code
  result = json.loads(result_path.read_text())
  flops = 6 * result["parameters"]["non_embedding"] * result["examples_per_second"]
  print(f"4096³ product: {before:.1f} GFLOP/s before, {after:.1f} after (orientation)")
  print(f"training: {flops / 1e9:.1f} GFLOP/s at {result['examples_per_second']:.1f} examples/s")
  print(f"ratio training / product: {flops / 1e9 / ((before + after) / 2):.3f}")
  return code


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
