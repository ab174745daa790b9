import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking.array import Array
from ranking.data.schema import Feature, Schema
from ranking.models.shared_bottom import (
  SharedBottom,
  embedding_widths,
  is_embedding,
  parameter_counts,
)
from ranking.optimizers import Adagrad, ClippedOptimizer, Clippy
from ranking.tasks import LabelStatistics, Task

KNOWN = LabelStatistics(1000, 0.25, 0.2)
# Neither in alphabetical order nor binary first.
TASKS = (Task("zeal", "binary"), Task("rating", "regression", 2.0), Task("click", "binary", 0.5))
SIX = tuple(Task(name, "binary") for name in ("click", "like", "share", "complete", "seen", "kept"))


def schema(
  categorical: int = 3, bags: int = 2, dense: int = 4, tasks: tuple[Task, ...] = TASKS
) -> Schema:
  """Vocabularies grow from 5 ids, bags from 2 places."""
  return Schema(
    dataset="toy",
    features=(
      *(Feature(f"id_{k}", "categorical", 5 + 3 * k) for k in range(categorical)),
      *(Feature(f"bag_{k}", "bag", 6 + k, 2 + k) for k in range(bags)),
      *(Feature(f"dense_{k}", "dense") for k in range(dense)),
    ),
    tasks=tasks,
    day_names=("1", "2"),
    label_statistics=(KNOWN,) * len(tasks),
  )


def batch(of: Schema, rows: int = 16, seed: int = 0) -> dict[str, tf.Tensor]:
  """Random rows; a third of the labels is missing, and the weights are 1 / labelled rows."""
  random = np.random.default_rng(seed)
  ids = [random.integers(0, f.vocabulary_size, (rows, 1)) for f in of.of_kind("categorical")]
  bags = [random.integers(0, f.vocabulary_size, (rows, f.length)) for f in of.of_kind("bag")]
  labelled = random.random((rows, len(of.tasks))) < 0.67
  binary = np.array([task.kind == "binary" for task in of.tasks])
  labels = np.where(
    binary, random.integers(0, 2, labelled.shape), random.normal(size=labelled.shape)
  )
  return {
    "ids": tf.constant(np.concatenate([np.zeros((rows, 0)), *ids], axis=1), tf.int32),
    "bags": tf.constant(np.concatenate([np.zeros((rows, 0)), *bags], axis=1), tf.int32),
    "dense": tf.constant(random.normal(size=(rows, len(of.of_kind("dense")))), tf.float32),
    "labels": tf.constant(np.where(labelled, labels, 0.0), tf.float32),
    "weights": tf.constant(labelled / np.maximum(labelled.sum(axis=0), 1), tf.float32),
  }


def part(of: dict[str, tf.Tensor], rows: slice) -> dict[str, tf.Tensor]:
  """Some rows of a batch, weights as they are."""
  return {name: value[rows] for name, value in of.items()}


def small(of: Schema, seed: int = 1) -> SharedBottom:
  """Cross layers, two shared layers, a tower layer; no weight at a special value such as 0."""
  model = SharedBottom(of, [12, 9], num_cross_layers=2, input_width=30, tower_units=[5])
  random = np.random.default_rng(seed)
  for variable in model.trainable_variables:
    variable.assign(random.normal(scale=0.3, size=variable.shape))
  return model


def weights(model: SharedBottom, layer: str) -> list[Array]:
  """Of one layer, float64: kernel and bias, or gamma and beta, or the embedding table."""
  found = [v.numpy() for v in model.trainable_variables if f"/{layer}/" in v.name]
  assert found, layer
  return [value.astype(np.float64) for value in found]


