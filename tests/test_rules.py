"""Which variables get which treatment: by what they are, by name, the first rule that fits."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking.optimizers import (
  TABLES,
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
  Rule,
  Sgd,
  StateError,
  ZClip,
)
from ranking.optimizers.clipping import Clip
from ranking.optimizers.operator_norm import OperatorNorm

RATE = 0.125
RANDOM = np.random.default_rng(0)


def named(*names: str) -> list[tf.Variable]:
  return [tf.Variable([1.0, 2.0], name=name) for name in names]


def step(optimizer: ClippedOptimizer, variables: list[tf.Variable], size: float = 1.0) -> None:
  optimizer.apply_gradients([(tf.fill(v.shape, size), v) for v in variables])


# Tables


def two_towers() -> tf_keras.Model:
  """A model, a part and a layer that have "embedding" in their names, and a table."""
  layers = tf_keras.layers
  inputs = tf_keras.Input([2], dtype="int32")
  x = layers.Embedding(9, 3, name="user_ids")(inputs)
  x = tf_keras.Sequential(
    [layers.Flatten(), layers.Dense(4, name="embedding_projection")], name="user_embedding_tower"
  )(x)
  return tf_keras.Model(inputs, layers.Dense(1, name="click")(x), name="my_embedding_model")


def test_a_table_is_left_alone_and_no_layer_that_is_only_called_after_one() -> None:
  model, optimizer = two_towers(), ClippedOptimizer(Adagrad(), Clippy())
  clipped = {v.name: optimizer.is_clipped(v) for v in model.trainable_variables}
  assert clipped == {
    "user_ids/embeddings:0": False,
    "embedding_projection/kernel:0": True,
    "embedding_projection/bias:0": True,
    "click/kernel:0": True,
    "click/bias:0": True,
  }


@pytest.mark.parametrize("built_first", [True, False])
def test_a_table_of_any_name_shows_itself_by_its_rows(built_first: bool) -> None:
  optimizer = ClippedOptimizer(Sgd(), AdaGC(absolute_threshold=1e-3), 1.0)
  table, kernel = tf.Variable(tf.zeros([4, 2]), name="users"), tf.Variable([0.0], name="kernel")
  if built_first:
    optimizer.build([table, kernel])
  rows = tf.IndexedSlices(tf.ones([1, 2]), tf.constant([2]), table.shape)
  optimizer.apply_gradients([(rows, table), (tf.ones([1]), kernel)])
  assert table.numpy().tolist() == [[0, 0], [0, 0], [-1, -1], [0, 0]]
  np.testing.assert_allclose(kernel, [-1e-3], rtol=1e-6)


@pytest.mark.parametrize(
  ("name", "looked_up"),
  [
    ("user/embeddings", True),
    ("embedding", True),
    ("user_embedding", True),
    ("item_Embeddings_2", True),
    ("embedding_table", True),
    ("embedding/kernel", False),
    ("embedding_kernel", False),
    ("embedding_bias", False),
    ("embedding_projection", False),
    ("unembeddings", False),
  ],
)
def test_a_table_is_known_by_words_of_its_own_name(name: str, looked_up: bool) -> None:
  optimizer = ClippedOptimizer(Adagrad(), Clippy())
  assert optimizer.is_clipped(tf.Variable([1.0], name=name)) != looked_up


def test_what_came_in_rows_once_is_a_table_from_then_on() -> None:
  optimizer = ClippedOptimizer(Sgd(), GradientClipping(1.0), 1.0)
  table = tf.Variable(tf.zeros([4, 2]), name="users")
  optimizer.build([table])
  assert optimizer.is_clipped(table)
  rows = tf.IndexedSlices(tf.ones([1, 2]), tf.constant([2]), table.shape)
  for gradient in (rows, tf.fill([4, 2], 9.0)):
    optimizer.apply_gradients([(gradient, table)])
    assert [float(factor) for factor in optimizer.clipping_factors()] == [1.0]
  assert not optimizer.is_clipped(table)


@pytest.mark.parametrize("built_first", [True, False])
@pytest.mark.parametrize(
  "rule", [Rule(TABLES, direction=Adam(lazy=True)), Rule(TABLES, direction=Adagrad(0.0))], ids=str
)
def test_a_table_that_got_the_slots_of_other_variables_is_refused(
  rule: Rule, built_first: bool
) -> None:
  optimizer = ClippedOptimizer(Adagrad(), Clippy(), rules=[rule])
  table = tf.Variable(tf.zeros([4, 2]), name="users")
  if built_first:
    optimizer.build([table])
  rows = tf.IndexedSlices(tf.ones([1, 2]), tf.constant([2]), table.shape)
  text = r'^variable users is looked up, which its name does not say.*Rule\("users", \.\.\.\)'
  with pytest.raises(StateError, match=text):
    optimizer.apply_gradients([(rows, table)])
  assert int(optimizer.iterations) == 0
  named = ClippedOptimizer(
    Adagrad(), Clippy(), rules=[dataclasses.replace(rule, variables="users")]
  )
  named.apply_gradients([(rows, table)])
  assert set(named.state_of(table)) > set(rule.direction.initial_slots())  # type: ignore[union-attr]


def test_what_is_left_alone_is_printed() -> None:
  model = two_towers()
  optimizer = ClippedOptimizer(
    Adagrad(), Clippy(), rules=[Rule("click", GradientClipping(0.5), Sgd(), 0.25)]
  )
  lines = optimizer.describe(model.trainable_variables).splitlines()
  assert [line.split("  ")[0] for line in lines] == [
    v.name.removesuffix(":0") for v in model.trainable_variables
  ]
  assert lines[0].endswith(f"{Adagrad()}, direction alone")
  assert lines[1].endswith(f"{Adagrad()}, {Clippy()}")
  assert lines[3].endswith(f"{Sgd()}, {GradientClipping(0.5)}, rate × 0.25")


# Rules


def test_the_first_rule_that_fits_wins_and_the_rest_get_the_optimizers_own() -> None:
  rules = [
    Rule("bias", NoClip(), Sgd(), rate=2.0),
    Rule("hidden", GradientClipping(0.5), Sgd(0.5)),
    Rule("hidden|head", rate=0.0),
    Rule(TABLES, Clippy(1.0, 1.0), Adam(lazy=True)),
  ]
  optimizer = ClippedOptimizer(Adagrad(), Clippy(), 0.25, rules=rules)
  variables = named("hidden/kernel", "hidden/bias", "head/kernel", "embeddings", "cross/kernel")
  made = [optimizer.treatment(variable)[:3] for variable in variables]
  assert made == [
    (GradientClipping(0.5), Sgd(0.5), 1.0),
    (NoClip(), Sgd(), 2.0),
    (Clippy(), Adagrad(), 0.0),
    (Clippy(1.0, 1.0), Adam(lazy=True), 1.0),
    (Clippy(), Adagrad(), 1.0),
  ]
  assert [optimizer.is_clipped(v) for v in variables] == [True, False, True, True, True]
  twins = named("hidden/kernel", "hidden/bias", "head/kernel", "embeddings", "cross/kernel")
  others = [
    ClippedOptimizer(direction, clip, 0.25 * rate, exclude="") for clip, direction, rate in made
  ]
  for size in (1.0, 3.0, -2.0):
    step(optimizer, variables, size)
    for other, twin in zip(others, twins, strict=True):
      step(other, [twin], size)
  for variable, twin in zip(variables, twins, strict=True):
    np.testing.assert_allclose(variable, twin, rtol=1e-6)
  assert variables[2].numpy().tolist() == [1.0, 2.0]  # at a rate of 0
  kinds = [set(optimizer.state_of(variable)) - {"clipping_factor"} for variable in variables]
  assert kinds == [
    {"velocity"},
    set(),
    {"accumulator"},
    {"first_moment", "second_moment"},
    {"accumulator"},
  ]


def test_a_rule_can_leave_biases_without_decay_as_tf_keras_adamw_does() -> None:
  here, there = named("kernel", "bias"), named("kernel", "bias")
  ours = ClippedOptimizer(
    Adam(weight_decay=0.25), NoClip(), RATE, rules=[Rule("bias", direction=Adam())]
  )
  theirs = tf_keras.optimizers.AdamW(RATE, 0.25)
  theirs.exclude_from_weight_decay(var_names=["bias"])
  for _ in range(3):
    step(ours, here)
    step(theirs, there)
  for one, two in zip(here, there, strict=True):
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_with_one_factor_for_all_each_clip_has_its_own() -> None:
  rules = [Rule("head", GradientClipping(1.0))]
  optimizer = ClippedOptimizer(
    Sgd(), GradientClipping(0.5), 1.0, scope="global", rules=rules, exclude=""
  )
  variables = named("one", "two", "head")
  step(optimizer, variables)
  factors = [float(factor) for factor in optimizer.clipping_factors()]
  np.testing.assert_allclose(factors, [0.25, 0.25, 1 / np.sqrt(2)], rtol=1e-6)


@pytest.mark.parametrize(
  ("arguments", "text"),
  [
    ({"variables": "("}, r"^Rule.variables is '\(', which is no pattern"),
    ({"variables": "a", "clip": "gc"}, "^Rule.clip is 'gc'; make it a clip, an object"),
    ({"variables": "a", "direction": Clippy()}, "^Rule.direction is Clippy"),
    ({"variables": "a", "rate": -1}, "^Rule.rate is -1; make it a number that is not negative"),
    ({"variables": "a", "rate": np.nan}, "^Rule.rate is nan"),
  ],
)
def test_a_rule_that_cannot_be_is_named(arguments: dict[str, Any], text: str) -> None:
  with pytest.raises(ValueError, match=text):
    Rule(**arguments)


def test_what_is_no_rule_is_named() -> None:
  with pytest.raises(ValueError, match=r"^rules has 'bias'; make it Rule\(\"pattern\", clip=...\)"):
    ClippedOptimizer(Sgd(), NoClip(), rules=["bias"])  # type: ignore[list-item]


# Factors by variable


def test_factors_are_asked_for_by_variable_whatever_was_frozen_since() -> None:
  optimizer = ClippedOptimizer(Sgd(), GradientClipping(1.0), RATE)
  first, second, third = named("first", "second", "third")
  optimizer.apply_gradients(
    [(tf.constant([size, 0.0]), v) for size, v in ((2.0, first), (4.0, second), (8.0, third))]
  )
  assert [float(factor) for factor in optimizer.clipping_factors([third, second])] == [0.125, 0.25]
  names = [factor.name for factor in optimizer.clipping_factors()]
  assert names == [f"clipping_factor/{name}:0" for name in ("first", "second", "third")]


# Memory is of the steps of its variable


@pytest.mark.parametrize("clip", [ZClip(), AdaGC(absolute_threshold=1e9)], ids=["ZClip", "AdaGC"])
@pytest.mark.parametrize("late", ["zeros", "no gradient"])
def test_a_variable_that_comes_later_learns_like_one_that_came_first(clip: Clip, late: str) -> None:
  optimizer, alone = (ClippedOptimizer(Sgd(), clip, 1e-3) for _ in range(2))
  (early, variable), (twin,) = named("early", "late"), named("late")
  optimizer.build([early, variable])
  sizes = np.abs(RANDOM.normal(size=40)) + 0.1
  for size in sizes:
    none = None if late == "no gradient" else tf.zeros([2])
    optimizer.apply_gradients([(tf.fill([2], float(size)), early), (none, variable)])
  for size in sizes[::-1]:
    optimizer.apply_gradients([(tf.ones([2]), early), (tf.fill([2], float(size)), variable)])
    alone.apply_gradients([(tf.fill([2], float(size)), twin)])
  np.testing.assert_allclose(variable, twin, rtol=1e-6)
  for kind, value in alone.state_of(twin).items():
    np.testing.assert_allclose(optimizer.state_of(variable)[kind], value, rtol=1e-5)


@pytest.mark.parametrize("clip", [ZClip(1.0, warmup_steps=4), AdaGC(warmup_steps=4)], ids=str)
def test_with_one_factor_for_all_there_is_one_memory(clip: Clip) -> None:
  optimizer = ClippedOptimizer(Sgd(), clip, 1e-3, scope="global")
  joined = ClippedOptimizer(Sgd(), clip, 1e-3)
  one, two = named("one", "two")
  (both,) = [tf.Variable([1.0, 2.0, 1.0, 2.0])]
  optimizer.build([one, two])
  for number, size in enumerate(np.abs(RANDOM.normal(size=20)) + 0.1):
    frozen = number % 3 == 1  # what has no gradient now takes nothing from what is remembered
    gradients = tf.fill([2], float(size)), None if frozen else tf.fill([2], 2.0 * float(size))
    optimizer.apply_gradients(zip(gradients, (one, two), strict=True))
    second = tf.zeros([2]) if frozen else gradients[1]
    joined.apply_gradients([(tf.concat([gradients[0], second], 0), both)])
  np.testing.assert_allclose(tf.concat([one, two], 0), both, rtol=1e-6)
  for kind in clip.initial_memory():
    assert optimizer.state_of(one)[kind] is optimizer.state_of(two)[kind]
    np.testing.assert_allclose(
      optimizer.state_of(one)[kind], joined.state_of(both)[kind], rtol=1e-5
    )


def test_with_one_factor_for_all_each_clip_has_its_own_memory() -> None:
  # Of one kind or two, a clip remembers the norms of its own variables.
  for other in (AdaGC(1.5, 2.0, 0.5, 2), ZClip(1.0, 0.5, 2)):
    rules = [Rule("head", other), Rule("bias", NoClip())]
    both = ClippedOptimizer(Sgd(), AdaGC(warmup_steps=2), 1e-3, scope="global", rules=rules)
    variables = named("bias", "one", "head_1", "two", "head_2")
    alone = [
      ClippedOptimizer(Sgd(), c, 1e-3, scope="global") for c in (AdaGC(warmup_steps=2), other)
    ]
    twins = [named("one", "two"), named("head_1", "head_2")]
    for size in (1.0, 3.0, 2.0, 40.0, 1.0):
      step(both, variables, size)
      for optimizer, of_clip in zip(alone, twins, strict=True):
        step(optimizer, of_clip, size)
    for optimizer, (first, second), places in zip(alone, twins, ((1, 3), (2, 4)), strict=True):
      np.testing.assert_array_equal(variables[places[0]], first)
      np.testing.assert_array_equal(variables[places[1]], second)
      for kind, value in optimizer.state_of(first).items():
        np.testing.assert_array_equal(both.state_of(variables[places[1]])[kind], value)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_memory_counts_on_in_short_dtypes(scope: Any, dtype: str) -> None:
  optimizer = ClippedOptimizer(Sgd(), ZClip(warmup_steps=300), 1e-3, scope=scope)
  variable = tf.Variable(tf.ones([2], dtype), name="kernel")
  optimizer.build([variable])
  optimizer.state_of(variable)["norms_seen"].assign(256.0)
  optimizer.apply_gradients([(tf.ones_like(variable), variable)])
  assert float(optimizer.state_of(variable)["norms_seen"]) == 257
  assert variable.dtype == dtype


def test_adam_corrects_its_moments_in_short_dtypes() -> None:
  # In bfloat16 0.999 is 1, and what is divided by 1 − 0.999ᵗ would stand still.
  short, long = (tf.Variable(tf.ones([2], dtype), name="w") for dtype in ("bfloat16", "float32"))
  for variable in (short, long):
    optimizer = ClippedOptimizer(Adam(), NoClip(), 0.125)
    for _ in range(2):
      optimizer.apply_gradients([(tf.ones_like(variable), variable)])
  np.testing.assert_allclose(tf.cast(short, "float32"), long, rtol=0.02)


# The same gradient as rows or dense

# Rows without a gradient add nothing to ‖g‖ and bind no coordinate: the same step.
SAME: list[Clip] = [
  NoClip(),
  GradientClipping(0.5),
  AdaptiveGradientClipping(0.5),  # a row is a unit, of a table that is called an embedding
  Clippy(0.1, 0.01),
  AdaGC(warmup_steps=1),
  ZClip(1.0, warmup_steps=1),
]
# These judge by the weights or the number of coordinates of what a step touches: of the rows, or of
# the whole table. A dense gradient does not say which rows were looked up.
OTHER: list[Clip] = [
  AdaptiveGradientClipping(0.5, unit="layer"),
  Lamb(0.1),
  LayerClippy(0.1, 0.01),
  RmsClip(0.5),
  OperatorNorm(0.01),
]


def end(clip: Clip, as_rows: bool) -> Any:
  """A table after two steps that touch two of its rows."""
  random = np.random.default_rng(1)
  table = tf.Variable(random.normal(size=(5, 3)), name="embeddings")
  optimizer = ClippedOptimizer(Adagrad(), clip, 0.5, exclude="")
  for size in (1.0, 30.0):
    rows = tf.IndexedSlices(
      tf.constant(size * random.normal(size=(2, 3))), tf.constant([1, 4]), tf.constant([5, 3])
    )
    gradient = rows if as_rows else tf.convert_to_tensor(rows)
    optimizer.apply_gradients([(gradient, table)])
  return table.numpy()


@pytest.mark.parametrize("clip", SAME, ids=str)
def test_these_clips_take_the_same_step_of_rows_and_of_the_dense_gradient(clip: Clip) -> None:
  np.testing.assert_allclose(end(clip, as_rows=True), end(clip, as_rows=False), rtol=1e-12)


@pytest.mark.parametrize("clip", OTHER, ids=str)
def test_these_clips_take_the_rows_touched_for_the_layer(clip: Clip) -> None:
  assert not np.allclose(end(clip, as_rows=True), end(clip, as_rows=False), rtol=1e-6)


def test_a_lazy_direction_leaves_untouched_rows_as_they_are() -> None:
  for direction in (Adam(lazy=True), Sgd(0.5, lazy=True)):
    table = tf.Variable(RANDOM.normal(size=(5, 3)))
    kernel = tf.Variable(table.numpy()[1:2])
    lazy = ClippedOptimizer(direction, NoClip(), RATE)
    dense = ClippedOptimizer(direction, NoClip(), RATE)
    before = table.numpy()
    for size in (1.0, 3.0, -2.0):
      values = tf.fill([1, 3], tf.constant(size, tf.float64))
      lazy.apply_gradients([(tf.IndexedSlices(values, tf.constant([1]), table.shape), table)])
      dense.apply_gradients([(values, kernel)])
    np.testing.assert_allclose(table[1:2], kernel, rtol=1e-12)
    np.testing.assert_array_equal(np.delete(table, 1, 0), np.delete(before, 1, 0))
    for kind, slot in dense.state_of(kernel).items():
      kept = lazy.state_of(table)[kind]
      np.testing.assert_allclose(kept[1:2] if kept.shape.rank else kept, slot, rtol=1e-12)


def test_slots_are_reset_to_what_they_began_with_and_nothing_else_is() -> None:
  rules = [Rule("head", direction=Adam())]
  optimizer = ClippedOptimizer(Adagrad(0.5), ZClip(warmup_steps=1), RATE, rules=rules)
  hidden, head = named("hidden", "head")
  for _ in range(3):
    step(optimizer, [hidden, head])
  memory = float(optimizer.state_of(hidden)["mean_norm"])
  weights = hidden.numpy()
  optimizer.reset_slots()
  assert optimizer.state_of(hidden)["accumulator"].numpy().tolist() == [0.5, 0.5]
  assert optimizer.state_of(head)["second_moment"].numpy().tolist() == [0.0, 0.0]
  assert float(optimizer.state_of(hidden)["mean_norm"]) == memory > 0
  assert int(optimizer.iterations) == 3
  np.testing.assert_array_equal(hidden, weights)


def test_a_rule_is_for_every_replica_of_a_variable() -> None:
  strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
  with strategy.scope():
    kernel = tf.Variable(tf.ones([3, 2]), name="layer/kernel")
    table = tf.Variable(tf.ones([3, 2]), name="layer/embeddings")
    rules = [Rule("kernel:0", direction=Adam(weight_decay=0.5))]
    optimizer = ClippedOptimizer(Adam(), NoClip(), 0.1, rules=rules)

  @tf.function
  def step() -> None:
    pairs = [(tf.ones([3, 2]), kernel), (tf.ones([3, 2]), table)]
    strategy.run(lambda: optimizer.apply_gradients(pairs, skip_gradients_aggregation=True))

  step()
  for variable in (kernel, table):
    first, second = (copy.numpy() for copy in variable.values)
    np.testing.assert_array_equal(first, second)
  assert abs(float(kernel.values[0][0, 0]) - float(table.values[0][0, 0])) > 0.01
