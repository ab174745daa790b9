"""The optimizer's slots, memory and counts in checkpoints and files: to the bit, or refused."""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from ranking.array import Array
from ranking.optimizers import (
  AdaGC,
  Adagrad,
  Adam,
  ClippedOptimizer,
  NoClip,
  Sgd,
  StateError,
  ZClip,
)
from ranking.optimizers.saved_state import StateWarning

RATE = 0.125
NONE = "^$"  # as `exclude`: finds no variable
STEPS, SAVED_AFTER = 6, 3

RANDOM = np.random.default_rng(0)
SHAPES = {"hidden/kernel": (5, 3), "hidden/bias": (3,), "table": (8, 3)}
START = {name: RANDOM.normal(size=shape) for name, shape in SHAPES.items()}
GRADIENTS = {name: RANDOM.normal(size=(STEPS, *shape)) for name, shape in SHAPES.items()}
ROWS = RANDOM.integers(0, 8, size=(STEPS, 8))

Make = Callable[[], ClippedOptimizer]


def adagrad_adagc() -> ClippedOptimizer:
  """A slot and a number of memory for each variable."""
  return ClippedOptimizer(Adagrad(), AdaGC(1.5, 3.0, 0.75, 2), RATE, exclude=NONE)


def adam_zclip() -> ClippedOptimizer:
  """Two slots and two numbers of memory for each variable, a rate that changes with the steps."""
  rate = tf_keras.optimizers.schedules.ExponentialDecay(RATE, 1, 0.75)
  return ClippedOptimizer(Adam(), ZClip(1.25, 0.75, 2), rate, exclude=NONE)


MAKERS = pytest.mark.parametrize("make", [adagrad_adagc, adam_zclip])


def weights(reverse: bool = False) -> dict[str, tf.Variable]:
  """Kernel, bias and table; or the same the other way round."""
  names = sorted(SHAPES, reverse=reverse)
  return {name: tf.Variable(START[name], dtype=tf.float32, name=name) for name in names}


def take_steps(
  optimizer: ClippedOptimizer, variables: dict[str, tf.Variable], steps: range
) -> None:
  """Some of the steps, and one that is skipped."""
  for k in steps:
    pairs: list[Any] = []
    for name, variable in variables.items():
      gradient: Any = tf.constant(GRADIENTS[name][k], tf.float32)
      if name == "table":
        gradient = tf.IndexedSlices(gradient, tf.constant(ROWS[k]), variable.shape)
      pairs.append((gradient, variable))
    optimizer.apply_gradients(pairs)
  optimizer.apply_gradients([(tf.fill(v.shape, np.nan), v) for v in variables.values()])


def state(optimizer: ClippedOptimizer, variables: dict[str, tf.Variable]) -> dict[str, bytes]:
  """Every value by name, to the bit."""
  named = {**variables, **optimizer._named_values()}
  return {name: variable.numpy().tobytes() for name, variable in named.items()}


def written(make: Make, folder: Path) -> tuple[str, ClippedOptimizer, dict[str, tf.Variable]]:
  """A checkpoint of optimizer and weights after some steps, and both."""
  optimizer, variables = make(), weights()
  take_steps(optimizer, variables, range(SAVED_AFTER))
  named = {name.replace("/", "|"): variable for name, variable in variables.items()}
  path = tf.train.Checkpoint(optimizer=optimizer, weights=named).write(str(folder / "checkpoint"))
  return path, optimizer, variables


# tf.train.Checkpoint


@MAKERS
@pytest.mark.parametrize("built_first", [True, False], ids=["after build", "before build"])
def test_a_run_continued_from_a_checkpoint_equals_the_straight_run_bit_for_bit(
  built_first: bool, make: Make, tmp_path: Path
) -> None:
  path, straight, expected = written(make, tmp_path)
  restored, variables = make(), weights()
  if built_first:
    restored.build(list(variables.values()))
  named = {name.replace("/", "|"): variable for name, variable in variables.items()}
  status = tf.train.Checkpoint(optimizer=restored, weights=named).read(path)
  restored.build(list(variables.values()))
  status.assert_consumed()
  status.assert_existing_objects_matched()
  assert state(restored, variables) == state(straight, expected)
  assert int(restored.iterations) == SAVED_AFTER
  assert int(restored.skipped_steps) == 1
  take_steps(straight, expected, range(SAVED_AFTER, STEPS))
  take_steps(restored, variables, range(SAVED_AFTER, STEPS))
  assert state(restored, variables) == state(straight, expected)