def numpy_outputs(model: SharedBottom, rows: dict[str, tf.Tensor]) -> Array:
  """The forward pass in float64: the paper's formulas, layer by layer."""
  ids, bags, dense = (rows[name].numpy() for name in ("ids", "bags", "dense"))
  parts = []
  for k, feature in enumerate(model.schema.of_kind("categorical")):
    parts.append(weights(model, f"embedding_{feature.name}")[0][ids[:, k]])
  for feature in model.schema.of_kind("bag"):
    mine, bags = bags[:, : feature.length], bags[:, feature.length :]
    (table,) = weights(model, f"embedding_{feature.name}")
    parts.append(
      np.array([table[bag[bag != 0]].mean(0) if bag.any() else 0 * table[0] for bag in mine])
    )
  x = x0 = np.concatenate([*parts, dense], axis=1)
  for k in (1, 2):
    kernel, bias = weights(model, f"cross_{k}")
    x = x0 * (x @ kernel + bias) + x
  gamma, beta = weights(model, "layer_norm")
  x = gamma * (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-3) + beta
  for k in (1, 2):
    x = relu_layer(model, f"hidden_{k}", x)
  outputs = []
  for task in model.schema.tasks:
    kernel, bias = weights(model, f"{task.name}_logit")
    outputs.append(relu_layer(model, f"{task.name}_tower_1", x) @ kernel + bias)
  return np.concatenate(outputs, axis=1)


def relu_layer(model: SharedBottom, name: str, x: Array) -> Array:
  """max(0, x W + b)."""
  kernel, bias = weights(model, name)
  return np.maximum(x @ kernel + bias, 0)


def numpy_losses(model: SharedBottom, rows: dict[str, tf.Tensor]) -> Array:
  """Per task, the mean loss over the rows that have its label."""
  outputs, losses = numpy_outputs(model, rows), []
  for k, task in enumerate(model.schema.tasks):
    labelled = rows["weights"].numpy()[:, k] > 0
    y, x = rows["labels"].numpy()[labelled, k], outputs[labelled, k]
    p = 1 / (1 + np.exp(-x))
    entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    losses.append(np.mean(entropy if task.kind == "binary" else (y - x) ** 2))
  return np.array(losses)


@pytest.mark.parametrize(
  ("categorical", "bags", "dense"), [(1, 0, 0), (3, 1, 4), (30, 5, 0), (12, 3, 400)]
)
def test_small_has_1_111_046_parameters_whatever_the_features(
  categorical: int, bags: int, dense: int
) -> None:
  model = SharedBottom(schema(categorical, bags, dense, SIX), [512, 512])
  d = 1650
  assert parameter_counts(model)["non_embedding"] == (
    (d * 512 + 512) + (512 * 512 + 512) + 6 * (512 + 1)
  )
  assert parameter_counts(model)["non_embedding"] == 1_111_046


def test_small_2048_has_the_7_5_million_parameters_of_table_1() -> None:
  model = SharedBottom(schema(tasks=SIX), [2048, 2048])
  assert parameter_counts(model)["non_embedding"] == pytest.approx(7.5e6, rel=0.02)


def test_large_and_large_dcn_have_the_57_and_68_million_parameters_of_table_1() -> None:
  model = SharedBottom(schema(20, 3, 40, SIX), [4096] * 4, num_cross_layers=4)
  large_dcn = parameter_counts(model)["non_embedding"]
  added = [v for v in model.trainable_variables if "cross_" in v.name or "layer_norm" in v.name]
  large = large_dcn - sum(int(np.prod(v.shape)) for v in added)
  assert large_dcn == pytest.approx(68.0e6, rel=0.005)
  assert large == pytest.approx(57.0e6, rel=0.005)


def test_embedding_parameters_are_counted_apart() -> None:
  of = schema()
  widths = embedding_widths(of, 26)
  sizes = {feature.name: feature.vocabulary_size for feature in of.features}
  expected = sum(sizes[name] * width for name, width in widths.items())
  model = small(of)
  counts = parameter_counts(model)
  assert counts["embedding"] == expected
  assert sum(counts.values()) == model.count_params()


@pytest.mark.parametrize("total", [5, 6, 7, 26, 100, 1650])
def test_embedding_widths_fill_the_input_exactly_and_none_is_empty(total: int) -> None:
  widths = embedding_widths(schema(categorical=4, bags=1), total)
  assert sum(widths.values()) == total
  assert min(widths.values()) >= 1


