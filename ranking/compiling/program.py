"""The training step of a run as one XLA program, for a compiler of another device."""

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from ranking.data.schema import Schema
from ranking.settings import SettingError, Settings
from ranking.training.step import training_step

# What asks the host. A custom call is a function of the CPU's, where a compiler has no other.
HOST = ("custom-call", "infeed", "outfeed", "send", "recv")


def step_program(settings: Settings, schema: Schema, batch_size: int) -> bytes:
  """The step of one chip as a serialized HLO module: model, losses, optimizer with its guard.

  Args:
    settings: of the run.
    schema: of its log.
    batch_size: rows of this chip.

  Raises:
    SettingError: an operation of it cannot be compiled.
  """
  if settings.training.model.inputs.split is not None:
    raise SettingError(
      "tables that are split over GPUs are not compiled, and a TPU has none; set Inputs.split=None"
    )
  network = settings.training.model.build(schema)
  optimizer = settings.training.optimizer.build(settings.training.rate())
  optimizer.build(network.trainable_variables)
  step = training_step(network, optimizer, {})
  tasks = len(schema.tasks)
  widths = {
    "ids": (len(schema.of_kind("categorical")), tf.int32),
    "bags": (sum(feature.length for feature in schema.of_kind("bag")), tf.int32),
    "dense": (len(schema.of_kind("dense")), tf.float32),
    "labels": (tasks, tf.float32),
    "weights": (tasks, tf.float32),
  }
  batch = {name: tf.zeros([batch_size, width], dtype) for name, (width, dtype) in widths.items()}
  compiled = tf.function(lambda **given: step(given, False)[0], jit_compile=True)
  try:
    program = compiled.experimental_get_compiler_ir(**batch)(stage="hlo_serialized")
  except (ValueError, TypeError, tf.errors.OpError) as error:
    said = " ".join(str(error).split())[:300]
    raise SettingError(f"the step does not compile: {said}") from error
  if asked := host_calls(program):
    raise SettingError(f"the step does not compile: a device has no {', '.join(asked)}")
  return bytes(program)


def host_calls(program: bytes) -> list[str]:
  """What a program asks of the host, each once: the operation and, of a call, its function."""
  found = {
    f"{each.opcode} {each.custom_call_target}".strip()
    for computation in hlo_pb2.HloModuleProto.FromString(program).computations
    for each in computation.instructions
    if each.opcode in HOST
  }
  return sorted(found)
