"""The optimizer on two replicas: what one does with the whole batch, and never half a step."""

from typing import Any, Literal

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking import strategy
from ranking.array import Array
from ranking.models.inputs import Inputs
from ranking.models.model import Model
from ranking.optimizers import (
  AdaGC,
  Adagrad,
  Adam,
  AdaptiveGradientClipping,
  ClippedOptimizer,
  Clippy,
  GradientClipping,
  Lamb,
  LayerClippy,
  NoClip,
  RmsClip,
  Sgd,
  ZClip,
  fused,
)
from ranking.optimizers.clipping import Clip
from ranking.optimizers.directions import Direction
from ranking.optimizers.uncertainty import UncertaintyWeights
from ranking.training.step import training_step
from tests import toy_model
from tests.fresh_process import in_fresh_process

RATE = 0.125
NONE = "^$"  # as `exclude`: finds no variable
STEPS, ROWS = 3, 8

# Thresholds at which some steps below are clipped. Warmups of clips with memory end midway.
CLIPS: dict[str, Clip] = {
  "naive": NoClip(),
  "gc": GradientClipping(2.0),
  "agc": AdaptiveGradientClipping(0.5),
  "agc layer": AdaptiveGradientClipping(0.5, unit="layer"),
  "lamb": Lamb(0.1),
  "clippy": Clippy(0.1, 0.05),
  "rms": RmsClip(0.2),
  "adagc": AdaGC(0.9, 3.0, 0.75, warmup_steps=1),
  "zclip": ZClip(0.1, 0.75, warmup_steps=1),
  "layer_clippy": LayerClippy(0.2, 0.1, 0.05),
}
# Not the default epsilons: at a gradient near 0 they would make much of rounding.
DIRECTIONS: dict[str, Direction] = {
  "momentum": Sgd(0.5),
  "adagrad": Adagrad(),
  "adam": Adam(0.75, 0.875, 1e-2),
}
SCOPES: tuple[Literal["layer", "global"], ...] = ("layer", "global")
Case = tuple[str, str, str]
CASES: list[tuple[str, str, Literal["layer", "global"]]] = [
  (name, direction, scope)
  for number, name in enumerate(CLIPS)
  for k, direction in enumerate(DIRECTIONS)
  for scope in SCOPES
  # One direction of each clip, in turn: every case takes seconds to compile.
  if (k == number % 3 and (scope == "layer" or name != "agc"))
  or (name == "naive" and scope == "layer")  # which the others of its direction are compared with
]

RANDOM = np.random.default_rng(0)
KERNEL, BIAS, TABLE = (RANDOM.normal(size=shape) for shape in ((2, 3), 3, (6, 2)))
IDS = RANDOM.integers(0, 5, size=(STEPS, ROWS)).astype(np.int32)  # some twice; 5 never
LABELS = RANDOM.normal(size=(STEPS, ROWS, 3)).astype(np.float32)
LABELS *= np.array([[[0.2]], [[0.5]], [[4.0]]], np.float32)  # rising
FINE, BAD_KERNEL, BAD_ROW, BAD_LOSS = range(4)
TROUBLES = {"a dense gradient": BAD_KERNEL, "a row": BAD_ROW, "the loss": BAD_LOSS}
State = list[Array]


