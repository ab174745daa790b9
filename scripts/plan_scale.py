"""Prints the tables of docs/scale.md: what a step of Large+DCN costs as it grows.

  python -m scripts.plan_scale

All is computed from the constants below, nothing is measured here. tests/test_plan_scale.py holds
the page to it, and it to the TPU compiler and to the model itself.
"""

import itertools
import math
from typing import Final, NamedTuple

BATCH: Final = 65_536  # rows, of all chips: the paper's
WIDTH: Final = 1650  # of the model's input
CROSS_LAYERS: Final = 4
LAYERS: Final = (4096, 4096, 4096, 4096)
TASKS: Final = 6
FLOAT: Final = 4  # bytes

# What the TPU compiler counts for the step of one v5e chip: rows → FLOP, bytes. By `make tpu-check
# CONFIG=large_dcn_clippy.gin TOPOLOGY=v5e:2x4`, and of 4x4.
COMPILED: Final = {4096: (1674.8e9, 13.762e9), 8192: (3348.3e9, 20.512e9)}

# https://cloud.google.com/tpu/docs/v5e, 8 chips a host; links are what a chip sends, half of the
# 400 GB/s both ways. 100 Gbit/s is a host of a cloud, a GB/s one disk.
PEAK: Final = 197e12  # FLOP/s in bfloat16
MEMORY: Final = 16e9  # bytes
BANDWIDTH: Final = 819e9  # bytes/s of memory
LINKS: Final = 200e9  # bytes/s to other chips
NETWORK: Final = 12.5e9  # bytes/s of a host
DISK: Final = 1e9  # bytes/s
CHIPS_OF_A_HOST: Final = 8

# KuaiRand's store: 37 ids, 3 entries of bags, 16 dense, 6 labels of 4 bytes, and a time of 8.
ROW: Final = (37 + 3 + 16 + 6) * 4 + 8
# Measured on one core of this project's machine: rows/s gathered from memory-mapped arrays that are
# in the page cache, batches of 65,536; and ns to hash a row of the window.
GATHERED: Final = 3.6e6
HASH: Final = 10e-9
BLOCK: Final = 1 << 22  # rows that are put in order at a time, ranking/data/order.py


def parameters() -> int:
  """Of Large+DCN but its embeddings: cross layers, LayerNorm, layers, a linear output per task."""
  cross = CROSS_LAYERS * (WIDTH * WIDTH + WIDTH) + 2 * WIDTH
  widths = (WIDTH, *LAYERS)
  dense = sum(a * b + b for a, b in itertools.pairwise(widths))
  return cross + dense + TASKS * (LAYERS[-1] + 1)


def flop(rows: int) -> float:
  """Of a step: a product and a sum per weight and row forwards, twice as many backwards."""
  return 6.0 * parameters() * rows


class Step(NamedTuple):
  """A step of the whole batch over some chips; times in seconds, none hidden behind another."""

  chips: int
  arithmetic: float  # at the peak
  memory: float  # bytes read and written, at the bandwidth
  gradients: float  # sums of the dense gradients, in a ring
  embeddings: float  # rows of sharded tables to where they are needed, gradients back

  @property
  def seconds(self) -> float:
    """What is left if arithmetic and memory overlap, and talking does not."""
    return max(self.arithmetic, self.memory) + self.gradients + self.embeddings

  @property
  def examples_per_second(self) -> float:
    """At most."""
    return BATCH / self.seconds


def step(chips: int, links: float = LINKS) -> Step:
  """Costs of a step over chips that send `links` bytes/s each."""
  rows, apart = BATCH // chips, (chips - 1) / chips
  return Step(
    chips,
    arithmetic=flop(rows) / PEAK,
    memory=accessed(rows) / BANDWIDTH,
    gradients=2 * apart * parameters() * FLOAT / links,
    embeddings=2 * apart * rows * WIDTH * FLOAT / links,
  )


def activations() -> int:
  """Bytes of memory that a row moves on a chip at least, in a step.

  What each layer makes is written once, and read by the next layer and by the way back; its
  gradient is written and read. A cross layer makes a product and a sum.
  """
  made = WIDTH + CROSS_LAYERS * 2 * WIDTH + WIDTH + sum(LAYERS)
  return 5 * FLOAT * made


def moved() -> tuple[float, float]:
  """Bytes that a step reads and writes on a chip: of weights, slots and tables, and of each row."""
  (few, (_, less)), (many, (_, more)) = sorted(COMPILED.items())
  each = (more - less) / (many - few)
  return less - few * each, each