def test_every_slot_and_number_of_memory_is_in_the_checkpoint(tmp_path: Path) -> None:
  path, optimizer, variables = written(adagrad_adagc, tmp_path)
  stored = {
    key.removeprefix("optimizer/").removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): shape
    for key, shape in tf.train.list_variables(path)
    if key.startswith("optimizer/")
  }
  assert stored.pop("_layout/.ATTRIBUTES/py_state") == []
  names = ("_iterations", "skipped_steps", "skipped_in_a_row", "_learning_rate")
  assert [stored.pop(name) for name in names] == [[], [], [], []]
  kinds = ("accumulator", "average_norm", "norms_seen", "clipping_factor")
  for place, variable in enumerate(variables.values()):
    for kind in kinds:
      shape = optimizer.state_of(variable)[kind].shape.as_list()
      assert stored.pop(f"_{kind}s/{place}") == shape
  assert stored == {}


def refused(optimizer: ClippedOptimizer, path: str, built: bool, text: str) -> None:
  """A restore that is an error, at once or when the optimizer is built; nothing is silent."""
  variables = list(weights().values())
  if built:
    optimizer.build(variables)

  def go_on() -> None:
    tf.train.Checkpoint(optimizer=optimizer).read(path).expect_partial()
    optimizer.apply_gradients([(tf.ones_like(variable), variable) for variable in variables])

  with pytest.raises(StateError, match=f"^{re.escape(text)}$"):
    go_on()


BUILT = pytest.mark.parametrize("built", [True, False], ids=["after build", "before build"])


@pytest.mark.parametrize(
  ("make", "text"),
  [
    (
      lambda: ClippedOptimizer(Adagrad(), ZClip(), RATE, exclude=NONE),
      "of hidden/bias the saved optimizer keeps accumulator, average_norm, norms_seen, "
      "clipping_factor, this one accumulator, mean_norm, variance_of_norm, norms_seen, "
      "clipping_factor; restore it with the direction and clip that it was saved with",
    ),
    (
      lambda: ClippedOptimizer(Sgd(), AdaGC(), RATE, exclude=NONE),
      "of hidden/bias the saved optimizer keeps accumulator, average_norm, norms_seen, "
      "clipping_factor, this one average_norm, norms_seen, clipping_factor; restore it with the "
      "direction and clip that it was saved with",
    ),
    (
      lambda: ClippedOptimizer(Adagrad(), AdaGC(), RATE, exclude=NONE, scope="global"),
      "the saved optimizer keeps nothing of all variables together, this one average_norm, "
      "norms_seen; restore it with the clip and scope that it was saved with",
    ),
  ],
  ids=["memory", "slot", "scope"],
)
@BUILT
def test_state_of_another_clip_direction_or_scope_is_refused(
  built: bool, make: Make, text: str, tmp_path: Path
) -> None:
  path, *_ = written(adagrad_adagc, tmp_path)
  refused(make(), path, built, text)


CURE = "build the optimizer for the variables that it was saved with, in their order"


@pytest.mark.parametrize(
  ("change", "text"),
  [
    (
      lambda v: v[::-1],
      f"variable 1 of the saved optimizer is table of shape [8, 3], of this one hidden/bias of "
      f"shape [3]; {CURE}",
    ),
    (
      lambda v: v[:2],
      "the saved optimizer is of 2 variables, this one of 3; not in both: table; " + CURE,
    ),
    (
      lambda v: [*v, tf.Variable([1.0], name="later")],
      "the saved optimizer is of 4 variables, this one of 3; not in both: later; " + CURE,
    ),
    (
      lambda v: [tf.Variable(v[1], name="other"), v[0], v[2]],
      "variable 1 of the saved optimizer is other of shape [5, 3], of this one hidden/bias of "
      f"shape [3]; {CURE}",
    ),
  ],
  ids=["order", "fewer", "more", "others"],
)
@BUILT
def test_state_of_other_variables_is_refused(
  built: bool, change: Callable[[list[tf.Variable]], Any], text: str, tmp_path: Path
) -> None:
  saved = adagrad_adagc()
  saved.build(change(list(weights().values())))
  path = tf.train.Checkpoint(optimizer=saved).write(str(tmp_path / "optimizer"))
  refused(adagrad_adagc(), path, built, text)


