"""Tries the examples of docs: python -m scripts.check_examples path/to/ml-latest-small

Every example trains, is saved, goes on bit for bit in a model that is made anew, has its tables
frozen and unfrozen; on one replica and two, in three precisions. Prints a line for each; two
virtual CPUs are the two replicas.
"""

import contextlib
import importlib
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ranking import quiet

with quiet.native_stderr():
  import tf_keras

from ranking import strategy
from ranking.optimizers import unwrapped

EXAMPLES = ("tfrs_multitask", "dcn_ranking", "dlrm")
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def read(example: str, folder: Path) -> dict[str, np.ndarray]:
  """The rows that an example trains on."""
  rows: dict[str, np.ndarray] = importlib.import_module(f"docs.examples.{example}").read(folder)
  return rows


def check(example: str, rows: dict[str, np.ndarray], replicas: Any, policy: str) -> list[float]:
  """The losses of four steps, of one with frozen tables and of one after that.

  Args:
    example: a module of docs.examples.
    rows: what its `read` returns.
    replicas: a strategy, or None for the one device.
    policy: of tf_keras's mixed precision.

  Raises AssertionError where the example does not go on as it should.
  """
  module = importlib.import_module(f"docs.examples.{example}")
  tf_keras.mixed_precision.set_global_policy(policy)
  try:
    with replicas.scope() if replicas else contextlib.nullcontext():
      return _checked(module, rows)
  finally:
    tf_keras.mixed_precision.set_global_policy("float32")


def _checked(module: Any, rows: dict[str, np.ndarray]) -> list[float]:
  tf_keras.utils.set_random_seed(0)
  model = module.make(rows)
  losses = module.train(model, rows, 0, 2)
  with tempfile.TemporaryDirectory() as folder:
    module.save(model, Path(folder))
    resumed = module.resume(Path(folder), rows)
  assert _same(_state(model), _state(resumed)), "what was saved did not come back"
  losses += module.train(model, rows, 2, 2)
  assert losses[2:] == module.train(resumed, rows, 2, 2), "a resumed run has other losses"
  assert _same(_state(model), _state(resumed)), "a resumed run does not go on bit for bit"

  for frozen in (True, False):
    tables = module.freeze(model, frozen)
    of_tables = [weight.ref() for table in tables for weight in table.weights]
    before = {weight.ref(): weight.numpy() for weight in model.weights}
    losses += module.train(model, rows, 4, 1)
    for weight in model.weights:
      moved = not np.array_equal(before[weight.ref()], weight.numpy())
      stays = frozen and weight.ref() in of_tables
      assert moved != stays, f"{weight.name} {'moved' if moved else 'stayed'}, frozen: {frozen}"
  assert np.isfinite(losses).all(), f"losses {losses}"
  assert int(unwrapped(model.optimizer).skipped_steps.numpy()) == 0, "steps were skipped"
  return losses


def _state(model: tf_keras.Model) -> list[np.ndarray]:
  """Weights, slots, factors and the count of steps."""
  optimizer = unwrapped(model.optimizer)
  kept = [optimizer.state_of(variable).values() for variable in model.trainable_variables]
  variables = [*model.weights, optimizer.iterations, *itertools.chain.from_iterable(kept)]
  return [variable.numpy() for variable in variables]


def _same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
  return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


def main() -> None:
  """Checks all of them and prints."""
  two = strategy.virtual_cpus(2)
  print("| example | replicas | precision | loss, first to last step |\n|---|---|---|---|")
  for example in EXAMPLES:
    rows = read(example, Path(sys.argv[1]))
    for replicas in (None, two):
      for policy in POLICIES:
        losses = check(example, rows, replicas, policy)
        count = 2 if replicas else 1
        print(f"| {example} | {count} | {policy} | {losses[0]:.3f} to {losses[-1]:.3f} |")
        sys.stdout.flush()


if __name__ == "__main__":
  main()