def test_a_larger_vocabulary_never_gets_a_narrower_embedding() -> None:
  features = tuple(Feature(f"f{k}", "categorical", 10**k) for k in range(1, 7))
  of = Schema("toy", features, TASKS, ("1", "2"), (KNOWN,) * 3)
  widths = list(embedding_widths(of, 1000).values())
  assert widths == sorted(widths)
  # One column each, and the others as the fourth root of the size.
  shares = (10.0 ** np.arange(1, 7)) ** 0.25
  np.testing.assert_allclose(np.array(widths) - 1, 994 * shares / shares.sum(), atol=1)


def test_too_narrow_an_input_is_named_with_what_it_lacks() -> None:
  message = "has 2 columns for 5 embeddings of toy; raise input_width × width_scale by at least 3"
  with pytest.raises(ValueError, match=message):
    SharedBottom(schema(), [4], input_width=12, width_scale=0.5)


def test_width_scale_multiplies_every_width() -> None:
  of = schema()
  scaled = SharedBottom(of, [64, 32], 1, input_width=240, tower_units=[16], width_scale=0.125)
  plain = SharedBottom(of, [8, 4], 1, input_width=30, tower_units=[2])
  assert scaled.input_width == 30
  assert [v.shape for v in scaled.trainable_variables] == [
    v.shape for v in plain.trainable_variables
  ]


def test_the_forward_pass_equals_its_formulas() -> None:
  model = small(schema())
  rows = batch(model.schema, 64)
  outputs = model(rows)
  assert outputs.dtype == tf.float32
  np.testing.assert_allclose(outputs, numpy_outputs(model, rows), rtol=1e-5, atol=1e-5)


def test_a_model_without_cross_layers_has_no_layer_norm() -> None:
  model = SharedBottom(schema(), [4], input_width=20)
  assert not [v.name for v in model.trainable_variables if "cross" in v.name or "norm" in v.name]


def test_outputs_come_in_the_order_of_the_tasks() -> None:
  model = small(schema())
  for variable in model.trainable_variables:
    for k, task in enumerate(TASKS):
      if f"/{task.name}_logit/" in variable.name:
        variable.assign(tf.fill(variable.shape, float(k) if "bias" in variable.name else 0.0))
  np.testing.assert_array_equal(model(batch(model.schema, 5)), [[0, 1, 2]] * 5)


def test_a_new_model_predicts_near_the_best_constants() -> None:
  model = SharedBottom(schema(), [8], input_width=20)
  for task in TASKS:
    (_, bias) = weights(model, f"{task.name}_logit")
    expected = np.log(0.25 / 0.75) if task.kind == "binary" else 0.25
    np.testing.assert_allclose(bias, [expected], rtol=1e-6)


@pytest.mark.parametrize("task", range(3))
def test_an_output_depends_on_the_tower_of_its_own_task_only(task: int) -> None:
  model = small(schema())
  rows = batch(model.schema)
  with tf.GradientTape() as tape:
    output = tf.reduce_sum(model(rows)[:, task])
  reached = tape.gradient(
    output, model.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
  )
  for variable, gradient in zip(model.trainable_variables, reached, strict=True):
    owners = [k for k, t in enumerate(TASKS) if f"/{t.name}_" in variable.name]
    values = gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
    assert bool(tf.reduce_any(values != 0.0)) == (owners in ([], [task])), variable.name


def test_a_bag_is_the_mean_of_its_ids_and_padding_does_not_count() -> None:
  of = schema(categorical=0, bags=1, dense=0)
  model = SharedBottom(of, [4], input_width=3)
  table = model.trainable_variables[0]
  table.assign(np.arange(18.0).reshape(6, 3))
  bags = tf.constant([[2, 4], [5, 0], [0, 5], [3, 3], [0, 0]])
  rows = {"ids": tf.zeros([5, 0], tf.int32), "bags": bags, "dense": tf.zeros([5, 0])}
  pooled = model._input(rows)
  expected = [(table[2] + table[4]) / 2, table[5], table[5], table[3], tf.zeros(3)]
  np.testing.assert_array_equal(pooled, expected)


