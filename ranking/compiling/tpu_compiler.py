"""Compiles an XLA program with the real TPU compiler, on a machine without a TPU.

  python tpu_compiler.py step.hlo v5e:2x2

prints one line of JSON. It runs in an environment of its own, for jax and libtpu do not go together
with TensorFlow in one process; so it imports nothing of ours.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", TPU_LIBRARY_LOG_LEVEL="3")
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # no TPU is used, so two may compile side by side

from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax.experimental import topologies
from jaxlib import _jax
from jaxlib.mlir import ir


def compiled(program: bytes, topology: str) -> dict[str, Any]:
  """What a program costs on one chip of a topology.

  Returns:
    chip, its name; chips, how many the topology has; flops, bytes and, where the compiler's model
    gives it, seconds of a step; arguments, outputs and temporaries, bytes of memory.
  """
  devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
  with mlir.make_ir_context():
    module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(program))
    drop_copies(module)
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    made = devices[0].client.compile(module, xla_client.DeviceList((devices[0],)), options)
  costs = made.cost_analysis()
  costs = costs[0] if isinstance(costs, list) else costs
  memory = made.get_compiled_memory_stats()
  seconds = costs.get("optimal_seconds", -1.0)
  return {
    "chip": devices[0].device_kind,
    "chips": len(devices),
    "flops": costs["flops"],
    "bytes": costs["bytes accessed"],
    "seconds": seconds if seconds > 0 else None,  # on some programs and chips it is negative
    "arguments": memory.argument_size_in_bytes,
    "outputs": memory.output_size_in_bytes,
    "temporaries": memory.temp_size_in_bytes,
  }


def drop_copies(module: Any) -> None:
  """Replaces each mhlo.copy, which the TPU compiler does not know, by what it copies."""
  found = []

  def visit(operation: Any) -> None:
    for region in operation.regions:
      for block in region.blocks:
        for inner in list(block.operations):
          visit(inner.operation)
          if inner.operation.name == "mhlo.copy":
            found.append(inner.operation)

  visit(module.operation)
  for copy in found:
    copy.result.replace_all_uses_with(copy.operands[0])
    copy.erase()


if __name__ == "__main__":
  try:
    print(json.dumps(compiled(Path(sys.argv[1]).read_bytes(), sys.argv[2])))
  except Exception as error:  # of the compiler, which has no class of its own for what it refuses
    print(json.dumps({"error": " ".join(str(error).split())[:600]}))
