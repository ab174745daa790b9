"""The JAX twin: step for step that of TensorFlow, and at home among optax transformations."""

import dataclasses
import re
from pathlib import Path
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
  ramps = {k: twin_of(v) for k, v in arguments.items() if dataclasses.is_dataclass(v)}
  return getattr(twin, name)(**{**arguments, **ramps})


def made(case: stacks.Case, **more: Any) -> Any:
  return twin.clipped(
    twin_of(case.direction), twin_of(case.clip), stacks.RATE, case.accumulate, case.scope, **more
  )


def optax_steps(case: stacks.Case) -> list[list[Array]]:
  """As `stacks.tensorflow_steps`, with dense gradients."""
  weights = stacks.problem(case.direction)
  params = [jnp.asarray(weight.start) for weight in weights]
  transformation = made(case)
  state = transformation.init(params)

  @jax.jit
  def step(gradients: Any, params: Any, state: Any) -> Any:
    updates, state = transformation.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  after = []
  for k in range(stacks.STEPS):
    gradients = [
      jnp.zeros(weight.start.shape).at[weight.rows[k]].add(weight.gradients[k])
      if weight.kind == "table"
      else jnp.asarray(weight.gradients[k])
      for weight in weights
    ]
    params, state = step(gradients, params, state)
    after.append([np.asarray(value) for value in params])
  return [*after, [np.asarray(factor) for factor in state.inner.factors]]


@pytest.mark.parametrize("case", stacks.CASES, ids=str)
def test_fifty_steps_are_those_of_tensorflow(case: stacks.Case) -> None:
  ours, theirs = optax_steps(case), stacks.tensorflow_steps(case, dense=True)
  for step, (own, other) in enumerate(zip(ours, theirs, strict=True)):
    for a, b in zip(own, other, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=f"step {step}")


PARAMS: Any = {
  "Embed_0": {"embedding": np.ones((5, 3))},
  "Dense_0": {"kernel": np.full((3, 2), 0.5), "bias": np.zeros(2)},
}
GRADIENTS: Any = jax.tree.map(lambda w: np.cos(np.arange(w.size)).reshape(w.shape), PARAMS)


def stepped(transformation: Any, steps: int = 3, **extra: Any) -> tuple[Any, Any]:
  params = jax.tree.map(jnp.asarray, PARAMS)
  state = transformation.init(params)
  for _ in range(steps):
    updates, state = transformation.update(GRADIENTS, state, params, **extra)
    params = optax.apply_updates(params, updates)
  return params, state


def test_tables_can_be_left_to_the_direction() -> None:
  clip = twin.Clippy(0.0, 1e-4)
  params, state = stepped(twin.clipped(twin.Adagrad(), clip, 0.5, mask=twin.no_tables), 1)
  moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), params, PARAMS)
  assert moved["Embed_0"]["embedding"] > 0.1
  assert [moved["Dense_0"][name] for name in ("bias", "kernel")] == pytest.approx([1e-4, 1e-4])
  assert float(state.inner.factors["Embed_0"]["embedding"]) == 1
  assert float(state.inner.factors["Dense_0"]["kernel"]) < 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Parameter:
  """As those of flax.nnx, below whose name there is an attribute."""

  value: Any


def test_a_table_is_what_is_called_one_itself() -> None:
  tree = {
    "embedding": {"kernel": 1.0, "embeddings": Parameter(1.0)},
    "user_embedding_tower": {"bias": 1.0, "item_embedding": 1.0},
    "embedding_kernel": 1.0,
    "embeddings_1": [1.0],
  }
  assert twin.no_tables(tree) == {
    "embedding": {"kernel": True, "embeddings": Parameter(False)},
    "user_embedding_tower": {"bias": True, "item_embedding": False},
    "embedding_kernel": True,
    "embeddings_1": [True],
  }