def test_task_losses_are_means_over_the_labelled_rows() -> None:
  model = small(schema())
  rows = batch(model.schema, 64)
  losses = model.task_losses(rows, model(rows))
  np.testing.assert_allclose(losses, numpy_losses(model, rows), rtol=1e-5)


def test_a_rare_label_is_not_shrunk_and_a_missing_one_loses_nothing() -> None:
  model = small(schema())
  rows = batch(model.schema, 64)
  only_row_3 = np.zeros((64, 3), np.float32)
  only_row_3[3, :2] = 1.0  # one row has the first two labels, no row the third
  rows["weights"] = tf.constant(only_row_3)
  losses = model.task_losses(rows, model(rows)).numpy()
  alone = part(rows, slice(3, 4))
  np.testing.assert_allclose(losses, model.task_losses(alone, model(alone)), rtol=1e-5)
  np.testing.assert_allclose(losses[:2], numpy_losses_of_row(model, rows, 3)[:2], rtol=1e-5)
  assert losses[2] == 0


def numpy_losses_of_row(model: SharedBottom, rows: dict[str, tf.Tensor], row: int) -> Array:
  """As if all labels of this one row were there."""
  alone = part(rows, slice(row, row + 1))
  return numpy_losses(model, {**alone, "weights": tf.ones([1, 3])})


def test_losses_of_two_halves_add_up_to_the_whole() -> None:
  model = small(schema())
  rows = batch(model.schema)
  halves = [part(rows, slice(0, 8)), part(rows, slice(8, 16))]
  for measure in (
    lambda given: model.task_losses(given, model(given)),
    model.constant_losses,
    model.compute_loss,
  ):
    np.testing.assert_allclose(sum(map(measure, halves)), measure(rows), rtol=1e-5)


def test_constant_losses_take_each_task_by_its_own_statistics() -> None:
  known = tuple(LabelStatistics(9, mean, 1.0) for mean in (0.5, -1.0, 0.1))
  of = Schema("toy", schema().features, TASKS, ("1", "2"), known)
  model = SharedBottom(of, [4], input_width=20)
  rows = batch(of)
  y, w = rows["labels"].numpy().astype(np.float64), rows["weights"].numpy()
  expected = [
    np.log(2),
    (w[:, 1] * (y[:, 1] + 1.0) ** 2).sum(),
    -(w[:, 2] * (y[:, 2] * np.log(0.1) + (1 - y[:, 2]) * np.log(0.9))).sum(),
  ]
  np.testing.assert_allclose(model.constant_losses(rows), expected, rtol=1e-5)


def test_the_loss_is_the_sum_of_task_losses_times_loss_weights() -> None:
  model = small(schema())
  rows = batch(model.schema)
  expected = numpy_losses(model, rows) @ [1.0, 2.0, 0.5]
  assert float(model.compute_loss(rows)) == pytest.approx(expected, rel=1e-5)
  assert float(model.weighted(tf.constant([1.0, 10.0, 100.0]))) == 1 + 20 + 50


def test_whole_loss_weights_may_be_written_as_integers() -> None:
  of = schema(tasks=(Task("click", "binary", 3), Task("rating", "regression", 1)))
  model = SharedBottom(of, [4], input_width=20)
  assert float(model.weighted(tf.constant([2.0, 5.0]))) == 11


def test_compile_and_fit_train_it() -> None:
  model = small(schema())
  rows = batch(model.schema, 64)
  before = float(model.compute_loss(rows))
  model.compile(ClippedOptimizer(Adagrad(), Clippy(), 0.05))
  data = tf.data.Dataset.from_tensors(rows).repeat(20)
  history = model.fit(data, epochs=2, verbose=0).history["loss"]
  after = float(model.compute_loss(rows))
  assert after < 0.9 * before
  assert history[1] < history[0]


