"""The optimizers without the trainer: each needs its own library, and what is missing is named."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

OPTIMIZERS = Path(__file__).parent.parent / "ranking" / "optimizers"
TRAINER = (
  *("gin", "ibis", "duckdb", "pandas", "pyarrow", "joblib", "markdown", "jinja2", "matplotlib"),
  *("rich", "scipy", "tensorboard", "tensorflow_recommenders", "tensorflow_datasets"),
)
TENSORFLOW = ("tensorflow", "tf_keras")


def python(code: str, missing: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
  """Runs code in a process that behaves as if some packages were not installed."""
  hide = f"""
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path, target=None):
    if name.partition(".")[0] in {missing!r}:
      raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
  None if name.partition(".")[0] in {missing!r} else found(name, package)
)
"""
  return subprocess.run(
    [sys.executable, "-c", hide + code], capture_output=True, text=True, check=False
  )


@pytest.mark.parametrize(
  ("twin", "libraries"), [("torch", {"torch"}), ("optax", {"jax", "optax"})], ids=["torch", "optax"]
)
def test_a_twin_is_one_file_that_imports_its_library_and_nothing_of_ours(
  twin: str, libraries: set[str]
) -> None:
  imported = set()
  for node in ast.walk(ast.parse((OPTIMIZERS / f"{twin}.py").read_text())):
    if isinstance(node, ast.Import):
      imported |= {alias.name.partition(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      imported.add((node.module or "").partition(".")[0] if not node.level else ".")
  assert imported - sys.stdlib_module_names == libraries | {"numpy"}


def test_the_package_of_optimizers_loads_no_tensorflow_and_leaves_keras_as_it_is() -> None:
  code = "import os, ranking.optimizers; print('tensorflow' in sys.modules, 'TF_USE_LEGACY_KERAS'"
  done = python(code + " in os.environ)", TENSORFLOW)
  assert done.stdout.strip() == f"False {'TF_USE_LEGACY_KERAS' in os.environ}"


def test_with_tensorflow_alone_every_name_of_the_optimizers_is_there() -> None:
  code = """
import ranking.optimizers
from ranking.optimizers import *
import ranking.optimizers.operator_norm
import tensorflow as tf
weight = tf.Variable([1.0])
ClippedOptimizer(Adagrad(), Clippy()).apply_gradients([(tf.constant([1.0]), weight)])
print(len([name for name in ranking.optimizers.__all__ if name in globals()]), weight.numpy()[0])
"""
  done = python(code, TRAINER)
  count, weight = done.stdout.split()
  assert int(count) > 15, done.stderr
  assert 0.8 < float(weight) < 1


def test_without_tensorflow_the_names_of_the_optimizers_say_what_to_install() -> None:
  done = python("from ranking.optimizers import Clippy", TENSORFLOW)
  assert done.stderr.splitlines()[-1].startswith(
    "ImportError: ranking.optimizers.Clippy needs tensorflow: pip install 'ranking[tensorflow]'; "
    "for PyTorch import ranking.optimizers.torch, for JAX ranking.optimizers.optax"
  )


def test_without_the_trainer_its_commands_say_what_to_install_in_one_line() -> None:
  code = "from ranking.cli import main; sys.exit(main(['train', '--config=large_clippy']))"
  done = python(code, TRAINER)
  assert done.returncode == 2
  (line,) = done.stderr.strip().splitlines()
  assert line == (
    "error: ranking train needs gin, which is not installed; run: pip install 'ranking[trainer]'"
  )
