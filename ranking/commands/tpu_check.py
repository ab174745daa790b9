"""Compiles the training step with the real TPU compiler, on a machine without a TPU.

  ranking tpu-check --config=large_dcn_clippy.gin --batch-size=65536 --topology=v5e:2x2

Prints what a step costs a chip, whether its memory holds it, the shortest time that the peaks of
the chip allow, and the largest batch that fits. Each chip has its share of the batch; what they say
to each other, the sums of gradients, is not part of it.

Nothing runs on a TPU. --compiler is a Python with jax and libtpu, which make tpu-check sets up.

Exit codes: 0 it compiles and fits; 2 bad settings, or it does not compile, or does not fit.
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import ranking.compiling
from ranking.commands.run_arguments import add_run_arguments, read_settings
from ranking.compiling.program import step_program
from ranking.errors import InputError
from ranking.training.console import Console
from ranking.training.run import open_log

COMPILER = Path(ranking.compiling.__file__).with_name("tpu_compiler.py")
GIB = 2**30


class Chip(NamedTuple):
  """What a chip can do, by its maker's published figures."""

  memory: float  # GiB
  flops: float  # in bfloat16, which float32 products are computed in by default, per second
  bandwidth: float  # bytes per second of its memory


CHIPS = {
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
  if not Path(given.compiler).is_file():
    raise InputError(f"no Python at {given.compiler}; make tpu-check sets one up")
  chip, chips = CHIPS[name], _chips(given.topology)
  if given.batch_size < 1 or given.batch_size % (2 * chips):
    raise InputError(
      f"batch size {given.batch_size} does not split over {chips} chips in an even number of rows"
    )
  share = given.batch_size // chips
  settings = read_settings(given, "runs/none")
  schema = open_log(settings, Console()).schema

  def cost(rows: int) -> dict[str, Any]:
    return _compiled(step_program(settings, schema, rows), given)

  whole, half = cost(share), cost(share // 2)
  print(f"{settings.names.model_name} with {settings.names.method_name} at scale ", end="")
  print(f"{settings.names.scale_name} on {settings.log.source.name}: compiled, never run")
  for line in describe(whole, chip, share, chips):
    print(f"  {line}")
  largest = fitting(whole, half, share, chip)
  print(f"  largest batch that fits: about {largest * chips:,} rows, {largest:,} a chip")
  return 0 if memory(whole) <= chip.memory * GIB else 2


def memory(costs: dict[str, Any]) -> float:
  """Bytes that a step needs; weights and slots are updated in place, so outputs need none."""
  return float(costs["arguments"] + costs["temporaries"])


def best_seconds(costs: dict[str, Any], chip: Chip) -> float:
  """The shortest time of a step that a chip's peaks of arithmetic and of memory allow."""
  return float(max(costs["flops"] / chip.flops, costs["bytes"] / chip.bandwidth))


def describe(costs: dict[str, Any], chip: Chip, rows: int, chips: int) -> list[str]:
  """The lines of the check: costs of one chip with so many rows, of so many chips."""
  seconds, used = best_seconds(costs, chip), memory(costs) / GIB
  arithmetic = costs["flops"] / chip.flops
  bound = "arithmetic" if seconds == arithmetic else "memory"
  model = costs["seconds"]
  lines = [
    f"{chips} chips {costs['chip']}, {rows:,} rows each",
    f"{costs['flops'] / 1e9:,.0f} GFLOP and {costs['bytes'] / 1e9:.2f} GB accessed a step and chip",
    f"{used:.2f} GiB of {chip.memory:g} a chip: {costs['arguments'] / GIB:.2f} weights, slots and "
    f"batch, {costs['temporaries'] / GIB:.2f} temporaries; it {_fits(used, chip)}",
    f"at least {seconds * 1e3:.1f} ms a step, at most {rows / seconds:,.0f} examples/s a chip, "
    f"by its {bound}; {arithmetic / seconds:.0%} of its peak",
  ]
  if model is not None:
    lines.append(f"the compiler's own estimate: {model * 1e3:.1f} ms a step")
  return lines


def fitting(whole: dict[str, Any], half: dict[str, Any], rows: int, chip: Chip) -> int:
  """Rows of a chip that its memory holds, a multiple of 128; memory grows in line with them.

  Args:
    whole, half: costs of so many rows, and of half as many.
    rows: of `whole`.
    chip: whose memory it is.
  """
  each = (memory(whole) - memory(half)) / (rows / 2)
  fixed = memory(whole) - rows * each
  if each <= 0:
    return rows
  return max(0, int((chip.memory * GIB - fixed) / each) // 128 * 128)


def _fits(used: float, chip: Chip) -> str:
  return "fits" if used <= chip.memory else "does not fit"


def _chips(topology: str) -> int:
  """How many chips a topology has, 4 for v5e:2x2."""
  sides = topology.partition(":")[2].split("x")
  if not all(side.isdecimal() and int(side) for side in sides):
    raise InputError(f"--topology is {topology!r}; make it such as v5e:2x2 or v4:2x2x1")
  return math.prod(map(int, sides))


def _compiled(program: bytes, given: argparse.Namespace) -> dict[str, Any]:
  """Raises InputError with what the compiler says if it refuses the program."""
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "step.hlo"
    path.write_bytes(program)
    line = [given.compiler, str(COMPILER), str(path), given.topology]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
  printed = done.stdout.strip().splitlines()
  if done.returncode or not printed:
    said = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
    raise InputError(f"{given.compiler} cannot compile for a TPU: {said}")
  costs: dict[str, Any] = json.loads(printed[-1])
  if "error" in costs:
    raise InputError(f"the step does not compile for {given.topology}: {costs['error']}")
  return costs