def accessed(rows: int) -> float:
  """Bytes of memory that a step of so many rows reads and writes on a chip."""
  fixed, each = moved()
  return fixed + each * rows


def table_bytes(rows: float, width: int, slots: float) -> float:
  """Of an embedding table; `slots` is floats of optimizer state per weight."""
  return rows * width * FLOAT * (1 + slots)


def chips_for(size: float, share: float = 0.75) -> int:
  """How many chips hold so many bytes in a share of their memory."""
  return math.ceil(size / (MEMORY * share))


def steps_table() -> list[str]:
  """A line for 1, 8 and 64 chips, and for 8 hosts over a network."""
  lines = [
    "| | rows each | arithmetic | memory | sum of gradients | embeddings | step | examples/s | "
    "of peak |",
    "|---|---|---|---|---|---|---|---|---|",
  ]
  cases = [(f"{n} chip{'s' if n > 1 else ''}", step(n)) for n in (1, 8, 64)]
  cases.append(("8 hosts of 1 chip", step(8, NETWORK)))
  cases.append(("64 hosts of 1 chip", step(64, NETWORK)))
  for name, each in cases:
    times = (each.arithmetic, each.memory, each.gradients, each.embeddings, each.seconds)
    shown = " | ".join(f"{seconds * 1e3:.1f} ms" for seconds in times)
    lines.append(
      f"| {name} | {BATCH // each.chips:,} | {shown} | {each.examples_per_second / 1e3:,.0f} k | "
      f"{each.arithmetic / each.seconds:.0%} |"
    )
  return lines


def feed_table() -> list[str]:
  """What the store must give."""
  lines = [
    "| | examples/s | bytes/s of all | bytes/s of a host | cores that gather, of a host |",
    "|---|---|---|---|---|",
  ]
  for chips in (1, 8, 64):
    rate, hosts = step(chips).examples_per_second, max(1, chips // CHIPS_OF_A_HOST)
    lines.append(
      f"| {chips} chip{'s' if chips > 1 else ''}, {hosts} host{'s' if hosts > 1 else ''} | "
      f"{rate / 1e3:,.0f} k | {rate * ROW / 1e6:,.0f} MB | {rate * ROW / hosts / 1e6:,.0f} MB | "
      f"{rate / hosts / GATHERED:.2f} |"
    )
  return lines


def order_table() -> list[str]:
  """How fast one core puts the window's rows in order."""
  lines = ["| rows of a window | rows/s that one core orders |", "|---|---|"]
  for rows in (1e7, 1e8, 1e9):
    lines.append(f"| {rows:,.0f} | {BLOCK / (rows * HASH) / 1e6:,.2f} M |")
  return lines


def tables_table() -> list[str]:
  """A table of 10⁹ rows in several widths and kinds of state."""
  lines = [
    "| 10⁹ rows, as | weights | with its state | chips that hold it | one pass of each over its "
    "share | written by 64 hosts |",
    "|---|---|---|---|---|---|",
  ]
  kinds = [
    ("64 floats, Adagrad", 1e9, 64, 1.0),
    ("64 floats, one sum of squares a row", 1e9, 64, 1 / 64),
    ("16 floats, Adagrad", 1e9, 16, 1.0),
    ("64 floats, hashed to 10⁸ rows, Adagrad", 1e8, 64, 1.0),
  ]
  for name, rows, width, slots in kinds:
    size = table_bytes(rows, width, slots)
    chips = chips_for(size)
    lines.append(
      f"| {name} | {table_bytes(rows, width, 0) / 1e9:,.0f} GB | {size / 1e9:,.0f} GB | {chips} | "
      f"{size / chips / BANDWIDTH * 1e3:.0f} ms | {size / 64 / DISK:.1f} s |"
    )
  return lines


def tables() -> dict[str, str]:
  """The tables of the page, by name."""
  made = {"steps": steps_table(), "feed": feed_table(), "order": order_table()}
  made["tables"] = tables_table()
  return {name: "\n".join(lines) for name, lines in made.items()}


def main() -> None:
  """Prints them."""
  print(
    f"{parameters() / 1e6:.1f} M weights; {flop(BATCH) / 1e12:.1f} TFLOP a step; {ROW} bytes a row"
  )
  for name, text in tables().items():
    print(f"\n{name}\n\n{text}")


if __name__ == "__main__":
  main()
