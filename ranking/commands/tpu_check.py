"""Compiles the training step with the real TPU compiler, on a machine without a TPU.

  ranking tpu-check --config=large_dcn_clippy.gin --batch-size=65536 --topology=v5e:2x2

Prints what a step costs a chip, whether its memory holds it, the shortest time that the peaks of
the chip allow, and the largest batch that fits. Each chip has its share of the batch; what they say
to each other, the sums of gradients, is not part of it.

Nothing runs on a TPU. --compiler is a Python with jax and libtpu, which make tpu-check sets up.

Exit codes: 0 it compiles and fits; 2 bad settings, or it does not compile, or does not fit.
"""

import argparse
import math

from ranking.commands.run_arguments import add_run_arguments
from ranking.commands.step_costs import step_costs
from ranking.compiling.costs import Chip, describe, fits, fitting
from ranking.errors import InputError

CHIPS = {  # flops in bfloat16, which float32 products are computed in by default
  "v4": Chip(32, 275e12, 1.228e12),
  "v5e": Chip(16, 197e12, 0.819e12),
  "v5p": Chip(95, 459e12, 2.765e12),
  "v6e": Chip(32, 918e12, 1.640e12),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of this command."""
  add_run_arguments(parser)
  parser.add_argument("--topology", default="v5e:2x2", help="such as v5e:4x4 (%(default)s)")
  parser.add_argument("--batch-size", type=int, default=65_536, help="of all chips (%(default)s)")
  parser.add_argument(
    "--compiler", default=".venv-tpu/bin/python", help="a Python with jax and libtpu (%(default)s)"
  )


def run(given: argparse.Namespace) -> int:
  """Prints the check; returns the exit code."""
  name = given.topology.partition(":")[0]
  if name not in CHIPS:
    raise InputError(f"no chip {name!r} in --topology; known are {', '.join(CHIPS)}, as v5e:2x2")
  chip, chips = CHIPS[name], _chips(given.topology)
  if given.batch_size < 1 or given.batch_size % (2 * chips):
    raise InputError(
      f"batch size {given.batch_size} does not split over {chips} chips in an even number of rows"
    )
  share = given.batch_size // chips
  run, _, whole, half = step_costs(given, share, "TPU", given.topology)
  print(f"{run}: compiled, never run")
  print(f"  {chips} chips {whole['device']}, {share:,} rows each; of each chip:")
  for line in describe(whole, share, chip):
    print(f"  {line}")
  largest = fitting(whole, half, share, chip)
  print(f"  largest batch that fits: about {largest * chips:,} rows, {largest:,} a chip")
  return 0 if fits(whole, chip) else 2


def _chips(topology: str) -> int:
  """How many chips a topology has, 4 for v5e:2x2."""
  sides = topology.partition(":")[2].split("x")
  if not all(side.isdecimal() and int(side) for side in sides):
    raise InputError(f"--topology is {topology!r}; make it such as v5e:2x2 or v4:2x2x1")
  return math.prod(map(int, sides))