def test_it_stands_in_chains_and_beside_other_optimizers() -> None:
  alone = twin.clipped(twin.Adagrad(), twin.Clippy(), 0.1)
  chained = optax.chain(optax.identity(), alone)
  pair = [jax.tree.leaves(stepped(each)[0]) for each in (alone, chained)]
  for a, b in zip(*pair, strict=True):
    np.testing.assert_array_equal(a, b)
  both = optax.multi_transform(
    {"clipped": alone, "plain": optax.sgd(0.1)}, {"Embed_0": "plain", "Dense_0": "clipped"}
  )
  params, _ = stepped(both)
  wanted: Any = {
    "Embed_0": stepped(optax.sgd(0.1))[0]["Embed_0"],
    "Dense_0": stepped(alone)[0]["Dense_0"],
  }
  for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(wanted), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_beside_other_optimizers_a_step_that_is_not_finite_is_skipped_as_a_whole() -> None:
  both = optax.multi_transform(
    {"clipped": twin.clipped(twin.Adagrad(), twin.Clippy(), 0.1), "plain": optax.adam(0.1)},
    {"Embed_0": "plain", "Dense_0": "clipped"},
  )
  whole = twin.skip_unless_finite(both)
  params, state = stepped(whole)
  for name, leaf in (("Embed_0", "embedding"), ("Dense_0", "bias")):
    spoiled = jax.tree.map(jnp.asarray, GRADIENTS)
    spoiled[name][leaf] = spoiled[name][leaf].at[0].set(jnp.nan)
    updates, after = whole.update(spoiled, state, params)
    assert all((update == 0).all() for update in jax.tree.leaves(updates))
    assert int(after.skipped_steps) == 1
    for a, b in zip(jax.tree.leaves(after.inner), jax.tree.leaves(state.inner), strict=True):
      np.testing.assert_array_equal(a, b)
    alone, _ = both.update(spoiled, state.inner, params)  # where the others go on
    assert any((update != 0).any() for update in jax.tree.leaves(alone))


def test_units_and_layers_of_any_order_stand_beside_each_other() -> None:
  for params in (PARAMS, {"a": PARAMS["Dense_0"]["bias"], "b": PARAMS["Embed_0"]["embedding"]}):
    clip = twin.clipped(twin.Sgd(), twin.AdaptiveGradientClipping(0.05), 0.1)
    gradients = jax.tree.map(jnp.ones_like, params)
    updates, _ = clip.update(gradients, clip.init(params), params)
    table = jax.tree.leaves(updates)[-1]
    assert (table > -0.1).all()
    assert (table <= 0).all()


def test_the_rate_is_a_schedule_of_the_steps_taken_or_a_hyperparameter_to_set() -> None:
  def schedule(step: Any) -> Any:
    return 0.5**step

  scheduled, _ = stepped(twin.clipped(twin.Sgd(), twin.NoClip(), schedule))
  moved = PARAMS["Dense_0"]["kernel"] - scheduled["Dense_0"]["kernel"]
  np.testing.assert_allclose(moved, 1.75 * GRADIENTS["Dense_0"]["kernel"])

  make = optax.inject_hyperparams(twin.clipped, static_args="mask")
  injected = make(twin.Sgd(), twin.NoClip(), learning_rate=1.0, mask=twin.no_tables)
  params = jax.tree.map(jnp.asarray, PARAMS)
  state = injected.init(params)
  state.hyperparams["learning_rate"] = jnp.asarray(0.25)
  updates, _ = injected.update(GRADIENTS, state, params)
  np.testing.assert_allclose(updates["Dense_0"]["kernel"], -0.25 * GRADIENTS["Dense_0"]["kernel"])


@pytest.mark.parametrize("wrong", ["nan", "inf", "1e200", "rate", "loss"])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(wrong: str) -> None:
  params = jax.tree.map(jnp.asarray, PARAMS)
  schedule = (lambda step: jnp.where(step == 1, jnp.nan, 0.1)) if wrong == "rate" else 0.1
  transformation = twin.clipped(twin.Adam(), twin.AdaGC(), schedule)
  state = transformation.init(params)
  _, state = transformation.update(GRADIENTS, state, params, value=1.0)
  gradients = jax.tree.map(jnp.asarray, GRADIENTS)
  if wrong not in ("rate", "loss"):
    gradients["Dense_0"]["bias"] = jnp.asarray([1.0, float(wrong)])
  loss = jnp.nan if wrong == "loss" else 1.0
  updates, after = transformation.update(gradients, state, params, value=loss)
  assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates))
  assert (int(after.skipped_steps), int(after.skipped_in_a_row)) == (1, 1)
  counts = {"skipped_steps": 0, "skipped_in_a_row": 0}
  for a, b in zip(
    jax.tree.leaves(state._replace(**counts)),
    jax.tree.leaves(after._replace(**counts)),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
  ("direction", "clip"),
  [
    (twin.Adam(weight_decay=0.1), twin.ZClip()),
    (twin.Spam(), twin.AdaGC(relative_threshold=twin.Ramp(2.0, 1.0, 5))),
    (twin.RowWiseAdagrad(), twin.Clippy(absolute_threshold=twin.Ramp(1e-3, 1e-2, 5))),
  ],
)
def test_parameters_of_half_precision_keep_their_type_and_a_second_step_is_not_traced_anew(
  direction: Any, clip: Any
) -> None:
  params = jax.tree.map(lambda w: jnp.asarray(w, jnp.bfloat16), PARAMS)
  transformation = twin.clipped(direction, clip, 0.1)
  traced = []

  @jax.jit
  def step(params: Any, state: Any) -> Any:
    traced.append(1)
    gradients = jax.tree.map(lambda w: w * 0.1, params)
    updates, state = transformation.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  state = transformation.init(params)
  for _ in range(3):
    params, state = step(params, state)
  assert {str(leaf.dtype) for leaf in jax.tree.leaves(params)} == {"bfloat16"}
  assert {str(leaf.dtype) for leaf in jax.tree.leaves(state.inner.slots)} == {"float32"}
  assert len(traced) == 1