def test_columns_and_tasks_may_have_any_name_and_tables_are_still_known() -> None:
  names = ("customer id", "Käufer", "customer#", "customer_", "a/b")
  of = Schema(
    dataset="toy",
    features=tuple(Feature(name, "categorical", 5) for name in names),
    tasks=(Task("was bought?", "binary"), Task("embedding_click", "binary")),
    day_names=("1", "2"),
    label_statistics=(KNOWN, KNOWN),
  )
  model = SharedBottom(of, [4], input_width=20, tower_units=[3])
  model.compile(ClippedOptimizer(Adagrad(), Clippy(), 0.05, exclude="/embeddings"))
  model.fit(tf.data.Dataset.from_tensors(batch(of)), verbose=0)
  tables = [variable for variable in model.trainable_variables if is_embedding(variable)]
  assert len(tables) == len(names)
  assert parameter_counts(model)["embedding"] == 5 * 20
  clipped = [v for v in model.trainable_variables if model.optimizer.is_clipped(v)]
  assert len(clipped) == len(model.trainable_variables) - len(names)


def test_a_batch_of_one_row_is_the_row() -> None:
  model = small(schema())
  rows = batch(model.schema)
  alone = model(part(rows, slice(2, 3)))
  assert alone.shape == (1, 3)
  np.testing.assert_allclose(alone, model(rows)[2:3], rtol=1e-5, atol=1e-6)


def test_all_variables_exist_before_the_first_batch_and_none_is_shared() -> None:
  model = SharedBottom(schema(), [8, 8], 2, input_width=20, tower_units=[4])
  count = len(model.trainable_variables)
  model(batch(model.schema))
  assert len(model.trainable_variables) == count
  assert len({v.name for v in model.trainable_variables}) == count
  assert model.non_trainable_variables == []


def test_the_same_seed_makes_the_same_model() -> None:
  made = []
  for seed in (3, 3, 4):
    tf_keras.utils.set_random_seed(seed)
    made.append(SharedBottom(schema(), [8], 1, input_width=20)(batch(schema())).numpy())
  np.testing.assert_array_equal(made[0], made[1])
  assert not np.allclose(made[0], made[2])


def comparable(of: Schema, without_features: Sequence[str] = ()) -> SharedBottom:
  """As `small`, but what a variable holds depends on its name and shape, not on the others."""
  tf_keras.backend.reset_uids()  # Cross names its inner layer by a counter of the process
  model = SharedBottom(
    of, [12, 9], 2, input_width=30, tower_units=[5], without_features=without_features
  )
  for variable in model.trainable_variables:
    random = np.random.default_rng([*variable.name.encode()])
    variable.assign(random.normal(scale=0.3, size=variable.shape))
  return model


@pytest.mark.parametrize("left_out", ["zeal", "rating", "click"])
def test_without_a_task_the_rest_has_the_gradients_of_a_loss_weight_of_0(left_out: str) -> None:
  zero = tuple(
    dataclasses.replace(task, loss_weight=0.0) if task.name == left_out else task for task in TASKS
  )
  of, rows = schema(tasks=zero), batch(schema(), 64)
  kept = [k for k, task in enumerate(TASKS) if task.name != left_out]
  less = {**rows, **{name: tf.gather(rows[name], kept, axis=1) for name in ("labels", "weights")}}
  gradients = []
  for given, some in ((of, rows), (of.without_tasks([left_out]), less)):
    model = comparable(given)
    with tf.GradientTape() as tape:
      loss = model.compute_loss(some)
    found = tape.gradient(loss, model.trainable_variables)
    names = [variable.name for variable in model.trainable_variables]
    gradients.append(dict(zip(names, map(tf.convert_to_tensor, found), strict=True)))
  ignored, gone = gradients
  assert {name for name in ignored if f"/{left_out}_" in name} == ignored.keys() - gone.keys()
  assert len(ignored) - len(gone) == 4
  for name, gradient in gone.items():
    np.testing.assert_array_equal(gradient, ignored[name], err_msg=name)
    assert np.any(gradient), name


