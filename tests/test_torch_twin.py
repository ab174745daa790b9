"""The PyTorch twin: step for step that of TensorFlow, and at home in PyTorch."""

from typing import Any

import numpy as np
import pytest

from ranking.array import Array
from tests import stacks

torch = pytest.importorskip("torch")
twin = pytest.importorskip("ranking.optimizers.torch")


def twin_of(part: Any) -> Any:
  name, arguments = stacks.settings(part)
  return getattr(twin, name)(**arguments)


def torch_steps(case: stacks.Case) -> list[list[Array]]:
  """As `stacks.tensorflow_steps`; weights of kernels are laid out the other way round."""
  weights, gradients, rows = stacks.problem()
  parameters = [torch.nn.Parameter(torch.tensor(w.T if w.shape == (6, 4) else w)) for w in weights]
  optimizer = twin.ClippedOptimizer(
    parameters,
    twin_of(case.direction),
    twin_of(case.clip),
    lr=stacks.RATE,
    accumulate=case.accumulate,
    scope=case.scope,
  )
  after = []
  for step, of_rows in zip(gradients, rows, strict=True):
    kernel, bias, scalar, table = map(torch.tensor, step)
    last = torch.sparse_coo_tensor(of_rows[None], table, weights[-1].shape, check_invariants=True)
    for parameter, gradient in zip(parameters, [kernel.T, bias, scalar, last], strict=True):
      parameter.grad = gradient
    optimizer.step()
    values = [parameter.detach().numpy().copy() for parameter in parameters]
    after.append([values[0].T, *values[1:]])
  return [*after, [np.asarray(optimizer.clipping_factors()[p]) for p in parameters]]


@pytest.mark.parametrize("case", stacks.CASES, ids=str)
def test_fifty_steps_are_those_of_tensorflow(case: stacks.Case) -> None:
  ours, theirs = torch_steps(case), stacks.tensorflow_steps(case)
  for step, (own, other) in enumerate(zip(ours, theirs, strict=True)):
    for a, b in zip(own, other, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=f"step {step}")
