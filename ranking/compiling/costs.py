"""What a step costs on a device that need not be here, by the device's own compiler."""

import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ranking.errors import InputError

COMPILER = Path(__file__).with_name("compiler.py")
GIB = 2**30

Costs = dict[str, Any]  # what compiler.py prints


class Chip(NamedTuple):
  """What a device can do, by its maker's published figures."""

  memory: float  # GiB
  flops: float  # of the products of matrices, per second
  bandwidth: float  # bytes per second of its memory


def compile_step(program: bytes, python: str, kind: str, target: str) -> Costs:
  """What `compiler.py` says of a program.

  Args:
    program: a serialized HLO module.
    python: an interpreter that has the compiler.
    kind: "TPU" or "GPU".
    target: the device, as `compiler.py` wants it.

  Raises:
    InputError: with what the compiler says if it refuses the program.
  """
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "step.hlo"
    path.write_bytes(program)
    line = [python, str(COMPILER), str(path), kind, target]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
  printed = done.stdout.strip().splitlines()
  if done.returncode or not printed:
    said = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
    raise InputError(f"{python} cannot compile for a {kind}: {said}")
  costs: Costs = json.loads(printed[-1])
  if "error" in costs:
    raise InputError(f"the step does not compile for {costs['device']}: {costs['error']}")
  return costs


def memory(costs: Costs) -> float:
  """Bytes that a step needs; weights and slots are updated in place, so outputs need none."""
  return float(costs["arguments"] + costs["temporaries"])


def best_seconds(costs: Costs, chip: Chip) -> float:
  """The shortest time of a step that a chip's peaks of arithmetic and of memory allow."""
  return float(max(costs["flops"] / chip.flops, costs["bytes"] / chip.bandwidth))


def fits(costs: Costs, chip: Chip) -> bool:
  """Whether a step's memory is there."""
  return memory(costs) <= chip.memory * GIB


def fitting(whole: Costs, half: Costs, rows: int, chip: Chip) -> int:
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


def describe(costs: Costs, rows: int, chip: Chip | None) -> list[str]:
  """The lines of a check: costs of one device and step.

  Args:
    costs: of so many rows.
    rows: of the device.
    chip: the device, if its figures are known.
  """
  flops, touched, model = costs["flops"], costs["bytes"], costs["seconds"]
  accessed = "" if touched is None else f" and {touched / 1e9:.2f} GB accessed"
  parts = (
    f"{costs['arguments'] / GIB:.2f} weights, slots and batch, "
    f"{costs['temporaries'] / GIB:.2f} temporaries"
  )
  used = f"{memory(costs) / GIB:.2f} GiB"
  lines = [f"{flops / 1e9:,.{0 if flops > 1e11 else 2}f} GFLOP{accessed} a step"]
  if chip is None:
    lines.append(f"{used}: {parts}")
  else:
    verdict = "fits" if fits(costs, chip) else "does not fit"
    lines.append(f"{used} of {chip.memory:g}: {parts}; it {verdict}")
  if chip is not None and touched is not None:
    seconds, arithmetic = best_seconds(costs, chip), flops / chip.flops
    bound = "arithmetic" if seconds == arithmetic else "memory"
    lines.append(
      f"at least {seconds * 1e3:.1f} ms a step, at most {rows / seconds:,.0f} examples/s, "
      f"by its {bound}; {arithmetic / seconds:.0%} of its peak"
    )
  if model is not None:
    lines.append(f"the compiler's own estimate: {model * 1e3:.1f} ms a step")
  return lines


def describe_run(costs: Costs, rows: int, chip: Chip | None) -> str:
  """The line of steps that were run; arguments as of `describe`."""
  each = costs["run_seconds"]
  middle = statistics.median(each)
  peak = "" if chip is None else f", {costs['flops'] / middle / chip.flops:.0%} of its peak"
  doubt = "" if costs["finite"] else "; not of a real step: its numbers were not finite"
  return (
    f"median of {len(each)} steps: {middle * 1e3:.1f} ms ({min(each) * 1e3:.1f} to "
    f"{max(each) * 1e3:.1f}), {rows / middle:,.0f} examples/s, "
    f"{costs['flops'] / middle / 1e12:.1f} TFLOP/s{peak}{doubt}"
  )