def test_without_a_task_its_tower_is_not_counted_and_its_constant_loss_not_either() -> None:
  of = schema()
  rows = batch(of, 64)
  models = [
    SharedBottom(given, [12, 9], input_width=30, tower_units=[5])
    for given in (of, of.without_tasks(["rating"]))
  ]
  counts = [parameter_counts(model) for model in models]
  assert counts[0]["embedding"] == counts[1]["embedding"]
  assert counts[0]["non_embedding"] - counts[1]["non_embedding"] == (9 * 5 + 5) + (5 + 1)
  less = {name: tf.gather(rows[name], [0, 2], axis=1) for name in ("labels", "weights")}
  whole, part_ = models[0].constant_losses(rows), models[1].constant_losses({**rows, **less})
  np.testing.assert_array_equal(part_, whole.numpy()[[0, 2]])


LEFT_OUT = (["id_1"], ["bag_0"], ["dense_2"], ["id_0", "id_2", "bag_1", "dense_0", "dense_3"])


def without_columns(rows: dict[str, tf.Tensor], of: Schema, names: list[str]) -> dict[str, Array]:
  """A batch as a store without these features would have it."""
  kept: dict[str, list[int]] = {"ids": [], "bags": [], "dense": []}
  place = {"ids": 0, "bags": 0, "dense": 0}
  arrays = {"categorical": "ids", "bag": "bags", "dense": "dense"}
  for feature in of.features:
    array = arrays[feature.kind]
    if feature.name not in names:
      kept[array] += range(place[array], place[array] + feature.length)
    place[array] += feature.length
  return {**rows, **{name: tf.gather(rows[name], k, axis=1) for name, k in kept.items()}}


@pytest.mark.parametrize("names", LEFT_OUT, ids=" ".join)
def test_a_model_without_features_is_that_of_a_log_that_never_had_them(names: list[str]) -> None:
  of = schema()
  model, never = comparable(of, names), comparable(of.without_features(names))
  shapes = [{v.name: v.shape for v in each.trainable_variables} for each in (model, never)]
  assert shapes[0] == shapes[1]
  assert not any(f"embedding_{name}/" in variable for name in names for variable in shapes[0])
  assert parameter_counts(model) == parameter_counts(never)
  rows = batch(of, 64)
  np.testing.assert_array_equal(model(rows), never(without_columns(rows, of, names)))


@pytest.mark.parametrize("names", LEFT_OUT, ids=" ".join)
def test_a_feature_that_is_left_out_has_no_influence(names: list[str]) -> None:
  of = schema()
  model, plain = comparable(of, names), comparable(of)
  rows, other = batch(of, 64), batch(of, 64, seed=1)
  mixed: dict[str, tf.Tensor] = {}
  for array, kind in (("ids", "categorical"), ("bags", "bag"), ("dense", "dense")):
    out = np.concatenate([[f.name in names] * f.length for f in of.of_kind(kind)])
    mixed[array] = tf.where(out, other[array], rows[array])
  np.testing.assert_array_equal(model(mixed), model(rows))
  assert np.any(plain(mixed) != plain(rows))


def test_the_others_fill_the_input_of_table_1_when_a_feature_is_left_out() -> None:
  of = schema(30, 5, 12, SIX)
  names = ["id_29", "bag_0", "dense_11"]
  model = SharedBottom(of, [512, 512], without_features=names)
  counts = parameter_counts(model)
  assert counts["non_embedding"] == 1_111_046
  widths = embedding_widths(of.without_features(names), 1650 - 11)
  assert sum(widths.values()) == 1650 - 11
  sizes = {feature.name: feature.vocabulary_size for feature in of.features}
  assert counts["embedding"] == sum(sizes[name] * width for name, width in widths.items())


@pytest.mark.parametrize(
  ("names", "message"),
  [
    (["bag_00"], r"^no feature 'bag_00'; the nearest is 'bag_0'$"),
    ("id_0", r"^'id_0' is no list; make it a list of features$"),
    (["id_0", "bag_0"], r"^the input of toy has no embedding to fill it; keep one feature$"),
  ],
)
def test_a_feature_that_cannot_be_left_out_is_refused(names: list[str], message: str) -> None:
  with pytest.raises(ValueError, match=message):
    SharedBottom(schema(1, 1), [4], input_width=20, without_features=names)