@BUILT
def test_the_same_names_in_another_order_are_refused(built: bool, tmp_path: Path) -> None:
  def made(names: str) -> tuple[ClippedOptimizer, list[tf.Variable]]:
    return adagrad_adagc(), [tf.Variable([1.0, 2.0], name=name) for name in names]

  (saved, variables), (other, swapped) = made("abc"), made("acb")
  saved.build(variables)
  path = tf.train.Checkpoint(optimizer=saved).write(str(tmp_path / "optimizer"))
  if built:
    other.build(swapped)
  text = f"^b is variable 2 of the saved optimizer and variable 3 of this one; {CURE}$"

  def go_on() -> None:
    tf.train.Checkpoint(optimizer=other).read(path).expect_partial()
    other.build(swapped)

  with pytest.raises(StateError, match=text):
    go_on()


@pytest.mark.parametrize("theirs", ["Adam", "SGD"])
def test_state_of_another_optimizer_is_refused(theirs: str, tmp_path: Path) -> None:
  variables = list(weights().values())
  saved = {
    "Adam": tf_keras.optimizers.Adam(),
    "SGD": tf_keras.optimizers.SGD(0.1, momentum=0.5),
  }[theirs]
  saved.build(variables)
  path = tf.train.Checkpoint(optimizer=saved).write(str(tmp_path / "optimizer"))
  optimizer = adagrad_adagc()
  tf.train.Checkpoint(optimizer=optimizer).read(path).expect_partial()
  with pytest.raises(StateError, match=r"^the checkpoint holds \w+ of another optimizer, or of"):
    optimizer.build(variables)


def test_what_there_is_from_the_constructor_is_restored_before_anything_is_built(
  tmp_path: Path,
) -> None:
  path, straight, _ = written(adagrad_adagc, tmp_path)
  straight.learning_rate.assign(0.5)
  path = tf.train.Checkpoint(optimizer=straight).write(path)
  restored = adagrad_adagc()
  tf.train.Checkpoint(optimizer=restored).read(path)
  assert int(restored.iterations) == SAVED_AFTER
  assert int(restored.skipped_steps) == int(restored.skipped_in_a_row) == 1
  assert float(restored.learning_rate) == 0.5
  restored.learning_rate = 0.25
  take_steps(restored, weights(), range(1))
  assert float(restored.learning_rate) == 0.25
  assert int(restored.iterations) == SAVED_AFTER + 1


def test_a_restored_state_that_has_no_variables_yet_is_not_lost_by_saving_it_again(
  tmp_path: Path,
) -> None:
  path, straight, _ = written(adagrad_adagc, tmp_path)
  restored, variables = adagrad_adagc(), weights()
  both = tf.train.Checkpoint(optimizer=restored)
  both.read(path).expect_partial()
  with pytest.raises(StateError, match=r"call optimizer.build\(model.trainable_variables\) before"):
    both.write(str(tmp_path / "again"))
  restored.build(list(variables.values()))
  again = both.write(str(tmp_path / "again"))
  third = adagrad_adagc()
  tf.train.Checkpoint(optimizer=third).read(again)
  third.build(list(variables.values()))
  of_third, of_straight = (
    [value.numpy().tobytes() for value in o._named_values().values()] for o in (third, straight)
  )
  assert of_third == of_straight


@pytest.mark.parametrize(
  "names",
  [
    ["a", "a", "b"],
    ["a", "a", "a_1"],
    ["a/b", "a|b", "b"],
  ],
  ids=" ".join,
)
def test_variables_of_one_name_keep_their_own_slots(names: list[str], tmp_path: Path) -> None:
  def made() -> tuple[ClippedOptimizer, list[tf.Variable]]:
    variables = [tf.Variable([1.0, 2.0], name=name) for name in names]
    optimizer = adagrad_adagc()
    optimizer.build(variables)
    return optimizer, variables

  (optimizer, variables), (restored, _) = made(), made()
  for size in (1.0, 3.0):
    optimizer.apply_gradients(
      [(tf.fill([2], size * (k + 1)), variable) for k, variable in enumerate(variables)]
    )
  path = tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / "checkpoint"))
  tf.train.Checkpoint(optimizer=restored).read(path).assert_consumed()
  accumulators = [slots["accumulator"].numpy() for slots in optimizer.kept.slots]
  assert len({values.tobytes() for values in accumulators}) == len(names)
  for one, two in zip(optimizer.variables, restored.variables, strict=True):
    np.testing.assert_array_equal(one, two)
  assert len(optimizer._named_values()) == len(optimizer.numbers) + 1  # the learning rate


