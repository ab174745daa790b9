"""The JAX twin: step for step that of TensorFlow, and at home among optax transformations."""

from typing import Any

import numpy as np
import pytest

from ranking.array import Array
from tests import stacks

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
twin = pytest.importorskip("ranking.optimizers.optax")
jnp = jax.numpy


@pytest.fixture(autouse=True, scope="module")
def _float64() -> Any:
  with jax.enable_x64(True):
    yield


def twin_of(part: Any) -> Any:
  """JAX has no sparse gradients, so nothing is lazy."""
  name, arguments = stacks.settings(part)
  arguments.pop("lazy", None)
  return getattr(twin, name)(**arguments)


def made(case: stacks.Case, **more: Any) -> Any:
  return twin.clipped(
    twin_of(case.direction), twin_of(case.clip), stacks.RATE, case.accumulate, case.scope, **more
  )


def optax_steps(case: stacks.Case) -> list[list[Array]]:
  """As `stacks.tensorflow_steps`, with dense gradients."""
  weights, gradients, rows = stacks.problem()
  params = [jnp.asarray(w) for w in weights]
  transformation = made(case)
  state = transformation.init(params)

  @jax.jit
  def step(gradients: Any, params: Any, state: Any) -> Any:
    updates, state = transformation.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  after = []
  for now, of_rows in zip(gradients, rows, strict=True):
    table = jnp.zeros(weights[-1].shape).at[of_rows].add(now[-1])
    params, state = step([*map(jnp.asarray, now[:-1]), table], params, state)
    after.append([np.asarray(value) for value in params])
  return [*after, [np.asarray(factor) for factor in state.factors]]


@pytest.mark.parametrize("case", stacks.CASES, ids=str)
def test_fifty_steps_are_those_of_tensorflow(case: stacks.Case) -> None:
  ours, theirs = optax_steps(case), stacks.tensorflow_steps(case, dense=True)
  for step, (own, other) in enumerate(zip(ours, theirs, strict=True)):
    for a, b in zip(own, other, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=f"step {step}")