class Training:
  """A linear model on embeddings whose batches are shared out over replicas."""

  def __init__(
    self, replicas: tf.distribute.Strategy, direction: Direction, clip: Clip, **more: Any
  ):
    self.replicas, self.share = replicas, ROWS // replicas.num_replicas_in_sync
    with replicas.scope():
      starts = {"kernel": KERNEL, "bias": BIAS, "table": TABLE}
      self.weights = [tf.Variable(w, dtype=tf.float32, name=name) for name, w in starts.items()]
      self.optimizer = ClippedOptimizer(direction, clip, **{"learning_rate": RATE, **more})
      self.optimizer.build(self.weights)
    # One replica goes the simplest way, so that the other is compared with that.
    several = replicas.num_replicas_in_sync > 1
    large = several and self.optimizer.scope == "layer"
    self._large_from = 4 if large else 1 << 20
    self._run = lambda *values: replicas.run(self._step, args=values)
    if several:
      self._run = tf.function(self._run)

  def _step(self, ids: tf.Tensor, labels: tf.Tensor, trouble: tf.Tensor) -> None:
    kernel, bias, table = self.weights
    with tf.GradientTape() as tape:
      outputs = tf.gather(table, ids) @ kernel + bias
      loss = tf.reduce_sum((outputs - labels) ** 2) / ROWS  # a share of the global mean
    of_kernel, of_bias, rows = tape.gradient(loss, self.weights)

    def spoil(value: tf.Tensor, kind: int) -> tf.Tensor:
      return tf.where(trouble == kind, tf.constant(np.nan, tf.float32), value)

    rows = tf.IndexedSlices(spoil(rows.values, BAD_ROW), rows.indices, rows.dense_shape)
    pairs = zip([spoil(of_kernel, BAD_KERNEL), of_bias, rows], self.weights, strict=True)
    self.optimizer.apply_gradients(pairs, loss=spoil(loss, BAD_LOSS))

  def step(self, k: int, trouble: tuple[int, ...] = (FINE, FINE)) -> None:
    """Takes the batch of a step, with trouble on some replicas."""

    def share(values: Array) -> Any:
      return self.replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant(
          values[context.replica_id_in_sync_group * self.share :][: self.share]
        )
      )

    each = self.replicas.experimental_distribute_values_from_function(
      lambda context: tf.constant(trouble[context.replica_id_in_sync_group])
    )
    fused.FUSED_FROM = self._large_from  # this is a process of its own
    self._run(share(IDS[k]), share(LABELS[k]), each)

  def states(self) -> list[State]:
    """Of every replica: weights and all variables of the optimizer."""
    variables = [*self.weights, *self.optimizer.variables]
    local = [self.replicas.experimental_local_results(variable) for variable in variables]
    return [[copy.numpy() for copy in replica] for replica in zip(*local, strict=True)]


def after_all_steps(replicas: tf.distribute.Strategy, case: Case) -> list[State]:
  """States of all replicas after the steps."""
  name, direction, scope = case
  accumulate = "original" if direction == "adagrad" else "clipped"
  settings = {"scope": scope, "accumulate": accumulate, "exclude": NONE}
  training = Training(replicas, DIRECTIONS[direction], CLIPS[name], **settings)
  for k in range(STEPS):
    training.step(k)
  return training.states()


def with_a_schedule(replicas: tf.distribute.Strategy) -> list[State]:
  """The same with a rate that falls."""
  rate = tf_keras.optimizers.schedules.ExponentialDecay(RATE, 1, 0.5)
  training = Training(replicas, Adagrad(), Clippy(0.1, 0.05), learning_rate=rate)
  for k in range(STEPS):
    training.step(k)
  return training.states()


def around_trouble(replicas: tf.distribute.Strategy) -> dict[tuple[str, int], list[list[State]]]:
  """States before and after a step with trouble on one replica, and after a good one."""
  training = Training(replicas, Adam(), ZClip(warmup_steps=1))
  training.step(0)
  seen = {}
  for name, trouble in TROUBLES.items():
    for bad in range(2):
      before = training.states()
      training.step(1, (trouble, FINE) if bad == 0 else (FINE, trouble))
      skipped = training.states()
      training.step(2)
      seen[name, bad] = [before, skipped, training.states()]
  return seen


def fit_with_a_bad_label(replicas: tf.distribute.Strategy) -> tuple[list[State], list[int]]:
  """Weights after each of three batches, the second with a NaN in one half; the counts."""
  with replicas.scope():
    model = tf_keras.Sequential([tf_keras.layers.Dense(3, input_shape=(2,))])
    model.set_weights([KERNEL, BIAS])
    model.compile(ClippedOptimizer(Adagrad(), Clippy(0.1, 0.05), RATE), "mse")
  weights = []
  for k in range(3):
    labels = LABELS[k].copy()
    if k == 1:
      labels[ROWS - 1, 0] = np.nan
    model.fit(TABLE[IDS[k]].astype(np.float32), labels, batch_size=ROWS, shuffle=False, verbose=0)
    weights.append(model.get_weights())
  optimizer = model.optimizer
  return weights, [int(c.numpy()) for c in (optimizer.iterations, optimizer.skipped_steps)]


