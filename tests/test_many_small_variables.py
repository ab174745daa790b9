"""Small variables of one shape, which a step stacks: the same steps as one by one, at less cost."""

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking import strategy
from ranking.array import Array
from ranking.optimizers import AdaGC, Adagrad, Adam, ClippedOptimizer, Clippy, NoClip, Sgd, stacked
from ranking.optimizers.clipping import Clip
from ranking.optimizers.directions import Direction, Slots
from ranking.optimizers.operator_norm import OperatorNorm
from tests.fresh_process import in_fresh_process
from tests.test_optimizer import METHODS

RATE = 0.125
COUNT, STEPS = 9, 4
DIRECTIONS: dict[str, Direction] = {
  "sgd": Sgd(),
  "momentum": Sgd(0.75),
  "adagrad": Adagrad(),
  "delayed adagrad": Adagrad(accumulate_when="after"),
  "adam": Adam(weight_decay=0.25),
}
CLIPS: dict[str, Clip] = {
  **METHODS,
  "three parts": Clippy(0.1, 0.05, 0.01),
  "operator norm": OperatorNorm(0.01),
}
WITH_MEMORY = AdaGC(1.04, 2.0, 0.75, warmup_steps=2)
RANDOM = np.random.default_rng(0)
STARTS = RANDOM.normal(size=(COUNT, 4, 3))
SCALES = 10.0 ** RANDOM.uniform(-2, 1, size=(STEPS, COUNT, 1, 1))
GRADIENTS = SCALES * RANDOM.normal(size=(STEPS, COUNT, 4, 3))


def variables(dtype: str = "float64", **more: Any) -> list[tf.Variable]:
  return [tf.Variable(w, dtype=dtype, name=f"w_{k}", **more) for k, w in enumerate(STARTS)]


def take(
  optimizer: ClippedOptimizer, weights: list[tf.Variable], gradients: Array = GRADIENTS
) -> list[Array]:
  """Weights and all that is kept of them after some steps."""
  for step in gradients:
    optimizer.apply_gradients(
      [(tf.constant(g, v.dtype), v) for g, v in zip(step, weights, strict=True)]
    )
  kept = [value for variable in weights for value in optimizer.state_of(variable).values()]
  return [value.numpy() for value in (*weights, *kept)]


def is_stacked(optimizer: ClippedOptimizer) -> bool:
  return any(key[0] == "stacked" for key in optimizer._functions)