def test_accumulators_of_half_precision_go_on_adding_small_squares() -> None:
  params = jnp.ones(3, jnp.bfloat16)
  transformation = twin.clipped(twin.Adagrad(), twin.NoClip(), 0.0)
  state = transformation.init(params)

  def step(state: Any, gradient: Any) -> Any:
    return transformation.update(gradient, state, params)[1], None

  for dtype in (jnp.bfloat16, jnp.float32):  # a scan takes no state that changes its type
    state, _ = jax.lax.scan(step, state, jnp.full((50, 3), 2**-7, dtype))
  np.testing.assert_allclose(state.inner.slots["accumulator"], 0.1 + 100 * 2**-14, rtol=1e-6)


def test_a_gradient_of_float16_whose_square_float16_does_not_hold_is_taken() -> None:
  params = jnp.ones(2, jnp.float16)
  transformation = twin.clipped(twin.Adagrad(), twin.Clippy(), 0.1)
  updates, state = transformation.update(1000 * params, transformation.init(params), params)
  assert int(state.skipped_steps) == 0
  assert updates.dtype == jnp.float16
  assert float(updates[0]) == pytest.approx(-0.1, abs=1e-3)


@pytest.mark.parametrize("nothing", [0.0, 1e-9])
@pytest.mark.parametrize("clip", [twin.ZClip(), twin.AdaGC(warmup_steps=25)])
def test_next_to_nothing_before_a_task_begins_does_not_stop_its_layer(
  clip: Any, nothing: float
) -> None:
  params, transformation = jnp.ones(4), twin.clipped(twin.Sgd(), clip, 0.1)
  state = transformation.init(params)
  step = jax.jit(transformation.update)
  for k in range(60):
    updates, state = step(jnp.full(4, nothing if k < 30 else 0.5), state, params)
    params = optax.apply_updates(params, updates)
  assert float(params[0]) == pytest.approx(1 - 30 * 0.05)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"clip": "clippy"}, "clip is 'clippy'; make it a clip of this module, an object"),
    ({"scope": "all"}, 'scope is \'all\'; make it "layer" or "global"'),
    ({"scope": "global", "clip": twin.AdaptiveGradientClipping()}, "norms of whole leaves"),
  ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
  given = {"direction": twin.Adagrad(), "clip": twin.Clippy(), **arguments}
  with pytest.raises(ValueError, match=re.escape(message)):
    twin.clipped(**given)


def test_muon_refuses_a_vector_and_a_ramp_of_no_steps_is_none() -> None:
  with pytest.raises(ValueError, match=r"Muon is for matrices, and a leaf has the shape \(2,\)"):
    twin.clipped(twin.Muon(), twin.NoClip()).init(PARAMS)
  with pytest.raises(ValueError, match=r"Ramp\.steps is 0; make it a whole number, 1 or more"):
    twin.Ramp(1.0, 2.0, 0)
  with pytest.raises(ValueError, match=r"Adam\.beta_1 is Ramp\(first=0\.1, last=0\.2, steps=9\)"):
    twin.Adam(beta_1=twin.Ramp(0.1, 0.2, 9))


def test_without_the_parameters_it_says_so() -> None:
  transformation = twin.clipped(twin.Adagrad(), twin.Clippy())
  with pytest.raises(ValueError, match="clips need the weights; call update"):
    transformation.update(GRADIENTS, transformation.init(PARAMS))


def test_the_code_of_the_page_runs_and_learns(capsys: pytest.CaptureFixture[str]) -> None:
  page = (Path(__file__).parent.parent / "docs" / "optimizers.md").read_text()
  (code,) = re.findall(r"## In JAX\n\n```py\n(.*?)```", page, re.DOTALL)
  exec(code, {})
  assert 0 <= float(capsys.readouterr().out.split()[1]) < 0.1