# Saved models


def model(optimizer: Any, seed: int = 1) -> tf_keras.Model:
  """Ids of a table, and a dense layer."""
  tf_keras.utils.set_random_seed(seed)
  made = tf_keras.Sequential(
    [
      tf_keras.layers.Embedding(9, 3, input_length=2, name="ids"),
      tf_keras.layers.Flatten(),
      tf_keras.layers.Dense(1, name="output"),
    ]
  )
  made.compile(optimizer, "mse")
  return made


def fit(trained: tf_keras.Model, seed: int) -> None:
  """Three steps."""
  random = np.random.default_rng(seed)
  x, y = random.integers(0, 9, size=(12, 2)), random.normal(size=(12, 1))
  trained.fit(x, y, batch_size=4, shuffle=False, verbose=0)


def values(trained: tf_keras.Model) -> list[Array]:
  """Of weights and of all variables of the optimizer."""
  return [v.numpy() for v in (*trained.trainable_variables, *trained.optimizer.variables)]


def equal(one: list[Array], two: list[Array]) -> bool:
  """To the bit."""
  return [value.tobytes() for value in one] == [value.tobytes() for value in two]


@contextlib.contextmanager
def legacy_format() -> Iterator[None]:
  """Without tf_keras's advice to save as .keras."""
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file")
    yield


@MAKERS
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_loaded_model_trains_on_as_the_saved_one_bit_for_bit(
  suffix: str, make: Make, tmp_path: Path
) -> None:
  saved = model(make())
  fit(saved, 1)
  with legacy_format():
    saved.save(tmp_path / f"model{suffix}")
  loaded = tf_keras.models.load_model(tmp_path / f"model{suffix}")
  assert loaded.optimizer.get_config() == saved.optimizer.get_config()
  assert equal(values(loaded), values(saved))
  fit(saved, 2)
  fit(loaded, 2)
  assert equal(values(loaded), values(saved))
  assert int(loaded.optimizer.iterations) == 6


@MAKERS
def test_weights_saved_by_tensorflow_bring_the_optimizer_along(make: Make, tmp_path: Path) -> None:
  saved = model(make())
  fit(saved, 1)
  saved.save_weights(str(tmp_path / "weights"))
  loaded = model(make(), seed=2)
  status = loaded.load_weights(str(tmp_path / "weights"))  # before anything is built
  fit(saved, 2)
  fit(loaded, 2)
  status.assert_consumed()
  assert equal(values(loaded), values(saved))


@pytest.mark.parametrize(
  "make",
  [adagrad_adagc, lambda: tf_keras.optimizers.Adagrad(RATE)],
  ids=["ours", "tf_keras Adagrad"],
)
def test_a_saved_model_folder_keeps_weights_and_settings_but_no_slots_as_in_tf_keras(
  make: Callable[[], Any], tmp_path: Path
) -> None:
  saved = model(make())
  fit(saved, 1)
  saved.save(tmp_path / "model", save_format="tf")
  loaded = tf_keras.models.load_model(tmp_path / "model")
  assert equal(loaded.get_weights(), saved.get_weights())
  assert loaded.optimizer.get_config() == saved.optimizer.get_config()
  counts = {variable.name for variable in loaded.optimizer.variables}
  assert counts <= {"iteration:0", "skipped_steps:0", "skipped_in_a_row:0"}


def test_a_model_saved_before_its_first_step_can_be_loaded(tmp_path: Path) -> None:
  saved = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(3,))])
  saved.compile(adagrad_adagc(), "mse")
  saved.save(tmp_path / "model.keras")
  loaded = tf_keras.models.load_model(tmp_path / "model.keras")
  assert loaded.optimizer.get_config() == saved.optimizer.get_config()
  assert int(loaded.optimizer.iterations) == 0


def stored(optimizer: ClippedOptimizer) -> dict[str, Array]:
  """As in a .keras file."""
  store: dict[str, Array] = {}
  optimizer.save_own_variables(store)
  return store