def assert_stacked_as_single(
  monkeypatch: pytest.MonkeyPatch, gradients: Array, *arguments: Any, **more: Any
) -> None:
  """Stacked variables take the steps of single ones, in float64."""
  joined, single = (ClippedOptimizer(*arguments, **more) for _ in range(2))
  together = take(joined, variables(), gradients)
  assert is_stacked(joined)
  monkeypatch.setattr(stacked, "STACKED_FROM", COUNT + 1)
  one_by_one = take(single, variables(), gradients)
  assert not is_stacked(single)
  for one, two in zip(together, one_by_one, strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("accumulate", ["clipped", "original"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("clip", CLIPS)
def test_stacked_variables_take_the_steps_of_single_ones(
  clip: str, direction: str, accumulate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
  if CLIPS[clip].needs_preconditioner and not DIRECTIONS[direction].has_preconditioner:
    return
  arguments = (DIRECTIONS[direction], CLIPS[clip], RATE, accumulate)
  assert_stacked_as_single(monkeypatch, GRADIENTS, *arguments)


@pytest.mark.parametrize("clip", [name for name in CLIPS if name not in ("agc", "naive")])
def test_so_they_do_with_one_factor_for_all(clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
  arguments = (Adagrad(), CLIPS[clip], RATE)
  assert_stacked_as_single(monkeypatch, GRADIENTS, *arguments, scope="global")


def test_a_clip_with_a_memory_sees_those_beside_a_stack_too(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  beside = [tf.Variable(np.ones(5), name=f"b_{k}", dtype=tf.float64) for k in range(2)]

  def ends(scope: Any) -> list[Array]:
    optimizer, weights = ClippedOptimizer(Adagrad(), WITH_MEMORY, RATE, scope=scope), variables()
    for variable in beside:
      variable.assign(np.ones(5))
    for step in GRADIENTS:
      pairs = list(zip(map(tf.constant, step), weights, strict=True))
      others = [(tf.constant(9.0 * step[k, :1, 0] * np.ones(5)), beside[k]) for k in range(2)]
      optimizer.apply_gradients([others[0], *pairs, others[1]])
    kept = [value for v in (*weights, *beside) for value in optimizer.state_of(v).values()]
    return [value.numpy() for value in (*weights, *beside, *kept)]

  for scope in ("layer", "global"):
    together = ends(scope)
    monkeypatch.setattr(stacked, "STACKED_FROM", COUNT + 1)
    one_by_one = ends(scope)
    monkeypatch.undo()
    for one, two in zip(together, one_by_one, strict=True):
      np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-14)


def test_a_bad_gradient_in_one_of_them_or_beside_them_changes_nothing() -> None:
  for where in (3, COUNT):
    optimizer, weights = ClippedOptimizer(Adagrad(), Clippy(), RATE), variables("float32")
    weights.append(tf.Variable([1.0], name="beside"))
    optimizer.build(weights)
    gradients = [tf.ones_like(variable) for variable in weights]
    for bad in (np.nan, np.inf, 1e25):
      before = [v.numpy().tobytes() for v in (*weights, *optimizer.variables)]
      spoiled = [g * bad if k == where else g for k, g in enumerate(gradients)]
      optimizer.apply_gradients(zip(spoiled, weights, strict=True))
      after = [v.numpy().tobytes() for v in (*weights, *optimizer.variables)]
      changed = [k for k, (one, two) in enumerate(zip(before, after, strict=True)) if one != two]
      assert changed == [len(weights) + 1, len(weights) + 2]  # the counts of skipped steps
      optimizer.apply_gradients(zip(gradients, weights, strict=True))
    assert (int(optimizer.iterations), int(optimizer.skipped_steps)) == (3, 3)


def test_the_squares_of_all_of_them_have_to_add_up() -> None:
  optimizer, weights = ClippedOptimizer(Adagrad(), NoClip(), RATE), variables("float32")
  weights.append(tf.Variable([1.0], name="beside"))
  gradients = [tf.fill(weight.shape, 0.0) for weight in weights]
  gradients[0] = tf.tensor_scatter_nd_update(gradients[0], [[0, 0]], [1.5e19])
  gradients[-1] = tf.constant([1.5e19])
  optimizer.apply_gradients(zip(gradients, weights, strict=True))
  assert int(optimizer.skipped_steps) == 1


def test_a_direction_of_ones_own_that_makes_a_number_none_changes_nothing() -> None:
  class Root(Direction):
    def __call__(
      self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, Slots]:
      return tf.sqrt(gradient), slots

  for count in (1, COUNT):
    optimizer, weights = ClippedOptimizer(Root(), NoClip(), RATE), variables()[:count]
    optimizer.apply_gradients([(-tf.ones_like(weight), weight) for weight in weights])
    assert int(optimizer.skipped_steps) == 1
    for weight, start in zip(weights, STARTS, strict=False):
      np.testing.assert_array_equal(weight, start)
    optimizer.apply_gradients([(tf.ones_like(weight), weight) for weight in weights])
    assert int(optimizer.iterations) == 1


def test_slots_that_are_no_numbers_change_nothing_either() -> None:
  class Counted(Direction):
    """Moves as Sgd does, and keeps a root."""

    def initial_slots(self) -> dict[str, float]:
      return {"root": 1.0}

    def __call__(
      self, gradient: tf.Tensor, slots: Slots, weights: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, Slots]:
      return gradient, {"root": tf.sqrt(gradient)}

  for count in (1, COUNT):
    optimizer, weights = ClippedOptimizer(Counted(), NoClip(), RATE), variables()[:count]
    optimizer.apply_gradients([(-tf.ones_like(weight), weight) for weight in weights])
    assert int(optimizer.skipped_steps) == 1
    assert all((optimizer.state_of(weight)["root"].numpy() == 1).all() for weight in weights)


def test_their_constraints_are_applied() -> None:
  optimizer = ClippedOptimizer(Sgd(), NoClip(), RATE)
  weights = variables("float32", constraint=tf_keras.constraints.NonNeg())
  take(optimizer, weights)
  assert is_stacked(optimizer)
  assert all((weight.numpy() >= 0).all() for weight in weights)


def operations(optimizer: Any, count: int) -> int:
  """Of a step of so many kernels and biases."""
  weights = [tf.Variable(tf.ones(shape)) for _ in range(count) for shape in ([4, 4], [4])]

  @tf.function
  def step() -> None:
    optimizer.apply_gradients([(tf.ones(weight.shape), weight) for weight in weights])

  return len(step.get_concrete_function().graph.get_operations())


# AdaGC keeps two numbers of each variable.
@pytest.mark.parametrize(("clip", "most"), [(NoClip(), 1.3), (Clippy(), 1.3), (AdaGC(), 1.5)])
def test_a_variable_more_adds_about_as_many_operations_as_in_tf_keras(
  clip: Clip, most: float
) -> None:
  ours, theirs = (
    operations(make(), 40) - operations(make(), 20)
    for make in (lambda: ClippedOptimizer(Adagrad(), clip), tf_keras.optimizers.Adagrad)
  )
  assert ours <= most * theirs


def on_replicas(clip: Clip) -> list[list[list[Array]]]:
  """Weights and what is kept, of one replica and of each of two that have half of each gradient."""
  two = strategy.virtual_cpus(2)
  tf.get_logger().setLevel("ERROR")
  states = []
  for replicas in (tf.distribute.get_strategy(), two):
    with replicas.scope():
      optimizer, weights = ClippedOptimizer(Adagrad(), clip, RATE), variables("float32")
      optimizer.build(weights)
    share = 1 / replicas.num_replicas_in_sync

    def step(
      gradients: list[tf.Tensor], bad: tf.Tensor, optimizer: Any = optimizer, share: float = share
    ) -> None:
      pairs = zip(gradients, optimizer.kept.variables, strict=True)
      optimizer.apply_gradients([(share * bad * g, variable) for g, variable in pairs])

    run = tf.function(lambda *args, r=replicas, s=step: r.run(s, args=args))
    for gradients, bad in zip(GRADIENTS[:3], (1.0, np.nan, 1.0), strict=True):
      run([tf.constant(g, tf.float32) for g in gradients], tf.constant(bad, tf.float32))
    assert is_stacked(optimizer)
    local = [replicas.experimental_local_results(v) for v in (*weights, *optimizer.variables)]
    states.append([[value.numpy() for value in of_one] for of_one in zip(*local, strict=True)])
  return states


@pytest.mark.parametrize("clip", [Clippy(0.1, 0.05), WITH_MEMORY], ids=str)
def test_two_replicas_take_the_step_of_one(clip: Clip) -> None:
  ((one,), (first, second)) = in_fresh_process(functools.partial(on_replicas, clip))
  for whole, half, other in zip(one, first, second, strict=True):
    np.testing.assert_array_equal(half, other)
    np.testing.assert_allclose(half, whole, rtol=1e-6)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_memory_is_kept_in_float32_where_variables_have_half_of_it(scope: Any) -> None:
  optimizer = ClippedOptimizer(Adagrad(), WITH_MEMORY, RATE, scope=scope)
  weights = variables("bfloat16")
  take(optimizer, weights, np.abs(GRADIENTS))
  assert is_stacked(optimizer)
  state = optimizer.state_of(weights[0])
  assert state["average_norm"].dtype == state["norms_seen"].dtype == tf.float32
  assert float(state["norms_seen"]) == STEPS
