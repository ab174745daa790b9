"""Compiles an XLA program with the real compiler of a device, which need not be here.

  python compiler.py step.hlo TPU v5e:2x2
  python compiler.py step.hlo GPU "gpu_device_info { … }"

prints one line of JSON. A GPU that JAX finds on this machine takes the place of the described one,
and runs the program. This is for an environment of its own, as jax and libtpu do not go together
with TensorFlow in one process; so it imports nothing of ours.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.update(TPU_SKIP_MDS_QUERY="1", TPU_LIBRARY_LOG_LEVEL="3")
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # no TPU is used, so two may compile side by side
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # it asks a driver, which need not be here
if "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:
  os.environ.setdefault("XLA_CLIENT_MEM_FRACTION", "0.95")  # JAX would leave a quarter of a GPU

import jax
import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax.experimental import topologies
from jaxlib import _jax
from jaxlib.mlir import ir

LIBRARY_CALL = 'custom_call_target="__cu'  # of cuBLAS or cuDNN: XLA does not count its bytes
TYPES = {"i1": np.bool_, "i32": np.int32, "i64": np.int64, "f32": np.float32, "f64": np.float64}


def device_of(kind: str, target: str) -> tuple[Any, bool]:
  """A device to compile for, and whether it is here.

  Args:
    kind: "TPU" or "GPU".
    target: the topology of a TPU, such as v5e:2x2, or XLA's description of a GPU.
  """
  if kind == "TPU":
    jax.config.update("jax_platforms", "cpu")
    return topologies.get_topology_desc(target, "tpu").devices[0], False
  try:
    return jax.devices("cuda")[0], True
  except RuntimeError:  # there is none
    given = {"target_config": target, "topology": "1x1x1"}
    return topologies.get_topology_desc("", "cuda", **given).devices[0], False


def module_of(program: bytes) -> ir.Module:
  """The StableHLO of a serialized HLO module; called in an MLIR context."""
  module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(program))
  drop_copies(module)
  return module


def drop_copies(module: ir.Module) -> None:
  """Replaces each mhlo.copy, which compilers of devices do not know, by what it copies."""
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


def costs(module: ir.Module, made: Any, kind: str) -> dict[str, Any]:
  """What a step of a program costs on one device.

  Args:
    module: the program, before it was compiled.
    made: and after.
    kind: of the device.

  Returns:
    flops; bytes, and seconds of the compiler's model, where they are known; arguments, outputs and
    temporaries, bytes of memory.
  """
  memory = made.get_compiled_memory_stats()
  if kind == "TPU":
    counted = made.cost_analysis()
    counted = counted[0] if isinstance(counted, list) else counted
    flops, touched = counted["flops"], counted["bytes accessed"]
    seconds = counted.get("optimal_seconds", -1.0)  # on some programs and chips it is negative
  else:
    (optimized,) = made.hlo_modules()
    whole = _jax.mlir.mlir_module_to_xla_computation(str(module)).as_hlo_module()
    flops, seconds = counted_by_xla(whole)["flops"], -1.0
    called = LIBRARY_CALL in optimized.to_string()
    touched = None if called else counted_by_xla(optimized)["bytes accessed"]
  return {
    "flops": flops,
    "bytes": touched,
    "seconds": seconds if seconds > 0 else None,
    "arguments": memory.argument_size_in_bytes,
    "outputs": memory.output_size_in_bytes,
    "temporaries": memory.temp_size_in_bytes,
  }


def counted_by_xla(module: Any) -> dict[str, float]:
  """Figures of an HLO module that are the same on every device."""
  return _jax.hlo_module_cost_analysis(jax.devices("cpu")[0].client, module)


def run(module: ir.Module, made: Any, device: Any, steps: int) -> dict[str, Any]:
  """Steps of a program on a device that is here, on made-up numbers.

  Ids are below 1,000, all else in [0, 0.001), which a step has gradients of.

  Returns:
    run_seconds, of each step after a first that does not count; finite, whether what the last
    computed is, for a step that is not would be skipped.
  """
  jax.config.update("jax_enable_x64", True)  # else int64 would become int32
  main = next(each for each in module.body.operations if each.name.value == "main")
  types = [ir.RankedTensorType(each) for each in main.type.inputs]
  random, seconds = np.random.default_rng(0), []
  results: list[jax.Array] = []
  for _ in range(steps + 1):
    given = [jax.device_put(made_up(each, random), device) for each in types]  # a step takes them
    jax.block_until_ready(given)
    begin = time.perf_counter()
    results = made.execute_sharded(given).disassemble_into_single_device_arrays()
    jax.block_until_ready(results)
    seconds.append(time.perf_counter() - begin)
  finite = all(np.isfinite(np.asarray(each)).all() for each in jax.tree.leaves(results))
  return {"run_seconds": seconds[1:], "finite": bool(finite)}


def made_up(described: ir.RankedTensorType, random: np.random.Generator) -> np.ndarray[Any, Any]:
  """Values of a shape and type; a whole number alone, such as a count of steps, is 0."""
  kind, shape = TYPES[str(described.element_type)], described.shape
  if np.issubdtype(kind, np.floating):
    return (random.random(shape, np.float32) * 1e-3).astype(kind)
  return random.integers(0, 1000 if shape and kind is not np.bool_ else 1, shape).astype(kind)


def check(program: bytes, kind: str, target: str, steps: int = 10) -> dict[str, Any]:
  """The costs of a program, with the name of its device and what running it says, if it is here."""
  device, here = device_of(kind, target)
  with mlir.make_ir_context():
    module = module_of(program)
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    where = xla_client.DeviceList((device,))
    try:
      make = device.client.compile_and_load if here else device.client.compile
      made = make(module, where, options)
      ran = run(module, made, device, steps) if here else {"run_seconds": None}
    except Exception as error:  # what is refused has no class of its own
      return {"device": device.device_kind, "error": " ".join(str(error).split())[:600]}
    return {"device": device.device_kind, **ran, **costs(module, made, kind)}


if __name__ == "__main__":
  print(json.dumps(check(Path(sys.argv[1]).read_bytes(), sys.argv[2], sys.argv[3])))