def test_load_own_variables_refuses_the_state_of_other_variables_and_loads_nothing() -> None:
  optimizer, variables = adagrad_adagc(), weights()
  take_steps(optimizer, variables, range(2))
  store = stored(optimizer)
  other, others = adagrad_adagc(), weights(reverse=True)
  other.build(list(others.values()))
  before = state(other, others)
  with pytest.raises(
    StateError, match=r"^variable 1 of the saved optimizer is hidden/bias of shape"
  ):
    other.load_own_variables(store)
  assert state(other, others) == before


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(
  "theirs",
  [tf_keras.optimizers.Adam, lambda: tf_keras.optimizers.SGD(0.1, momentum=0.5)],
  ids=["Adam", "SGD"],
)
def test_load_own_variables_takes_no_moments_for_accumulators(theirs: Any, built: bool) -> None:
  optimizer, variables = theirs(), list(weights().values())
  store: dict[str, Array] = {}
  optimizer.apply_gradients([(tf.ones_like(variable), variable) for variable in variables])
  optimizer.save_own_variables(store)
  ours = ClippedOptimizer(Adagrad(), NoClip(), RATE)
  if built:
    ours.build(variables)

  def go_on() -> None:
    ours.load_own_variables(store)
    ours.build(variables)

  with pytest.raises(
    StateError, match=r"^the file holds values of shapes .*, which are no accumul"
  ):
    go_on()


def test_load_own_variables_refuses_what_another_optimizer_saved() -> None:
  theirs = tf_keras.optimizers.Adagrad()
  store: dict[str, Array] = {}
  theirs.save_own_variables(store)
  with pytest.raises(StateError, match=r"^the file holds another optimizer, or an earlier version"):
    adam_zclip().load_own_variables(store)


def test_behind_a_loss_scale_the_state_of_other_variables_is_refused_as_well() -> None:
  def behind_a_loss_scale(make: Make, *names: str) -> Any:
    scaled = tf_keras.mixed_precision.LossScaleOptimizer(make())
    variables = [tf.Variable([1.0, 2.0], name=name) for name in names]
    scaled.apply_gradients([(tf.ones([2]), variable) for variable in variables])
    return scaled

  store: dict[str, Array] = {}
  behind_a_loss_scale(adagrad_adagc, "first", "second").save_own_variables(store)
  behind_a_loss_scale(adagrad_adagc, "first", "second").load_own_variables(store)
  with pytest.raises(StateError, match="first is variable 1 of the saved optimizer and variable 2"):
    behind_a_loss_scale(adagrad_adagc, "second", "first").load_own_variables(store)
  momentum = lambda: ClippedOptimizer(Sgd(0.5), AdaGC(), RATE)  # noqa: E731  # as many numbers
  with pytest.raises(StateError, match=r"keeps accumulator, .* this one velocity, "):
    behind_a_loss_scale(momentum, "first", "second").load_own_variables(store)


def test_values_that_are_loaded_before_there_are_variables_wait_for_them() -> None:
  optimizer, variables = adagrad_adagc(), weights()
  take_steps(optimizer, variables, range(2))
  other, others = adagrad_adagc(), weights()
  other.load_own_variables(stored(optimizer))
  assert int(other.iterations) == 2
  with pytest.raises(StateError, match="so its state would be lost"):
    stored(other)
  other.build(list(others.values()))
  for name, variable in optimizer._named_values().items():
    np.testing.assert_array_equal(other._named_values()[name], variable)


def test_set_weights_takes_what_is_of_the_same_variables_and_refuses_all_else() -> None:
  optimizer, variables = adagrad_adagc(), weights()
  take_steps(optimizer, variables, range(2))
  values = [variable.numpy() for variable in optimizer.variables]
  other, others = adagrad_adagc(), weights()
  with pytest.raises(RuntimeError, match=r"was called before the optimizer was built; call"):
    other.set_weights(values)
  other.build(list(others.values()))
  other.set_weights(values)
  assert equal([v.numpy() for v in other.variables], values)
  with pytest.raises(RuntimeError, match=r"^set_weights was given 15 arrays that do not say which"):
    other.set_weights(values[:-1])
  with pytest.raises(
    RuntimeError, match=r"^set_weights was given 14 arrays, and the optimizer has"
  ):
    other.set_weights([*values[:-2], values[-1]])
  same_shapes = ClippedOptimizer(Adagrad(), AdaGC(), RATE, exclude=NONE)
  same_shapes.build([tf.Variable(v, name=f"x/{k}") for k, v in enumerate(weights().values())])
  with pytest.raises(RuntimeError, match=r"is hidden/bias, of this one x/0, and by their names"):
    same_shapes.set_weights(values)


# Layers that are numbered


def layers(*names: str) -> list[tf.Variable]:
  """Kernels of one shape."""
  return [tf.Variable([1.0, 2.0], name=f"{name}/kernel") for name in names]


