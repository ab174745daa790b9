"""The JAX twin: step for step that of TensorFlow, and at home among optax transformations."""

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
  assert float(state.factors["Embed_0"]["embedding"]) == 1
  assert float(state.factors["Dense_0"]["kernel"]) < 1
  assert twin.no_tables(PARAMS)["Embed_0"] == {"embedding": False}


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


def test_parameters_of_half_precision_keep_their_type_and_a_second_step_is_not_traced_anew() -> (
  None
):
  params = jax.tree.map(lambda w: jnp.asarray(w, jnp.bfloat16), PARAMS)
  transformation = twin.clipped(twin.Adam(weight_decay=0.1), twin.ZClip(), 0.1)
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
  assert {str(leaf.dtype) for leaf in jax.tree.leaves((params, state.slots))} == {"bfloat16"}
  assert len(traced) == 1


def test_zeros_before_a_task_begins_do_not_stop_its_layer() -> None:
  params, transformation = jnp.ones(4), twin.clipped(twin.Sgd(), twin.ZClip(), 0.1)
  state = transformation.init(params)
  step = jax.jit(transformation.update)
  for k in range(60):
    updates, state = step(jnp.full(4, float(k >= 30)), state, params)
    params = optax.apply_updates(params, updates)
  assert float(params[0]) == pytest.approx(1 - 30 * 0.1)


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


def test_without_the_parameters_it_says_so() -> None:
  transformation = twin.clipped(twin.Adagrad(), twin.Clippy())
  with pytest.raises(ValueError, match="clips need the weights; call update"):
    transformation.update(GRADIENTS, transformation.init(PARAMS))


def test_the_code_of_the_page_runs_and_learns(capsys: pytest.CaptureFixture[str]) -> None:
  page = (Path(__file__).parent.parent / "docs" / "optimizers.md").read_text()
  (code,) = re.findall(r"## In JAX\n\n```py\n(.*?)```", page, re.DOTALL)
  exec(code, {})
  assert 0 <= float(capsys.readouterr().out.split()[1]) < 0.1
