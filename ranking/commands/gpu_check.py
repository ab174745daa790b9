"""Compiles the training step for a GPU with XLA, and times it on the GPU of this machine, if any.

  ranking gpu-check --config=large_dcn_clippy.gin --batch-size=65536 --gpu=h100

Prints what a step costs one GPU, whether its memory holds it, and the largest batch that fits. On a
machine without a GPU, or with CUDA_VISIBLE_DEVICES="", it is compiled for --gpu, and what is
printed is the shortest time that the peaks of the card allow. The GPU of this machine takes the
place of --gpu, and ten steps of made-up numbers are timed on it, through JAX: what TensorFlow adds
to a step, and reading rows, are not part of it.

--compiler is a Python with JAX for CUDA, which make gpu-check sets up.

Exit codes: 0 it compiles and fits; 2 bad settings, or it does not compile, or does not fit.
"""

import argparse
from typing import NamedTuple

from ranking.commands.run_arguments import add_run_arguments
from ranking.commands.step_costs import step_costs
from ranking.compiling.costs import GIB, Chip, describe, describe_run, fits, fitting
from ranking.errors import InputError


class Card(NamedTuple):
  """A GPU, by its maker's published figures and as XLA describes it.

  Per processor: threads of float32, and bytes of shared memory, also without what CUDA keeps.
  """

  name: str  # as CUDA calls it
  chip: Chip  # flops in TensorFloat-32, which float32 products are computed in; bfloat16 is twice
  capability: int
  processors: int
  lanes: int
  shared: int
  shared_of_block: int
  cache: int  # bytes of L2
  clock: float  # GHz


CARDS = {
  "a100": Card(
    "NVIDIA A100-SXM4-80GB", Chip(79, 156e12, 2.039e12), 8, 108, 64, 167936, 166912, 41943040, 1.41
  ),
  "h100": Card(
    "NVIDIA H100 80GB HBM3", Chip(79, 495e12, 3.352e12), 9, 132, 128, 233472, 232448, 52428800, 1.98
  ),
  "h200": Card(
    "NVIDIA H200", Chip(141, 495e12, 4.8e12), 9, 132, 128, 233472, 232448, 52428800, 1.98
  ),
}
# GpuTargetConfigProto of XLA; what is the same for all of these cards is written out.
DESCRIPTION = """
platform_name: "CUDA"
device_description_str: "{name}"
dnn_version_info {{ major: 9 minor: 10 }}
runtime_version {{ major: 12 minor: 8 }}
gpu_device_info {{
  cuda_compute_capability {{ major: {capability} }}
  core_count: {processors} fpus_per_core: {lanes} clock_rate_ghz: {clock}
  device_memory_size: {memory} memory_bandwidth: {bandwidth} l2_cache_size: {cache}
  shared_memory_per_core: {shared} shared_memory_per_block_optin: {shared_of_block}
  shared_memory_per_block: 49152
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
}}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of this command."""
  add_run_arguments(parser)
  parser.add_argument(
    "--gpu", default="h100", help=f"if there is none here: {', '.join(CARDS)} (%(default)s)"
  )
  parser.add_argument("--batch-size", type=int, default=65_536, help="of the GPU (%(default)s)")
  parser.add_argument(
    "--compiler", default=".venv-gpu/bin/python", help="a Python with jax[cuda12] (%(default)s)"
  )


def run(given: argparse.Namespace) -> int:
  """Prints the check; returns the exit code."""
  if given.gpu not in CARDS:
    raise InputError(f"no GPU {given.gpu!r} in --gpu; known are {', '.join(CARDS)}")
  rows = given.batch_size
  if rows < 2 or rows % 2:
    raise InputError(f"batch size {rows} is no even number of rows")
  run, precision, whole, half = step_costs(given, rows, "GPU", described(CARDS[given.gpu]))
  chip = chip_of(whole["device"], precision)
  was_run = whole["run_seconds"] is not None
  print(f"{run}: " + ("compiled and run" if was_run else "compiled, never run: no GPU is here"))
  print(f"  {whole['device']}, {rows:,} rows, layers in {precision}")
  for line in describe(whole, rows, chip):
    print(f"  {line}")
  if was_run:
    print(f"  {describe_run(whole, rows, chip)}")
  if chip is None:
    print("  its memory and peak are not known here")
    return 0
  print(f"  largest batch that fits: about {fitting(whole, half, rows, chip):,} rows")
  return 0 if fits(whole, chip) else 2


def described(card: Card) -> str:
  """A card as XLA wants it."""
  memory, bandwidth = int(card.chip.memory * GIB), int(card.chip.bandwidth)
  return DESCRIPTION.format(**card._asdict(), memory=memory, bandwidth=bandwidth)


def chip_of(device: str, precision: str) -> Chip | None:
  """The figures of a card that CUDA calls so, if they are known, in the precision of layers."""
  chips = [card.chip for card in CARDS.values() if card.name == device]
  if not chips:
    return None
  return chips[0]._replace(flops=chips[0].flops * (2 if precision == "bfloat16" else 1))