def restored(old: list[tf.Variable], new: list[tf.Variable], folder: Path) -> ClippedOptimizer:
  """An optimizer for new variables with the state of one for old ones."""
  saved, other = adagrad_adagc(), adagrad_adagc()
  saved.build(old)
  saved.apply_gradients([(tf.fill([2], k + 1.0), variable) for k, variable in enumerate(old)])
  path = tf.train.Checkpoint(optimizer=saved).write(str(folder / "optimizer"))
  other.build(new)
  tf.train.Checkpoint(optimizer=other).read(path)
  return other


@pytest.mark.parametrize(
  ("old", "new"),
  [
    (("dense", "dense_1", "dense_2"), ("dense_1", "dense_2", "dense_3")),  # counted on
    (("dense_1", "dense_2"), ("dense", "dense_1")),  # or other layers are frozen now
    (("model/dense_1",), ("model_3/dense_4",)),
    # A model that is loaded names its own layers, and those within them are numbered anew.
    (
      ("cross/dense_2", "cross_1/dense", "dense_1"),
      ("cross/dense_5", "cross_1/dense_4", "dense_1"),
    ),
    (("cross/dense_2", "dense_1"), ("dense_5", "dense_1")),
  ],
)
def test_layers_with_other_numbers_are_taken_by_their_order_and_it_is_said(
  old: tuple[str, ...], new: tuple[str, ...], tmp_path: Path
) -> None:
  variables = layers(*new)
  with pytest.warns(
    StateWarning, match=f"by the order of variables: of {old[0]}/kernel into {new[0]}"
  ):
    optimizer = restored(layers(*old), variables, tmp_path)
  kept = [optimizer.state_of(variable)["accumulator"].numpy()[0] for variable in variables]
  assert kept == sorted(kept)
  assert kept[0] > 0.1


@pytest.mark.parametrize(
  ("old", "new", "named"),
  [
    # The second of three layers was frozen, and now it is the third.
    (("dense", "dense_2"), ("dense", "dense_1"), ("dense_2", "dense_1")),
    (("dense", "dense_1"), ("dense", "cross"), ("dense_1", "cross")),
    (("tower/dense",), ("head/dense",), ("tower/dense", "head/dense")),
  ],
)
def test_layers_that_by_their_names_are_others_are_refused(
  old: tuple[str, ...], new: tuple[str, ...], named: tuple[str, str], tmp_path: Path
) -> None:
  before, now = (f"{name}/kernel" for name in named)
  text = f"^variable {len(old)} of the saved optimizer is {before}, of this one {now}, and by"
  with pytest.raises(StateError, match=text):
    restored(layers(*old), layers(*new), tmp_path)


def test_a_name_with_or_without_that_of_its_model_is_one_name(tmp_path: Path) -> None:
  restored(layers("model/dense", "model/dense_1"), layers("dense", "dense_1"), tmp_path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_whose_frozen_layers_are_others_than_its_optimizers_is_refused(
  suffix: str, tmp_path: Path
) -> None:
  inputs = tf_keras.Input([4])
  hidden = [tf_keras.layers.Dense(4, name=name, use_bias=False) for name in ("one", "two", "three")]
  x = inputs
  for layer in hidden:
    x = layer(x)
  saved = tf_keras.Model(inputs, x)
  hidden[0].trainable = False
  saved.compile(adagrad_adagc(), "mse")
  saved.fit(np.ones((4, 4)), np.ones((4, 4)), verbose=0)
  hidden[0].trainable, hidden[2].trainable = True, False  # and compile is not called again
  with legacy_format():
    saved.save(tmp_path / f"model{suffix}")
  with pytest.raises(
    (StateError, RuntimeError), match=r"^variable 1 of the saved optimizer is two/k"
  ):
    tf_keras.models.load_model(tmp_path / f"model{suffix}")


# Saved before the first step


@pytest.mark.parametrize("form", ["checkpoint", "store"])
def test_a_state_from_before_the_first_step_is_that_of_no_step(form: str, tmp_path: Path) -> None:
  fresh, trained, variables = adagrad_adagc(), adagrad_adagc(), weights()
  path = tf.train.Checkpoint(optimizer=fresh).write(str(tmp_path / "fresh"))
  take_steps(trained, variables, range(3))
  if form == "checkpoint":
    tf.train.Checkpoint(optimizer=trained).read(path)
  else:
    trained.load_own_variables(stored(fresh))
  fresh.build(list(variables.values()))
  assert state(trained, variables) == state(fresh, variables)
