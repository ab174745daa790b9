"""The step is one XLA program, and what compilers of other devices say of it is read right."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from ranking import configuration
from ranking.commands import gpu_check
from ranking.compiling.costs import (
  COMPILER,
  GIB,
  Chip,
  Costs,
  best_seconds,
  compile_step,
  describe,
  describe_run,
  fits,
  fitting,
  memory,
)
from ranking.compiling.program import host_calls, step_program
from ranking.data.store import DayStore
from ranking.errors import InputError

ROOT = Path(__file__).parent.parent
METHODS = sorted(path.stem for path in (ROOT / "configs" / "methods").glob("*.gin"))
SHAPES = ([4, 3], [3], [5, 2])  # a kernel, a bias, a table of embeddings
CHIP = Chip(16, 197e12, 0.819e12)
COSTS: Costs = {
  **{"device": "a chip", "flops": 1.97e12, "bytes": 8.19e9, "seconds": None, "run_seconds": None},
  **{"arguments": 3 * GIB, "outputs": GIB, "temporaries": 5 * GIB},
}
# The CPU stands in for a GPU.
ON_CPU = f"""
import json, sys
sys.path.insert(0, {str(COMPILER.parent)!r})
import compiler, jax
compiler.device_of = lambda kind, target: (jax.devices("cpu")[0], True)
print(json.dumps(compiler.check(open(sys.argv[1], "rb").read(), "GPU", "", steps=3)))
"""


@pytest.fixture
def program(tiny_store: DayStore) -> bytes:
  """The step of the largest model, narrow."""
  settings = configuration.read(
    config="large_dcn_clippy.gin",
    data="synthetic",
    scale="proxy",
    bindings=["Model.width_scale=0.05"],
    run_directory="runs/none",
  )
  return step_program(settings, tiny_store.schema, 64)


def interpreter(kind: str) -> str:
  """A Python with the compiler of a kind of device; without one the test is skipped."""
  here = ROOT / f".venv-{kind.lower()}" / "bin" / "python"
  path = os.environ.get(f"RANKING_{kind}_COMPILER", str(here))
  if not Path(path).is_file():
    pytest.skip(f"no {here}, and RANKING_{kind}_COMPILER names no other")
  return path


@pytest.fixture
def tpu_python() -> str:
  return interpreter("TPU")


@pytest.fixture
def gpu_python() -> str:
  return interpreter("GPU")


def instructions(program: bytes) -> Iterator[hlo_pb2.HloInstructionProto]:
  """All of a program."""
  for computation in hlo_pb2.HloModuleProto.FromString(program).computations:
    yield from computation.instructions


def test_only_the_rows_of_tables_that_a_batch_touches_have_a_size_that_data_decide(
  program: bytes,
) -> None:
  assert "dot" in {each.opcode for each in instructions(program)}
  sized = [each for each in instructions(program) if each.opcode == "set-dimension-size"]
  assert {each.metadata.op_type for each in sized} == {"Unique", "UnsortedSegmentSum", "ZerosLike"}


def test_no_method_asks_the_host() -> None:
  optimizers = []
  for method in METHODS:
    settings = configuration.read(model="small", method=method).training
    optimizer = settings.optimizer.build(settings.rate())
    variables = [tf.Variable(tf.ones(shape)) for shape in SHAPES]
    optimizer.build(variables)
    optimizers.append((optimizer, variables))

  @tf.function(jit_compile=True)
  def steps(ids: tf.Tensor) -> None:
    for optimizer, (kernel, bias, table) in optimizers:
      rows = tf.IndexedSlices(tf.ones([6, 2]), ids, tf.constant(SHAPES[2]))
      optimizer.apply_gradients([(kernel * 0.1, kernel), (bias * 0.1, bias), (rows, table)])

  made = steps.experimental_get_compiler_ir(tf.zeros([6], tf.int32))(stage="hlo_serialized")
  assert len(METHODS) >= 11
  assert host_calls(bytes(made)) == []


def test_what_a_program_asks_of_the_host_is_named() -> None:
  module = hlo_pb2.HloModuleProto()
  computation = module.computations.add()
  for opcode, target in (("add", ""), ("outfeed", ""), ("custom-call", "lapack_sgetrf")):
    computation.instructions.add(opcode=opcode, custom_call_target=target)
  assert host_calls(module.SerializeToString()) == ["custom-call lapack_sgetrf", "outfeed"]


def test_the_compiler_of_tpus_takes_the_step(tpu_python: str, program: bytes) -> None:
  costs = compile_step(program, tpu_python, "TPU", "v5e:2x2")
  assert costs["device"] == "TPU v5 lite"
  assert min(costs["flops"], costs["bytes"], memory(costs)) > 0


def test_the_compiler_of_gpus_takes_the_step(gpu_python: str, program: bytes) -> None:
  card = gpu_check.CARDS["a100"]
  costs = compile_step(program, gpu_python, "GPU", gpu_check.described(card))
  assert costs["run_seconds"] or costs["device"] == card.name
  assert min(costs["flops"], memory(costs)) > 0


def test_steps_are_timed_where_the_device_is_here(
  gpu_python: str, program: bytes, tmp_path: Path
) -> None:
  step = tmp_path / "step.hlo"
  step.write_bytes(program)
  line = [gpu_python, "-c", ON_CPU, str(step)]
  done = subprocess.run(line, capture_output=True, text=True, check=True)
  costs = json.loads(done.stdout)
  assert costs["device"] == "cpu"
  assert len(costs["run_seconds"]) == 3
  assert costs["finite"]
  assert "median of 3 steps" in describe_run(costs, 64, None)


def test_the_shortest_time_is_that_of_what_a_chip_is_slowest_at() -> None:
  assert best_seconds(COSTS, CHIP) == pytest.approx(0.01)  # both take as long
  assert best_seconds({**COSTS, "bytes": 8.19e10}, CHIP) == pytest.approx(0.1)
  lines = describe({**COSTS, "seconds": 0.02}, 16_384, CHIP)
  assert lines[0] == "1,970 GFLOP and 8.19 GB accessed a step"
  assert lines[1].startswith("8.00 GiB of 16: ")
  assert lines[1].endswith("it fits")
  assert "at most 1,638,400 examples/s" in lines[2]
  assert "100% of its peak" in lines[2]
  assert lines[3] == "the compiler's own estimate: 20.0 ms a step"


def test_what_is_not_known_of_a_device_is_not_said() -> None:
  assert describe({**COSTS, "bytes": None}, 16_384, None) == [
    "1,970 GFLOP a step",
    "8.00 GiB: 3.00 weights, slots and batch, 5.00 temporaries",
  ]


def test_steps_that_were_run_are_told_by_their_median() -> None:
  ran = {**COSTS, "run_seconds": [0.03, 0.02, 0.01], "finite": True}
  said = "median of 3 steps: 20.0 ms (10.0 to 30.0), 819,200 examples/s, 98.5 TFLOP/s"
  assert describe_run(ran, 16_384, None) == said
  assert describe_run(ran, 16_384, CHIP) == f"{said}, 50% of its peak"
  assert "were not finite" in describe_run({**ran, "finite": False}, 16_384, CHIP)


def test_the_largest_batch_is_where_the_memory_ends() -> None:
  half = {**COSTS, "temporaries": 3 * GIB}  # 4 GiB grow with the rows, 4 stay
  assert fitting(COSTS, half, 1024, CHIP) == 3072
  assert fitting(COSTS, COSTS, 1024, CHIP) == 1024
  larger = {**COSTS, "arguments": 12 * GIB}
  assert fits(COSTS, CHIP)
  assert not fits(larger, CHIP)
  assert describe(larger, 1024, CHIP)[1].endswith("it does not fit")


@pytest.mark.parametrize(
  ("prints", "message"),
  [
    ('echo \'{"device": "v5e", "error": "no such op"}\'', "does not compile for v5e: no such op"),
    ("true", "cannot compile for a TPU: it printed nothing"),
    ("echo 'No module named jax' >&2; false", "cannot compile for a TPU: No module named jax"),
  ],
)
def test_what_the_compiler_refuses_is_said(tmp_path: Path, prints: str, message: str) -> None:
  python = tmp_path / "python"
  python.write_text(f"#!/bin/sh\n{prints}\n")
  python.chmod(0o755)
  with pytest.raises(InputError, match=message):
    compile_step(b"program", str(python), "TPU", "v5e:2x2")
