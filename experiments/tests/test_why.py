"""Runs taken apart: the formulas beside those of the trainer, and curvature where it is known."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from experiments.why import anatomy, curvature, descent, page, remedies
from experiments.why.anatomy import Step
from experiments.why.descent import State
from experiments.why.landscape import Batch, Landscape, Seen, batch_of
from ranking.array import Array
from ranking.data.prepare import prepare
from ranking.data.store import DayStore
from ranking.data.window import train_batches
from ranking.models.bodies.cross import CrossLayers
from ranking.models.bodies.dense import DenseLayers
from ranking.models.bodies.layer_norm import LayerNorm
from ranking.models.bodies.shared_bottom import SharedBottom
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.models.network import Network
from ranking.models.towers import Towers
from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy, NoClip
from tests.conftest import TinySource, make_log

EIGENVALUES = np.array([3.0, 1.0, 0.25], np.float32)
EMPTY: Batch = {}


class Quadratic:
  """½ Σ λᵢ wᵢ², as a landscape."""

  size = 3

  def seen(self, weights: Array, batch: Batch) -> Seen:
    return Seen(np.zeros((1, 1)), EIGENVALUES * weights)


QUADRATIC = cast(Landscape, Quadratic())
AT = np.array([1.0, -2.0, 0.5], np.float32)


BODY = SharedBottom([CrossLayers(2), LayerNorm(), DenseLayers([8, 8])])


@pytest.fixture
def store(tmp_path: Path) -> DayStore:
  return prepare(TinySource(make_log()), tmp_path)


@pytest.fixture
def network(store: DayStore) -> Network:
  return Model(BODY, Inputs(24)).build(store.schema)


def test_curvature_along_a_step_is_that_of_the_quadratic() -> None:
  gradient = EIGENVALUES * AT
  move = np.float32(0.5) * gradient
  expected = (EIGENVALUES * move) @ move / (gradient @ move)
  found = curvature.along(QUADRATIC, AT, EMPTY, gradient, move)
  assert found == pytest.approx(float(expected), rel=1e-3)


def test_sharpness_is_the_largest_eigenvalue_behind_the_preconditioner() -> None:
  sums = np.array([9.0, 0.25, 0.25], np.float32)  # 3 / 3, 1 / 0.5 and 0.25 / 0.5
  start = np.ones(3, np.float32)
  value, vector = curvature.sharpness(QUADRATIC, AT, EMPTY, sums, start, rounds=30)
  assert value == pytest.approx(2.0, rel=1e-3)
  np.testing.assert_allclose(np.abs(vector), [0, 1, 0], atol=1e-3)


@pytest.mark.parametrize("with_clippy", [False, True])
def test_a_step_is_the_trainers(with_clippy: bool, store: DayStore, network: Network) -> None:
  clip = Clippy() if with_clippy else NoClip()
  optimizer = ClippedOptimizer(Adagrad(), clip, 0.5, exclude="/embeddings")
  variables = network.trainable_variables
  optimizer.build(variables)
  landscape = Landscape(network)
  batch = batch_of(train_batches(store.train_days, 32, 24.0, 0), 1)
  start = landscape.weights()
  step = Step.of(landscape, State(0, start, np.full_like(start, 0.1)), 0.5, batch)
  treated = anatomy.clipped(landscape) if with_clippy else []
  factors = descent.factors(start, step.move, landscape.spans, treated)
  mine = step.taken(factors, landscape.spans)

  optimizer.minimize(lambda: network.compute_loss(batch), variables)

  np.testing.assert_allclose(landscape.weights(), mine.weights, atol=1e-6)
  theirs = [float(factor) for factor in optimizer.clipping_factors()]
  np.testing.assert_allclose(theirs, list(factors.values()), rtol=1e-4)
  assert (min(theirs) < 1) == with_clippy


def test_layers_split_the_vector_and_a_tower_is_one_however_deep(store: DayStore) -> None:
  landscape = Landscape(Model(BODY, Inputs(24), Towers([4])).build(store.schema))
  weights = landscape.weights()
  parts = [landscape.only(weights, layer) for layer in landscape.layers]
  np.testing.assert_array_equal(sum(parts), weights)
  assert landscape.layers == [
    *("embeddings", "cross_1", "cross_2", "layer_norm", "hidden_1", "hidden_2", "towers")
  ]


def test_a_layer_that_moves_alone_and_all_but_it_are_told_apart(
  store: DayStore, network: Network
) -> None:
  landscape = Landscape(network)
  batches = train_batches(store.train_days, 32, 24.0, 0)
  start = landscape.weights()
  state = State(0, start, np.full_like(start, 0.1))
  step = Step.of(landscape, state, 0.5, batch_of(batches, 1))
  rows = {row["layer"]: row for row in anatomy.of_layers(landscape, step)}
  moved = start - landscape.only(step.move, "towers")
  own = step.seen.loss
  assert rows["towers"]["alone"] == pytest.approx(landscape.loss(moved, step.batch) / own - 1)
  rest = moved + landscape.only(step.move, "towers") - step.move
  rest += landscape.only(step.move, "towers")
  assert rows["towers"]["others"] == pytest.approx(
    landscape.loss(rest, step.batch) / own - 1, abs=1e-5
  )


def test_a_step_that_moves_one_bias_shifts_all_rows_of_its_task_alike(
  store: DayStore, network: Network
) -> None:
  landscape = Landscape(network)
  start = landscape.weights()
  batch = batch_of(train_batches(store.train_days, 32, 24.0, 0), 1)
  step = Step.of(landscape, State(0, start, np.full_like(start, 0.1)), 0.5, batch)
  move = np.zeros_like(start)
  move[landscape.spans["stars_logit/bias"]] = -3.0  # far beyond what the labels ask for
  row = anatomy.of_step(landscape, step._replace(move=move), batch)
  assert row["rising_task"] == "stars"
  assert row["shift"] == pytest.approx(3.0, abs=1e-5)
  assert row["common_shift"] == pytest.approx(1.0, abs=1e-6)
  assert row["own_change"] == pytest.approx(row["next_change"])
  # Clippy's limit is half of the bias and a hundredth.
  limit = 0.5 * abs(float(start[landscape.spans["stars_logit/bias"]][0])) + 0.01
  assert row["clippy_binds"] == "stars_logit/bias"
  assert row["clippy_factor"] == pytest.approx(limit / 3.0)


def test_a_remedy_changes_what_it_says_and_nothing_else(store: DayStore, network: Network) -> None:
  landscape = Landscape(network)
  batches = train_batches(store.train_days, 16, 24.0, 0)
  start = landscape.weights()
  state = State(0, start, np.full_like(start, 0.1))

  def outcome(remedy: remedies.Remedy) -> anatomy.Row:
    return remedies.outcome(
      landscape, state, lambda step: 0.05, lambda step: batch_of(batches, step % 8 + 1), remedy
    )

  nothing, still = outcome(remedies.Remedy()), outcome(remedies.Remedy(still=landscape.layers))
  assert not nothing["lost"]
  assert still["lost"]  # it never learns
  assert outcome(remedies.Remedy(rate=0.0)) == still
  assert outcome(remedies.Remedy(tasks=range(len(landscape.tasks)))) == nothing
  treated = outcome(remedies.Remedy(clippy=landscape.layers))
  assert treated["end"] != nothing["end"]


def test_the_page_is_as_its_template_makes_it_of_what_was_measured(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  root = Path(__file__).parents[2]
  monkeypatch.chdir(root)
  assert (root / "experiments" / "why.md").read_text() == page.text(page.measured())