def learnt_weights(replicas: tf.distribute.Strategy) -> list[State]:
  """The weights of tasks after each of three steps, on every replica; of the last, all weights."""
  log = toy_model.schema(categorical=1, bags=0, dense=2)
  balance, share = UncertaintyWeights(), ROWS // replicas.num_replicas_in_sync
  with replicas.scope():
    network = Model(toy_model.dense(4), Inputs(6)).build(log)
    toy_model.without_special_weights(network)
    balance.prepare(network)
    optimizer = ClippedOptimizer(Adagrad(), Clippy(0.1, 0.05), RATE)
    optimizer.build(network.trainable_variables)
  step = training_step(network, optimizer, {}, balance)
  run = tf.function(lambda batch: replicas.run(step, args=(batch, False)))
  after = []
  for k in range(STEPS):
    batch = toy_model.batch(log, ROWS, k)
    if k == 1:  # the second half has no label of one task, and no row has one of another
      labelled = np.ones((ROWS, 3)) * [1, 0, 1]
      labelled[ROWS // 2 :, 0] = 0
      batch["weights"] = tf.constant(labelled / np.maximum(labelled.sum(0), 1), tf.float32)
    run(
      {
        name: replicas.experimental_distribute_values_from_function(
          lambda context, values=values: values[context.replica_id_in_sync_group * share :][:share]
        )
        for name, values in batch.items()
      }
    )
    after.append([copy.numpy() for copy in replicas.experimental_local_results(network.of_tasks)])
  of_all = [replicas.experimental_local_results(each) for each in network.trainable_variables]
  return [*after, [copies[-1].numpy() for copies in of_all]]


def everything_on_one_and_two_replicas() -> dict[str, Any]:
  """All that the tests below look at; on two, some with large variables."""
  two = strategy.virtual_cpus(2)
  tf.get_logger().setLevel("ERROR")
  both = (tf.distribute.get_strategy(), two)
  return {
    "cases": {case: [after_all_steps(replicas, case) for replicas in both] for case in CASES},
    "schedule": [with_a_schedule(replicas) for replicas in both],
    "trouble": around_trouble(two),
    "fit": [fit_with_a_bad_label(replicas) for replicas in both],
    "learnt": [learnt_weights(replicas) for replicas in both],
  }


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
  """Of one process for all tests: TensorFlow takes seconds to start."""
  return in_fresh_process(everything_on_one_and_two_replicas)


def assert_halves_equal_whole(whole: list[State], halves: list[State]) -> None:
  """Both replicas are alike to the last bit, and like the only one but for rounding."""
  (one,), (first, second) = whole, halves
  for of_one, of_first, of_second in zip(one, first, second, strict=True):
    np.testing.assert_array_equal(of_first, of_second)
    np.testing.assert_allclose(of_first, of_one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_two_replicas_with_half_the_batch_each_equal_one_with_all_of_it(
  results: dict[str, Any], case: Case
) -> None:
  whole, halves = results["cases"][case]
  assert_halves_equal_whole(whole, halves)
  for weight, start in zip(whole[0], (KERNEL, BIAS, TABLE), strict=False):
    assert not np.allclose(weight, start, atol=1e-3)
  name, direction, _ = case
  naive = results["cases"]["naive", direction, "layer"][0]
  pairs = zip(whole[0][:3], naive[0][:3], strict=True)
  assert name == "naive" or any(not np.allclose(*pair, atol=1e-5) for pair in pairs)


def test_a_schedule_counts_steps_and_not_replicas(results: dict[str, Any]) -> None:
  assert_halves_equal_whole(*results["schedule"])


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("name", TROUBLES)
def test_a_nan_on_one_replica_skips_the_step_on_both(
  results: dict[str, Any], name: str, bad: int
) -> None:
  before, skipped, after = results["trouble"][name, bad]
  number = list(TROUBLES).index(name) * 2 + bad
  for replica in range(2):
    changed = [
      (start.tolist(), end.tolist())
      for start, end in zip(before[replica], skipped[replica], strict=True)
      if start.tobytes() != end.tobytes()
    ]
    assert changed == [(number, number + 1), (0, 1)]  # skipped_steps and skipped_in_a_row
    for value in after[replica]:
      assert np.isfinite(value).all()
    for start, end in zip(skipped[replica][:3], after[replica][:3], strict=True):
      assert not np.array_equal(start, end)


def test_fit_on_two_replicas_skips_a_batch_with_a_bad_label_in_one_half(
  results: dict[str, Any],
) -> None:
  (one, counts), (two, same_counts) = results["fit"]
  assert counts == same_counts == [2, 1]
  for of_one, of_two in zip(one, two, strict=True):
    for weight, other in zip(of_one, of_two, strict=True):
      np.testing.assert_allclose(other, weight, rtol=1e-6, atol=1e-6)
  for first, second, third in zip(*two, strict=True):
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(second, third, atol=1e-3)


def test_weights_of_tasks_are_learnt_on_two_replicas_as_on_one(results: dict[str, Any]) -> None:
  one, two = results["learnt"]
  for (of_one,), (first, second) in zip(one[:-1], two[:-1], strict=True):
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, of_one, rtol=1e-5, atol=1e-6)
  for weight, other in zip(one[-1], two[-1], strict=True):
    np.testing.assert_allclose(other, weight, rtol=1e-5, atol=1e-6)
  before, after = two[0][0], two[1][0]
  assert (before != after).tolist() == [True, False, True]  # the second had no label
