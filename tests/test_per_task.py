"""Updates of tasks that are clipped before they are summed."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ranking.array import Array
from ranking.optimizers import (
  AdaGC,
  Adagrad,
  Adam,
  AdaptiveGradientClipping,
  ClippedOptimizer,
  Clippy,
  GradientClipping,
  LayerClippy,
  NoClip,
  Sgd,
)
from ranking.optimizers.clipping import Clip

TASKS, RATE = 3, 0.5
RANDOM = np.random.default_rng(0)
START = RANDOM.normal(size=(4, 3))
GRADIENTS = RANDOM.normal(size=(5, TASKS, 4, 3))
WIDE: list[Clip] = [NoClip(), Clippy(0.0, 1e9), GradientClipping(1e9), LayerClippy(0.0, 1e9)]


def kernel(value: Array = START) -> tf.Variable:
  return tf.Variable(value, name="kernel")


def step(optimizer: ClippedOptimizer, variable: tf.Variable, tasks: Array, **more: Any) -> None:
  optimizer.apply_task_gradients([[tf.constant(g)] for g in tasks], [variable], **more)


@pytest.mark.parametrize("clip", [*WIDE, Clippy(0.0, 1e9, 1.0)], ids=str)
def test_where_nothing_is_clipped_it_is_the_step_of_the_sum(clip: Clip) -> None:
  for direction in (Adagrad(), Sgd()):
    if clip.needs_preconditioner and direction == Sgd():
      continue
    by_task, summed = (ClippedOptimizer(direction, clip, RATE) for _ in range(2))
    here, there = kernel(), kernel()
    for tasks in GRADIENTS:
      step(by_task, here, tasks)
      summed.apply_gradients([(tf.constant(tasks.sum(0)), there)])
    np.testing.assert_allclose(here, there, rtol=1e-12)
    for kind, value in summed.state_of(there).items():
      np.testing.assert_allclose(by_task.state_of(here)[kind], value, rtol=1e-12)


def test_each_task_and_then_their_sum_is_clipped() -> None:
  clip, variable, tasks = (
    Clippy(0.1, 0.05),
    kernel(),
    GRADIENTS[0] * np.array([1, 0.1, 30])[:, None, None],
  )
  optimizer = ClippedOptimizer(Adagrad(), clip, RATE)
  step(optimizer, variable, tasks)

  limit = 0.1 * np.abs(START) + 0.05
  scale = 1 / np.sqrt(0.1 + tasks.sum(0) ** 2 + 1e-7)
  factors = [min(1, np.min(limit / np.abs(RATE * scale * g))) for g in tasks]
  total = sum(f * scale * g for f, g in zip(factors, tasks, strict=True))
  of_sum = min(1, np.min(limit / np.abs(RATE * total)))
  np.testing.assert_allclose(variable, START - RATE * of_sum * total, rtol=1e-10)
  np.testing.assert_allclose(optimizer.clipping_factors()[0], min(*factors, of_sum), rtol=1e-10)
  seen = sum(f * g for f, g in zip(factors, tasks, strict=True))
  accumulator = optimizer.state_of(variable)["accumulator"]
  np.testing.assert_allclose(accumulator, 0.1 + seen**2, rtol=1e-10)
  assert max(factors[:2]) > 3 * factors[2]


def test_a_spike_of_one_task_leaves_half_of_the_others_step() -> None:
  # By the sum, the step of the others would be a millionth of what it was.
  moved = []
  for spike in (0.0, 1e6):
    tasks = np.stack([np.ones((4, 3)), np.zeros((4, 3))])
    tasks[1, 0, 0] = spike
    optimizer, variable = ClippedOptimizer(Sgd(), Clippy(0.0, 0.1), 0.1), kernel()
    step(optimizer, variable, tasks)
    moved.append(np.abs(variable - START)[1:])
  np.testing.assert_allclose(moved[1], moved[0] / 2, rtol=1e-5)  # two limits into the place of one


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_a_task_that_is_no_number_has_no_part_and_the_others_go_on(where: str, bad: float) -> None:
  by_task, others = (ClippedOptimizer(Adagrad(), Clippy(), RATE) for _ in range(2))
  here, there = kernel(), kernel()
  tasks, losses = GRADIENTS[0].copy(), [tf.constant(1.0)] * TASKS
  if where == "gradient":
    tasks[1, 2, 2] = bad
  else:
    losses[1] = tf.constant(bad)
  step(by_task, here, tasks, losses=losses)
  step(others, there, np.delete(GRADIENTS[0], 1, 0))
  np.testing.assert_allclose(here, there, rtol=1e-12)
  assert int(by_task.iterations) == 1
  before = [here.numpy(), *(v.numpy() for v in by_task.state_of(here).values())]
  step(by_task, here, np.full((TASKS, 4, 3), bad))
  for one, two in zip(before, [here, *by_task.state_of(here).values()], strict=True):
    np.testing.assert_array_equal(one, two)
  assert (int(by_task.iterations), int(by_task.skipped_steps)) == (1, 1)


def test_towers_and_tables_are_moved_by_the_sum_in_a_graph_too() -> None:
  def made() -> tuple[ClippedOptimizer, list[tf.Variable]]:
    starts = {"kernel": START, "tower": START, "ids/embeddings": START}
    weights = [tf.Variable(value, name=name) for name, value in starts.items()]
    return ClippedOptimizer(Adagrad(), Clippy(0.1, 0.01), RATE), weights

  rows = tf.IndexedSlices(tf.ones([2, 3], tf.float64), tf.constant([1, 1]), tf.constant([4, 3]))
  shared, tower = tf.constant(GRADIENTS[0]), tf.constant(GRADIENTS[1, 0])
  (by_task, here), (plain, there) = made(), made()

  @tf.function
  def take() -> None:
    by_task.apply_task_gradients([[shared[0], None, rows], [shared[1], tower, rows]], here)

  take()
  plain.apply_gradients([(shared[0], there[0]), (tower, there[1]), (rows, there[2])])
  plain_rows = tf.IndexedSlices(2 * rows.values, rows.indices, rows.dense_shape)
  twin, (_, _, table) = made()
  twin.apply_gradients([(plain_rows, table)])
  np.testing.assert_allclose(here[1], there[1], rtol=1e-12)
  np.testing.assert_allclose(here[2], table, rtol=1e-12)


def test_even_is_the_sum_of_equal_tasks_and_no_task_loses() -> None:
  def moved(tasks: Array, combine: Any) -> Array:
    optimizer, variable = ClippedOptimizer(Sgd(), NoClip(), 1.0), kernel()
    step(optimizer, variable, tasks, combine=combine)
    return np.asarray(START - variable.numpy())

  same = np.stack([GRADIENTS[0, 0]] * 3)
  np.testing.assert_allclose(moved(same, "even"), moved(same, "sum"), rtol=1e-5)
  # One task is against two, and a hundred times as long: by the sum the two go backwards.
  random = np.random.default_rng(2)
  base = random.normal(size=(4, 3))
  tasks = np.stack(
    [-100 * base + 90 * random.normal(size=(4, 3)), base, base + 0.5 * random.normal(size=(4, 3))]
  )
  gains = {
    c: [(moved(tasks, c) * g).sum() / np.linalg.norm(g) for g in tasks] for c in ("sum", "even")
  }
  assert min(gains["sum"]) < 0 < min(gains["even"])
  binding = sorted(gains["even"])
  np.testing.assert_allclose(binding[0], binding[1], rtol=0.05)
  alone = np.stack([base, np.zeros((4, 3))])  # a task that has nothing to say
  np.testing.assert_allclose(moved(alone, "even"), base, rtol=1e-5)


def test_what_cannot_be_done_task_by_task_is_refused() -> None:
  for given, text in (
    ({"direction": Adam()}, "makes no update of each task by itself; give the shared variables"),
    ({"direction": Sgd(0.5)}, "makes no update of each task by itself"),
    ({"clip": AdaGC()}, "remembers what it saw of all tasks together"),
    ({"scope": "global"}, r'scope="global" has one factor for all; clip tasks with scope="layer"'),
    ({"micro_batches": 2}, "updates of tasks are not summed over micro-batches"),
  ):
    arguments: dict[str, Any] = {"direction": Adagrad(), "clip": Clippy(), **given}
    with pytest.raises(ValueError, match=text):
      step(ClippedOptimizer(**arguments), kernel(), GRADIENTS[0])
  with pytest.raises(ValueError, match='combine is \'mean\'; make it "sum" or "even"'):
    step(ClippedOptimizer(Adagrad(), Clippy()), kernel(), GRADIENTS[0], combine="mean")


def test_units_of_agc_have_factors_of_their_own() -> None:
  optimizer, variable = ClippedOptimizer(Sgd(), AdaptiveGradientClipping(0.1), 1.0), kernel()
  step(optimizer, variable, GRADIENTS[0])
  limits = 0.1 * np.linalg.norm(START, axis=0)
  total = sum(g * np.minimum(1, limits / np.linalg.norm(g, axis=0)) for g in GRADIENTS[0])
  np.testing.assert_allclose(variable, START - total, rtol=1e-10)
