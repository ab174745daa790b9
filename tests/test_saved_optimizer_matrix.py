"""A model that is saved and gone on with: every format × kind of model × process × what was built.

In every cell the optimizer goes on as if nothing had happened, to the last bit, and like tf_keras's
own Adagrad, wherever that does so.
"""

import functools
from pathlib import Path

import numpy as np
import pytest
import tf_keras

from ranking.array import Array
from tests import saved_models
from tests.fresh_process import in_fresh_process
from tests.saved_models import KINDS, fit, forms, load, made, weights

# Layers are numbered on through a process, so that rebuilt ones have other names.
pytestmark = pytest.mark.filterwarnings("ignore:state was restored by the order of variables")

Written = tuple[Path, dict[tuple[str, str], list[Array]]]

CELLS = [
  (kind, form, built)
  for kind in KINDS
  for form in forms(kind)
  for built in ((False, True) if form not in (".keras", ".h5") else (False,))
]
CELL = pytest.mark.parametrize(
  ("kind", "form", "built"),
  CELLS,
  ids=[f"{kind} {form}{' built' * built}" for kind, form, built in CELLS],
)


@pytest.fixture(scope="module", params=["same process", "other process"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
  folder = tmp_path_factory.mktemp("models")
  write = functools.partial(saved_models.write_all, folder, earlier=0)
  return folder, in_fresh_process(write) if request.param == "other process" else write()


def gone_on(
  written: Written, optimizer: str, kind: str, form: str, built: bool
) -> tuple[list[Array], int]:
  """Weights after three steps more, and the count of steps."""
  model = load(form, written[0] / optimizer / kind, lambda: made(kind, optimizer, seed=2), built)
  fit(model, 1)
  return weights(model), int(model.optimizer.iterations)


@CELL
def test_a_saved_model_goes_on_as_if_nothing_had_happened(
  written: Written, kind: str, form: str, built: bool
) -> None:
  tf_keras.backend.clear_session()
  tf_keras.layers.Dense(1)  # one layer more than when it was saved, so that names differ by one
  after, steps = gone_on(written, "AdaGC", kind, form, built)
  assert steps == 6
  for one, two in zip(after, written[1]["AdaGC", kind], strict=True):
    np.testing.assert_array_equal(one, two)


@CELL
def test_it_goes_on_as_with_adagrad_of_tf_keras(
  written: Written, kind: str, form: str, built: bool
) -> None:
  ours, steps = gone_on(written, "without a clip", kind, form, built)
  theirs, of_theirs = gone_on(written, "tf_keras Adagrad", kind, form, built)
  kept = all(
    np.array_equal(one, two)
    for one, two in zip(theirs, written[1]["tf_keras Adagrad", kind], strict=True)
  )
  # tf_keras leaves its optimizer as it is where weights are loaded before it is built.
  assert kept == (form != ".weights.h5" or built)
  if kept:
    assert of_theirs == steps
    for one, two in zip(ours, theirs, strict=True):
      np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_the_matrix_has_every_cell() -> None:
  assert len(CELLS) == len(set(CELLS)) == 5 * 3 * 2 + 5 + 4
